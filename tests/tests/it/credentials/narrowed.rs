//! A session for each policy: it suffices for what the policy was granted, and the cloud refuses the rest.

use super::{KEYS, LAB_KEYS, start, world_with};
use crate::harness::{World, executed};
use opsward::broker::Caller;
use opsward::clock::SystemClock;
use opsward::cloud::{Account, CloudClient};
use opsward_core::answer::Verdict;
use opsward_core::catalog::Provider;
use opsward_core::credential::session::PolicySession;
use opsward_core::credential::{AssumeRole, CredentialSource, Issued, RoleSession};
use opsward_core::endpoint::Endpoint;
use opsward_core::id::AccountName;
use opsward_core::secret::{Credential, Secret};
use opsward_core::sign::{OutboundCall, Scheme};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policys_session_is_narrowed_to_its_grants_and_suffices_for_them() {
    let prod =
        format!(r#"{{ assume-role = {{ arn = "acs:ram::1:role/ops", narrow = true, from = {KEYS} }} }}"#);
    let lab = format!(
        r#"{{ assume-role = {{ arn = "qcs::cam::uin/1:roleName/lab", narrow = true, from = {LAB_KEYS} }} }}"#
    );
    let world = world_with(&prod, &lab).await;
    world.put_nightly_reset().await;
    let host = start(&world).await;
    let (instance, disks) = world.machine(1).await;
    world.post(&host, &executed(&instance, "e-narrow")).await;
    let runs = world.settled_runs(&host, 2).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    assert_eq!(world.effects("CreateSnapshot").await.len(), disks.len());
    assert_eq!(world.effects("ResetInstance").await.len(), 1);
    let requests = world.sim_get("requests").await;
    let requests = requests.as_array().expect("a list").iter();
    let sessions: Vec<_> = requests.filter(|seen| seen["action"] == "AssumeRole").cloned().collect();
    assert_eq!(sessions.len(), 2, "one for each policy: {sessions:#?}");
    let has = |session: &str, action: &str, other: &str| {
        let mut texts = sessions.iter().map(|seen| seen["params"].to_string());
        texts.any(|text| text.contains(session) && text.contains(action) && !text.contains(other))
    };
    assert!(has("opsward@snapshot-on-reboot", "ecs:CreateSnapshot", "ResetInstance"), "{sessions:#?}");
    assert!(has("opsward@nightly-reset", "cvm%3AResetInstance", "CreateSnapshot"), "{sessions:#?}");
}

#[tokio::test]
async fn the_cloud_refuses_what_a_narrowed_session_leaves_out() {
    let world = World::new().await;
    let keys = &world.sim.keys.alibaba;
    let keys = Credential {
        key_id: keys.access_key_id.clone(),
        key_secret: Secret::new(keys.access_key_secret.clone()),
        session_token: None,
    };
    let from = CredentialSource::Keys(Issued { credential: keys, expires: None });
    let role = RoleSession {
        arn: "acs:ram::1:role/ops".to_owned(),
        session_name: "opsward".to_owned(),
        external_id: None,
        duration: Duration::from_secs(900),
        is_narrowed: true,
    };
    let name: AccountName = "prod".parse().expect("a name");
    let account = Account {
        name: name.clone(),
        provider: Provider::Alibaba,
        endpoint: Some(Endpoint::parse(&world.sim.url).expect("an endpoint")),
        scheme: Scheme::AlibabaAcs3,
        region: "cn-hangzhou".to_owned(),
        credentials: CredentialSource::AssumeRole(Box::new(AssumeRole { role, from })),
    };
    let cloud = CloudClient::new(vec![account], HashMap::new(), Arc::new(SystemClock)).expect("a client");
    let (_, disks) = world.machine(1).await;
    let params = json!({ "DiskId": disks[0] }).to_string();
    let create = OutboundCall {
        service: "ecs",
        version: "2014-05-26",
        action: "CreateSnapshot",
        region: "cn-hangzhou",
        params: &params,
        token: None,
        dry_run: None,
    };
    let session = |actions: &[&str]| {
        let actions = actions.iter().map(|&action| action.to_owned()).collect();
        let policy = "snapshots".parse().expect("a name");
        Arc::new(PolicySession::new(Provider::Alibaba, policy, &actions).expect("short"))
    };
    let (reads, makes) = (session(&["ecs:Describe*"]), session(&["ecs:Describe*", "ecs:CreateSnapshot"]));
    for (session, expected) in
        [(Some(&reads), "Forbidden.RAM"), (None, "opsward.no-session"), (Some(&makes), "done")]
    {
        let caller = Caller { account: &name, session };
        let code = match cloud.send(caller, &create, None).await {
            Verdict::Answered(Ok(_)) => "done".to_owned(),
            Verdict::Answered(Err(error)) => error.code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code, expected);
    }
    assert_eq!(world.effects("CreateSnapshot").await.len(), 1);
}

//! Credentials of accounts, on a whole host: from machines' roles, roles of roles, tokens, profiles and files; renewed while
//! calls run, refused where others could read them, and told by `opsward doctor`. No part of one is ever shown.

mod narrowed;

use crate::harness::{Host, World, executed};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

/// The credentials that the harness gives to `prod`.
const KEYS: &str =
    r#"{ access-key-id = { env = "TEST_ALIBABA_AK" }, access-key-secret = { env = "TEST_ALIBABA_SK" } }"#;
/// The credentials that the harness gives to `lab`.
const LAB_KEYS: &str =
    r#"{ secret-id = { env = "TEST_TENCENT_ID" }, secret-key = { env = "TEST_TENCENT_KEY" } }"#;
/// How every session token of simulated Alibaba roles begins.
const TOKEN_BEGINNING: &str = "CAIS";
/// How many events at once: more than there are connections to a machine's metadata service.
const CROWD: usize = 20;

/// A world in which the accounts have these credentials.
async fn world_with(prod: &str, lab: &str) -> World {
    let world = World::new().await;
    let file = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("read");
    assert!(file.contains(KEYS) && file.contains(LAB_KEYS), "{file}");
    world.write("opsward.toml", &file.replace(KEYS, prod).replace(LAB_KEYS, lab));
    world.try_snapshots("{ attempts = 1 }");
    // Many events may be about one disk.
    world.patch_state(json!({ "settle": { "snapshot_ms": 0 } })).await;
    world
}

/// A host whose metadata service is simulated.
async fn start(world: &World) -> Host {
    let env = [("OPSWARD_METADATA", world.sim.url.as_str()), ("OPSWARD_HASTE", "50")];
    world.start_with(&env).await.expect("ready")
}

/// Runs a command to its end with these variables.
async fn opsward(world: &World, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = world.command(args);
    command.env("OPSWARD_METADATA", &world.sim.url).envs(env.iter().copied());
    command.output().await.expect("runs")
}

/// How often each action was asked for.
async fn asked(world: &World, action: &str) -> u64 {
    world.sim_get("counts").await["by_action"][action].as_u64().unwrap_or(0)
}

/// The key ids that signed calls of `action`.
async fn signed_by(world: &World, action: &str) -> std::collections::BTreeSet<String> {
    let requests = world.sim_get("requests").await;
    let of_action = requests.as_array().expect("a list").iter().filter(|seen| seen["action"] == action);
    of_action.filter_map(|seen| seen["access_key_id"].as_str().map(str::to_owned)).collect()
}

async fn post_crowd(world: &World, host: &Host, instance: &str, name: &str) {
    let posts = (0..CROWD).map(|n| async move {
        let event = executed(instance, &format!("e-{name}-{n}"));
        assert_eq!(world.post(host, &event).await, Some(200));
    });
    futures::future::join_all(posts).await;
}

/// Nothing of a session token, and no secret half of the accounts' keys, is in what the host wrote.
fn nothing_secret_in(world: &World, text: &str) {
    let keys = &world.sim.keys;
    let secrets = [
        TOKEN_BEGINNING,
        "hunter2",
        &keys.alibaba.access_key_secret,
        &keys.tencent.secret_key,
        &keys.tencent_sts.token,
    ];
    for secret in secrets {
        assert!(!text.contains(secret), "`{secret}` is shown in {text}");
    }
}

fn log_of(world: &World) -> String {
    std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default()
}

fn write_with_mode(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machines_role_is_fetched_once_for_many_calls_and_renewed_while_they_run() {
    let world = world_with(r#"{ instance-role = "opsward-host" }"#, LAB_KEYS).await;
    let host = start(&world).await;
    let (instance, _) = world.machine(1).await;
    post_crowd(&world, &host, &instance, "first").await;
    let runs = world.settled_runs(&host, CROWD).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    assert_eq!(asked(&world, "metadata:GetRole").await, 1);
    assert_eq!(asked(&world, "metadata:PutToken").await, 1, "in the hardened mode alone");
    assert_eq!(signed_by(&world, "DescribeDisks").await.len(), 1);

    // Ten minutes before it lapses; the host learns the time from the answers.
    world.patch_state(json!({ "clock_offset_ms": (21_600 - 600) * 1000 })).await;
    post_crowd(&world, &host, &instance, "second").await;
    let runs = world.settled_runs(&host, 2 * CROWD).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    assert_eq!(asked(&world, "metadata:GetRole").await, 2);
    assert_eq!(signed_by(&world, "DescribeDisks").await.len(), 2);
    let metrics = world.http.get(format!("http://{}/metrics", host.admin)).send().await.expect("metrics");
    let metrics = String::from_utf8_lossy(&metrics.bytes().await.expect("a body")).into_owned();
    assert!(
        metrics.contains(r#"opsward_credential_fetches_total{account="prod",outcome="fetched"} 2"#),
        "{metrics}"
    );
    let store = ["opsward.db", "opsward.db-wal"].map(|name| std::fs::read(world.dir.path().join(name)));
    let store = store.into_iter().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    nothing_secret_in(&world, &(log_of(&world) + &metrics + &store.collect::<String>()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metadata_service_without_its_hardened_mode_is_not_asked_for_keys() {
    let role = r#"{ instance-role = "opsward-host" }"#;
    let world = world_with(role, role).await;
    world.patch_state(json!({ "metadata": { "is_hardened": false } })).await;
    let told = opsward(&world, &["doctor"], &[]).await;
    let shown = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(1), "{shown}");
    assert!(
        shown.contains("account prod: no credential: the metadata service answers with status 403"),
        "{shown}"
    );
    assert_eq!(asked(&world, "metadata:PutToken").await, 1);
    // Tencent's has no such mode.
    assert!(shown.contains("qcs::sts:100000000001:assumed-role/opsward-host"), "{shown}");
    assert_eq!(asked(&world, "metadata:GetRole").await, 1, "Tencent's");
    assert_eq!(asked(&world, "metadata:ListRoles").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_the_cloud_refuses_is_replaced_and_the_call_made() {
    let world = world_with(r#"{ instance-role = "opsward-host" }"#, LAB_KEYS).await;
    let host = start(&world).await;
    let (instance, disks) = world.machine(1).await;
    world.post(&host, &executed(&instance, "e-before")).await;
    world.settled_runs(&host, 1).await;

    // No longer fresh, but far from its end.
    world.patch_state(json!({ "clock_offset_ms": 60_000 })).await;
    world.sim_post("revoke", json!({})).await;
    world.post(&host, &executed(&instance, "e-after")).await;
    let runs = world.settled_runs(&host, 2).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    assert_eq!(asked(&world, "metadata:GetRole").await, 2);
    let requests = world.sim_get("requests").await;
    let refused =
        requests.as_array().expect("a list").iter().filter(|seen| {
            seen["code"].as_str().is_some_and(|code| code.starts_with("InvalidSecurityToken"))
        });
    assert_eq!(refused.count(), 1);
    assert_eq!(world.effects("CreateSnapshot").await.get(&disks[0]), Some(&2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_roles_ends_in_the_last_one_at_both_vendors() {
    let prod = format!(
        r#"{{ assume-role = {{ arn = "acs:ram::2:role/far", external-id = "x-1", from = {{ assume-role = {{ arn = "acs:ram::1:role/near", from = {KEYS} }} }} }} }}"#
    );
    let lab = format!(
        r#"{{ assume-role = {{ arn = "qcs::cam::uin/1:roleName/lab", duration = "2h", from = {LAB_KEYS} }} }}"#
    );
    let world = world_with(&prod, &lab).await;
    world.put_nightly_reset().await;
    let host = start(&world).await;
    let (instance, _) = world.machine(1).await;
    world.post(&host, &executed(&instance, "e-chain")).await;
    let runs = world.settled_runs(&host, 2).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    let effects = world.sim_get("effects").await;
    let by = |action: &str| {
        let effect = effects.as_array().expect("a list").iter().find(|effect| effect["action"] == action);
        effect.expect("took place")["caller"].clone()
    };
    assert_eq!((by("CreateSnapshot"), by("ResetInstance")), (json!("far"), json!("lab")));
    assert_eq!(asked(&world, "sts:AssumeRole").await, 3);
    nothing_secret_in(&world, &log_of(&world));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_token_service_fails_the_old_credential_serves_to_its_end_and_then_no_call_is_made() {
    let prod = format!(r#"{{ assume-role = {{ arn = "acs:ram::1:role/ops", from = {KEYS} }} }}"#);
    let world = world_with(&prod, LAB_KEYS).await;
    let host = start(&world).await;
    let (instance, _) = world.machine(1).await;
    world.post(&host, &executed(&instance, "e-fine")).await;
    world.settled_runs(&host, 1).await;

    world
        .sim_post("faults", json!({ "action": "AssumeRole", "kind": "error-500-before", "times": 100_000 }))
        .await;
    world.patch_state(json!({ "clock_offset_ms": 3_400_000 })).await;
    world.post(&host, &executed(&instance, "e-old")).await;
    let runs = world.settled_runs(&host, 2).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "the old one serves: {runs:#?}");
    assert!(asked(&world, "sts:AssumeRole").await >= 2, "it was asked for a new one");

    world.patch_state(json!({ "clock_offset_ms": 3_700_000 })).await;
    // Any answer teaches the host the time, were it a refusal.
    world.post(&host, &executed(&instance, "e-late")).await;
    world.settled_runs(&host, 3).await;
    let effects = world.sim_get("effects").await.as_array().expect("a list").len();
    world.post(&host, &executed(&instance, "e-lapsed")).await;
    let runs = world.settled_runs(&host, 4).await;
    let lapsed = &runs[0];
    assert!(lapsed["state"] == "dead" || lapsed["state"] == "failed", "{lapsed:#}");
    let shown = opsward(&world, &["run", "show", lapsed["id"].as_str().expect("an id")], &[]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("opsward.no-credential") || shown.contains("has lapsed"), "{shown}");
    assert_eq!(world.sim_get("effects").await.as_array().expect("a list").len(), effects);
    nothing_secret_in(&world, &(log_of(&world) + &shown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_of_both_command_lines_serve_where_only_their_owner_may_read_them() {
    let world = world_with(r#"{ profile = "ops" }"#, r#"{ profile = "lab" }"#).await;
    let keys = world.sim.keys.clone();
    let home = world.dir.path().join("home");
    let home_text = home.to_str().expect("text");
    let aliyun = json!({ "current": "ops", "profiles": [
        { "name": "base", "mode": "AK", "access_key_id": keys.alibaba.access_key_id,
          "access_key_secret": keys.alibaba.access_key_secret },
        { "name": "ops", "mode": "ChainableRamRoleArn", "source_profile": "base",
          "ram_role_arn": "acs:ram::1:role/from-profile" },
    ] });
    let tccli = json!({ "secretId": keys.tencent.secret_id, "secretKey": keys.tencent.secret_key });
    write_with_mode(&home.join(".aliyun/config.json"), &aliyun.to_string(), 0o600);
    write_with_mode(&home.join(".tccli/lab.credential"), &tccli.to_string(), 0o600);
    let told = opsward(&world, &["doctor"], &[("HOME", home_text)]).await;
    let shown = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success(), "{shown}");
    assert!(shown.contains("assumed-role/from-profile/opsward") && shown.contains("profile lab"), "{shown}");
    nothing_secret_in(&world, &shown);

    write_with_mode(&home.join(".aliyun/config.json"), &aliyun.to_string(), 0o644);
    let refused = opsward(&world, &["serve"], &[("HOME", home_text)]).await;
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("account prod: profile file") && said.contains("`chmod 600 "), "{said}");
    nothing_secret_in(&world, &said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_that_others_may_read_refuses_the_start_and_systemd_hands_over_what_is_private() {
    let prod = r#"{ access-key-id = { file = "id" }, access-key-secret = { file = "secret" } }"#;
    let lab = r#"{ secret-id = { systemd = "lab-id" }, secret-key = { systemd = "lab-key" } }"#;
    let world = world_with(prod, lab).await;
    let (keys, dir) = (world.sim.keys.clone(), world.dir.path());
    write_with_mode(&dir.join("id"), &keys.alibaba.access_key_id, 0o600);
    write_with_mode(&dir.join("secret"), &keys.alibaba.access_key_secret, 0o640);
    write_with_mode(&dir.join("handed/lab-id"), &keys.tencent.secret_id, 0o440);
    write_with_mode(&dir.join("handed/lab-key"), &keys.tencent.secret_key, 0o440);
    let handed = dir.join("handed");
    let env = [("CREDENTIALS_DIRECTORY", handed.to_str().expect("text"))];
    let refused = opsward(&world, &["serve"], &env).await;
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("may be read by others than its owner: `chmod 600 "), "{said}");

    write_with_mode(&dir.join("secret"), &keys.alibaba.access_key_secret, 0o600);
    let told = opsward(&world, &["doctor"], &env).await;
    let shown = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success() && shown.contains("systemd lab-key"), "{shown}");
    nothing_secret_in(&world, &(shown + &said));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bearer_of_a_token_gets_the_role_at_both_vendors() {
    let prod = r#"{ oidc = { arn = "acs:ram::1:role/pod", provider = "acs:ram::1:oidc-provider/k", token-file = "token" } }"#;
    let lab = r#"{ oidc = { arn = "qcs::cam::uin/1:roleName/pod", provider = "k", token-file = "token" } }"#;
    let world = world_with(prod, lab).await;
    world.write("token", "sim-oidc-hunter2\n");
    let told = opsward(&world, &["doctor", "-o", "json"], &[]).await;
    let shown = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success(), "{shown}");
    let report: Value = serde_json::from_str(&shown).expect("JSON");
    let arns: Vec<_> = report["accounts"].as_array().expect("accounts").iter().map(|a| &a["arn"]).collect();
    assert_eq!(arns[0], "qcs::sts:100000000001:assumed-role/pod");
    assert_eq!(arns[1], "acs:ram::1234567890123456:assumed-role/pod/opsward");
    assert!(report["accounts"][0]["expires"].is_string());
    let requests = world.sim_get("requests").await.to_string();
    nothing_secret_in(&world, &(shown + &requests));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_shows_who_each_account_is_and_what_to_do_about_what_is_wrong() {
    let world = world_with(r#"{ instance-role = "opsward-host" }"#, LAB_KEYS).await;
    // Neither the metadata service nor this machine itself is asked through a proxy.
    let proxy = [("HTTP_PROXY", "http://127.0.0.1:1"), ("http_proxy", "http://127.0.0.1:1")];
    let told = opsward(&world, &["doctor"], &proxy).await;
    let shown = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success(), "{shown}");
    for expected in [
        "ACCOUNT  PROVIDER  CREDENTIAL",
        "lab      tencent   env TEST_TENCENT_KEY",
        "prod     alibaba   instance role opsward-host  acs:ram::1234567890123456:assumed-role/opsward-host/",
        "store     opsward.db   will be made",
        "opsward.toml: 2 accounts, 0 findings",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    nothing_secret_in(&world, &shown);

    world.patch_state(json!({ "clock_offset_ms": 1_200_000 })).await;
    let told = opsward(&world, &["doctor"], &[]).await;
    let shown = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(1), "{shown}");
    assert!(shown.contains("assumed-role/opsward-host/"), "it learns the time and asks again: {shown}");
    assert!(
        shown.contains("account prod: this machine's clock is 1") && shown.contains("s behind: set"),
        "{shown}"
    );
    world.patch_state(json!({ "clock_offset_ms": 0 })).await;

    // Beside a running host; with another role, a wrong secret and an unset variable.
    let _host = start(&world).await;
    world.patch_state(json!({ "metadata": { "alibaba_role": "other" } })).await;
    let env = [("TEST_TENCENT_KEY", "hunter2-is-not-the-key")];
    let mut command = world.command(&["doctor"]);
    command.env("OPSWARD_METADATA", &world.sim.url).envs(env).env_remove("TEST_TOKEN");
    let told = command.output().await.expect("runs");
    let shown = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.status.code(), Some(1), "{shown}");
    for expected in [
        "error: account prod: no credential: the role `opsward-host` is not attached to this machine: attach it, or",
        "error: account lab: the cloud answers AuthFailure.SignatureFailure",
        "the secret does not belong to the key: set both halves anew",
        "error: source cloudmonitor: environment variable `TEST_TOKEN` is not set: set it where the service runs",
        "in use by a running host",
        &format!("a host is running, admin at {}/opsward.db.sock", world.dir.path().display()),
        "opsward.toml: 2 accounts, 3 findings",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    nothing_secret_in(&world, &shown);
}

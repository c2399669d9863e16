//! `opsward source setup --apply` and `opsward source drill`: the cloud is pointed at a queue and asked for a test event by runs of a
//! policy, judged by what the clouds saw and by what then comes.

use crate::canary::scanner::Scanner;
use crate::harness::{World, eventually};
use crate::pulled::world_with_queue;
use crate::sim::lab::real_time;
use opsward_core::catalog::{Provider, version_of};
use opsward_core::endpoint::Endpoint;
use opsward_core::secret::{Credential, Secret};
use opsward_core::sign::{OutboundCall, Scheme, prepare};
use serde_json::{Map, Value, json};
use std::process::Stdio;

const EXECUTED: &str = "Instance:SystemFailure.Reboot:Executed";

/// What the command printed, what it complained of, and its exit code.
pub(crate) async fn source(world: &World, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = world.command(&[&["source"], args].concat());
    let told = command.env("LANG", "C").stdin(Stdio::null()).output().await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (told.status.code(), text(&told.stdout), text(&told.stderr))
}

/// The file that the plugin's own page shows, for the source `events`.
fn policy(mode: &str) -> String {
    let page = include_str!("../../../plugins/cloud-setup/README.md");
    let file = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a file");
    file.replace("mode = \"dry-run\"", &format!("mode = \"{mode}\""))
}

/// A world with a queue that a policy wants events from, and the policy that may set the cloud up.
pub(crate) async fn world(mode: &str) -> World {
    let world = world_with_queue().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let queue = "queue = { name = \"cms-events\" }";
    assert!(settings.contains(queue));
    let region = "queue = { name = \"cms-events\", region = \"cn-hangzhou\" }";
    world.write("opsward.toml", &settings.replace(queue, region));
    world.put_plugin("cloud-setup");
    world.write("plugins.d/cloud-setup.toml", &policy(mode));
    world
}

/// What CloudMonitor was asked, by action.
async fn asked(world: &World, action: &str) -> Vec<Value> {
    let effects = world.sim_get("effects").await;
    effects.as_array().expect("a list").iter().filter(|one| one["action"] == action).cloned().collect()
}

pub(crate) const APPLY: [&str; 4] = ["setup", "events", "--apply", "--yes"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cloud_is_pointed_at_a_queue_by_a_run_and_its_events_come() {
    let world = world("enforce").await;
    let host = world.start().await;
    let (code, out, err) = source(&world, &APPLY).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains("done: made the rule opsward-events for "), "{out}");
    assert!(out.contains("aliyun cms PutEventRule \\\n  --RuleName 'opsward-events'"), "{out}");
    let run = world.settled_runs(&host, 1).await.remove(0);
    assert_eq!((&run["policy"], &run["source"]), (&json!("cloud-setup"), &json!("manual")), "{run:#}");

    // What was sent is what is printed.
    let (_, printed, _) = source(&world, &["setup", "events", "-o", "json"]).await;
    let printed: Value = serde_json::from_str(&printed).expect("JSON");
    for (at, action) in ["PutEventRule", "PutEventRuleTargets"].into_iter().enumerate() {
        let sent = asked(&world, action).await;
        assert_eq!(sent.len(), 1, "{sent:#?}");
        let sent: Map<String, Value> = sent[0]["params"].as_object().expect("parameters").clone();
        assert_eq!(Value::Object(sent), printed["calls"][at]["params"], "{action}");
    }
    // Nobody has subscribed: it is the rule that tells of this.
    let (instance, disks) = world.machine(3).await;
    world.sim_post("emit", json!({ "instance": instance, "event": "SystemFailure.Reboot" })).await;
    world.settled_runs(&host, 3).await;
    assert_eq!(world.effects("CreateSnapshot").await.len(), disks.len());

    let (code, out, err) = source(&world, &APPLY).await;
    assert!(code == Some(0) && out.contains("done: made the rule opsward-events"), "{out}\n{err}");
    let counts =
        (asked(&world, "PutEventRule").await.len(), asked(&world, "PutEventRuleTargets").await.len());
    assert_eq!(counts, (2, 2));
    assert_eq!(host.terminate().await, Some(0));
    world.audited().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_sends_a_test_event_that_comes_through_the_rule() {
    let world = world("enforce").await;
    let host = world.start().await;
    let (code, out, err) = source(&world, &["drill", "events", "--wait", "1", "--yes"]).await;
    assert_eq!(code, Some(1), "{out}\n{err}");
    assert!(out.contains(&format!("sent a test of {EXECUTED} through the rules")), "{out}");
    assert!(
        err.contains("nothing came within 1 s") && err.contains("does the rule `opsward-events`"),
        "{err}"
    );

    source(&world, &APPLY).await;
    let (code, out, err) = source(&world, &["drill", "events", "--wait", "60", "--yes"]).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains(&format!(": {EXECUTED} opsward-drill-")), "{out}");
    assert!(out.contains("instance/i-opsward-drill"), "{out}");
    // In Chinese to the end: what is not is names, commands, and what the policy says.
    let (code, out, _) = source(&world, &[&APPLY[..], &["--lang", "zh"]].concat()).await;
    assert!(code == Some(0) && out.contains("  运行 ") && out.contains(" 可经由它发送一个测试事件"), "{out}");
    assert!(!out.contains("  run ") && !out.contains("has a test event sent"), "{out}");
    let zh = ["drill", "events", "--wait", "60", "--yes", "--lang", "zh"];
    let (code, out, _) = source(&world, &zh).await;
    assert!(
        code == Some(0) && out.contains("等待 60 秒:来源 events 收到它") && out.contains(" 后收到:"),
        "{out}"
    );
    assert!(
        !["waiting", "arrived", "subject", "ago", ", as "].iter().any(|word| out.contains(word)),
        "{out}"
    );
    let (code, out, err) =
        source(&world, &["drill", "events", "--wait", "1", "--by-hand", "--lang", "zh"]).await;
    assert!(
        code == Some(1) && out.contains("的任一事件") && err.contains("1 秒内没有收到事件"),
        "{out}\n{err}"
    );
    assert!(!out.contains("waiting") && !err.contains("nothing came"), "{out}\n{err}");
    let sent = asked(&world, "SendDryRunSystemEvent").await;
    assert_eq!((sent.len(), &sent[0]["params"]["EventName"]), (3, &json!(EXECUTED)));
    // Nobody is asked, and nothing is sent.
    let (code, out, err) = source(&world, &["drill", "events"]).await;
    assert!(code == Some(70) && err.contains("nobody is there to be asked"), "{out}\n{err}");
    // By hand nothing is sent, and each test has an id of its own.
    let (code, out, _) = source(&world, &["drill", "events", "--wait", "1", "--by-hand"]).await;
    assert!(code == Some(1) && out.contains("aliyun cms SendDryRunSystemEvent --Product ECS"), "{out}");
    assert_eq!(asked(&world, "SendDryRunSystemEvent").await.len(), 3);
    let (code, out, err) =
        source(&world, &["drill", "events", "--event", "Disk:Stalled:Executing", "--yes"]).await;
    assert!(code == Some(1) && err.contains("has not sent it (failed)"), "{out}\n{err}");
    assert_eq!(host.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_by_a_policy_that_may_not_or_for_a_target_with_a_secret() {
    let world = world("dry-run").await;
    let host = world.start().await;
    let (code, out, err) = source(&world, &APPLY).await;
    assert!(code == Some(1) && out.contains("would make the rule opsward-events"), "{out}\n{err}");
    assert!(err.contains("nothing was made: the policy is in dry-run; write mode = \"enforce\""), "{err}");
    assert!(!out.contains("source drill"), "{out}");
    let (code, out, _) = source(&world, &[&APPLY[..], &["-o", "json"]].concat()).await;
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["made"], &told["run"]["state"]), (Some(1), &json!(false), &json!("done")));
    let (code, out, err) = source(&world, &["drill", "events", "--wait", "1", "--yes"]).await;
    assert!(code == Some(1) && out.contains("is in mode dry-run"), "{out}\n{err}");
    let (code, out, err) = source(&world, &["setup", "cloudmonitor", "--apply", "--yes"]).await;
    assert_eq!(code, Some(1), "{out}\n{err}");
    assert!(
        err.contains("holds the path token") && out.contains("Event-triggered Alert Rules"),
        "{out}\n{err}"
    );
    assert!(!out.contains(crate::harness::TOKEN) && !err.contains(crate::harness::TOKEN));
    let (_, _, err) = source(&world, &["setup", "cloudmonitor", "--apply", "--yes", "--lang", "zh"]).await;
    assert!(err.contains("没有发送任何请求:该规则的目标含有路径令牌"), "{err}");
    let (_, _, err) = source(&world, &[&APPLY[..], &["--lang", "zh"]].concat()).await;
    assert!(err.contains("没有做任何变更:策略处于 dry-run"), "{err}");
    let (code, out, err) = source(&world, &["setup", "events", "--apply"]).await;
    assert!(code == Some(70) && err.contains("nobody is there to be asked"), "{out}\n{err}");
    host.terminate().await;
    let (code, _, err) = source(&world, &APPLY).await;
    assert!(code == Some(70) && err.contains("no host runs that could do it"), "{err}");
    std::fs::remove_file(world.plugins().join("cloud-setup.toml")).expect("removed");
    let (code, _, err) = source(&world, &APPLY).await;
    assert!(code == Some(70) && err.contains("no policy of the account `prod` takes"), "{err}");
    assert_eq!(world.sim_get("effects").await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_approve_a_person_is_asked_first() {
    let world = world("approve").await;
    let file = policy("approve") + "\n[approval]\napprovers = [\"alice\"]\n";
    world.write("plugins.d/cloud-setup.toml", &file);
    let host = world.start().await;
    let (code, out, err) = source(&world, &[&APPLY[..], &["-o", "json"]].concat()).await;
    assert_eq!(code, Some(1), "{out}\n{err}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert!(["ready", "running"].map(Value::from).contains(&told["run"]["state"]), "{told:#}");
    eventually("a plan that waits", async || {
        let listed = world.command(&["approval", "ls", "-o", "json"]).output().await.expect("it runs");
        String::from_utf8_lossy(&listed.stdout).contains("cloud-setup").then_some(())
    })
    .await;
    assert_eq!(world.sim_get("effects").await, json!([]));
    assert_eq!(host.terminate().await, Some(0));
}

/// Whoever knows a path can post any type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_cannot_ask_for_it() {
    let world = world("enforce").await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let hook = format!(
        "\n[sources.hook]\nkind = \"cloudevents\"\ntoken = {{ env = \"TEST_TOKEN\" }}\n{}",
        crate::harness::SIGNED
    );
    world.write("opsward.toml", &(settings + &hook));
    // Without the line that keeps all events from it, it is the plugin that refuses.
    let file = policy("enforce");
    let open: Vec<&str> = file.lines().filter(|line| !line.starts_with("on = []")).collect();
    assert_eq!(open.len() + 1, file.lines().count());
    world.write("plugins.d/open.toml", &open.join("\n"));
    let host = world.start().await;
    let data = json!({
        "rule": "opsward-events", "region": "cn-hangzhou", "product": "ECS", "names": [],
        "queue": { "name": "theirs", "region": "cn-hangzhou" },
    });
    let event = json!({
        "specversion": "1.0", "id": "forged", "source": "manual", "type": "opsward.source.setup", "data": data,
    });
    let url = format!("http://{}/hooks/hook/{}", host.listen, crate::harness::TOKEN);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = crate::harness::signed(request, &event).send().await.expect("the host answers");
    assert_eq!(answer.status().as_u16(), 200);
    let runs = world.settled_runs(&host, 1).await;
    let run = &runs[0];
    assert_eq!((runs.len(), &run["policy"]), (1, &json!("open")), "{runs:#?}");
    assert!(run["note"].as_str().is_some_and(|note| note.contains("opsward.NotAPerson")), "{run:#}");
    assert_eq!(world.sim_get("effects").await, json!([]));
    assert_eq!(host.terminate().await, Some(0));
}

/// Asks CloudMonitor as a person would with the cloud's command line, beside the host.
async fn ask_cloud(world: &World, action: &str, params: Value) {
    let keys = &world.sim.keys.alibaba;
    let credential = Credential {
        key_id: keys.access_key_id.clone(),
        key_secret: Secret::new(keys.access_key_secret.clone()),
        session_token: None,
    };
    let call = OutboundCall {
        service: "cms",
        version: version_of(Provider::Alibaba, "cms").expect("a known service"),
        action,
        region: "cn-hangzhou",
        params: &params.to_string(),
        token: None,
        dry_run: None,
    };
    let endpoint = Endpoint::parse(&world.sim.url).expect("a loopback endpoint");
    let signed = prepare(Scheme::AlibabaAcs3, &call, &endpoint, &credential, real_time(), action);
    let signed = signed.expect("parameters that can be sent");
    let request = signed.headers.iter().fold(world.http.post(&signed.url), |request, (name, value)| {
        // The client's own header would stand before it.
        request.header(*name, value.as_str())
    });
    let answer = request.body(signed.body).send().await.expect("the clouds answer");
    assert_eq!(answer.status().as_u16(), 200, "{action}");
}

/// The address of a webhook that the rule has as well holds the path token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_another_target_of_the_rule_comes_into_no_file() {
    use crate::harness::TOKEN;
    let world = world("enforce").await;
    let host = world.start().await;
    ask_cloud(
        &world,
        "PutEventRule",
        json!({ "RuleName": "opsward-events", "EventPattern": [{ "Product": "ECS" }] }),
    )
    .await;
    let url = format!("https://ops.example.com/hooks/cloudmonitor/{TOKEN}");
    let target = json!([{ "Id": "1", "Protocol": "http", "Method": "POST", "Url": url }]);
    let params = json!({ "RuleName": "opsward-events", "WebhookParameters": target });
    ask_cloud(&world, "PutEventRuleTargets", params).await;
    let (code, out, err) = source(&world, &APPLY).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    let run = world.settled_runs(&host, 1).await.remove(0);
    let id = run["id"].as_str().expect("an id");
    let shown = world.command(&["run", "show", id, "-o", "json"]).output().await.expect("it runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("PutEventRuleTargets") && !shown.contains(TOKEN), "{shown}");
    assert_eq!(host.terminate().await, Some(0));
    let scanner = Scanner::new([("the path token", TOKEN)]);
    let files = std::fs::read_dir(world.dir.path()).expect("a directory").flatten();
    let mut looked = 0;
    for file in files.map(|file| file.path()).filter(|path| path.is_file()) {
        assert_eq!(scanner.find(&std::fs::read(&file).expect("readable")), None, "{}", file.display());
        looked += usize::from(file.to_string_lossy().contains("opsward.db"));
    }
    assert!(looked > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_event_is_not_taken_for_the_test_event() {
    let world = world("enforce").await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let account = "provider = \"alibaba\"";
    world.write("opsward.toml", &settings.replace(account, &format!("{account}\nregion = \"cn-hangzhou\"")));
    let host = world.start().await;
    let mut drill = world.command(&["source", "drill", "cloudmonitor", "--wait", "5", "--yes"]);
    let drill = drill.env("LANG", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let drill = drill.spawn().expect("starts");
    // It has looked by then which event is the latest. No rule sends it anywhere.
    eventually("a test event that is sent", async || {
        (!asked(&world, "SendDryRunSystemEvent").await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(world.post(&host, crate::harness::EXECUTED).await, Some(200));
    let told = drill.wait_with_output().await.expect("ends");
    let err = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.code() == Some(1) && err.contains("nothing came within 5 s"), "{err}");
    assert_eq!(host.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_of_a_url_callback_comes_to_the_url() {
    let world = world("enforce").await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let account = "provider = \"alibaba\"";
    world.write("opsward.toml", &settings.replace(account, &format!("{account}\nregion = \"cn-hangzhou\"")));
    let host = world.start().await;
    let url = format!("http://{}/hooks/cloudmonitor/{}", host.listen, crate::harness::TOKEN);
    let rule = json!({ "RuleName": "by-hand", "EventPattern": [{ "Product": "ECS" }] });
    ask_cloud(&world, "PutEventRule", rule).await;
    let target = json!([{ "Id": "1", "Protocol": "http", "Method": "POST", "Url": url }]);
    ask_cloud(&world, "PutEventRuleTargets", json!({ "RuleName": "by-hand", "WebhookParameters": target }))
        .await;
    let (code, out, err) = source(&world, &["drill", "cloudmonitor", "--wait", "60", "--yes"]).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains("instance/i-opsward-drill"), "{out}");
    assert_eq!(host.terminate().await, Some(0));
}

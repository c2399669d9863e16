//! `opsward source`: what is listed, what the cloud is told, and what came.

use crate::harness::{EXECUTED, World, eventually};
use serde_json::Value;
use std::process::{Output, Stdio};

async fn source(world: &World, args: &[&str]) -> (Option<i32>, String, String) {
    told(world.command(&[&["source"], args].concat()).env("LANG", "C").output().await.expect("it runs"))
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_and_sources_are_listed() {
    let world = World::new().await;
    let (code, out, _) = source(&world, &["kinds"]).await;
    assert_eq!(code, Some(0));
    let line = out.lines().find(|line| line.starts_with("logfile")).expect("listed");
    assert!(line.contains("read from a file") && line.contains("whoever may write to the file"), "{line}");
    let (code, out, _) = source(&world, &["ls"]).await;
    assert_eq!(code, Some(0));
    let line = out.lines().nth(1).expect("one source");
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["cloudmonitor", "alibaba-cloudmonitor", "prod", "/hooks/cloudmonitor/<token>"]
    );
    let (code, _, err) = source(&world, &["setup", "cloudmonito"]).await;
    assert_eq!((code, err.contains("there are cloudmonitor")), (Some(70), true), "{err}");
}

/// The calls are those for the events that the enabled policy wants, and no token is in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_prints_the_calls_for_what_policies_want_and_no_token() {
    let world = World::new().await;
    let url = ["setup", "cloudmonitor", "--url", "https://ops.example.com/"];
    let (code, out, err) = source(&world, &url).await;
    assert_eq!(code, Some(0), "{err}");
    for part in [
        "for snapshot-on-reboot",
        "aliyun cms PutEventRule \\\n  --RuleName 'opsward-cloudmonitor'",
        "'Instance:SystemFailure.Reboot:Executed'",
        "--WebhookParameters.1.Url \"https://ops.example.com/hooks/cloudmonitor/${TEST_TOKEN}\"",
        "Event-triggered Alert Rules",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    assert!(!out.contains(crate::harness::TOKEN) && !out.contains("Disk:Stalled"), "{out}");
    let (_, zh, _) = source(&world, &[&url[..], &["--lang", "zh"]].concat()).await;
    assert!(zh.contains("事件报警规则"), "{zh}");
    let (_, json, _) = source(&world, &[&url[..], &["-o", "json"]].concat()).await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["calls"][1]["action"], "cms:PutEventRuleTargets");
    assert_eq!(world.sim_get("requests").await.as_array().map(Vec::len), Some(0), "nothing is sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_what_came_and_a_drill_waits_for_more() {
    let world = World::new().await;
    let host = world.start().await;
    let (_, before, _) = source(&world, &["status"]).await;
    assert!(before.lines().nth(1).expect("a row").contains("none"), "{before}");
    let mut drill = world.command(&["source", "drill", "cloudmonitor", "--wait", "60"]);
    let mut drill =
        drill.env("LANG", "C").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    // It looks which event is the latest before it says that it waits.
    let mut said = tokio::io::BufReader::new(drill.stdout.take().expect("piped"));
    let mut text = String::new();
    while !text.contains("waiting 60 s") {
        use tokio::io::AsyncBufReadExt as _;
        assert!(said.read_line(&mut text).await.expect("read") > 0, "{text}");
    }
    assert!(text.contains("aliyun cms SendDryRunSystemEvent --Product ECS"), "{text}");
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    tokio::io::AsyncReadExt::read_to_string(&mut said, &mut text).await.expect("read");
    assert!(drill.wait().await.expect("ends").success(), "{text}");
    assert!(
        text.contains("arrived after") && text.contains("Instance:SystemFailure.Reboot:Executed"),
        "{text}"
    );

    let row = eventually("the event in the status", async || {
        let (_, out, _) = source(&world, &["status", "cloudmonitor", "-o", "json"]).await;
        let told: Value = serde_json::from_str(&out).expect("JSON");
        let row = told["sources"][0].clone();
        (!row["last"].is_null()).then_some(row)
    })
    .await;
    assert_eq!(row["last"]["type"], "Instance:SystemFailure.Reboot:Executed");
    assert_eq!(row["last_hour"], 1);

    let (code, _, err) = source(&world, &["drill", "cloudmonitor", "--wait", "1"]).await;
    assert_eq!((code, err.contains("nothing came within 1 s")), (Some(1), true), "{err}");
    host.kill().await;
    let (code, _, err) = source(&world, &["drill", "cloudmonitor"]).await;
    assert_eq!((code, err.contains("no host runs")), (Some(70), true), "{err}");
}

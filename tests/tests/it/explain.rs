//! `opsward event explain`, as a person types it: a delivery in a file, before and after it was posted to a running host. Leaves the
//! words for each condition to the table in `opsward_core::pattern`.

use crate::harness::World;
use crate::incidents::notice;
use serde_json::Value;

/// A policy whose conditions do not hold, one that names a transition, and one that is off.
fn put_policies(world: &World) {
    let file = include_str!("harness/snapshot-on-reboot.toml");
    for (name, from, to) in [
        ("other-level", "source = \"cloudmonitor\"", "source = \"cloudmonitor\", level = \"INFO\""),
        (
            "names-it",
            "source = \"cloudmonitor\"",
            "source = \"cloudmonitor\", transition = \"executing\", data = { \"content.eventId\" = { prefix = \"e-\" } }",
        ),
        ("is-off", "mode = \"enforce\"", "mode = \"off\""),
    ] {
        world.write(&format!("plugins.d/{name}.toml"), &file.replace(from, to));
    }
}

pub(crate) async fn opsward(world: &World, args: &[&str]) -> (Option<i32>, String, String) {
    let output = world.command(args).output().await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_policy_says_why_it_is_woken_or_which_condition_fails() {
    let world = World::new().await;
    put_policies(&world);
    let (instance, _) = world.machine(3).await;
    world.write("executing.json", &notice(&instance, "e-why", "Executing"));
    let explain = ["event", "explain", "executing.json", "--source", "cloudmonitor"];
    let (code, out, err) = opsward(&world, &explain).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(": Instance:SystemFailure.Reboot:Executing from cloudmonitor\n"), "{out}");
    let after_head = out.split_once("\n\n").map(|(_, table)| table).unwrap_or_default();
    assert_eq!(
        after_head,
        "\
POLICY              WAKES  WHY
is-off              no     its mode is off
names-it            yes    all conditions hold
other-level         no     level is CRITICAL, not `INFO`
snapshot-on-reboot  yes    all conditions hold
"
    );

    let host = world.start().await;
    let executed = notice(&instance, "e-why", "Executed");
    assert_eq!(world.post(&host, &executed).await, Some(200));
    let (_, out, _) = opsward(&world, &explain).await;
    assert!(out.contains("incident alibaba:e-why, which stood at executed: executing is late"), "{out}");
    let why = |out: &str, policy: &str| {
        let line = out.lines().find(|line| line.starts_with(policy)).unwrap_or_default();
        line[policy.len()..].trim().to_owned()
    };
    assert!(
        why(&out, "snapshot-on-reboot")
            .starts_with("no     all conditions hold, but the incident is past `executing`"),
        "{out}"
    );
    assert!(why(&out, "names-it").starts_with("yes"), "{out}");

    // What the store has is explained as it was when it came.
    let (_, out, _) = opsward(&world, &["event", "ls", "--incident", "alibaba:e-why", "-o", "json"]).await;
    let listed: Value = serde_json::from_str(&out).expect("JSON");
    let event = &listed["events"][0]["event"];
    let (code, out, err) =
        opsward(&world, &["event", "explain", event["id"].as_str().expect("an id"), "-o", "json"]).await;
    assert_eq!(code, Some(0), "{err}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let policies = told["explained"][0]["policies"].as_array().expect("a list");
    let said = |name: &str| policies.iter().find(|one| one["policy"] == name).expect(name).clone();
    assert_eq!(said("snapshot-on-reboot")["wakes"], true);
    let misses = &said("names-it")["entries"][0]["misses"];
    assert_eq!((&misses["key"], &misses["found"]), (&"transition".into(), &"executed".into()), "{misses}");

    // As this program prints it, it needs no source.
    let mut again = event.clone();
    again["id"] = "again".into();
    world.write("event.json", &again.to_string());
    let (_, out, _) = opsward(&world, &["event", "explain", "event.json"]).await;
    assert!(why(&out, "snapshot-on-reboot").contains("has woken it before"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_explained_says_what_to_type() {
    let world = World::new().await;
    world.write("raw.json", r#"{"name":"Instance:StateChange"}"#);
    for (args, code, wanted) in [
        (vec!["raw.json"], Some(70), "say with --source which source would be sent it: cloudmonitor"),
        (vec!["raw.json", "--source", "other"], Some(70), "no source `other`"),
        (vec!["nothing"], Some(70), "no store yet"),
    ] {
        let all = [vec!["event", "explain"], args].concat();
        let (found, _, err) = opsward(&world, &all).await;
        assert!(found == code && err.contains(wanted), "{found:?}: {err}");
    }
    let host = world.start().await;
    let (code, _, err) = opsward(&world, &["event", "explain", "nothing"]).await;
    assert!(
        code == Some(66) && err.contains("no file `nothing`") && err.contains("opsward event ls"),
        "{err}"
    );
    drop(host);
}

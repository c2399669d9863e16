//! One happening told by a stranger and by a sender who signs, with a running host: the stranger keeps nobody from being woken by the
//! other, and what was made on the stranger's word is not made twice. Leaves the table of what wakes whom to the stores' conformance
//! suite.

use crate::confirm::{bare_world, call, start, starts};
use crate::explain::opsward;
use crate::harness::{Host, TOKEN, World, eventually, signed};
use serde_json::{Value, json};

const ALLOW: &str =
    "[[allow]]\naction = \"ecs:DescribeInstances\"\n[[allow]]\naction = \"ecs:StartInstance\"\n";

/// Tells by `source` that the incident has come to `status`, and what the policy is to do about it.
async fn tell(world: &World, host: &Host, source: &str, at: (&str, &str), calls: &[Value]) {
    let (incident, status) = at;
    let data = json!({ "eventId": incident, "eventStatus": status, "calls": calls });
    let event = json!({
        "specversion": "1.0", "id": format!("{incident}-{status}"), "source": "acs.ecs", "type": "calls.start", "data": data,
    });
    let url = format!("http://{}/hooks/{source}/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = signed(request, &event).send().await.expect("the host answers");
    assert_eq!(answer.status().as_u16(), 200, "{at:?} by {source}");
}

/// The runs so far, each as source, event and state, once all have ended.
async fn all_ended(world: &World, host: &Host) -> Vec<String> {
    eventually("the end of all runs", async || {
        let runs = world.runs(host).await;
        let has_ended =
            |run: &Value| ["done", "failed", "held", "dead"].contains(&run["state"].as_str().unwrap_or("?"));
        let told = |run: &Value| {
            let text = |key: &str| run[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("event_id").trim_end_matches(" acs.ecs"), text("state"))
        };
        runs.iter().all(has_ended).then(|| runs.iter().rev().map(told).collect())
    })
    .await
}

/// On a host that is `wrong` in this way.
pub(crate) async fn a_hint_silences_nobody(wrong: &str) -> Result<(), String> {
    let world = bare_world(ALLOW, "enforce").await;
    let (machine, _) = world.machine(3).await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    // A stranger tells of all of it first, and nothing is done for him.
    for status in ["Executing", "Executed"] {
        tell(&world, &host, "bare", ("e-forged", status), &[start(&machine)]).await;
    }
    all_ended(&world, &host).await;
    if starts(&world).await > 0 {
        return Err("started on a stranger's word".to_owned());
    }
    tell(&world, &host, "hook", ("e-forged", "Executing"), &[start(&machine)]).await;
    tell(&world, &host, "hook", ("e-forged", "Executed"), &[]).await;
    let ended = all_ended(&world, &host).await;
    if starts(&world).await != 1 || ended.len() != 4 || !ended[3].ends_with("Executed done") {
        return Err(format!("{} starts, and runs {ended:?}", starts(&world).await));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_tells_of_an_incident_first_keeps_nobody_from_being_woken() {
    a_hint_silences_nobody("").await.expect("as promised");
}

/// On a host that is `wrong` in this way: whoever has seen one signed body sends it with other headers, which are not signed, and with them
/// the id of the next event.
pub(crate) async fn a_hint_takes_no_id(wrong: &str) -> Result<(), String> {
    let world = bare_world(ALLOW, "enforce").await;
    let (machine, _) = world.machine(3).await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let seen = json!({ "calls": [] });
    let url = format!("http://{}/hooks/hook/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/json");
    let headers = [
        ("ce-id", "e-next-Executed"),
        ("ce-source", "acs.ecs"),
        ("ce-type", "calls.start"),
        ("ce-specversion", "1.0"),
    ];
    let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    assert_eq!(signed(request, &seen).send().await.expect("answered").status().as_u16(), 200);
    tell(&world, &host, "hook", ("e-next", "Executed"), &[start(&machine)]).await;
    let ended = all_ended(&world, &host).await;
    if starts(&world).await == 1 {
        Ok(())
    } else {
        Err(format!("the signed event is taken for a copy: runs {ended:?}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_takes_an_events_id_first_keeps_nobody_from_being_woken() {
    a_hint_takes_no_id("").await.expect("as promised");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_of_a_hint_is_not_made_again_of_the_signed_notice() {
    let allow = "[[allow]]\naction = \"ecs:DescribeDisks\"\n[[allow]]\naction = \"ecs:CreateSnapshot\"\n";
    let world = bare_world(allow, "enforce").await;
    let (machine, disks) = world.machine(3).await;
    let host = world.start().await;
    let look = call("DescribeDisks", json!({ "RegionId": "cn-hangzhou", "InstanceId": machine }));
    let calls = [look, call("CreateSnapshot", json!({ "DiskId": disks[0] }))];
    tell(&world, &host, "bare", ("e-both", "Executed"), &calls).await;
    all_ended(&world, &host).await;
    for _ in 0..2 {
        tell(&world, &host, "hook", ("e-both", "Executed"), &calls).await;
    }
    let ended = all_ended(&world, &host).await;
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(world.effects("CreateSnapshot").await.get(&disks[0]), Some(&1));
    let explain = ["event", "explain", "e-both-Executed acs.ecs", "--source", "hook"];
    let (_, why, problem) = opsward(&world, &explain).await;
    assert!(why.contains("but a hint of `executed` of this incident has woken it before"), "{why}{problem}");
}

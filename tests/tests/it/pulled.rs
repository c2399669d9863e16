//! Events that the host takes from a message queue: through a whole host and the simulated queue, over lost answers, kills and polls
//! that are cut short. The judge joins what was sent with what the host has recorded, what the queue still holds, and what the
//! clouds saw.

use crate::chaos::HASTE;
use crate::harness::{Host, World, eventually, executed, times};
use opsward_core::source::UNDECODABLE;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const QUEUE: &str = "cms-events";

/// A world whose policy for snapshots wakes on what comes from the queue. What is received is hidden for a moment only.
pub(crate) async fn world_with_queue() -> World {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let source =
        "[sources.events]\nkind = \"alibaba-mns\"\naccount = \"prod\"\nqueue = { name = \"cms-events\" }\n";
    world.write("opsward.toml", &format!("{settings}\n{source}"));
    let policy = include_str!("harness/snapshot-on-reboot.toml").replace("\"cloudmonitor\"", "\"events\"");
    world.write("plugins.d/snapshot-on-reboot.toml", &policy);
    world
        .patch_state(json!({ "limits": { "snapshots_per_disk": 100_000, "essd_in_progress": 100_000 } }))
        .await;
    world.sim_post("queues", json!({ "name": QUEUE, "visibility_ms": 500 })).await;
    world
}

async fn send(world: &World, messages: &[String]) {
    world.sim_post("queues", json!({ "name": QUEUE, "messages": messages })).await;
}

/// Waits until so many messages were deleted and none is left.
async fn emptied(world: &World, deleted: usize) {
    eventually("an empty queue", async || {
        let queue = world.sim_get("queues").await[QUEUE].clone();
        let left = queue["messages"].as_array().expect("messages").len();
        (left == 0 && queue["deleted"] == deleted).then_some(())
    })
    .await;
}

pub(crate) async fn events(world: &World, host: &Host) -> Vec<Value> {
    let url = format!("http://{}/api/v1/events?limit=10000", host.admin);
    let answer = world.http.get(url).send().await.expect("admin answers").bytes().await.expect("a body");
    let listed: Value = serde_json::from_slice(&answer).expect("JSON");
    listed["events"].as_array().expect("a list").clone()
}

async fn requests(world: &World, action: &str) -> Vec<Value> {
    let requests = world.sim_get("requests").await;
    requests.as_array().expect("a list").iter().filter(|one| one["action"] == action).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_in_a_queue_wakes_the_policy_and_is_deleted_once_recorded() {
    let world = world_with_queue().await;
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    world.sim_post("subscribe", json!({ "url": "mns:cms-events" })).await;
    world
        .sim_post("emit", json!({ "instance": instance, "event": "SystemFailure.Reboot", "copies": 2 }))
        .await;
    emptied(&world, 4).await;
    let runs = world.settled_runs(&host, 2).await;
    assert_eq!(runs.len(), 2, "two notifications, each sent twice: {runs:#?}");
    assert_eq!(world.effects("CreateSnapshot").await.len(), disks.len());
    let kinds: BTreeSet<String> =
        events(&world, &host).await.iter().map(|row| row["event"]["type"].to_string()).collect();
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    let polls = requests(&world, "BatchReceiveMessage").await;
    assert!(polls.iter().all(|poll| poll["signature"] == "ok" && poll["scheme"] == "mns"), "{polls:#?}");
    assert_eq!(host.terminate().await, Some(0), "a poll that waits does not hold the drain up");
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("a log");
    assert!(!log.contains("drain timed out"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decoded_is_recorded_wakes_nobody_and_blocks_nothing() {
    let world = world_with_queue().await;
    let host = world.start().await;
    let (instance, _) = world.machine(3).await;
    let odd = ["certainly no event", "nor this one", "nor this"].map(str::to_owned);
    send(&world, &[&odd[..], &[executed(&instance, "e-after")]].concat()).await;
    emptied(&world, 4).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!((runs.len(), runs[0]["state"].as_str()), (1, Some("done")));
    let events = events(&world, &host).await;
    let odd = events.iter().find(|row| row["event"]["type"] == UNDECODABLE).expect("it is recorded");
    assert_eq!((odd["runs"].as_array().map(Vec::len), events.len()), (Some(0), 4), "{events:#?}");
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("a log");
    assert_eq!(log.matches("cannot be decoded").count(), 1, "{log}");
    let data: Value = serde_json::from_str(odd["event"]["data"].as_str().expect("text")).expect("JSON");
    assert!(
        data["problem"].as_str().is_some_and(|problem| problem.contains("neither a JSON object nor base64")),
        "{data}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_breaks_the_batch_is_recorded_deleted_and_holds_no_other_up() {
    let world = world_with_queue().await;
    let (instance, _) = world.machine(3).await;
    let messages = [executed(&instance, "e-beside")];
    let bodies = json!({ "name": QUEUE, "raw": ["a & b <c"], "messages": messages });
    world.sim_post("queues", bodies).await;
    let host = world.start().await;
    emptied(&world, 2).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!((runs.len(), runs[0]["state"].as_str()), (1, Some("done")));
    let events = events(&world, &host).await;
    let odd = events.iter().find(|row| row["event"]["type"] == UNDECODABLE).expect("it is recorded");
    assert!(odd["event"]["data"].as_str().is_some_and(|data| data.contains("no text of XML")), "{odd:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_lose_no_event_and_repeat_none() {
    let world = world_with_queue().await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let (instance, disks) = world.machine(3).await;
    for (action, kind) in [
        ("BatchReceiveMessage", "drop-after"),
        ("BatchReceiveMessage", "truncated"),
        ("BatchReceiveMessage", "garbage"),
        ("BatchReceiveMessage", "error-500-after"),
        ("BatchReceiveMessage", "throttle"),
        ("BatchDeleteMessage", "drop-before"),
        ("BatchDeleteMessage", "drop-after"),
        ("BatchDeleteMessage", "error-500-before"),
    ] {
        world.sim_post("faults", json!({ "action": format!("mns:{action}"), "kind": kind })).await;
    }
    let messages: Vec<String> = (0..40).map(|n| executed(&instance, &format!("e-lost-{n:03}"))).collect();
    send(&world, &messages).await;
    emptied(&world, messages.len()).await;
    let runs = world.settled_runs(&host, messages.len()).await;
    assert_eq!((runs.len(), events(&world, &host).await.len()), (messages.len(), messages.len()));
    let made = world.effects("CreateSnapshot").await;
    assert_eq!(made, disks.iter().map(|disk| (disk.clone(), messages.len())).collect::<BTreeMap<_, _>>());
    assert_eq!(world.sim_get("faults").await, json!([]), "every fault was met");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_that_are_cut_short_do_not_follow_each_other_as_fast_as_they_can() {
    let world = world_with_queue().await;
    let cap = json!({ "action": "BatchReceiveMessage", "kind": "poll-cap", "times": 1_000_000 });
    world.sim_post("faults", cap).await;
    let begun = Instant::now();
    let host = world.start().await;
    let polls = eventually("some polls", async || {
        let polls = requests(&world, "BatchReceiveMessage").await.len();
        (polls >= 3).then_some(polls)
    })
    .await;
    // A second before the second poll, two before the third: on a slow machine fewer, never more.
    assert!(polls <= 2 + begun.elapsed().as_secs() as usize, "{polls} polls in {:?}", begun.elapsed());
    // And once the cloud lets them wait again, events come.
    world.http.delete(format!("{}/_sim/faults", world.sim.url)).send().await.expect("the clouds answer");
    let (instance, _) = world.machine(3).await;
    send(&world, &[executed(&instance, "e-capped")]).await;
    emptied(&world, 1).await;
    world.settled_runs(&host, 1).await;
}

/// Where the host dies while it has messages in hand.
const FAILPOINTS: [&str; 7] = [
    "after-receive",
    "before-accept",
    "before-commit",
    "after-commit-before-reply",
    "after-accept",
    "before-delete",
    "after-delete",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_queue_is_read_loses_no_event_and_accepts_none_twice() {
    let world = world_with_queue().await;
    let (instance, disks) = world.machine(3).await;
    let mut sent = 0;
    for round in 1..=times(1, 3, 30) {
        for name in FAILPOINTS {
            let armed = format!("{name}:{round}");
            let Some(mut host) = world.start_with(&[HASTE, ("OPSWARD_FAILPOINT", &armed)]).await else {
                continue;
            };
            for _ in 0..80 {
                send(&world, &[executed(&instance, &format!("e-pull-{sent:05}"))]).await;
                sent += 1;
                if tokio::time::timeout(Duration::from_millis(250), host.died()).await.is_ok() {
                    break;
                }
            }
            assert!(host.child.try_wait().expect("waited").is_some(), "{armed} was never passed");
        }
    }
    let host = world.start_with(&[HASTE]).await.expect("ready");
    emptied(&world, sent).await;
    let runs = world.settled_runs(&host, sent).await;
    assert_eq!((runs.len(), events(&world, &host).await.len()), (sent, sent));
    let made = world.effects("CreateSnapshot").await;
    assert_eq!(made, disks.iter().map(|disk| (disk.clone(), sent)).collect::<BTreeMap<_, _>>());
    world.audited().await;
    println!("{sent} messages");
}

/// A host that dies before it has recorded what it received gets it again.
pub(crate) async fn a_message_outlives_a_kill(wrong: &str) -> Result<(), String> {
    let world = world_with_queue().await;
    let (instance, _) = world.machine(3).await;
    let env = [("OPSWARD_FAILPOINT", "before-accept:1"), ("OPSWARD_WRONG", wrong)];
    let mut host = world.start_with(&env).await.expect("ready");
    send(&world, &[executed(&instance, "e-outlives")]).await;
    host.died().await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    // What is sent last is recorded last, or with the first: the host takes all that is visible.
    let last = eventually("a later message", async || {
        send(&world, &[executed(&instance, "e-later")]).await;
        let recorded = events(&world, &host).await;
        let has =
            |happening: &str| recorded.iter().any(|row| row["event"]["data"].to_string().contains(happening));
        let left = world.sim_get("queues").await[QUEUE]["messages"].to_string().contains("e-outlives");
        (has("e-later") && !left).then(|| has("e-outlives"))
    })
    .await;
    if last { Ok(()) } else { Err("a message was deleted, and its event is nowhere".to_owned()) }
}

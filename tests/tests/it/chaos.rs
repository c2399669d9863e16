//! kill -9 at named failpoints and at random moments while events arrive and the clock strikes. The judge joins what the
//! sender was answered with what the simulated clouds saw: nothing accepted is lost, nothing happens twice.

use crate::harness::{Host, World, eventually, executed, long, seed};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Kill points on the way of an event and an effect; `docs/architecture.md` says where each is.
const FAILPOINTS: [&str; 13] = [
    "before-accept",
    "after-accept",
    "before-commit",
    "after-commit-before-reply",
    "after-claim",
    "after-started",
    "before-intent",
    "after-intent",
    "after-send",
    "before-result",
    "after-result",
    "before-finish",
    "after-finish",
];

/// What the sender knows: every event it sent, and whether it was ever answered 200.
pub(crate) struct Sender {
    instance: String,
    disks: Vec<String>,
    pub(crate) sent: BTreeMap<String, bool>,
}

impl Sender {
    /// Sends a new event, as CloudMonitor would: once, without waiting for the run. The status, if an answer came.
    pub(crate) async fn send_new(&mut self, world: &World, host: &Host) -> Option<u16> {
        let happening = format!("e-chaos-{:05}", self.sent.len());
        self.send(world, host, happening).await
    }

    /// Sends an event, be it new or not.
    pub(crate) async fn send(&mut self, world: &World, host: &Host, happening: String) -> Option<u16> {
        let body = executed(&self.instance, &happening);
        // Known before it is sent: a test may give up waiting for the answer.
        let answered = self.sent.entry(happening).or_default();
        let status = world.post(host, &body).await;
        *answered |= status == Some(200);
        status
    }

    /// Sends again what was never answered.
    async fn send_unanswered(&mut self, world: &World, host: &Host) {
        for (happening, answered) in self.sent.iter_mut().filter(|(_, answered)| !**answered) {
            *answered = world.post(host, &executed(&self.instance, happening)).await == Some(200);
            assert!(*answered, "an unharmed host takes {happening}");
        }
    }
}

pub(crate) async fn world_under_fire() -> (World, Sender) {
    let world = World::new().await;
    world.put_plugin("nightly-reset");
    let frequent = include_str!("harness/nightly-reset.toml").replace(
        "cron = \"{cron}\", dialect = \"scf\", zone = \"Asia/Shanghai\"",
        "every = \"1s\", allow-frequent = true",
    );
    world.write("plugins.d/nightly-reset.toml", &frequent);
    // Hundreds of snapshots of three disks: the vendor's quotas are another test's business.
    world
        .patch_state(json!({ "limits": { "snapshots_per_disk": 100_000, "essd_in_progress": 100_000 } }))
        .await;
    let (instance, disks) = world.machine(3).await;
    (world, Sender { instance, disks, sent: BTreeMap::new() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_failpoint_loses_nothing_and_doubles_nothing() {
    let (world, mut sender) = world_under_fire().await;
    for name in FAILPOINTS {
        for nth in if long() { vec![1, 3] } else { vec![1] } {
            let armed = format!("{name}:{nth}");
            // A run that the kill before left unfinished may pass the failpoint before the host is ready.
            let Some(mut host) = world.start_with(&[("OPSWARD_FAILPOINT", &armed)]).await else { continue };
            let mut died = false;
            for _ in 0..20 {
                sender.send_new(&world, &host).await;
                if tokio::time::timeout(Duration::from_millis(250), host.died()).await.is_ok() {
                    died = true;
                    break;
                }
            }
            assert!(died, "{name}:{nth} was never passed");
        }
    }
    let host = world.start().await;
    judge(&world, &host, &mut sender).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_lose_nothing_and_double_nothing() {
    let mut random = seed("kills_at_random_moments");
    let (world, mut sender) = world_under_fire().await;
    let kills = if long() { 50 } else { 5 };
    for _ in 0..kills {
        let host = world.start().await;
        let events = 2 + next(&mut random) % 5;
        for _ in 0..events {
            sender.send_new(&world, &host).await;
            tokio::time::sleep(Duration::from_millis(next(&mut random) % 40)).await;
        }
        tokio::time::sleep(Duration::from_millis(next(&mut random) % 300)).await;
        host.kill().await;
    }
    let host = world.start().await;
    judge(&world, &host, &mut sender).await;
    println!("{kills} kills, {} events", sender.sent.len());
}

/// Where a reset's host dies, and how its run must end after the restart: a reset that was sent is proved by reading, one
/// that may not have been is held, and none is sent twice.
const RESET_KILLS: [(&str, &str, usize); 6] = [
    ("before-intent", "done", 1),
    ("after-intent", "held", 0),
    ("after-send", "done", 1),
    ("before-result", "done", 1),
    ("after-result", "done", 1),
    ("before-finish", "done", 1),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_around_a_reset_resets_once_or_holds_the_run() {
    for (name, state, resets) in RESET_KILLS {
        let world = World::new().await;
        world.put_nightly_reset().await;
        let mut host = world.start_with(&[("OPSWARD_FAILPOINT", &format!("{name}:1"))]).await.expect("ready");
        host.died().await;
        let host = world.start().await;
        let runs = world.settled_runs(&host, 1).await;
        assert_eq!((runs.len(), runs[0]["state"].as_str()), (1, Some(state)), "{name}: {runs:#?}");
        assert_eq!(world.effects("ResetInstance").await.values().sum::<usize>(), resets, "{name}");
    }
}

/// Lets everything come to rest, then compares the sender's answers, the runs, and the clouds' effects.
pub(crate) async fn judge(world: &World, host: &Host, sender: &mut Sender) {
    sender.send_unanswered(world, host).await;
    // The clock must not strike while the books are compared.
    std::fs::remove_file(world.plugins().join("nightly-reset.toml")).expect("removed");
    let frequent = include_str!("harness/nightly-reset.toml").replace(
        "schedule = [{ cron = \"{cron}\", dialect = \"scf\", zone = \"Asia/Shanghai\" }]",
        "on = [{ source = \"nobody\" }]",
    );
    let frequent = frequent.replace("\"nobody\"", "\"cloudmonitor\", type = \"none.such\"");
    world.write("plugins.d/nightly-reset.toml", &frequent);
    let runs = eventually("all runs to come to rest", async || {
        let runs = world.runs(host).await;
        let rests = |run: &Value| {
            ["done", "failed", "held", "dead"].contains(&run["state"].as_str().unwrap_or_default())
        };
        let snapshots = runs.iter().filter(|run| run["policy"] == "snapshot-on-reboot").count();
        (snapshots >= sender.sent.len() && runs.iter().all(rests)).then_some(runs)
    })
    .await;
    judge_snapshots(world, sender, &runs).await;
    judge_resets(world, &runs).await;
}

async fn judge_snapshots(world: &World, sender: &Sender, runs: &[Value]) {
    let mut made: BTreeMap<(String, String), usize> = BTreeMap::new();
    for effect in world
        .sim_get("effects")
        .await
        .as_array()
        .expect("a list")
        .iter()
        .filter(|e| e["action"] == "CreateSnapshot")
    {
        let text = effect["params"].to_string();
        let happening =
            sender.sent.keys().find(|happening| text.contains(happening.as_str())).expect("traceable");
        let disk = effect["params"]["DiskId"].as_str().expect("a disk").to_owned();
        *made.entry((happening.clone(), disk)).or_default() += 1;
    }
    for happening in sender.sent.keys() {
        for disk in &sender.disks {
            let count = made.get(&(happening.clone(), disk.clone())).copied().unwrap_or(0);
            assert_eq!(count, 1, "{happening} on {disk}: {count} snapshots");
        }
    }
    let bad: Vec<_> =
        runs.iter().filter(|r| r["policy"] == "snapshot-on-reboot" && r["state"] != "done").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(sender.sent.len() >= 10, "too few events to mean anything");
}

/// Each reset the cloud saw belongs to one run, and no run has two.
async fn judge_resets(world: &World, runs: &[Value]) {
    let effects = world.sim_get("effects").await;
    let resets: BTreeSet<String> = effects
        .as_array()
        .expect("a list")
        .iter()
        .filter(|e| e["action"] == "ResetInstance")
        .map(|e| e["request_id"].as_str().expect("id").to_owned())
        .collect();
    let of =
        |state: &str| runs.iter().filter(|r| r["policy"] == "nightly-reset" && r["state"] == state).count();
    let (done, held, failed) = (of("done"), of("held"), of("failed"));
    assert!(
        resets.len() <= done + held + failed,
        "{} resets for {done} done, {held} held, {failed} failed runs",
        resets.len()
    );
    assert!(resets.len() >= done, "{} resets, but {done} runs say they did one", resets.len());
    assert_eq!(of("dead"), 0);
    println!("{} resets; runs: {done} done, {held} held, {failed} failed", resets.len());
}

/// xorshift64: good enough to choose moments, and the seed repeats them.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

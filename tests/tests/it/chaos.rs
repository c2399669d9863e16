//! kill -9 at named failpoints and at random moments while events arrive and the clock strikes. The judge joins what the
//! sender was answered with what the simulated clouds saw: nothing accepted is lost, nothing happens twice.

use crate::harness::{Host, World, eventually, executed, seed, times};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Kill points on the way of an event and an effect; `docs/architecture.md` says where each is. `before-settle` is passed
/// after a kill that left an effect without a result, such as the one before it. Early and late ones take turns, so that no
/// run is killed again and again before it gets any further, which would have it parked as the cause.
const FAILPOINTS: [&str; 20] = [
    "before-accept",
    "after-finish",
    "after-accept",
    "before-finish",
    "before-commit",
    "after-result",
    "after-commit-before-reply",
    "before-result",
    "before-fire",
    "after-send",
    "after-fire",
    "after-intent",
    "before-settle",
    "after-claim",
    "after-sleep",
    "after-started",
    "before-sleep",
    "after-lock",
    "before-intent",
    "after-baseline",
];

/// Those that only a reset, a firing or a doubt passes.
const RARE: [&str; 7] = [
    "before-fire",
    "after-fire",
    "after-lock",
    "after-baseline",
    "before-settle",
    "before-sleep",
    "after-sleep",
];
/// Quarters of a second in which a failpoint is passed: the next reset waits until the one before is proved, which takes three
/// seconds on a quick machine.
const PASSED_WITHIN: usize = 80;
/// Waits of minutes, as for a request that may still be on its way, become seconds.
pub(crate) const HASTE: (&str, &str) = ("OPSWARD_HASTE", "120");

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
    let rounds = times(1, 2, 20);
    let mut kills = 0;
    for round in 1..=rounds {
        for name in FAILPOINTS {
            // In later rounds at later passages, where these come often enough.
            let nth = if RARE.contains(&name) { 1 } else { 1 + (round - 1) * 2 % 7 };
            kills += 1;
            let armed = format!("{name}:{nth}");
            // A run that the kill before left unfinished may pass the failpoint before the host is ready.
            let Some(mut host) = world.start_with(&[HASTE, ("OPSWARD_FAILPOINT", &armed)]).await else {
                continue;
            };
            let mut died = false;
            for _ in 0..PASSED_WITHIN {
                sender.send_new(&world, &host).await;
                if tokio::time::timeout(Duration::from_millis(250), host.died()).await.is_ok() {
                    died = true;
                    break;
                }
            }
            assert!(died, "{name}:{nth} was never passed");
        }
    }
    println!("{kills} kills at {} failpoints, {} events", FAILPOINTS.len(), sender.sent.len());
    let host = world.start_with(&[HASTE]).await.expect("ready");
    judge(&world, &host, &mut sender).await;
}

/// Kills in one world: its runs are then still listed as a whole.
const KILLS_PER_WORLD: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_lose_nothing_and_double_nothing() {
    let mut random = seed("kills_at_random_moments");
    let mut left = times(5, 300, 10_000);
    while left > 0 {
        let kills = left.min(KILLS_PER_WORLD);
        left -= kills;
        let (world, mut sender) = world_under_fire().await;
        for _ in 0..kills {
            let host = world.start_with(&[HASTE]).await.expect("ready");
            let events = 2 + next(&mut random) % 5;
            for _ in 0..events {
                sender.send_new(&world, &host).await;
                tokio::time::sleep(Duration::from_millis(next(&mut random) % 40)).await;
            }
            tokio::time::sleep(Duration::from_millis(next(&mut random) % 300)).await;
            host.kill().await;
        }
        let host = world.start_with(&[HASTE]).await.expect("ready");
        judge(&world, &host, &mut sender).await;
        println!("{kills} kills at random moments, {} events", sender.sent.len());
    }
}

/// Where a reset's host dies. A reset that was sent is proved by reading; one that was not is proved not to have been, and
/// sent; none is sent twice.
const RESET_KILLS: [&str; 6] =
    ["before-intent", "after-intent", "after-send", "before-result", "after-result", "before-finish"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_around_a_reset_resets_once() {
    for name in RESET_KILLS {
        let world = World::new().await;
        world.put_nightly_reset().await;
        let mut host = world.start_with(&[("OPSWARD_FAILPOINT", &format!("{name}:1"))]).await.expect("ready");
        host.died().await;
        let host = world.start_with(&[HASTE]).await.expect("ready");
        let runs = world.settled_runs(&host, 1).await;
        assert_eq!((runs.len(), runs[0]["state"].as_str()), (1, Some("done")), "{name}: {runs:#?}");
        assert_eq!(world.effects("ResetInstance").await.values().sum::<usize>(), 1, "{name}");
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
    let (runs, effects) = eventually("all runs to come to rest", async || {
        let runs = world.runs(host).await;
        let effects = world.sim_get("effects").await;
        let rests = |run: &Value| {
            ["done", "failed", "held", "dead"].contains(&run["state"].as_str().unwrap_or_default())
        };
        let snapshots = runs.iter().filter(|run| run["policy"] == "snapshot-on-reboot").count();
        let rest = snapshots >= sender.sent.len() && runs.iter().all(rests);
        // The host may take the schedule away a moment later: a firing since the first look belongs to neither book.
        (rest && world.runs(host).await == runs).then_some((runs, effects))
    })
    .await;
    let effects = effects.as_array().expect("a list");
    judge_snapshots(sender, &runs, effects);
    judge_resets(&runs, effects);
    world.audited().await;
}

fn judge_snapshots(sender: &Sender, runs: &[Value], effects: &[Value]) {
    let bad: Vec<_> =
        runs.iter().filter(|r| r["policy"] == "snapshot-on-reboot" && r["state"] != "done").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let mut made: BTreeMap<(String, String), usize> = BTreeMap::new();
    for effect in effects.iter().filter(|e| e["action"] == "CreateSnapshot") {
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
    assert!(sender.sent.len() >= 10, "too few events to mean anything");
}

/// Each reset the cloud saw belongs to one run, and no run has two.
fn judge_resets(runs: &[Value], effects: &[Value]) {
    let resets: BTreeSet<String> = effects
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

//! Hosts on a disk that fails: power cuts, failing syncs, no room. The disk is `OPSWARD_DISK`'s, which `faulty_disk` of the
//! store describes. The judge is the one of `chaos`: nothing answered is lost, nothing happens twice.

use crate::chaos::{HASTE, Sender, judge, next, world_under_fire};
use crate::harness::{Host, PATIENCE, World, eventually, executed, long, seed};
use crate::store::event;
use opsward::store::Store as _;
use opsward::store::sqlite::SqliteStore;
use opsward_core::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Rounds in one world: its judge reads all its runs, which must fit in one list.
const ROUNDS_IN_A_WORLD: u64 = 25;
/// What the reserve beside a store holds.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;
/// Events that must not be needed to fill a disk or to meet its n-th sync.
const EVENTS_MAX: usize = 300;
/// The same where the events wake nobody.
const FILLERS_MAX: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing_answered_and_double_nothing() {
    let mut random = seed("power_cuts");
    let cuts = rounds(3, 25, 1000);
    let mut answered = 0;
    for cuts in worlds(cuts) {
        let (world, mut sender) = world_under_fire().await;
        for _ in 0..cuts {
            cut_power_under_load(&world, &mut sender, &mut random).await;
        }
        answered += judge_answered(&world, &mut sender).await;
    }
    println!("{cuts} power cuts, {answered} events answered before one");
    assert!(answered >= 3 * cuts, "too few events to mean anything");
}

async fn cut_power_under_load(world: &World, sender: &mut Sender, random: &mut u64) {
    let disk = format!("lossy:{}", next(random));
    let host = world.start_with(&[HASTE, ("OPSWARD_DISK", &disk)]).await.expect("a whole store");
    assert_there(world, &host, sender).await;
    let until_the_cut = Duration::from_millis(200 + next(random) % 400);
    let load = async {
        loop {
            sender.send_new(world, &host).await;
            tokio::time::sleep(Duration::from_millis(next(random) % 40)).await;
        }
    };
    tokio::time::timeout(until_the_cut, load).await.expect_err("the load has no end");
    host.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_answered_and_the_host_ends() {
    let mut random = seed("failed_sync");
    let errors = rounds(3, 40, 500);
    let (mut met, mut answered) = (0, 0);
    for errors in worlds(errors) {
        let (world, mut sender) = world_under_fire().await;
        for round in 0..errors {
            // One in five is a failing write, of which there are a few for each sync. Late enough for runs to get on: one over
            // which hosts keep dying is given up.
            let disk = match round % 5 {
                4 => format!("eio-write:{}", 100 + next(&mut random) % 400),
                3 => format!("eio-sync-once:{}", 20 + next(&mut random) % 100),
                _ => format!("eio-sync:{}", 20 + next(&mut random) % 100),
            };
            met += u64::from(meet_a_disk_error(&world, &mut sender, &disk).await);
        }
        answered += judge_answered(&world, &mut sender).await;
    }
    println!("{met} of {errors} errors met while serving, {answered} events answered");
    assert!(2 * met >= errors && answered >= met, "too few events to mean anything");
}

/// Returns whether the host was ready before the error.
async fn meet_a_disk_error(world: &World, sender: &mut Sender, disk: &str) -> bool {
    let Some(mut host) = world.start_with(&[("OPSWARD_DISK", disk)]).await else { return false };
    until_refused(world, &host, sender).await;
    for _ in 0..3 {
        assert_ne!(sender.send_new(world, &host).await, Some(200), "{disk}: answered after the error");
    }
    let ended = tokio::time::timeout(PATIENCE, host.child.wait()).await.expect("ends by itself");
    let code = ended.expect("waited").code();
    assert!(code.is_some_and(|code| code != 0), "{disk}: ended with {code:?}");
    true
}

#[tokio::test]
async fn a_host_whose_disk_fails_at_the_start_says_so_with_its_exit_code() {
    let world = World::new().await;
    for disk in ["eio-sync:1", "eio-write:1"] {
        let mut command = world.command(&["serve", "--config", "opsward.toml"]);
        let ended = command.env("OPSWARD_DISK", disk).stderr(std::process::Stdio::null()).status();
        let code = ended.await.expect("started").code();
        assert!(code.is_some_and(|code| code != 0), "{disk}: {code:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_events_finishes_what_is_under_way_and_loses_nothing() {
    let mut random = seed("full_disk");
    let disks = rounds(3, 20, 500);
    let mut answered = 0;
    for disks in worlds(disks) {
        let (world, mut sender) = world_under_fire().await;
        for round in 0..disks {
            let size = DiskSize::with_room(&world, next(&mut random) % 400_000);
            let host = fill_under_load(&world, &mut sender, &size).await;
            // It takes the host seconds to notice: not each time.
            if round % 5 == 0 {
                size.lift();
                let refused = sender.sent.keys().next_back().expect("sent").clone();
                eventually("events to be taken again", async || {
                    (sender.send(&world, &host, refused.clone()).await == Some(200)).then_some(())
                })
                .await;
            }
            host.kill().await;
        }
        answered += judge_answered(&world, &mut sender).await;
    }
    println!("{disks} full disks, {answered} events answered");
    assert!(answered >= disks, "too few events to mean anything");
}

async fn fill_under_load(world: &World, sender: &mut Sender, size: &DiskSize<'_>) -> Host {
    let host = world.start_with(&size.env()).await.expect("a full disk does not keep a host from starting");
    for _ in 0..2 {
        assert_eq!(until_refused(world, &host, sender).await, Some(503));
    }
    assert_there(world, &host, sender).await;
    assert_admin_answers(world, &host).await;
    eventually("what is under way to end", async || {
        world.runs(&host).await.iter().all(|run| run["state"] != "running").then_some(())
    })
    .await;
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_was_killed_starts_on_a_full_disk_and_goes_on_once_there_is_room() {
    let world = World::new().await;
    let (instance, disks) = world.machine(3).await;
    world.start().await.terminate().await;
    // The run that is left running is put right at the start, which takes some room.
    let mut host = world.start_with(&[("OPSWARD_FAILPOINT", "after-send:1")]).await.expect("ready");
    world.post(&host, &executed(&instance, "e-killed")).await;
    host.died().await;

    let size = DiskSize::with_room(&world, 0);
    let host = world.start_with(&size.env()).await.expect("ready on a full disk");
    assert_admin_answers(&world, &host).await;
    // The log that was there may have room for some.
    let mut taken = 0;
    let refused = loop {
        match world.post(&host, &executed(&instance, &format!("e-more-{taken}"))).await {
            Some(200) if taken < EVENTS_MAX => taken += 1,
            other => break other,
        }
    };
    assert_eq!(refused, Some(503), "after {taken} events");
    size.lift();
    let runs = world.settled_runs(&host, 1 + taken).await;
    assert!(runs.len() == 1 + taken && runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    let effects = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| effects.get(disk) == Some(&(1 + taken))), "{effects:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_has_begun_goes_on_while_there_is_no_room_for_a_new_one() {
    let world = World::new().await;
    let (instance, disks) = world.machine(3).await;
    let mut host = world.start_with(&[("OPSWARD_FAILPOINT", "after-send:1")]).await.expect("ready");
    world.post(&host, &executed(&instance, "e-killed")).await;
    host.died().await;
    // Another that was taken and has not begun; nobody is there to work on it.
    let store = SqliteStore::open(&world.dir.path().join("opsward.db")).expect("opens");
    store.accept(vec![event("waiting", Timestamp::default(), &["nobody"])]).await.expect("accepted");
    store.close().await.expect("closed");
    drop(store);

    // Not the reserve's room, but some.
    std::fs::remove_file(world.dir.path().join("opsward.db.reserve")).expect("removed");
    let size = DiskSize::with_room_but_no_reserve(&world, 1_000_000);
    let host = world.start_with(&size.env()).await.expect("ready on a full disk");
    let waiting = async || {
        let runs = world.runs(&host).await;
        runs.into_iter().find(|run| run["policy"] == "nobody").expect("it is there")
    };
    let runs = world.settled_runs(&host, 1).await;
    assert!(runs.iter().any(|run| run["state"] == "done"), "the one that had begun: {runs:#?}");
    assert_eq!(world.post(&host, &executed(&instance, "e-new")).await, Some(503), "it is full all the while");
    assert_eq!(waiting().await["note"], Value::Null, "nobody has claimed it");
    let effects = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| effects.get(disk) == Some(&1)), "{effects:?}");

    size.lift();
    eventually("the other to be claimed", async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("host.log");
        log.contains("the run waits for it").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_that_was_sent_is_recorded_on_a_full_disk() {
    an_effect_is_recorded_on_a_full_disk("").await.expect("recorded");
}

/// Fills the disk while the clouds take their time to answer; `Err` says what broke on a host that is `wrong`.
pub(crate) async fn an_effect_is_recorded_on_a_full_disk(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let settings = include_str!("harness/snapshot-on-reboot.toml").replace(
        "source = \"cloudmonitor\"",
        "source = \"cloudmonitor\", type = \"Instance:SystemFailure.Reboot:*\"",
    );
    world.write("plugins.d/snapshot-on-reboot.toml", &settings);
    world.start().await.terminate().await;

    let [disk] = DiskSize::with_room(&world, 1_000_000).env();
    let host = world.start_with(&[disk, ("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (instance, disks) = world.machine(12).await;
    let slow = json!({ "action": "CreateSnapshot", "kind": "slow", "times": disks.len(), "delay_ms": 3000 });
    world.sim_post("faults", slow).await;
    world.post(&host, &executed(&instance, "e-full")).await;
    eventually("an effect to be sent", async || {
        (!world.effects("CreateSnapshot").await.is_empty()).then_some(())
    })
    .await;
    fill(&world, &host).await;
    // Not a byte more than there is, the reserve included: what little the refused event would have had is gone as well.
    DiskSize::with_room(&world, 0);
    let done = eventually("the results to be recorded, or not", async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("host.log");
        if log.contains("a record could not be written") {
            return Some(false);
        }
        world.runs(&host).await.iter().all(|run| run["state"] == "done").then_some(true)
    })
    .await;
    if !done {
        return Err("the answer of an effect could not be recorded".into());
    }
    assert_eq!(world.post(&host, &filler(FILLERS_MAX)).await, Some(503), "it is full all the while");
    assert_eq!(world.effects("CreateSnapshot").await.len(), disks.len());
    Ok(())
}

/// Sends events that wake nobody until one is refused for lack of room.
async fn fill(world: &World, host: &Host) {
    for n in 0..FILLERS_MAX {
        match world.post(host, &filler(n)).await {
            Some(200) => {}
            Some(503) => return,
            other => panic!("answered {other:?}"),
        }
    }
    panic!("{FILLERS_MAX} events fit on the disk");
}

/// Small, so that little room is left behind the last one that fits.
fn filler(n: usize) -> String {
    let content = json!({ "filler": "x".repeat(4000) });
    json!({ "name": "Instance:Filler", "resourceId": n.to_string(), "content": content }).to_string()
}

/// Cuts the power after answers to a few events; `Err` says what broke on a host that is `wrong`.
pub(crate) async fn an_answered_event_survives_a_power_cut(wrong: &str) -> Result<(), String> {
    let (world, mut sender) = world_under_fire().await;
    // More than once, since what was answered may have reached the disk by chance.
    for cut in 1..=5 {
        let disk = format!("lossy:{cut}");
        let env = [("OPSWARD_DISK", disk.as_str()), ("OPSWARD_WRONG", wrong)];
        let host = world.start_with(&env).await.expect("ready");
        for _ in 0..5 {
            assert_eq!(sender.send_new(&world, &host).await, Some(200));
        }
        host.kill().await;
        let host = world.start().await;
        let lost = lost(&world, &host, &sender).await;
        if !lost.is_empty() {
            return Err(format!("{} of 5 events answered with 200 were lost", lost.len()));
        }
        host.kill().await;
    }
    let host = world.start().await;
    judge(&world, &host, &mut sender).await;
    Ok(())
}

/// The size of a host's disk, as the length of a file.
struct DiskSize<'w>(&'w World);

impl<'w> DiskSize<'w> {
    /// As large as what is there, the reserve, and so many bytes.
    fn with_room(world: &'w World, bytes: u64) -> Self {
        Self::with_room_but_no_reserve(world, RESERVE_BYTES + bytes)
    }

    /// As large as what is there, and so many bytes.
    fn with_room_but_no_reserve(world: &'w World, bytes: u64) -> Self {
        let len = |name: &str| world.dir.path().join(name).metadata().map_or(0, |file| file.len());
        let used = len("opsward.db") + len("opsward.db-wal");
        // A store that is not there yet needs some room of its own.
        let size = used + bytes + if len("opsward.db") == 0 { 400_000 } else { 0 };
        let file = std::fs::File::create(world.dir.path().join("disk-size")).expect("created");
        file.set_len(size).expect("a sparse file");
        Self(world)
    }

    fn env(&self) -> [(&'static str, &'static str); 1] {
        [("OPSWARD_DISK", "full:disk-size")]
    }

    fn lift(&self) {
        std::fs::remove_file(self.0.dir.path().join("disk-size")).expect("removed");
    }
}

/// How many rounds: of the short form, with `OPSWARD_LONG`, with `SOAK`.
fn rounds(short: u64, of_long: u64, of_soak: u64) -> u64 {
    match std::env::var_os("SOAK") {
        Some(_) => of_soak,
        None if long() => of_long,
        None => short,
    }
}

/// How many of the rounds each world has.
fn worlds(rounds: u64) -> impl Iterator<Item = u64> {
    let begun = (0..rounds).step_by(ROUNDS_IN_A_WORLD as usize);
    begun.map(move |begun| ROUNDS_IN_A_WORLD.min(rounds - begun))
}

/// Judges with a host on a disk that works; returns how many events were answered before.
async fn judge_answered(world: &World, sender: &mut Sender) -> u64 {
    let answered = answered_by(sender).len() as u64;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    assert_there(world, &host, sender).await;
    judge(world, &host, sender).await;
    answered
}

/// Sends new events until one is not answered 200; that one's status.
async fn until_refused(world: &World, host: &Host, sender: &mut Sender) -> Option<u16> {
    for _ in 0..EVENTS_MAX {
        let status = sender.send_new(world, host).await;
        if status != Some(200) {
            return status;
        }
    }
    panic!("{EVENTS_MAX} events, and all is well");
}

fn answered_by(sender: &Sender) -> Vec<&String> {
    sender.sent.iter().filter(|(_, answered)| **answered).map(|(happening, _)| happening).collect()
}

async fn assert_there(world: &World, host: &Host, sender: &Sender) {
    let lost = lost(world, host, sender).await;
    assert!(lost.is_empty(), "answered with 200, and lost: {lost:?}");
}

/// Events that were answered and that the host does not know.
async fn lost(world: &World, host: &Host, sender: &Sender) -> Vec<String> {
    let events = admin(world, host, "/api/v1/events?limit=10000").await;
    let events: Value = serde_json::from_str(&events).expect("JSON");
    let incident = |row: &Value| row["event"]["incident"].as_str().unwrap_or_default().to_owned();
    let there: BTreeSet<String> = events["events"].as_array().expect("a list").iter().map(incident).collect();
    let lost = |happening: &&String| !there.contains(&format!("alibaba:{happening}"));
    answered_by(sender).into_iter().filter(lost).cloned().collect()
}

async fn assert_admin_answers(world: &World, host: &Host) {
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/runs", "/api/v1/events", "/api/v1/schedules"] {
        admin(world, host, path).await;
    }
}

async fn admin(world: &World, host: &Host, path: &str) -> String {
    let answer = world.http.get(format!("http://{}{path}", host.admin)).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).expect("admin answers");
    answer.text().await.expect("a body")
}

//! Following logs: by itself on real files that are written, rotated, copied and cut short in any order (`model`), and as a source of
//! a whole host that is killed meanwhile. Each line is an event once.

mod model;
mod odd;

use crate::harness::{Host, PATIENCE, World, eventually};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;

const SOURCE: &str = r#"
[sources.app]
kind = "logfile"
file = { path = "app.log", pattern = '^(?<level>[A-Z]+) (?<subject>\S+)', type = "app:line", from = "start", events-per-second = 1000 }
"#;

/// Makes the log of the world a source.
fn follow(world: &World, source: &str) {
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("read");
    world.write("opsward.toml", &(settings + source));
}

fn append(world: &World, text: &[u8]) {
    let log = std::fs::File::options().append(true).create(true).open(world.dir.path().join("app.log"));
    log.and_then(|mut log| log.write_all(text)).expect("written");
}

/// How often each line became an event, by its subject.
async fn seen(world: &World, host: &Host) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for event in events(world, host).await {
        *seen.entry(event["subject"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    seen
}

/// The events of the log, oldest first.
async fn events(world: &World, host: &Host) -> Vec<Value> {
    let asked = world.http.get(format!("http://{}/api/v1/events?limit=10000", host.admin)).send().await;
    let body = asked.expect("admin answers").bytes().await.expect("a body");
    let listed: Value = serde_json::from_slice(&body).expect("JSON");
    let events = listed["events"].as_array().expect("a list").iter().rev();
    events.map(|row| row["event"].clone()).filter(|event| event["source"] == "app").collect()
}

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("ERROR s-{n} of many\nquiet {n}\n")).collect()
}

fn each_once(from: usize, to: usize) -> BTreeMap<String, usize> {
    (from..to).map(|n| (format!("s-{n}"), 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_a_log_is_an_event_with_what_the_pattern_finds() {
    let world = World::new().await;
    follow(&world, SOURCE);
    append(&world, b"ERROR i-1 broke\nall is well\nWARN i-\xff\n");
    let host = world.start().await;
    let found = eventually("two events", async || {
        let found = events(&world, &host).await;
        (found.len() == 2).then_some(found)
    })
    .await;
    assert_eq!((&found[0]["type"], &found[0]["level"]), (&"app:line".into(), &"ERROR".into()));
    let data: Value = serde_json::from_str(found[1]["data"].as_str().expect("text")).expect("JSON");
    assert_eq!(data["flags"], serde_json::json!(["not-utf-8"]));
    assert_eq!((&data["captures"]["level"], &data["offset"]), (&"WARN".into(), &28.into()));

    append(&world, b"ERROR unfinished");
    append(&world, b"-yet\n");
    eventually("the third", async || seen(&world, &host).await.contains_key("unfinished-yet").then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_its_end_a_log_is_followed_from_the_first_start_on() {
    let world = World::new().await;
    follow(&world, &SOURCE.replace("from = \"start\", ", ""));
    append(&world, b"ERROR old\nERROR being-wri");
    let host = world.start().await;
    // Written once the beginning is on disk: the host has a place in the log.
    recorded(&world, &host, "before the kill", b"tten\nERROR before-the-kill\n").await;
    host.kill().await;
    append(&world, b"ERROR while-down\n");
    let host = world.start().await;
    let expected = ["before-the-kill", "being-written", "while-down"];
    let found = eventually("three events", async || {
        let found = seen(&world, &host).await;
        (found.len() >= 3).then_some(found)
    })
    .await;
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected.map(|one| (one.to_owned(), 1)));
}

/// Appends `text` once the log has a cursor, and waits for an event of it.
async fn recorded(world: &World, host: &Host, what: &str, text: &[u8]) {
    use opsward::store::sqlite::SqliteStore;
    eventually("a place in the log", async || {
        let store = SqliteStore::open_read_only(&world.dir.path().join("opsward.db")).expect("opens");
        store.find_cursor(&"app".parse().expect("a name"), "log").expect("asked")
    })
    .await;
    append(world, text);
    eventually(what, async || (!seen(world, host).await.is_empty()).then_some(())).await;
}

/// A log is written and rotated while hosts are killed over it, between any two steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_is_lost_or_an_event_twice_through_kills_and_rotation() {
    let world = World::new().await;
    follow(&world, SOURCE);
    append(&world, lines(0, 1).as_bytes());
    let host = world.start().await;
    all_are_there(&world, &host, 1).await;
    host.kill().await;
    let mut written = 1;
    let points = [
        "before-accept:1",
        "after-accept:1",
        "before-commit:1",
        "after-commit-before-reply:1",
        "before-accept:2",
        "before-commit:2",
    ];
    for (n, point) in points.into_iter().enumerate() {
        append(&world, lines(written, written + 50).as_bytes());
        written += 50;
        let env = [("OPSWARD_FAILPOINT", point), ("OPSWARD_HASTE", "10")];
        let host = world.start_with(&env).await;
        if n % 2 == 0 {
            rotate(&world, n);
        }
        append(&world, lines(written, written + 50).as_bytes());
        written += 50;
        // It may have died before it was ready.
        if let Some(mut host) = host {
            written = write_until_dead(&world, &mut host, written).await;
        }
    }
    copy_and_cut(&world);
    append(&world, lines(written, written + 50).as_bytes());
    written += 50;
    let host = world.start_with(&[("OPSWARD_HASTE", "10")]).await.expect("ready");
    all_are_there(&world, &host, written).await;
}

/// Writes a line now and then until the host has died of one; returns how many there are.
async fn write_until_dead(world: &World, host: &mut Host, mut written: usize) -> usize {
    let dying = tokio::time::timeout(PATIENCE, async {
        while host.child.try_wait().expect("asked").is_none() {
            append(world, lines(written, written + 1).as_bytes());
            written += 1;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    dying.await.expect("it dies in time");
    written
}

async fn all_are_there(world: &World, host: &Host, written: usize) {
    let last = format!("s-{}", written - 1);
    let found = eventually("the last line", async || {
        let found = seen(world, host).await;
        found.contains_key(&last).then_some(found)
    })
    .await;
    let expected = each_once(0, written);
    let wrong: Vec<_> = expected.keys().filter(|line| found.get(*line) != Some(&1)).collect();
    assert!(found.len() == expected.len() && wrong.is_empty(), "lost, or events more than once: {wrong:?}");
}

fn rotate(world: &World, n: usize) {
    let path = |name: &str| world.dir.path().join(name);
    std::fs::rename(path("app.log"), path(&format!("app.log.{n}"))).expect("renamed");
}

fn copy_and_cut(world: &World) {
    let path = |name: &str| world.dir.path().join(name);
    std::fs::copy(path("app.log"), path("app.log.99")).expect("copied");
    std::fs::File::options().write(true).truncate(true).open(path("app.log")).expect("cut");
}

/// Lines are recorded with the place in the log, not after it.
pub(crate) async fn a_kill_loses_no_line(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    follow(&world, SOURCE);
    append(&world, lines(0, 20).as_bytes());
    let env = [("OPSWARD_FAILPOINT", "before-accept:1"), ("OPSWARD_WRONG", wrong)];
    if let Some(mut host) = world.start_with(&env).await {
        host.died().await;
    }
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.ok_or("the host did not start")?;
    append(&world, lines(20, 21).as_bytes());
    let waited = tokio::time::timeout(PATIENCE, async {
        while !seen(&world, &host).await.contains_key("s-20") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    waited.await.map_err(|_| "no line is an event")?;
    let found = seen(&world, &host).await;
    if found == each_once(0, 21) { Ok(()) } else { Err(format!("{} of 21 lines became events", found.len())) }
}

/// Odd things at the log's path are not opened, and the log is followed once it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_regular_file_is_followed() {
    let world = World::new().await;
    follow(&world, SOURCE);
    let log = world.dir.path().join("app.log");
    std::os::unix::fs::symlink("/etc/hostname", &log).expect("linked");
    let host = world.start().await;
    told(&world, "symbolic link").await;
    std::fs::remove_file(&log).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(&log).status().expect("mkfifo runs");
    assert!(made.success());
    told(&world, "not a regular file").await;
    std::fs::remove_file(&log).expect("removed");
    append(&world, b"ERROR at-last\n");
    eventually("the event", async || seen(&world, &host).await.contains_key("at-last").then_some(())).await;
}

async fn told(world: &World, what: &str) {
    eventually(what, async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("read");
        log.contains(what).then_some(())
    })
    .await;
}

/// A log gone wild slows down instead of flooding the store; nothing of it is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_lines_than_the_rate_allows_wait_in_the_log() {
    let world = World::new().await;
    follow(&world, &SOURCE.replace("1000", "40"));
    append(&world, lines(0, 200).as_bytes());
    let begun = std::time::Instant::now();
    let host = world.start().await;
    all_are_there(&world, &host, 200).await;
    // At 40 a second the first 160 take four seconds, however fast the machine is.
    assert!(begun.elapsed() >= std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
}

//! `opsward db` as an operator types it, beside a running host and without one, and what `serve` says of a store that was
//! damaged or restored.

use crate::harness::{EXECUTED, World, eventually, executed};
use crate::store::a_run_that_ended;
use crate::store::damage::{flip, ruin_page_of};
use opsward::store::Store as _;
use opsward::store::sqlite::SqliteStore;
use opsward_core::time::Timestamp;
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

/// sysexits `EX_SOFTWARE` and `EX_CANTCREAT`.
const SOFTWARE: i32 = 70;
const CANNOT_CREATE: i32 = 73;

/// The exit code of a command and all it printed.
async fn opsward(world: &World, args: &[&str]) -> (i32, String) {
    let output = world.command(args).output().await.expect("runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("an exit code"), said)
}

/// A world whose store has one run that is done, and its host ended.
async fn with_one_run() -> (World, String) {
    let world = World::new().await;
    let host = world.start().await;
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(host.terminate().await, Some(0));
    (world, runs[0]["id"].as_str().expect("an id").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_beside_a_running_host_counts_what_there_is_and_finds_nothing() {
    let world = World::new().await;
    let host = world.start().await;
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    world.settled_runs(&host, 1).await;
    let (code, said) = opsward(&world, &["db", "check"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("opsward.db  format ") && said.ends_with("no findings\n"), "{said}");
    assert!(said.lines().any(|line| line.split_whitespace().eq(["runs", "1"])), "{said}");
    let (code, said) = opsward(&world, &["db", "check", "-o", "json"]).await;
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &report["whole"], &report["findings"]), (0, &true.into(), &Value::Array(Vec::new())));
    let runs = report["tables"].as_array().expect("tables").iter().find(|table| table["table"] == "runs");
    assert_eq!(runs.expect("there")["rows"], 1);
    assert_eq!(host.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_the_run_whose_record_was_changed() {
    let (world, run) = with_one_run().await;
    flip(&world.dir.path().join("opsward.db"), "CreateSnapshot", 0x01);
    let (code, said) = opsward(&world, &["db", "check"]).await;
    assert_eq!(code, 1, "{said}");
    let named = said.lines().filter(|line| line.starts_with(&format!("finding: run {run}: row ")));
    assert!(named.count() > 0, "{said}");
    assert!(said.contains("its checksum is wrong"), "{said}");
    let host = world.start().await;
    let another = executed("i-bp18l0uopocfc98xxxx", "e-another");
    assert_eq!(world.post(&host, &another).await, Some(200), "one record stops no host");
    world.settled_runs(&host, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_is_found_and_keeps_the_host_from_starting() {
    let (world, _) = with_one_run().await;
    ruin_page_of(&world.dir.path().join("opsward.db"), "ledger");
    let (code, said) = opsward(&world, &["serve"]).await;
    assert_eq!(code, SOFTWARE, "{said}");
    assert!(said.contains("opsward.db` is damaged (") && said.contains("opsward db check"), "{said}");
    let (code, said) = opsward(&world, &["db", "check"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("finding: ") && said.contains("restore the latest backup"), "{said}");
    let (code, said) = opsward(&world, &["db", "check", "-o", "json"]).await;
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &report["whole"]), (1, &false.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_running_host_replaces_a_lost_store_and_says_so() {
    let world = World::new().await;
    let host = world.start().await;
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    world.settled_runs(&host, 1).await;
    let (code, said) = opsward(&world, &["db", "backup", "copy.db"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("copy.db  format ") && said.contains("copied from opsward.db at "), "{said}");
    let (code, said) = opsward(&world, &["db", "backup", "copy.db"]).await;
    assert_eq!(code, CANNOT_CREATE, "{said}");
    let (code, said) = opsward(&world, &["db", "compact"]).await;
    assert_eq!(code, SOFTWARE, "{said}");
    assert!(said.contains("stop it first"), "{said}");
    host.kill().await;

    for lost in ["opsward.db", "opsward.db-wal", "opsward.db-shm"] {
        std::fs::remove_file(world.dir.path().join(lost)).expect("removed");
    }
    std::fs::rename(world.dir.path().join("copy.db"), world.dir.path().join("opsward.db")).expect("restored");
    let log = world.dir.path().join("serve.log");
    let mut serve = world.command(&["serve"]);
    let mut serve =
        serve.stderr(Stdio::from(std::fs::File::create(&log).expect("a log"))).spawn().expect("starts");
    let said = eventually("the host to be ready", async || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        said.contains("\"ready\"").then_some(said)
    })
    .await;
    assert!(said.contains("the store is a restored copy") && said.contains("\"WARN\""), "{said}");
    serve.kill().await.expect("killed");
    let (code, said) = opsward(&world, &["db", "check"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("  restored at "), "{said}");
    let (code, said) = opsward(&world, &["db", "compact"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("opsward.db  ") && said.contains(" before, "), "{said}");
    let host = world.start().await;
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    assert_eq!(world.runs(&host).await.len(), 1, "the event is known from the copy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_deletes_what_was_kept_long_enough_and_counts_it() {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("read");
    world.write("opsward.toml", &settings.replace("[store]", "[store]\nkeep = \"40d\""));
    let now = UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    let now = Timestamp::from_ms(i64::try_from(now).expect("before the end of time"));
    let days_ago = |days: u64| now - Duration::from_secs(days * 24 * 3600);
    let store = SqliteStore::open(&world.dir.path().join("opsward.db")).expect("opens");
    for (id, at) in [("old", days_ago(41)), ("recent", days_ago(39)), ("newest", now)] {
        a_run_that_ended(&*store, id, at).await;
    }
    store.close().await.expect("closed");
    drop(store);
    let host = world.start().await;
    let left = eventually("the old run to go", async || {
        let runs = world.runs(&host).await;
        (runs.len() < 3).then_some(runs)
    })
    .await;
    let left: Vec<_> = left.iter().map(|run| run["event_id"].as_str().expect("an id")).collect();
    assert_eq!(left, ["newest", "recent"]);
    eventually("the count", async || {
        let url = format!("http://{}/metrics", host.admin);
        let metrics = world.http.get(url).send().await.expect("answers").text().await.expect("text");
        metrics.contains("opsward_store_deleted_total{what=\"runs\"} 1\n").then_some(())
    })
    .await;
    assert_eq!(host.terminate().await, Some(0));
    let (code, said) = opsward(&world, &["db", "check"]).await;
    assert_eq!(code, 0, "{said}");
}

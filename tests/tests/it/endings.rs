//! How a host ends, and what must not end it: signals, a failed disk, a panic, a cloud that hangs; and what of its secrets
//! the kernel shows meanwhile.

use crate::harness::{EXECUTED, World, eventually, executed};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// A drain may take this long, says the design.
const DRAIN_MAX: Duration = Duration::from_secs(20);
/// sysexits `EX_SOFTWARE`.
const SOFTWARE: i32 = 70;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_in_time_though_a_cloud_call_and_its_visitors_hang() {
    let world = World::new().await;
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    let hang = json!({ "action": "DescribeDisks", "kind": "slow", "times": 1, "delay_ms": 60_000 });
    world.sim_post("faults", hang).await;
    world.post(&host, &executed(&instance, "e-hang")).await;
    eventually("the call", async || {
        let requests = world.sim_get("requests").await.to_string();
        requests.contains("DescribeDisks").then_some(())
    })
    .await;
    let mut visitors = Vec::new();
    for address in [&host.listen, &host.admin] {
        let mut visitor = TcpStream::connect(address).await.expect("connected");
        visitor.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n").await.expect("begun");
        visitors.push(visitor);
    }
    let asked = Instant::now();
    assert_eq!(host.terminate().await, Some(0));
    assert!(asked.elapsed() < DRAIN_MAX, "{:?}", asked.elapsed());
    drop(visitors);

    let host = world.start().await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
    let snapshots = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| snapshots.get(disk) == Some(&1)), "{snapshots:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hang_up_ends_nothing() {
    let world = World::new().await;
    let host = world.start().await;
    let pid = host.child.id().expect("running").to_string();
    let sent = std::process::Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs");
    assert!(sent.success());
    eventually("the host to notice", async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default();
        log.contains("told to reload").then_some(())
    })
    .await;
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    assert_eq!(host.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_disk_has_failed_ends_so_that_it_is_started_again() {
    let world = World::new().await;
    let mut host = world.start_with(&[("OPSWARD_WRONG", "disk-error")]).await.expect("ready");
    assert_eq!(world.post(&host, EXECUTED).await, Some(503), "not recorded, not answered 200");
    host.died().await;
    assert_eq!(host.child.wait().await.expect("waited").code(), Some(SOFTWARE));
    let host = world.start().await;
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    world.settled_runs(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_over_which_the_host_panics_is_tried_again_and_says_so() {
    let world = World::new().await;
    let host = world.start_with(&[("OPSWARD_WRONG", "panic-in-run")]).await.expect("ready");
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    eventually("the run to be given back", async || {
        let runs = world.runs(&host).await;
        let note = runs.first().and_then(|run| run["note"].as_str().map(str::to_owned));
        (note.is_some_and(|note| note.contains("panicked")) && runs[0]["state"] == "ready").then_some(())
    })
    .await;
    host.kill().await;
    let host = world.start().await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_host_dumps_no_core() {
    let world = World::new().await;
    let host = world.start().await;
    let proc = std::path::Path::new("/proc").join(host.child.id().expect("running").to_string());
    let limits = std::fs::read_to_string(proc.join("limits")).expect("readable");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("listed");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_told_to_end_as_it_becomes_ready_ends_well() {
    let world = World::new().await;
    for _ in 0..10 {
        let host = world.start().await;
        assert_eq!(host.terminate().await, Some(0));
    }
}

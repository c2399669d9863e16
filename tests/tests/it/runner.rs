//! The process that runs guests: what it holds, what it can do, and what its death does to the runs in it. The judges are the
//! kernel, which shows a process's descriptors, memory and system calls, and the simulated clouds.

mod seen;

use crate::chaos::{HASTE, judge, next, world_under_fire};
use crate::harness::{EXECUTED, Host, TOKEN, World, eventually, executed, long, seed, times};
use seen::Process;
pub(crate) use seen::runners_of;
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// System calls by which a process gets hold of anything that it does not have.
const REACHING: [&str; 14] = [
    "accept", "bind", "clone", "connect", "creat", "execve", "fork", "listen", "open", "ptrace", "sendmsg",
    "socket", "splice", "unlink",
];

/// The runner of a host that is ready: plugins are judged in others, which end.
async fn runner_of(host: &Host) -> Process {
    let keeper = host.child.id().expect("running");
    eventually("the host to have one runner", async || {
        let mut runners = runners_of(keeper);
        (runners.len() == 1).then(|| runners.remove(0))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runner_holds_one_socket_and_no_environment_and_is_walled_in() {
    let world = World::new().await;
    let host = world.start().await;
    world.post(&host, EXECUTED).await;
    world.settled_runs(&host, 1).await;
    let runner = runner_of(&host).await;
    for status in runner.thread_statuses() {
        assert!(status.contains("\nSeccomp:\t2\n"), "{status}");
        assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    }
    let limits = runner.text("limits").expect("shown to everybody");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("listed");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");

    let Some(descriptors) = runner.descriptors() else { return };
    let pagemap = format!("/proc/{}/pagemap", runner.pid);
    let is = |what: &str| descriptors.iter().filter(|d| d.starts_with(what)).count();
    assert_eq!(is("socket:"), 1, "{descriptors:?}");
    let known = is("socket:") + is("anon_inode:") + is("/memfd:") + is(&pagemap);
    assert_eq!(known, descriptors.len(), "{descriptors:?}");
    assert_eq!(runner.text("environ").as_deref(), Some(""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_whose_compiled_code_is_lost_serves_in_the_next_runner() {
    let world = World::new().await;
    // Not the one that all tests share.
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("read");
    let shared = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
    assert!(settings.contains(shared));
    world.write("opsward.toml", &settings.replace(shared, "opsward.cache"));
    let host = world.start().await;
    let (instance, disks) = world.machine(2).await;
    world.post(&host, &executed(&instance, "e-before")).await;
    world.settled_runs(&host, 1).await;
    let cache = world.dir.path().join("opsward.cache");
    let files = std::fs::read_dir(&cache).expect("a cache").map(|file| file.expect("listed").path());
    let codes: Vec<_> = files.filter(|file| file.extension().is_some_and(|ext| ext == "cwasm")).collect();
    assert!(!codes.is_empty());
    for code in codes {
        std::fs::remove_file(code).expect("removed");
    }
    runner_of(&host).await.signal("-KILL");
    world.post(&host, &executed(&instance, "e-after")).await;
    let runs = world.settled_runs(&host, 2).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    assert_eq!(world.effects("CreateSnapshot").await.values().sum::<usize>(), 2 * disks.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_memory_of_the_runner() {
    let world = World::new().await;
    let host = world.start().await;
    let (instance, _) = world.machine(3).await;
    for n in 0..5 {
        world.post(&host, &executed(&instance, &format!("e-memory-{n}"))).await;
    }
    world.settled_runs(&host, 5).await;
    let keys = &world.sim.keys;
    let secrets = [
        keys.alibaba.access_key_id.as_str(),
        &keys.alibaba.access_key_secret,
        &keys.tencent.secret_id,
        &keys.tencent.secret_key,
        TOKEN,
    ];
    let of_clouds = 4;
    let runner = runner_of(&host).await;
    let Some(held) = runner.finds(&secrets) else { return };
    assert_eq!(held, [0; 5], "times each secret is in the runner's memory");
    // What is looked for can be found where it is.
    let keeper = Process { pid: host.child.id().expect("running") };
    let held = keeper.finds(&secrets).expect("readable, as the runner's");
    assert!(
        held[..of_clouds].iter().all(|times| *times > 0),
        "times each secret is in the keeper's memory: {held:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runner_reaches_for_nothing_while_it_works() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().await.is_err() {
        assert!(!long(), "strace is not installed: `apt-get install strace`");
        println!("SKIPPED: strace is not installed, and the runner's system calls are not looked at");
        return;
    }
    let world = World::new().await;
    let host = world.start().await;
    let (instance, _) = world.machine(3).await;
    let runner = runner_of(&host).await;
    let trace = world.dir.path().join("runner.strace");
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-p", &runner.pid.to_string(), "-o"])
        .arg(&trace)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("strace starts");
    let read = || std::fs::read_to_string(&trace).unwrap_or_default();
    // Traced once its threads are seen to do something; it is given something to do until then.
    let mut sent = 0;
    let traced = eventually("strace to see the runner answer", async || {
        sent += 1;
        world.post(&host, &executed(&instance, &format!("e-traced-{sent}"))).await;
        let refused = strace.try_wait().expect("asked").is_some();
        let answers = ["sendto(", "write("].iter().any(|call| read().contains(call));
        (refused || answers).then_some(!refused)
    })
    .await;
    if !traced {
        assert!(!runner.is_open_to_us(), "strace could not look at a process that this one may look at");
        println!("SKIPPED: this user may not trace the runner");
        return;
    }
    for n in 0..times(20, 60, 200) {
        world.post(&host, &executed(&instance, &format!("e-load-{n}"))).await;
        sent += 1;
    }
    // A plugin that comes later is mapped under the eyes of strace as well.
    world.put_plugin("nightly-reset");
    let runs = world.settled_runs(&host, sent).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    strace.kill().await.expect("killed");
    let trace = read();
    let calls: Vec<&str> =
        trace.lines().filter_map(|line| line.split_once(' ')).map(|(_, call)| call.trim()).collect();
    for call in &calls {
        assert!(!REACHING.iter().any(|reaching| call.starts_with(reaching)), "{call}");
        assert!(!call.contains("EPERM") && !call.contains("EACCES"), "needed and refused: {call}");
    }
    let mut names: Vec<&str> =
        calls.iter().filter_map(|call| call.split_once('(')).map(|(name, _)| name).collect();
    names.retain(|name| !name.starts_with('<'));
    let seen = names.len();
    names.sort_unstable();
    names.dedup();
    println!("{seen} system calls of a working runner: {}", names.join(" "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deaths_of_the_runner_at_random_moments_lose_nothing_and_double_nothing() {
    let mut random = seed("deaths_of_the_runner");
    let (world, mut sender) = world_under_fire().await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let deaths = times(10, 100, 2000);
    for death in 0..deaths {
        for _ in 0..2 + next(&mut random) % 4 {
            assert_eq!(sender.send_new(&world, &host).await, Some(200), "the host lives");
            tokio::time::sleep(Duration::from_millis(next(&mut random) % 30)).await;
        }
        tokio::time::sleep(Duration::from_millis(next(&mut random) % 200)).await;
        let runner = runner_of(&host).await;
        // The first fault that no guest has made restores what the signal does by itself; the second does it.
        let signal = if death % 3 == 0 { "-KILL" } else { "-SEGV" };
        eventually("the runner to die", async || {
            runner.signal(signal);
            (!runner.lives()).then_some(())
        })
        .await;
    }
    judge(&world, &host, &mut sender).await;
    println!("{deaths} deaths of the runner, {} events", sender.sent.len());
    assert_eq!(host.terminate().await, Some(0), "the host never noticed more than a fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_kills_its_runner_is_given_up_and_its_neighbours_end_well() {
    let world = World::new().await;
    let (instance, disks) = world.machine(3).await;
    let wrong = [("OPSWARD_WRONG", "runner-dies-of-poison"), ("OPSWARD_HASTE", "50")];
    let host = world.start_with(&wrong).await.expect("ready");
    for happening in ["e-fine-1", "e-poison", "e-fine-2", "e-fine-3"] {
        assert_eq!(world.post(&host, &executed(&instance, happening)).await, Some(200));
    }
    let runs = world.settled_runs(&host, 4).await;
    let dead: Vec<_> = runs.iter().filter(|run| run["state"] == "dead").collect();
    assert_eq!(dead.len(), 1, "{runs:#?}");
    assert!(dead[0]["note"].as_str().expect("a note").contains("10 processes died"), "{dead:#?}");
    assert!(runs.iter().all(|run| run["state"] == "done" || run == dead[0]), "{runs:#?}");
    let snapshots = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| snapshots.get(disk) == Some(&3)), "{snapshots:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_under_way_outlives_the_runner_that_asked_for_it() {
    an_effect_outlives_its_runner("").await.expect("one sending");
}

/// Kills the runner while the cloud holds back the answer to an effect.
pub(crate) async fn an_effect_outlives_its_runner(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let (instance, disks) = world.machine(1).await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let slow = json!({ "action": "CreateSnapshot", "kind": "slow", "times": 1, "delay_ms": 1500 });
    world.sim_post("faults", slow).await;
    world.post(&host, &executed(&instance, "e-outlived")).await;
    eventually("the effect", async || (!world.effects("CreateSnapshot").await.is_empty()).then_some(()))
        .await;
    runner_of(&host).await.signal("-KILL");
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
    assert_eq!(world.effects("CreateSnapshot").await.get(&disks[0]), Some(&1));
    // Its answer was recorded, and not asked for again.
    match world.sim_get("counts").await["by_action"]["ecs:CreateSnapshot"].as_u64() {
        Some(1) => Ok(()),
        sent => Err(format!("an effect was sent {sent:?} times because its runner died")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runner_ends_with_its_host_however_that_ends() {
    let world = World::new().await;
    let (instance, _) = world.machine(1).await;
    for kill in [true, false] {
        let host = world.start().await;
        let runner = runner_of(&host).await;
        // What the system tells a whole group of processes is for the host to act on.
        for signal in ["-TERM", "-INT", "-HUP"] {
            runner.signal(signal);
        }
        world.post(&host, &executed(&instance, &format!("e-signals-{kill}"))).await;
        world.settled_runs(&host, 1 + usize::from(!kill)).await;
        assert!(runner.lives());
        if kill {
            host.kill().await;
        } else {
            assert_eq!(host.terminate().await, Some(0));
        }
        eventually("the runner to end", async || (!runner.lives()).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_process_is_had_by_asking_and_said_loudly() {
    let world = World::new().await;
    let mut command = world.command(&["serve", "--config", "opsward.toml", "--single-process"]);
    let host = world.start_by(&mut command).await.expect("ready");
    assert!(runners_of(host.child.id().expect("running")).is_empty());
    world.post(&host, EXECUTED).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("readable");
    assert!(log.contains("--single-process"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_what_holds_the_runner() {
    let world = World::new().await;
    let _host = world.start().await;
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("readable");
    assert!(log.contains("runner sandboxed: seccomp"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_nobody_started_says_who_does() {
    let world = World::new().await;
    let mut command = world.command(&["runner"]);
    let output = command.stdin(Stdio::null()).output().await.expect("it ends");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by `opsward serve`"));
}

//! The whole path: events over HTTP into `opsward serve`, a SQLite store on disk, calls over HTTP to simulated clouds in
//! a process of their own. The sender is this process. All three share the machine, so that events per second are the
//! machine's; processor time is that of the host alone.

use crate::machine::cpu_time;
use crate::measure::{Report, Target, at_share, median};
use crate::processes::{Clouds, Host, lay_out};
use crate::scene;
use anyhow::{Context as _, ensure};
use opsward_core::time::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Events of one sample.
const EVENTS: usize = 2_000;
const SAMPLES: usize = 5;
/// Events under way at a time: sent, and their effects not all made.
const IN_FLIGHT: usize = 128;
/// Connections of the sender.
const SENDERS: usize = 32;
/// Events whose latency is taken, at a pace well below what the machine can do.
const PACED_EVENTS: usize = 1_000;
const PACE: Duration = Duration::from_millis(5);
/// Machines in the simulated clouds that events are about, in turns.
const MACHINES: usize = 16;
/// How often the clouds are asked how far they are.
const LOOK: Duration = Duration::from_millis(5);
/// How long the clouds may see nothing new before the benchmark fails.
const STALLED: Duration = Duration::from_secs(30);
/// A tenth of what the article's Python function takes for 3 disks: 4.5 ms.
const CPU_MS_MAX: f64 = 0.45;

const EXECUTED: &str = include_str!("../../events/aliyun-cms-ecs-reboot-executed.json");

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    Builder::new_multi_thread().enable_all().build()?.block_on(async {
        for disks in [1, 3] {
            measure(report, disks).await.with_context(|| format!("{disks} effects"))?;
        }
        unwanted(report).await
    })
}

async fn measure(report: &mut Report, disks: usize) -> anyhow::Result<()> {
    let world = World::new(disks).await?;
    let effects = if disks == 1 { "1 effect" } else { "3 effects" };
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    // The first sample warms up.
    for sample in 0..=SAMPLES {
        let (began, used) = (Instant::now(), cpu_time(world.host.pid)?);
        world.send_all(&format!("sample-{sample}"), disks).await?;
        if sample > 0 {
            rates.push(EVENTS as f64 / began.elapsed().as_secs_f64());
            let used = cpu_time(world.host.pid)? - used;
            times.push(used.as_secs_f64() * 1e3 / EVENTS as f64);
        }
    }
    report.figure(format!("path: {effects}, whole machine"), median(&rates), "events/s");
    let what = format!("path: {effects}, processor time of the host");
    if disks == 3 {
        report.against(what, median(&times), "ms/event", Target::AtMost(CPU_MS_MAX));
    } else {
        report.figure(what, median(&times), "ms/event");
    }
    let latencies = world.pace(disks).await?;
    report.figure(format!("path: {effects}, sent to first call, p50"), median(&latencies), "ms");
    report.figure(format!("path: {effects}, sent to first call, p99"), at_share(&latencies, 0.99), "ms");
    world.host.stop().await
}

/// Events that no policy wants, over HTTP.
async fn unwanted(report: &mut Report) -> anyhow::Result<()> {
    let world = World::new(1).await?;
    let mut times = Vec::new();
    for sample in 0..=SAMPLES {
        let used = cpu_time(world.host.pid)?;
        let bodies = (0..EVENTS).map(|nth| unwanted_event(&format!("unwanted-{sample}-{nth}"))).collect();
        world.post_all(bodies, &Arc::new(Semaphore::new(EVENTS))).await?;
        if sample > 0 {
            times.push((cpu_time(world.host.pid)? - used).as_secs_f64() * 1e3 / EVENTS as f64);
        }
    }
    ensure!(world.effects().await? == 0, "an event that nobody wants had an effect");
    report.figure("path: wanted by none, processor time of the host", median(&times), "ms/event");
    world.host.stop().await
}

struct World {
    clouds: Clouds,
    host: Host,
    http: Client,
    /// Last, so that it is removed after the host has ended.
    _directory: tempfile::TempDir,
}

impl World {
    /// Clouds whose machines have so many disks, and a host with the bundled policy for reboots.
    async fn new(disks: usize) -> anyhow::Result<Self> {
        let directory = scene::directory()?;
        let clouds = Clouds::start().await?;
        let http = Client::builder().no_proxy().build()?;
        let state = json!({
            "limits": { "snapshots_per_disk": usize::MAX / 2, "essd_in_progress": usize::MAX / 2 },
            "alibaba": machines(&http, &clouds.url, disks).await?,
        });
        let put = http.put(format!("{}/_sim/state", clouds.url)).body(state.to_string()).send().await?;
        ensure!(put.status().is_success(), "the clouds refuse the machines: {}", put.text().await?);

        let plugins = lay_out(directory.path(), &clouds)?;
        let plugin = opsward_bundle::plugin("snapshot-on-reboot").context("the bundle has no such plugin")?;
        std::fs::write(plugins.join(format!("{}.wasm", plugin.name)), plugin.bytes)?;
        let policy = include_str!("snapshot-on-reboot.toml").replace("{plugin}", plugin.name);
        std::fs::write(plugins.join(format!("{}.toml", plugin.name)), policy)?;
        let host = Host::start(directory.path(), &clouds).await?;
        Ok(Self { clouds, host, http, _directory: directory })
    }

    /// Sends `EVENTS` events, never more than `IN_FLIGHT` ahead of their effects, and waits for all effects.
    async fn send_all(&self, sample: &str, disks: usize) -> anyhow::Result<()> {
        let before = self.effects().await?;
        let room = Arc::new(Semaphore::new(IN_FLIGHT));
        let bodies = (0..EVENTS).map(|nth| event(nth % MACHINES, &format!("{sample}-{nth}"))).collect();
        let made = async {
            let (mut done, mut progress) = (0, Instant::now());
            while done < EVENTS {
                tokio::time::sleep(LOOK).await;
                let now_done = (self.effects().await? - before) / disks;
                if now_done > done {
                    room.add_permits(now_done - done);
                    (done, progress) = (now_done, Instant::now());
                }
                ensure!(progress.elapsed() < STALLED, "{done} of {EVENTS} events had their effects");
            }
            Ok(())
        };
        tokio::try_join!(self.post_all(bodies, &room), made)?;
        let effects = self.effects().await? - before;
        ensure!(effects == EVENTS * disks, "{effects} effects instead of {}", EVENTS * disks);
        Ok(())
    }

    /// Posts each body once there is room for it; every one must be accepted.
    async fn post_all(&self, bodies: Vec<String>, room: &Arc<Semaphore>) -> anyhow::Result<()> {
        let waiting = Arc::new(Mutex::new(bodies));
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let (http, hook) = (self.http.clone(), self.host.hook.clone());
            let (room, waiting) = (room.clone(), waiting.clone());
            senders.spawn(async move {
                loop {
                    let body = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(body) = body else { return anyhow::Ok(()) };
                    room.acquire().await?.forget();
                    post(&http, &hook, body).await?;
                }
            });
        }
        while let Some(sender) = senders.join_next().await {
            sender??;
        }
        Ok(())
    }

    /// Sends events at an even pace. The time of each from its sending to its first call's arrival in the clouds, in ms.
    async fn pace(&self, disks: usize) -> anyhow::Result<Vec<f64>> {
        let before = self.effects().await?;
        let seen_before = self.sim("counts").await?["requests"].as_u64().context("no count of requests")?;
        let mut sent: HashMap<String, Vec<f64>> = HashMap::new();
        let mut posts = JoinSet::new();
        let mut tick = tokio::time::interval(PACE);
        for nth in 0..PACED_EVENTS {
            tick.tick().await;
            sent.entry(machine(nth % MACHINES)).or_default().push(now_ms());
            let (http, hook) = (self.http.clone(), self.host.hook.clone());
            let body = event(nth % MACHINES, &format!("paced-{nth}"));
            posts.spawn(async move { post(&http, &hook, body).await });
        }
        while let Some(post) = posts.join_next().await {
            post??;
        }
        let deadline = Instant::now() + STALLED;
        while self.effects().await? - before < PACED_EVENTS * disks {
            ensure!(Instant::now() < deadline, "paced events had no effects");
            tokio::time::sleep(LOOK).await;
        }
        let mut arrived: HashMap<String, Vec<f64>> = HashMap::new();
        for request in
            self.sim(&format!("requests?since={seen_before}")).await?.as_array().context("a list")?
        {
            if request["action"] == "DescribeDisks" {
                let time = request["time"].as_str().and_then(Timestamp::parse_rfc3339);
                // The clouds tell whole milliseconds: half of one is the mean of what they leave out.
                let ms = time.context("a request without a time")?.ms() as f64 + 0.5;
                let about = request["params"]["InstanceId"].as_str().unwrap_or_default();
                arrived.entry(about.to_owned()).or_default().push(ms);
            }
        }
        let latencies: Vec<f64> = sent
            .iter()
            .flat_map(|(machine, sent)| {
                let arrived = arrived.get(machine).map(Vec::as_slice).unwrap_or_default();
                sent.iter().zip(arrived).map(|(sent, arrived)| arrived - sent)
            })
            .collect();
        ensure!(latencies.len() == PACED_EVENTS, "{} of {PACED_EVENTS} first calls", latencies.len());
        Ok(latencies)
    }

    /// Effects that took place so far.
    async fn effects(&self) -> anyhow::Result<usize> {
        let count = self.sim("counts").await?["effects"].as_u64().context("no count of effects")?;
        Ok(usize::try_from(count)?)
    }

    async fn sim(&self, what: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}/_sim/{what}", self.clouds.url)).send().await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}

/// Machines and their disks, made after one that the clouds have.
async fn machines(http: &Client, url: &str, disks: usize) -> anyhow::Result<Value> {
    let answer = http.get(format!("{url}/_sim/state")).send().await?;
    let state: Value = serde_json::from_slice(&answer.bytes().await?)?;
    let (instances, all_disks) = (&state["alibaba"]["instances"], &state["alibaba"]["disks"]);
    let in_region = |one: &&Value| one["region"] == "cn-hangzhou";
    let instance = instances.as_object().and_then(|all| all.values().find(in_region));
    let instance = instance.context("the clouds have no machine in the region")?;
    let attached = |one: &&Value| one["region"] == "cn-hangzhou" && one["instance_id"].is_string();
    let disk = all_disks.as_object().and_then(|all| all.values().find(attached));
    let disk = disk.context("the clouds have no disk in the region")?;
    let (mut made, mut made_disks) = (serde_json::Map::new(), serde_json::Map::new());
    for nth in 0..MACHINES {
        made.insert(machine(nth), instance.clone());
        for slot in 0..disks {
            let mut disk = disk.clone();
            disk["instance_id"] = json!(machine(nth));
            made_disks.insert(format!("d-bench{nth:04}x{slot}"), disk);
        }
    }
    Ok(json!({ "instances": made, "disks": made_disks }))
}

fn machine(nth: usize) -> String {
    format!("i-bench{nth:04}")
}

/// The article's event in its Executed form, about another machine and happening.
fn event(nth: usize, happening: &str) -> String {
    let mut event: Value = serde_json::from_str(EXECUTED).expect("a sample is JSON");
    event["content"]["ecsInstanceId"] = json!(machine(nth));
    event["content"]["eventId"] = json!(happening);
    event["resourceId"] = json!(format!("acs:ecs:cn-hangzhou:12345678:instance/{}", machine(nth)));
    event.to_string()
}

/// An event that the policy is not woken by.
fn unwanted_event(happening: &str) -> String {
    let mut event: Value = serde_json::from_str(EXECUTED).expect("a sample is JSON");
    event["name"] = json!("Disk:Stalled:Executing");
    event["content"]["eventId"] = json!(happening);
    event.to_string()
}

async fn post(http: &Client, hook: &str, body: String) -> anyhow::Result<()> {
    let answer = http.post(hook).header("content-type", "application/json").body(body).send().await?;
    ensure!(answer.status().is_success(), "an event was answered {}", answer.status());
    answer.bytes().await?;
    Ok(())
}

fn now_ms() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "compared with the clouds' clock, which is the machine's")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

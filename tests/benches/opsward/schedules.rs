//! A hundred thousand schedules: reading them, their next fire times, ten thousand that fire at one midnight decided on through a
//! store on disk, and the memory of a host that watches them all.

use crate::machine::resident;
use crate::measure::{Report, Target};
use crate::processes::{Clouds, Host, lay_out};
use crate::scene::{self, Scene};
use anyhow::{Context as _, anyhow, ensure};
use opsward::clock::ManualClock;
use opsward::policy::{LivePolicy, Policies, PolicySet};
use opsward::store::{Decision, Firing, NewFiring, Store};
use opsward::trigger::timer::Timer;
use opsward_core::config::load_policy;
use opsward_core::pattern::{Index, Patterns};
use opsward_core::run::RunState;
use opsward_core::schedule::{Dialect, Schedule, ScheduleEntry};
use opsward_core::time::Timestamp;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::{Notify, watch};

const POLICIES: usize = 1_000;
/// Schedules of each policy.
const EACH: usize = 100;
/// Of these, those that fire at midnight.
const AT_MIDNIGHT: usize = 10;
const ZONES: [&str; 6] =
    ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Shanghai", "Asia/Kolkata", "UTC"];
/// Shortly before the midnight of 2026-06-15, a Monday, in UTC.
const EVENING: Timestamp = Timestamp::from_seconds(1_781_481_590);
const MIDNIGHT: Timestamp = Timestamp::from_seconds(1_781_481_600);
/// How long a burst, or the first look at all, may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a ready host is left alone before its memory is read.
const REST: Duration = Duration::from_secs(10);

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    compute(report)?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(burst(report))?;
    runtime.block_on(memory(report))
}

/// The line of the nth schedule, and its zone: times of the day, weekdays, days of the month, last days, paces.
fn line(nth: usize) -> (String, &'static str) {
    let (minute, hour, day) = (nth % 60, nth / 60 % 24, nth / 1440 % 28 + 1);
    let line = match nth % 5 {
        0 => format!("{minute} {hour} * * *"),
        1 => format!("{minute} {hour} * * {}", nth / 7 % 7),
        2 => format!("{minute} {hour} {day} * *"),
        3 => format!("{minute} {hour} L * *"),
        _ => format!("{}-59/5 {}-23 * * *", nth / 5 % 10 * 5 + 1, nth / 50 % 20),
    };
    (line, ZONES[nth % ZONES.len()])
}

fn compute(report: &mut Report) -> anyhow::Result<()> {
    let entries: Vec<ScheduleEntry> = (0..POLICIES * EACH)
        .map(|nth| {
            let (cron, zone) = line(nth);
            let (cron, zone) = (Some(cron), Some(zone.to_owned()));
            ScheduleEntry { cron, zone, dialect: Some(Dialect::Scf), ..ScheduleEntry::default() }
        })
        .collect();
    let begun = Instant::now();
    let schedules: Vec<Schedule> = entries.iter().map(Schedule::parse).collect::<Result<_, _>>()?;
    report.figure("schedules: reading 100,000 lines", begun.elapsed().as_secs_f64(), "s");
    let begun = Instant::now();
    let fire = schedules.iter().filter(|schedule| black_box(schedule.next_after(EVENING)).is_some()).count();
    let taken = begun.elapsed().as_secs_f64();
    ensure!(fire == schedules.len(), "{fire} schedules fire again");
    report.against("schedules: next fire times of 100,000", taken, "s", Target::AtMost(2.0));
    Ok(())
}

/// The file of the nth policy.
fn policy(nth: usize, plugin: &str) -> String {
    let head = include_str!("snapshot-on-reboot.toml").replace("{plugin}", plugin);
    let head = head
        .replace("on = [{ source = \"cloudmonitor\" }]\nconfig = { retention-days = 7 }\n", "{schedules}");
    let entries = (0..EACH).map(|at| match at {
        // Ten lines that differ, and all fire at that midnight.
        0..AT_MIDNIGHT => {
            format!("  {{ cron = \"0 0 15,{} * *\", dialect = \"unix\", zone = \"UTC\" }},\n", at + 1)
        }
        _ => {
            let (cron, zone) = line(nth * EACH + at);
            // None but those fire at that midnight or in the ten seconds before it.
            let cron = cron.replacen("0 ", "1 ", usize::from(cron.starts_with("0 ")));
            format!("  {{ cron = \"{cron}\", dialect = \"scf\", zone = \"{zone}\" }},\n")
        }
    });
    head.replace("{schedules}", &format!("schedule = [\n{}]\n", entries.collect::<String>()))
}

/// The policies in memory, with the measured guest's revision.
fn set(scene: &Scene) -> anyhow::Result<PolicySet> {
    let revision = scene.policies.load().policies.first().context("a policy")?.revision.clone();
    let host = scene::settings()?;
    let live = |nth: usize| {
        let name = format!("p-{nth:04}");
        let text = policy(nth, "bench");
        let settings = load_policy(&format!("{name}.toml"), &name, &text, &host).map_err(|findings| {
            anyhow!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })?;
        anyhow::Ok(Arc::new(LivePolicy { settings, revision: revision.clone() }))
    };
    let mut policies: Vec<_> = (0..POLICIES).map(live).collect::<Result<_, _>>()?;
    // Looked at last, it tells that all have been looked at.
    let last = "plugin = \"bench.wasm\"\nschedule = [{ every = \"8760h\", misfire = \"skip\" }]\n";
    let settings = load_policy("z.toml", "z", last, &host).map_err(|_| anyhow!("a good file"))?;
    policies.push(Arc::new(LivePolicy { settings, revision }));
    let index = Index::build(std::iter::repeat_n(&Patterns::default(), policies.len()));
    Ok(PolicySet { policies, index })
}

async fn burst(report: &mut Report) -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    let (clock, policies) = (Arc::new(ManualClock::at(EVENING)), Arc::new(Policies::default()));
    policies.store(set(&scene)?);
    let long_ago = Firing {
        policy: "z".parse()?,
        schedule: "every:8760h".to_owned(),
        fire_at: Timestamp::from_seconds(0),
        decision: Decision::SkippedLate,
        decided_at: Timestamp::from_seconds(0),
    };
    scene.store.fire(vec![NewFiring { firing: long_ago, event: None, overlaps: false, by: None }]).await?;
    let changed = Arc::new(Notify::new());
    let timer = Timer {
        store: scene.store.clone(),
        clock: clock.clone(),
        policies,
        policies_changed: changed.clone(),
        runs_ready: Arc::new(Notify::new()),
    };
    let (stop, stopping) = watch::channel(false);
    let begun = Instant::now();
    let watching = tokio::spawn(timer.run(stopping));
    until("the first look", async || Ok(scene.store.list_firings(9).await?.len() > 1)).await?;
    report.figure("schedules: first look at 100,000", begun.elapsed().as_secs_f64(), "s");
    let begun = Instant::now();
    clock.set(MIDNIGHT);
    changed.notify_one();
    let wanted = (POLICIES * AT_MIDNIGHT) as u64;
    let fired = async || {
        let counts = scene.store.count_runs().await?;
        let ready = counts.iter().find(|(state, _)| *state == RunState::Ready).map_or(0, |(_, runs)| *runs);
        ensure!(ready <= wanted, "{ready} runs were started");
        Ok(ready == wanted)
    };
    until("the burst", fired).await?;
    let taken = begun.elapsed().as_secs_f64();
    stop.send_replace(true);
    watching.await?;
    scene.store.close().await?;
    report.against("schedules: 10,000 firing at one midnight, all decided", taken, "s", Target::AtMost(5.0));
    Ok(())
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !look().await? {
        ensure!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The memory of a host with all of these schedules.
async fn memory(report: &mut Report) -> anyhow::Result<()> {
    let clouds = Clouds::start().await?;
    let dir = scene::directory()?;
    let plugins = lay_out(dir.path(), &clouds)?;
    let plugin = opsward_bundle::plugin("snapshot-on-reboot").context("the bundle has no such plugin")?;
    std::fs::write(plugins.join("snapshot-on-reboot.wasm"), plugin.bytes)?;
    for nth in 0..POLICIES {
        std::fs::write(plugins.join(format!("p-{nth:04}.toml")), policy(nth, "snapshot-on-reboot"))?;
    }
    let host = Host::start(dir.path(), &clouds).await?;
    report.figure("schedules: start to ready with 100,000", host.ready_after.as_secs_f64(), "s");
    tokio::time::sleep(REST).await;
    let memory = resident(host.pid)?.total_mib;
    report.against("schedules: resident, 100,000 watched", memory, "MiB", Target::AtMost(200.0));
    host.stop().await
}

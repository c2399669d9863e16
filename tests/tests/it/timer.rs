//! The timer with a clock that the test turns: misfire rules, overlaps, clocks that jump, policies that come and go, and a burst.
//! Leaves what is due to the tables in `opsward_core::schedule`, and whole hosts to `schedules`.

mod clocks;

use crate::harness::{compiler, eventually};
use crate::store::memory::{Disk, Gate};
use opsward::clock::ManualClock;
use opsward::plugin::engine::{Engine, Limits};
use opsward::plugin::registry::Registry;
use opsward::policy::Policies;
use opsward::store::{Decision, Firing, Standing, Store};
use opsward::trigger::timer::Timer;
use opsward_core::config::load_host;
use opsward_core::time::Timestamp;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// A directory with policies, made live, a clock, and a store that outlives timers.
struct Scene {
    clock: Arc<ManualClock>,
    disk: Disk,
    policies: Arc<Policies>,
    registry: Arc<Registry>,
    dir: tempfile::TempDir,
}

/// A timer at work.
struct Watching {
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    changed: Arc<Notify>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

const NIGHTLY: &str = r#"{ cron = "0 3 * * *", zone = "UTC", misfire = "skip" }"#;

/// Of June 2026; with the year before it, of the June of that year.
fn at(text: &str) -> Timestamp {
    if let Some((year, text)) = text.split_once('-') {
        let rest = text.replace(' ', "T");
        return Timestamp::parse_rfc3339(&format!("{year}-06-{rest}Z")).expect("an instant");
    }
    Timestamp::parse_rfc3339(&format!("2026-06-{}Z", text.replace(' ', "T"))).expect("an instant")
}

fn policy(schedules: &str) -> String {
    let text = include_str!("harness/nightly-reset.toml");
    text.replace(r#"{ cron = "{cron}", dialect = "scf", zone = "Asia/Shanghai" }"#, schedules)
}

impl Scene {
    /// One policy with these schedules, at `now`.
    async fn new(schedules: &str, now: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let plugins = dir.path().join("plugins.d");
        std::fs::create_dir(&plugins).expect("plugins.d");
        let plugin = opsward_bundle::plugin("nightly-reset").expect("bundled");
        std::fs::write(plugins.join("nightly-reset.wasm"), plugin.bytes).expect("written");
        std::fs::write(plugins.join("resets.toml"), policy(schedules)).expect("written");
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-guests");
        let engine = Engine::without_ticks(Limits::default(), &cache, compiler()).expect("an engine");
        let settings = load_host("opsward.toml", include_str!("simulation/opsward.toml")).expect("settings");
        let policies = Arc::new(Policies::default());
        let base = dir.path().to_owned();
        let opened = Registry::open(engine, base, settings, policies.clone(), Arc::new(Notify::new())).await;
        let registry = opened.expect("plugins are taken");
        assert_eq!(policies.load().policies.len(), 1, "{:?}", registry.status());
        let clock = Arc::new(ManualClock::at(at(now)));
        Self { clock, disk: Disk::default(), policies, registry, dir }
    }

    /// Starts a timer on what is on the disk.
    async fn watch(&self) -> Watching {
        let watching = self.watch_through(None);
        looked().await;
        watching
    }

    /// The same, with this between timer and store, and before the timer has looked.
    fn watch_through(&self, gate: Option<Arc<dyn Gate>>) -> Watching {
        let store: Arc<dyn Store> = Arc::new(self.disk.open(gate));
        let changed = Arc::new(Notify::new());
        let timer = Timer {
            store: store.clone(),
            clock: self.clock.clone(),
            policies: self.policies.clone(),
            policies_changed: changed.clone(),
            runs_ready: Arc::new(Notify::new()),
        };
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(timer.run(stopping));
        Watching { store, clock: self.clock.clone(), changed, stop, task }
    }
}

impl Watching {
    /// Turns the clock and has the timer look at it.
    async fn turn(&self, now: &str) {
        self.clock.set(at(now));
        self.changed.notify_one();
        looked().await;
    }

    /// Waits until so many fire times are decided on; all of them, oldest first, as `day hour:minute decision`.
    async fn decided(&self, count: usize) -> Vec<String> {
        let awaited = format!("{count} decisions");
        let firings = eventually(&awaited, async || {
            let firings = self.store.list_firings(10_000).await.expect("listed");
            (firings.len() >= count).then_some(firings)
        });
        let mut firings = firings.await;
        firings.sort_by_key(|firing| (firing.fire_at, firing.schedule.clone()));
        let show = |firing: &Firing| {
            let time = firing.fire_at.to_iso_seconds();
            format!("{} {} {}", &time[8..10], &time[11..16], firing.decision.as_str())
        };
        firings.iter().map(show).collect()
    }

    /// Has every run that is ready end.
    async fn end_runs(&self) {
        let now = Timestamp::from_ms(i64::MAX);
        for run in self.store.claim(10_000, now).await.expect("claimed") {
            self.store.finish(&run.claim, vec![], Standing::Done).await.expect("finished");
        }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("ended");
    }
}

/// Lets the timer look: it is on this thread, and a store in memory answers at once.
async fn looked() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn fire_times_missed_while_the_host_was_down_are_judged_by_the_misfire_rule() {
    let schedules = r#"{ cron = "0 3 * * *", zone = "UTC", misfire = "skip" }, { cron = "30 3 * * *", zone = "UTC", misfire = "once" },
        { cron = "45 3 * * *", zone = "UTC", misfire = "all", overlap = "allow" }"#;
    let scene = Scene::new(schedules, "01 02:59:59").await;
    let watching = scene.watch().await;
    // Known from the first decision on; before, a fire time is none of its own.
    watching.turn("01 03:00:00").await;
    watching.decided(1).await;
    watching.turn("01 03:30:00").await;
    watching.decided(2).await;
    watching.turn("01 03:45:00").await;
    assert_eq!(watching.decided(3).await, ["01 03:00 fired", "01 03:30 fired", "01 03:45 fired"]);
    watching.end_runs().await;
    watching.stop().await;

    scene.clock.set(at("03 12:00:00"));
    let watching = scene.watch().await;
    let expected = [
        "02 03:00 skipped-late",
        "02 03:30 skipped-late",
        "02 03:45 fired",
        "03 03:00 skipped-late",
        "03 03:30 fired",
        "03 03:45 fired",
    ];
    assert_eq!(watching.decided(9).await[3..], expected);
    watching.stop().await;
}

#[tokio::test]
async fn a_small_jump_ahead_is_missed_time_and_a_large_one_never_was() {
    let scene = Scene::new(r#"{ cron = "0 * * * *", zone = "UTC", misfire = "once" }"#, "01 00:30:00").await;
    let watching = scene.watch().await;
    watching.turn("01 01:00:00").await;
    watching.decided(1).await;
    watching.end_runs().await;
    // Two hours and a half: what lay between is made up for.
    watching.turn("01 03:30:00").await;
    assert_eq!(watching.decided(3).await, ["01 01:00 fired", "01 02:00 skipped-late", "01 03:00 fired"]);
    watching.end_runs().await;
    // Four hours: it never was, and the next hour is as any other.
    watching.turn("01 07:30:00").await;
    watching.turn("01 08:00:00").await;
    assert_eq!(watching.decided(4).await[3..], ["01 08:00 fired"]);
    watching.stop().await;
}

#[tokio::test]
async fn a_clock_set_back_a_little_repeats_nothing_and_one_set_back_far_begins_anew() {
    let scene = Scene::new(r#"{ cron = "0 * * * *", zone = "UTC", misfire = "once" }"#, "02 09:30:00").await;
    let watching = scene.watch().await;
    watching.turn("02 10:00:00").await;
    watching.decided(1).await;
    watching.end_runs().await;
    // Within three hours: silent until it has caught up.
    watching.turn("02 08:30:00").await;
    watching.turn("02 09:00:00").await;
    watching.turn("02 11:00:00").await;
    assert_eq!(watching.decided(2).await, ["02 10:00 fired", "02 11:00 fired"]);
    watching.end_runs().await;
    // Beyond: hours that were not fired yet are fired, those that were are not.
    watching.turn("02 06:30:00").await;
    watching.turn("02 07:00:00").await;
    assert_eq!(watching.decided(3).await[0], "02 07:00 fired");
    watching.end_runs().await;
    watching.turn("02 09:30:00").await;
    watching.end_runs().await;
    watching.turn("02 10:00:30").await;
    watching.turn("02 12:00:00").await;
    let decided = watching.decided(6).await;
    let fired: Vec<_> =
        decided.iter().filter(|text| text.ends_with(" fired")).map(|text| &text[3..8]).collect();
    assert_eq!(fired, ["07:00", "09:00", "10:00", "11:00", "12:00"], "each once: {decided:?}");
    watching.stop().await;
}

#[tokio::test]
async fn a_stop_is_obeyed_in_the_midst_of_what_a_long_sleep_has_left() {
    let lines: Vec<_> =
        (0..20).map(|minute| format!(r#"{{ cron = "{minute} * * * *", zone = "UTC" }}"#)).collect();
    let scene = Scene::new(&lines.join(",\n"), "01 00:59:30").await;
    let watching = scene.watch().await;
    watching.turn("01 01:30:00").await;
    watching.decided(20).await;
    watching.end_runs().await;
    watching.stop().await;
    scene.clock.set(at("09 01:30:00"));
    let watching = scene.watch_through(None);
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    let store = watching.store.clone();
    watching.stop().await;
    let decided = store.list_firings(100_000).await.expect("listed").len();
    let missed = 20 * 8 * 24;
    assert!(decided < 20 + missed, "{decided} are decided on: nobody else had a turn");
    let watching = scene.watch().await;
    assert_eq!(watching.decided(20 + missed).await.len(), 20 + missed, "the next host has them");
    watching.stop().await;
}

#[tokio::test]
async fn a_fire_time_waits_for_the_last_run_to_end_and_is_fired_then_also_by_the_next_host() {
    let scene = Scene::new(
        r#"{ cron = "0 * * * *", zone = "UTC", overlap = "queue", misfire = "skip" }"#,
        "01 00:30:00",
    )
    .await;
    let watching = scene.watch().await;
    for hour in ["01 01:00:00", "01 02:00:00", "01 03:00:00"] {
        watching.turn(hour).await;
        watching.decided(usize::from(hour.as_bytes()[4] - b'0')).await;
    }
    let expected = ["01 01:00 fired", "01 02:00 queued", "01 03:00 skipped-overlap"];
    assert_eq!(watching.decided(3).await, expected);
    watching.stop().await;
    scene.clock.set(at("01 03:20:00"));
    let watching = scene.watch().await;
    watching.end_runs().await;
    let fired = eventually("the one that waits to be fired", async || {
        watching.clock.set(at("01 03:30:00"));
        watching.changed.notify_one();
        let firings = watching.store.list_firings(9).await.expect("listed");
        firings
            .iter()
            .find(|one| one.fire_at == at("01 02:00:00") && one.decision == Decision::Fired)
            .cloned()
    });
    assert_eq!(fired.await.decided_at, at("01 03:30:00"));
    assert_eq!(watching.store.claim(9, at("02 00:00:00")).await.expect("claimed").len(), 1, "once");
    watching.stop().await;
}

#[tokio::test]
async fn what_a_policy_missed_while_it_was_away_was_not_its_own() {
    let scene = Scene::new(NIGHTLY, "01 02:59:00").await;
    let watching = scene.watch().await;
    watching.turn("01 03:00:00").await;
    watching.decided(1).await;
    watching.end_runs().await;
    let file = scene.dir.path().join("plugins.d/resets.toml");
    std::fs::remove_file(&file).expect("removed");
    scene.registry.scan().await.expect("read");
    assert!(scene.policies.load().policies.is_empty());
    watching.turn("01 04:00:00").await;
    scene.clock.set(at("02 03:01:00"));
    std::fs::write(&file, policy(NIGHTLY)).expect("written");
    scene.registry.scan().await.expect("read");
    assert_eq!(scene.policies.load().policies.len(), 1, "{:?}", scene.registry.status());
    watching.turn("02 03:01:00").await;
    watching.turn("03 03:00:00").await;
    assert_eq!(watching.decided(2).await, ["01 03:00 fired", "03 03:00 fired"]);
    watching.stop().await;
}

/// Also by the next host, which knows no more of it than what was recorded.
#[tokio::test]
async fn what_a_policy_missed_while_it_was_away_is_not_made_up_for_after_a_restart() {
    let nightly = r#"{ cron = "0 3 * * *", zone = "UTC", misfire = "once" }"#;
    let scene = Scene::new(nightly, "01 02:59:00").await;
    let watching = scene.watch().await;
    watching.turn("01 03:00:00").await;
    watching.decided(1).await;
    watching.end_runs().await;
    let file = scene.dir.path().join("plugins.d/resets.toml");
    std::fs::remove_file(&file).expect("removed");
    scene.registry.scan().await.expect("read");
    // Hours apart as a host sees them: days at once are a clock that jumped.
    for hour in 2..31 {
        watching.turn(&format!("{:02} {:02}:10:00", 1 + hour / 12, hour % 12 * 2)).await;
    }
    std::fs::write(&file, policy(nightly)).expect("written");
    scene.registry.scan().await.expect("read");
    watching.turn("03 12:30:00").await;
    watching.stop().await;
    scene.clock.set(at("03 13:00:00"));
    let watching = scene.watch().await;
    watching.turn("03 14:00:00").await;
    assert_eq!(watching.decided(1).await, ["01 03:00 fired"]);
    watching.stop().await;
    // From then on it is: the next is missed for want of a host.
    scene.clock.set(at("04 03:10:00"));
    let watching = scene.watch().await;
    assert_eq!(watching.decided(2).await, ["01 03:00 fired", "04 03:00 fired"]);
    watching.stop().await;
}

#[tokio::test]
async fn the_first_fire_time_of_a_schedule_may_be_missed_for_want_of_a_host() {
    let rules = r#"{ cron = "0 3 * * *", zone = "UTC", misfire = "skip" }, { cron = "1 3 * * *", zone = "UTC", misfire = "once" }"#;
    let scene = Scene::new(rules, "01 12:00:00").await;
    scene.watch().await.stop().await;
    scene.clock.set(at("02 06:00:00"));
    let watching = scene.watch().await;
    assert_eq!(watching.decided(2).await, ["02 03:00 skipped-late", "02 03:01 fired"]);
    watching.stop().await;
}

#[tokio::test]
async fn a_burst_is_decided_on_to_the_last_schedule() {
    let lines: Vec<_> = (0..1500)
        .map(|n| format!("{{ cron = \"0 0 {} * *\", zone = \"UTC\", misfire = \"skip\" }}", days(n)))
        .collect();
    let scene = Scene::new(&lines.join(",\n"), "14 23:59:59").await;
    let watching = scene.watch().await;
    watching.turn("15 00:00:00").await;
    let decided = watching.decided(1500).await;
    assert_eq!(decided, vec!["15 00:00 fired"; 1500]);
    watching.stop().await;
}

/// A list of days of the month, another for each number, with the fifteenth in each.
fn days(n: usize) -> String {
    let others = (1..=11).filter(|day| n >> (day - 1) & 1 == 1).map(|day| day.to_string());
    others.chain(["15".to_owned()]).collect::<Vec<_>>().join(",")
}

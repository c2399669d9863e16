//! What was noted under a clock that ran a year ahead, once that has been set right: it silences no schedule, and has nothing fired
//! twice. Leaves smaller jumps to `super`.

use super::{NIGHTLY, Scene, at, looked};
use crate::store::memory::{Gate, Passage};
use futures::future::{BoxFuture, FutureExt as _};
use opsward::clock::Clock as _;
use opsward::store::{Pause, ScheduleKey};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A disk that takes nothing while it is full.
#[derive(Default)]
struct Full(AtomicBool);

impl Gate for Full {
    fn before(&self, _: &'static str) -> BoxFuture<'_, Passage> {
        let full = self.0.load(Ordering::SeqCst);
        std::future::ready(if full { Passage::Full } else { Passage::Free }).boxed()
    }

    fn after(&self, _: &'static str, _: String) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn is_open(&self) -> bool {
        true
    }
}

/// Fires every hour at :00 and lets one wait.
const QUEUE: &str = r#"{ cron = "0 * * * *", zone = "UTC", overlap = "queue", misfire = "skip" }"#;

#[tokio::test]
async fn nothing_that_was_noted_under_a_clock_a_year_ahead_silences_a_schedule() {
    for restarts in [false, true] {
        let scene = Scene::new(QUEUE, "01 00:30:00").await;
        let mut watching = scene.watch().await;
        // A year ahead one is fired, one waits for it, and a pause comes and goes.
        watching.turn("2027-01 00:30:00").await;
        for (hour, decided) in [("2027-01 01:00:00", 1), ("2027-01 02:00:00", 2)] {
            watching.turn(hour).await;
            watching.decided(decided).await;
        }
        let policy = scene.policies.load().policies[0].settings.name.clone();
        let text = scene.policies.load().policies[0].settings.schedules[0].shared_text();
        let key = ScheduleKey { policy, schedule: text };
        let now = scene.clock.now();
        let pause = Pause { by: "alice".to_owned(), why: String::new(), at: now, until: None };
        watching.store.pause_schedule(key.clone(), pause).await.expect("paused");
        assert!(watching.store.resume_schedule(key, "alice".to_owned(), now).await.expect("resumed"));
        watching.end_runs().await;
        if restarts {
            watching.stop().await;
            scene.clock.set(at("01 00:45:00"));
            watching = scene.watch().await;
        } else {
            watching.turn("01 00:45:00").await;
        }
        for (hour, decided) in [("01 01:00:00", 3), ("01 02:00:00", 4)] {
            watching.turn(hour).await;
            watching.decided(decided).await;
            watching.end_runs().await;
        }
        let expected = ["01 01:00 fired", "01 01:00 fired", "01 02:00 fired", "01 02:00 queued"];
        let mut decided = watching.decided(4).await;
        decided.sort();
        assert_eq!(decided, expected, "restarts: {restarts}");
        // A year later what waited is fired at its time, and what was fired is not fired again.
        watching.turn("2027-01 00:45:00").await;
        watching.turn("2027-01 01:00:30").await;
        watching.turn("2027-01 02:00:00").await;
        watching.end_runs().await;
        let mut decided = watching.decided(4).await;
        decided.sort();
        assert_eq!(decided.len(), 4, "{decided:?}");
        assert!(!decided.iter().any(|one| one.ends_with("queued")), "{decided:?}");
        watching.stop().await;
    }
}

#[tokio::test]
async fn what_could_not_be_recorded_under_a_clock_a_year_ahead_is_looked_at_once_it_is_set_back() {
    let scene = Scene::new(NIGHTLY, "01 02:30:00").await;
    let watching = scene.watch().await;
    watching.turn("01 03:00:00").await;
    watching.decided(1).await;
    watching.end_runs().await;
    watching.stop().await;
    scene.clock.set(at("2027-01 03:01:00"));
    let full = Arc::new(Full(AtomicBool::new(true)));
    let watching = scene.watch_through(Some(full.clone()));
    looked().await;
    full.0.store(false, Ordering::SeqCst);
    watching.turn("02 02:30:00").await;
    watching.turn("02 03:00:00").await;
    assert_eq!(watching.decided(2).await, ["01 03:00 fired", "02 03:00 fired"]);
    watching.stop().await;
}

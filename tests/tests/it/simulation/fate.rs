//! What a seed decides: faults of the store, crashes, the clock's error; and the record of what happened, as one hash. Leaves
//! the cloud's faults to `cloud`.

use crate::store::memory::{Gate, Passage};
use futures::future::BoxFuture;
use opsward::clock::Clock;
use opsward_core::time::Timestamp;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z.
const BEGIN_MS: i64 = 1_767_225_600_000;
/// One verb in so many finds the disk full.
const FULL_ONE_IN: u64 = 250;
/// One verb in so many takes seconds.
const SLOW_ONE_IN: u64 = 150;
/// Verbs of a host that has nothing to do; they have no faults, so that faults come where something happens.
const IDLE: [&str; 3] = ["claim", "next-wake", "schedule-state"];

/// One seed's decisions and record.
pub(super) struct Fate {
    inner: Mutex<Inner>,
    begun: Instant,
    skew_ms: AtomicI64,
    pub(super) crashed: Notify,
}

struct Inner {
    random: u64,
    seen: DefaultHasher,
    log: Option<Vec<String>>,
    life: u32,
    steps_left: Option<u64>,
    doubts: Vec<i64>,
}

impl Fate {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        let inner = Inner {
            random: seed ^ 0x9e37_79b9_7f4a_7c15,
            seen: DefaultHasher::new(),
            log: std::env::var_os("OPSWARD_SIMULATION_LOG").map(|_| Vec::new()),
            life: 0,
            steps_left: None,
            doubts: Vec::new(),
        };
        let (begun, skew_ms, crashed) = (Instant::now(), AtomicI64::new(0), Notify::new());
        Arc::new(Self { inner: Mutex::new(inner), begun, skew_ms, crashed })
    }

    /// A number below `bound`, by SplitMix64.
    pub(super) fn below(&self, bound: u64) -> u64 {
        let mut inner = self.lock();
        inner.random = inner.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = inner.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// The true time.
    pub(super) fn now_ms(&self) -> i64 {
        BEGIN_MS + i64::try_from(self.begun.elapsed().as_millis()).expect("days")
    }

    pub(super) fn set_skew(&self, ms: i64) {
        self.skew_ms.store(ms, Ordering::SeqCst);
    }

    pub(super) fn note(&self, what: &str) {
        let now = self.now_ms();
        let mut inner = self.lock();
        (now, what).hash(&mut inner.seen);
        if let Some(log) = &mut inner.log {
            log.push(format!("{} {what}", now - BEGIN_MS));
        }
    }

    /// Something happened after which an effect may be unclear.
    pub(super) fn doubt(&self) {
        let now = self.now_ms();
        self.lock().doubts.push(now);
    }

    pub(super) fn was_in_doubt_since(&self, ms: i64) -> bool {
        self.lock().doubts.iter().any(|at| *at >= ms)
    }

    pub(super) fn hash(&self) -> u64 {
        self.lock().seen.finish()
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.lock().log.take().unwrap_or_default()
    }

    /// A host that dies after `steps` more steps, if any.
    pub(super) fn begin_life(self: &Arc<Self>, steps: Option<u64>) -> Arc<Life> {
        let mut inner = self.lock();
        inner.life += 1;
        inner.steps_left = steps;
        Arc::new(Life { fate: self.clone(), id: inner.life })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One host between a start and a crash.
pub(super) struct Life {
    pub(super) fate: Arc<Fate>,
    id: u32,
}

impl Life {
    pub(super) fn is_over(&self) -> bool {
        self.fate.lock().life != self.id
    }

    /// Whether the host dies at this step, or has died before.
    pub(super) fn dies(&self) -> bool {
        let mut inner = self.fate.lock();
        if inner.life != self.id {
            return true;
        }
        let Some(left) = inner.steps_left else { return false };
        inner.steps_left = Some(left.saturating_sub(1));
        if left > 0 {
            return false;
        }
        inner.life += 1;
        drop(inner);
        self.fate.doubt();
        self.fate.note("crash");
        self.fate.crashed.notify_one();
        true
    }
}

impl Gate for Life {
    fn before(&self, verb: &'static str) -> BoxFuture<'_, Passage> {
        Box::pin(async move {
            let fate = &self.fate;
            if !IDLE.contains(&verb) {
                let ms = if fate.below(SLOW_ONE_IN) == 0 { fate.below(5_000) } else { fate.below(4) };
                tokio::time::sleep(Duration::from_millis(ms)).await;
                if self.dies() {
                    return std::future::pending().await;
                }
                if fate.below(FULL_ONE_IN) == 0 {
                    fate.doubt();
                    return Passage::Full;
                }
            } else if self.is_over() {
                return std::future::pending().await;
            }
            Passage::Free
        })
    }

    fn after(&self, verb: &'static str, gave: String) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if IDLE.contains(&verb) && !gave.contains("Claimed {") {
                return;
            }
            self.fate.note(&format!("{verb} {gave}"));
            if self.dies() {
                std::future::pending().await
            }
        })
    }

    fn is_open(&self) -> bool {
        !self.is_over()
    }
}

/// The host's clock: the true time and an error.
pub(super) struct Skewed(pub(super) Arc<Fate>);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.now_ms() + self.0.skew_ms.load(Ordering::SeqCst))
    }
}

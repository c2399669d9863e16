//! Two lanes for guests. A run begins on the threads of whoever asks for it, and goes on there while it keeps them for
//! moments only, as policies do. One that computes on moves to threads of its own, which the system runs when no other wants
//! to, a moment at a time; the next run of a policy whose last two did so begins there. So a policy that uses up its computing
//! time, run after run, takes it from none of the others. Leaves how much a run may compute to `guest`. Tested below.

use super::ticker::Ticker;
use opsward_core::id::PolicyName;
use std::cell::Cell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

/// How long a run may keep a thread in all before it moves: dozens of times what a policy in Rust takes, and less than a tick.
const QUICK: Duration = Duration::from_millis(4);
/// Runs of a policy in a row that were not quick until the next begins in the slow lane: one may have been the machine's fault.
const SLOW_RUNS: u8 = 2;

/// A thread of the slow lane that has computed so long rests before it goes on.
const STRETCH: Duration = Duration::from_micros(500);
/// How long it rests. The kernel's own threads are no part of this process's group of tasks: between groups the system shares
/// processors evenly, whatever it prefers within one, and what finishes a write to the disk would wait for slices of
/// milliseconds.
const REST: Duration = Duration::from_micros(50);

thread_local!(static GIVES_WAY: Cell<bool> = const { Cell::new(false) });

/// Whether this is a thread that runs when no other wants to: what others wait for is not for it to do.
pub(crate) fn gives_way() -> bool {
    GIVES_WAY.get()
}

/// The threads for runs that compute on.
pub(super) struct SlowLane {
    /// Taken when it is dropped.
    threads: Option<Runtime>,
    ticker: Ticker,
}

impl SlowLane {
    /// Starts a thread for each processor but one, and waits until they have started: nothing of it is left to be done in a
    /// process that walls itself in. They wait for time only; what waits for anything else is done at home.
    pub(super) fn start(ticker: Ticker) -> io::Result<Self> {
        // The first look at the processor's time asks the system for what it may not be asked within walls.
        computed();
        // Asks the system alone: a walled-in process has no files to ask.
        let processors = rustix::thread::sched_getaffinity(None)?.count() as usize;
        let threads = processors.saturating_sub(1).max(1);
        let (started, has_started) = mpsc::channel();
        let give_way = move || {
            GIVES_WAY.set(true);
            drop(started.send(give_way()));
        };
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("slow-guests").on_thread_start(give_way).enable_time();
        let runtime = builder.build()?;
        for given_way in has_started.iter().take(threads) {
            if let Err(problem) = given_way {
                tracing::warn!(%problem, "guests that compute for long do not give way to others");
            }
        }
        Ok(Self { threads: Some(runtime), ticker })
    }

    fn handle(&self) -> Option<&Handle> {
        self.threads.as_ref().map(Runtime::handle)
    }
}

impl Drop for SlowLane {
    fn drop(&mut self) {
        if let Some(runtime) = self.threads.take() {
            // Waiting for its threads is not allowed where this may happen.
            runtime.shutdown_background();
        }
    }
}

/// Has the system prefer every other thread to this one, at once. Being merely nicer is not enough: a thread keeps a slice that it
/// has begun for milliseconds, and an event on its way to an effect is woken ten times.
fn give_way() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How the last runs went of each policy that a plugin is bound to.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<HashMap<PolicyName, Arc<Pace>>>);

impl Paces {
    pub(super) fn of(&self, policy: &PolicyName) -> Arc<Pace> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match paces.get(policy) {
            Some(pace) => pace.clone(),
            None => paces.entry(policy.clone()).or_default().clone(),
        }
    }
}

/// How the last runs of a policy went.
#[derive(Debug, Default)]
pub(super) struct Pace {
    slow_runs: AtomicU8,
}

impl Pace {
    fn is_slow(&self) -> bool {
        self.slow_runs.load(Ordering::Relaxed) >= SLOW_RUNS
    }

    fn note(&self, kept: Duration) {
        let slow = self.slow_runs.load(Ordering::Relaxed);
        // Two runs that end at once may count as one: the next makes up for it.
        let slow = if kept < QUICK { slow.saturating_sub(1) } else { (slow + 1).min(SLOW_RUNS) };
        self.slow_runs.store(slow, Ordering::Relaxed);
    }
}

/// Runs a guest to its end, in the lane it belongs in. Dropped, it ends the guest.
pub(super) async fn run<T: Send + 'static>(
    guest: impl Future<Output = T> + Send + 'static,
    kept: Kept,
    pace: &Pace,
    slow: Option<&SlowLane>,
) -> T {
    let Some((slow, threads)) = slow.and_then(|slow| Some((slow, slow.handle()?))) else {
        return guest.await;
    };
    let mut guest = Timed { guest: Box::pin(guest), kept: kept.clone() };
    if !pace.is_slow() {
        let ended = poll_fn(|context| match Pin::new(&mut guest).poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if kept.so_far() >= QUICK => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(ended) = ended.await {
            pace.note(kept.so_far());
            return ended;
        }
    }
    // Its task is ended with this one.
    let mut moved = JoinSet::new();
    moved.spawn_on(resting(guest, slow.ticker.clone()), threads);
    match moved.join_next().await {
        Some(Ok(ended)) => {
            pace.note(kept.so_far());
            ended
        }
        Some(Err(failed)) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The lane is being shut down, and so is everything that waits for its guests.
        Some(Err(_)) | None => std::future::pending().await,
    }
}

/// Has the guest interrupted often while it computes, and the thread it is polled on rest after each stretch of that.
async fn resting<T>(guest: impl Future<Output = T> + Unpin, ticker: Ticker) -> T {
    thread_local!(static RESTED: Cell<Duration> = const { Cell::new(Duration::ZERO) });
    let mut guest = guest;
    poll_fn(|context| {
        let fast = ticker.go_fast();
        let polled = Pin::new(&mut guest).poll(context);
        drop(fast);
        if polled.is_pending() && computed().saturating_sub(RESTED.get()) >= STRETCH {
            std::thread::sleep(REST);
            RESTED.set(computed());
        }
        polled
    })
    .await
}

/// How long a guest has kept the threads it ran on, computing: brought up to date whenever it lets go of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Arc<AtomicU64>);

impl Kept {
    pub(super) fn so_far(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, more: Duration) {
        let nanos = u64::try_from(more.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// How long this thread has computed: unlike the time that goes by, it does not count what others take of a busy processor.
fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A guest whose computing is counted.
struct Timed<G: Future> {
    guest: Pin<Box<G>>,
    kept: Kept,
}

impl<G: Future> Future for Timed<G> {
    type Output = G::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let begun = computed();
        let polled = self.guest.as_mut().poll(context);
        self.kept.add(computed().saturating_sub(begun));
        polled
    }
}

/// Work for a guest in the runtime that the host's own work is done in, whichever lane the guest is in: connections and timers
/// that it leaves behind serve the others as well. Gives how long it kept the guest's thread, too.
pub(super) async fn at_home<T>(home: &Handle, work: impl Future<Output = T>) -> (T, Duration) {
    let mut work = std::pin::pin!(work);
    let mut worked = Duration::ZERO;
    poll_fn(|context| {
        let _inside = home.enter();
        let begun = computed();
        let polled = work.as_mut().poll(context);
        worked += computed().saturating_sub(begun);
        polled.map(|done| (done, worked))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{self, ThreadId};

    fn lane() -> SlowLane {
        SlowLane::start(Ticker::still()).expect("threads")
    }

    /// A guest that keeps its thread so long each time, and tells where it ended.
    async fn keep(each: Duration, times: u32) -> ThreadId {
        for _ in 0..times {
            let begun = computed();
            while computed().saturating_sub(begun) < each {}
            tokio::task::yield_now().await;
        }
        thread::current().id()
    }

    #[tokio::test]
    async fn a_guest_that_computes_on_moves_and_the_next_of_its_policy_begin_apart() {
        let (here, slow) = (thread::current().id(), lane());
        let pace = Pace::default();
        let quick = || run(keep(Duration::ZERO, 3), Kept::default(), &pace, Some(&slow));
        let heavy = || run(keep(QUICK, 2), Kept::default(), &pace, Some(&slow));
        assert_eq!(quick().await, here);
        assert_ne!(heavy().await, here);
        assert_ne!(heavy().await, here);
        assert!(pace.is_slow());
        assert_ne!(quick().await, here, "begins apart, and is quick there");
        assert!(!pace.is_slow());
    }

    #[tokio::test]
    async fn without_a_slow_lane_every_guest_stays() {
        let here = thread::current().id();
        assert_eq!(run(keep(QUICK, 2), Kept::default(), &Pace::default(), None).await, here);
    }

    #[tokio::test]
    async fn what_the_host_does_for_a_guest_apart_is_done_at_home() {
        let (home, slow) = (Handle::current(), lane());
        let of_host = home.id();
        let guest = async move {
            tokio::task::yield_now().await;
            (Handle::current().id(), at_home(&home, async { Handle::current().id() }).await.0)
        };
        let pace = Pace { slow_runs: SLOW_RUNS.into() };
        let (of_guest, seen) = run(guest, Kept::default(), &pace, Some(&slow)).await;
        assert_ne!(of_guest, of_host);
        assert_eq!(seen, of_host);
    }
}

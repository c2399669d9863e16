//! What waits for the writer thread: in order, bounded in number for verbs that wait and in bytes for those that do not.
//! Leaves doing it to `writer`. Tested by the conformance suite through the store.

use super::writer::{Job, Op};
use crate::store::StoreError;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Verbs that may wait for the disk at once; more wait for their turn. Also the most operations of one commit.
pub(super) const WAITING_MAX: usize = 1024;
/// Bytes of records nobody waits for. A disk that stalls for seconds stays below it at thousands of reads a second.
const LATER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a queued operation costs beside its text.
const JOB_BYTES: usize = 256;
/// How long records that nobody waits for may wait for company: a commit of their own would make the next verb that does wait
/// for the disk twice.
const LATER_DELAY: Duration = Duration::from_millis(20);
/// Bytes of such records that are a commit's worth.
const LATER_BYTES_ENOUGH: usize = 1024 * 1024;

/// The queue between the store's verbs and its writer thread.
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    taken: Condvar,
    turns: Semaphore,
    ended: Notify,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Jobs somebody waits for.
    waited_for: usize,
    later_bytes: usize,
    /// Whether the writer waits for work: waking it otherwise is a system call for nothing.
    writer_waits: bool,
    /// Set once: why nothing more is taken.
    closed: Option<String>,
    /// Whether that was a disk error.
    failed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            taken: Condvar::new(),
            turns: Semaphore::new(WAITING_MAX),
            ended: Notify::new(),
        }
    }

    /// Waits for a turn; it lasts until the verb has its answer.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.turns.acquire().await.map_err(|_| self.closed())
    }

    /// Queues an operation whose verb has a turn.
    pub(super) fn push(&self, job: Job) -> Result<(), StoreError> {
        self.add(self.lock(), job, 0)
    }

    /// Queues an operation nobody waits for, once there is room.
    pub(super) fn push_later(&self, op: Op) -> Result<(), StoreError> {
        let bytes = bytes_of(&op);
        let state = self.lock();
        if state.later_bytes + bytes <= LATER_BYTES_MAX || state.closed.is_some() {
            return self.add(state, Job { op, reply: None }, bytes);
        }
        drop(state);
        let wait = || {
            let full = |s: &mut State| {
                s.later_bytes + bytes > LATER_BYTES_MAX && s.later_bytes > 0 && s.closed.is_none()
            };
            self.taken.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner)
        };
        // Lets other tasks go on elsewhere where the runtime can.
        let many_threads =
            Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
        let state = if many_threads { tokio::task::block_in_place(wait) } else { wait() };
        self.add(state, Job { op, reply: None }, bytes)
    }

    /// Waits for operations and takes those that are there; `None` once the queue is closed and empty.
    pub(super) fn take(&self) -> Option<Vec<Job>> {
        let mut state = self.wait_for_work();
        let count = state.jobs.len().min(WAITING_MAX);
        let jobs: Vec<Job> = state.jobs.drain(..count).collect();
        let later = jobs.iter().filter(|job| job.reply.is_none());
        let (count_later, freed) = later.fold((0, 0), |(n, bytes), job| (n + 1, bytes + bytes_of(&job.op)));
        state.waited_for -= count - count_later;
        state.later_bytes = state.later_bytes.saturating_sub(freed);
        drop(state);
        if freed > 0 {
            self.taken.notify_all();
        }
        (!jobs.is_empty()).then_some(jobs)
    }

    /// Until somebody waits, or what nobody waits for has waited long enough or is enough.
    fn wait_for_work(&self) -> MutexGuard<'_, State> {
        let empty = |s: &mut State| s.jobs.is_empty() && s.closed.is_none();
        let mut state = self.lock();
        state.writer_waits = true;
        let state = self.arrived.wait_while(state, empty).unwrap_or_else(PoisonError::into_inner);
        let alone =
            |s: &mut State| s.waited_for == 0 && s.later_bytes < LATER_BYTES_ENOUGH && s.closed.is_none();
        let waited = self.arrived.wait_timeout_while(state, LATER_DELAY, alone);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.writer_waits = false;
        state
    }

    /// Takes nothing more; what is queued is still written.
    pub(super) fn close(&self, reason: &str) {
        self.lock().closed.get_or_insert_with(|| reason.to_owned());
        self.arrived.notify_all();
        self.taken.notify_all();
        self.turns.close();
        self.ended.notify_waiters();
    }

    /// Waits until nothing more is taken, and says why.
    pub(super) async fn ended(&self) -> StoreError {
        // Made before the look, so that an end between the two is not missed.
        let ended = self.ended.notified();
        if self.lock().closed.is_none() {
            ended.await;
        }
        self.closed()
    }

    /// Takes nothing more and drops what is queued: the verbs that wait for it get `Closed`.
    pub(super) fn fail(&self, reason: &str) {
        // First, so that no end is taken for a good one.
        self.lock().failed = true;
        self.close(reason);
        let dropped = {
            let mut state = self.lock();
            state.waited_for = 0;
            std::mem::take(&mut state.jobs)
        };
        for reply in dropped.into_iter().filter_map(|job| job.reply) {
            // A verb that nobody waits for any more needs no answer.
            reply.send(Err(self.closed())).ok();
        }
    }

    /// Whether it was ended by `fail`.
    pub(super) fn has_failed(&self) -> bool {
        self.lock().failed
    }

    /// Why nothing more is taken.
    pub(super) fn closed(&self) -> StoreError {
        let reason = self.lock().closed.clone();
        StoreError::Closed(reason.unwrap_or_else(|| "the writer has stopped".to_owned()))
    }

    fn add(&self, mut state: MutexGuard<'_, State>, job: Job, later_bytes: usize) -> Result<(), StoreError> {
        if let Some(reason) = &state.closed {
            return Err(StoreError::Closed(reason.clone()));
        }
        state.later_bytes += later_bytes;
        state.waited_for += usize::from(job.reply.is_some());
        // The writer is woken for the first job, for the first that is waited for, and when there is enough.
        let news = state.jobs.is_empty() || job.reply.is_some() || state.later_bytes >= LATER_BYTES_ENOUGH;
        let news = news && state.writer_waits;
        state.jobs.push_back(job);
        drop(state);
        if news {
            self.arrived.notify_one();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(op: &Op) -> usize {
    match op {
        Op::Append { records, .. } => records.text.len() + JOB_BYTES,
        _ => JOB_BYTES,
    }
}

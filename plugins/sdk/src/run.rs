//! The run a policy is in: its settings, its calls, its clock, its log lines. Paging is in `page`, the store in `state`.

use crate::{Call, CallError, Response, State, host};
use std::time::{Duration, SystemTime};

/// The run a policy is in, and its only way to the outside.
#[derive(Debug)]
pub struct Run<C> {
    config: C,
}

impl<C> Run<C> {
    #[cfg(any(target_arch = "wasm32", feature = "testing"))]
    pub(crate) fn new(config: C) -> Self {
        Self { config }
    }

    /// The operator's `config` for this policy.
    pub fn config(&self) -> &C {
        &self.config
    }

    /// The run's id, as `opsward run show` takes it.
    pub fn id(&self) -> String {
        host::run_id()
    }

    /// The operator's name for this binding of the plugin.
    pub fn policy_name(&self) -> String {
        host::policy_name()
    }

    /// 1 for the first try of the run, 2 for the second ...
    pub fn attempt(&self) -> u32 {
        host::attempt()
    }

    /// How effects are treated.
    pub fn mode(&self) -> Mode {
        host::mode()
    }

    /// Makes one call and waits for its answer. The host retries where the action's class allows it.
    ///
    /// # Errors
    /// Why the call did not succeed; what was refused by the host carries an `opsward.*` code.
    pub fn call(&self, call: Call) -> Result<Response, CallError> {
        host::call(call)
    }

    /// Makes several calls, at most `max_concurrency` (1 to 16) at a time. Answers are in the order of the calls; one
    /// failing call does not stop the others.
    pub fn call_all(&self, calls: Vec<Call>, max_concurrency: u32) -> Vec<Result<Response, CallError>> {
        let max_concurrency = max_concurrency.clamp(1, CONCURRENCY_MAX);
        let mut answers = Vec::with_capacity(calls.len());
        let mut calls = calls.into_iter().peekable();
        while calls.peek().is_some() {
            let batch = calls.by_ref().take(BATCH_CALLS_MAX).collect();
            answers.extend(host::call_all(batch, max_concurrency));
        }
        answers
    }

    /// The run's own time: that of its latest recorded step. It stands still while the policy computes.
    pub fn now(&self) -> SystemTime {
        host::now()
    }

    /// Lets the run rest, however often the host restarts meanwhile. Costs nothing while it lasts.
    pub fn sleep(&self, duration: Duration) {
        let mut rest = duration;
        while !rest.is_zero() {
            let nap = rest.min(SLEEP_MAX);
            host::sleep(nap);
            rest -= nap;
        }
    }

    /// The policy's small durable store, shared by all its runs.
    pub fn state(&self) -> State {
        State
    }

    /// Writes a line for the author.
    pub fn debug(&self, message: impl AsRef<str>) {
        host::log(Level::Debug, message.as_ref());
    }

    /// Writes a line worth knowing.
    pub fn info(&self, message: impl AsRef<str>) {
        host::log(Level::Info, message.as_ref());
    }

    /// Writes a line about something unexpected that was handled.
    pub fn warn(&self, message: impl AsRef<str>) {
        host::log(Level::Warn, message.as_ref());
    }

    /// Writes a line somebody should look at.
    pub fn error(&self, message: impl AsRef<str>) {
        host::log(Level::Error, message.as_ref());
    }
}

/// How effects are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Reads are real; effects are recorded and answered by a simulated reply.
    DryRun,
    /// Effects wait for a person's approval.
    Approve,
    /// Effects are carried out.
    Enforce,
}

/// Gravity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// For the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Unexpected but handled.
    Warn,
    /// Somebody should look.
    Error,
}

/// The host takes no more requests in one `call-all` (`wit/policy.wit`).
const BATCH_CALLS_MAX: usize = 500;
/// The host makes no more calls of one `call-all` at a time (`wit/policy.wit`).
const CONCURRENCY_MAX: u32 = 16;
/// The longest single sleep the host takes: seven days (`wit/policy.wit`). Longer ones are split.
const SLEEP_MAX: Duration = Duration::from_millis(604_800_000);

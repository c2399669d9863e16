//! One running guest: its store's data, its bounds, and how its end is named. Leaves what imports mean to `imports` and
//! building stores to `engine`. Tested below, and by the hostile guests in `tests/`.

use super::engine::Limits;
use super::lane::{self, Kept};
use super::wasi::Wasi;
use super::{Ended, GuestCalls, RunContext};
use futures::future::BoxFuture;
use opsward_core::catalog::Rate;
use opsward_core::pace::{Pace, TURN_WAIT_MAX};
use opsward_core::run::{Fault, FaultKind, HostReply, HostRequest, Stop};
use opsward_core::time::Timestamp;
use std::any::Any;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use wasmtime::{ResourceLimiter, Trap, UpdateDeadline, WasmBacktrace};

/// Longest message of a fault in bytes: it is one line for people.
const FAULT_MESSAGE_BYTES_MAX: usize = 1024;
/// A guest whose stack ran over its start touches addresses below zero, which wrap to just under 4 GiB. More than this far
/// below is some other wild access.
const STACK_OVERRUN_BYTES_MAX: u64 = 1 << 20;
/// How deep a call chain is looked at where a guest ends. Few policies' frames are so large that the 64 KiB stack of the SDK is
/// used up before; no policy that does not recurse nests its calls so deep.
pub(super) const BACKTRACE_FRAMES_MAX: usize = 128;
/// Most elements of all tables of a guest: function tables of the largest known language runtimes stay below it.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// How fast a guest may ask, log lines included: so many at once, then one each time a cloud of the fastest takes for an answer.
/// What waits are long logs, floods of what is refused, and a run that comes past many calls made before. They would keep the
/// host from the other runs: with one each millisecond, events of the others took a fifth longer to their effects.
const ASKING: Rate = Rate { calls: 128, per: Duration::from_millis(128 * 8) };

/// The data of a guest's store.
pub(super) struct Guest {
    calls: Box<dyn AnyCalls>,
    pub(super) context: RunContext,
    pub(super) log_bytes_left: usize,
    pub(super) log_lines_dropped: u64,
    calls_left: u32,
    calls_max: u32,
    asking: Pace,
    begun: tokio::time::Instant,
    /// When the wall-clock budget is used up.
    deadline: Instant,
    /// Where the host's own work is done.
    home: Handle,
    /// How long it has kept the threads it ran on; how much of that the host worked for it; how long it may keep them itself.
    kept: Kept,
    excused: Duration,
    cpu_max: Duration,
    memory: MemoryBudget,
    /// Why the host ended the guest, where it did.
    ended: Option<Ended>,
    /// Made when the guest first touches a WASI import.
    pub(super) wasi: Option<Box<Wasi>>,
}

impl Guest {
    pub(super) fn new<C: GuestCalls>(calls: C, context: RunContext, limits: &Limits, kept: Kept) -> Self {
        Self {
            calls: Box::new(calls),
            context,
            log_bytes_left: limits.log_bytes,
            log_lines_dropped: 0,
            calls_left: limits.calls,
            calls_max: limits.calls,
            asking: Pace::new(Some(ASKING)),
            begun: tokio::time::Instant::now(),
            deadline: Instant::now() + limits.wall,
            home: Handle::current(),
            kept,
            excused: Duration::ZERO,
            cpu_max: limits.cpu,
            memory: MemoryBudget {
                bytes_left: limits.memory_bytes,
                elements_left: TABLE_ELEMENTS_MAX,
                refused: false,
            },
            ended: None,
            wasi: None,
        }
    }

    /// The run's time.
    pub(super) fn run_time(&self) -> Timestamp {
        self.calls.now()
    }

    /// Has the broker answer `request`. The wall-clock budget is looked at before and not during, so that an effect under
    /// way is waited for instead of being left ambiguous; the broker has deadlines of its own.
    pub(super) async fn ask(&mut self, request: HostRequest) -> wasmtime::Result<HostReply> {
        self.check_time()?;
        // It asks one thing at a time: its turn never is far.
        let wait = self.asking.turn(self.begun.elapsed()).unwrap_or(TURN_WAIT_MAX);
        let answer = async {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            self.calls.perform(request).await
        };
        let (reply, worked) = lane::at_home(&self.home, answer).await;
        self.excused += worked;
        reply.map_err(|stop| self.end(Ended::Stopped(stop)))
    }

    fn check_time(&mut self) -> wasmtime::Result<()> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(self.fault(FaultKind::Timeout, "the run's time is used up".to_owned()))
    }

    /// Takes `count` from the call budget, or ends the guest.
    pub(super) fn charge_calls(&mut self, count: u32) -> wasmtime::Result<()> {
        match self.calls_left.checked_sub(count) {
            Some(left) => {
                self.calls_left = left;
                Ok(())
            }
            None => {
                let message = format!("more than {} host calls in one run", self.calls_max);
                Err(self.fault(FaultKind::CallBudget, message))
            }
        }
    }

    /// Ends the guest with a fault: the error must be returned from the import.
    pub(super) fn fault(&mut self, kind: FaultKind, message: String) -> wasmtime::Error {
        self.end(Ended::Faulted(Fault { kind, message }))
    }

    /// Ends the guest because the broker's answer is of another kind than the question.
    pub(super) fn wrong_reply(&mut self) -> wasmtime::Error {
        let reason = "the broker's answer does not fit the question".to_owned();
        self.end(Ended::Stopped(Stop::Abandoned { reason }))
    }

    fn end(&mut self, ended: Ended) -> wasmtime::Error {
        self.ended.get_or_insert(ended);
        wasmtime::Error::msg("ended by the host")
    }

    /// Called by the guest's own code at the first epoch check after a tick.
    pub(super) fn on_tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        // On a busy host, one that computes on may get little of the processor for long.
        self.check_time()?;
        if self.kept.so_far().saturating_sub(self.excused) < self.cpu_max {
            return Ok(UpdateDeadline::Yield(1));
        }
        let message = format!("more than {} ms of computing in one run", self.cpu_max.as_millis());
        Err(self.fault(FaultKind::CpuBudget, message))
    }

    /// What bounds memory and tables.
    pub(super) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.memory
    }

    /// Names the end behind `error`; `otherwise` is the kind of what is neither a bound nor a trap.
    pub(super) fn name_end(&mut self, error: &wasmtime::Error, otherwise: FaultKind) -> Ended {
        if let Some(ended) = self.ended.take() {
            return ended;
        }
        let kind = match error.downcast_ref::<Trap>() {
            Some(_) if self.memory.refused => FaultKind::Memory,
            Some(Trap::StackOverflow) => FaultKind::Stack,
            Some(Trap::MemoryOutOfBounds) if is_stack_overrun(error) => FaultKind::Stack,
            Some(_) => FaultKind::Trap,
            None if is_over_transfer_limit(error) => FaultKind::Size,
            None => otherwise,
        };
        let mut message = match kind {
            FaultKind::Memory => "the guest's memory limit is used up".to_owned(),
            FaultKind::Stack => "the guest's stack is used up: recursion too deep".to_owned(),
            FaultKind::Size => "an argument or result is over the limit of one host call".to_owned(),
            _ => one_line(error),
        };
        if let Some(last_words) = self.wasi.as_ref().and_then(|w| w.last_words()) {
            message.push_str(": ");
            message.push_str(&last_words);
        }
        message.truncate(message.floor_char_boundary(FAULT_MESSAGE_BYTES_MAX));
        Ended::Faulted(Fault { kind, message })
    }

    /// Gives the broker's side back.
    pub(super) fn into_calls<C: GuestCalls>(self) -> C {
        *self.calls.into_any().downcast::<C>().expect("of the type it was made with")
    }
}

/// `GuestCalls` whatever its type, so that a compiled plugin does not depend on it.
trait AnyCalls: Send {
    fn perform(&mut self, request: HostRequest) -> BoxFuture<'_, Result<HostReply, Stop>>;
    fn now(&self) -> Timestamp;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<C: GuestCalls> AnyCalls for C {
    fn perform(&mut self, request: HostRequest) -> BoxFuture<'_, Result<HostReply, Stop>> {
        Box::pin(GuestCalls::perform(self, request))
    }

    fn now(&self) -> Timestamp {
        GuestCalls::now(self)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Bounds all memories and tables of a guest together.
struct MemoryBudget {
    bytes_left: usize,
    elements_left: usize,
    refused: bool,
}

impl ResourceLimiter for MemoryBudget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.bytes_left.checked_sub(desired.saturating_sub(current));
        self.bytes_left = granted.unwrap_or(self.bytes_left);
        self.refused |= granted.is_none();
        Ok(granted.is_some())
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.elements_left.checked_sub(desired.saturating_sub(current));
        self.elements_left = granted.unwrap_or(self.elements_left);
        self.refused |= granted.is_none();
        Ok(granted.is_some())
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }
}

/// Whether an access out of bounds is a guest's stack run over its start: the call chain is as deep as is looked at, or the
/// address is just below zero. The address is told for plain loads and stores only; its type is not public in wasmtime, its
/// text is all there is.
fn is_stack_overrun(error: &wasmtime::Error) -> bool {
    const BEFORE: &str = "memory fault at wasm address 0x";
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(0, |trace| trace.frames().len());
    let address = error
        .chain()
        .find_map(|cause| {
            cause.to_string().strip_prefix(BEFORE).and_then(|rest| rest.split(' ').next()).map(str::to_owned)
        })
        .and_then(|address| u64::from_str_radix(&address, 16).ok());
    frames >= BACKTRACE_FRAMES_MAX
        || address.is_some_and(|address| address.saturating_add(STACK_OVERRUN_BYTES_MAX) >= 1 << 32)
}

/// The type is not public in wasmtime: its text is all there is.
fn is_over_transfer_limit(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains("fuel allocated for hostcalls has been exhausted"))
}

fn one_line(error: &wasmtime::Error) -> String {
    let root = error.root_cause().to_string();
    root.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use opsward_core::id::RunId;
    use opsward_core::run::{LogLevel, Mode};

    struct Answers;

    impl GuestCalls for Answers {
        async fn perform(&mut self, _: HostRequest) -> Result<HostReply, Stop> {
            Ok(HostReply::Unit)
        }

        fn now(&self) -> Timestamp {
            Timestamp::from_ms(0)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_floods_the_host_is_answered_at_a_pace_after_a_burst() {
        let context = RunContext {
            run: RunId::from_text("r".to_owned()),
            policy: "p".parse().expect("a name"),
            attempt: 1,
            mode: Mode::Enforce,
            config: "{}".into(),
        };
        let mut guest = Guest::new(Answers, context, &Limits::default(), Kept::default());
        let begun = tokio::time::Instant::now();
        for nth in 0..ASKING.calls + 100 {
            if nth == ASKING.calls {
                assert_eq!(begun.elapsed(), Duration::ZERO, "a burst");
            }
            let line = HostRequest::Log { level: LogLevel::Info, message: String::new() };
            assert!(matches!(guest.ask(line).await, Ok(HostReply::Unit)));
        }
        assert_eq!(begun.elapsed(), ASKING.per / ASKING.calls * 100);
    }
}

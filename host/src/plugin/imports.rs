//! What a guest's imports do: `context` and `clock.now` answer from memory, everything else becomes a `HostRequest` to
//! the broker. Counts calls and log bytes. Leaves CPU, memory and time to `guest`, and every decision to the broker.
//! Tested by the hostile guests in `tests/`.

use super::bindings::opsward::policy::{clock, cloud, context, events, log, state};
use super::guest::Guest;
use opsward_core::call::{CallError, CallReply, CallRequest, CallResponse, ErrorKind};
use opsward_core::run::{
    FaultKind, HostReply, HostRequest, LogLevel, Mode, StateEntry, StateError, StateOp, StateReply,
};

/// Most requests in one `call-all`, as `wit/policy.wit` promises.
const CALL_ALL_REQUESTS_MAX: usize = 500;
/// Most of them that are under way at a time, as `wit/policy.wit` promises.
const CALL_ALL_CONCURRENCY_MAX: u32 = 16;
/// Longest sleep in milliseconds: seven days, as `wit/policy.wit` promises.
const SLEEP_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// Longest log line in bytes; the rest is cut.
pub(crate) const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// Charged to the log budget for each line beside its text, so that empty lines are not free.
pub(crate) const LOG_LINE_OVERHEAD_BYTES: usize = 64;

impl cloud::Host for Guest {
    async fn call(
        &mut self,
        request: cloud::Request,
    ) -> wasmtime::Result<Result<cloud::Response, cloud::Error>> {
        self.charge_calls(1)?;
        match self.ask(HostRequest::Call(request.into())).await? {
            HostReply::Call(reply) => Ok(to_guest(reply)),
            _ => Err(self.wrong_reply()),
        }
    }

    async fn call_all(
        &mut self,
        requests: Vec<cloud::Request>,
        max_concurrency: u32,
    ) -> wasmtime::Result<Vec<Result<cloud::Response, cloud::Error>>> {
        let count = requests.len();
        if count > CALL_ALL_REQUESTS_MAX {
            let message =
                format!("call-all was given {count} requests; at most {CALL_ALL_REQUESTS_MAX} are taken");
            return Err(self.fault(FaultKind::Size, message));
        }
        self.charge_calls(u32::try_from(count.max(1)).unwrap_or(u32::MAX))?;
        let request = HostRequest::CallAll {
            requests: requests.into_iter().map(CallRequest::from).collect(),
            max_concurrency: max_concurrency.clamp(1, CALL_ALL_CONCURRENCY_MAX),
        };
        match self.ask(request).await? {
            HostReply::CallAll(replies) if replies.len() == count => {
                Ok(replies.into_iter().map(to_guest).collect())
            }
            _ => Err(self.wrong_reply()),
        }
    }
}

impl context::Host for Guest {
    fn config(&mut self) -> wasmtime::Result<String> {
        Ok(self.context.config.as_ref().to_owned())
    }

    fn run_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.context.run.as_str().to_owned())
    }

    fn policy_name(&mut self) -> wasmtime::Result<String> {
        Ok(self.context.policy.as_str().to_owned())
    }

    fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.context.attempt)
    }

    fn mode(&mut self) -> wasmtime::Result<context::RunMode> {
        Ok(match self.context.mode {
            // A policy that is off does not run; should it be switched off meanwhile, it must not believe in effects.
            Mode::DryRun | Mode::Off => context::RunMode::DryRun,
            Mode::Approve => context::RunMode::Approve,
            Mode::Enforce => context::RunMode::Enforce,
        })
    }
}

impl clock::Host for Guest {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.run_time().ms()).unwrap_or(0))
    }

    async fn sleep(&mut self, milliseconds: u64) -> wasmtime::Result<()> {
        if milliseconds > SLEEP_MS_MAX {
            let message =
                format!("clock.sleep was asked for {milliseconds} ms; at most {SLEEP_MS_MAX} are allowed");
            return Err(self.fault(FaultKind::Size, message));
        }
        self.charge_calls(1)?;
        match self.ask(HostRequest::Sleep { ms: milliseconds.max(1) }).await? {
            HostReply::Unit => Ok(()),
            _ => Err(self.wrong_reply()),
        }
    }
}

impl log::Host for Guest {
    async fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.write_log(level, message).await
    }
}

impl Guest {
    /// Hands one line to the broker, or drops it where the log budget is used up: a chatty policy still does its work.
    async fn write_log(&mut self, level: LogLevel, mut message: String) -> wasmtime::Result<()> {
        message.truncate(message.floor_char_boundary(LOG_LINE_BYTES_MAX));
        let cost = message.len() + LOG_LINE_OVERHEAD_BYTES;
        let (level, message) = match self.log_bytes_left.checked_sub(cost) {
            Some(left) => {
                self.log_bytes_left = left;
                (level, message)
            }
            None => {
                self.log_lines_dropped += 1;
                if self.log_lines_dropped > 1 {
                    return Ok(());
                }
                self.log_bytes_left = 0;
                (LogLevel::Warn, "the run's log is full: this line and all later ones are dropped".to_owned())
            }
        };
        match self.ask(HostRequest::Log { level, message }).await? {
            HostReply::Unit => Ok(()),
            _ => Err(self.wrong_reply()),
        }
    }

    async fn ask_state(&mut self, op: StateOp) -> wasmtime::Result<StateReply> {
        self.charge_calls(1)?;
        match self.ask(HostRequest::State(op)).await? {
            HostReply::State(reply) => Ok(reply),
            _ => Err(self.wrong_reply()),
        }
    }

    async fn ask_write(&mut self, op: StateOp) -> wasmtime::Result<Result<u64, state::StateError>> {
        match self.ask_state(op).await? {
            StateReply::Written(written) => Ok(written.map_err(|e| match e {
                StateError::TooLarge => state::StateError::TooLarge,
                StateError::Conflict => state::StateError::Conflict,
            })),
            _ => Err(self.wrong_reply()),
        }
    }
}

impl state::Host for Guest {
    async fn get(&mut self, key: String) -> wasmtime::Result<Option<state::Entry>> {
        match self.ask_state(StateOp::Get { key }).await? {
            StateReply::Value(entry) => {
                Ok(entry.map(|StateEntry { value, version }| state::Entry { value, version }))
            }
            _ => Err(self.wrong_reply()),
        }
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<u64, state::StateError>> {
        self.ask_write(StateOp::Set { key, value }).await
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        match self.ask_state(StateOp::Delete { key }).await? {
            StateReply::Deleted => Ok(()),
            _ => Err(self.wrong_reply()),
        }
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: u64,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<u64, state::StateError>> {
        self.ask_write(StateOp::CompareAndSet { key, expected, value }).await
    }
}

impl events::Host for Guest {}

impl From<cloud::Request> for CallRequest {
    fn from(request: cloud::Request) -> Self {
        let cloud::Request { service, action, region, params, once } = request;
        Self { service, action, region, params, once }
    }
}

fn to_guest(reply: CallReply) -> Result<cloud::Response, cloud::Error> {
    reply
        .map(|CallResponse { request_id, body, simulated }| cloud::Response { request_id, body, simulated })
        .map_err(|CallError { kind, code, message, request_id, retryable }| cloud::Error {
            kind: match kind {
                ErrorKind::Denied => cloud::ErrorKind::Denied,
                ErrorKind::Invalid => cloud::ErrorKind::Invalid,
                ErrorKind::NotFound => cloud::ErrorKind::NotFound,
                ErrorKind::Conflict => cloud::ErrorKind::Conflict,
                ErrorKind::Throttled => cloud::ErrorKind::Throttled,
                ErrorKind::Unavailable => cloud::ErrorKind::Unavailable,
                ErrorKind::Unauthorized => cloud::ErrorKind::Unauthorized,
                ErrorKind::Failed => cloud::ErrorKind::Failed,
            },
            code,
            message,
            request_id,
            retryable,
        })
}

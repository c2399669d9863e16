//! The component's side of `wit/policy.wit`: its imports as plain functions, its exports on top of [`Policy`]. Every
//! build of a policy for WebAssembly checks it; the whole-host tests run it.

use crate::{Call, CallError, Description, ErrorKind, Event, Failure, Outcome, Policy, Response, dispatch};
use bindings::exports::opsward::policy::handler;
use bindings::opsward::policy::{cloud, log};
use std::time::{Duration, UNIX_EPOCH};

/// What wit-bindgen generates.
#[expect(missing_docs, reason = "generated; hidden from the documentation")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "policy",
        pub_export_macro: true,
        default_bindings_module: "opsward_policy::__private",
    });
}

impl<P: Policy> handler::Guest for P {
    fn describe() -> handler::Description {
        log_panics();
        P::describe().into()
    }

    fn handle(event: handler::Event) -> Result<handler::Outcome, handler::Failure> {
        log_panics();
        dispatch::<P>(&event.into(), &bindings::opsward::policy::context::config())
            .map(Into::into)
            .map_err(Into::into)
    }
}

/// A panic is a trap to the host; its text would be lost.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log::write(log::Level::Error, &panic.to_string())));
}

pub(crate) mod imports {
    use super::bindings::opsward::policy::{clock, cloud, context, log, state};
    use crate::{Call, CallError, Entry, Level, Mode, Response, StateError};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    pub(crate) fn call(call: Call) -> Result<Response, CallError> {
        cloud::call(&call.into()).map(Into::into).map_err(Into::into)
    }

    pub(crate) fn call_all(calls: Vec<Call>, max_concurrency: u32) -> Vec<Result<Response, CallError>> {
        let requests: Vec<_> = calls.into_iter().map(Into::into).collect();
        let answers = cloud::call_all(&requests, max_concurrency);
        answers.into_iter().map(|answer| answer.map(Into::into).map_err(Into::into)).collect()
    }

    pub(crate) fn run_id() -> String {
        context::run_id()
    }

    pub(crate) fn policy_name() -> String {
        context::policy_name()
    }

    pub(crate) fn attempt() -> u32 {
        context::attempt()
    }

    pub(crate) fn mode() -> Mode {
        match context::mode() {
            context::RunMode::DryRun => Mode::DryRun,
            context::RunMode::Approve => Mode::Approve,
            context::RunMode::Enforce => Mode::Enforce,
        }
    }

    pub(crate) fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(clock::now())
    }

    pub(crate) fn sleep(duration: Duration) {
        // The host takes whole milliseconds, at least one.
        clock::sleep(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1));
    }

    pub(crate) fn log(level: Level, message: &str) {
        let level = match level {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, message);
    }

    pub(crate) fn state_get(key: &str) -> Option<Entry> {
        state::get(key).map(|entry| Entry { value: entry.value, version: entry.version })
    }

    pub(crate) fn state_set(key: &str, value: &[u8]) -> Result<u64, StateError> {
        state::set(key, value).map_err(state_error)
    }

    pub(crate) fn state_delete(key: &str) {
        state::delete(key);
    }

    pub(crate) fn state_compare_and_set(key: &str, expected: u64, value: &[u8]) -> Result<u64, StateError> {
        state::compare_and_set(key, expected, value).map_err(state_error)
    }

    fn state_error(error: state::StateError) -> StateError {
        match error {
            state::StateError::TooLarge => StateError::TooLarge,
            state::StateError::Conflict => StateError::Conflict,
        }
    }
}

impl From<handler::Event> for Event {
    fn from(event: handler::Event) -> Self {
        Self {
            id: event.id,
            source: event.source,
            kind: event.type_,
            subject: event.subject,
            time: UNIX_EPOCH + Duration::from_millis(event.time_ms),
            data: event.data,
            incident: event.incident,
            account: event.account,
            region: event.region,
        }
    }
}

impl From<Call> for cloud::Request {
    fn from(call: Call) -> Self {
        Self {
            service: call.service,
            action: call.action,
            region: call.region,
            params: call.params.to_string(),
            once: call.once,
        }
    }
}

impl From<cloud::Response> for Response {
    fn from(response: cloud::Response) -> Self {
        Self { request_id: response.request_id, body: response.body, simulated: response.simulated }
    }
}

impl From<cloud::Error> for CallError {
    fn from(error: cloud::Error) -> Self {
        let kind = match error.kind {
            cloud::ErrorKind::Denied => ErrorKind::Denied,
            cloud::ErrorKind::Invalid => ErrorKind::Invalid,
            cloud::ErrorKind::NotFound => ErrorKind::NotFound,
            cloud::ErrorKind::Conflict => ErrorKind::Conflict,
            cloud::ErrorKind::Throttled => ErrorKind::Throttled,
            cloud::ErrorKind::Unavailable => ErrorKind::Unavailable,
            cloud::ErrorKind::Unauthorized => ErrorKind::Unauthorized,
            cloud::ErrorKind::Failed => ErrorKind::Failed,
        };
        Self {
            kind,
            code: error.code,
            message: error.message,
            request_id: error.request_id,
            retryable: error.retryable,
        }
    }
}

impl From<Description> for handler::Description {
    fn from(description: Description) -> Self {
        let permissions = description.permissions.into_iter();
        let triggers = match description.types.is_empty() {
            true => Vec::new(),
            false => vec![handler::Trigger { types: description.types }],
        };
        Self {
            name: description.name,
            version: description.version,
            summary: description.summary,
            triggers,
            permissions: permissions
                .map(|asked| handler::Permission { action: asked.action, reason: asked.reason })
                .collect(),
            config_schema: description.config_schema,
        }
    }
}

impl From<Outcome> for handler::Outcome {
    fn from(outcome: Outcome) -> Self {
        Self { summary: outcome.summary, details: outcome.details }
    }
}

impl From<Failure> for handler::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message,
            retryable: failure.retryable,
            details: failure.details,
        }
    }
}

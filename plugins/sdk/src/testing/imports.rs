//! The host's functions as the fake host answers them. The host in charge is a thread-local, so that a policy's code is
//! the same here and in the component.

use super::{Script, World};
use crate::{Call, CallError, Entry, ErrorKind, Level, Mode, Response, StateError};
use serde_json::json;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// Puts a fake host in charge of this thread until the guard is dropped.
pub(crate) fn enter(world: Rc<RefCell<World>>) -> Entered {
    Entered { outer: IN_CHARGE.replace(Some(world)) }
}

pub(crate) struct Entered {
    outer: Option<Rc<RefCell<World>>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        IN_CHARGE.set(self.outer.take());
    }
}

pub(crate) fn call(call: Call) -> Result<Response, CallError> {
    let name = call.name();
    let script = match with(|world| world.answer_without_cloud(&call)) {
        Ok(response) => return Ok(response),
        Err(NotAnswered::Refused(error)) => return Err(error),
        Err(NotAnswered::Ask(script)) => script,
    };
    let number = with(|world| {
        world.calls.push(call.clone());
        world.calls.len()
    });
    let body = (script.borrow_mut())(&call.params).0?;
    let request_id = body["RequestId"].as_str().map_or_else(|| format!("request-{number}"), String::from);
    let response = Response { request_id, body: body.to_string(), simulated: false };
    if let Some(key) = call.once.filter(|_| !is_read(&call.action)) {
        with(|world| world.done.insert((name, key), response.clone()));
    }
    Ok(response)
}

pub(crate) fn call_all(calls: Vec<Call>, _max_concurrency: u32) -> Vec<Result<Response, CallError>> {
    calls.into_iter().map(call).collect()
}

pub(crate) fn run_id() -> String {
    "run-1".into()
}

pub(crate) fn policy_name() -> String {
    "policy-1".into()
}

pub(crate) fn attempt() -> u32 {
    with(|world| world.attempt)
}

pub(crate) fn mode() -> Mode {
    with(|world| world.mode)
}

pub(crate) fn now() -> SystemTime {
    with(|world| world.now)
}

pub(crate) fn sleep(duration: Duration) {
    with(|world| {
        world.now += duration;
        world.sleeps.push(duration);
    });
}

pub(crate) fn log(level: Level, message: &str) {
    with(|world| world.logs.push((level, message.to_owned())));
}

pub(crate) fn state_get(key: &str) -> Option<Entry> {
    with(|world| world.state.get(key).cloned())
}

pub(crate) fn state_set(key: &str, value: &[u8]) -> Result<u64, StateError> {
    with(|world| world.write(key, value))
}

pub(crate) fn state_delete(key: &str) {
    with(|world| world.state.remove(key));
}

pub(crate) fn state_compare_and_set(key: &str, expected: u64, value: &[u8]) -> Result<u64, StateError> {
    with(|world| match world.state.get(key).map_or(0, |entry| entry.version) == expected {
        true => world.write(key, value),
        false => Err(StateError::Conflict),
    })
}

enum NotAnswered {
    Refused(CallError),
    Ask(Script),
}

impl World {
    fn answer_without_cloud(&self, call: &Call) -> Result<Response, NotAnswered> {
        let name = call.name();
        let refused = |kind, code, message: String| NotAnswered::Refused(CallError::new(kind, code, message));
        if !self.asked.contains(&name) {
            let message = format!("the policy's description does not ask for {name}");
            return Err(refused(ErrorKind::Denied, "opsward.NotAsked", message));
        }
        let reserved = |param: &&String| HOST_PARAMS.contains(&param.as_str());
        if let Some(param) = call.params.as_object().and_then(|params| params.keys().find(reserved)) {
            let message = format!("the parameter {param} is the host's");
            return Err(refused(ErrorKind::Invalid, "opsward.ReservedParameter", message));
        }
        if call.once.as_ref().is_some_and(|key| key.is_empty() || key.len() > ONCE_KEY_BYTES_MAX) {
            let message = format!("a natural key (`once`) has 1 to {ONCE_KEY_BYTES_MAX} bytes");
            return Err(refused(ErrorKind::Invalid, "opsward.InvalidOnceKey", message));
        }
        if !is_read(&call.action) {
            if self.mode == Mode::DryRun {
                let request_id = "simulated".to_owned();
                return Ok(Response { request_id, body: json!({}).to_string(), simulated: true });
            }
            if let Some(key) = &call.once
                && let Some(response) = self.done.get(&(name.clone(), key.clone()))
            {
                return Ok(response.clone());
            }
        }
        match self.scripts.get(&name) {
            Some(script) => Err(NotAnswered::Ask(Rc::clone(script))),
            None => panic!("no script answers {name}; add FakeHost::on(\"{name}\", ..)"),
        }
    }

    fn write(&mut self, key: &str, value: &[u8]) -> Result<u64, StateError> {
        let full = self.state.len() >= STATE_KEYS_MAX && !self.state.contains_key(key);
        if full || key.is_empty() || key.len() > STATE_KEY_BYTES_MAX || value.len() > STATE_VALUE_BYTES_MAX {
            return Err(StateError::TooLarge);
        }
        let version = self.state.get(key).map_or(0, |entry| entry.version) + 1;
        self.state.insert(key.to_owned(), Entry { value: value.to_vec(), version });
        Ok(version)
    }
}

fn is_read(action: &str) -> bool {
    READ_PREFIXES.iter().any(|prefix| action.starts_with(prefix))
}

fn with<T>(use_world: impl FnOnce(&mut World) -> T) -> T {
    IN_CHARGE.with_borrow(|world| {
        let world =
            world.as_ref().expect("only `FakeHost::handle` makes a `Run`, and it is in charge meanwhile");
        use_world(&mut world.borrow_mut())
    })
}

thread_local! {
    static IN_CHARGE: RefCell<Option<Rc<RefCell<World>>>> = const { RefCell::new(None) };
}

/// Actions that change nothing, by their first word.
const READ_PREFIXES: [&str; 3] = ["Describe", "Get", "List"];
/// System parameters a policy may not set (`wit/policy.wit`, `request`).
const HOST_PARAMS: [&str; 6] =
    ["Action", "Version", "Signature", "SignatureNonce", "Timestamp", "ClientToken"];
/// Longest natural key: `wit/policy.wit`, `request`.
const ONCE_KEY_BYTES_MAX: usize = 4096;
/// Limits of `wit/policy.wit`, `state`.
const STATE_KEYS_MAX: usize = 1024;
const STATE_KEY_BYTES_MAX: usize = 256;
const STATE_VALUE_BYTES_MAX: usize = 65_536;

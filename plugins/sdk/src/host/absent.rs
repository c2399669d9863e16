//! The host's functions in a native build without `testing`: there is no host to ask, and no way to make a
//! [`Run`](crate::Run) that could.

use crate::{Call, CallError, Entry, Level, Mode, Response, StateError};
use std::time::{Duration, SystemTime};

pub(crate) fn call(_: Call) -> Result<Response, CallError> {
    no_host()
}

pub(crate) fn call_all(_: Vec<Call>, _: u32) -> Vec<Result<Response, CallError>> {
    no_host()
}

pub(crate) fn run_id() -> String {
    no_host()
}

pub(crate) fn policy_name() -> String {
    no_host()
}

pub(crate) fn attempt() -> u32 {
    no_host()
}

pub(crate) fn mode() -> Mode {
    no_host()
}

pub(crate) fn now() -> SystemTime {
    no_host()
}

pub(crate) fn sleep(_: Duration) {
    no_host()
}

pub(crate) fn log(_: Level, _: &str) {
    no_host()
}

pub(crate) fn state_get(_: &str) -> Option<Entry> {
    no_host()
}

pub(crate) fn state_set(_: &str, _: &[u8]) -> Result<u64, StateError> {
    no_host()
}

pub(crate) fn state_delete(_: &str) {
    no_host()
}

pub(crate) fn state_compare_and_set(_: &str, _: u64, _: &[u8]) -> Result<u64, StateError> {
    no_host()
}

fn no_host() -> ! {
    panic!(
        "a policy runs inside the host; to test it natively enable the feature `testing` of opsward-policy"
    )
}

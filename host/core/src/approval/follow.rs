//! The approved list beside what the policy then does: call by call, in order, byte by byte. Leaves sending to the broker.
//! Tested in `tests.rs`.

use super::{Fate, Placeholders, Plan, PlannedCall};
use crate::call::CallRequest;
use serde_json::Value;
use std::borrow::Cow;

/// How far a run has come in what was approved. It is asked of every call of the guest that is no read, in the guest's order and
/// from the first one on, recorded ones included, so that it says the same after a crash.
#[derive(Debug, Clone)]
pub struct Follow {
    calls: Vec<PlannedCall>,
    placeholders: Placeholders,
    /// What each call really gave.
    answers: Vec<Option<Value>>,
    next: usize,
    /// What the first call was that is another than the approved one: nothing is approved after it.
    strayed: Option<String>,
}

/// What the list says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its place in the list.
    pub at: usize,
    /// Whether it may be sent.
    pub approved: bool,
}

impl Follow {
    /// Begins with an approved plan.
    pub fn new(plan: &Plan) -> Self {
        let calls = plan.calls.clone();
        let placeholders = Placeholders::of(&calls);
        Self { answers: vec![None; calls.len()], calls, placeholders, next: 0, strayed: None }
    }

    /// Compares the guest's next call that is no read.
    pub fn next(&mut self, request: &CallRequest) -> Step {
        let at = self.next;
        self.next += 1;
        let same = self.expected(at).is_some_and(|expected| expected == *request);
        if !same && self.strayed.is_none() {
            self.strayed = Some(self.difference(at, request));
        }
        let is_effect = self.calls.get(at).is_some_and(|call| call.fate == Fate::Effect);
        Step { at, approved: self.strayed.is_none() && is_effect }
    }

    /// Takes what the call at `at` really gave.
    pub fn answered(&mut self, at: usize, body: &str) {
        if let Some(answer) = self.answers.get_mut(at) {
            *answer = serde_json::from_str(body).ok();
        }
    }

    /// The bytes that are approved at `at`: those of the plan, with what earlier calls of it really gave.
    fn expected(&self, at: usize) -> Option<CallRequest> {
        let planned = &self.calls.get(at)?.request;
        let real = |call: usize, pointer: &str| {
            let value = self.answers.get(call)?.as_ref()?.pointer(pointer)?.as_str()?;
            // As it stands between the quotes of a JSON text; what would need escaping is no id.
            let is_plain =
                !value.is_empty() && !value.contains(|c: char| "\"\\".contains(c) || c.is_control());
            is_plain.then(|| value.to_owned())
        };
        let params = self.placeholders.fill(&planned.params, real)?;
        let once = match &planned.once {
            Some(key) => Some(self.placeholders.fill(key, real)?.into_owned()),
            None => None,
        };
        Some(CallRequest { params: Cow::into_owned(params), once, ..planned.clone() })
    }

    /// Why a call is not sent that would be, in one line.
    pub fn why_not(&self) -> String {
        let as_planned = || "a call would be sent that the approved plan says is not".to_owned();
        self.strayed.clone().unwrap_or_else(as_planned)
    }

    fn difference(&self, at: usize, request: &CallRequest) -> String {
        match self.calls.get(at) {
            None => format!("beyond the approved list of {}: {}", self.calls.len(), request.brief()),
            Some(call) => {
                let approved = self.placeholders.named(&call.request.brief());
                format!("approved as call {} is {approved}; the policy asks for {}", at + 1, request.brief())
            }
        }
    }
}

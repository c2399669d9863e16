//! What a list of runs says of a run in one line, taken from its latest record that says anything. Leaves writing it to
//! `standing`. Tested by the conformance suite.

use opsward_core::line;
use opsward_core::run::{Answered, Entry, Record};

pub(super) fn note(record: &Record) -> Option<String> {
    let text = match &record.entry {
        Entry::Done { outcome } => outcome.summary.clone(),
        Entry::Failed { failure } => format!("{}: {}", failure.code, failure.message),
        Entry::Held { reason, .. } => reason.clone(),
        Entry::Faulted { fault } => fault.message.clone(),
        Entry::Waited { why } => why.clone(),
        Entry::Asked { asked } => {
            let again = if asked.changed.is_empty() { "" } else { ", asked again" };
            let effects = asked.plan.effects();
            let plural = if effects == 1 { "" } else { "s" };
            format!("waits for an approval of {effects} effect{plural}{again}")
        }
        Entry::Approved { by, enough: true, .. } => format!("approved, last by {by}"),
        Entry::Approved { by, enough: false, .. } => format!("approved by {by}; waits for others"),
        Entry::Denied { by, .. } => format!("opsward.ApprovalDenied: denied by {by}"),
        Entry::Confirmed { .. } => "approved, and the plan is still the same".to_owned(),
        Entry::Void { why } => format!("begins afresh: {why}"),
        Entry::Abandoned { by, .. } => format!("given up by {by}"),
        Entry::GaveWay { to } => format!("gave way to {to}, whose event is proved"),
        Entry::Retried { why, by: None } => format!("to be tried again: {why}"),
        Entry::Retried { by: Some(by), .. } => format!("to be tried again, asked for by {by}"),
        Entry::Result { answered: Answered::Person { by }, .. } => format!("took place, says {by}"),
        Entry::NotExecuted { by: Some(by), .. } => format!("did not take place, says {by}"),
        Entry::NotExecuted { why, by: None, .. } => format!("did not take place: {why}"),
        _ => return None,
    };
    Some(one_line(&text))
}

pub(super) fn one_line(text: &str) -> String {
    line::one_line(text).chars().take(NOTE_CHARS_MAX).collect()
}

/// Longest note of a run, in characters: one line of a wide terminal.
const NOTE_CHARS_MAX: usize = 200;

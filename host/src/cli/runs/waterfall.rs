//! The ledger of a run as steps in time: an effect's intent and result are one step with its length, everything else
//! stands where it was recorded. Leaves the head of the page to `runs`. Tested in `runs/tests.rs`.

use crate::cli::text::{Align, aligned, cut, span, word};
use crate::store::RunDetail;
use opsward_core::call::{CallReply, CallRequest};
use opsward_core::catalog::{self, Provider};
use opsward_core::overlay::NOT_SHOWN;
use opsward_core::run::{Answered, Entry, Record, StateError, StateOp, StateReply};
use opsward_core::time::Timestamp;
use serde_json::Value;
use std::io::{self, Write};
use std::time::Duration;

/// Prints the steps of `run`, a line each.
pub(super) fn print(run: &RunDetail, out: &mut dyn Write) -> Result<(), io::Error> {
    let begun = run.received;
    let steps = steps(&run.ledger, begun);
    let end = run.ledger.iter().map(|record| record.at).max().unwrap_or(begun);
    let calls: Vec<[String; 5]> = steps.iter().filter_map(Step::call_cells).collect();
    let mut calls = aligned(&calls, [Align::Left; 5]).into_iter();

    let head = ["AT", "TOOK", &format!("├{}┤", "─".repeat(BAR_CELLS)), "", ""].map(str::to_owned);
    let rows = steps.iter().map(|step| {
        let said = match &step.said {
            Said::Call { .. } => calls.next().unwrap_or_default(),
            Said::Text(text) => cut(text, TEXT_CHARS_MAX),
        };
        let took = match step.took {
            Took::For(time) => span(time),
            Took::After(time) => format!("+{}", span(time)),
            Took::Unknown => "?".to_owned(),
            Took::Nothing => String::new(),
        };
        [offset(step.at.since(begun)), took, bar(step, begun, end), step.what.clone(), said]
    });
    let table: Vec<_> = std::iter::once(head).chain(rows).collect();
    writeln!(out)?;
    for line in aligned(&table, [Align::Right, Align::Right, Align::Left, Align::Left, Align::Left]) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Width of the picture of a run's time.
const BAR_CELLS: usize = 20;
/// Widest text of a log line or an outcome.
const TEXT_CHARS_MAX: usize = 160;
/// Widest cell with what a call is about, and with its answer.
const CELL_CHARS_MAX: usize = 60;
/// Digits of a token that are shown: enough to find it in the cloud's audit log.
const TOKEN_CHARS: usize = 12;

struct Step<'r> {
    at: Timestamp,
    took: Took,
    what: String,
    said: Said<'r>,
}

enum Took {
    /// From this step's begin to its end.
    For(Duration),
    /// Since the record before; when it began is not recorded.
    After(Duration),
    /// Begun, and no end is recorded.
    Unknown,
    Nothing,
}

enum Said<'r> {
    Call { request: &'r CallRequest, result: String, token: Option<&'r str> },
    Text(String),
}

impl Step<'_> {
    /// Action, region, what it is about, the answer, and the token.
    fn call_cells(&self) -> Option<[String; 5]> {
        let Said::Call { request, result, token } = &self.said else { return None };
        // A guest may ask for anything, also for what a terminal would obey.
        let action = cut(&format!("{}:{}", request.service, request.action), CELL_CHARS_MAX);
        let region = cut(&request.region, CELL_CHARS_MAX);
        let token = token.map(|token| format!("token {}", cut(token, TOKEN_CHARS))).unwrap_or_default();
        Some([action, region, about(request), result.clone(), token])
    }
}

fn steps(ledger: &[Record], begun: Timestamp) -> Vec<Step<'_>> {
    let mut before = begun;
    let mut steps = Vec::with_capacity(ledger.len());
    for (at, record) in ledger.iter().enumerate() {
        let after = Took::After(record.at.since(before));
        before = record.at;
        if let Some((what, took, said)) = step(record, after, &ledger[at + 1..]) {
            steps.push(Step { at: record.at, took, what, said });
        }
    }
    steps
}

fn step<'r>(record: &'r Record, after: Took, later: &[Record]) -> Option<(String, Took, Said<'r>)> {
    let text = |what: &str, text: String| Some((what.to_owned(), Took::Nothing, Said::Text(text)));
    match &record.entry {
        Entry::Started { attempt, digest, .. } => {
            text("started", format!("try {attempt}, plugin {}", digest.short()))
        }
        Entry::Call { request, reply, answered, .. } => {
            let what = match answered {
                Answered::Cloud | Answered::ReadBack | Answered::Overlaid => "read",
                Answered::Simulated | Answered::CloudDryRun => "dry-run",
                Answered::Once { .. } | Answered::EarlierTry | Answered::Person { .. } => "repeat",
                Answered::Host => "refused",
            };
            Some((
                what.to_owned(),
                after,
                Said::Call { request, result: answer(reply, answered, 1), token: None },
            ))
        }
        Entry::Intent { position, request, class, token, .. } => {
            let (took, result) = match outcome(*position, later) {
                Some((at, result)) => (Took::For(at.since(record.at)), result),
                None => (Took::Unknown, "no answer recorded".to_owned()),
            };
            Some((word(class), took, Said::Call { request, result, token: token.as_deref() }))
        }
        // Told with its intent.
        Entry::Result { .. } | Entry::NotExecuted { .. } => None,
        Entry::State { op, reply, .. } => text("state", state(op, reply)),
        Entry::Slept { ms, until, .. } if later.first().is_some_and(|next| next.at < *until) => {
            let slept = span(Duration::from_millis(*ms));
            text("slept", format!("{slept}, and nobody waited: what was simulated shows at once"))
        }
        Entry::Slept { ms, until, .. } => {
            let slept = Took::For(Duration::from_millis(*ms));
            Some(("slept".to_owned(), slept, Said::Text(format!("until {}", super::instant(*until)))))
        }
        Entry::Waited { why } => text("waited", why.clone()),
        Entry::Log { level, message } => text("log", format!("{}: {message}", word(level))),
        Entry::Held { position, reason } => text("held", format!("call {position}: {reason}")),
        Entry::Abandoned { by, .. } => text("given up", format!("by {by}")),
        Entry::GaveWay { to } => text("gave way", format!("to {to}, whose event is proved")),
        Entry::Retried { why, by } => {
            let because = by.as_ref().map_or_else(|| why.clone(), |by| format!("{by} asked for it"));
            text("again", format!("from the start: {because}"))
        }
        Entry::Asked { asked } => {
            let [effects, hash] = [asked.plan.effects().to_string(), asked.hash.short()];
            text(
                "asked",
                format!(
                    "for an approval of {effects} effects, hash {hash}, until {}",
                    super::instant(asked.expires)
                ),
            )
        }
        Entry::Approved { by, enough, .. } => {
            text("approved", format!("by {by}{}", if *enough { "; from the start" } else { "" }))
        }
        Entry::Denied { by, .. } => text("denied", format!("by {by}")),
        Entry::Confirmed { nth } => text("confirmed", format!("what was approved, asked as the {nth}.")),
        Entry::Void { why } => text("again", format!("from the start: {why}")),
        Entry::Faulted { fault } => text("fault", format!("{}: {}", word(&fault.kind), fault.message)),
        Entry::Done { outcome } => text("done", outcome.summary.clone()),
        Entry::Failed { failure } => text("failed", format!("{}: {}", failure.code, failure.message)),
    }
}

/// What became of the effect at `position`, and when that was recorded.
fn outcome(position: u32, later: &[Record]) -> Option<(Timestamp, String)> {
    let begins_afresh = |record: &&Record| {
        matches!(
            record.entry,
            Entry::Retried { .. } | Entry::Void { .. } | Entry::Approved { enough: true, .. }
        )
    };
    let of_this_try = later.iter().take_while(|record| !begins_afresh(record));
    of_this_try.into_iter().find_map(|record| match &record.entry {
        Entry::Result { position: of, reply, answered, sends } if *of == position => {
            Some((record.at, answer(reply, answered, *sends)))
        }
        Entry::NotExecuted { position: of, why, by } if *of == position => {
            let says = by.as_ref().map_or_else(|| format!(": {why}"), |by| format!(", says {by}"));
            Some((record.at, cut(&format!("did not take place{says}"), CELL_CHARS_MAX)))
        }
        _ => None,
    })
}

/// The step's place in the run's time.
fn bar(step: &Step<'_>, begun: Timestamp, end: Timestamp) -> String {
    let total = end.since(begun).as_millis().max(1);
    let cell =
        |at: Duration| usize::try_from(at.as_millis() * BAR_CELLS as u128 / total).unwrap_or(BAR_CELLS);
    let from = cell(step.at.since(begun)).min(BAR_CELLS - 1);
    let (mark, to) = match step.took {
        Took::For(time) => ("█", cell(step.at.since(begun) + time).clamp(from + 1, BAR_CELLS)),
        Took::Unknown => ("?", from + 1),
        Took::After(_) | Took::Nothing => ("·", from + 1),
    };
    format!("│{}{}{}│", " ".repeat(from), mark.repeat(to - from), " ".repeat(BAR_CELLS - to))
}

/// Time since the run's begin: `0.048s`, `4:03.200`, `2:04:03`.
fn offset(time: Duration) -> String {
    let (s, ms) = (time.as_secs(), time.subsec_millis());
    match s {
        0..60 => format!("{s}.{ms:03}s"),
        60..3600 => format!("{}:{:02}.{ms:03}", s / 60, s % 60),
        _ => format!("{}:{:02}:{:02}", s / 3600, s % 3600 / 60, s % 60),
    }
}

/// The resources a call names, as the catalog knows them; its first parameters where it names none.
fn about(request: &CallRequest) -> String {
    let Ok(params) = serde_json::from_str::<Value>(&request.params) else { return String::new() };
    let CallRequest { service, action, .. } = request;
    // The ledger does not say whose cloud it is; no two vendors share an action of the same service and name but in `sts`.
    let vendors = [Provider::Alibaba, Provider::Tencent];
    let known = vendors.into_iter().find_map(|vendor| catalog::find(vendor, service, action));
    let mut words = known.map(|action| action.resources(&params)).unwrap_or_default();
    if words.is_empty() {
        let named = params.as_object().into_iter().flatten();
        let named = named.filter_map(|(key, value)| Some(format!("{key}={}", scalar(value)?)));
        words = named.take(2).collect();
    }
    cut(&words.join(" "), CELL_CHARS_MAX)
}

fn answer(reply: &CallReply, answered: &Answered, sends: u32) -> String {
    let text = match reply {
        Ok(response) => {
            let from = match answered {
                Answered::ReadBack => "ok, seen by reading back".to_owned(),
                Answered::Simulated if response.body.contains(NOT_SHOWN) => {
                    "ok, simulated, shown by no read".to_owned()
                }
                Answered::Simulated => "ok, simulated".to_owned(),
                Answered::CloudDryRun => "ok, simulated, passed the cloud's dry run".to_owned(),
                Answered::Overlaid => "ok, with what is simulated".to_owned(),
                Answered::EarlierTry => "ok, made by an earlier try".to_owned(),
                Answered::Person { by } => format!("ok, says {by}"),
                Answered::Once { run } => format!("ok, same as run {}", cut(run.as_str(), super::ID_CHARS)),
                Answered::Cloud | Answered::Host => "ok".to_owned(),
            };
            format!("{from} {}", given(&response.body))
        }
        Err(error) if *answered == Answered::CloudDryRun => format!("the cloud's dry run: {error}"),
        Err(error) => error.to_string(),
    };
    let mut text = cut(text.trim_end(), CELL_CHARS_MAX);
    if sends > 1 {
        text.push_str(&format!(", sent {sends} times"));
    }
    text
}

/// What a cloud's answer names: new ids, or how many there are.
fn given(body: &str) -> String {
    let Ok(Value::Object(body)) = serde_json::from_str(body) else { return String::new() };
    let named = body.iter().filter(|(key, _)| {
        let is_id = key.ends_with("Id") || key.ends_with("Ids") || key.ends_with("IdSet");
        (is_id && *key != "RequestId") || *key == "TotalCount"
    });
    let named = named.filter_map(|(key, value)| Some(format!("{key}={}", scalar(value)?)));
    named.take(2).collect::<Vec<_>>().join(" ")
}

/// A value that fits a line: a text, a number, or a list of them.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(list) => list.iter().map(scalar).collect::<Option<Vec<_>>>().map(|list| list.join(",")),
        Value::Null | Value::Object(_) => None,
    }
}

fn state(op: &StateOp, reply: &StateReply) -> String {
    let op = match op {
        StateOp::Get { key } => format!("get {key}"),
        StateOp::Set { key, value } => format!("set {key}, {} bytes", value.len()),
        StateOp::Delete { key } => format!("delete {key}"),
        StateOp::CompareAndSet { key, expected, value } => {
            format!("set {key} if version {expected}, {} bytes", value.len())
        }
    };
    let reply = match reply {
        StateReply::Value(None) => "absent".to_owned(),
        StateReply::Value(Some(entry)) => format!("{} bytes, version {}", entry.value.len(), entry.version),
        StateReply::Written(Ok(version)) => format!("version {version}"),
        StateReply::Written(Err(StateError::Conflict)) => "conflict".to_owned(),
        StateReply::Written(Err(StateError::TooLarge)) => "too large".to_owned(),
        StateReply::Deleted => "ok".to_owned(),
    };
    format!("{op}: {reply}")
}

//! The judge of one event: joins how its run ended with what the clouds did and how they lied meanwhile.

use super::stage::{Class, Lane};
use serde_json::Value;
use std::collections::BTreeMap;

/// Faults after which a client cannot know whether its effect took place.
const UNCLEAR: [&str; 10] = [
    "error-500-before",
    "error-500-after",
    "drop-before",
    "drop-after",
    "timeout-before",
    "timeout-after",
    "truncated",
    "garbage",
    "late",
    "nonce-used",
];

/// One event from its sending until its run and all that came late are over.
pub(super) struct Happened {
    pub(super) event: String,
    pub(super) action: &'static str,
    /// How the run ended, and its note.
    pub(super) state: String,
    pub(super) note: String,
    /// Whether the machine ended in the state the effect leads to.
    pub(super) goal_reached: bool,
    /// What the clouds received about the machine.
    pub(super) requests: Vec<Value>,
    /// What the host changed of the machine.
    pub(super) effects: Vec<Value>,
    /// Whether another operator restarted it.
    pub(super) restarted_by_another: bool,
}

/// What is wrong with it.
pub(super) fn judge(lane: &Lane, happened: &Happened) -> Vec<String> {
    let Happened { event, action, state, note, goal_reached, requests, effects, .. } = happened;
    let mut problems = Vec::new();
    let sends: Vec<&Value> = requests.iter().filter(|request| request["action"] == *action).collect();
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for effect in effects {
        let is_asked_for = sends.iter().any(|send| send["request_id"] == effect["request_id"]);
        if effect["action"] != *action || !is_asked_for {
            problems.push(format!("nobody asked for {effect}"));
        }
        let params = &effect["params"];
        *made.entry(params["DiskId"].as_str().unwrap_or(&lane.machine)).or_default() += 1;
    }
    let most = made.values().copied().max().unwrap_or(0);
    if !lane.class.is_convergent() && most > 1 {
        problems.push(format!("{action} took place {most} times"));
    }
    let is_lost = match lane.class {
        Class::PowerAlibaba | Class::PowerTencent => !goal_reached,
        // ECS does not show whose restart it was.
        Class::Reboot if happened.restarted_by_another => false,
        Class::Token | Class::Reset | Class::Reboot => made.len() < lane.class.effects_wanted(),
    };
    if state == "done" && is_lost {
        problems.push(format!("{action} is lost, and its run says done"));
    }
    let met = |send: &&Value, known: &[&str]| {
        send["fault"].as_str().is_some_and(|faults| faults.split('+').any(|fault| known.contains(&fault)))
    };
    if state == "held" && !sends.iter().any(|send| met(send, &UNCLEAR)) {
        problems.push("held, though every sending had a clear answer".to_owned());
    }
    if !["done", "failed", "held", "dead"].contains(&state.as_str()) {
        problems.push("the run does not end".to_owned());
    }
    let told = sends.iter().map(|send| format!("{} {}", send["fault"], send["code"])).collect::<Vec<_>>();
    let tell = |problem| {
        format!(
            "{} {event} ({state}: {note}): {problem}; sent {told:?}; {} effects",
            lane.name,
            effects.len()
        )
    };
    problems.into_iter().map(tell).collect()
}

/// A line of the table.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) events: usize,
    pub(super) calls: usize,
    pub(super) effects: usize,
    pub(super) states: BTreeMap<String, usize>,
}

impl Tally {
    pub(super) fn add(&mut self, happened: &Happened) {
        self.events += 1;
        self.calls += happened.requests.len();
        self.effects += happened.effects.len();
        *self.states.entry(happened.state.clone()).or_default() += 1;
    }

    pub(super) fn ended(&self, state: &str) -> usize {
        self.states.get(state).copied().unwrap_or(0)
    }
}

/// Prints a line for each class and fault.
pub(super) fn print(tallies: &BTreeMap<(Class, &'static str), Tally>) {
    println!(
        "{:<20}{:<18}{:>7}{:>7}{:>7}{:>7}{:>7}{:>7}{:>9}",
        "class", "fault", "events", "calls", "done", "failed", "held", "dead", "effects"
    );
    for ((class, fault), tally) in tallies {
        let [done, failed, held, dead] = ["done", "failed", "held", "dead"].map(|state| tally.ended(state));
        println!(
            "{:<20}{fault:<18}{:>7}{:>7}{done:>7}{failed:>7}{held:>7}{dead:>7}{:>9}",
            class.as_str(),
            tally.events,
            tally.calls,
            tally.effects
        );
    }
    println!("{} calls in all", tallies.values().map(|tally| tally.calls).sum::<usize>());
}

//! Judges a simulated day: what was accepted, how runs ended, and what the clouds saw must fit together.

use super::cloud::{Effect, disks};
use super::fate::Fate;
use opsward::store::{Decision, Firing, RunDetail};
use opsward_core::run::{Entry, Replay, RunState};
use std::collections::{BTreeMap, BTreeSet};

/// How far the host's clock may be from the true time, with room to spare.
const SKEW_MS: i64 = 60_000;

/// What is left of a day.
pub(super) struct Day<'a> {
    pub(super) fate: &'a Fate,
    /// Ids of the events that the host said it has.
    pub(super) accepted: &'a BTreeSet<String>,
    pub(super) runs: &'a [RunDetail],
    pub(super) firings: &'a [Firing],
    pub(super) effects: &'a [Effect],
}

/// What is wrong with it, if anything.
pub(super) fn judge(day: &Day<'_>) -> Result<(), String> {
    let with_runs: BTreeSet<&str> = day.runs.iter().map(|run| run.event.id.as_str()).collect();
    if let Some(lost) = day.accepted.iter().find(|id| !with_runs.contains(id.as_str())) {
        return Err(format!("event {lost} was accepted and has no run"));
    }
    let snapshots = snapshots(day.effects)?;
    let resets = resets(day)?;
    for run in day.runs {
        let id = &run.row.id;
        let replay = Replay::new(&run.ledger, run.received);
        match run.row.state {
            RunState::Ready | RunState::Running => {
                return Err(format!("run {id} has not ended: {:?}", run.row));
            }
            RunState::Held if !is_ambiguous(day.fate, run) => {
                return Err(format!("run {id} is held without need: {:?}", run.row.note));
            }
            RunState::Failed | RunState::Dead if replay.open().is_some() => {
                return Err(format!("run {id} ended with an effect unknown"));
            }
            RunState::Failed | RunState::Dead
                if was_refused(run) && resets.contains(run.event.id.as_str()) =>
            {
                return Err(format!("run {id} says its reset was refused, and it took place"));
            }
            RunState::Done => has_effects(run, &snapshots, &resets)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a run that says done has had its effects, by itself or by another run of the same incident.
fn has_effects(run: &RunDetail, snapshots: &Snapshots<'_>, resets: &BTreeSet<&str>) -> Result<(), String> {
    let id = &run.row.id;
    let Some(instance) = &run.event.subject else {
        let took_place = resets.contains(run.event.id.as_str());
        return took_place.then_some(()).ok_or_else(|| format!("run {id} says done without a reset"));
    };
    let incident = run.event.incident.clone().unwrap_or_default();
    let mut wanted = disks(instance).into_iter().map(|disk| (disk, incident.clone()));
    match wanted.find(|one| !snapshots.contains_key(one)) {
        Some(missing) => Err(format!("run {id} says done without {missing:?}")),
        None => Ok(()),
    }
}

/// By disk and incident.
type Snapshots<'a> = BTreeMap<(String, String), &'a Effect>;

/// Snapshots by disk and incident, one each.
fn snapshots(effects: &[Effect]) -> Result<Snapshots<'_>, String> {
    let mut found = BTreeMap::new();
    for effect in effects.iter().filter(|effect| effect.resource.starts_with("d-")) {
        let incident =
            effect.about.split_once("(incident ").map_or("", |(_, rest)| rest.trim_end_matches(')'));
        if let Some(first) = found.insert((effect.resource.clone(), incident.to_owned()), effect) {
            return Err(format!("two snapshots: {first:?} and {effect:?}"));
        }
    }
    Ok(found)
}

/// The events of firings that have had their reset, one each.
fn resets<'a>(day: &'a Day<'_>) -> Result<BTreeSet<&'a str>, String> {
    let mut found = BTreeSet::new();
    let fired = || day.firings.iter().filter(|firing| firing.decision == Decision::Fired);
    for effect in day.effects.iter().filter(|effect| effect.resource.starts_with("ins-")) {
        let latest = fired().filter(|firing| firing.fire_at.ms() <= effect.at_ms + SKEW_MS);
        let Some(firing) = latest.max_by_key(|firing| firing.fire_at) else {
            return Err(format!("a reset without a firing: {effect:?}"));
        };
        let of_firing =
            |run: &&RunDetail| run.event.time == firing.fire_at && run.row.policy == firing.policy;
        let Some(run) = day.runs.iter().find(of_firing) else {
            return Err(format!("a firing without a run: {firing:?}"));
        };
        if !found.insert(run.event.id.as_str()) {
            return Err(format!("a second reset for {firing:?}: {effect:?}"));
        }
    }
    Ok(found)
}

/// Whether the answer to an effect of the run is on record as an error.
fn was_refused(run: &RunDetail) -> bool {
    run.ledger.iter().any(|record| matches!(record.entry, Entry::Result { reply: Err(_), .. }))
}

/// Whether something happened since the intent that may have left the effect unclear.
fn is_ambiguous(fate: &Fate, run: &RunDetail) -> bool {
    let replay = Replay::new(&run.ledger, run.received);
    let Some((position, _)) = replay.open() else { return false };
    let intent = run.ledger.iter().rev().find_map(|record| match &record.entry {
        Entry::Intent { position: at, .. } if *at == position => Some(record.at.ms()),
        _ => None,
    });
    intent.is_some_and(|at| fate.was_in_doubt_since(at - SKEW_MS))
}

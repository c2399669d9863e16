//! Where the incidents of a store in memory stand, what has woken whom, and which runs of hints a proved notice meets. Leaves what
//! becomes of these runs to `shelf`. Tested by the conformance suite.

use opsward::store::NewEvent;
use opsward_core::event::{Incident, News, Transition, Woken, manual_source};
use opsward_core::id::{PolicyName, RunId};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use std::collections::BTreeMap;

/// By incident and trust.
#[derive(Clone, Default)]
pub(super) struct Incidents(BTreeMap<(String, bool), Known>);

#[derive(Clone, Default)]
struct Known {
    incident: Option<Incident>,
    woken: BTreeMap<PolicyName, Woken>,
    /// Of hints: by what each run was woken.
    runs: Vec<(PolicyName, Transition, Hint)>,
}

#[derive(Clone)]
struct Hint {
    run: RunId,
    gravity: u8,
    at: Timestamp,
}

impl Incidents {
    /// Notes down what an event says of its incident, and leaves those of its runs that it starts. `stands_for` is asked whether the
    /// run of a hint stands for a run.
    pub(super) fn hear(&mut self, new: &mut NewEvent, mut stands_for: impl FnMut(&RunId, &RunId) -> bool) {
        let event = &new.event;
        let (Some(key), Some(transition)) = (&event.incident, event.transition) else { return };
        if event.source == manual_source() {
            return;
        }
        let (at, gravity, is_proved) =
            (event.time.min(new.received), event.gravity(), new.trust == Trust::Proved);
        let track = |proved: bool| self.0.get(&(key.clone(), proved)).cloned().unwrap_or_default();
        let (proved, hints) = (track(true), track(false));
        let after = |before| Incident::after(before, transition, at);
        let mut own = if is_proved { proved.clone() } else { hints.clone() };
        let (incident, news) = after(own.incident);
        if news == News::Begins {
            own = Known::default();
        }
        own.incident = Some(incident);
        let judged = match is_proved {
            true => news,
            false => after(Incident::later(hints.incident, proved.incident)).1,
        };
        let proved_counts = !is_proved && after(proved.incident).1 != News::Begins;
        new.runs.retain(|run| {
            let has = |woken: &BTreeMap<PolicyName, Woken>| {
                woken.get(&run.policy).is_some_and(|woken| woken.has(transition, gravity))
            };
            if !run.wants.wakes(judged, has(&own.woken) || proved_counts && has(&proved.woken)) {
                return false;
            }
            let woken = own.woken.entry(run.policy.clone()).or_default();
            *woken = woken.with(transition, gravity);
            if !is_proved {
                own.runs.push((run.policy.clone(), transition, Hint { run: run.id.clone(), gravity, at }));
                return true;
            }
            let same = hints.runs.iter().rev().find(|one| (&one.0, one.1) == (&run.policy, transition));
            let same = same.map(|(.., hint)| hint).filter(|hint| {
                let is_as_grave = transition != Transition::Firing || hint.gravity >= gravity;
                let (proved, hints) = (proved.incident, hints.incident);
                is_as_grave && Incident::is_same_happening(proved, hints, transition, hint.at, at)
            });
            same.is_none_or(|hint| !stands_for(&hint.run, &run.id))
        });
        self.0.insert((key.clone(), is_proved), own);
    }
}

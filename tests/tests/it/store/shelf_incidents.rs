//! Where the incidents of a store in memory stand, what has woken whom, and which runs of hints a proved notice meets. Leaves what
//! becomes of these runs to `shelf`. Tested by the conformance suite.

use opsward::store::NewEvent;
use opsward_core::event::{Incident, News, Proof, Transition, Woken, manual_source};
use opsward_core::id::{PolicyName, RunId};
use opsward_core::sender::Trust;
use std::collections::BTreeMap;

/// By incident and trust.
#[derive(Clone, Default)]
pub(super) struct Incidents(BTreeMap<(String, bool), Known>);

#[derive(Clone, Default)]
struct Known {
    incident: Option<Incident>,
    woken: BTreeMap<PolicyName, Woken>,
    /// Of hints: by what each run was woken, whatever the firing.
    runs: Vec<(PolicyName, Transition, RunId)>,
}

impl Incidents {
    /// Notes down what an event says of its incident, and leaves those of its runs that it starts. `is_done` is asked whether runs of
    /// hints have done what a run would.
    pub(super) fn hear(
        &mut self,
        new: &mut NewEvent,
        mut is_done: impl FnMut(&[&RunId], &RunId, &Proof<'_>) -> bool,
    ) {
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
            own = Known { runs: own.runs, ..Known::default() };
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
                own.runs.push((run.policy.clone(), transition, run.id.clone()));
                return true;
            }
            let same = hints.runs.iter().filter(|one| (&one.0, one.1) == (&run.policy, transition));
            let same: Vec<&RunId> = same.map(|one| &one.2).collect();
            let subject = event.subject.as_deref();
            let (proved, by_hints) = (proved.incident, hints.incident);
            !is_done(&same, &run.id, &Proof { proved, by_hints, transition, gravity, at, subject })
        });
        self.0.insert((key.clone(), is_proved), own);
    }
}

//! Where the incidents of a store in memory stand, and what has woken whom. Tested by the conformance suite.

use opsward::store::NewEvent;
use opsward_core::event::{Incident, News, Transitions, manual_source};
use opsward_core::id::PolicyName;
use std::collections::BTreeMap;

/// By incident.
#[derive(Clone, Default)]
pub(super) struct Incidents(BTreeMap<String, Known>);

#[derive(Clone)]
struct Known {
    incident: Incident,
    woken: BTreeMap<PolicyName, Transitions>,
}

impl Incidents {
    /// Notes down what an event says of its incident, and leaves those of its runs that it starts.
    pub(super) fn hear(&mut self, new: &mut NewEvent) {
        let event = &new.event;
        let (Some(key), Some(transition)) = (&event.incident, event.transition) else { return };
        if event.source == manual_source() {
            return;
        }
        let known = self.0.remove(key);
        let before = known.as_ref().map(|known| known.incident);
        let (incident, news) = Incident::after(before, transition, event.time.min(new.received));
        let mut woken = known.filter(|_| news != News::Begins).map(|known| known.woken).unwrap_or_default();
        new.runs.retain(|run| {
            let had = woken.get(&run.policy).copied().unwrap_or_default();
            let wakes = run.wants.wakes(news, had.has(transition));
            if wakes {
                woken.insert(run.policy.clone(), had.with(transition));
            }
            wakes
        });
        self.0.insert(key.clone(), Known { incident, woken });
    }
}

//! What the log says of deliveries that are refused or make no sense: the first of a reason at once, of those that follow a count each
//! minute. A flood writes so few lines, whatever it consists of. Leaves the first one's words to whoever met it. Tested below.

use opsward_core::id::SourceName;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often it is told how many there were.
const EVERY: Duration = Duration::from_secs(60);

/// Those that were told of in this minute or the one before, by source and reason, with how many came since.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Counts>);

type Counts = BTreeMap<(SourceName, &'static str), u64>;

impl Refusals {
    /// Tells now and then how many there were, until `stopping` turns true; then of those that are left.
    pub(super) async fn run(&self, mut stopping: watch::Receiver<bool>) {
        let mut is_stopping = false;
        while !is_stopping {
            is_stopping = tokio::select! {
                () = tokio::time::sleep(EVERY) => false,
                _ = stopping.wait_for(|stop| *stop) => true,
            };
            for ((source, reason), count) in self.turn() {
                tracing::warn!(%source, reason, count, "more of what was told of before");
            }
        }
    }

    /// Whether the caller is to tell of it; otherwise it is counted.
    pub(super) fn is_first(&self, source: &SourceName, reason: &'static str) -> bool {
        let mut counts = self.counts();
        match counts.get_mut(&(source.clone(), reason)) {
            Some(count) => {
                *count += 1;
                false
            }
            None => counts.insert((source.clone(), reason), 0).is_none(),
        }
    }

    /// Those that came since the turn before; of a reason that had none, the next is a first one again.
    fn turn(&self) -> Counts {
        let mut counts = self.counts();
        counts.retain(|_, count| *count > 0);
        let told = counts.clone();
        counts.values_mut().for_each(|count| *count = 0);
        told
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_reason_is_told_at_once_and_the_others_by_number() {
        let refusals = Refusals::default();
        let [a, b] = ["a", "b"].map(|name| name.parse::<SourceName>().expect("a name"));
        let firsts = [(); 5].map(|()| refusals.is_first(&a, "rate"));
        assert_eq!(firsts, [true, false, false, false, false]);
        assert!(
            refusals.is_first(&a, "busy") && refusals.is_first(&b, "rate"),
            "another reason, another source"
        );
        assert_eq!(refusals.turn(), BTreeMap::from([((a.clone(), "rate"), 4)]));
        assert!(!refusals.is_first(&a, "rate"), "a flood that goes on is told by number alone");
        assert_eq!(refusals.turn().into_values().collect::<Vec<_>>(), [1]);
        assert_eq!(refusals.turn().len(), 0);
        assert!(refusals.is_first(&a, "rate"), "after a minute without any");
    }
}

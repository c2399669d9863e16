//! The operations that effects of this host began, by their request ids: a read that lags behind may show one of them as
//! the last operation on its resource, and it is not to be taken for the effect in question. Nor is what such an operation
//! left on a resource of which the cloud keeps no request ids, where the baseline may not have shown it. Leaves judging to
//! `readback`. Forgotten when the host ends: reads lag behind by seconds. Tested in `tests/tests/it/lies/lag.rs`.

use crate::failpoint::unhasted;
use opsward_core::catalog::Baseline;
use opsward_core::time::Timestamp;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Operations remembered: several minutes of a busy host, in well under a megabyte.
const KNOWN_MAX: usize = 4096;
/// How long after an operation a baseline may not have shown it: reads lag behind by seconds.
const READ_LAG: Duration = Duration::from_secs(60);

/// What is known to have been done, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<VecDeque<Operation>>);

#[derive(Debug)]
struct Operation {
    resource: String,
    request_id: String,
    at: Timestamp,
}

/// What is known of a reading beside what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It shows an operation that another one followed: it lags behind.
    Behind,
    /// It shows the last one that is known, or may do so.
    Earlier,
    /// It shows one that is not known.
    Open,
}

impl Known {
    pub(super) fn add(&self, resource: String, request_id: &str, at: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == KNOWN_MAX {
            known.pop_front();
        }
        known.push_back(Operation { resource, request_id: request_id.to_owned(), at });
    }

    /// Places a reading of `resource`, made to judge an effect whose intent was recorded at `since`.
    pub(super) fn age(&self, resource: &str, reading: &Baseline, since: Timestamp) -> Age {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_resource = known.iter().rev().filter(|known| known.resource == resource);
        let Some(id) = &reading.operation_request_id else {
            let is_recent = |last: &Operation| unhasted(since.since(last.at)) < READ_LAG;
            return if of_resource.next().is_some_and(is_recent) { Age::Earlier } else { Age::Open };
        };
        match of_resource.position(|known| known.request_id == *id) {
            Some(0) => Age::Earlier,
            Some(_) => Age::Behind,
            None => Age::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str) -> Baseline {
        Baseline { operation_request_id: Some(id.to_owned()), ..Baseline::default() }
    }

    #[test]
    fn a_reading_is_placed_among_the_operations_that_are_known_of_its_resource() {
        let known = Known::default();
        for (resource, id) in [("i-1", "r-1"), ("i-1", "r-2"), ("i-2", "r-3")] {
            known.add(resource.to_owned(), id, Timestamp::default());
        }
        for (resource, id, age) in [
            ("i-1", "r-1", Age::Behind),
            ("i-1", "r-2", Age::Earlier),
            ("i-1", "r-4", Age::Open),
            ("i-2", "r-3", Age::Earlier),
            ("i-3", "r-1", Age::Open),
        ] {
            assert_eq!(known.age(resource, &of(id), Timestamp::default()), age, "{resource} {id}");
        }
    }

    #[test]
    fn what_an_operation_shortly_before_the_intent_left_is_not_taken_for_the_effect() {
        let known = Known::default();
        known.add("i-1".to_owned(), "r-1", Timestamp::from_seconds(100));
        for (resource, since, age) in [
            ("i-1", 101, Age::Earlier),
            ("i-1", 159, Age::Earlier),
            ("i-1", 160, Age::Open),
            ("i-2", 101, Age::Open),
        ] {
            let age_then = known.age(resource, &Baseline::default(), Timestamp::from_seconds(since));
            assert_eq!(age_then, age, "{resource} {since}");
        }
    }

    #[test]
    fn the_oldest_operations_are_forgotten() {
        let known = Known::default();
        let at = Timestamp::default();
        (0..=KNOWN_MAX).for_each(|nth| known.add("i-1".to_owned(), &nth.to_string(), at));
        let ages = ["0", "1"].map(|id| known.age("i-1", &of(id), at));
        assert_eq!(ages, [Age::Open, Age::Behind]);
    }
}

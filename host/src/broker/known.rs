//! The operations that effects of this host began, by their request ids: a read that lags behind may show one of them as
//! the last operation on its resource, and it is not to be taken for the effect in question. Leaves judging to
//! `readback`. Forgotten when the host ends: reads lag behind by seconds. Tested in `tests/tests/it/lies/lag.rs`.

use opsward_core::catalog::Baseline;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Operations remembered: several minutes of a busy host, in well under a megabyte.
const KNOWN_MAX: usize = 4096;

/// Resources and request ids, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<VecDeque<(String, String)>>);

/// What is known of a reading beside what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It shows an operation that another one followed: it lags behind.
    Behind,
    /// It shows the last one that is known.
    Earlier,
    /// It shows one that is not known.
    Open,
}

impl Known {
    pub(super) fn add(&self, resource: String, request_id: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == KNOWN_MAX {
            known.pop_front();
        }
        known.push_back((resource, request_id.to_owned()));
    }

    pub(super) fn age(&self, resource: &str, reading: &Baseline) -> Age {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(id) = &reading.operation_request_id else { return Age::Open };
        let mut of_resource = known.iter().rev().filter(|(of, _)| of == resource).map(|(_, id)| id);
        match of_resource.position(|known| known == id) {
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
            known.add(resource.to_owned(), id);
        }
        for (resource, id, age) in [
            ("i-1", "r-1", Age::Behind),
            ("i-1", "r-2", Age::Earlier),
            ("i-1", "r-4", Age::Open),
            ("i-2", "r-3", Age::Earlier),
            ("i-3", "r-1", Age::Open),
        ] {
            assert_eq!(known.age(resource, &of(id)), age, "{resource} {id}");
        }
        assert_eq!(known.age("i-1", &Baseline::default()), Age::Open);
    }

    #[test]
    fn the_oldest_operations_are_forgotten() {
        let known = Known::default();
        (0..=KNOWN_MAX).for_each(|nth| known.add("i-1".to_owned(), &nth.to_string()));
        assert_eq!((known.age("i-1", &of("0")), known.age("i-1", &of("1"))), (Age::Open, Age::Behind));
    }
}

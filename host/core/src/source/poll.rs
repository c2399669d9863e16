//! How soon a source is asked again. Leaves waiting to the host. Tested below.

use std::time::Duration;

/// How long the cloud is asked to hold a poll of an empty queue: the longest it takes, since each poll costs the same.
pub const LONG_POLL: Duration = Duration::from_secs(30);
/// The first pause after a poll that did not go as it should.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest: what waits meanwhile is late by so much.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How a poll went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// Something was there, and it is recorded.
    Got,
    /// Nothing was there after so long.
    EmptyAfter(Duration),
    /// There was no answer, a refusal, or nowhere to record.
    Failed,
}

/// What is remembered between polls.
#[derive(Debug, Default)]
pub struct Pace {
    amiss: u32,
}

impl Pace {
    /// How long to wait before the next poll. A poll that ends well before its time without anything was cut short: the cloud
    /// bounds how many wait at a queue at a time, answers those beyond at once as if it were empty, and bills each. Without a
    /// pause such polls would follow each other as fast as the network lets them.
    pub fn pause_after(&mut self, polled: Polled) -> Duration {
        match polled {
            Polled::Got => self.amiss = 0,
            Polled::EmptyAfter(waited) if waited >= LONG_POLL / 2 => self.amiss = 0,
            Polled::EmptyAfter(_) | Polled::Failed => self.amiss = self.amiss.saturating_add(1),
        }
        match self.amiss {
            0 => Duration::ZERO,
            amiss => PAUSE_MIN.saturating_mul(2_u32.saturating_pow(amiss - 1)).min(PAUSE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_follow_each_other_only_where_they_go_as_they_should() {
        let mut pace = Pace::default();
        let short = Polled::EmptyAfter(Duration::from_millis(20));
        for (polled, seconds) in [
            (Polled::Got, 0),
            (Polled::EmptyAfter(LONG_POLL), 0),
            (short, 1),
            (Polled::Failed, 2),
            (short, 4),
            (short, 8),
            (Polled::Got, 0),
            (Polled::Failed, 1),
            (Polled::EmptyAfter(LONG_POLL / 2), 0),
        ] {
            assert_eq!(pace.pause_after(polled), Duration::from_secs(seconds), "{polled:?}");
        }
        let longest = (0..100).map(|_| pace.pause_after(Polled::Failed)).max();
        assert_eq!(longest, Some(PAUSE_MAX));
    }
}

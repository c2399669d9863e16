//! When to fetch a credential anew. Leaves fetching, and that only one does, to the host. Tested below.
//!
//! The vendors' libraries err here in both directions (FACTS 10: Tencent's asks for a role again after a tenth of its life;
//! others use what lapses on its way), and one swallows errors: so it is one table.

use crate::time::Timestamp;
use std::time::Duration;

/// How long before it lapses a credential is fetched anew at the latest: longer than the longest call and any token service's
/// outage of a few minutes, and what the vendors' libraries leave.
pub const MARGIN_MIN: Duration = Duration::from_secs(300);
/// The same as a part of its life, for those that last long.
pub const MARGIN_PART: u32 = 10;
/// How soon after a fetch the next may follow. A metadata service gives the same credential until it has a new one, and a
/// cloud that refuses a fresh one will refuse the next: the token services count calls.
pub const FETCH_PAUSE: Duration = Duration::from_secs(30);
/// The pause after the first failed fetch; doubles each time.
pub const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest pause after a failed fetch: limits of the token services free with the minute.
pub const RETRY_MAX: Duration = Duration::from_secs(60);

/// What is known of the credential in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// When it was fetched, by the cloud's clock.
    pub obtained: Timestamp,
    /// When it lapses.
    pub expires: Option<Timestamp>,
    /// Whether the cloud has refused it.
    pub is_rejected: bool,
}

/// Fetches that failed since one succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// When the latest did.
    pub at: Timestamp,
    /// How many.
    pub count: u32,
}

/// What a call does that needs the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Use what there is.
    Use,
    /// One call fetches, the others use what there is.
    Renew,
    /// One call fetches, the others wait for it.
    Fetch,
    /// There is none, and it is too soon to ask again.
    Refuse,
}

/// Decides at `now`, which is the cloud's time as far as it is known.
pub fn step(holding: Option<&Holding>, failures: Option<&Failures>, now: Timestamp) -> Step {
    // A clock that was set back must not make a pause of years.
    let within = |since: Timestamp, pause: Duration| now >= since && now < since + pause;
    let is_pausing = failures.is_some_and(|failed| within(failed.at, pause(failed.count)));
    let Some(held) = holding else {
        return if is_pausing { Step::Refuse } else { Step::Fetch };
    };
    // What had lapsed as it came shows that this machine's clock is wrong.
    let has_lapsed = held.expires.is_some_and(|expires| now >= expires && expires > held.obtained);
    if within(held.obtained, FETCH_PAUSE) && !has_lapsed {
        return Step::Use;
    }
    let has_lapsed = held.expires.is_some_and(|expires| now >= expires);
    let is_due = held.expires.is_some_and(|expires| now >= expires - margin(expires.since(held.obtained)));
    match (has_lapsed, held.is_rejected, is_due) {
        (true, _, _) if is_pausing => Step::Refuse,
        (true, _, _) | (false, true, _) if !is_pausing => Step::Fetch,
        (false, false, true) if !is_pausing => Step::Renew,
        _ => Step::Use,
    }
}

/// Whether a credential that the cloud has just refused is to be fetched anew: not one that is itself fresh.
pub fn may_replace(held: &Holding, now: Timestamp) -> bool {
    now < held.obtained || now >= held.obtained + FETCH_PAUSE
}

/// How long before the end of such a life a credential is fetched anew; half of a life that is too short for more.
fn margin(life: Duration) -> Duration {
    MARGIN_MIN.max(life / MARGIN_PART).min(life / 2)
}

fn pause(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// Fetched at 1000, for an hour.
    const HOUR: Holding = Holding {
        obtained: Timestamp::from_seconds(1000),
        expires: Some(Timestamp::from_seconds(4600)),
        is_rejected: false,
    };

    #[test]
    fn a_credential_is_fetched_before_it_lapses_and_kept_while_nothing_better_comes() {
        let rejected = Holding { is_rejected: true, ..HOUR };
        let day = Holding { expires: Some(at(1000 + 86_400)), ..HOUR };
        let short = Holding { expires: Some(at(1400)), ..HOUR };
        let keys = Holding { expires: None, ..HOUR };
        let brief = Holding { expires: Some(at(1010)), ..HOUR };
        let wrong_clock = Holding { expires: Some(at(500)), ..HOUR };
        let failed = |seconds, count| Some(Failures { at: at(seconds), count });
        let table = [
            ("nothing yet", None, None, 1000, Step::Fetch),
            ("nothing yet, failed just now", None, failed(1000, 1), 1004, Step::Refuse),
            ("nothing yet, the pause is over", None, failed(1000, 1), 1005, Step::Fetch),
            ("the third pause is four times as long", None, failed(1000, 3), 1019, Step::Refuse),
            ("the longest pause", None, failed(1000, 99), 1060, Step::Fetch),
            ("a clock that was set back", None, failed(9000, 1), 1000, Step::Fetch),
            ("fresh", Some(HOUR), None, 1100, Step::Use),
            ("a tenth of an hour is more than the margin", Some(HOUR), None, 4239, Step::Use),
            ("due", Some(HOUR), None, 4240, Step::Renew),
            ("due, failed just now", Some(HOUR), failed(4240, 1), 4241, Step::Use),
            ("due, the pause is over", Some(HOUR), failed(4240, 1), 4245, Step::Renew),
            ("lapsed", Some(HOUR), None, 4600, Step::Fetch),
            ("lapsed, failed just now", Some(HOUR), failed(4599, 1), 4600, Step::Refuse),
            ("a day is renewed a tenth before", Some(day), None, 1000 + 77_759, Step::Use),
            ("a day is renewed a tenth before", Some(day), None, 1000 + 77_760, Step::Renew),
            ("a short life is renewed at its half", Some(short), None, 1199, Step::Use),
            ("a short life is renewed at its half", Some(short), None, 1200, Step::Renew),
            ("keys do not lapse", Some(keys), None, 9_999_999, Step::Use),
            ("rejected", Some(rejected), None, 1100, Step::Fetch),
            ("rejected, but fresh", Some(rejected), None, 1029, Step::Use),
            ("rejected, failed just now", Some(rejected), failed(1100, 1), 1101, Step::Use),
            ("lapsed soon after it came", Some(brief), None, 1010, Step::Fetch),
            ("lapsed as it came", Some(wrong_clock), None, 1001, Step::Use),
            ("lapsed as it came, later", Some(wrong_clock), None, 1030, Step::Fetch),
        ];
        for (name, holding, failures, now, expected) in table {
            assert_eq!(step(holding.as_ref(), failures.as_ref(), at(now)), expected, "{name} at {now}");
        }
    }

    #[test]
    fn a_fresh_credential_is_not_replaced_because_the_cloud_refuses_it() {
        for (now, expected) in [(1000, false), (1029, false), (1030, true), (4600, true), (900, true)] {
            assert_eq!(may_replace(&HOUR, at(now)), expected, "{now}");
        }
    }
}

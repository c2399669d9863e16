//! How fast calls of one action go to one account and region, all policies together: a token bucket from the catalog's
//! rate, a pause for everybody where the cloud throttles, and a budget of repetitions, so that a storm of throttling is not
//! answered by a storm of calls. Leaves waiting, and one pace per account, region and action, to the host. Tested below.

use crate::catalog::Rate;
use std::time::Duration;

/// Longest wait for a turn: with more, the policy is told, and its run is tried again later without a place in the queue.
pub const TURN_WAIT_MAX: Duration = Duration::from_secs(60);
/// How long everybody pauses where the cloud throttles and does not say for how long: the least that helps with limits
/// counted by the second.
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);
/// Repetitions that may come at once, as after a quiet hour. As many as the first calls of two policies need, each with its
/// share of a page.
const RETRIES_SAVED_MAX: f64 = 20.0;
/// Repetitions that each first sending pays for: at a steady stream of failures the cloud gets a fifth more calls, not
/// six times as many.
const RETRIES_PER_SEND: f64 = 0.2;

/// The pace of one action. Times are since any one instant, and never go back.
#[derive(Debug, Clone)]
pub struct Pace {
    rate: Option<Rate>,
    /// When the bucket is full again if nothing more is sent.
    full_at: Duration,
    paused_until: Duration,
    retries: f64,
}

/// There is no turn within `TURN_WAIT_MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls wait for this action's rate limit")]
pub struct Crowded;

impl Pace {
    /// A pace with a full bucket; without a `rate` only the cloud's own throttling slows it.
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, full_at: Duration::ZERO, paused_until: Duration::ZERO, retries: RETRIES_SAVED_MAX }
    }

    /// Takes the next turn: how long to wait for it.
    ///
    /// # Errors
    /// `Crowded` where that is longer than `TURN_WAIT_MAX`; then no turn is taken.
    pub fn turn(&mut self, now: Duration) -> Result<Duration, Crowded> {
        let mut at = now.max(self.paused_until);
        let full_at = match self.rate {
            None => self.full_at,
            Some(rate) => {
                // A bucket holds one period's calls: a turn is free while what is out fits into the period.
                let one = rate.per / rate.calls;
                let full_at = self.full_at.max(at) + one;
                at = at.max(full_at.saturating_sub(rate.per));
                full_at
            }
        };
        let wait = at - now;
        if wait > TURN_WAIT_MAX {
            return Err(Crowded);
        }
        self.full_at = full_at;
        Ok(wait)
    }

    /// A call was sent for the first time.
    pub fn sent(&mut self) {
        self.retries = (self.retries + RETRIES_PER_SEND).min(RETRIES_SAVED_MAX);
    }

    /// Whether one more repetition is paid for; takes it if so.
    pub fn may_repeat(&mut self) -> bool {
        let may = self.retries >= 1.0;
        if may {
            self.retries -= 1.0;
        }
        may
    }

    /// The cloud throttled a call, and may have said for how long.
    pub fn throttled(&mut self, now: Duration, hint: Option<Duration>) {
        let pause = hint.unwrap_or(THROTTLED_PAUSE).min(TURN_WAIT_MAX);
        self.paused_until = self.paused_until.max(now + pause);
    }

    /// Whether nothing of it holds a call up, so that it need not be kept where there are many.
    pub fn is_idle(&self, now: Duration) -> bool {
        self.full_at <= now && self.paused_until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn rate(calls: u32, seconds: u64) -> Option<Rate> {
        Some(Rate { calls, per: Duration::from_secs(seconds) })
    }

    #[test]
    fn a_periods_calls_go_at_once_and_later_ones_one_by_one() {
        let mut pace = Pace::new(rate(10, 1));
        let waits: Vec<_> = (0..13).map(|_| pace.turn(ms(5_000)).expect("a turn")).collect();
        assert_eq!(waits[..10], [Duration::ZERO; 10]);
        assert_eq!(waits[10..], [ms(100), ms(200), ms(300)]);
        assert_eq!(pace.turn(ms(5_350)), Ok(ms(50)));
        assert_eq!(pace.turn(ms(60_000)), Ok(Duration::ZERO), "full again");
    }

    #[test]
    fn in_any_period_no_more_than_twice_the_rate_goes_out_and_in_the_long_run_the_rate() {
        let mut pace = Pace::new(rate(10, 1));
        let mut sent: Vec<u64> = Vec::new();
        for at in (0..10_000).step_by(7) {
            if let Ok(wait) = pace.clone().turn(ms(at))
                && wait == Duration::ZERO
            {
                pace.turn(ms(at)).expect("a turn");
                sent.push(at);
            }
        }
        let most = sent.iter().map(|from| sent.iter().filter(|at| (*from..from + 1000).contains(at)).count());
        assert!(most.max().expect("some") <= 20);
        assert!((100..=112).contains(&sent.len()), "{} in 10 s", sent.len());
    }

    #[test]
    fn a_wait_beyond_a_minute_is_refused_and_takes_no_turn() {
        let mut pace = Pace::new(rate(1, 30));
        let turns: Vec<_> = (0..5).map(|_| pace.turn(ms(0)).map(|wait| wait.as_secs())).collect();
        assert_eq!(turns, [Ok(0), Ok(30), Ok(60), Err(Crowded), Err(Crowded)]);
        assert_eq!(pace.turn(ms(31_000)), Ok(ms(59_000)), "those that were refused hold nothing up");
    }

    #[test]
    fn throttling_pauses_everybody_as_long_as_the_cloud_says() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.turn(ms(0)), Ok(Duration::ZERO));
        pace.throttled(ms(0), Some(ms(7_000)));
        pace.throttled(ms(0), None);
        assert_eq!(pace.turn(ms(1_000)), Ok(ms(6_000)));
        assert_eq!(pace.turn(ms(8_000)), Ok(Duration::ZERO));
        pace.throttled(ms(8_000), Some(Duration::from_secs(7200)));
        assert_eq!(pace.turn(ms(8_000)), Ok(TURN_WAIT_MAX), "within bounds");
    }

    #[test]
    fn repetitions_are_a_share_of_the_calls() {
        let mut pace = Pace::new(None);
        let mut repeated = 0;
        for _ in 0..1_000 {
            pace.sent();
            while pace.may_repeat() {
                repeated += 1;
            }
        }
        assert!((200..=220).contains(&repeated), "{repeated} repetitions of 1,000 calls");
    }

    #[test]
    fn what_has_come_to_rest_need_not_be_kept() {
        let mut pace = Pace::new(rate(10, 1));
        assert!(pace.is_idle(ms(0)));
        pace.turn(ms(0)).expect("a turn");
        assert!(!pace.is_idle(ms(50)) && pace.is_idle(ms(100)));
        pace.throttled(ms(100), None);
        assert!(!pace.is_idle(ms(1_050)) && pace.is_idle(ms(1_100)));
    }
}

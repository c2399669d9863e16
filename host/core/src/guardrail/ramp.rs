//! How fast a policy may become: one effect of class *once*, two after a pause, then four, as long as all of them go well. Pure, and
//! of what was counted alone: there is no state of a ramp beside that. Tested below.

use super::room::Spent;
use crate::time::Timestamp;
use std::time::Duration;

/// How long an effect counts for a ramp, a failure too: a policy that did nothing for a day begins with one again.
pub const RAMP_MEMORY: Duration = Duration::from_secs(24 * 3600);

/// Why an effect must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The step is made; the next one begins then. `None` where the effect alone is more than the step.
    Paused(Option<Timestamp>),
    /// An effect failed.
    Failed(Timestamp),
    /// The outcome of an effect is not known, a pause after its intent.
    Unclear(Timestamp),
}

/// Whether an effect that counts `cost` fits, after what was `spent`. What has gone well a pause ago or longer is proven; beside it
/// there may be one more than that: after none one, after one two, after three four.
pub(super) fn fits(pause: Duration, cost: u32, spent: &[Spent], now: Timestamp) -> Result<(), Stopped> {
    let failed = spent.iter().filter(|spent| spent.cost == 0).filter_map(|spent| spent.ended).max();
    if let Some(at) = failed {
        return Err(Stopped::Failed(at));
    }
    let is_unclear = |spent: &&Spent| spent.ended.is_none() && spent.at + pause <= now;
    if let Some(unclear) = spent.iter().find(is_unclear) {
        return Err(Stopped::Unclear(unclear.at));
    }
    let is_proven = |spent: &&Spent| spent.ended.is_some_and(|ended| ended + pause <= now);
    let sum =
        |all: &mut dyn Iterator<Item = &Spent>| all.fold(0_u32, |sum, one| sum.saturating_add(one.cost));
    let proven = sum(&mut spent.iter().filter(is_proven));
    let of_step = sum(&mut spent.iter().filter(|spent| !is_proven(spent)));
    if of_step.saturating_add(cost) <= proven.saturating_add(1) {
        return Ok(());
    }
    let of_step = spent.iter().filter(|spent| !is_proven(spent));
    Err(Stopped::Paused(of_step.map(|spent| spent.ended.unwrap_or(now) + pause).max()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn t(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn spent(at: i64, cost: u32, ended: Option<i64>) -> Spent {
        Spent { at: t(at), cost, ended: ended.map(t), member: String::new() }
    }

    #[test]
    fn each_step_has_twice_as_many_as_the_one_before() {
        let mut made: Vec<Spent> = Vec::new();
        let mut steps = Vec::new();
        for step in 0..5 {
            let now = step * 11;
            let mut count = 0;
            while fits(PAUSE, 1, &made, t(now)).is_ok() {
                made.push(spent(now, 1, Some(now)));
                count += 1;
            }
            assert_eq!(fits(PAUSE, 1, &made, t(now)), Err(Stopped::Paused(Some(t(now + 10)))));
            steps.push(count);
        }
        assert_eq!(steps, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn a_ramp_stops_on_a_failure_and_where_an_outcome_stays_unknown() {
        let proven = || spent(0, 3, Some(1));
        let table = [
            (vec![proven()], 4, Ok(())),
            (vec![proven()], 5, Err(Stopped::Paused(None))),
            (vec![proven(), spent(50, 0, Some(52))], 1, Err(Stopped::Failed(t(52)))),
            (vec![proven(), spent(95, 1, None)], 3, Ok(())),
            (vec![proven(), spent(95, 1, None)], 4, Err(Stopped::Paused(Some(t(110))))),
            (vec![proven(), spent(90, 1, None)], 1, Err(Stopped::Unclear(t(90)))),
            (vec![proven(), spent(90, 4, Some(95))], 1, Err(Stopped::Paused(Some(t(105))))),
        ];
        for (made, cost, expected) in table {
            assert_eq!(fits(PAUSE, cost, &made, t(100)), expected, "{cost} after {made:?}");
        }
    }
}

//! What it means that the clock and the time that has really passed disagree: cronie's rule of three hours. Leaves looking at
//! both to the host's timer. Tested below.
//!
//! Within three hours a step is one that people make for the time of day: forward, what was jumped over has been missed, and
//! is judged as such; backward, nothing fires twice, and schedules are silent until the clock has caught up. Beyond, the clock
//! was wrong: forward, what was jumped over never was, and is skipped; backward, all begins anew at the new time. A machine
//! that slept looks like a step forward.

use crate::time::Timestamp;
use std::time::Duration;

/// The longest step of the clock that is taken for a change of the time of day (cronie, `cron.c`).
pub const CLOCK_JUMP_MAX: Duration = Duration::from_secs(3 * 60 * 60);

/// The resolution of a timestamp.
const TICK: Duration = Duration::from_millis(1);

/// What the clock did between two looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockStep {
    /// It went on, or jumped by no more than `CLOCK_JUMP_MAX`.
    Steady,
    /// It was far behind and was put right: fire times up to `passed_over` never were.
    Corrected {
        /// Just before the last look, by the clock as it is: what is due since then is due.
        passed_over: Timestamp,
    },
    /// It was far ahead and was put right: all begins anew.
    SetBack,
}

/// What the clock did since it showed `last`, which is `elapsed` ago by a clock that nobody sets.
pub fn clock_step(last: Timestamp, elapsed: Duration, now: Timestamp) -> ClockStep {
    let due = last + elapsed;
    if now.since(due) > CLOCK_JUMP_MAX {
        ClockStep::Corrected { passed_over: now - elapsed - TICK }
    } else if due.since(now) > CLOCK_JUMP_MAX {
        ClockStep::SetBack
    } else {
        ClockStep::Steady
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_more_than_three_hours_is_a_correction() {
        let minutes = |minutes: i64| Timestamp::from_seconds(1_700_000_000 + 60 * minutes);
        let corrected = |minute| ClockStep::Corrected { passed_over: minutes(minute) - TICK };
        for (elapsed, now, expected) in [
            (1, 1, ClockStep::Steady),
            (1, 181, ClockStep::Steady),
            (1, 182, corrected(181)),
            (1, -179, ClockStep::Steady),
            (1, -180, ClockStep::SetBack),
            // A look that took long is no step.
            (600, 600, ClockStep::Steady),
            (600, 780, ClockStep::Steady),
            (600, 1000, corrected(400)),
            (600, 0, ClockStep::SetBack),
        ] {
            let elapsed = Duration::from_secs(60 * elapsed);
            assert_eq!(clock_step(minutes(0), elapsed, minutes(now)), expected, "{elapsed:?} {now}");
        }
    }
}

//! How fast deliveries of one source may come: so many a second, and as many at once as a second has. Leaves the clock, and one rate
//! per source, to the host. Tested below.

use std::time::Duration;

/// The span that a rate is for, and whose deliveries may come at once.
const SPAN: Duration = Duration::from_secs(1);

/// The rate of one source. Times are since any one instant, and never go back.
#[derive(Debug, Clone)]
pub struct Rate {
    /// What one delivery takes of the span.
    one: Duration,
    /// When nothing is taken any more if none comes.
    free_at: Duration,
}

impl Rate {
    /// A rate of `per_second`, which is not 0; nothing has come yet.
    pub fn new(per_second: u32) -> Self {
        Self { one: SPAN / per_second.max(1), free_at: Duration::ZERO }
    }

    /// Takes a turn now.
    ///
    /// # Errors
    /// Where there is none: how long until there is. No turn is taken then.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let free_at = self.free_at.max(now) + self.one;
        let over = (free_at - now).saturating_sub(SPAN);
        if !over.is_zero() {
            return Err(over);
        }
        self.free_at = free_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_come_as_the_rate_says_and_a_second_of_them_at_once() {
        for per_second in [1, 3, 100, 100_000] {
            let mut rate = Rate::new(per_second);
            let taken =
                |rate: &mut Rate, now: Duration| (0..200_000).take_while(|_| rate.take(now).is_ok()).count();
            assert_eq!(taken(&mut rate, Duration::ZERO), per_second as usize, "at once");
            let wait = rate.take(Duration::ZERO).expect_err("none is left");
            assert!(wait <= SPAN / per_second, "{wait:?}");
            assert!(rate.take(wait).is_ok(), "the wait is long enough");
            assert_eq!(taken(&mut rate, wait + SPAN / 2), (per_second / 2) as usize, "half a second later");
            assert_eq!(
                taken(&mut rate, SPAN * 3600),
                per_second as usize,
                "an hour saves no more than a second"
            );
        }
    }
}

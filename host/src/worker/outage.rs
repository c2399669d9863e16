//! What the log is told while the store cannot be asked: at once, then the more seldom the longer it lasts, and that it is
//! over. Leaves asking to the worker. Tested below.

/// Attempts that failed one after the other.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failed: u64,
}

impl Outage {
    /// Another attempt failed: how many have by now, where that is to be told.
    pub(super) fn goes_on(&mut self) -> Option<u64> {
        self.failed = self.failed.saturating_add(1);
        self.failed.is_power_of_two().then_some(self.failed)
    }

    /// An attempt succeeded: how many had failed, if any.
    pub(super) fn is_over(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.failed)).filter(|failed| *failed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_failures_has_a_dozen_lines_and_its_end_one() {
        let mut outage = Outage::default();
        assert_eq!(outage.is_over(), None, "nothing has failed");
        let told: Vec<u64> = (0..3600).filter_map(|_| outage.goes_on()).collect();
        assert_eq!(told, (0..12).map(|n| 1 << n).collect::<Vec<u64>>());
        assert_eq!((outage.is_over(), outage.is_over()), (Some(3600), None));
        assert_eq!(outage.goes_on(), Some(1), "the next one is told at once");
    }
}

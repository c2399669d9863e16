//! The simulator's clock: real time plus an offset set through the control interface, so that a test can let things
//! settle or age without waiting. Leaves what happens at an instant to the state.

use opsward_core::time::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};

/// Real time plus an offset.
#[derive(Default)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where the simulated clouds read the time"
    )]
    pub(crate) fn now(&self) -> Timestamp {
        let since_1970 = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        Timestamp::from_ms(since_1970.saturating_add(self.offset_ms.load(Ordering::Relaxed)))
    }

    pub(crate) fn is_moved(&self) -> bool {
        self.offset_ms.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

/// `2018-01-01T00:00Z`: how ECS writes when an instance was made.
pub(crate) fn iso_minutes(t: Timestamp) -> String {
    let mut text = t.to_iso_seconds();
    text.truncate("2018-01-01T00:00".len());
    text.push('Z');
    text
}

/// `2018-01-01 08:00:00`: how CBS writes instants, in China's time.
pub(crate) fn china_seconds(t: Timestamp) -> String {
    let mut text = (t + CHINA_OFFSET).to_iso_seconds().replacen('T', " ", 1);
    text.pop();
    text
}

/// `20190409T121826.922+0800`: how CloudMonitor writes instants.
pub(crate) fn china_compact(t: Timestamp) -> String {
    let mut text = (t + CHINA_OFFSET).to_string().replace(['-', ':'], "");
    text.pop();
    text + "+0800"
}

const CHINA_OFFSET: std::time::Duration = std::time::Duration::from_secs(8 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_each_product_writes_them() {
        let t = Timestamp::parse_rfc3339("2019-04-09T04:18:26.922Z").expect("valid");
        assert_eq!(iso_minutes(t), "2019-04-09T04:18Z");
        assert_eq!(china_seconds(t), "2019-04-09 12:18:26");
        assert_eq!(china_compact(t), "20190409T121826.922+0800");
    }
}

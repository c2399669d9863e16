//! Maintenance windows: when all of a policy's effects may be made. Pure: whether now, or when next. Leaves what a window is to
//! `grant`, and waiting to the broker. Tested below.

use crate::grant::Window;
use crate::time::Timestamp;
use std::time::Duration;

/// Longest wait of a run for its windows: every window of one day a week opens within it.
pub const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// When effects may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// At this moment.
    Now,
    /// From then on.
    At(Timestamp),
    /// Not within `WAIT_MAX`.
    Never,
}

/// When one window of each list is open.
pub fn open(lists: &[Vec<Window>], now: Timestamp) -> Open {
    let mut at = now;
    // Each step is the next opening of some window, of which there are few a day.
    while at <= now + WAIT_MAX {
        match lists.iter().find(|list| !list.iter().any(|window| window.is_open(at))) {
            None if at == now => return Open::Now,
            None => return Open::At(at),
            Some(closed) => match closed.iter().filter_map(|window| window.opens(at)).min() {
                Some(opens) => at = opens,
                None => return Open::Never,
            },
        }
    }
    Open::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(windows: &[&str]) -> Vec<Window> {
        let window =
            |text: &&str| Window::parse(&toml::from_str(text).expect("well-formed")).expect("a window");
        windows.iter().map(window).collect()
    }

    #[test]
    fn effects_wait_until_a_window_of_each_list_is_open() {
        const NIGHT: &str = "zone = 'UTC'\nfrom = '22:00'\nto = '06:00'";
        const NOON: &str = "zone = 'UTC'\nfrom = '12:00'\nto = '13:00'";
        const LATE: &str = "zone = 'UTC'\nfrom = '05:00'\nto = '12:30'";
        const SUNDAY: &str = "zone = 'UTC'\ndays = ['sun']";
        const MONDAY: &str = "zone = 'UTC'\ndays = ['mon']";
        let at = |text: &str| Timestamp::parse_rfc3339(text).expect("an instant");
        // 2026-11-27 is a Friday.
        let friday = at("2026-11-27T10:00:00Z");
        let cases = [
            (vec![], Open::Now),
            (vec![list(&[NIGHT])], Open::At(at("2026-11-27T22:00:00Z"))),
            (vec![list(&[NIGHT, NOON])], Open::At(at("2026-11-27T12:00:00Z"))),
            (vec![list(&[LATE])], Open::Now),
            (vec![list(&[LATE]), list(&[NOON])], Open::At(at("2026-11-27T12:00:00Z"))),
            (vec![list(&[NIGHT]), list(&[LATE])], Open::At(at("2026-11-28T05:00:00Z"))),
            (vec![list(&[NIGHT]), list(&[SUNDAY])], Open::At(at("2026-11-29T00:00:00Z"))),
            (vec![list(&[MONDAY]), list(&[SUNDAY])], Open::Never),
        ];
        for (lists, expected) in cases {
            assert_eq!(open(&lists, friday), expected, "{lists:?}");
        }
    }
}

//! How often an address may present a wrong token: past that its wrong ones are answered with "too many" and logged no more. A
//! right token is let in all the same: with 256 random bits there is nothing to be guessed, and nobody who floods the listener
//! can keep an operator from it. Leaves answering to the host. Tested below.

use crate::time::Timestamp;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Wrong tokens of an address within `WINDOW`: more than a person mistypes.
pub const FAILURES_MAX: u32 = 10;
/// How long they are remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses remembered, some 64 bytes each; those past it share one count.
const ADDRESSES_MAX: usize = 4096;

/// Wrong tokens by address.
#[derive(Debug, Default)]
pub struct Failures(HashMap<IpAddr, Count>);

#[derive(Debug, Clone, Copy)]
struct Count {
    since: Timestamp,
    failures: u32,
}

impl Failures {
    /// Counts one from `address` and returns how many that makes, and in how long they are forgotten.
    pub fn count(&mut self, address: IpAddr, now: Timestamp) -> (u32, Duration) {
        let is_over = |count: &Count| now.since(count.since) >= WINDOW || now < count.since;
        let mut key = network(address);
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, count| !is_over(count));
            if self.0.len() >= ADDRESSES_MAX {
                key = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        let count = self.0.entry(key).or_insert(Count { since: now, failures: 0 });
        if is_over(count) {
            *count = Count { since: now, failures: 0 };
        }
        count.failures = count.failures.saturating_add(1);
        (count.failures, WINDOW.saturating_sub(now.since(count.since)))
    }
}

/// One household has a whole /64 of IPv6 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_903_642);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn failures_are_counted_by_address_and_forgotten() {
        let mut failures = Failures::default();
        for n in 1..=20 {
            assert_eq!(failures.count(address("10.0.0.1"), NOW), (n, WINDOW));
        }
        assert_eq!(failures.count(address("::ffff:10.0.0.1"), NOW + WINDOW / 2), (21, WINDOW / 2));
        assert_eq!(failures.count(address("10.0.0.2"), NOW).0, 1);
        assert_eq!(failures.count(address("10.0.0.1"), NOW + WINDOW), (1, WINDOW));
        assert_eq!(failures.count(address("2001:db8::1"), NOW).0, 1);
        assert_eq!(failures.count(address("2001:db8::ffff:2"), NOW).0, 2);
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_room_and_a_clock_set_back_locks_nobody_out() {
        let mut failures = Failures::default();
        for n in 0..20_000_u32 {
            failures.count(IpAddr::V4(n.into()), NOW);
        }
        assert!(failures.0.len() <= ADDRESSES_MAX + 1, "{}", failures.0.len());
        assert_eq!(failures.count(address("0.0.0.9"), NOW - WINDOW * 60).0, 1);
    }
}

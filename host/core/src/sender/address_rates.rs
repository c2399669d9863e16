//! How fast deliveries may come from each address before anything is proved of them: what a stranger sends takes nothing of the rate
//! that a source has for its own senders. Leaves the clock, and whom a delivery is from, to the host. Tested below.

use super::addresses::network_of;
use super::rate::Rate;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Most addresses whose rates are kept: clouds send from a handful. When more come, all begin anew: no sender is refused for the number of
/// strangers, who are held by the bounds on what is worked on at a time.
const ADDRESSES_MAX: usize = 1024;

/// The rates of all addresses, each the same. Times are as those of `Rate`.
#[derive(Debug)]
pub struct AddressRates {
    per_second: u32,
    rates: BTreeMap<IpAddr, Rate>,
}

impl AddressRates {
    /// `per_second` for each address, which is not 0; nothing has come yet.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, rates: BTreeMap::new() }
    }

    /// Takes a turn of the address, or of its /64 of IPv6.
    ///
    /// # Errors
    /// As `Rate::take`.
    pub fn take(&mut self, from: IpAddr, now: Duration) -> Result<(), Duration> {
        let from = network_of(from);
        if self.rates.len() >= ADDRESSES_MAX && !self.rates.contains_key(&from) {
            self.rates.clear();
        }
        self.rates.entry(from).or_insert_with(|| Rate::new(self.per_second)).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn each_address_has_a_rate_of_its_own_and_few_are_kept() {
        let mut rates = AddressRates::new(2);
        let ip = |text: &str| text.parse().expect(text);
        let mut take = |from, seconds| rates.take(from, Duration::from_secs(seconds)).is_ok();
        assert_eq!([(); 3].map(|()| take(ip("203.0.113.1"), 0)), [true, true, false]);
        assert!(take(ip("203.0.113.2"), 0), "another's turns are another's");
        assert!(!take(ip("::ffff:203.0.113.1"), 0), "one address in another spelling");
        assert!(take(ip("203.0.113.1"), 1));
        assert_eq!([1, 2, 3].map(|last| take(ip(&format!("2001:db8::{last}")), 1)), [true, true, false]);
        let mut refused = 0;
        for nth in 0..10_000_u32 {
            refused += usize::from(!take(IpAddr::V4(Ipv4Addr::from_bits(nth)), 1));
        }
        assert_eq!(refused, 0, "none for the number of others");
        assert!(rates.rates.len() <= ADDRESSES_MAX);
    }
}

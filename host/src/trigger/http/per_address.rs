//! How many connections come from where: one address is not to take all there are. Leaves closing those over the bound to
//! `listener`. Tested below.

use opsward_core::sender::addresses::{AddressRange, network_of};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections by address.
pub(super) struct PerAddress {
    most: usize,
    uncounted: Vec<AddressRange>,
    open: Open,
}

/// How many are open from where.
type Open = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection that is counted; dropping it ends that.
pub(super) struct Counted(Option<(IpAddr, Open)>);

impl PerAddress {
    /// At most `most` from one address that is in none of `uncounted`.
    pub(super) fn new(most: usize, uncounted: Vec<AddressRange>) -> Self {
        Self { most, uncounted, open: Arc::default() }
    }

    /// Counts a connection from there; `None` where there are enough.
    pub(super) fn count(&self, from: IpAddr) -> Option<Counted> {
        if self.uncounted.iter().any(|range| range.contains(from)) {
            return Some(Counted(None));
        }
        let from = network_of(from);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(from).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted(Some((from, self.open.clone()))))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((from, open)) = &self.0 else { return };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(from) {
            *count -= 1;
            if *count == 0 {
                open.remove(from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_no_more_than_its_share_and_gives_back_what_it_had() {
        let per_address = PerAddress::new(2, vec!["10.0.0.0/8".parse().expect("a range")]);
        let ip = |text: &str| text.parse().expect(text);
        let first = per_address.count(ip("203.0.113.1")).expect("room");
        let _second = per_address.count(ip("::ffff:203.0.113.1")).expect("room");
        assert!(per_address.count(ip("203.0.113.1")).is_none());
        assert!(per_address.count(ip("203.0.113.2")).is_some(), "another's share is another's");
        drop(first);
        assert!(per_address.count(ip("203.0.113.1")).is_some());
        let _network = [per_address.count(ip("2001:db8::1")), per_address.count(ip("2001:db8::2"))];
        assert!(per_address.count(ip("2001:db8:0:0:ffff::1")).is_none(), "one network, many addresses");
        assert!(per_address.count(ip("2001:db8:0:1::1")).is_some());
        let proxies: Vec<_> = (0..9).map(|_| per_address.count(ip("10.1.2.3"))).collect();
        assert!(proxies.iter().all(Option::is_some), "a proxy has many behind it");
        drop(proxies);
        drop(_network);
        assert!(per_address.count(ip("2001:db8::1")).is_some());
        assert_eq!(per_address.open.lock().expect("whole").len(), 1, "nothing is kept of who has left");
    }
}

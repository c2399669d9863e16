//! Ranges of addresses, and who a request comes from where proxies stand in front. An IPv4 address that is written as IPv6
//! (`::ffff:1.2.3.4`, in any spelling) is that IPv4 address. Tested below.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Most ranges of one list: a cloud's published ones are a handful.
pub const RANGES_MAX: usize = 256;
/// Most hops of `x-forwarded-for` that are looked at, from the last.
const HOPS_MAX: usize = 16;
/// Bits of an IPv6 address before the IPv4 address that it stands for.
const MAPPED_BITS: u8 = 96;

/// Addresses that begin with the same bits: `47.74.206.0/26`, `2408:4000::/22`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    bits: u8,
}

/// Text that is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRange {
    /// Neither an address nor a range of them.
    #[error("`{0}` is no range of addresses: write it as in `47.74.206.0/26`")]
    NotARange(String),
    /// Bits after the prefix: an error of one digit would open a range that nobody meant.
    #[error("`{typed}` has bits after its first {bits}: write `{meant}`")]
    StrayBits {
        /// As typed.
        typed: String,
        /// How many count.
        bits: u8,
        /// The range of that many bits.
        meant: String,
    },
}

impl AddressRange {
    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(other)) => {
                prefix(u128::from(first.to_bits()) << 96, self.bits)
                    == prefix(u128::from(other.to_bits()) << 96, self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(other)) => {
                prefix(first.to_bits(), self.bits) == prefix(other.to_bits(), self.bits)
            }
            _ => false,
        }
    }
}

fn prefix(address: u128, bits: u8) -> u128 {
    address & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

impl FromStr for AddressRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let not_a_range = || InvalidRange::NotARange(text.chars().take(80).collect());
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let typed: IpAddr = address.parse().map_err(|_| not_a_range())?;
        let most = if typed.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => most,
            Some(bits) => {
                Some(bits).filter(is_number).and_then(|bits| bits.parse().ok()).ok_or_else(not_a_range)?
            }
        };
        if bits > most {
            return Err(not_a_range());
        }
        let (first, bits) = match (typed, typed.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if bits >= MAPPED_BITS => {
                (IpAddr::V4(mapped), bits - MAPPED_BITS)
            }
            _ => (typed, bits),
        };
        let meant = match first {
            IpAddr::V4(first) => {
                let kept = prefix(u128::from(first.to_bits()) << 96, bits) >> 96;
                IpAddr::V4(u32::try_from(kept).unwrap_or(0).into())
            }
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(prefix(first.to_bits(), bits))),
        };
        if meant != first {
            let meant = Self { first: meant, bits }.to_string();
            return Err(InvalidRange::StrayBits { typed: text.chars().take(80).collect(), bits, meant });
        }
        Ok(Self { first, bits })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// Whom a request is from: `peer`, or, where that is one of the operator's `proxies`, the last address in `x-forwarded-for` that is
/// none of them. `forwarded` are the values of these headers in order. `None` where a proxy does not say.
pub fn sender_of<'a>(
    peer: IpAddr,
    proxies: &[AddressRange],
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
) -> Option<IpAddr> {
    let is_proxy = |address: &IpAddr| proxies.iter().any(|range| range.contains(*address));
    if !is_proxy(&peer) {
        return Some(peer.to_canonical());
    }
    let hops = forwarded.rev().flat_map(|value| value.rsplit(',')).map(hop);
    // What stands before a hop that cannot be read is anybody's word.
    hops.take(HOPS_MAX).find(|hop| !hop.as_ref().is_some_and(is_proxy)).flatten()
}

/// What one customer of a network has at least: whoever has one IPv6 address has all of its /64.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(prefix(address.to_bits(), 64))),
        v4 => v4,
    }
}

/// An address as proxies write it: plain, or with a port.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(address, _port)| address);
    let address = bare.unwrap_or(text).parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    address.or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().expect(text)
    }

    #[test]
    fn an_address_is_in_a_range_however_either_is_written() {
        let vendor = "47.74.206.0/26";
        for (text, address, is_in) in [
            (vendor, "47.74.206.0", true),
            (vendor, "47.74.206.63", true),
            (vendor, "47.74.206.64", false),
            (vendor, "47.74.205.255", false),
            (vendor, "::ffff:47.74.206.1", true),
            (vendor, "::ffff:2f4a:ce01", true),
            (vendor, "0:0:0:0:0:ffff:2f4a:ce01", true),
            (vendor, "::FFFF:2F4A:CE01", true),
            (vendor, "::47.74.206.1", false),
            (vendor, "64:ff9b::47.74.206.1", false),
            ("::ffff:47.74.206.0/122", "47.74.206.63", true),
            ("::ffff:47.74.206.0/122", "47.74.206.64", false),
            ("::ffff:0:0/96", "8.8.8.8", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("::/0", "::ffff:10.0.0.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "0:0:0:0:0:0:0:1", true),
        ] {
            let address: IpAddr = address.parse().expect(address);
            assert_eq!(range(text).contains(address), is_in, "{address} in {text}");
        }
    }

    #[test]
    fn what_is_no_range_is_told_how_to_write_one() {
        for text in [
            "",
            "47.74.206.0/33",
            "::/129",
            "47.74.206/24",
            "x/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "010.0.0.1",
            "1",
        ] {
            let error = text.parse::<AddressRange>().expect_err(text);
            assert!(matches!(error, InvalidRange::NotARange(_)), "{text}: {error}");
        }
        let stray = "47.74.206.1/26".parse::<AddressRange>().expect_err("stray bits");
        assert_eq!(stray.to_string(), "`47.74.206.1/26` has bits after its first 26: write `47.74.206.0/26`");
        let stray = "2001:db8::1/64".parse::<AddressRange>().expect_err("stray bits");
        assert!(stray.to_string().ends_with("write `2001:db8::/64`"), "{stray}");
        assert_eq!(range("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn a_forwarded_address_is_believed_from_the_operators_proxies_alone() {
        let proxies = [range("127.0.0.1"), range("10.0.0.0/8")];
        for (peer, forwarded, wanted) in [
            ("203.0.113.9", vec!["47.74.206.1"], Some("203.0.113.9")),
            ("::ffff:203.0.113.9", vec![], Some("203.0.113.9")),
            ("127.0.0.1", vec!["47.74.206.1"], Some("47.74.206.1")),
            ("::ffff:127.0.0.1", vec!["47.74.206.1"], Some("47.74.206.1")),
            ("127.0.0.1", vec!["47.74.206.1, 203.0.113.9"], Some("203.0.113.9")),
            ("127.0.0.1", vec!["47.74.206.1", "203.0.113.9"], Some("203.0.113.9")),
            ("127.0.0.1", vec!["47.74.206.1,10.1.1.1", "10.0.0.7"], Some("47.74.206.1")),
            ("127.0.0.1", vec!["47.74.206.1:443"], Some("47.74.206.1")),
            ("127.0.0.1", vec!["[2001:db8::1]:443"], Some("2001:db8::1")),
            ("127.0.0.1", vec!["47.74.206.1, unknown"], None),
            ("127.0.0.1", vec!["47.74.206.1, "], None),
            ("127.0.0.1", vec![], None),
            ("127.0.0.1", vec!["10.0.0.1"], None),
        ] {
            let found = sender_of(peer.parse().expect(peer), &proxies, forwarded.iter().copied());
            assert_eq!(found, wanted.map(|ip| ip.parse().expect(ip)), "{peer} {forwarded:?}");
        }
    }
}

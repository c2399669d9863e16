//! What an address stands for, by the registries of special-purpose addresses, and by what it has within. Tested in `tests`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A machine on the internet.
    Public,
    /// A machine of a private network: RFC 1918, RFC 6598 (Alibaba's own services in a VPC have these), RFC 4193.
    Private,
    /// This machine.
    Loopback,
    /// The same wire.
    LinkLocal,
    /// A machine's metadata service, which hands out credentials.
    Metadata,
    /// No machine that a client of ours has any business with: unspecified, multicast, reserved, documentation, tunnels.
    Special,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Private => "a private address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a metadata service",
            Self::Special => "an address for special purposes",
        })
    }
}

/// Metadata services of all clouds: a host of one may stand in another. Alibaba; Tencent; AWS, Azure, Google, Tencent and most
/// others; AWS for containers, twice; Azure; Oracle.
const METADATA_V4: [Ipv4Addr; 7] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(169, 254, 0, 23),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// AWS has its metadata services within the first, Google within the second; both are private by form.
const METADATA_V6: [[u16; 2]; 2] = [[0xfd00, 0x0ec2], [0xfd20, 0x00ce]];

/// IPv4 blocks that are for special purposes, with the bits of their prefix.
const SPECIAL_V4: [(Ipv4Addr, u32); 9] = [
    // "This network".
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // IETF protocol assignments.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation, three times.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Relays of 6to4.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Benchmarks.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and the broadcast address.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// RFC 6598: between a provider and its customers.
const SHARED_V4: (Ipv4Addr, u32) = (Ipv4Addr::new(100, 64, 0, 0), 10);

/// IPv6 blocks within the public ones that are not public, with the bits of their prefix.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    // IETF protocol assignments, Teredo among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation, twice.
    (Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4: an IPv4 address of anybody's choice is within.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];
/// All that is public is here: RFC 4291, section 2.4, and IANA's registry.
const PUBLIC_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// RFC 6052: the IPv4 address in the last 32 bits is who is asked in the end.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// What `address` stands for.
pub fn kind_of(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => kind_of_v6(address),
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Kind {
    let is_in = |(block, bits): (Ipv4Addr, u32)| (address.to_bits() ^ block.to_bits()) >> (32 - bits) == 0;
    if METADATA_V4.contains(&address) {
        Kind::Metadata
    } else if address.is_loopback() {
        Kind::Loopback
    } else if address.is_link_local() {
        Kind::LinkLocal
    } else if SPECIAL_V4.into_iter().any(is_in) {
        Kind::Special
    } else if address.is_private() || is_in(SHARED_V4) {
        Kind::Private
    } else {
        Kind::Public
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Kind {
    let is_in = |(block, bits): (Ipv6Addr, u32)| (address.to_bits() ^ block.to_bits()) >> (128 - bits) == 0;
    let segments = address.segments();
    if let Some(mapped) = address.to_ipv4_mapped() {
        kind_of_v4(mapped)
    } else if is_in(NAT64) {
        let [.., high, low] = segments;
        match kind_of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))) {
            // A gateway's own, on the far side of a network.
            Kind::Loopback => Kind::Special,
            kind => kind,
        }
    } else if METADATA_V6.contains(&[segments[0], segments[1]]) {
        Kind::Metadata
    } else if address.is_loopback() {
        Kind::Loopback
    } else if address.is_unicast_link_local() {
        Kind::LinkLocal
    } else if address.is_unique_local() {
        Kind::Private
    } else if is_in(PUBLIC_V6) && !SPECIAL_V6.into_iter().any(is_in) && !is_isatap(segments) {
        Kind::Public
    } else {
        Kind::Special
    }
}

/// RFC 5214, section 6.1: an IPv4 address of anybody's choice is in the last 32 bits.
fn is_isatap(segments: [u16; 8]) -> bool {
    segments[4] & !0x0200 == 0 && segments[5] == 0x5efe
}

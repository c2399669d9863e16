//! Which hosts and addresses requests may go to. A host is read in one spelling; an address is judged by what it stands for,
//! whatever it is wrapped in. Leaves looking names up and connecting to the host. Tested in `egress/tests.rs`.
//!
//! Source: IANA's registries of special-purpose addresses; FACTS 9 and 10 for the metadata services.

mod kind;

pub use kind::{Kind, kind_of};

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Longest host name, in bytes: RFC 1035, section 2.3.4, without its last dot.
const HOST_BYTES_MAX: usize = 253;
/// Longest label of one, in bytes: the same section.
const LABEL_BYTES_MAX: usize = 63;
/// The domains of the table's hosts.
const VENDOR_DOMAINS: [&str; 2] = [".aliyuncs.com", ".tencentcloudapi.com"];
/// Tencent's endpoints for its own machines. They have addresses that are link-local by form, as its metadata service has.
const TENCENT_INTERNAL: &str = ".internal.tencentcloudapi.com";
/// Names of metadata services, which stand for the same addresses everywhere.
const METADATA_NAMES: [&str; 3] = ["metadata.tencentyun.com", "metadata.google.internal", "instance-data"];

/// How far requests to a host may go, by who named the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reach {
    /// The table did: public addresses of the vendors' names.
    Table,
    /// The operator did: public and private addresses.
    Named,
    /// The operator did, as this machine: its loopback addresses.
    Loopback,
    /// The metadata client did: metadata services' addresses. No account's calls have this one.
    Metadata,
}

/// A host that is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is not asked at {address}, {kind}: {}", why(*.reach))]
pub struct Refused {
    /// Its name, or its address again.
    pub host: String,
    /// What it stands for.
    pub address: IpAddr,
    /// What that is.
    pub kind: Kind,
    /// How far requests to it may go.
    pub reach: Reach,
}

fn why(reach: Reach) -> &'static str {
    match reach {
        Reach::Table => {
            "the vendors' hosts have public addresses; where they are reached privately, name one as the account's `endpoint`"
        }
        Reach::Named => "an account's `endpoint` has a public or a private address",
        Reach::Loopback => "an `endpoint` on this machine has one of its loopback addresses",
        Reach::Metadata => "a metadata service has a link-local address",
    }
}

/// Decides whether a request to `host` may go to `address`.
///
/// # Errors
/// Where it may not.
pub fn judge(host: &str, address: IpAddr, reach: Reach) -> Result<(), Refused> {
    let kind = kind_of(address);
    let is_metadata = kind == Kind::Metadata || METADATA_NAMES.contains(&host);
    let may = match reach {
        Reach::Metadata => matches!(kind, Kind::Metadata | Kind::LinkLocal),
        _ if is_metadata => false,
        Reach::Table => kind == Kind::Public && VENDOR_DOMAINS.iter().any(|domain| host.ends_with(domain)),
        Reach::Named => match kind {
            Kind::Public | Kind::Private => true,
            Kind::LinkLocal => address.is_ipv4() && host.ends_with(TENCENT_INTERNAL),
            _ => false,
        },
        Reach::Loopback => kind == Kind::Loopback,
    };
    let refused = || Refused { host: host.to_owned(), address, kind, reach };
    if may { Ok(()) } else { Err(refused()) }
}

/// Those of the addresses that `host` was found to have that a request may go to.
///
/// # Errors
/// Where there are some, and none of them may be asked: the first.
pub fn admissible(
    host: &str,
    found: impl IntoIterator<Item = SocketAddr>,
    reach: Reach,
) -> Result<Vec<SocketAddr>, Refused> {
    let mut admitted = Vec::new();
    let mut refused = None;
    for address in found {
        match judge(host, address.ip(), reach) {
            Ok(()) => admitted.push(address),
            Err(reason) => refused = refused.or(Some(reason)),
        }
    }
    match refused {
        Some(refused) if admitted.is_empty() => Err(refused),
        _ => Ok(admitted),
    }
}

/// A host as it stands in a URL, in the one spelling that all who read it understand alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// Reads a host, an IPv6 address in its brackets. Names have ASCII letters, digits, `-` and `_`, and no dot at the end;
    /// IPv4 addresses are four decimal numbers. Other spellings are none: some readers take `0x7f.1`, `2130706433` and
    /// `127.0.0.1.` for addresses, and others for names. An IPv4 address within an IPv6 address is written as what it is.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            return address.to_ipv4_mapped().is_none().then_some(Self::Address(IpAddr::V6(address)));
        }
        let text = text.to_ascii_lowercase();
        let is_label = |label: &str| {
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if text.len() > HOST_BYTES_MAX || !text.split('.').all(is_label) {
            return None;
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        if is_number(last) {
            return text.parse().ok().map(|address| Self::Address(IpAddr::V4(address)));
        }
        Some(Self::Name(text))
    }

    /// How far requests to it may go where the operator has named it.
    ///
    /// # Errors
    /// Where it must not be named.
    pub fn reach(&self) -> Result<Reach, Refused> {
        let (host, address) = (
            self.to_string(),
            match self {
                Self::Address(address) => *address,
                Self::Name(name) if name == "localhost" => return Ok(Reach::Loopback),
                Self::Name(_) => return Ok(Reach::Named),
            },
        );
        let reach = if kind_of(address) == Kind::Loopback { Reach::Loopback } else { Reach::Named };
        judge(&host, address, reach).map(|()| reach)
    }

    /// Whether it is a metadata service, by its name or address.
    pub fn is_metadata(&self) -> bool {
        match self {
            Self::Name(name) => METADATA_NAMES.contains(&name.as_str()),
            Self::Address(address) => kind_of(*address) == Kind::Metadata,
        }
    }
}

/// As it stands in a URL.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Whether URL readers take a host whose last label this is for an IPv4 address: WHATWG URL, "ends in a number".
fn is_number(label: &str) -> bool {
    let is_decimal = label.bytes().all(|b| b.is_ascii_digit());
    let hex = label.strip_prefix("0x");
    is_decimal || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;

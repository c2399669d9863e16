//! Who asks at the admin listener, and what they may do there: scopes, callers, and whether a request was meant for this host.
//! `token` recognises bearer tokens by their hashes, `failures` counts wrong ones. Leaves connections, and the file that tokens
//! are in, to the host. Tested below.

mod failures;
mod token;

pub use failures::{FAILURES_MAX, Failures};
pub use token::{ParseTokensError, Token, TokenError, Tokens, Unrecognised, token_text};

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Most bytes kept of a name that a caller gives for somebody else.
const SAID_BYTES_MAX: usize = 64;
/// The superuser's id.
const ROOT: u32 = 0;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// See lists, ledgers and metrics.
    Read,
    /// Halt, resume, decide on runs that rest.
    Operate,
    /// Approve what policies plan.
    Approve,
}

impl Scope {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Approve];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Approve => "approve",
        }
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let scope = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        scope.ok_or_else(|| format!("`{text}` is not a scope: use read, operate or approve"))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who asks, as the host knows them, whatever they say of themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// A user of this machine by name, or `token:<name>`.
    pub name: String,
    /// What they may do.
    pub scopes: BTreeSet<Scope>,
}

impl Caller {
    /// The user at the other end of the socket, who may do all: root, or the user `own` that the service runs as, who is called
    /// `own_name`. Nobody else.
    pub fn local(uid: u32, own: u32, own_name: &str) -> Option<Self> {
        let name = match uid {
            ROOT => "root",
            _ if uid == own => own_name,
            _ => return None,
        };
        Some(Self { name: name.to_owned(), scopes: Scope::ALL.into() })
    }

    /// Whether they may.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whom a record names where the caller says that they act for `said`, as behind sudo: the first word is proved, the rest is
    /// said.
    pub fn named(&self, said: &str) -> String {
        let said: String = said.chars().filter(|c| !c.is_control()).take(SAID_BYTES_MAX).collect();
        match said.trim() {
            said if said.is_empty() || said == self.name => self.name.clone(),
            said => format!("{} for {said}", self.name),
        }
    }
}

/// Whether a request with this `Host` was meant for this host. A web page can make its own name resolve to this machine, but its
/// browser goes on sending that name; an address cannot be taken over so. `names` are the operator's.
pub fn is_own_host(host: &str, names: &[String]) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let bracketed = without_port.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_address = match bracketed {
        Some(inner) => inner.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()),
        None => without_port.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    };
    let is_named = |name: &str| without_port.eq_ignore_ascii_case(name);
    is_address || is_named("localhost") || names.iter().any(|name| is_named(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_services_own_user_are_known_at_the_socket() {
        let name = |uid, own| Caller::local(uid, own, "opsward").map(|caller| caller.name);
        assert_eq!(name(0, 990), Some("root".into()));
        assert_eq!(name(990, 990), Some("opsward".into()));
        assert_eq!(name(0, 0), Some("root".into()));
        for other in [1, 989, 991, 65_534, u32::MAX] {
            assert_eq!(name(other, 990), None, "{other}");
        }
        let root = Caller::local(0, 990, "opsward").expect("known");
        assert!(Scope::ALL.into_iter().all(|scope| root.may(scope)));
    }

    #[test]
    fn what_a_caller_says_of_themselves_never_comes_first() {
        let caller = Caller { name: "token:bot".into(), scopes: [Scope::Read].into() };
        assert_eq!(caller.named(""), "token:bot");
        assert_eq!(caller.named(" token:bot "), "token:bot");
        assert_eq!(caller.named("alice"), "token:bot for alice");
        assert_eq!(caller.named("a\nroot"), "token:bot for aroot");
        assert_eq!(caller.named(&"x".repeat(500)).len(), "token:bot for ".len() + 64);
        assert!(caller.may(Scope::Read) && !caller.may(Scope::Operate) && !caller.may(Scope::Approve));
    }

    #[test]
    fn a_host_is_an_address_or_a_name_that_the_operator_knows() {
        let names = ["admin.example.com".to_owned()];
        let own = ["127.0.0.1:7071", "127.0.0.1", "[::1]:7071", "[::1]", "localhost:7071", "LOCALHOST"];
        for host in own.into_iter().chain(["10.0.0.7:80", "admin.example.com", "Admin.Example.com:443"]) {
            assert!(is_own_host(host, &names), "{host}");
        }
        let foreign =
            ["evil.example", "evil.example:7071", "127.0.0.1.evil.example", "localhost.evil.example"];
        let odd = [
            "",
            ":7071",
            "::1",
            "2130706433",
            "0x7f.1",
            "127.1:7071",
            "[127.0.0.1]",
            "admin",
            "localhost:7071:x",
        ];
        for host in foreign.into_iter().chain(odd) {
            assert!(!is_own_host(host, &names), "{host}");
        }
        assert!(!is_own_host("admin.example.com", &[]));
    }

    #[test]
    fn scopes_are_read_by_name() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        let problem = "root".parse::<Scope>().expect_err("unknown");
        assert_eq!(problem, "`root` is not a scope: use read, operate or approve");
    }
}

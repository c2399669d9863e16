//! Names and identifiers, each a type of its own, parsed once at the edge. Leaves the meaning of a name to the module
//! that owns the named thing. Tested by the table below.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// Longest operator-chosen name, in bytes: fits a DNS label and a file name with room for a suffix.
pub const NAME_BYTES_MAX: usize = 63;

/// A name that breaks the rule for names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` is not a valid {what}: use 1 to 63 lower-case letters, digits and hyphens, beginning with a letter or digit"
)]
pub struct InvalidName {
    what: &'static str,
    name: String,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { Ok(Self(text.into())) } else {
                    Err(InvalidName { what: $what, name: text.chars().take(80).collect() })
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> { text.parse() }
        }
        impl From<$name> for String { fn from(name: $name) -> String { name.0.as_ref().to_owned() } }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) } }
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
    };
}

name_type!(
    /// The operator's name for a plugin bound to triggers, account and grants: the stem of its TOML file.
    PolicyName, "policy name");
name_type!(
    /// The operator's name for a place events come from: a key of `[sources]`, or `schedule` or `manual`.
    SourceName, "source name");
name_type!(
    /// The operator's name for a cloud account: a key of `[accounts]`.
    AccountName, "account name");
name_type!(
    /// The operator's name for a token of the admin listener: whoever holds it.
    TokenName, "token name");

name_type!(
    /// A person who may approve what a policy plans: in `approvers` of its file.
    ApproverName, "approver's name");

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= NAME_BYTES_MAX
        && bytes[0] != b'-'
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// SHA-256 of a plugin's bytes: its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digests `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest kept as bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest as bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hex digits: enough for people.
    pub fn short(&self) -> String {
        hex(&self.0[..6])
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        let mut bytes = [0; 32];
        let well_formed = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !well_formed {
            return Err(InvalidDigest(text));
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte =
                u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| InvalidDigest(text.clone()))?;
        }
        Ok(Self(bytes))
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        hex(&digest.0)
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Text that is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 digest: 64 hex digits")]
pub struct InvalidDigest(String);

/// Identifies one run: derived from what makes it one, so that a second delivery of an event names the same run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// The id of the run of `policy` on the event `event_id` of `source`: 24 hex digits of a SHA-256.
    pub fn derive(source: &SourceName, event_id: &str, policy: &PolicyName) -> Self {
        let mut hasher = Sha256::new();
        for part in [source.as_str(), event_id, policy.as_str()] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hex(&hasher.finalize()[..12]))
    }

    /// An id read back from the store or typed by an operator.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_letters_digits_and_hyphens() {
        for good in ["a", "snapshot-on-reboot", "9lives", &"x".repeat(63)] {
            assert!(good.parse::<PolicyName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a/b", "..", "é", &"x".repeat(64)] {
            assert!(bad.parse::<PolicyName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_run_id_depends_on_each_part_and_on_where_one_ends() {
        let id = |s: &str, e, p: &str| RunId::derive(&s.parse().expect("name"), e, &p.parse().expect("name"));
        assert_eq!(id("s", "e", "p"), id("s", "e", "p"));
        assert_ne!(id("s", "e", "p"), id("s", "ep", "p"));
        assert_ne!(id("sa", "b", "p"), id("s", "ab", "p"));
        assert_eq!(id("s", "e", "p").as_str().len(), 24);
    }

    #[test]
    fn a_digest_survives_its_text_form() {
        let digest = Digest::of(b"wasm");
        assert_eq!(Digest::try_from(digest.to_string()), Ok(digest));
        assert!(Digest::try_from("00".to_owned()).is_err());
        assert!(Digest::try_from("é".repeat(32)).is_err());
    }
}

//! Text that must not be seen: credentials and tokens. Leaves fetching them to the host. Tested below.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text. Its `Debug` is redacted, it has no `Display` and no `Serialize`, and it is zeroed when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes `text` over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself: for signing and comparing only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in time that depends only on the lengths.
    pub fn matches(&self, candidate: &str) -> bool {
        self.0.as_bytes().ct_eq(candidate.as_bytes()).into()
    }
}

/// Reads a text from a file or an answer that holds secrets.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // The reader's own error would show what it found.
        String::deserialize(from).map(Self::new).map_err(|_| D::Error::custom("a secret is not a text"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Where a secret is kept: configuration names places, never secrets. In TOML `{ env = "NAME" }`, `{ file = "path" }`
/// or `{ systemd = "name" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; a relative path starts at the configuration's directory.
    File(String),
    /// A credential that systemd hands to the service: `LoadCredential=` or `SetCredentialEncrypted=` of its unit.
    Systemd(String),
}

impl SecretRef {
    /// The variable, path or name.
    pub fn name(&self) -> &str {
        let (Self::Env(name) | Self::File(name) | Self::Systemd(name)) = self;
        name
    }
}

/// What signs calls of one account: an access key pair, with a session token where it is temporary.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The public half: Alibaba `AccessKeyId`, Tencent `SecretId`.
    pub key_id: String,
    /// The secret half.
    pub key_secret: Secret,
    /// The session token of temporary credentials.
    pub session_token: Option<Secret>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_text() {
        let credential = Credential {
            key_id: "LTAI-test".into(),
            key_secret: Secret::new("hunter2".into()),
            session_token: Some(Secret::new("hunter3".into())),
        };
        let text = format!("{credential:?}");
        assert!(text.contains("LTAI-test") && !text.contains("hunter"), "{text}");
    }

    #[test]
    fn matching_takes_the_whole_text() {
        let secret = Secret::new("abc".into());
        assert!(secret.matches("abc"));
        assert!(!secret.matches("ab") && !secret.matches("abcd") && !secret.matches("abd"));
    }
}

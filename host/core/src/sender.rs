//! Who sent a delivery, and how far that is believed: a proof that its source asks for is checked here, and a delivery without it is
//! refused. One file per scheme. Leaves the token in the path, fetching certificates, and what becomes of a refusal to the host.
//! Tested below and in each file, EventBridge by the golden vectors.

mod address_rates;
pub mod addresses;
mod basic;
mod eventbridge;
mod hmac_header;
mod rate;
mod webhook;

pub use address_rates::AddressRates;
pub use eventbridge::{Bus, Certificate};
pub use hmac_header::{Algorithm, Encoding, HmacHeader};
pub use rate::Rate;

use crate::egress::Reach;
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use crate::sign::alibaba_eventbridge::PushError;
use crate::sign::rsa_public_key::RsaPublicKey;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far a webhook's time may be from ours: what Standard Webhooks' own libraries take.
pub const WEBHOOK_SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// How far an event is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Its sender knows the path of the source, which is written into consoles and logs, and nothing more is known.
    #[default]
    Hint,
    /// It is signed by who may, or this host has fetched it with a credential of its own, or made it.
    Proved,
}

impl Trust {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Proved => "proved",
        }
    }
}

/// What a source's deliveries must bear, besides the token in their path. `S` is a secret, or where one is kept.
#[derive(Debug, Clone)]
pub enum Proof<S> {
    /// Nothing.
    None,
    /// A user and a secret, as Tencent's monitoring sends them where they stand in its URL. Both are sent as they are: the one who
    /// reads them once can send anything.
    Basic {
        /// The user.
        user: String,
        /// The secret.
        secret: S,
    },
    /// A signature by Standard Webhooks, with any of these.
    Webhook(Vec<S>),
    /// An HMAC of the body in a header, with any of these secrets.
    Hmac(HmacHeader, Vec<S>),
    /// The signature of Alibaba EventBridge.
    EventBridge(Bus<S>),
}

/// A delivery as it came.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'a> {
    /// Names in lower case.
    pub headers: &'a [(String, String)],
    /// Path and query as they were asked for.
    pub target: &'a str,
    /// The body's bytes.
    pub body: &'a [u8],
}

/// What a check has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// The delivery is believed so far.
    Believed(Trust),
    /// Everything is right so far; the signature is to be checked with the key of this certificate.
    Needs(Certificate),
}

/// Why a delivery is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// A header of the scheme.
    #[error("header `{0}` is missing or malformed")]
    Missing(String),
    /// The time is too far off.
    #[error("header `{0}` is more than 5 minutes off")]
    Stale(&'static str),
    /// User or secret do not fit.
    #[error("user or secret do not match")]
    WrongSecret,
    /// The signature does not fit.
    #[error("the signature does not match")]
    WrongSignature,
    /// The certificate is that of another region's bus.
    #[error("the certificate is not the one of this source's region")]
    OtherRegion,
    /// EventBridge's own.
    #[error(transparent)]
    Push(#[from] PushError),
}

/// A secret that cannot be used. The secret is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableSecret {
    /// Standard Webhooks writes keys in base64.
    #[error("a secret of Standard Webhooks is base64, with `whsec_` before it")]
    NotBase64,
    /// It could be guessed.
    #[error("the secret is shorter than {} bytes", webhook::KEY_BYTES_MIN)]
    Short,
    /// There is none.
    #[error("the secret is empty")]
    Empty,
}

/// Checks what a source asks for without asking anybody.
///
/// # Errors
/// Where the delivery is not to be believed.
pub fn check(proof: &Proof<Secret>, delivered: &Delivered<'_>, now: Timestamp) -> Result<Checked, Unproved> {
    let trust = match proof {
        Proof::None => Trust::Hint,
        Proof::Basic { user, secret } => {
            basic::check(user, secret, delivered)?;
            Trust::Hint
        }
        Proof::Webhook(secrets) => {
            webhook::check(secrets, delivered, now)?;
            delivered.trust_of_signed_body()
        }
        Proof::Hmac(header, secrets) => {
            hmac_header::check(header, secrets, delivered)?;
            delivered.trust_of_signed_body()
        }
        Proof::EventBridge(bus) => return bus.check(delivered, now).map(Checked::Needs),
    };
    Ok(Checked::Believed(trust))
}

/// Checks the signature of a delivery for which `check` needs a certificate, with the certificate's key.
///
/// # Errors
/// Where it is another's.
pub fn check_signed(
    proof: &Proof<Secret>,
    delivered: &Delivered<'_>,
    key: &RsaPublicKey,
) -> Result<Trust, Unproved> {
    match proof {
        Proof::EventBridge(bus) => {
            bus.check_signed(delivered, key)?;
            Ok(if bus.tells_whose(delivered) { delivered.trust_of_signed_body() } else { Trust::Hint })
        }
        _ => Err(Unproved::WrongSignature),
    }
}

impl<S> Proof<S> {
    /// The same with each secret replaced.
    ///
    /// # Errors
    /// Those of `replace`.
    pub fn try_map<T, E>(&self, mut replace: impl FnMut(&S) -> Result<T, E>) -> Result<Proof<T>, E> {
        let mut all = |secrets: &[S]| secrets.iter().map(&mut replace).collect::<Result<Vec<T>, E>>();
        Ok(match self {
            Self::None => Proof::None,
            Self::Basic { user, secret } => Proof::Basic { user: user.clone(), secret: replace(secret)? },
            Self::Webhook(secrets) => Proof::Webhook(all(secrets)?),
            Self::Hmac(header, secrets) => Proof::Hmac(header.clone(), all(secrets)?),
            Self::EventBridge(bus) => Proof::EventBridge(Bus {
                url: bus.url.clone(),
                region: bus.region.clone(),
                certificates: bus.certificates.clone(),
                token: bus.token.as_ref().map(replace).transpose()?,
            }),
        })
    }

    /// All secrets of it.
    pub fn secrets(&self) -> Vec<&S> {
        match self {
            Self::None => Vec::new(),
            Self::Basic { secret, .. } => vec![secret],
            Self::Webhook(secrets) | Self::Hmac(_, secrets) => secrets.iter().collect(),
            Self::EventBridge(bus) => bus.token.iter().collect(),
        }
    }

    /// Whether a check looks at the header of this name, which is in lower case.
    pub fn looks_at(&self, header: &str) -> bool {
        match self {
            Self::None => false,
            Self::Basic { .. } => header == basic::AUTHORIZATION,
            Self::Webhook(_) => header.starts_with("webhook-"),
            Self::Hmac(wanted, _) => header == wanted.name,
            Self::EventBridge(_) => header.starts_with("x-eventbridge-"),
        }
    }

    /// How far requests for certificates go, where there are any.
    pub fn reach(&self) -> Option<Reach> {
        match self {
            Self::EventBridge(bus) => Some(bus.certificates.as_ref().map_or(Reach::Table, Endpoint::reach)),
            _ => None,
        }
    }

    /// How far what bears it is believed at best.
    pub fn trust(&self) -> Trust {
        match self {
            Self::None | Self::Basic { .. } => Trust::Hint,
            Self::EventBridge(bus) if bus.token.is_none() => Trust::Hint,
            Self::Webhook(_) | Self::Hmac(..) | Self::EventBridge(_) => Trust::Proved,
        }
    }

    /// What is checked, in a few words.
    pub fn described(&self) -> &'static str {
        match self {
            Self::None => "path token",
            Self::Basic { .. } => "path token, BasicAuth",
            Self::Webhook(_) => "path token, Standard Webhooks signature",
            Self::Hmac(..) => "path token, HMAC signature",
            Self::EventBridge(_) => "path token, EventBridge signature",
        }
    }
}

impl Proof<Secret> {
    /// Whether all secrets can be used, asked once at start.
    ///
    /// # Errors
    /// Where one cannot.
    pub fn usable(&self) -> Result<(), UnusableSecret> {
        if self.secrets().iter().any(|secret| secret.expose().is_empty()) {
            return Err(UnusableSecret::Empty);
        }
        match self {
            Self::Webhook(secrets) => secrets.iter().try_for_each(|secret| webhook::key(secret).map(drop)),
            _ => Ok(()),
        }
    }
}

impl Delivered<'_> {
    fn header(&self, name: &str) -> Result<&str, Unproved> {
        let found = self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        found.ok_or_else(|| Unproved::Missing(name.to_owned()))
    }

    /// Every scheme signs the body and none the headers: in CloudEvents' binary mode the event's attributes are headers, and whoever
    /// has seen one delivery could send its body again with others.
    fn trust_of_signed_body(&self) -> Trust {
        let has_attributes = self.headers.iter().any(|(name, _)| name.starts_with("ce-"));
        if has_attributes { Trust::Hint } else { Trust::Proved }
    }
}

#[cfg(test)]
mod tests;

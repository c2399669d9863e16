//! What a source of EventBridge pushes asks for. Everything that needs no key is checked first, so that no stranger has this host
//! fetch anything: the time, the subscriber's token, and that the certificate is the one of this very region's bus. Names of buckets
//! are anybody's: `x-eventbridge` of a region that does not exist could be a stranger's. Leaves the signature itself to
//! `sign::alibaba_eventbridge`. Tested in `super::tests`, and by the golden vectors.

use super::{Delivered, Unproved};
use crate::endpoint::Endpoint;
use crate::secret::Secret;
use crate::sign::alibaba_eventbridge::{self as scheme, Push, PushError};
use crate::sign::rsa_public_key::RsaPublicKey;
use crate::time::Timestamp;

/// Longest path of a certificate, in bytes: the vendor's has 45.
const CERTIFICATE_PATH_BYTES_MAX: usize = 256;

/// The bus that pushes, and to where.
#[derive(Debug, Clone)]
pub struct Bus<S> {
    /// What stands before `/hooks/` in the URL that the sender was given; it is part of what is signed.
    pub url: String,
    /// The region of the bus.
    pub region: String,
    /// The token that the subscription was given, where it was.
    pub token: Option<S>,
    /// Where certificates are fetched instead of at the vendor's place: a simulated cloud, a mirror. Where the push says its
    /// certificate is must be the vendor's place all the same.
    pub certificates: Option<Endpoint>,
}

/// A certificate to be fetched, and kept under its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The host.
    pub endpoint: Endpoint,
    /// The absolute URL.
    pub url: String,
}

impl Bus<Secret> {
    /// Checks all but the signature.
    pub(super) fn check(&self, delivered: &Delivered<'_>, now: Timestamp) -> Result<Certificate, Unproved> {
        let url = self.url_of(delivered);
        let push = push(&url, delivered);
        let named = scheme::claims(&push, self.token.as_ref(), now)?;
        let (host, path) =
            named.strip_prefix("https://").and_then(|rest| rest.split_once('/')).unwrap_or_default();
        if !scheme::hosts_of(&self.region).contains(&host.to_owned()) {
            return Err(Unproved::OtherRegion);
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/~".contains(&byte);
        if path.len() > CERTIFICATE_PATH_BYTES_MAX
            || !path.bytes().all(is_plain)
            || path.split('/').any(|step| matches!(step, "" | "." | ".."))
        {
            return Err(PushError::ForeignCertificate.into());
        }
        let endpoint = self.certificates.clone().unwrap_or_else(|| Endpoint::of_vendor(host));
        Ok(Certificate { url: endpoint.url(&format!("/{path}")), endpoint })
    }

    /// Whether what is signed shows whose bus it came from. The certificate is the region's, and signs for all its customers: the
    /// subscriber's token is what one of them alone knows. The key of signature V1 can be had from any push that was signed so.
    pub(super) fn tells_whose(&self, delivered: &Delivered<'_>) -> bool {
        self.token.is_some() && delivered.headers.iter().any(|(name, _)| name == scheme::SIGNATURE_V2)
    }

    pub(super) fn check_signed(&self, delivered: &Delivered<'_>, key: &RsaPublicKey) -> Result<(), Unproved> {
        let url = self.url_of(delivered);
        match scheme::is_signed(&push(&url, delivered), key)? {
            true => Ok(()),
            false => Err(Unproved::WrongSignature),
        }
    }

    /// The URL as the sender was given it.
    fn url_of(&self, delivered: &Delivered<'_>) -> String {
        format!("{}{}", self.url, delivered.target)
    }
}

fn push<'a>(url: &'a str, delivered: &Delivered<'a>) -> Push<'a> {
    Push { url, headers: delivered.headers, body: delivered.body }
}

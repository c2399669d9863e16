//! Checks that a request was pushed by Alibaba EventBridge to an HTTP target, by its signature V1 or V2. Leaves
//! fetching the certificate (from `certificate_url` only) and caching it to the host. Tested by the golden vectors.
//!
//! Source: help.aliyun.com/en/eventbridge/user-guide/signature-algorithm; com.aliyun.eventbridge.signature (Java SDK).

use super::keyed_hash::{base64, from_base64, hmac_sha1, same};
use super::rsa_public_key::RsaPublicKey;
use crate::endpoint::is_region;
use crate::secret::Secret;
use crate::time::Timestamp;
use std::time::Duration;

/// How far the push's time may be from ours.
pub const SKEW_MAX: Duration = Duration::from_secs(60);

const TIMESTAMP: &str = "x-eventbridge-signature-timestamp";
const METHOD: &str = "x-eventbridge-signature-method";
const HASH_METHOD: &str = "x-eventbridge-hash-method";
const VERSION: &str = "x-eventbridge-signature-version";
const CERTIFICATE_URL: &str = "x-eventbridge-signature-url";
const TOKEN: &str = "x-eventbridge-signature-token";
const SECRET: &str = "x-eventbridge-signature-secret";
const SIGNATURE_V1: &str = "x-eventbridge-signature";
pub(crate) const SIGNATURE_V2: &str = "x-eventbridge-signature-v2";

/// A push as received.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The callback's URL with its query, as it is configured at the sender. Behind a proxy the host differs from the
    /// one the request shows.
    pub url: &'a str,
    /// Headers, names in any case.
    pub headers: &'a [(String, String)],
    /// The body's bytes.
    pub body: &'a [u8],
}

/// Why a push is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// A header of the scheme.
    #[error("header `{0}` is missing or malformed")]
    Missing(&'static str),
    /// The certificate would come from elsewhere: the sender could sign with any key.
    #[error("the certificate's URL is not EventBridge's own")]
    ForeignCertificate,
    /// The push is older than `SKEW_MAX`, or from the future.
    #[error("the push's time is more than 60 s off")]
    Stale,
    /// The subscriber's token is missing or another.
    #[error("the subscriber's token does not match")]
    WrongToken,
    /// The signature does not fit.
    #[error("the signature does not match")]
    WrongSignature,
}

/// Where the push says its certificate is, once that is known to be EventBridge's own place: https at
/// `<region>-eventbridge.oss-accelerate.aliyuncs.com` or the older `<region>-eventbridge.oss-<region>.aliyuncs.com`.
///
/// # Errors
/// `Missing` and `ForeignCertificate`.
pub fn certificate_url<'a>(push: &Push<'a>) -> Result<&'a str, PushError> {
    let url = push.required(CERTIFICATE_URL)?;
    let rest = url.strip_prefix("https://").ok_or(PushError::ForeignCertificate)?;
    let (host, _path) = rest.split_once('/').ok_or(PushError::ForeignCertificate)?;
    let is_own = host
        .split_once("-eventbridge.")
        .is_some_and(|(region, _)| is_region(region) && hosts_of(region).iter().any(|own| own == host));
    if is_own { Ok(url) } else { Err(PushError::ForeignCertificate) }
}

/// The hosts of the certificates of `region`'s bus.
pub fn hosts_of(region: &str) -> [String; 2] {
    ["oss-accelerate".to_owned(), format!("oss-{region}")]
        .map(|place| format!("{region}-eventbridge.{place}.aliyuncs.com"))
}

/// Checks what a push claims and needs no key: its time, the subscriber's token, and the certificate's place, which is returned.
/// `token` is the one given to the sender for this subscription, where one was.
///
/// # Errors
/// All but `WrongSignature`.
pub fn claims<'a>(push: &Push<'a>, token: Option<&Secret>, now: Timestamp) -> Result<&'a str, PushError> {
    let url = certificate_url(push)?;
    let sent_at: i64 = push.required(TIMESTAMP)?.parse().map_err(|_| PushError::Missing(TIMESTAMP))?;
    let sent_at = Timestamp::from_ms(sent_at);
    if now.since(sent_at).max(sent_at.since(now)) > SKEW_MAX {
        return Err(PushError::Stale);
    }
    if token.is_some_and(|expected| !expected.matches(push.header(TOKEN).unwrap_or_default())) {
        return Err(PushError::WrongToken);
    }
    Ok(url)
}

/// Checks a push against the certificate's `key`.
///
/// # Errors
/// Any of [`PushError`].
pub fn verify(
    push: &Push<'_>,
    key: &RsaPublicKey,
    token: Option<&Secret>,
    now: Timestamp,
) -> Result<(), PushError> {
    claims(push, token, now)?;
    if is_signed(push, key)? { Ok(()) } else { Err(PushError::WrongSignature) }
}

/// Whether the signature fits, V2 where the push bears one; time, token and the certificate's place are not looked at.
///
/// # Errors
/// `Missing`.
pub fn is_signed(push: &Push<'_>, key: &RsaPublicKey) -> Result<bool, PushError> {
    if let Some(signature) = push.header(SIGNATURE_V2) {
        let signature = from_base64(signature).ok_or(PushError::Missing(SIGNATURE_V2))?;
        let signed = string_to_sign_v2(push)?;
        // The document leaves open whether a line feed follows the body; verifiers in use say no.
        return Ok(
            key.verifies(&signed, &signature) || key.verifies(&[&signed[..], b"\n"].concat(), &signature)
        );
    }
    let signature = push.required(SIGNATURE_V1)?;
    let sealed = from_base64(push.required(SECRET)?).ok_or(PushError::Missing(SECRET))?;
    let Some(secret) = key.recover(&sealed) else { return Ok(false) };
    Ok(same(&base64(&hmac_sha1(&secret, &string_to_sign_v1(push)?)), signature))
}

/// What V1 signs: with HMAC-SHA1 under a temporary secret that is sealed with the certificate's private key.
///
/// # Errors
/// `Missing`.
pub fn string_to_sign_v1(push: &Push<'_>) -> Result<Vec<u8>, PushError> {
    let mut out = string_to_sign(push, METHOD)?;
    out.push(b'\n');
    Ok(out)
}

/// What V2 signs: with the certificate's private key, RSA-SHA256.
///
/// # Errors
/// `Missing`.
pub fn string_to_sign_v2(push: &Push<'_>) -> Result<Vec<u8>, PushError> {
    string_to_sign(push, HASH_METHOD)
}

fn string_to_sign(push: &Push<'_>, method_header: &'static str) -> Result<Vec<u8>, PushError> {
    let mut out = format!("{}\n", push.url).into_bytes();
    for name in [TIMESTAMP, method_header, VERSION, CERTIFICATE_URL] {
        out.extend(format!("{name}: {}\n", push.required(name)?).as_bytes());
    }
    if let Some(token) = push.header(TOKEN) {
        out.extend(format!("{TOKEN}: {token}\n").as_bytes());
    }
    out.extend(push.body);
    Ok(out)
}

impl<'a> Push<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &'static str) -> Result<&'a str, PushError> {
        self.header(name).ok_or(PushError::Missing(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_eventbridges_own_place_may_name_the_certificate() {
        for (url, is_own) in [
            ("https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x509.pem", true),
            ("https://cn-hangzhou-eventbridge.oss-cn-hangzhou.aliyuncs.com/x509.pem", true),
            ("http://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x509.pem", false),
            ("https://cn-hangzhou-eventbridge.oss-cn-beijing.aliyuncs.com/x509.pem", false),
            ("https://evil-eventbridge.oss-accelerate.aliyuncs.com/x509.pem", false),
            ("https://a.b@cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x509.pem", false),
            ("https://evil.example/cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x", false),
            ("https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com.evil.example/x", false),
            ("https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com", false),
        ] {
            let headers = [(CERTIFICATE_URL.to_owned(), url.to_owned())];
            let push = Push { url: "", headers: &headers, body: b"" };
            assert_eq!(certificate_url(&push).is_ok(), is_own, "{url}");
        }
    }
}

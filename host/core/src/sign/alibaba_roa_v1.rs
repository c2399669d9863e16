//! Alibaba ROA signature v1 (HMAC-SHA1), for products whose resource is in the path: container service, function
//! compute. Tested by the golden vectors.
//!
//! Source: aliyun-python-sdk-core 2.16.1 `roa_signature_composer.py`; alibabacloud-tea-openapi 0.4.6 `utils.py`.

use super::encoding::split;
use super::keyed_hash::{base64, hmac_sha1};
use super::{Claimed, Received, ReceivedError, Signature, SignatureKind};
use crate::time::Timestamp;

/// The scheme's name in the Authorization header.
pub const ALGORITHM: &str = "acs";

/// How a query parameter with an empty value is signed; the vendor's own SDKs differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyValue {
    /// As `name`: the present SDK.
    Name,
    /// As `name=`: the older SDK.
    NameEquals,
}

/// Signs `request`, whose headers must hold `date` and every `x-acs-*` that is sent.
///
/// # Errors
/// `NotUtf8` where the query is not.
pub fn sign(request: &Received<'_>, empty: EmptyValue, secret: &str) -> Result<Signature, ReceivedError> {
    let mut resource = request.path.to_owned();
    let mut pairs = split(request.query.as_bytes()).ok_or(ReceivedError::NotUtf8)?;
    pairs.sort();
    for (at, (name, value)) in pairs.iter().enumerate() {
        resource.push(if at == 0 { '?' } else { '&' });
        resource.push_str(name);
        if !value.is_empty() || empty == EmptyValue::NameEquals {
            resource.push('=');
            resource.push_str(value);
        }
    }
    let string_to_sign =
        over_headers(request, &["x-acs-"], &["accept", "content-md5", "content-type", "date"], &resource);
    let value = base64(&hmac_sha1(secret.as_bytes(), string_to_sign.as_bytes()));
    Ok(Signature { canonical_request: None, string_to_sign, value })
}

/// The method, these headers' values, then the headers that begin with one of `prefixes`, then the resource: the form that
/// this scheme shares with MNS and SLS.
pub(super) fn over_headers(
    request: &Received<'_>,
    prefixes: &[&str],
    plain: &[&str],
    resource: &str,
) -> String {
    let mut out = format!("{}\n", request.method);
    for name in plain {
        out.push_str(request.header(name).unwrap_or_default());
        out.push('\n');
    }
    let mut named: Vec<(String, &str)> =
        request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect();
    named.retain(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    named.sort();
    for (name, value) in named {
        out.push_str(&format!("{name}:{value}\n"));
    }
    out + resource
}

pub(super) fn claimed(request: &Received<'_>, authorization: &str) -> Result<Claimed, ReceivedError> {
    let (key_id, signature) = key_and_signature(authorization)?;
    Ok(Claimed {
        kind: SignatureKind::AlibabaRoaV1,
        key_id,
        signature,
        timestamp: Timestamp::parse_http_date(request.required("date")?),
        nonce: request.header("x-acs-signature-nonce").map(str::to_owned),
        session_token: request.header("x-acs-security-token").map(str::to_owned),
        signed_headers: Vec::new(),
        scope: None,
    })
}

/// Reads `<scheme> <key id>:<signature>`.
pub(super) fn key_and_signature(authorization: &str) -> Result<(String, String), ReceivedError> {
    let pair = authorization.split_once(' ').and_then(|(_, rest)| rest.trim().split_once(':'));
    let (key_id, signature) = pair.ok_or_else(|| ReceivedError::Missing("authorization".into()))?;
    Ok((key_id.to_owned(), signature.to_owned()))
}

pub(super) fn recompute(request: &Received<'_>, secret: &str) -> Result<Signature, ReceivedError> {
    sign(request, EmptyValue::Name, secret)
}

//! Tencent's older scheme (HmacSHA1, HmacSHA256): everything is a parameter, and values are signed unencoded. For
//! recognising old callers; the client signs TC3. Tested by the golden vectors.
//!
//! Source: tencentcloud-sdk-python-common 3.1.195 `abstract_client.py` (`_format_sign_string`).

use super::encoding::Pair;
use super::keyed_hash::{base64, hmac_sha1, hmac_sha256};
use super::received::find;
use super::{Claimed, Received, ReceivedError, Signature, SignatureKind};
use crate::time::Timestamp;

/// Signs `pairs`, in any order. A pair named `Signature` is not signed; `SignatureMethod` among the pairs chooses the
/// hash, SHA-1 where it is absent.
pub fn sign(method: &str, host: &str, path: &str, pairs: &[Pair], secret: &str) -> Signature {
    let mut parts: Vec<(String, &str)> = pairs
        .iter()
        .filter(|(name, _)| name != "Signature")
        // Signed with `.` for `_`, and sorted so; sent as it is.
        .map(|(name, value)| (name.replace('_', "."), value.as_str()))
        .collect();
    parts.sort();
    let joined = parts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let string_to_sign = format!("{method}{host}{path}?{joined}");
    let (key, message) = (secret.as_bytes(), string_to_sign.as_bytes());
    let value = match find(pairs, "SignatureMethod") {
        Some("HmacSHA256") => base64(&hmac_sha256(key, message)),
        _ => base64(&hmac_sha1(key, message)),
    };
    Signature { canonical_request: None, string_to_sign, value }
}

pub(super) fn claimed(pairs: &[Pair]) -> Result<Claimed, ReceivedError> {
    let required = |name: &str| {
        find(pairs, name).map(str::to_owned).ok_or_else(|| ReceivedError::Missing(name.to_owned()))
    };
    Ok(Claimed {
        kind: SignatureKind::TencentV1,
        key_id: required("SecretId")?,
        signature: required("Signature")?,
        timestamp: required("Timestamp")?.parse().ok().map(Timestamp::from_seconds),
        nonce: Some(required("Nonce")?),
        session_token: find(pairs, "Token").map(str::to_owned),
        signed_headers: Vec::new(),
        scope: None,
    })
}

pub(super) fn recompute(request: &Received<'_>, secret: &str) -> Result<Signature, ReceivedError> {
    let host = request.required("host")?;
    Ok(sign(request.method, host, request.path, &request.pairs()?, secret))
}

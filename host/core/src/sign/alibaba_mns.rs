//! Alibaba MNS ("SMQ") request signature (HMAC-SHA1). Leaves the queue protocol to the host. Tested by the golden
//! vectors.
//!
//! Source: aliyun-mns-sdk 1.3.0 `mns_client.py`.

use super::alibaba_roa_v1::{key_and_signature, over_headers};
use super::keyed_hash::{base64, hmac_sha1};
use super::{Claimed, Received, ReceivedError, Signature, SignatureKind};
use crate::time::Timestamp;

/// The scheme's name in the Authorization header.
pub const ALGORITHM: &str = "MNS";

/// Signs `request`, whose headers must hold `date` and every `x-mns-*` that is sent. Path and query are signed exactly
/// as sent; the `security-token` header of temporary credentials is not signed.
pub fn sign(request: &Received<'_>, secret: &str) -> Signature {
    let resource = match request.query {
        "" => request.path.to_owned(),
        query => format!("{}?{query}", request.path),
    };
    let string_to_sign = over_headers(request, "x-mns-", &["content-md5", "content-type", "date"], &resource);
    let value = base64(&hmac_sha1(secret.as_bytes(), string_to_sign.as_bytes()));
    Signature { canonical_request: None, string_to_sign, value }
}

/// The Authorization header's value.
pub fn authorization(key_id: &str, signature: &str) -> String {
    format!("{ALGORITHM} {key_id}:{signature}")
}

pub(super) fn claimed(request: &Received<'_>, authorization: &str) -> Result<Claimed, ReceivedError> {
    let (key_id, signature) = key_and_signature(authorization)?;
    Ok(Claimed {
        kind: SignatureKind::AlibabaMns,
        key_id,
        signature,
        timestamp: Timestamp::parse_http_date(request.required("date")?),
        nonce: None,
        session_token: request.header("security-token").map(str::to_owned),
        signed_headers: Vec::new(),
        scope: None,
    })
}

pub(super) fn recompute(request: &Received<'_>, secret: &str) -> Result<Signature, ReceivedError> {
    Ok(sign(request, secret))
}

//! Alibaba MNS ("SMQ") request signature (HMAC-SHA1). Leaves the queue protocol to the host. Tested by the golden
//! vectors.
//!
//! Source: aliyun-mns-sdk 1.3.0 `mns_client.py`.

use super::alibaba_roa_v1::{key_and_signature, over_headers};
use super::keyed_hash::{base64, hmac_sha1};
use super::{Claimed, Received, ReceivedError, Signature, SignatureKind, SignedRequest};
use crate::endpoint::Endpoint;
use crate::secret::Credential;
use crate::source::Request;
use crate::time::Timestamp;

/// The scheme's name in the Authorization header.
pub const ALGORITHM: &str = "MNS";

/// The version of the protocol.
const VERSION: &str = "2015-06-06";

/// Makes a signed request of what a consumer asks.
pub fn prepare(
    request: &Request,
    endpoint: &Endpoint,
    credential: &Credential,
    now: Timestamp,
) -> SignedRequest {
    let mut headers = vec![
        ("host", endpoint.authority().to_owned()),
        ("date", now.to_http_date()),
        ("x-mns-version", VERSION.to_owned()),
    ];
    if !request.body.is_empty() {
        headers.push(("content-type", "text/xml;charset=UTF-8".to_owned()));
    }
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let named: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let body = request.body.as_bytes();
    let received = Received { method: request.method, path, query, headers: &named, body };
    let signature = sign(&received, credential.key_secret.expose());
    if let Some(token) = &credential.session_token {
        headers.push(("security-token", token.expose().to_owned()));
    }
    headers.push(("authorization", authorization(&credential.key_id, &signature.value)));
    SignedRequest {
        method: request.method,
        url: endpoint.url(&request.target),
        headers,
        body: body.to_vec(),
        string_to_sign: signature.string_to_sign,
    }
}

/// Signs `request`, whose headers must hold `date` and every `x-mns-*` that is sent. Path and query are signed exactly
/// as sent; the `security-token` header of temporary credentials is not signed.
pub fn sign(request: &Received<'_>, secret: &str) -> Signature {
    let resource = match request.query {
        "" => request.path.to_owned(),
        query => format!("{}?{query}", request.path),
    };
    let string_to_sign =
        over_headers(request, &["x-mns-"], &["content-md5", "content-type", "date"], &resource);
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

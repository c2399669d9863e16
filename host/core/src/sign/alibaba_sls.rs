//! Alibaba SLS (log service) request signature, version 1 (HMAC-SHA1). Leaves the protocol to `source::log_store`. Tested by the
//! golden vectors.
//!
//! Source: aliyun-log-python-sdk 0.9.52 `auth.py`, `util.py`.

use super::alibaba_roa_v1::{key_and_signature, over_headers};
use super::encoding::split;
use super::keyed_hash::{base64, hmac_sha1};
use super::{Claimed, Received, ReceivedError, Signature, SignatureKind, SignedRequest};
use crate::endpoint::Endpoint;
use crate::secret::Credential;
use crate::source::Request;
use crate::time::Timestamp;

/// The scheme's name in the Authorization header.
pub const ALGORITHM: &str = "LOG";
/// The version of the protocol.
const VERSION: &str = "0.6.0";
/// Headers that begin like signed ones and are not: SDKs add them afterwards.
const UNSIGNED: [&str; 2] = ["x-log-date", "x-log-meta-"];

/// Makes a signed request of what a reader asks: without a body, and for an answer in LZ4 where it is a large one.
pub fn prepare(
    request: &Request,
    endpoint: &Endpoint,
    credential: &Credential,
    now: Timestamp,
) -> SignedRequest {
    let mut headers = vec![
        ("host", endpoint.authority().to_owned()),
        ("date", now.to_http_date()),
        ("accept", "application/x-protobuf".to_owned()),
        ("accept-encoding", "lz4".to_owned()),
        ("x-log-apiversion", VERSION.to_owned()),
        ("x-log-bodyrawsize", "0".to_owned()),
        ("x-log-signaturemethod", "hmac-sha1".to_owned()),
    ];
    if let Some(token) = &credential.session_token {
        headers.push(("x-acs-security-token", token.expose().to_owned()));
    }
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let named: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let received = Received { method: request.method, path, query, headers: &named, body: &[] };
    let signature = sign(&received, credential.key_secret.expose()).expect("what is asked is UTF-8");
    headers.push(("authorization", authorization(&credential.key_id, &signature.value)));
    SignedRequest {
        method: request.method,
        url: endpoint.url(&request.target),
        headers,
        body: Vec::new(),
        string_to_sign: signature.string_to_sign,
    }
}

/// Signs `request`, whose headers must hold `date` and every `x-log-*` and `x-acs-*` that is sent. The query is signed decoded and
/// sorted.
///
/// # Errors
/// `NotUtf8` where the query is not.
pub fn sign(request: &Received<'_>, secret: &str) -> Result<Signature, ReceivedError> {
    let mut pairs = split(request.query.as_bytes()).ok_or(ReceivedError::NotUtf8)?;
    pairs.sort();
    let query: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let resource = match query.as_slice() {
        [] => request.path.to_owned(),
        query => format!("{}?{}", request.path, query.join("&")),
    };
    let mut headers = request.headers.to_vec();
    headers.retain(|(name, _)| {
        let name = name.to_ascii_lowercase();
        !UNSIGNED.iter().any(|unsigned| name.starts_with(unsigned))
    });
    let signed = Received { headers: &headers, ..*request };
    let string_to_sign =
        over_headers(&signed, &["x-acs-", "x-log-"], &["content-md5", "content-type", "date"], &resource);
    let value = base64(&hmac_sha1(secret.as_bytes(), string_to_sign.as_bytes()));
    Ok(Signature { canonical_request: None, string_to_sign, value })
}

/// The Authorization header's value.
pub fn authorization(key_id: &str, signature: &str) -> String {
    format!("{ALGORITHM} {key_id}:{signature}")
}

pub(super) fn claimed(request: &Received<'_>, authorization: &str) -> Result<Claimed, ReceivedError> {
    let (key_id, signature) = key_and_signature(authorization)?;
    Ok(Claimed {
        kind: SignatureKind::AlibabaSls,
        key_id,
        signature,
        timestamp: Timestamp::parse_http_date(request.required("date")?),
        nonce: None,
        session_token: request.header("x-acs-security-token").map(str::to_owned),
        signed_headers: Vec::new(),
        scope: None,
    })
}

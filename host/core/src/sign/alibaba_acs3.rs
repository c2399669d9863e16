//! Alibaba ACS3-HMAC-SHA256 ("V3"), what Alibaba's present SDKs send. RPC actions put their parameters into the query
//! and leave the body empty. Tested by the golden vectors.
//!
//! Source: alibabacloud-tea-openapi 0.4.6 `utils.py`; @alicloud/openapi-core 1.0.8 `utils.js`.

use super::encoding::{canonical_query, split};
use super::keyed_hash::{hmac_sha256, sha256_hex};
use super::params::alibaba_pairs;
use super::received::{authorization_part, signed_headers};
use super::{
    Claimed, InvalidParams, OutboundCall, Received, ReceivedError, Signature, SignatureKind, SignedRequest,
};
use crate::endpoint::Endpoint;
use crate::id::hex;
use crate::secret::Credential;
use crate::time::Timestamp;

/// The scheme's name in the Authorization header.
pub const ALGORITHM: &str = "ACS3-HMAC-SHA256";
const BODY_HASH: &str = "x-acs-content-sha256";

/// Signs a request. `headers` are the signed ones: names in lower case, sorted. `query` is canonical, `body_hash` the
/// lower-case hex SHA-256 of the body.
pub fn sign<N: AsRef<str>, V: AsRef<str>>(
    method: &str,
    path: &str,
    query: &str,
    headers: &[(N, V)],
    body_hash: &str,
    secret: &str,
) -> Signature {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{}:{}\n", name.as_ref(), value.as_ref().trim()))
        .collect();
    let names = names_of(headers);
    let canonical_request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body_hash}");
    let string_to_sign = format!("{ALGORITHM}\n{}", sha256_hex(canonical_request.as_bytes()));
    let value = hex(&hmac_sha256(secret.as_bytes(), string_to_sign.as_bytes()));
    Signature { canonical_request: Some(canonical_request), string_to_sign, value }
}

/// The Authorization header's value.
pub fn authorization<N: AsRef<str>, V>(key_id: &str, headers: &[(N, V)], signature: &str) -> String {
    format!("{ALGORITHM} Credential={key_id},SignedHeaders={},Signature={signature}", names_of(headers))
}

fn names_of<N: AsRef<str>, V>(headers: &[(N, V)]) -> String {
    headers.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>().join(";")
}

pub(super) fn prepare(
    call: &OutboundCall<'_>,
    endpoint: &Endpoint,
    credential: &Credential,
    now: Timestamp,
    nonce: &str,
) -> Result<SignedRequest, InvalidParams> {
    let query = canonical_query(&alibaba_pairs(call)?);
    let body_hash = sha256_hex(b"");
    let mut headers = vec![
        ("host", endpoint.authority().to_owned()),
        ("x-acs-action", call.action.to_owned()),
        ("x-acs-version", call.version.to_owned()),
        ("x-acs-date", now.to_iso_seconds()),
        ("x-acs-signature-nonce", nonce.to_owned()),
        (BODY_HASH, body_hash.clone()),
    ];
    if let Some(token) = &credential.session_token {
        headers.push(("x-acs-accesskey-id", credential.key_id.clone()));
        headers.push(("x-acs-security-token", token.expose().to_owned()));
    }
    headers.sort();
    let signature = sign("POST", "/", &query, &headers, &body_hash, credential.key_secret.expose());
    let authorization = authorization(&credential.key_id, &headers, &signature.value);
    // Neither is signed: proxies may rewrite them.
    headers.push(("accept", "application/json".to_owned()));
    headers.push(("authorization", authorization));
    let path = if query.is_empty() { "/".to_owned() } else { format!("/?{query}") };
    Ok(SignedRequest {
        method: "POST",
        url: endpoint.url(&path),
        headers,
        body: Vec::new(),
        string_to_sign: signature.string_to_sign,
    })
}

pub(super) fn claimed(request: &Received<'_>, authorization: &str) -> Result<Claimed, ReceivedError> {
    Ok(Claimed {
        kind: SignatureKind::AlibabaAcs3,
        key_id: authorization_part(authorization, "Credential")?.to_owned(),
        signature: authorization_part(authorization, "Signature")?.to_owned(),
        timestamp: Timestamp::parse_rfc3339(request.required("x-acs-date")?),
        nonce: Some(request.required("x-acs-signature-nonce")?.to_owned()),
        session_token: request.header("x-acs-security-token").map(str::to_owned),
        signed_headers: signed_headers(authorization)?,
        scope: None,
    })
}

pub(super) fn recompute(
    request: &Received<'_>,
    claimed: &Claimed,
    secret: &str,
) -> Result<Signature, ReceivedError> {
    for (name, _) in request.headers {
        let name = name.to_ascii_lowercase();
        let must_be_signed = name == "host" || name.starts_with("x-acs-");
        if must_be_signed && !claimed.signed_headers.contains(&name) {
            return Err(ReceivedError::NotSigned(name));
        }
    }
    let mut headers = Vec::with_capacity(claimed.signed_headers.len());
    for name in &claimed.signed_headers {
        headers.push((name.as_str(), request.required(name)?));
    }
    let body_hash = sha256_hex(request.body);
    if request.required(BODY_HASH)? != body_hash {
        return Err(ReceivedError::OtherBody(BODY_HASH));
    }
    let query = canonical_query(&split(request.query.as_bytes()).ok_or(ReceivedError::NotUtf8)?);
    Ok(sign(request.method, request.path, &query, &headers, &body_hash, secret))
}

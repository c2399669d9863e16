//! Tencent TC3-HMAC-SHA256: a JSON body, system parameters in `X-TC-*` headers. Tested by the golden vectors.
//!
//! Source: tencentcloud-sdk-python-common 3.1.195 `abstract_client.py`, `sign.py`; Tencent Cloud "signature v3".

use super::keyed_hash::{hmac_sha256, sha256_hex};
use super::params::tencent_body;
use super::received::{authorization_part, signed_headers};
use super::{
    Claimed, InvalidParams, OutboundCall, Received, ReceivedError, Signature, SignatureKind, SignedRequest,
};
use crate::endpoint::Endpoint;
use crate::id::hex;
use crate::secret::Credential;
use crate::time::Timestamp;

/// The scheme's name in the Authorization header.
pub const ALGORITHM: &str = "TC3-HMAC-SHA256";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What is signed of a request.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// `POST` or `GET`.
    pub method: &'a str,
    /// The path, `/`.
    pub path: &'a str,
    /// The query exactly as sent.
    pub query: &'a str,
    /// The signed headers: names in lower case, sorted.
    pub headers: &'a [(&'a str, &'a str)],
    /// The bytes whose digest is signed: the body.
    pub payload: &'a [u8],
    /// When.
    pub timestamp: Timestamp,
    /// The product code, which is also the first label of the host.
    pub service: &'a str,
}

/// Signs a request.
pub fn sign(parts: &Parts<'_>, secret: &str) -> Signature {
    let lines: String = parts
        .headers
        .iter()
        .map(|(name, value)| format!("{name}:{}\n", canonical_value(name, value)))
        .collect();
    let canonical_request = format!(
        "{}\n{}\n{}\n{lines}\n{}\n{}",
        parts.method,
        parts.path,
        parts.query,
        names_of(parts.headers),
        sha256_hex(parts.payload)
    );
    // The date is UTC's: with a local date every call between midnight and 08:00 in Beijing would fail.
    let date = parts.timestamp.to_utc_date();
    let string_to_sign = format!(
        "{ALGORITHM}\n{}\n{date}/{}/tc3_request\n{}",
        parts.timestamp.seconds(),
        parts.service,
        sha256_hex(canonical_request.as_bytes())
    );
    let of_date = hmac_sha256(format!("TC3{secret}").as_bytes(), date.as_bytes());
    let of_service = hmac_sha256(&of_date, parts.service.as_bytes());
    let key = hmac_sha256(&of_service, b"tc3_request");
    let value = hex(&hmac_sha256(&key, string_to_sign.as_bytes()));
    Signature { canonical_request: Some(canonical_request), string_to_sign, value }
}

/// The Authorization header's value.
pub fn authorization(key_id: &str, parts: &Parts<'_>, signature: &str) -> String {
    format!(
        "{ALGORITHM} Credential={key_id}/{}/{}/tc3_request, SignedHeaders={}, Signature={signature}",
        parts.timestamp.to_utc_date(),
        parts.service,
        names_of(parts.headers)
    )
}

fn names_of(headers: &[(&str, &str)]) -> String {
    headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
}

/// The action is signed in lower case.
fn canonical_value(name: &str, value: &str) -> String {
    let value = value.trim();
    if name == "x-tc-action" { value.to_ascii_lowercase() } else { value.to_owned() }
}

pub(super) fn prepare(
    call: &OutboundCall<'_>,
    endpoint: &Endpoint,
    credential: &Credential,
    now: Timestamp,
) -> Result<SignedRequest, InvalidParams> {
    const CONTENT_TYPE: &str = "application/json";
    let body = tencent_body(call)?;
    let signed =
        [("content-type", CONTENT_TYPE), ("host", endpoint.authority()), ("x-tc-action", call.action)];
    let parts = Parts {
        method: "POST",
        path: "/",
        query: "",
        headers: &signed,
        payload: &body,
        timestamp: now,
        service: call.service,
    };
    let signature = sign(&parts, credential.key_secret.expose());
    let mut headers = vec![
        ("host", endpoint.authority().to_owned()),
        ("content-type", CONTENT_TYPE.to_owned()),
        ("x-tc-action", call.action.to_owned()),
        ("x-tc-version", call.version.to_owned()),
        ("x-tc-timestamp", now.seconds().to_string()),
        // Codes are the same in every language; messages go to operators' logs and policies.
        ("x-tc-language", "en-US".to_owned()),
        ("authorization", authorization(&credential.key_id, &parts, &signature.value)),
    ];
    if !call.region.is_empty() {
        headers.push(("x-tc-region", call.region.to_owned()));
    }
    if let Some(token) = &credential.session_token {
        headers.push(("x-tc-token", token.expose().to_owned()));
    }
    let string_to_sign = signature.string_to_sign;
    Ok(SignedRequest { method: "POST", url: endpoint.url("/"), headers, body, string_to_sign })
}

pub(super) fn claimed(request: &Received<'_>, authorization: &str) -> Result<Claimed, ReceivedError> {
    let credential = authorization_part(authorization, "Credential")?;
    let malformed = || ReceivedError::Missing("authorization Credential".into());
    let (key_id, scope) = credential.split_once('/').ok_or_else(malformed)?;
    let seconds = request.required("x-tc-timestamp")?.parse();
    Ok(Claimed {
        kind: SignatureKind::TencentTc3,
        key_id: key_id.to_owned(),
        signature: authorization_part(authorization, "Signature")?.to_owned(),
        timestamp: seconds.ok().map(Timestamp::from_seconds),
        nonce: None,
        session_token: request.header("x-tc-token").map(str::to_owned),
        signed_headers: signed_headers(authorization)?,
        scope: Some(scope.to_owned()),
    })
}

pub(super) fn recompute(
    request: &Received<'_>,
    claimed: &Claimed,
    secret: &str,
) -> Result<Signature, ReceivedError> {
    for name in ["content-type", "host"] {
        if !claimed.signed_headers.iter().any(|signed| signed == name) {
            return Err(ReceivedError::NotSigned(name.to_owned()));
        }
    }
    let timestamp = claimed.timestamp.ok_or_else(|| ReceivedError::Missing("x-tc-timestamp".into()))?;
    let scope = claimed.scope.as_deref().unwrap_or_default();
    let [date, service, "tc3_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err(ReceivedError::Missing("authorization Credential".into()));
    };
    if date != timestamp.to_utc_date() {
        return Err(ReceivedError::OtherScope);
    }
    let mut headers = Vec::with_capacity(claimed.signed_headers.len());
    for name in &claimed.signed_headers {
        headers.push((name.as_str(), request.required(name)?));
    }
    let is_unsigned = request.header("x-tc-content-sha256") == Some(UNSIGNED_PAYLOAD);
    let parts = Parts {
        method: request.method,
        path: request.path,
        query: request.query,
        headers: &headers,
        payload: if is_unsigned { UNSIGNED_PAYLOAD.as_bytes() } else { request.body },
        timestamp,
        service,
    };
    Ok(sign(&parts, secret))
}

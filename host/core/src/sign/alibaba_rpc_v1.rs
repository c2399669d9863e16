//! Alibaba RPC signature v1 (HMAC-SHA1). The client sends one form-encoded body with everything, which keeps tokens
//! and secrets out of URLs; a server takes parameters from URL and body alike. Tested by the golden vectors.
//!
//! Source: aliyun-python-sdk-core 2.16.1, `rpc_signature_composer.py`; Alibaba Cloud "request structure" pages.

use super::encoding::{Pair, canonical_query, encode, join};
use super::keyed_hash::{base64, hmac_sha1};
use super::params::alibaba_pairs;
use super::received::find;
use super::{
    Claimed, InvalidParams, OutboundCall, Received, ReceivedError, Signature, SignatureKind, SignedRequest,
};
use crate::endpoint::Endpoint;
use crate::secret::Credential;
use crate::time::Timestamp;

/// The value of `SignatureMethod`.
pub const METHOD: &str = "HMAC-SHA1";

/// Signs `pairs`, in any order, as the parameters of a `method` request. A pair named `Signature` is not signed.
pub fn sign(method: &str, pairs: &[Pair], secret: &str) -> Signature {
    let signed: Vec<Pair> = pairs.iter().filter(|(name, _)| name != "Signature").cloned().collect();
    let string_to_sign = format!("{method}&%2F&{}", encode(&canonical_query(&signed)));
    let value = base64(&hmac_sha1(format!("{secret}&").as_bytes(), string_to_sign.as_bytes()));
    Signature { canonical_request: None, string_to_sign, value }
}

pub(super) fn prepare(
    call: &OutboundCall<'_>,
    endpoint: &Endpoint,
    credential: &Credential,
    now: Timestamp,
    nonce: &str,
) -> Result<SignedRequest, InvalidParams> {
    let mut pairs = alibaba_pairs(call)?;
    let timestamp = now.to_iso_seconds();
    let system = [
        ("Action", call.action),
        ("Version", call.version),
        ("Format", "JSON"),
        ("AccessKeyId", &credential.key_id),
        ("SignatureMethod", METHOD),
        ("SignatureVersion", "1.0"),
        ("SignatureNonce", nonce),
        ("Timestamp", &timestamp),
    ];
    pairs.extend(system.map(|(name, value)| (name.to_owned(), value.to_owned())));
    if let Some(token) = &credential.session_token {
        pairs.push(("SecurityToken".into(), token.expose().into()));
    }
    let signature = sign("POST", &pairs, credential.key_secret.expose());
    pairs.push(("Signature".into(), signature.value));
    Ok(SignedRequest {
        method: "POST",
        url: endpoint.url("/"),
        headers: vec![
            ("host", endpoint.authority().into()),
            ("accept", "application/json".into()),
            ("content-type", "application/x-www-form-urlencoded".into()),
        ],
        body: join(&pairs).into_bytes(),
        string_to_sign: signature.string_to_sign,
    })
}

pub(super) fn claimed(pairs: &[Pair]) -> Result<Claimed, ReceivedError> {
    let required = |name: &str| {
        find(pairs, name).map(str::to_owned).ok_or_else(|| ReceivedError::Missing(name.to_owned()))
    };
    if required("SignatureMethod")? != METHOD {
        return Err(ReceivedError::Missing("SignatureMethod".into()));
    }
    Ok(Claimed {
        kind: SignatureKind::AlibabaRpcV1,
        key_id: required("AccessKeyId")?,
        signature: required("Signature")?,
        timestamp: Timestamp::parse_rfc3339(&required("Timestamp")?),
        nonce: Some(required("SignatureNonce")?),
        session_token: find(pairs, "SecurityToken").map(str::to_owned),
        signed_headers: Vec::new(),
        scope: None,
    })
}

pub(super) fn recompute(request: &Received<'_>, secret: &str) -> Result<Signature, ReceivedError> {
    Ok(sign(request.method, &request.pairs()?, secret))
}

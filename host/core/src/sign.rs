//! How a cloud call becomes signed bytes, and how signed bytes are checked: one file per signature scheme. The client
//! signs with `prepare`; the simulated cloud reads with `received`. Clock and nonce are arguments; sending is the
//! host's. Every scheme is tested against signatures the vendors' own SDKs made (`tests/vectors`).

pub mod alibaba_acs3;
pub mod alibaba_eventbridge;
pub mod alibaba_mns;
pub mod alibaba_roa_v1;
pub mod alibaba_rpc_v1;
pub mod alibaba_sls;
pub mod anonymous;
pub mod aws_sigv4;
mod dry_run;
pub mod encoding;
pub mod keyed_hash;
pub mod params;
pub mod received;
pub mod rsa_public_key;
pub mod tencent_tc3;
pub mod tencent_v1;

pub use params::InvalidParams;
pub use received::{Claimed, Received, ReceivedError, SignatureKind, claimed, recompute, verify};

use crate::catalog::Provider;
use crate::endpoint::Endpoint;
use crate::secret::Credential;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the client signs calls of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scheme {
    /// Alibaba ACS3-HMAC-SHA256: what Alibaba's present SDKs send.
    #[serde(rename = "acs3-hmac-sha256")]
    AlibabaAcs3,
    /// Alibaba RPC signature v1, HMAC-SHA1, as one form-encoded body.
    #[serde(rename = "rpc-v1-hmac-sha1")]
    AlibabaRpcV1,
    /// Tencent TC3-HMAC-SHA256.
    #[serde(rename = "tc3-hmac-sha256")]
    TencentTc3,
}

impl Scheme {
    /// The scheme used where the account names none.
    pub fn default_for(provider: Provider) -> Self {
        match provider {
            Provider::Alibaba => Self::AlibabaAcs3,
            Provider::Tencent => Self::TencentTc3,
        }
    }

    /// Whose scheme it is.
    pub fn provider(self) -> Provider {
        match self {
            Self::AlibabaAcs3 | Self::AlibabaRpcV1 => Provider::Alibaba,
            Self::TencentTc3 => Provider::Tencent,
        }
    }
}

/// One call as the client is to send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundCall<'a> {
    /// Product code in lower case: `ecs`, `cvm`.
    pub service: &'a str,
    /// The API version, such as `2014-05-26`; see `catalog::version_of`.
    pub version: &'a str,
    /// The vendor's action name.
    pub action: &'a str,
    /// The region; empty where the service knows none.
    pub region: &'a str,
    /// The action's parameters: a JSON object as text.
    pub params: &'a str,
    /// The idempotency token: the vendor's field name and the value.
    pub token: Option<(&'a str, &'a str)>,
    /// The vendor's field that has it only check the request. Where it is given, nothing is signed without it.
    pub dry_run: Option<&'a str>,
}

/// A request ready to be sent. Its `Debug` shows neither query, headers nor body: they may hold secrets.
#[derive(Clone)]
pub struct SignedRequest {
    /// `POST` for every call; a source's own protocol has others.
    pub method: &'static str,
    /// Absolute URL. May hold parameters that must not be logged.
    pub url: String,
    /// Names in lower case, `host` among them.
    pub headers: Vec<(&'static str, String)>,
    /// The body's bytes.
    pub body: Vec<u8>,
    /// What was signed, to compare with what the cloud says it should have been.
    pub string_to_sign: String,
}

impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up_to_query = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("SignedRequest").field("url", &up_to_query).finish_non_exhaustive()
    }
}

/// A signature and what it was made over.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// The canonical request, in the schemes that hash one.
    pub canonical_request: Option<String>,
    /// The text that was signed. Holds the session token in some schemes.
    pub string_to_sign: String,
    /// The signature in the scheme's text form.
    pub value: String,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(redacted)")
    }
}

/// Signs `call` for `endpoint`. `nonce` must never be used twice with one key; Tencent's scheme has none and ignores it.
///
/// # Errors
/// Where the parameters cannot be put on the wire as they are meant: see [`InvalidParams`].
pub fn prepare(
    scheme: Scheme,
    call: &OutboundCall<'_>,
    endpoint: &Endpoint,
    credential: &Credential,
    now: Timestamp,
    nonce: &str,
) -> Result<SignedRequest, InvalidParams> {
    let request = match scheme {
        Scheme::AlibabaAcs3 => alibaba_acs3::prepare(call, endpoint, credential, now, nonce),
        Scheme::AlibabaRpcV1 => alibaba_rpc_v1::prepare(call, endpoint, credential, now, nonce),
        Scheme::TencentTc3 => tencent_tc3::prepare(call, endpoint, credential, now),
    }?;
    match call.dry_run {
        Some(field) if !dry_run::is_asked_for(scheme.provider(), field, &request) => {
            Err(InvalidParams::NotDry)
        }
        _ => Ok(request),
    }
}

#[cfg(test)]
mod tests;

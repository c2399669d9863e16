//! A signed request as a server sees it: what it claims, and the signature it should bear. Recognises every scheme by
//! the request alone. Leaves keys, clock skew and seen nonces to the server. Tested by the golden vectors.

use super::encoding::{Pair, split};
use super::{
    Signature, alibaba_acs3, alibaba_mns, alibaba_roa_v1, alibaba_rpc_v1, alibaba_sls, aws_sigv4, keyed_hash,
    tencent_tc3, tencent_v1,
};
use crate::time::Timestamp;
use std::fmt;

/// A request as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// `GET`, `POST` ...
    pub method: &'a str,
    /// The path as sent, still encoded.
    pub path: &'a str,
    /// The query as sent, without `?`.
    pub query: &'a str,
    /// Headers in order, names in any case, `host` among them.
    pub headers: &'a [(String, String)],
    /// The body's bytes.
    pub body: &'a [u8],
}

/// Schemes a received request can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureKind {
    /// Alibaba RPC signature v1.
    AlibabaRpcV1,
    /// Alibaba ACS3-HMAC-SHA256.
    AlibabaAcs3,
    /// Alibaba ROA signature v1.
    AlibabaRoaV1,
    /// Alibaba MNS.
    AlibabaMns,
    /// Alibaba SLS.
    AlibabaSls,
    /// Tencent TC3-HMAC-SHA256.
    TencentTc3,
    /// Tencent HmacSHA1 or HmacSHA256.
    TencentV1,
    /// AWS Signature Version 4.
    AwsSigV4,
}

/// What a request says of itself; nothing of it is proved.
#[derive(Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The scheme.
    pub kind: SignatureKind,
    /// The access key id.
    pub key_id: String,
    /// The signature in the scheme's text form.
    pub signature: String,
    /// When it was signed, where the scheme tells.
    pub timestamp: Option<Timestamp>,
    /// The nonce, where the scheme has one.
    pub nonce: Option<String>,
    /// The session token, where there is one.
    pub session_token: Option<String>,
    /// The names of the headers that are signed, in lower case, where the scheme lists them.
    pub signed_headers: Vec<String>,
    /// The credential scope after the key id, such as `2019-02-25/cvm/tc3_request`, where the scheme has one.
    pub scope: Option<String>,
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed")
            .field("kind", &self.kind)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// Why a request's signature cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceivedError {
    /// No known scheme.
    #[error("the request bears no known signature")]
    Unsigned,
    /// A parameter, header or part of one that the scheme needs.
    #[error("`{0}` is missing or malformed")]
    Missing(String),
    /// A header that the signature must cover.
    #[error("header `{0}` is not signed")]
    NotSigned(String),
    /// The body is another than the one that was signed.
    #[error("the body's digest differs from `{0}`")]
    OtherBody(&'static str),
    /// The credential scope does not fit the request's own time.
    #[error("the credential scope does not fit the request's time")]
    OtherScope,
    /// Query or form body are not UTF-8.
    #[error("the parameters are not UTF-8")]
    NotUtf8,
}

/// Reads what `request` claims.
///
/// # Errors
/// `Unsigned` where no scheme fits; `Missing` where one begins to fit and lacks a part.
pub fn claimed(request: &Received<'_>) -> Result<Claimed, ReceivedError> {
    match request.header("authorization").map(|value| (value, value.split(' ').next().unwrap_or_default())) {
        Some((value, alibaba_acs3::ALGORITHM)) => alibaba_acs3::claimed(request, value),
        Some((value, tencent_tc3::ALGORITHM)) => tencent_tc3::claimed(request, value),
        Some((value, aws_sigv4::ALGORITHM)) => aws_sigv4::claimed(request, value),
        Some((value, alibaba_roa_v1::ALGORITHM)) => alibaba_roa_v1::claimed(request, value),
        Some((value, alibaba_mns::ALGORITHM)) => alibaba_mns::claimed(request, value),
        Some((value, alibaba_sls::ALGORITHM)) => alibaba_sls::claimed(request, value),
        _ => {
            let pairs = request.pairs()?;
            if find(&pairs, "SecretId").is_some() {
                tencent_v1::claimed(&pairs)
            } else if find(&pairs, "Signature").is_some() {
                alibaba_rpc_v1::claimed(&pairs)
            } else {
                Err(ReceivedError::Unsigned)
            }
        }
    }
}

/// Computes the signature `request` should bear if the claimed key's secret is `secret`.
///
/// # Errors
/// Where the request lacks what the scheme needs, or leaves unsigned what it must sign.
pub fn recompute(
    request: &Received<'_>,
    claimed: &Claimed,
    secret: &str,
) -> Result<Signature, ReceivedError> {
    match claimed.kind {
        SignatureKind::AlibabaRpcV1 => alibaba_rpc_v1::recompute(request, secret),
        SignatureKind::AlibabaAcs3 => alibaba_acs3::recompute(request, claimed, secret),
        SignatureKind::AlibabaRoaV1 => alibaba_roa_v1::recompute(request, secret),
        SignatureKind::AlibabaMns => alibaba_mns::recompute(request, secret),
        SignatureKind::AlibabaSls => alibaba_sls::sign(request, secret),
        SignatureKind::TencentTc3 => tencent_tc3::recompute(request, claimed, secret),
        SignatureKind::TencentV1 => tencent_v1::recompute(request, secret),
        SignatureKind::AwsSigV4 => aws_sigv4::recompute(request, claimed, secret),
    }
}

/// Whether `request` bears the signature that `secret` makes. Compares in constant time.
///
/// # Errors
/// As [`recompute`].
pub fn verify(request: &Received<'_>, claimed: &Claimed, secret: &str) -> Result<bool, ReceivedError> {
    Ok(keyed_hash::same(&recompute(request, claimed, secret)?.value, &claimed.signature))
}

impl<'a> Received<'a> {
    /// The first header of this name; case does not matter.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All parameters: of the query, then of the body where it is a form.
    ///
    /// # Errors
    /// `NotUtf8`.
    pub fn pairs(&self) -> Result<Vec<Pair>, ReceivedError> {
        let mut pairs = split(self.query.as_bytes()).ok_or(ReceivedError::NotUtf8)?;
        let content_type = self.header("content-type").unwrap_or_default();
        if content_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
            pairs.extend(split(self.body).ok_or(ReceivedError::NotUtf8)?);
        }
        Ok(pairs)
    }

    pub(super) fn required(&self, name: &str) -> Result<&'a str, ReceivedError> {
        self.header(name).ok_or_else(|| ReceivedError::Missing(name.to_owned()))
    }
}

/// The first value of this name; case matters.
pub fn find<'a>(pairs: &'a [Pair], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// One part of an Authorization header like `Credential=a/b,SignedHeaders=c;d,Signature=e`.
pub(super) fn authorization_part<'a>(value: &'a str, name: &str) -> Result<&'a str, ReceivedError> {
    let parts = value.split_once(' ').map_or("", |(_, rest)| rest);
    let found = parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    found.ok_or_else(|| ReceivedError::Missing(format!("authorization {name}")))
}

/// The signed headers' names.
pub(super) fn signed_headers(authorization: &str) -> Result<Vec<String>, ReceivedError> {
    let names = authorization_part(authorization, "SignedHeaders")?;
    Ok(names.split(';').map(str::to_ascii_lowercase).collect())
}

//! AWS Signature Version 4. Leaves building AWS requests to whoever sends them. Tested by the golden vectors.
//!
//! Source: botocore 1.44.5 `auth.py`; AWS "Create a signed AWS API request".

use super::encoding::encode_path;
use super::keyed_hash::{hmac_sha256, sha256_hex};
use super::received::{authorization_part, signed_headers};
use super::{Claimed, Received, ReceivedError, Signature, SignatureKind};
use crate::id::hex;
use crate::time::Timestamp;

/// The scheme's name in the Authorization header.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const BODY_HASH: &str = "x-amz-content-sha256";

/// Signs `request`. `signed` names the signed headers in lower case, sorted; `scope` is
/// `<date>/<region>/<service>/aws4_request`, `date` the value of `x-amz-date`.
///
/// # Errors
/// `Missing` where a signed header is absent or the scope malformed.
pub fn sign(
    request: &Received<'_>,
    signed: &[String],
    scope: &str,
    date: &str,
    secret: &str,
) -> Result<Signature, ReceivedError> {
    let [day, region, service, "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err(ReceivedError::Missing("authorization Credential".into()));
    };
    let mut lines = String::new();
    for name in signed {
        lines.push_str(&format!("{name}:{}\n", header_value(request, name)?));
    }
    let canonical_request = format!(
        "{}\n{}\n{}\n{lines}\n{}\n{}",
        request.method,
        canonical_path(request.path, service),
        canonical_query(request.query),
        signed.join(";"),
        // S3 states the digest, which may be `UNSIGNED-PAYLOAD`; it is signed as a header too.
        request.header(BODY_HASH).map_or_else(|| sha256_hex(request.body), str::to_owned)
    );
    let string_to_sign =
        format!("{ALGORITHM}\n{date}\n{scope}\n{}", sha256_hex(canonical_request.as_bytes()));
    let mut key = hmac_sha256(format!("AWS4{secret}").as_bytes(), day.as_bytes());
    for part in [region, service, "aws4_request"] {
        key = hmac_sha256(&key, part.as_bytes());
    }
    let value = hex(&hmac_sha256(&key, string_to_sign.as_bytes()));
    Ok(Signature { canonical_request: Some(canonical_request), string_to_sign, value })
}

/// All values of a name, inner runs of white space made one space.
fn header_value(request: &Received<'_>, name: &str) -> Result<String, ReceivedError> {
    request.required(name)?;
    let of_name = request.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    let values: Vec<String> =
        of_name.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    Ok(values.join(","))
}

/// S3 signs the path as sent; every other service normalises it and encodes it once more.
fn canonical_path(path: &str, service: &str) -> String {
    if service.starts_with("s3") {
        return path.to_owned();
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let is_directory = path.ends_with('/') && !segments.is_empty();
    format!("/{}{}", encode_path(&segments.join("/")), if is_directory { "/" } else { "" })
}

/// Sorted by the names as they are encoded on the wire.
fn canonical_query(query: &str) -> String {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let mut pairs: Vec<(&str, &str)> = parts.map(|part| part.split_once('=').unwrap_or((part, ""))).collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

pub(super) fn claimed(request: &Received<'_>, authorization: &str) -> Result<Claimed, ReceivedError> {
    let credential = authorization_part(authorization, "Credential")?;
    let malformed = || ReceivedError::Missing("authorization Credential".into());
    let (key_id, scope) = credential.split_once('/').ok_or_else(malformed)?;
    Ok(Claimed {
        kind: SignatureKind::AwsSigV4,
        key_id: key_id.to_owned(),
        signature: authorization_part(authorization, "Signature")?.to_owned(),
        timestamp: parse_basic(request.required("x-amz-date")?),
        nonce: None,
        session_token: request.header("x-amz-security-token").map(str::to_owned),
        signed_headers: signed_headers(authorization)?,
        scope: Some(scope.to_owned()),
    })
}

/// Reads `20150830T123600Z`.
fn parse_basic(text: &str) -> Option<Timestamp> {
    let is_basic = text.len() == 16 && text.is_ascii();
    let (day, time) = is_basic.then(|| text.split_at(8))?;
    let (y, m, d, h, min, s) = (&day[..4], &day[4..6], &day[6..], &time[1..3], &time[3..5], &time[5..7]);
    Timestamp::parse_rfc3339(&format!("{y}-{m}-{d}T{h}:{min}:{s}Z"))
}

pub(super) fn recompute(
    request: &Received<'_>,
    claimed: &Claimed,
    secret: &str,
) -> Result<Signature, ReceivedError> {
    let date = request.required("x-amz-date")?;
    for name in ["host", "x-amz-date"] {
        if !claimed.signed_headers.iter().any(|signed| signed == name) {
            return Err(ReceivedError::NotSigned(name.to_owned()));
        }
    }
    let scope = claimed.scope.as_deref().unwrap_or_default();
    if !scope.starts_with(date.split('T').next().unwrap_or_default()) {
        return Err(ReceivedError::OtherScope);
    }
    sign(request, &claimed.signed_headers, scope, date, secret)
}

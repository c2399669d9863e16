//! Whether a request comes from who it says: time, key, session token, signature over the request as received, and a
//! nonce never seen before. Refuses with the vendors' codes. The signature itself is `core::sign`'s. Tested by
//! `tests/tests/it/sim.rs` and by the vendors' SDKs in `tests/peers`.

use crate::answer::ApiError;
use crate::faults::{Met, Taken};
use crate::keys::{Key, Keyring};
use crate::request::{Asked, Inbound};
use crate::server::Simulator;
use crate::{sts, sts_tencent};
use opsward_core::catalog::Provider;
use opsward_core::sign::{Claimed, ReceivedError, SignatureKind, claimed, keyed_hash, recompute};
use opsward_core::time::Timestamp;
use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a request claimed, and whether it is believed.
pub(crate) struct Verdict {
    pub(crate) claimed: Option<Claimed>,
    pub(crate) outcome: Result<Arc<Key>, ApiError>,
}

impl Verdict {
    /// The scheme as it is recorded.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.claimed.as_ref().map(|claimed| claimed.kind) {
            Some(SignatureKind::AlibabaRpcV1) => "rpc-v1",
            Some(SignatureKind::AlibabaAcs3) => "acs3",
            Some(SignatureKind::TencentTc3) => "tc3",
            Some(SignatureKind::AlibabaMns) => "mns",
            Some(SignatureKind::AlibabaSls) => "sls",
            Some(_) => "other",
            None => "none",
        }
    }
}

/// The service that Tencent's credential scope names.
pub(crate) fn service(claimed: &Claimed) -> Option<&str> {
    claimed.scope.as_deref()?.split('/').nth(1)
}

/// Checks a request that claims this at `now`.
pub(crate) fn verify(
    inbound: &Inbound,
    claimed: Result<Claimed, ReceivedError>,
    keys: &Keyring,
    nonces: &Nonces,
    now: Timestamp,
) -> Verdict {
    let is_tencent = inbound.header("x-tc-action").is_some();
    let outcome = match &claimed {
        Err(_) if is_proved_by_token(inbound) => Ok(Keyring::bearer(match is_tencent {
            true => Provider::Tencent,
            false => Provider::Alibaba,
        })),
        Ok(claimed) if is_tencent => check_tencent(inbound, claimed, keys, now),
        Ok(claimed) => check_alibaba(inbound, claimed, keys, nonces, now),
        Err(_) if is_tencent => Err(invalid_authorization()),
        Err(error) => Err(alibaba_unsigned(inbound, error)),
    };
    Verdict { claimed: claimed.ok(), outcome }
}

/// Why a request is not believed, where each product says so in its own words.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Doubt {
    Malformed,
    Expired,
    UnknownKey,
    Token,
    Signature,
}

/// Judges a request to a product that has a path for each thing, whose schemes have no nonce: whether it is believed, how far the
/// clock was off for it, and what goes wrong with one that is understood.
pub(crate) fn judge(
    sim: &Simulator,
    inbound: &Inbound,
    asked: &Asked,
    is_understood: bool,
    (kind, refusal): (SignatureKind, fn(Doubt) -> ApiError),
    now: Timestamp,
) -> (Verdict, Duration, Taken) {
    let met = Met {
        provider: Provider::Alibaba,
        product: asked.product.as_ref().map_or("unknown", |product| product.name()),
        action: &asked.action,
        params: asked.recorded.get(),
        is_read: true,
        since_change: &|| None,
    };
    let skew = sim.faults.take_skew(&met);
    let claimed = claimed(&inbound.received()).ok().filter(|claimed| claimed.kind == kind);
    let outcome = check_resource(inbound, claimed.as_ref(), &sim.keyring, now + skew).map_err(refusal);
    let is_met = is_understood && outcome.is_ok();
    let taken = if is_met { sim.faults.take(&met) } else { Taken::default() };
    (Verdict { claimed, outcome }, skew, taken)
}

fn check_resource(
    inbound: &Inbound,
    claimed: Option<&Claimed>,
    keys: &Keyring,
    now: Timestamp,
) -> Result<Arc<Key>, Doubt> {
    let claimed = claimed.ok_or(Doubt::Malformed)?;
    let signed_at = claimed.timestamp.ok_or(Doubt::Malformed)?;
    if distance(signed_at, now) > ALIBABA_SKEW_MAX {
        return Err(Doubt::Expired);
    }
    let key = keys.find(&claimed.key_id).filter(|key| key.provider == Provider::Alibaba);
    let key = key.ok_or(Doubt::UnknownKey)?;
    let token_fits = match (&key.token, session_token(claimed)) {
        (None, None) => true,
        (Some(token), Some(given)) => token.matches(given),
        _ => false,
    };
    if !token_fits || key.expires.is_some_and(|expires| expires <= now) {
        return Err(Doubt::Token);
    }
    let expected =
        recompute(&inbound.received(), claimed, key.secret.expose()).map_err(|_| Doubt::Malformed)?;
    if keyed_hash::same(&expected.value, &claimed.signature) { Ok(key) } else { Err(Doubt::Signature) }
}

/// Whether the action looks at a token among its parameters instead of a signature.
fn is_proved_by_token(inbound: &Inbound) -> bool {
    match (inbound.header("x-tc-action"), inbound.header("authorization")) {
        (Some(action), authorization) => action == sts_tencent::WITH_TOKEN && authorization == Some("SKIP"),
        (None, Some(_)) => false,
        (None, None) => {
            let pairs = inbound.received().pairs().unwrap_or_default();
            let named =
                |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            named("Action") == Some(sts::WITH_TOKEN) && named("AccessKeyId").is_none()
        }
    }
}

fn check_alibaba(
    inbound: &Inbound,
    claimed: &Claimed,
    keys: &Keyring,
    nonces: &Nonces,
    now: Timestamp,
) -> Result<Arc<Key>, ApiError> {
    let refuse = |status, code: &'static str, message: &str| Err(ApiError::new(status, code, message));
    if !matches!(claimed.kind, SignatureKind::AlibabaRpcV1 | SignatureKind::AlibabaAcs3) {
        return Err(incomplete_signature());
    }
    let Some(signed_at) = claimed.timestamp else {
        return refuse(
            400,
            "InvalidTimeStamp.Format",
            "Specified time stamp or date value is not well formatted.",
        );
    };
    if distance(signed_at, now) > ALIBABA_SKEW_MAX {
        return refuse(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.");
    }
    let Some(key) = keys.find(&claimed.key_id).filter(|key| key.provider == Provider::Alibaba) else {
        return refuse(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.");
    };
    match (&key.token, session_token(claimed)) {
        (None, None) => {}
        (Some(_), None) => {
            return refuse(400, "MissingSecurityToken", "SecurityToken is mandatory for this action.");
        }
        (_, Some(given)) if !given.starts_with("CAIS") => {
            return refuse(400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.");
        }
        (Some(token), Some(given)) if token.matches(given) => {}
        (_, Some(_)) => {
            return refuse(
                400,
                "InvalidSecurityToken.MismatchWithAccessKey",
                "Specified SecurityToken mismatch with the AccessKey.",
            );
        }
    }
    if key.expires.is_some_and(|expires| expires <= now) {
        return refuse(403, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.");
    }
    let expected =
        recompute(&inbound.received(), claimed, key.secret.expose()).map_err(|_| incomplete_signature())?;
    if !keyed_hash::same(&expected.value, &claimed.signature) {
        let message = format!(
            "Specified signature is not matched with our calculation. server string to sign is:{}",
            expected.string_to_sign
        );
        return Err(ApiError::new(400, "SignatureDoesNotMatch", message));
    }
    match &claimed.nonce {
        Some(nonce) if nonces.is_first_use(&claimed.key_id, nonce, now) => Ok(key),
        Some(_) => refuse(400, "SignatureNonceUsed", "Specified signature nonce was used already."),
        None => refuse(400, "MissingSignatureNonce", "SignatureNonce is mandatory for this action."),
    }
}

fn check_tencent(
    inbound: &Inbound,
    claimed: &Claimed,
    keys: &Keyring,
    now: Timestamp,
) -> Result<Arc<Key>, ApiError> {
    let refuse = |code: &'static str, message: String| Err(ApiError::new(200, code, message));
    if claimed.kind != SignatureKind::TencentTc3 {
        return Err(invalid_authorization());
    }
    let signed_at = claimed.timestamp.ok_or_else(invalid_authorization)?;
    let off = distance(signed_at, now);
    if off > TENCENT_SKEW_MAX {
        let message = format!("The provided timestamp is {} seconds off.", off.as_secs());
        return refuse("AuthFailure.SignatureExpire", message);
    }
    let Some(key) = keys.find(&claimed.key_id).filter(|key| key.provider == Provider::Tencent) else {
        let message = "The SecretId is not found, please ensure that your SecretId is correct.";
        return refuse("AuthFailure.SecretIdNotFound", message.into());
    };
    let token_fits = match (&key.token, session_token(claimed)) {
        (None, None) => true,
        (Some(token), Some(given)) => token.matches(given),
        _ => false,
    };
    if !token_fits || key.expires.is_some_and(|expires| expires <= now) {
        return refuse("AuthFailure.TokenFailure", "Token verification failed.".into());
    }
    let mismatch = || {
        let message =
            "The provided credentials could not be validated. Please check your signature is correct.";
        ApiError::new(200, "AuthFailure.SignatureFailure", message)
    };
    let expected = match recompute(&inbound.received(), claimed, key.secret.expose()) {
        Ok(expected) => expected,
        Err(ReceivedError::OtherBody(_)) => return Err(mismatch()),
        Err(_) => return Err(invalid_authorization()),
    };
    if keyed_hash::same(&expected.value, &claimed.signature) { Ok(key) } else { Err(mismatch()) }
}

/// How far a request's time may be off: 15 minutes at Alibaba.
const ALIBABA_SKEW_MAX: Duration = Duration::from_secs(15 * 60);
/// The same at Tencent: 300 seconds.
const TENCENT_SKEW_MAX: Duration = Duration::from_secs(300);

/// How long a signature is believed.
pub(crate) fn skew_max(provider: Provider) -> Duration {
    match provider {
        Provider::Alibaba => ALIBABA_SKEW_MAX,
        Provider::Tencent => TENCENT_SKEW_MAX,
    }
}

fn distance(a: Timestamp, b: Timestamp) -> Duration {
    a.since(b).max(b.since(a))
}

fn session_token(claimed: &Claimed) -> Option<&str> {
    claimed.session_token.as_deref().filter(|token| !token.is_empty())
}

fn alibaba_unsigned(inbound: &Inbound, error: &ReceivedError) -> ApiError {
    let missing = |name: &str| {
        ApiError::new(400, format!("Missing{name}"), format!("{name} is mandatory for this action."))
    };
    let has_authorization = inbound.header("authorization").is_some();
    match error {
        ReceivedError::Unsigned if !has_authorization => {
            let pairs = inbound.received().pairs().unwrap_or_default();
            let has_key = pairs.iter().any(|(name, _)| name == "AccessKeyId");
            missing(if has_key { "Signature" } else { "AccessKeyId" })
        }
        ReceivedError::Missing(name) if !has_authorization => missing(name),
        _ => incomplete_signature(),
    }
}

fn incomplete_signature() -> ApiError {
    let message = "The request signature does not conform to Aliyun standards.";
    ApiError::new(400, "IncompleteSignature", message)
}

fn invalid_authorization() -> ApiError {
    let message =
        "The Authorization in the request header does not comply with the TC3-HMAC-SHA256 standard.";
    ApiError::new(200, "AuthFailure.InvalidAuthorization", message)
}

/// Nonces of the last quarter of an hour, as digests with their key ids.
#[derive(Default)]
pub(crate) struct Nonces(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    digests: HashSet<u64>,
    by_age: VecDeque<(Timestamp, u64)>,
}

impl Nonces {
    fn is_first_use(&self, key_id: &str, nonce: &str, now: Timestamp) -> bool {
        let mut hasher = DefaultHasher::new();
        (key_id, nonce).hash(&mut hasher);
        let digest = hasher.finish();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A request is refused for its age before its nonce may be forgotten: both edges of the skew count.
        let forget_before = now - 2 * ALIBABA_SKEW_MAX;
        while let Some(&(at, old)) = seen.by_age.front() {
            if at >= forget_before && seen.by_age.len() < NONCES_MAX {
                break;
            }
            seen.by_age.pop_front();
            seen.digests.remove(&old);
        }
        let is_first = seen.digests.insert(digest);
        if is_first {
            seen.by_age.push_back((now, digest));
        }
        is_first
    }
}

/// Nonces remembered: half an hour at 1,000 calls a second, under 100 MB; beyond it the oldest are forgotten early.
const NONCES_MAX: usize = 2_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_used_once_by_a_key_while_its_request_could_be_believed() {
        let nonces = Nonces::default();
        let start = Timestamp::from_ms(0);
        assert!(nonces.is_first_use("a", "1", start));
        assert!(!nonces.is_first_use("a", "1", start + 2 * ALIBABA_SKEW_MAX));
        assert!(nonces.is_first_use("b", "1", start));
        assert!(nonces.is_first_use("a", "1", start + 3 * ALIBABA_SKEW_MAX));
    }
}

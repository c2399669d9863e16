//! Standard Webhooks: an id, a time and the body, signed with HMAC-SHA256. A sender that changes its secret signs with both for a
//! while. Tested in `super::tests`.
//!
//! Source: github.com/standard-webhooks/standard-webhooks, the specification of 1.0.0. Its asymmetric scheme, `v1a`, is not spoken.

use super::{Delivered, Unproved, UnusableSecret, WEBHOOK_SKEW_MAX};
use crate::secret::Secret;
use crate::sign::keyed_hash::{base64, from_base64, hmac_sha256, same};
use crate::time::Timestamp;
use zeroize::Zeroizing;

/// Shortest key, in bytes: 128 bits cannot be guessed. The specification wants 24, and some senders make shorter ones.
pub(super) const KEY_BYTES_MIN: usize = 16;
/// Most signatures looked at: one for each secret that a sender may still have.
const SIGNATURES_MAX: usize = 8;

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";
const PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

pub(super) fn check(secrets: &[Secret], delivered: &Delivered<'_>, now: Timestamp) -> Result<(), Unproved> {
    let id = delivered.header(ID)?;
    let sent = delivered.header(TIMESTAMP)?;
    let seconds: i64 = sent.parse().map_err(|_| Unproved::Missing(TIMESTAMP.to_owned()))?;
    let sent_at = Timestamp::from_ms(seconds.saturating_mul(1000));
    if now.since(sent_at).max(sent_at.since(now)) > WEBHOOK_SKEW_MAX {
        return Err(Unproved::Stale(TIMESTAMP));
    }
    let given = delivered.header(SIGNATURE)?;
    let signed = [format!("{id}.{sent}.").as_bytes(), delivered.body].concat();
    let is_one_of = |wanted: String| {
        let signatures = given.split(' ').filter_map(|one| one.strip_prefix(VERSION));
        signatures.take(SIGNATURES_MAX).fold(false, |found, one| found | same(one, &wanted))
    };
    let keys = secrets.iter().filter_map(|secret| key(secret).ok());
    let fits = keys.fold(false, |found, key| found | is_one_of(base64(&hmac_sha256(&key, &signed))));
    if fits { Ok(()) } else { Err(Unproved::WrongSignature) }
}

/// The key that a secret stands for.
pub(super) fn key(secret: &Secret) -> Result<Zeroizing<Vec<u8>>, UnusableSecret> {
    let text = secret.expose();
    let text = text.strip_prefix(PREFIX).unwrap_or(text);
    let key = Zeroizing::new(from_base64(text).ok_or(UnusableSecret::NotBase64)?);
    if key.len() < KEY_BYTES_MIN { Err(UnusableSecret::Short) } else { Ok(key) }
}

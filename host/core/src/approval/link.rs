//! One-use links: a decision of one person on one asking, signed with a key that only the host has, so that a notification can
//! carry it. That it is used once follows from the decision: nobody decides twice on one asking. Leaves the key, and recording
//! the decision, to the host. Tested in `tests.rs`.

use super::Verdict;
use crate::id::{ApproverName, Digest, RunId, hex};
use crate::sign::keyed_hash::{hmac_sha256, same};
use crate::time::Timestamp;

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The run that asks.
    pub run: RunId,
    /// Which asking.
    pub nth: u32,
    /// What it asks.
    pub hash: Digest,
    /// Whose link it is.
    pub by: ApproverName,
    /// What its use says.
    pub verdict: Verdict,
    /// When it is no longer good.
    pub expires: Timestamp,
}

/// Not a link of this host's, or no longer a good one. Which of them it is, a forger is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this link is not valid: it is forged, cut off, or of another host")]
pub struct InvalidLink;

/// Longest text that is read: a good one has less than 300 bytes.
const TOKEN_BYTES_MAX: usize = 512;

impl Link {
    /// The link's text: letters, digits, `-` and `.` only.
    pub fn token(&self, key: &[u8]) -> String {
        let text = self.text();
        format!("{text}.{}", hex(&hmac_sha256(key, text.as_bytes())))
    }

    /// Reads a link that `token` made with the same key.
    pub fn parse(token: &str, key: &[u8]) -> Result<Self, InvalidLink> {
        let (text, mac) =
            token.rsplit_once('.').filter(|_| token.len() <= TOKEN_BYTES_MAX).ok_or(InvalidLink)?;
        // Before anything of it is believed.
        if !same(mac, &hex(&hmac_sha256(key, text.as_bytes()))) {
            return Err(InvalidLink);
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [_, run, nth, hash, by, verdict, expires] = parts.as_slice() else { return Err(InvalidLink) };
        let verdicts = [Verdict::Approve, Verdict::Deny];
        let link = Self {
            run: RunId::from_text(*run),
            nth: nth.parse().map_err(|_| InvalidLink)?,
            hash: Digest::try_from((*hash).to_owned()).map_err(|_| InvalidLink)?,
            by: by.parse().map_err(|_| InvalidLink)?,
            verdict: verdicts.into_iter().find(|one| one.as_str() == *verdict).ok_or(InvalidLink)?,
            expires: Timestamp::from_ms(expires.parse().map_err(|_| InvalidLink)?),
        };
        // The one form of it.
        if link.text() == text { Ok(link) } else { Err(InvalidLink) }
    }

    /// What is signed. No part of it holds a full stop.
    fn text(&self) -> String {
        let Self { run, nth, hash, by, verdict, expires } = self;
        format!("v1.{run}.{nth}.{hash}.{by}.{}.{}", verdict.as_str(), expires.ms())
    }
}

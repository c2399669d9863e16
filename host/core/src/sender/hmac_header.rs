//! An HMAC of the body in one header, as many senders have it: `x-hub-signature-256: sha256=<hex>`. It says nothing of when it was
//! made, so that what was seen once can be sent again: it is then known by the event's id. Tested in `super::tests`.

use super::{Delivered, Unproved};
use crate::secret::Secret;
use crate::sign::keyed_hash::{from_base64, hmac_sha1, hmac_sha256};
use subtle::ConstantTimeEq as _;

/// Which header, and how the HMAC is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacHeader {
    /// Its name in lower case.
    pub name: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// The text form.
    pub encoding: Encoding,
    /// What stands before it, such as `sha256=`.
    pub prefix: String,
}

/// Hashes of HMACs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `sha256`.
    Sha256,
    /// `sha1`: its collisions do not break HMAC.
    Sha1,
}

/// Text forms of HMACs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `hex`, in either case.
    Hex,
    /// `base64`, with padding.
    Base64,
}

impl Algorithm {
    /// The one that is written so.
    pub fn of(text: &str) -> Option<Self> {
        match text {
            "sha256" => Some(Self::Sha256),
            "sha1" => Some(Self::Sha1),
            _ => None,
        }
    }
}

impl Encoding {
    /// The one that is written so.
    pub fn of(text: &str) -> Option<Self> {
        match text {
            "hex" => Some(Self::Hex),
            "base64" => Some(Self::Base64),
            _ => None,
        }
    }
}

pub(super) fn check(
    header: &HmacHeader,
    secrets: &[Secret],
    delivered: &Delivered<'_>,
) -> Result<(), Unproved> {
    let malformed = || Unproved::Missing(header.name.clone());
    let text = delivered.header(&header.name)?.trim();
    let text = text.strip_prefix(header.prefix.as_str()).ok_or_else(malformed)?;
    let given = match header.encoding {
        Encoding::Hex => from_hex(text),
        Encoding::Base64 => from_base64(text),
    };
    let given = given.ok_or_else(malformed)?;
    let fits = secrets.iter().fold(false, |found, secret| {
        let key = secret.expose().as_bytes();
        let wanted = match header.algorithm {
            Algorithm::Sha256 => hmac_sha256(key, delivered.body).to_vec(),
            Algorithm::Sha1 => hmac_sha1(key, delivered.body).to_vec(),
        };
        found | bool::from(wanted.ct_eq(&given))
    });
    if fits { Ok(()) } else { Err(Unproved::WrongSignature) }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

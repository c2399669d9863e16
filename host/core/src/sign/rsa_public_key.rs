//! An RSA public key, read from PEM, and the two things done with one here: checking a PKCS #1 v1.5 signature (by ring),
//! and recovering what was encrypted with the *private* key, which ring does not offer. Only public values are
//! computed on, so nothing needs to run in constant time. Leaves fetching and trusting certificates to the caller. Tested
//! by the EventBridge vectors and below.

use super::keyed_hash::from_base64;
use ring::signature::{RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaPublicKeyComponents};

/// Largest modulus taken, in bytes: 4096 bits. The vendors use 1024 and 2048.
pub const MODULUS_BYTES_MAX: usize = 512;
/// Smallest modulus taken, in bytes: 1024 bits, which the vendor's certificate of 2021 has.
pub const MODULUS_BYTES_MIN: usize = 128;

/// PEM text without a usable RSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PEM certificate or public key with an RSA key of 1024 to 4096 bits")]
pub struct InvalidKey;

/// Modulus and exponent, big-endian without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublicKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaPublicKey {
    /// Reads the first `CERTIFICATE` or `PUBLIC KEY` block.
    ///
    /// # Errors
    /// Where there is none, or its key is not RSA of 1024 to 4096 bits. The certificate's own signature and dates are not
    /// checked: trust comes from where it was fetched.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        let is_certificate = pem.contains("-----BEGIN CERTIFICATE-----");
        let label = if is_certificate { "CERTIFICATE" } else { "PUBLIC KEY" };
        let der = pem_block(pem, label).ok_or(InvalidKey)?;
        let info = if is_certificate { key_info_of_certificate(&der) } else { Der(&der).enter(SEQUENCE) };
        let (modulus, exponent) = info.and_then(rsa_numbers).ok_or(InvalidKey)?;
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
        let is_sized =
            (MODULUS_BYTES_MIN..=MODULUS_BYTES_MAX).contains(&modulus.len()) && exponent.len() <= 4;
        if is_sized && is_odd(modulus) && is_odd(exponent) {
            Ok(Self { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
        } else {
            Err(InvalidKey)
        }
    }

    /// Whether `signature` is this key's RSA-SHA256 PKCS #1 v1.5 signature of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent };
        key.verify(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, message, signature).is_ok()
    }

    /// Recovers what the private key encrypted with PKCS #1 v1.5 padding of type 1; `None` where the padding is
    /// wrong, so something else was encrypted or with another key.
    pub fn recover(&self, block: &[u8]) -> Option<Vec<u8>> {
        if block.len() != self.modulus.len() || block >= self.modulus.as_slice() {
            return None;
        }
        let opened = Montgomery::new(&self.modulus).power(block, &self.exponent);
        let padded = opened.strip_prefix(&[0, 1])?;
        let filling = padded.iter().take_while(|byte| **byte == 0xff).count();
        let (separator, message) = padded.get(filling..)?.split_first()?;
        // RFC 8017 section 9.2 wants at least eight octets of filling.
        (filling >= 8 && *separator == 0).then(|| message.to_vec())
    }
}

fn pem_block(pem: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    from_base64(&body.split_whitespace().collect::<String>())
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;
/// 1.2.840.113549.1.1.1, rsaEncryption.
const RSA_ENCRYPTION: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// The rest of a DER encoding.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                (digits.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    fn enter(mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Der)
    }
}

/// RFC 5280 section 4.1: the key info is the seventh field of the certificate's body, or the sixth without a version.
fn key_info_of_certificate(der: &[u8]) -> Option<Der<'_>> {
    let mut body = Der(der).enter(SEQUENCE)?.enter(SEQUENCE)?;
    if body.0.first() == Some(&EXPLICIT_0) {
        body.take(EXPLICIT_0)?;
    }
    body.take(INTEGER)?;
    for _signature_issuer_validity_subject in 0..4 {
        body.take(SEQUENCE)?;
    }
    body.enter(SEQUENCE)
}

/// Modulus and exponent of a SubjectPublicKeyInfo's content.
fn rsa_numbers(mut info: Der<'_>) -> Option<(&[u8], &[u8])> {
    let algorithm = info.take(SEQUENCE)?;
    let bits = info.take(BIT_STRING)?.strip_prefix(&[0])?;
    let mut numbers = Der(bits).enter(SEQUENCE)?;
    let (modulus, exponent) = (numbers.take(INTEGER)?, numbers.take(INTEGER)?);
    algorithm.starts_with(&RSA_ENCRYPTION).then(|| (without_zeros(modulus), without_zeros(exponent)))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// Montgomery arithmetic modulo an odd number, in limbs of 32 bits, least significant first.
struct Montgomery {
    modulus: Vec<u32>,
    /// The negated inverse of the modulus, modulo 2^32.
    factor: u32,
    bytes: usize,
}

impl Montgomery {
    fn new(modulus: &[u8]) -> Self {
        let limbs = to_limbs(modulus, modulus.len().div_ceil(4));
        // Newton's iteration doubles the number of right bits; an odd number is its own inverse modulo 8.
        let mut inverse = limbs[0];
        for _ in 0..4 {
            inverse = inverse.wrapping_mul(2u32.wrapping_sub(limbs[0].wrapping_mul(inverse)));
        }
        Self { modulus: limbs, factor: inverse.wrapping_neg(), bytes: modulus.len() }
    }

    /// `base` to the power of `exponent`, as many bytes as the modulus has. `base` is less than the modulus.
    fn power(&self, base: &[u8], exponent: &[u8]) -> Vec<u8> {
        let size = self.modulus.len();
        let one = to_limbs(&[1], size);
        let base = self.multiply(&to_limbs(base, size), &self.r_squared());
        let mut result = self.multiply(&one, &self.r_squared());
        for bit in exponent.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
            result = self.multiply(&result, &result);
            if bit == 1 {
                result = self.multiply(&result, &base);
            }
        }
        let bytes: Vec<u8> =
            self.multiply(&result, &one).iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
        bytes[bytes.len() - self.bytes..].to_vec()
    }

    /// R squared modulo the modulus, R being 2^(32 * limbs): 1, doubled 64 times a limb.
    fn r_squared(&self) -> Vec<u32> {
        let mut sum = to_limbs(&[1], self.modulus.len());
        for _ in 0..self.modulus.len() * 64 {
            let mut carry = 0;
            for limb in &mut sum {
                let out = *limb >> 31;
                *limb = *limb << 1 | carry;
                carry = out;
            }
            self.reduce_once(&mut sum, carry == 1);
        }
        sum
    }

    /// `a * b / R` modulo the modulus: coarsely integrated operand scanning (Koc, Acar, Kaliski 1996).
    fn multiply(&self, a: &[u32], b: &[u32]) -> Vec<u32> {
        let size = self.modulus.len();
        let mut sum = vec![0u32; size + 2];
        for digit in b {
            accumulate(&mut sum, a, *digit);
            let quotient = sum[0].wrapping_mul(self.factor);
            accumulate(&mut sum, &self.modulus, quotient);
            sum.copy_within(1.., 0);
            sum[size + 1] = 0;
        }
        let overflows = sum[size] != 0;
        sum.truncate(size);
        self.reduce_once(&mut sum, overflows);
        sum
    }

    /// Takes the modulus off where `sum`, with its carry, is not below it.
    fn reduce_once(&self, sum: &mut [u32], carry: bool) {
        if !carry && sum.iter().rev().lt(self.modulus.iter().rev()) {
            return;
        }
        let mut borrow = false;
        for (limb, taken) in sum.iter_mut().zip(&self.modulus) {
            let (first, below) = limb.overflowing_sub(*taken);
            let (second, below_again) = first.overflowing_sub(u32::from(borrow));
            *limb = second;
            borrow = below || below_again;
        }
    }
}

/// Adds `factor * number` to `sum`, which is two limbs longer than `number`.
fn accumulate(sum: &mut [u32], number: &[u32], factor: u32) {
    let mut carry = 0u64;
    for (at, limb) in sum.iter_mut().enumerate() {
        let digit = number.get(at).copied().unwrap_or(0);
        let total = u64::from(*limb) + u64::from(digit) * u64::from(factor) + carry;
        *limb = total as u32;
        carry = total >> 32;
    }
}

fn to_limbs(big_endian: &[u8], size: usize) -> Vec<u32> {
    let mut limbs: Vec<u32> = big_endian
        .rchunks(4)
        .map(|chunk| chunk.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
        .collect();
    limbs.resize(size, 0);
    limbs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn power(base: u64, exponent: u32, modulus: u64) -> u64 {
        let modulus = modulus.to_be_bytes();
        let bytes = Montgomery::new(&modulus).power(&base.to_be_bytes(), &exponent.to_be_bytes());
        bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    #[test]
    fn powers_agree_with_plain_arithmetic() {
        let plain = |base: u64, exponent: u32, modulus: u64| {
            (0..exponent).fold(1u128, |product, _| product * u128::from(base) % u128::from(modulus)) as u64
        };
        for modulus in
            [0xffff_ffff_ffff_ffc5, 0x8000_0000_0000_001d, 0x0123_4567_89ab_cdef, 0xffff_ffff_ffff_ffff]
        {
            for base in [0, 1, 2, 0xffff_ffff, 0x0123_4567_89ab_cdee, modulus - 1] {
                for exponent in [1, 3, 17, 257] {
                    assert_eq!(
                        power(base % modulus, exponent, modulus),
                        plain(base % modulus, exponent, modulus)
                    );
                }
            }
        }
    }

    #[test]
    fn text_that_holds_no_key_is_refused() {
        for pem in [
            "",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
        ] {
            assert_eq!(RsaPublicKey::from_pem(pem), Err(InvalidKey));
        }
    }
}

//! Identifiers that look like the vendors' and repeat for a seed: resources in order of creation, request ids, keys.
//! Not for secrets: everything here can be foreseen from the seed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Source of identifiers.
pub(crate) struct Ids {
    seed: u64,
    drawn: AtomicU64,
}

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }

    /// `473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E`
    pub(crate) fn request_id_upper(&self) -> String {
        let (a, b) = (self.draw(), self.draw());
        let (high, low) = (a & !0xF000 | 0x4000, b & !(0b11 << 62) | (0b10 << 62));
        format!(
            "{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFFF,
            low >> 48,
            low & 0xFFFF_FFFF_FFFF
        )
    }

    /// `3c140219-cfe9-470e-b241-907877d6fb03`
    pub(crate) fn request_id_lower(&self) -> String {
        self.request_id_upper().to_ascii_lowercase()
    }

    /// A resource id of `length` characters after `prefix`, greater than those before it.
    pub(crate) fn resource(&self, prefix: &str, length: usize) -> String {
        let tail = base36(RESOURCE_BASE + self.drawn.fetch_add(1, Ordering::Relaxed));
        let filler = base36(mix(self.seed));
        let missing = length.saturating_sub(tail.len());
        format!("{prefix}{}{tail}", &filler[..missing.min(filler.len())])
    }

    /// `length` letters and digits.
    pub(crate) fn word(&self, length: usize) -> String {
        let mut word = String::with_capacity(length);
        while word.len() < length {
            let bits = self.draw();
            word.extend((0..10).map(|i| MIXED[((bits >> (6 * i)) & 63) as usize % MIXED.len()] as char));
        }
        word.truncate(length);
        word
    }

    fn draw(&self) -> u64 {
        let nth = self.drawn.fetch_add(1, Ordering::Relaxed);
        mix(self.seed.wrapping_add(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }
}

/// Six base-36 digits, so that ids of a longer run sort in order of creation.
const RESOURCE_BASE: u64 = 36 * 36 * 36 * 36 * 36 * 7;
const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// SplitMix64's output function (Steele, Lea, Flood 2014).
pub(crate) fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn base36(mut value: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::new();
    loop {
        digits.push(DIGITS[(value % 36) as usize] as char);
        value /= 36;
        if value == 0 {
            return digits.iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_sort_in_order_of_creation_and_request_ids_are_uuids() {
        let ids = Ids::new(7);
        let made: Vec<String> = (0..1000).map(|_| ids.resource("s-bp1", 17)).collect();
        assert!(made.is_sorted() && made[0].len() == 22, "{}", made[0]);
        let request = ids.request_id_upper();
        assert_eq!((request.len(), &request[14..15]), (36, "4"), "{request}");
        assert_eq!(Ids::new(7).word(24), Ids::new(7).word(24));
    }
}

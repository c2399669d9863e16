//! How grave an event is, in one order for all vendors' words. Leaves finding the word to the decoders, and what follows from a firing
//! that is graver than the one before to `incident`. Tested below.

use super::Event;

/// Words that are known, the least grave first; those of one line are equally grave. Numbers are SLS's `severity`, in which 10 is the
/// gravest ("variables in alert templates").
const WORDS: [&[&str]; 5] = [
    &["info", "information", "informational", "notice", "2"],
    &["low", "minor", "4"],
    &["warn", "warning", "average", "medium", "moderate", "6"],
    &["error", "high", "major", "8"],
    &["critical", "disaster", "emergency", "fatal", "10"],
];

impl Event {
    /// How grave its level is, from 1; 0 where it has none, or one in a word that is not known.
    pub fn gravity(&self) -> u8 {
        gravity_of(self.level.as_deref())
    }
}

/// How grave a level is.
pub fn gravity_of(level: Option<&str>) -> u8 {
    let is_it = |word: &&str| word.eq_ignore_ascii_case(level.unwrap_or_default());
    (1..).zip(WORDS).find(|(_, words)| words.iter().any(is_it)).map_or(0, |(gravity, _)| gravity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_one_vendor_are_in_the_vendors_order() {
        let of = |level: Option<&str>| {
            let source = "in".parse().expect("a name");
            Event { level: level.map(str::to_owned), ..Event::bare(&source, "e", "x") }.gravity()
        };
        for vendor in
            [&["INFO", "WARN", "CRITICAL"][..], &["2", "4", "6", "8", "10"], &["warning", "critical"]]
        {
            let order: Vec<u8> = vendor.iter().map(|level| of(Some(level))).collect();
            assert!(order[0] > 0 && order.is_sorted_by(|a, b| a < b), "{vendor:?}: {order:?}");
        }
        assert_eq!([of(None), of(Some("")), of(Some("page")), of(Some("P1"))], [0; 4]);
    }
}

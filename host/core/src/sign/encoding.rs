//! Percent-encoding as the signature schemes want it: RFC 3986, upper-case hex, only unreserved characters stay. Leaves
//! what is encoded to each scheme. Tested below and by the golden vectors.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use std::borrow::Cow;

/// Everything but RFC 3986 section 2.3's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path, whose slashes stay.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// A name with its value, decoded.
pub type Pair = (String, String);

/// Encodes a name or value.
pub fn encode(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, RESERVED).into()
}

/// Encodes a path, leaving `/`.
pub fn encode_path(path: &str) -> Cow<'_, str> {
    utf8_percent_encode(path, RESERVED_IN_PATH).into()
}

/// `name=value` joined with `&`, both encoded, in the order given. An empty value keeps its `=`.
pub fn join<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.extend(utf8_percent_encode(name.as_ref(), RESERVED));
        out.push('=');
        out.extend(utf8_percent_encode(value.as_ref(), RESERVED));
    }
    out
}

/// As [`join`], sorted by the raw names in byte order.
pub fn canonical_query<N: AsRef<str> + Ord + Clone, V: AsRef<str> + Ord + Clone>(pairs: &[(N, V)]) -> String {
    let mut sorted = pairs.to_vec();
    sorted.sort();
    join(&sorted)
}

/// Splits a query or a form body into decoded pairs; `+` is a space. `None` where it is not UTF-8.
pub fn split(raw: &[u8]) -> Option<Vec<Pair>> {
    raw.split(|b| *b == b'&').filter(|part| !part.is_empty()).map(decode_pair).collect()
}

fn decode_pair(part: &[u8]) -> Option<Pair> {
    let at = part.iter().position(|b| *b == b'=').unwrap_or(part.len());
    let value = part.get(at + 1..).unwrap_or_default();
    Some((decode(&part[..at])?, decode(value)?))
}

fn decode(raw: &[u8]) -> Option<String> {
    let spaced: Vec<u8> = raw.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    String::from_utf8(percent_decode(&spaced).collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        for (raw, encoded) in [
            ("AZaz09-_.~", "AZaz09-_.~"),
            (" *+/", "%20%2A%2B%2F"),
            ("重启🚀", "%E9%87%8D%E5%90%AF%F0%9F%9A%80"),
            ("a\tb\r\n", "a%09b%0D%0A"),
        ] {
            assert_eq!(encode(raw), encoded);
        }
    }

    #[test]
    fn a_query_splits_into_what_was_joined() {
        let pairs = vec![("a b".to_owned(), "1+2&3=4".to_owned()), ("空".to_owned(), String::new())];
        assert_eq!(split(join(&pairs).as_bytes()), Some(pairs));
        let spaced = Some(vec![("k".to_owned(), "a b".to_owned()), ("e".to_owned(), String::new())]);
        assert_eq!(split(b"k=a+b&&e"), spaced);
        assert_eq!(split(b"k=%FF"), None);
    }

    #[test]
    fn names_sort_by_their_raw_bytes() {
        let pairs: Vec<(&str, &str)> = ["a", "Z", "A.10", "A.2", "A-1", "_x"].map(|name| (name, "")).to_vec();
        assert_eq!(canonical_query(&pairs), "A-1=&A.10=&A.2=&Z=&_x=&a=");
    }
}

//! Finds secrets in bytes, however they are written: as they are, cut, reversed, in base64 wherever it begins, in hex, as numbers,
//! escaped for URLs and JSON. Tested below: what is planted is found.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::fmt::Write as _;

/// Shortest form that is looked for, in bytes: shorter ones are found by chance in megabytes of memory.
const FORM_BYTES_MIN: usize = 8;
/// A secret that has twice as many bytes is also looked for by its beginning and its end.
const CUT_BYTES: usize = 16;

/// Everything that is looked for.
pub(crate) struct Scanner {
    forms: Vec<Form>,
    /// For each two bytes, the forms that begin with them.
    by_beginning: Vec<Vec<usize>>,
}

struct Form {
    /// Which secret, and how it is written.
    label: String,
    bytes: Vec<u8>,
}

impl Scanner {
    /// Looks for these secrets: what each is, and its text.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut forms = Vec::new();
        for (name, secret) in secrets {
            let of_secret = forms_of(secret);
            for (how, bytes) in of_secret {
                if bytes.len() >= FORM_BYTES_MIN {
                    forms.push(Form { label: format!("{name}, {how}"), bytes });
                }
            }
        }
        let mut by_beginning = vec![Vec::new(); 1 << 16];
        for (at, form) in forms.iter().enumerate() {
            by_beginning[usize::from(form.bytes[0]) << 8 | usize::from(form.bytes[1])].push(at);
        }
        Self { forms, by_beginning }
    }

    /// What is found first: which secret, how it is written, and what stands before it.
    pub(crate) fn find(&self, text: &[u8]) -> Option<String> {
        text.windows(2).enumerate().find_map(|(at, two)| {
            let candidates = &self.by_beginning[usize::from(two[0]) << 8 | usize::from(two[1])];
            let found = candidates.iter().find(|form| text[at..].starts_with(&self.forms[**form].bytes))?;
            let before = String::from_utf8_lossy(&text[at.saturating_sub(80)..at]).into_owned();
            Some(format!("{} after {before:?}", self.forms[*found].label))
        })
    }
}

/// The ways to write `secret`; some are the same.
fn forms_of(secret: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let mut forms: Vec<(String, Vec<u8>)> = vec![("as it is".into(), bytes.to_vec())];
    let mut add = |how: &str, text: String| forms.push((how.to_owned(), text.into_bytes()));
    for (alphabet, engine) in [("base64", STANDARD_NO_PAD), ("base64 for URLs", URL_SAFE_NO_PAD)] {
        for shift in 0..3 {
            // The characters that depend on nothing that stands before or after.
            let text = engine.encode([&vec![0; shift], bytes].concat());
            let (begin, end) = ((shift * 8).div_ceil(6), (shift + bytes.len()) * 8 / 6);
            add(&format!("{alphabet} from byte {shift} on"), text[begin..end].to_owned());
        }
    }
    let each = |write: &dyn Fn(u8, &mut String)| {
        let mut text = String::new();
        bytes.iter().for_each(|byte| write(*byte, &mut text));
        text
    };
    let written = "a String takes all";
    add("hex", each(&|byte, to| write!(to, "{byte:02x}").expect(written)));
    add("hex in capitals", each(&|byte, to| write!(to, "{byte:02X}").expect(written)));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escaped = |byte: u8, to: &mut String, capitals: bool| match (is_plain(byte), capitals) {
        (true, _) => to.push(char::from(byte)),
        (false, true) => write!(to, "%{byte:02X}").expect(written),
        (false, false) => write!(to, "%{byte:02x}").expect(written),
    };
    let url = each(&|byte, to| escaped(byte, to, true));
    add("escaped twice for URLs", url.replace('%', "%25"));
    add("escaped for URLs", url);
    add("escaped for URLs in small letters", each(&|byte, to| escaped(byte, to, false)));
    add("all escaped for URLs", each(&|byte, to| write!(to, "%{byte:02X}").expect(written)));
    add("as numbers", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(","));
    add("as numbers with blanks", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
    let inner = |text: &str| {
        let quoted = Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let json = inner(secret);
    add("escaped thrice for JSON", inner(&inner(&json)));
    add("escaped twice for JSON", inner(&json));
    add("escaped for JSON with slashes", json.replace('/', "\\/"));
    add("escaped for JSON", json);
    add(
        "all escaped for JSON",
        secret.encode_utf16().fold(String::new(), |text, unit| text + &format!("\\u{unit:04x}")),
    );
    let debug = format!("{secret:?}");
    add("escaped for Rust", debug[1..debug.len() - 1].to_owned());
    add("reversed", secret.chars().rev().collect());
    let wide = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    forms.push(("in UTF-16".into(), wide));
    if bytes.len() >= 2 * CUT_BYTES {
        forms.push(("its beginning".into(), bytes[..CUT_BYTES].to_vec()));
        forms.push(("its end".into(), bytes[bytes.len() - CUT_BYTES..].to_vec()));
    }
    forms
}

#[test]
fn what_is_planted_is_found_in_every_form() {
    let secrets = [("plain", "sk7Qm2Zx9Lw4Rt8Vb3"), ("odd", "a\"b\\c/d+e f%g=h&\u{e4}i\nj")];
    let scanner = Scanner::new(secrets);
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert_eq!(scanner.find(&noise), None);
    assert_eq!(scanner.find("sk7Qm2Zx9Lw4Rt8Vb".as_bytes()), None, "a part of a short one is none");
    let mut planted = 0;
    for (name, secret) in secrets {
        for (how, form) in forms_of(secret) {
            let text = [&noise[..1000], &form, &noise[1000..2000]].concat();
            let found = scanner.find(&text).unwrap_or_else(|| panic!("{name} {how} is not found"));
            assert!(found.starts_with(name), "{found}");
            planted += 1;
        }
    }
    assert!(planted >= 40, "{planted} forms");
    // As others write it, not as the forms are made.
    for text in [
        // The whole of what is around it in base64, at each of the three places where it may begin.
        "Authorization: Basic dXNlcjpzazdRbTJaeDlMdzRSdDhWYjM=",
        "eyJrIjoic2s3UW0yWng5THc0UnQ4VmIzIn0=",
        "eyJrZSI6InNrN1FtMlp4OUx3NFJ0OFZiMyJ9",
        "736b37516d325a78394c7734527438566233",
        "3bV8tR4wL9xZ2mQ7ks",
        "k=a%22b%5Cc%2Fd%2Be%20f%25g%3Dh%26%C3%A4i%0Aj",
        r#"{"k":"a\"b\\c/d+e f%g=h&äi\nj"}"#,
        r#"{"log":"{\"k\":\"a\\\"b\\\\c/d+e f%g=h&äi\\nj\"}"}"#,
    ] {
        assert!(scanner.find(text.as_bytes()).is_some(), "{text}");
    }
}

#[test]
fn a_long_secret_is_found_by_a_part() {
    let secret = "CAIS0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ==";
    let scanner = Scanner::new([("token", secret)]);
    for part in [&secret[..20], &secret[20..]] {
        assert!(scanner.find(format!("cut: {part}").as_bytes()).is_some(), "{part}");
    }
}

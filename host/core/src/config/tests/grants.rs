//! What an operator sees of a bad `[[allow]]` entry, beyond what `super` shows.

use super::{NIGHTLY, brief, host};
use crate::config::load_policy;

#[test]
fn findings_about_selectors_and_windows() {
    let swap = |from: &str, to: &str| {
        assert!(NIGHTLY.contains(from), "{from}");
        NIGHTLY.replace(from, to)
    };
    let cases = [
        (
            swap("[\"ins-1\"]", "[{ tags = { env = \"lab\" } }]"),
            "8:15 unknown key `tags`; did you mean `tag`?",
        ),
        (
            swap("[\"ins-1\"]", "[7]"),
            "8:13 expected an id in quotes, or a selector such as { tag = { env = \"lab\" } }, found integer `7`",
        ),
        (
            swap("[\"ins-1\"]", "[\"ins-1\", { }]"),
            "8:22 an empty selector selects nothing; write one of `tag`, `name`, `charge-type` and `group`",
        ),
        (
            format!("{NIGHTLY}window = {{ from = \"22:00\", to = \"26:00\", zone = \"Asia/Shanghai\" }}\n"),
            "9:33 `26:00` is not a time of day: write it as in `22:00`",
        ),
        (
            format!("{NIGHTLY}window = {{ from = \"22:00\", zone = \"Beijing\" }}\n"),
            "9:35 `Beijing` is not an IANA time zone: all of China keeps `Asia/Shanghai`",
        ),
        (format!("{NIGHTLY}window = {{ from = \"22:00\" }}\n"), "9:10 missing key `zone`"),
    ];
    for (text, expected) in cases {
        assert_eq!(brief(&load_policy("p.toml", "p", &text, &host()).expect_err(expected)), [expected]);
    }
}

#[test]
fn a_grant_takes_no_key_that_it_does_not_know() {
    let text = format!("{NIGHTLY}confirmed = true\n");
    let found = brief(&load_policy("p.toml", "p", &text, &host()).expect_err("unknown"));
    assert!(found[0].starts_with("9:1 unknown key `confirmed`; did you mean `confirm`?"), "{found:?}");
}

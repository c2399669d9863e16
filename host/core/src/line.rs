//! Text of guests, senders and clouds as part of one line: for logs, lists and exports. Whatever it holds, it begins no other line,
//! steers no terminal and turns no text around. Leaves how long a line may be to those who print it. Tested below.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a reader, a terminal or a pager would take `c` for more than a sign on the line: control characters (Unicode Cc), line
/// and paragraph separators, marks and overrides of direction (UAX 9), annotation marks, and tags, which nobody sees.
pub fn breaks_line(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// `text` with a space for each character that does not belong on a line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(breaks_line) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if breaks_line(c) { ' ' } else { c }).collect())
}

/// JSON text with `\uXXXX` for each such character: the same JSON, on one line.
pub fn json_line(json: &str) -> Cow<'_, str> {
    if !json.contains(breaks_line) {
        return Cow::Borrowed(json);
    }
    let mut line = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if breaks_line(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(line, "\\u{unit:04x}").expect("writing to a String does not fail");
            }
        } else {
            line.push(c);
        }
    }
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_line_is_replaced_and_the_rest_is_not() {
        let hostile = "a\nb\r\u{1b}[2Jc\u{2028}d\u{202e}e\u{9b}f\u{7f}g\u{e0041}h";
        assert_eq!(one_line(hostile), "a b  [2Jc d e f g h");
        let good = "快照 ok, naïve “quotes” 👩‍💻";
        assert!(matches!(one_line(good), Cow::Borrowed(_)), "{good}");
    }

    #[test]
    fn json_on_one_line_is_the_same_json() {
        let value = serde_json::json!({ "a": "x\u{2028}y\u{202e}z\u{7f}\u{e0041}\n\u{1b}", "快": "照" });
        let text = value.to_string();
        let line = json_line(&text);
        assert!(!line.contains(breaks_line));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).expect("JSON"), value);
    }
}

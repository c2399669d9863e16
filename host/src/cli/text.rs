//! Columns, cuts and spans of time as people read them. Tested below.

use opsward_core::line::{breaks_line, json_line, one_line};
use serde_json::Value;
use std::time::Duration;

/// Which side of its column a cell keeps to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows as lines of columns two spaces apart, without blanks at the end; a column without any text is left out.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]], aligns: [Align; N]) -> Vec<String> {
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| cells(&row[at])).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let columns = row.iter().zip(widths).zip(aligns).filter(|((_, width), _)| *width > 0);
        let columns = columns.map(|((text, width), align)| {
            let blanks = " ".repeat(width - cells(text));
            match align {
                Align::Left => format!("{text}{blanks}"),
                Align::Right => format!("{blanks}{text}"),
            }
        });
        // Whatever a cell repeats of a guest's or a sender's words stays on its line.
        one_line(columns.collect::<Vec<_>>().join("  ").trim_end()).into_owned()
    };
    rows.iter().map(line).collect()
}

/// Width on a terminal: Chinese, Japanese and Korean characters take two cells (Unicode UAX 11, wide ranges).
fn cells(text: &str) -> usize {
    let wide = |c: char| {
        matches!(u32::from(c),
            0x1100..=0x115F | 0x2E80..=0xA4CF | 0xAC00..=0xD7A3 | 0xF900..=0xFAFF | 0xFE30..=0xFE6F
            | 0xFF00..=0xFF60 | 0xFFE0..=0xFFE6 | 0x20000..=0x3FFFD)
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// `text` in at most `chars_max` characters and on one line; a longer one ends in `…`, except an id, which is cut anywhere.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    let one_line = |c: char| if breaks_line(c) { ' ' } else { c };
    if text.chars().count() <= chars_max {
        return text.chars().map(one_line).collect();
    }
    let is_id = text.bytes().all(|b| b.is_ascii_hexdigit());
    let kept = if is_id { chars_max } else { chars_max - 1 };
    let mut short: String = text.chars().take(kept).map(one_line).collect();
    if !is_id {
        short.push('…');
    }
    short
}

/// A span of time in at most six characters: `41ms`, `1.84s`, `4m03s`, `2h04m`, `12d5h`.
pub(super) fn span(time: Duration) -> String {
    let (ms, s) = (time.as_millis(), time.as_secs());
    match s {
        0 => format!("{ms}ms"),
        1..10 => format!("{s}.{:02}s", ms % 1000 / 10),
        10..60 => format!("{s}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A variant's name as records and files spell it.
pub(super) fn word(variant: &impl serde::Serialize) -> String {
    serde_json::to_value(variant).ok().as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Prints JSON for programs, in which nothing that a guest, a sender or a cloud wrote moves a terminal.
pub(super) fn print_json(value: &impl serde::Serialize, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    // Line ends are the printer's own: JSON has none in a text.
    serde_json::to_string_pretty(value)?.lines().try_for_each(|line| writeln!(out, "{}", json_line(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_digits_that_matter() {
        let table = [
            (0, "0ms"),
            (999, "999ms"),
            (1849, "1.84s"),
            (59_999, "59.9s"),
            (60_000, "1m00s"),
            (3_599_999, "59m59s"),
            (7_440_000, "2h04m"),
            (86_400_000, "1d0h"),
        ];
        for (ms, expected) in table {
            assert_eq!(span(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_empty_ones_vanish() {
        let rows = [["a", "", "1"], ["bcd", "", "234"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows, [Align::Left, Align::Left, Align::Right]), ["a      1", "bcd  234"]);
        let wide = [["快照", "├┤"], ["a", "b"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&wide, [Align::Left, Align::Right]), ["快照  ├┤", "a      b"]);
    }

    #[test]
    fn a_cut_text_says_so_and_stays_on_its_line() {
        assert_eq!(cut("two\nlines", 20), "two lines");
        assert_eq!(cut("Snapshot failed", 9), "Snapshot…");
        assert_eq!(cut("3f9a01c2b4de8a77", 12), "3f9a01c2b4de");
    }
}

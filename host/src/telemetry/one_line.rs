//! Where log lines go out: each record is one line, of bounded length, whatever a guest, a sender or a cloud has written into it. The
//! formatter hands over a record in one piece; colours of its own it writes as `ESC [ digits m`, and it escapes every other ESC.
//! Leaves what characters belong on a line to `opsward_core::line`. Tested below, and on whole hosts in `tests/tests/it/hostile_text.rs`.

use opsward_core::line::{breaks_line, json_line};
use serde_json::Value;
use std::borrow::Cow;
use std::io::{self, Write};

/// Longest record, in bytes: journald takes lines of 48 KiB whole, and nobody reads more.
const RECORD_BYTES_MAX: usize = 32 * 1024;
/// Characters that a text of a longer record is cut to.
const TEXT_CHARS_MAX: usize = 2000;

/// How records are formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON object each.
    Json,
    /// For people, perhaps with colours.
    Text,
}

/// Writes records to `out`, one a line.
pub(super) struct OneLine<W> {
    pub(super) form: Form,
    pub(super) out: W,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let line = match self.form {
            Form::Json => of_json(text),
            Form::Text => Cow::Owned(of_text(text)),
        };
        // In one call: other threads write as well.
        self.out.write_all(format!("{line}\n").as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn of_json(record: &str) -> Cow<'_, str> {
    if record.len() <= RECORD_BYTES_MAX {
        return json_line(record);
    }
    let Ok(mut value) = serde_json::from_str(record) else {
        return Cow::Owned(of_text(record));
    };
    cut_texts(&mut value);
    Cow::Owned(json_line(&value.to_string()).into_owned())
}

/// The formatter nests no deeper than its spans, of which there are none.
fn cut_texts(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Object(members) => members.values_mut().for_each(cut_texts),
        Value::Array(items) => items.iter_mut().for_each(cut_texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn of_text(record: &str) -> String {
    let cut = record.floor_char_boundary(RECORD_BYTES_MAX);
    let (mut line, mut rest) = (String::with_capacity(cut + 16), &record[..cut]);
    while let Some(c) = rest.chars().next() {
        let colour = colour_at(rest);
        line.push_str(&rest[..colour]);
        rest = &rest[colour..];
        if colour == 0 {
            if breaks_line(c) {
                line.extend(c.escape_unicode())
            } else {
                line.push(c)
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    if cut < record.len() {
        line.push('…');
    }
    line
}

/// Bytes of the colour that `text` begins with: 0 where there is none.
fn colour_at(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("\u{1b}[") else { return 0 };
    let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
    if rest[digits..].starts_with('m') { 2 + digits + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    /// What nobody should be able to write into a log.
    const HOSTILE: &str =
        "a\r\n{\"level\":\"ERROR\"}\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{2028}\u{2029}\u{202e}\u{7f}\u{0}z";

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("unpoisoned").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Made(Form, Kept);

    impl<'a> MakeWriter<'a> for Made {
        type Writer = OneLine<Kept>;
        fn make_writer(&'a self) -> Self::Writer {
            OneLine { form: self.0, out: self.1.clone() }
        }
    }

    fn logged(form: Form, text: &str) -> String {
        let kept = Kept::default();
        let lines = tracing_subscriber::fmt().with_writer(Made(form, kept.clone()));
        let log = || tracing::warn!(text, shown = %text, debugged = ?text, error = %io::Error::other(text), "said {text}");
        match form {
            Form::Json => tracing::subscriber::with_default(lines.json().flatten_event(true).finish(), log),
            Form::Text => tracing::subscriber::with_default(lines.with_ansi(true).finish(), log),
        }
        let bytes = kept.0.lock().expect("unpoisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_record_is_one_line_in_both_forms_whatever_is_in_it() {
        for form in [Form::Json, Form::Text] {
            let line = logged(form, HOSTILE);
            let line = line.strip_suffix('\n').expect("it ends");
            let mut rest = line;
            let mut colours = 0;
            while let Some(at) = rest.find(breaks_line) {
                let colour = colour_at(&rest[at..]);
                assert!(form == Form::Text && colour > 0, "{form:?}: {line:?}");
                (rest, colours) = (&rest[at + colour..], colours + 1);
            }
            assert_eq!(colours > 0, form == Form::Text, "the formatter's own");
        }
    }

    #[test]
    fn json_says_the_same_and_a_long_text_is_cut() {
        let said: Value = serde_json::from_str(&logged(Form::Json, HOSTILE)).expect("JSON");
        assert_eq!((&said["text"], &said["shown"]), (&HOSTILE.into(), &HOSTILE.into()));
        let long = "é\u{202e}\n".repeat(1 << 18);
        for form in [Form::Json, Form::Text] {
            let line = logged(form, &long);
            assert!(
                line.len() < 4 * RECORD_BYTES_MAX && line.lines().count() == 1,
                "{form:?}: {}",
                line.len()
            );
            assert!(line.contains('…'));
        }
        let said: Value = serde_json::from_str(&logged(Form::Json, &long)).expect("still JSON");
        assert_eq!(said["level"], "WARN");
    }
}

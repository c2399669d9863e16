//! A file's text, and where in it each key and value stands, so that what is typed need not carry places. Leaves judging
//! to the callers; keeps literal secrets out of everything shown. Tested in `super::tests`.

use super::FILE_BYTES_MAX;
use super::finding::ConfigError;
use crate::suggest::nearest;
use serde::de::DeserializeOwned;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most unknown keys named at once; a file with more is of another kind altogether.
const UNKNOWN_KEYS_MAX: usize = 20;

/// One step from the file's root to a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    Key(&'a str),
    At(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl<'a> From<&'a String> for Step<'a> {
    fn from(key: &'a String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(at: usize) -> Self {
        Self::At(at)
    }
}

/// `place!["accounts", name, "region"]`
macro_rules! place {
    ($($step:expr),* $(,)?) => { &[$($crate::config::source::Step::from($step)),*][..] };
}
pub(super) use place;

/// A file that is well-formed TOML.
#[derive(Debug)]
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    /// The text with literal secrets blanked, byte for byte: what may be shown.
    shown: String,
    tree: Spanned<DeTable<'a>>,
}

impl<'a> Source<'a> {
    pub(super) fn parse(file: &'a str, text: &'a str) -> Result<Self, Vec<ConfigError>> {
        if text.len() > FILE_BYTES_MAX {
            let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len());
            return Err(vec![ConfigError::about_file(file, message, "")]);
        }
        let mut shown = text.to_owned();
        blank_secret_texts(&mut shown);
        match DeTable::parse(text) {
            Ok(tree) => Ok(Self { file, text, shown, tree }),
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let message = format!("not well-formed TOML: {}", error.message());
                Err(vec![ConfigError::at(file, &shown, span, message, String::new())])
            }
        }
    }

    /// Decodes the whole file, naming every unknown key, or the first other fault.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T, Vec<ConfigError>> {
        let mut tree = self.tree.clone();
        let mut unknown = Vec::new();
        loop {
            let error = match T::deserialize(toml::de::Deserializer::from(tree.clone())) {
                Ok(typed) if unknown.is_empty() => return Ok(typed),
                Ok(_) => return Err(unknown),
                Err(error) => error,
            };
            let span = error.span();
            let unknown_key = span.as_ref().filter(|_| error.message().starts_with("unknown field"));
            match unknown_key {
                Some(span)
                    if unknown.len() < UNKNOWN_KEYS_MAX
                        && set_key_right(tree.get_mut(), span, error.message()) =>
                {
                    unknown.push(self.explain(&error));
                }
                // What else is wrong may follow from the key that was taken out.
                _ if unknown.is_empty() => return Err(vec![self.explain(&error)]),
                _ => return Err(unknown),
            }
        }
    }

    /// A finding about the file as a whole.
    pub(super) fn about_file(&self, message: impl Into<String>, fix: impl Into<String>) -> ConfigError {
        ConfigError::about_file(self.file, message, fix)
    }

    /// A finding about the value at `place`, or the nearest thing above it that exists.
    pub(super) fn error(
        &self,
        place: &[Step<'_>],
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> ConfigError {
        let (_, value) = self.spans(place);
        ConfigError::at(self.file, &self.shown, value, message.into(), fix.into())
    }

    /// A finding about the key at `place`.
    pub(super) fn key_error(
        &self,
        place: &[Step<'_>],
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> ConfigError {
        let (key, _) = self.spans(place);
        ConfigError::at(self.file, &self.shown, key, message.into(), fix.into())
    }

    /// The key `key` is missing in the table at `place`.
    pub(super) fn missing(&self, place: &[Step<'_>], key: &str, fix: impl Into<String>) -> ConfigError {
        let message = format!("missing key `{key}`");
        match place {
            [] => ConfigError::about_file(self.file, message, fix),
            _ => self.key_error(place, message, fix),
        }
    }

    /// The value at `place`.
    pub(super) fn value(&self, place: &[Step<'_>]) -> Option<&DeValue<'a>> {
        let (first, rest) = place.split_first()?;
        let Step::Key(key) = first else { return None };
        let mut value = self.tree.get_ref().get(*key)?.get_ref();
        for step in rest {
            value = match step {
                Step::Key(key) => value.as_table()?.get(*key)?.get_ref(),
                Step::At(at) => value.as_array()?.get(*at)?.get_ref(),
            };
        }
        Some(value)
    }

    /// Key names of the table at `place`, in no particular order.
    pub(super) fn keys(&self, place: &[Step<'_>]) -> Vec<&str> {
        let table = self.value(place).and_then(DeValue::as_table);
        table.into_iter().flat_map(|table| table.keys().map(|key| key.get_ref().as_ref())).collect()
    }

    /// Blanks the value at `place` in everything shown.
    pub(super) fn hide(&mut self, place: &[Step<'_>]) {
        let (_, value) = self.spans(place);
        blank(&mut self.shown, value);
    }

    /// Where key and value at `place` stand, as far down as they exist. A value in a list has no key: it stands in for it.
    fn spans(&self, place: &[Step<'_>]) -> (Range<usize>, Range<usize>) {
        let mut spans = (0..0, 0..0);
        let mut table = Some(self.tree.get_ref());
        let mut list = None;
        for step in place {
            let (key, value) = match step {
                Step::Key(name) => match table.and_then(|table| table.get_key_value(*name)) {
                    Some((key, value)) => (key.span(), value),
                    None => break,
                },
                Step::At(at) => match list.and_then(|list: &toml::de::DeArray<'_>| list.get(*at)) {
                    Some(value) => (value.span(), value),
                    None => break,
                },
            };
            spans = (key, value.span());
            table = value.get_ref().as_table();
            list = value.get_ref().as_array();
        }
        spans
    }

    /// A decoding error in the operator's words.
    fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let said = error.message();
        let quoted: Vec<&str> = said.split('`').skip(1).step_by(2).collect();
        let (message, fix) = match quoted.as_slice() {
            [key, known @ ..] if said.starts_with("unknown field") => {
                (format!("unknown key `{key}`"), did_you_mean(key, known, "known keys"))
            }
            [value, known @ ..] if said.starts_with("unknown variant") => {
                // `{ env = "X" }` is decoded as a variant, but what was mistyped is a key.
                let quoted = error.span().is_some_and(|span| self.text[span].starts_with(['"', '\'']));
                let (what, list) = if quoted { ("value", "known values") } else { ("key", "known keys") };
                (format!("unknown {what} `{value}`"), did_you_mean(value, known, list))
            }
            [key] if said.starts_with("missing field") => {
                let whole_file =
                    error.span().is_none_or(|span| span == (0..self.text.len()) || span.is_empty());
                let message = format!("missing key `{key}`");
                if whole_file {
                    return ConfigError::about_file(self.file, message, example_of(key));
                }
                (message, example_of(key))
            }
            _ => match said.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected ")) {
                Some((found, expected)) => wrong_type(found, expected),
                None => (said.to_owned(), String::new()),
            },
        };
        ConfigError::at(self.file, &self.shown, error.span().unwrap_or(0..0), message, fix)
    }
}

/// The fix for a name that is not among `known`.
pub(super) fn did_you_mean(word: &str, known: &[&str], what: &str) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => String::new(),
        None => format!("{what}: {}", known.join(", ")),
    }
}

fn wrong_type(found: &str, expected: &str) -> (String, String) {
    let expected = match expected {
        "a sequence" => "a list",
        "a map" => "a table",
        "f64" => "a number",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    let fix = match (expected, found.strip_prefix("string ")) {
        ("a list", Some(text)) => format!("write `[{text}]`"),
        _ => String::new(),
    };
    (format!("expected {expected}, found {found}"), fix)
}

/// How a key that must be there is written.
fn example_of(key: &str) -> String {
    let example = match key {
        "plugin" => "plugin = \"my-policy.wasm\"",
        "action" => "action = \"ecs:CreateSnapshot\"",
        "provider" => "provider = \"alibaba\"",
        "kind" => "kind = \"alibaba-cloudmonitor\"",
        "token" => "token = { env = \"CLOUDMONITOR_TOKEN\" }",
        "from" => "from = { instance-role = \"...\" }",
        "arn" => "arn = \"acs:ram::<account>:role/<name>\"",
        "credentials" => {
            "credentials = { access-key-id = { env = \"...\" }, access-key-secret = { env = \"...\" } }"
        }
        _ => return String::new(),
    };
    format!("add `{example}`")
}

/// Gives the unknown key that stands at `span` the name it was likely meant to have, or takes it out, so that decoding
/// goes on to the next fault; false where no key stands there.
fn set_key_right(table: &mut DeTable<'_>, span: &Range<usize>, said: &str) -> bool {
    let found = table.keys().find(|key| key.span() == *span).map(|key| key.get_ref().clone().into_owned());
    let Some(key) = found else {
        return table.iter_mut().any(|(_, value)| set_key_right_below(value.get_mut(), span, said));
    };
    let Some(value) = table.remove(key.as_str()) else { return false };
    let known = said.split('`').skip(3).step_by(2);
    if let Some(near) = nearest(&key, known).filter(|near| !table.contains_key(*near)) {
        table.insert(Spanned::new(span.clone(), near.to_owned().into()), value);
    }
    true
}

fn set_key_right_below(value: &mut DeValue<'_>, span: &Range<usize>, said: &str) -> bool {
    match value {
        DeValue::Table(table) => set_key_right(table, span, said),
        DeValue::Array(items) => items.iter_mut().any(|item| set_key_right_below(item.get_mut(), span, said)),
        _ => false,
    }
}

/// Blanks quoted texts that are assigned to keys named like secrets: also where the file is not well-formed.
fn blank_secret_texts(text: &mut String) {
    const SECRET_WORDS: [&str; 5] = ["secret", "token", "password", "access-key", "credential"];
    let mut spans = Vec::new();
    for (equals, _) in text.match_indices('=') {
        let line_start = text[..equals].rfind('\n').map_or(0, |newline| newline + 1);
        let before = text[line_start..equals].trim_end().trim_end_matches(['"', '\'']);
        let key =
            before.rsplit(['{', ',', ' ', '\t', '.', '"', '\'']).next().unwrap_or(before).to_lowercase();
        let value = text[equals + 1..].trim_start_matches([' ', '\t']);
        // Under `[secrets]` keys have any name; `env` and `file` name places.
        let header = text[..line_start].rsplit("\n[").next().unwrap_or_default().trim_start_matches('[');
        let among_secrets = header.starts_with("secrets]") || before.trim_start().starts_with("secrets");
        let is_secret = SECRET_WORDS.iter().any(|word| key.contains(word))
            || among_secrets && !matches!(key.as_str(), "env" | "file" | "systemd");
        if is_secret && key != "token-file" && value.starts_with(['"', '\'']) {
            let start = text.len() - value.len();
            spans.push(start..start + quoted_len(value));
        }
    }
    spans.into_iter().for_each(|span| blank(text, span));
}

/// Length of the quoted text that `value` begins with, to the end of the line or file where it is not closed.
fn quoted_len(value: &str) -> usize {
    let quote = &value[..1];
    let triple = quote.repeat(3);
    let (delimiter, limit) = match value.starts_with(&triple) {
        true => (triple.as_str(), value.len()),
        false => (quote, value.find('\n').unwrap_or(value.len())),
    };
    let mut at = delimiter.len();
    while at < limit {
        let rest = &value[at..limit];
        if rest.starts_with(delimiter) {
            return at + delimiter.len();
        }
        let escapes = quote == "\"" && rest.starts_with('\\');
        at += rest.chars().take(if escapes { 2 } else { 1 }).map(char::len_utf8).sum::<usize>();
    }
    limit
}

fn blank(text: &mut String, span: Range<usize>) {
    let blanked: String = text[span.clone()]
        .chars()
        .flat_map(|c| {
            let filler = if matches!(c, '"' | '\'' | '\n' | '\r') { c } else { '*' };
            std::iter::repeat_n(filler, c.len_utf8())
        })
        .collect();
    text.replace_range(span, &blanked);
}

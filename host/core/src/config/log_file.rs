//! `file = { ... }` of a source of kind `logfile`, resolved: which file, what makes an event of a line, and how fast. Leaves reading
//! to the host. Tested below by the text an operator sees.

use super::finding::ConfigError;
use super::source::{Source, place};
use super::typed::{EventSource, LogFile};
use crate::event::{LinePattern, LinePatternError};
use serde::Deserialize;
use std::path::PathBuf;

/// Events a second where the operator names no number: more than anybody writes policies for, and a log gone wild does not keep
/// the disk busy.
const EVENTS_A_SECOND: u32 = 100;
/// Most of them: what one commit takes.
const EVENTS_A_SECOND_MAX: u32 = 1000;

/// A log that is followed.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// The log; its rotated files are beside it.
    pub path: PathBuf,
    /// What makes an event of a line.
    pub pattern: LinePattern,
    /// Where reading begins when the host first sees the file.
    pub from: StartAt,
    /// Most events a second; beyond it reading slows.
    pub events_a_second: u32,
}

/// Where reading of a log begins that was never read before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartAt {
    /// With its first line.
    Start,
    /// With the line that is being written.
    #[default]
    End,
}

pub(super) fn resolve(
    source: &Source<'_>,
    name: &str,
    typed: EventSource,
    errors: &mut Vec<ConfigError>,
) -> Option<FileSettings> {
    let before = errors.len();
    let Some(file) = typed.file else {
        let fix = "add `file = { path = \"/var/log/app.log\", pattern = 'ERROR', type = \"app:error\" }`";
        errors.push(source.missing(place!["sources", name], "file", fix));
        return None;
    };
    let LogFile { path, pattern, kind, zone, from, events_per_second } = file;
    let at = |key: &'static str| place!["sources", name, "file", key].to_vec();
    if path.file_name().is_none() {
        errors.push(source.error(&at("path"), "`path` names no file", "write `\"/var/log/app.log\"`"));
    } else if path.to_str().is_some_and(|path| path.contains('*')) {
        let fix = "name one file, and write a source for each";
        errors.push(source.error(&at("path"), "`path` is one file, not a pattern", fix));
    }
    if kind.is_empty() || kind.len() > KIND_BYTES_MAX || kind.chars().any(char::is_control) {
        let message = "`type` is the type of an event";
        errors.push(source.error(&at("type"), message, "write `\"app:error\"`"));
    }
    let events_a_second = events_per_second.unwrap_or(EVENTS_A_SECOND);
    if !(1..=EVENTS_A_SECOND_MAX).contains(&events_a_second) {
        let message = format!("`{events_a_second}` is no rate");
        let fix = format!("write a number from 1 to {EVENTS_A_SECOND_MAX}");
        errors.push(source.error(&at("events-per-second"), message, fix));
    }
    let pattern = LinePattern::new(&pattern, &kind, zone.as_deref()).map_err(|error| {
        let (key, fix) = match &error {
            LinePatternError::Zone { .. } => ("zone", ""),
            LinePatternError::Captures(_) => ("pattern", "name only those that a policy reads"),
            LinePatternError::Pattern(_) => ("pattern", "see docs/sources.md, `logfile`"),
        };
        errors.push(source.error(&at(key), error.to_string(), fix));
    });
    let settings = FileSettings { path, pattern: pattern.ok()?, from, events_a_second };
    (errors.len() == before).then_some(settings)
}

/// Longest type, in bytes: real ones have 60.
const KIND_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use crate::config::{Comes, StartAt, load_host};

    fn load(source: &str) -> Result<Comes, String> {
        let text = format!("[sources.app]\nkind = \"logfile\"\n{source}\n");
        match load_host("opsward.toml", &text) {
            Ok(host) => Ok(host.sources.into_values().next().expect("one source").comes),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    #[test]
    fn a_log_is_followed_from_its_end_at_a_hundred_events_a_second_unless_it_says_otherwise() {
        let least = "file = { path = \"app.log\", pattern = 'ERROR (?<code>\\d+)', type = \"app:error\" }";
        let Ok(Comes::File(file)) = load(least) else { panic!("{:?}", load(least)) };
        assert_eq!((file.path.to_str(), file.from), (Some("app.log"), StartAt::End));
        assert_eq!(file.events_a_second, 100);
        let most = "file = { path = \"/a/b\", pattern = '''x'y''', type = \"t\", from = \"start\", zone = \"Asia/Shanghai\", events-per-second = 7 }";
        let Ok(Comes::File(file)) = load(most) else { panic!("{:?}", load(most)) };
        assert_eq!((file.from, file.events_a_second), (StartAt::Start, 7));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key_and_the_fix() {
        let table = [
            ("", "missing key `file`"),
            (
                "file = { path = \"a\", pattern = '(', type = \"t\" }",
                "`pattern` cannot be used: unclosed group",
            ),
            ("file = { path = \"/var/log/*.log\", pattern = '', type = \"t\" }", "name one file"),
            ("file = { path = \"/\", pattern = '', type = \"t\" }", "`path` names no file"),
            ("file = { path = \"a\", pattern = '', type = \"\" }", "`type` is the type of an event"),
            ("file = { path = \"a\", pattern = '', type = \"t\", zone = \"Beijing\" }", "`Asia/Shanghai`"),
            ("file = { path = \"a\", pattern = '', type = \"t\", events-per-second = 0 }", "from 1 to 1000"),
            (
                "file = { path = \"a\", pattern = '', type = \"t\", from = \"middle\" }",
                "unknown value `middle`",
            ),
            ("file = { path = \"a\", patern = '', type = \"t\" }", "did you mean `pattern`?"),
            (
                "token = { env = \"T\" }\nfile = { path = \"a\", pattern = '', type = \"t\" }",
                "`token` is for another kind of source than `logfile`",
            ),
        ];
        for (text, expected) in table {
            let error = load(text).expect_err(text);
            assert!(error.contains(expected), "{text}\n{error}");
        }
        let posted = "[sources.web]\nkind = \"cloudevents\"\ntoken = { env = \"T\" }\nfile = { path = \"a\", pattern = '', type = \"t\" }\n";
        let error = load_host("opsward.toml", posted).expect_err("refused")[0].to_string();
        assert!(error.contains("`file` is for another kind of source than `cloudevents`"), "{error}");
    }
}

//! Kind `logfile`: a line of a log in which the operator's pattern finds something is an event. What the pattern's named captures
//! find is in the event's data, and under some names in its attributes too: `time`, `subject`, `level`, `incident` and `transition`.
//! A line is never refused: what cannot be taken as it is, is replaced, and flagged.
//!
//! The data: `{"line", "captures": {...}, "file", "offset", "flags": [...]}`; the flags are `cut`, `not-utf-8`, `control` (characters
//! that no attribute may have) and `time` (there, and not understood).

use super::{ATTRIBUTE_BYTES_MAX, Event, Transition, parse_vendor_time};
use crate::id::{Digest, SourceName};
use crate::schedule::zone;
use crate::tail::Line;
use crate::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use regex::{Captures, Regex, RegexBuilder};
use serde_json::{Map, Value, json};

/// Largest compiled pattern, in bytes: a hundred times what a line of a log needs, and little beside a host.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// Most named captures of a pattern, and the longest text that the data repeats of one, in bytes. With a whole line, all of it
/// escaped, they stay below `BODY_BYTES_MAX`.
const CAPTURES_MAX: usize = 16;
const CAPTURE_BYTES_MAX: usize = 1024;

/// What makes an event of a line.
#[derive(Debug, Clone)]
pub struct LinePattern {
    pattern: Regex,
    kind: String,
    /// Of times that name none.
    zone: Option<TimeZone>,
}

/// Where a line was read.
#[derive(Debug, Clone, Copy)]
pub struct ReadFrom<'a> {
    /// The source that the file belongs to.
    pub source: &'a SourceName,
    /// The file, as the operator wrote it.
    pub path: &'a str,
    /// How many files there were under that path, this one included.
    pub files: u64,
    /// When.
    pub received: Timestamp,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinePatternError {
    /// It is no regular expression, or a huge one.
    #[error("`pattern` cannot be used: {0}")]
    Pattern(String),
    /// More captures than an event can carry.
    #[error("`pattern` has {0} named captures; at most {CAPTURES_MAX} fit into an event")]
    Captures(usize),
    /// No zone.
    #[error("unknown zone `{name}`: {hint}")]
    Zone {
        /// As it was written.
        name: String,
        /// What to write.
        hint: String,
    },
}

impl LinePattern {
    /// Events of type `kind` from lines that `pattern` matches; `zone` is that of times which name none.
    pub fn new(pattern: &str, kind: &str, zone: Option<&str>) -> Result<Self, LinePatternError> {
        let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
        let pattern = built.map_err(|error| LinePatternError::Pattern(shortly(&error)))?;
        let named = pattern.capture_names().flatten().count();
        if named > CAPTURES_MAX {
            return Err(LinePatternError::Captures(named));
        }
        let find = |name: &str| {
            zone::find(name).map_err(|hint| LinePatternError::Zone { name: name.to_owned(), hint })
        };
        Ok(Self { pattern, kind: kind.to_owned(), zone: zone.map(find).transpose()? })
    }

    /// The event that the line is, if it is one.
    pub fn event(&self, line: &Line, from: ReadFrom<'_>) -> Option<Event> {
        let text = String::from_utf8_lossy(&line.bytes);
        let found = self.pattern.captures(&text)?;
        let mut flags = Vec::new();
        if line.is_cut {
            flags.push("cut");
        }
        if matches!(text, std::borrow::Cow::Owned(_)) {
            flags.push("not-utf-8");
        }
        let captures = self.pattern.capture_names().flatten();
        let captures: Map<String, Value> = captures
            .filter_map(|name| {
                Some((name.to_owned(), json!(beginning(found.name(name)?.as_str(), CAPTURE_BYTES_MAX))))
            })
            .collect();
        let [subject, level, incident] =
            ["subject", "level", "incident"].map(|name| attribute(&found, name, &mut flags));
        let time = found.name("time").map(|time| self.time(time.as_str().trim()));
        if time == Some(None) {
            flags.push("time");
        }
        let transition = found.name("transition").and_then(|word| Transition::of_status(word.as_str()));
        let mut data =
            json!({ "line": text, "captures": captures, "file": from.path, "offset": line.offset });
        if !flags.is_empty() {
            flags.dedup();
            data["flags"] = json!(flags);
        }
        Some(Event {
            source: from.source.clone(),
            id: id(line, from.files),
            kind: self.kind.clone(),
            subject,
            time: time.flatten().unwrap_or(from.received),
            data: data.to_string(),
            incident: incident.map(|incident| format!("{}:{incident}", from.source)),
            account: None,
            region: None,
            level,
            transition,
        })
    }

    /// A time as logs write it.
    fn time(&self, text: &str) -> Option<Timestamp> {
        let full = FULL_TIMES.iter().find_map(|form| jiff::Timestamp::strptime(form, text).ok());
        let full = full.map(Timestamp::from);
        full.or_else(|| parse_vendor_time(text)).or_else(|| {
            let zone = self.zone.as_ref()?;
            let local: Option<DateTime> = text.parse().ok();
            let local =
                local.or_else(|| LOCAL_TIMES.iter().find_map(|form| DateTime::strptime(form, text).ok()));
            Some(zone.to_ambiguous_timestamp(local?).compatible().ok()?.into())
        })
    }
}

/// Forms of times with an offset, beside those that vendors use: `27/Nov/2026:10:00:00 +0800`, as web servers write it.
const FULL_TIMES: [&str; 1] = ["%d/%b/%Y:%H:%M:%S %z"];
/// Forms of local times, beside ISO 8601.
const LOCAL_TIMES: [&str; 3] = ["%Y/%m/%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S,%f", "%d/%b/%Y:%H:%M:%S"];

/// Tells the line from all others of the source. Which file and where tells it already; a digest of what it says keeps lines apart
/// whose files were counted anew, after a store was lost.
fn id(line: &Line, files: u64) -> String {
    format!("{files}-{}-{}", line.offset, Digest::of(&line.bytes).short())
}

/// A capture as an attribute, which has no control characters.
fn attribute(found: &Captures<'_>, name: &str, flags: &mut Vec<&'static str>) -> Option<String> {
    let text = beginning(found.name(name)?.as_str().trim(), ATTRIBUTE_BYTES_MAX / 2);
    if text.chars().any(char::is_control) {
        flags.push("control");
    }
    let text: String =
        text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    (!text.is_empty()).then_some(text)
}

/// As much of `text` as `bytes_max` hold.
fn beginning(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// What is wrong, without the drawing that `regex` makes of it.
fn shortly(error: &regex::Error) -> String {
    let text = error.to_string();
    text.rsplit("error: ").next().unwrap_or(&text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BODY_BYTES_MAX;
    use crate::tail::LINE_BYTES_MAX;

    const PATTERN: &str =
        r"^(?<time>\S+ \S+) (?<level>[A-Z]+) (?<subject>i-\w+) \[(?<incident>[^\]]*)\] (?<code>\d+)";

    fn line(bytes: &[u8]) -> Line {
        Line { offset: 42, bytes: bytes.to_vec(), is_cut: false }
    }

    fn event(pattern: &LinePattern, line: &Line) -> Option<Event> {
        let source = "app".parse().expect("a name");
        let received = Timestamp::from_seconds(1_800_000_000);
        pattern.event(line, ReadFrom { source: &source, path: "app.log", files: 3, received })
    }

    fn data(event: &Event) -> Value {
        serde_json::from_str(&event.data).expect("JSON")
    }

    #[test]
    fn captures_become_attributes_and_all_are_in_the_data() {
        let pattern = LinePattern::new(PATTERN, "app:error", Some("Asia/Shanghai")).expect("a pattern");
        let text = "2026-11-27 10:00:00.250 ERROR i-abc [case-7] 503 不可用";
        let found = event(&pattern, &line(text.as_bytes())).expect("it matches");
        assert_eq!((found.kind.as_str(), found.subject.as_deref()), ("app:error", Some("i-abc")));
        assert_eq!((found.level.as_deref(), found.incident.as_deref()), (Some("ERROR"), Some("app:case-7")));
        assert_eq!(found.time.to_string(), "2026-11-27T02:00:00.250Z");
        assert!(found.id.starts_with("3-42-"), "{}", found.id);
        let captures = json!({ "time": "2026-11-27 10:00:00.250", "level": "ERROR", "subject": "i-abc",
            "incident": "case-7", "code": "503" });
        let expected = json!({ "line": text, "captures": captures, "file": "app.log", "offset": 42 });
        assert_eq!(data(&found), expected);
        assert_eq!(event(&pattern, &line(b"all is well")), None);
    }

    #[test]
    fn a_line_has_the_same_id_whenever_it_is_read_and_another_has_another() {
        let pattern = LinePattern::new("", "x", None).expect("a pattern");
        let id = |line: &Line| event(&pattern, line).expect("it matches").id;
        assert_eq!(id(&line(b"one")), id(&line(b"one")));
        assert_ne!(id(&line(b"one")), id(&line(b"two")));
        assert_ne!(id(&line(b"one")), id(&Line { offset: 43, ..line(b"one") }));
    }

    #[test]
    fn times_are_read_as_logs_write_them() {
        let zoned = LinePattern::new("(?<time>.*)", "x", Some("Asia/Shanghai")).expect("a pattern");
        let none = LinePattern::new("(?<time>.*)", "x", None).expect("a pattern");
        let table = [
            ("2026-11-27T02:00:00Z", true),
            ("2026-11-27 10:00:00+08:00", true),
            ("27/Nov/2026:10:00:00 +0800", true),
            ("1795744800", true),
            ("1795744800000", true),
            ("2026-11-27 10:00:00", false),
            ("2026-11-27T10:00:00", false),
            ("2026-11-27 10:00:00,000", false),
            ("2026/11/27 10:00:00", false),
            ("27/Nov/2026:10:00:00", false),
        ];
        for (text, says_its_zone) in table {
            let with = event(&zoned, &line(text.as_bytes())).expect("it matches");
            assert_eq!(with.time, Timestamp::from_seconds(1_795_744_800), "{text}");
            let without = event(&none, &line(text.as_bytes())).expect("it matches");
            assert_eq!(
                data(&without)["flags"] == json!(["time"]),
                !says_its_zone,
                "{text}: no zone is assumed"
            );
        }
        let bad = event(&zoned, &line(b"Nov 27 10:00:00")).expect("it matches");
        assert_eq!((bad.time.seconds(), &data(&bad)["flags"]), (1_800_000_000, &json!(["time"])));
    }

    #[test]
    fn what_cannot_be_taken_is_replaced_and_flagged() {
        let pattern = LinePattern::new(r"(?-u:\w+)=(?<subject>.*)", "x", None).expect("a pattern");
        let bad = event(&pattern, &line(b"a=\xff\xfe\x00b\x1b[31m")).expect("it matches");
        assert_eq!(bad.subject.as_deref(), Some("\u{fffd}\u{fffd}\u{fffd}b\u{fffd}[31m"));
        assert_eq!(data(&bad)["flags"], json!(["not-utf-8", "control"]));
        let cut = Line { is_cut: true, ..line(b"a= ") };
        let cut = event(&pattern, &cut).expect("it matches");
        assert_eq!((cut.subject.as_deref(), &data(&cut)["flags"]), (None, &json!(["cut"])));
    }

    #[test]
    fn the_largest_event_fits() {
        let all = (0..CAPTURES_MAX).fold("(?s:.*)".to_owned(), |inner, n| format!("(?<c{n}>{inner})"));
        let pattern = LinePattern::new(&all, "x", None).expect("a pattern");
        let worst = event(&pattern, &line(&[1; LINE_BYTES_MAX])).expect("it matches");
        assert!(worst.data.len() < BODY_BYTES_MAX, "{}", worst.data.len());
        worst.check().expect("an event as any other");
    }

    #[test]
    fn a_pattern_that_cannot_be_used_says_why() {
        let refused =
            |pattern: &str, zone| LinePattern::new(pattern, "x", zone).expect_err("refused").to_string();
        assert_eq!(refused("(", None), "`pattern` cannot be used: unclosed group");
        assert!(
            refused(r"\w{1000}{1000}", None).contains("size limit"),
            "{}",
            refused(r"\w{1000}{1000}", None)
        );
        let many: String = (0..=CAPTURES_MAX).map(|n| format!("(?<c{n}>x)")).collect();
        assert_eq!(refused(&many, None), "`pattern` has 17 named captures; at most 16 fit into an event");
        assert!(refused("x", Some("Beijing")).contains("Asia/Shanghai"));
    }
}

//! Why an event does not match: for each entry of a policy the first condition that does not hold, with what it wants and what the
//! event has in its place. Leaves printing to the command line. Tested below.

use super::compile::{Entry, Failed, Patterns};
use super::facts::{Attribute, Facts};
use super::wanted::at_path;
use crate::event::{Event, Wants};
use crate::line::one_line;
use serde::Serialize;

/// What one entry says of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All of its conditions hold, and it wants these notices of an incident.
    Matches(Wants),
    /// One does not.
    Misses(Miss),
}

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Miss {
    /// The key of the entry; of `data` with the path: `data.content.level`.
    pub key: String,
    /// What it wants, in words.
    pub wanted: String,
    /// What the event has in its place; none where it has nothing.
    pub found: Option<String>,
}

/// Longest text shown of what an event has, in characters: a line of a terminal.
const FOUND_CHARS_MAX: usize = 120;
/// Values that are named of a list; of more it is said how many.
const VALUES_SHOWN: usize = 6;

/// What each entry of `patterns` says of `event`, in the order of the entries.
pub fn explain(patterns: &Patterns, event: &Event) -> Vec<Verdict> {
    let facts = Facts::of(event);
    let verdict = |entry: &Entry| match entry.failed(&facts) {
        None => Verdict::Matches(entry.wants()),
        Some(failed) => Verdict::Misses(miss(entry, failed, &facts)),
    };
    patterns.entries.iter().map(verdict).collect()
}

fn miss(entry: &Entry, failed: Failed<'_>, facts: &Facts<'_>) -> Miss {
    match failed {
        Failed::Source => Miss {
            key: "source".to_owned(),
            wanted: one_of(entry.sources.iter().map(|name| format!("`{name}`"))),
            found: Some(facts.event.source.to_string()),
        },
        Failed::Attribute(attribute) => {
            let mut wanted = one_of(entry.wanted(attribute).iter().map(|glob| format!("`{}`", glob.typed)));
            if attribute == Attribute::Type && entry.has_plugins_types {
                wanted.push_str(", by the plugin");
            }
            Miss { key: attribute.key().to_owned(), wanted, found: shown_attribute(attribute, facts) }
        }
        Failed::Data(place) => Miss {
            key: format!("data.{}", place.path.join(".")),
            wanted: one_of(place.wanted.iter().map(ToString::to_string)),
            found: facts
                .data()
                .and_then(|data| at_path(data, &place.path))
                .map(|found| cut(&found.to_string())),
        },
    }
}

/// As the event has it, not as it is compared.
fn shown_attribute(attribute: Attribute, facts: &Facts<'_>) -> Option<String> {
    let text = match attribute {
        Attribute::Type => Some(facts.event.kind.as_str()),
        Attribute::Level => facts.event.level.as_deref(),
        other => facts.attribute(other),
    };
    text.map(cut)
}

fn one_of(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    match values.split_at_checked(VALUES_SHOWN) {
        Some((shown, more)) if !more.is_empty() => {
            format!("{} or one of {} more", shown.join(", "), more.len())
        }
        _ => match values.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        },
    }
}

fn cut(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(FOUND_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OnEntry, Patterns};
    use super::*;
    use crate::event::Transition;
    use crate::time::Timestamp;

    fn event() -> Event {
        Event {
            source: "cloudmonitor".parse().expect("a name"),
            id: "1".into(),
            kind: "Instance:SystemFailure.Reboot:Executing".into(),
            subject: None,
            time: Timestamp::default(),
            data: r#"{"content":{"eventType":"SystemFailure.Reboot","n":3,"of":[1,2]}}"#.into(),
            incident: None,
            account: None,
            region: Some("cn-hangzhou".into()),
            level: Some("CRITICAL".into()),
            transition: Some(Transition::Executing),
        }
    }

    fn said(on: &str, triggers: &[&str]) -> Vec<String> {
        #[derive(serde::Deserialize)]
        struct File {
            on: Vec<OnEntry>,
        }
        let typed = toml::from_str::<File>(&format!("on = [{on}]")).expect(on).on;
        let types: Vec<_> = triggers.iter().map(|&kind| vec![kind.to_owned()]).collect();
        let triggers = Patterns::from_types(&types).expect("types");
        let patterns = Patterns::compile(&typed).expect(on).with_default_types(&triggers);
        let say = |verdict| match verdict {
            Verdict::Matches(wants) => format!("{wants:?}"),
            Verdict::Misses(Miss { key, wanted, found }) => {
                format!("{key}: {}, not {wanted}", found.as_deref().unwrap_or("nothing"))
            }
        };
        explain(&patterns, &event()).into_iter().map(say).collect()
    }

    #[test]
    fn each_entry_names_its_first_condition_that_does_not_hold() {
        let table = [
            (r#"{ source = "cloudmonitor" }"#, "Progress"),
            (r#"{ transition = ["executing", "executed"] }"#, "Transition"),
            (r#"{ source = ["bus", "queue"] }"#, "source: cloudmonitor, not `bus` or `queue`"),
            (
                r#"{ type = "Instance:*:Executed", region = "x" }"#,
                "type: Instance:SystemFailure.Reboot:Executing, not `Instance:*:Executed`",
            ),
            (r#"{ subject = "acs:*" }"#, "subject: nothing, not `acs:*`"),
            (r#"{ level = "INFO" }"#, "level: CRITICAL, not `INFO`"),
            (r#"{ transition = "executed" }"#, "transition: executing, not `executed`"),
            (
                r#"{ region = ["a", "b", "c", "d", "e", "f", "g", "h"] }"#,
                "region: cn-hangzhou, not `a`, `b`, `c`, `d`, `e`, `f` or one of 2 more",
            ),
            (
                r#"{ data = { "content.eventType" = ["A", { prefix = "I" }, { prefix = "S", suffix = "p" }] } }"#,
                "data.content.eventType: \"SystemFailure.Reboot\", not \"A\", a text that begins with `I` or a text that begins with `S` and ends in `p`",
            ),
            (
                r#"{ data = { "content.n" = ["3", { min = 90, below = 100.5 }, { above = 4 }, { exists = false }] } }"#,
                "data.content.n: 3, not \"3\", a number from 90 below 100.5, a number above 4 or nothing",
            ),
            (r#"{ data = { "content.m" = { exists = true } } }"#, "data.content.m: nothing, not anything"),
            (r#"{ data = { "content.of" = 1 } }"#, "data.content.of: [1,2], not 1"),
        ];
        for (on, expected) in table {
            assert_eq!(said(on, &[]), [expected], "{on}");
        }
    }

    #[test]
    fn a_condition_that_is_the_plugins_says_so() {
        let on = r#"{ source = "cloudmonitor" }, { type = "x" }"#;
        let of = "type: Instance:SystemFailure.Reboot:Executing, not ";
        assert_eq!(said(on, &["Disk:*"]), [format!("{of}`Disk:*`, by the plugin"), format!("{of}`x`")]);
    }
}

//! What has come from each source since the host began: how much was taken, and why the rest was not. Counted in memory, for the
//! metrics and for `GET /api/v1/sources`. Leaves what is counted to the triggers, and how often the log tells of it to `told`. Tested
//! below.

use super::told::Refusals;
use opsward_core::config::{Comes, HostSettings, SourceSettings};
use opsward_core::event::SourceKind;
use opsward_core::id::SourceName;
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// The sources that the host has, with what came from them. Their names are those of the configuration: whoever may invent names
/// could fill the memory with them.
#[derive(Default)]
pub struct Seen {
    sources: BTreeMap<SourceName, Watched>,
    told: Refusals,
}

struct Watched {
    kind: SourceKind,
    checked: String,
    trust: Trust,
    came: Mutex<Came>,
}

/// What has come from a source since the host began.
#[derive(Default)]
struct Came {
    accepted: u64,
    duplicates: u64,
    refused: BTreeMap<&'static str, u64>,
    last_event_at: Option<Timestamp>,
    last_refused_at: Option<Timestamp>,
    minutes: Minutes,
}

/// A source in a list.
#[derive(Debug, Clone, Serialize)]
pub struct SeenRow {
    /// Its name.
    pub name: SourceName,
    /// What its senders send.
    pub kind: SourceKind,
    /// What is checked of what comes.
    pub checked: String,
    /// How far its events are believed at best.
    pub trust: Trust,
    /// Events that were recorded since the host began.
    pub accepted: u64,
    /// Events that were known already.
    pub duplicates: u64,
    /// Deliveries that were not taken, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// When the last event was recorded, or known already.
    pub last_event_at: Option<Timestamp>,
    /// When the last delivery was not taken.
    pub last_refused_at: Option<Timestamp>,
    /// Events in the minute before.
    pub events_per_minute: u64,
}

impl Seen {
    /// The sources of a configuration.
    pub fn of(settings: &HostSettings) -> Self {
        let sources = settings.sources.values().map(|source| (source.name.clone(), Watched::of(source)));
        Self { sources: sources.collect(), told: Refusals::default() }
    }

    /// Whether the log is to tell of this one, which is refused or makes no sense; of the others `tell` says how many there are.
    pub(super) fn is_first(&self, source: &SourceName, reason: &'static str) -> bool {
        self.told.is_first(source, reason)
    }

    /// Tells the log of them now and then, until `stopping` turns true.
    pub async fn tell(&self, stopping: watch::Receiver<bool>) {
        self.told.run(stopping).await;
    }

    /// Counts one event of `source`, or one delivery that is none. `result` is `accepted`, `duplicate`, or why it is neither.
    pub fn count(&self, source: &SourceName, result: &'static str, now: Timestamp) {
        metrics::counter!("opsward_events_total", "source" => source.as_str().to_owned(), "result" => result)
            .increment(1);
        let Some(watched) = self.sources.get(source) else { return };
        let mut came = watched.came.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            "accepted" => came.accepted += 1,
            "duplicate" => came.duplicates += 1,
            reason => {
                *came.refused.entry(reason).or_default() += 1;
                came.last_refused_at = Some(now);
                return;
            }
        }
        came.last_event_at = Some(now);
        came.minutes.count(now);
    }

    /// All of them, by name.
    pub fn rows(&self, now: Timestamp) -> Vec<SeenRow> {
        let row = |(name, watched): (&SourceName, &Watched)| {
            let Watched { kind, checked, trust, came } = watched;
            let mut came = came.lock().unwrap_or_else(PoisonError::into_inner);
            SeenRow {
                name: name.clone(),
                kind: *kind,
                checked: checked.clone(),
                trust: *trust,
                accepted: came.accepted,
                duplicates: came.duplicates,
                refused: came.refused.clone(),
                last_event_at: came.last_event_at,
                last_refused_at: came.last_refused_at,
                events_per_minute: came.minutes.at(now),
            }
        };
        self.sources.iter().map(row).collect()
    }
}

impl Watched {
    fn of(source: &SourceSettings) -> Self {
        let checked = match &source.comes {
            Comes::Posted(posted) => {
                let addresses = if posted.addresses.is_empty() { "" } else { ", address" };
                format!("{}{addresses}", posted.proof.described())
            }
            Comes::File(_) => "local file".to_owned(),
            Comes::Queue(_) => "queue of the account".to_owned(),
            Comes::LogStore(_) => "log store of the account".to_owned(),
        };
        Self { kind: source.kind, checked, trust: source.trust(), came: Mutex::default() }
    }
}

/// Counts of this minute and of the one before.
#[derive(Debug, Clone, Default)]
struct Minutes {
    minute: i64,
    now: u64,
    before: u64,
}

/// Milliseconds of a minute.
const MINUTE_MS: i64 = 60_000;

impl Minutes {
    fn count(&mut self, now: Timestamp) {
        self.turn(now);
        self.now += 1;
    }

    /// What came in the minute before `now`; of what began earlier, the part that falls into it.
    fn at(&mut self, now: Timestamp) -> u64 {
        self.turn(now);
        let left_ms = MINUTE_MS - now.ms().rem_euclid(MINUTE_MS);
        self.now + self.before * left_ms.unsigned_abs() / MINUTE_MS.unsigned_abs()
    }

    fn turn(&mut self, now: Timestamp) {
        let minute = now.ms().div_euclid(MINUTE_MS);
        if minute != self.minute {
            self.before = if minute == self.minute + 1 { self.now } else { 0 };
            (self.minute, self.now) = (minute, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opsward_core::config::load_host;

    #[test]
    fn what_comes_is_counted_by_source_and_by_what_becomes_of_it() {
        let file = "[sources.a]\nkind = \"cloudevents\"\ntoken = { env = \"T\" }\naddresses = [\"::1\"]\n";
        let seen = Seen::of(&load_host("opsward.toml", file).expect("good"));
        let (a, at) = ("a".parse().expect("a name"), |seconds| Timestamp::from_seconds(seconds));
        for (second, result) in
            [(0, "accepted"), (1, "accepted"), (2, "duplicate"), (3, "malformed"), (4, "rate"), (5, "rate")]
        {
            seen.count(&a, result, at(second));
        }
        seen.count(&"stranger".parse().expect("a name"), "accepted", at(5));
        let shown = serde_json::to_value(seen.rows(at(6))).expect("JSON");
        let wanted = serde_json::json!([{
            "name": "a", "kind": "cloudevents", "checked": "path token, address", "trust": "hint",
            "accepted": 2, "duplicates": 1, "refused": { "malformed": 1, "rate": 2 },
            "last_event_at": 2000, "last_refused_at": 5000, "events_per_minute": 3,
        }]);
        assert_eq!(shown, wanted);
        let per_minute = |second| seen.rows(at(second))[0].events_per_minute;
        assert_eq!([per_minute(59), per_minute(60), per_minute(80), per_minute(180)], [3, 3, 2, 0]);
    }
}

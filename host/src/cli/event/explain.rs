//! `opsward event explain`: for each policy whether an event wakes it, and of what does not match the first condition that fails. The
//! event is one that the store has, or one in a file: as this program prints it, or as a source would be sent it. Plugins are looked
//! at as by `opsward check`, since a policy's types may be its plugin's. Leaves the comparison to `opsward_core::pattern`.

use super::history::{self, History, Notice};
use super::{ShowEventsError, find};
use crate::cli::check::{guests, live_policies};
use crate::cli::runs::Output;
use crate::cli::text::{Align, aligned, print_json};
use crate::cli::{EXIT_NO_INPUT, host_admin};
use crate::clock::{Clock as _, SystemClock};
use crate::plugin::guests::Guests;
use crate::policy::LivePolicy;
use crate::service::read_settings;
use crate::store::sqlite::{Reader, SqliteStore};
use anyhow::{Context as _, bail};
use opsward_core::config::{HostSettings, SourceSettings};
use opsward_core::event::{BODY_BYTES_MAX, Delivery, Event, Wants, decode};
use opsward_core::id::{PolicyName, SourceName};
use opsward_core::line::one_line;
use opsward_core::pattern::{Miss, Patterns, Verdict, explain};
use opsward_core::run::Mode;
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write};
use std::path::Path;
use std::process::ExitCode;

/// What `opsward event explain` was asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Asked {
    /// A file, `-` for standard input, or the id of an event that the store has
    #[arg(value_name = "FILE|ID")]
    pub event: String,
    /// The source that the file would be sent to, or that the id came from
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<SourceName>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What is told of one event.
#[derive(Debug, Serialize)]
struct Told {
    event: Event,
    /// Where its incident stood, and what the event is to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<ToldIncident>,
    policies: Vec<ToldPolicy>,
}

#[derive(Debug, Serialize)]
struct ToldIncident {
    stood_at: Option<&'static str>,
    news: &'static str,
}

#[derive(Debug, Serialize)]
struct ToldPolicy {
    policy: String,
    wakes: bool,
    /// Why, in words.
    why: Vec<String>,
    /// What each `on` entry says.
    entries: Vec<Verdict>,
}

/// Explains the event as of now.
pub(super) async fn run(config: &Path, asked: &Asked, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Thrown away afterwards, as `opsward check` does.
    let cache = tempfile::tempdir().context("cannot create a temporary directory")?;
    explain_at(config, asked, SystemClock.now(), guests(cache.path())?, out).await
}

/// `opsward event explain`, as if it were `now`, with the plugins looked at by `guests`. Exit code 66: no such event.
pub async fn explain_at(
    config: &Path,
    asked: &Asked,
    now: Timestamp,
    guests: impl Into<Guests>,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let settings = read_settings(config)?;
    let base = config.parent().unwrap_or(Path::new(""));
    let is_file = asked.event == "-" || Path::new(&asked.event).is_file();
    // Without a store nothing is known of any incident.
    let store = host_admin::store_of(config, &settings).ok();
    let store = store.map(|path| SqliteStore::open_read_only(&path)).transpose()?;
    let events = match &store {
        _ if is_file => {
            let trust = |event: &Event| settings.sources.get(&event.source).map(SourceSettings::trust);
            let events = read_file(asked, &settings, now)?.into_iter();
            events.map(|event| (trust(&event).unwrap_or_default(), event)).collect()
        }
        None => {
            bail!("there is no file `{}`, and no store yet that could have an event of that id", asked.event)
        }
        Some(store) => match find(store, &asked.event, asked.source.as_ref()) {
            Ok(row) => vec![(row.trust, row.event)],
            Err(problem @ (ShowEventsError::NotFound(_) | ShowEventsError::Ambiguous { .. })) => {
                writeln!(std::io::stderr(), "opsward: there is no file `{}`, and {problem}", asked.event)?;
                return Ok(ExitCode::from(EXIT_NO_INPUT));
            }
            Err(other) => return Err(other.into()),
        },
    };
    let (policies, refused) = live_policies(&settings, base, guests).await?;
    let told =
        events.into_iter().map(|(trust, event)| tell(event, trust, &policies.policies, store.as_ref(), now));
    let told = told.collect::<anyhow::Result<Vec<_>>>()?;
    match asked.output {
        Output::Json => print_json(&serde_json::json!({ "explained": told, "refused": refused }), out)?,
        Output::Table => {
            for (at, told) in told.iter().enumerate() {
                if at > 0 {
                    writeln!(out)?;
                }
                print(told, out)?;
            }
            if !refused.is_empty() {
                writeln!(out, "\nnot looked at, since refused: {}; see `opsward check`", refused.join(", "))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads an event as this program prints it, or, where a source is named, what that would be sent.
fn read_file(asked: &Asked, settings: &HostSettings, now: Timestamp) -> anyhow::Result<Vec<Event>> {
    let shown = &asked.event;
    let file: Box<dyn std::io::Read> = match shown.as_str() {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).with_context(|| format!("cannot read {shown}"))?),
    };
    let mut bytes = Vec::new();
    // An event's JSON has its data as text in it, with a backslash before each quote.
    let limit = 2 * BODY_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
    let Some(name) = &asked.source else {
        let event: Result<Event, _> = serde_json::from_slice(&bytes);
        let known: Vec<&str> = settings.sources.keys().map(SourceName::as_str).collect();
        let known =
            if known.is_empty() { "there is none in the configuration".to_owned() } else { known.join(", ") };
        let event = event.map_err(|_| {
            anyhow::anyhow!("{shown} is no event as `opsward event ls -o json` has it: say with --source which source would be sent it: {known}")
        })?;
        event.check().with_context(|| format!("{shown} is no event"))?;
        return Ok(vec![event]);
    };
    let Some(source) = settings.sources.get(name) else {
        bail!("there is no source `{name}` in the configuration")
    };
    let (headers, body) = delivery(bytes);
    let delivery = Delivery { headers: &headers, body: &body };
    let decoded = match &source.map {
        Some(map) => map.decode(name, &delivery, now),
        None => decode(source.kind, name, &delivery, now),
    };
    decoded.with_context(|| format!("{shown} is nothing that {name}, of kind {}, is sent", source.kind))
}

/// A delivery that was captured with its headers, or else its body alone.
fn delivery(bytes: Vec<u8>) -> (Vec<(String, String)>, Vec<u8>) {
    #[derive(Deserialize)]
    struct Capture {
        headers: Vec<(String, String)>,
        body: String,
    }
    if let Ok(Capture { headers, body }) = serde_json::from_slice(&bytes) {
        let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        return (headers.collect(), body.into_bytes());
    }
    let is_json = matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
    let kind = if is_json { "application/json" } else { "application/x-www-form-urlencoded" };
    (vec![("content-type".to_owned(), kind.to_owned())], bytes)
}

fn tell(
    event: Event,
    trust: Trust,
    policies: &[std::sync::Arc<LivePolicy>],
    store: Option<&Reader>,
    now: Timestamp,
) -> anyhow::Result<Told> {
    let history =
        store.map(|store| History::of(store, &event)).transpose()?.unwrap_or_default().before(&event);
    let notice = Notice::of(&event, trust, now);
    let mut told = Vec::with_capacity(policies.len());
    for policy in policies {
        let past = match (notice, store) {
            (None, _) => None,
            (Some(notice), None) => Some(Past { notice, history: &history, is_done: false }),
            (Some(notice), Some(store)) => {
                let is_done =
                    history.is_done(store, &policy.settings.name, &notice, event.subject.as_deref())?;
                Some(Past { notice, history: &history, is_done })
            }
        };
        told.push(tell_policy(policy, &event, past));
    }
    let incident = notice.map(|notice| ToldIncident {
        stood_at: history.stands(trust).map(|incident| incident.transition.as_str()),
        news: history::word(history.news(&notice)),
    });
    Ok(Told { event, incident, policies: told })
}

/// What came of a notice's incident before it.
struct Past<'h> {
    notice: Notice,
    history: &'h History,
    /// A run that a hint has woken stands for that of the policy.
    is_done: bool,
}

fn tell_policy(policy: &LivePolicy, event: &Event, past: Option<Past<'_>>) -> ToldPolicy {
    let name = &policy.settings.name;
    let none = Patterns::default();
    let entries = explain(policy.settings.patterns.as_ref().unwrap_or(&none), event);
    let told = |wakes, why| ToldPolicy { policy: name.to_string(), wakes, why, entries: entries.clone() };
    if policy.settings.mode == Mode::Off {
        return told(false, vec!["its mode is off".to_owned()]);
    }
    if entries.is_empty() {
        return told(false, vec!["it is woken by schedules only".to_owned()]);
    }
    let numbered = |at: usize| if entries.len() == 1 { String::new() } else { format!("entry {}: ", at + 1) };
    let (mut why, mut not) = (Vec::new(), Vec::new());
    for (at, verdict) in entries.iter().enumerate() {
        match verdict {
            Verdict::Misses(miss) => not.push(format!("{}{}", numbered(at), in_words(miss))),
            Verdict::Matches(wants) => match past.as_ref().and_then(|past| past.keeps_from(name, *wants)) {
                None => why.push(format!("{}all conditions hold", numbered(at))),
                Some(but) => not.push(format!("{}all conditions hold, but {but}", numbered(at))),
            },
        }
    }
    let wakes = !why.is_empty();
    told(wakes, if wakes { why } else { not })
}

impl Past<'_> {
    /// Why the notice does not wake a policy that wants this of its incident, if so.
    fn keeps_from(&self, policy: &PolicyName, wants: Wants) -> Option<String> {
        let word = self.notice.transition.as_str();
        let had = self.history.has_woken(policy, &self.notice);
        match wants.wakes(self.history.news(&self.notice), had) {
            true if self.is_done => Some(format!(
                "a hint of `{word}` of this incident has woken it before, and that run has made its effects"
            )),
            true => None,
            false if had => Some(format!("`{word}` of this incident has woken it before")),
            false => Some(format!(
                "the incident is past `{word}`; an entry with `transition = \"{word}\"` would be woken"
            )),
        }
    }
}

fn in_words(miss: &Miss) -> String {
    let Miss { key, wanted, found } = miss;
    match found {
        Some(found) => format!("{key} is {found}, not {wanted}"),
        None => format!("{key} is absent, not {wanted}"),
    }
}

fn print(told: &Told, out: &mut dyn Write) -> std::io::Result<()> {
    let Told { event, incident, policies } = told;
    writeln!(out, "event {}: {} from {}", one_line(&event.id), one_line(&event.kind), event.source)?;
    if let (Some(ToldIncident { stood_at, news }), Some(key)) = (incident, &event.incident) {
        let stood = stood_at.map(|at| format!(", which stood at {at}")).unwrap_or_default();
        let transition = event.transition.map(|one| one.as_str()).unwrap_or_default();
        writeln!(out, "incident {}{stood}: {transition} is {news}", one_line(key))?;
    }
    writeln!(out)?;
    if policies.is_empty() {
        return writeln!(out, "there are no policies");
    }
    let mut rows = vec![["POLICY", "WAKES", "WHY"].map(str::to_owned)];
    for ToldPolicy { policy, wakes, why, .. } in policies {
        for (at, why) in why.iter().enumerate() {
            let first = [policy.as_str(), if *wakes { "yes" } else { "no" }];
            let [policy, wakes] = if at == 0 { first } else { ["", ""] };
            rows.push([policy.to_owned(), wakes.to_owned(), why.clone()]);
        }
    }
    aligned(&rows, [Align::Left; 3]).into_iter().try_for_each(|line| writeln!(out, "{line}"))
}

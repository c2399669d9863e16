//! `opsward source status`: the latest event of each source, by the store, and what was taken and refused since the host began, by the
//! host. Leaves counting to them.

use super::{find, print_table};
use crate::cli::host_admin;
use crate::cli::runs::Output;
use crate::cli::text::{cut, print_json, span};
use crate::clock::{Clock as _, SystemClock};
use crate::service::read_settings;
use crate::store::sqlite::{SourceRow, SqliteStore, in_use};
use opsward_core::config::SourceSettings;
use opsward_core::id::SourceName;
use opsward_core::time::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What counts as lately.
const LATELY: Duration = Duration::from_secs(3600);
/// Widest event type, in characters.
const TYPE_CHARS_MAX: usize = 48;

pub(super) async fn status(
    config: &Path,
    name: Option<&SourceName>,
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let settings = read_settings(config)?;
    let sources: Vec<&SourceSettings> = match name {
        Some(name) => vec![find(&settings, name)?],
        None => settings.sources.values().collect(),
    };
    let store = host_admin::store_of(config, &settings)?;
    let now = SystemClock.now();
    let known = SqliteStore::open_read_only(&store)?.sources(now - LATELY)?;
    let live = match in_use::admin_of(&store) {
        // What the store knows is shown all the same.
        Some(socket) => host_admin::get(socket, "/api/v1/sources").await.unwrap_or_default(),
        None => Value::Null,
    };
    let rows = sources.into_iter().map(|source| Row {
        source,
        stored: known.iter().find(|row| row.last.source == source.name),
        live: of(&live, &source.name),
    });
    match output {
        Output::Json => {
            let rows: Vec<Value> = rows.map(|row| row.json()).collect();
            print_json(&json!({ "sources": rows }), out)?;
        }
        Output::Table => {
            let head = ["SOURCE", "KIND", "LAST EVENT", "TYPE", "LAST HOUR", "REFUSED SINCE START"];
            print_table(head, rows.map(|row| row.cells(now)).collect(), out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is known of one source.
struct Row<'a> {
    source: &'a SourceSettings,
    stored: Option<&'a SourceRow>,
    /// What the running host says.
    live: Option<Value>,
}

impl Row<'_> {
    fn json(&self) -> Value {
        json!({
            "name": self.source.name,
            "kind": self.source.kind,
            "last": self.stored.map(|row| json!({ "id": row.last.id, "type": row.last.kind, "received": row.received })),
            "last_hour": self.stored.map_or(0, |row| row.since),
            "live": self.live,
        })
    }

    fn cells(&self, now: Timestamp) -> [String; 6] {
        let ago = |row: &SourceRow| format!("{} ago", span(now.since(row.received)));
        [
            self.source.name.to_string(),
            self.source.kind.to_string(),
            self.stored.map_or("none".to_owned(), ago),
            self.stored.map_or("-".to_owned(), |row| cut(&row.last.kind, TYPE_CHARS_MAX)),
            self.stored.map_or(0, |row| row.since).to_string(),
            self.refused(),
        ]
    }

    /// By reason: `3 malformed, 1 rate`.
    fn refused(&self) -> String {
        let Some(live) = &self.live else { return "-".to_owned() };
        let refused = live["refused"].as_object();
        let reasons = refused.into_iter().flatten().map(|(reason, count)| format!("{count} {reason}"));
        let reasons: Vec<String> = reasons.collect();
        if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") }
    }
}

fn of(live: &Value, name: &SourceName) -> Option<Value> {
    live["sources"].as_array()?.iter().find(|row| row["name"] == name.as_str()).cloned()
}

//! What can still be read of a run of which something was changed behind the writer's back, by a disk or by hand: for people
//! who look at it and decide. Leaves to `read` what is whole. Tested in `tests/tests/it/store/damage.rs`.

use super::read::{state, time, trust};
use crate::store::RunRow;
use opsward_core::event::{Event, Transition};
use opsward_core::id::{Digest, RunId};
use opsward_core::run::RunState;
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use rusqlite::Row;
use rusqlite::types::ValueRef;
use std::str::FromStr;

/// Stands for a name that is none by now.
const UNREADABLE: &str = "unreadable";

/// As `read::run_row`.
pub(super) fn run_row(row: &Row<'_>) -> Result<RunRow, rusqlite::Error> {
    let state = state(row, 2)?;
    Ok(RunRow {
        id: RunId::from_text(text(row, 0)?.unwrap_or_default()),
        policy: name(row, 1)?,
        state,
        digest: Digest::from_bytes(row.get(3)?),
        source: name(row, 4)?,
        event_id: text(row, 5)?.unwrap_or_default(),
        event_type: text(row, 6)?.unwrap_or_default(),
        created_at: time(row, 7)?,
        changed_at: time(row, 8)?,
        wake_at: if state == RunState::Ready { Some(time(row, 9)?) } else { None },
        note: text(row, 10)?,
    })
}

/// As `read::event_at`.
pub(super) fn event_at(row: &Row<'_>, at: usize) -> Result<(Event, Timestamp, Trust), rusqlite::Error> {
    let event = Event {
        source: name(row, at)?,
        id: text(row, at + 1)?.unwrap_or_default(),
        kind: text(row, at + 2)?.unwrap_or_default(),
        subject: text(row, at + 3)?,
        time: time(row, at + 4)?,
        incident: text(row, at + 5)?,
        account: text(row, at + 6)?,
        region: text(row, at + 7)?,
        data: text(row, at + 9)?.unwrap_or_default(),
        level: text(row, at + 10)?,
        transition: text(row, at + 11)?.as_deref().and_then(Transition::of_status),
    };
    Ok((event, time(row, at + 8)?, trust(row, at + 12).unwrap_or_default()))
}

/// What is no UTF-8 is replaced; `None` where there is no text.
fn text(row: &Row<'_>, at: usize) -> Result<Option<String>, rusqlite::Error> {
    Ok(match row.get_ref(at)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    })
}

fn name<T: FromStr<Err: std::fmt::Debug>>(row: &Row<'_>, at: usize) -> Result<T, rusqlite::Error> {
    let name = text(row, at)?.and_then(|text| text.parse().ok());
    Ok(name.unwrap_or_else(|| UNREADABLE.parse().expect("a name of small letters")))
}

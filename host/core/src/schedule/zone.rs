//! Zones: finding one by name, and bringing local wall time to UTC. A time of day that a clock change skips fires once, at
//! the first instant after the gap; one that a clock change repeats fires at its first occurrence only. A pace, of hours that
//! follow one another, goes on through both: it fires whenever the clock on the wall shows its hour and minute. Leaves what the
//! local times are to `local`: the `cron` crate, asked about a real zone, fires a time of day twice in a repeated hour and never in
//! a skipped one. Tested in `super::tests` on real clock changes.

use super::local::LocalTimes;
use crate::time::Timestamp;
use jiff::ToSpan as _;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

/// The zone of that IANA name; the error says what may have been meant.
pub(crate) fn find(name: &str) -> Result<TimeZone, String> {
    if name.eq_ignore_ascii_case("UTC") {
        return Ok(TimeZone::UTC);
    }
    // The database inside the binary, never the machine's: every replica must see the same times.
    let database = TimeZoneDatabase::bundled();
    if let Ok(zone) = database.get(name) {
        return Ok(zone);
    }
    let city = name.rsplit('/').next().unwrap_or(name).replace(' ', "_").to_ascii_lowercase();
    let near: Vec<String> = database
        .available()
        .map(|known| known.to_string())
        .filter(|known| known.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(&city)))
        .take(NEAR_MAX)
        .collect();
    Err(match city.as_str() {
        "beijing" => "all of China keeps `Asia/Shanghai`".to_owned(),
        _ if near.is_empty() => "write a name such as `Asia/Shanghai` or `UTC`, not an offset".to_owned(),
        _ => format!("did you mean `{}`?", near.join("`, `")),
    })
}

/// Names offered in place of an unknown one.
const NEAR_MAX: usize = 3;

/// The zone's IANA name.
pub(crate) fn name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

/// What a line's times are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// Times of the day.
    OfDay,
    /// A pace, for all of the day or a part of it.
    Pace,
}

/// The first instant after `t` that is one of the `local` times in `zone`.
pub(super) fn next_after(local: &LocalTimes, zone: &TimeZone, t: Timestamp) -> Option<Timestamp> {
    // Years before 1970 do not exist to the crate, and whole seconds are all a cron line knows.
    let t = Timestamp::from_seconds(t.seconds().max(0));
    match local.times {
        Times::OfDay => next_time_of_day(local, zone, t),
        Times::Pace => next_of_pace(local, zone, t),
    }
}

/// By spans of time between two clock changes: within one, the clock on the wall goes on evenly.
fn next_of_pace(times: &LocalTimes, zone: &TimeZone, t: Timestamp) -> Option<Timestamp> {
    let mut after = jiff::Timestamp::from(t);
    for _ in 0..CHANGES_MAX {
        let first = after.checked_add(1.second()).ok()?;
        let offset = zone.to_offset(first);
        let local = times.next_after(offset.to_datetime(after))?;
        let found = offset.to_timestamp(local).ok()?;
        match zone.following(first).next().map(|change| change.timestamp()) {
            Some(change) if change <= found => after = change.checked_sub(1.second()).ok()?,
            _ => return Some(found.into()),
        }
    }
    None
}

/// Clock changes looked beyond in search of a fire time: two a year from 1970 to 2099, and some that were made by decree.
const CHANGES_MAX: usize = 400;

fn next_time_of_day(times: &LocalTimes, zone: &TimeZone, t: Timestamp) -> Option<Timestamp> {
    let mut local = search_start(zone, t);
    loop {
        local = times.next_after(local)?;
        match to_instant(zone, local) {
            Some(instant) if instant > t => return Some(instant),
            _ => {}
        }
    }
}

/// A local time before every one that is still to fire after `t`, and not before many that have.
fn search_start(zone: &TimeZone, t: Timestamp) -> civil::DateTime {
    let t = jiff::Timestamp::from(t);
    let local = zone.to_datetime(t);
    if let AmbiguousOffset::Fold { before, after } = zone.to_ambiguous_timestamp(local).offset()
        && zone.to_offset(t) == after
        && let Ok(inclusive) = t.checked_add(1.second())
        && let Some(change) = zone.preceding(inclusive).next()
    {
        // The second pass of a repeated hour: all of its local times fired in the first.
        return before.to_datetime(change.timestamp()).saturating_sub(1.second());
    }
    local
}

pub(crate) fn to_instant(zone: &TimeZone, local: civil::DateTime) -> Option<Timestamp> {
    let instant = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok()?,
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok()?,
        // Read with the offset after the gap, a skipped local time lies before the change: the change is the next one.
        AmbiguousOffset::Gap { after, .. } => {
            zone.following(after.to_timestamp(local).ok()?).next()?.timestamp()
        }
    };
    Some(instant.into())
}

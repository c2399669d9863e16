//! Ours against two other readers of cron lines: croner, a crate, with its own zones; and croniter, in Python. Two hundred lines in
//! six zones over five years: the first fire times of each, so that a line that fires seldom is seen whole, and all around each
//! clock change; with `OPSWARD_LONG` far more. Where the two agree, ours agrees, but for what `vectors/cron-disagreements.txt` lists
//! with the decision taken; nothing else differs from either. `OPSWARD_WRITE_VECTORS=1` writes that file.
//!
//! croniter is asked where its environment is there, or with `OPSWARD_LONG`, which makes it; where that cannot be, the test says so
//! and holds ours against croner alone.

use super::lines::{COUNT, Line, lines};
use crate::harness::long;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use opsward_core::schedule::{Schedule, ScheduleEntry};
use opsward_core::time::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const ZONES: [&str; 6] =
    ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Shanghai", "Asia/Kolkata", "UTC"];
const FROM: &str = "2026-01-01T00:00:00Z";
const UNTIL: &str = "2031-01-01T00:00:00Z";
/// Fire times from the beginning on, in the usual form and in the long one.
const FIRST: [usize; 2] = [40, 2_000];
/// Fire times around a clock change.
const AROUND_MAX: usize = 400;
/// Seconds before and after a clock change that are looked at: the skipped or repeated hour, and one more on either side.
const BEFORE: i64 = 2 * 3600;
const AFTER: i64 = 3 * 3600;

/// A span that all readers are asked about: fire times after `from`, up to `until`, at most `max`.
#[derive(Clone, Copy)]
struct Window {
    from: i64,
    until: i64,
    max: usize,
}

#[test]
fn two_other_readers_of_cron_lines_agree() {
    let lines = lines();
    assert_eq!(lines.len(), COUNT);
    let of_zones: BTreeMap<&str, Vec<Window>> = ZONES.iter().map(|zone| (*zone, windows(zone))).collect();
    let of_line = |line: &Line| -> BTreeMap<&str, Vec<Window>> {
        ZONES.iter().map(|zone| (*zone, bounded(line, zone, &of_zones[zone]))).collect()
    };
    let windows: Vec<BTreeMap<&str, Vec<Window>>> = lines.iter().map(of_line).collect();
    let croniter = ask_croniter(&lines, &windows);
    if croniter.is_none() {
        println!("SKIPPED: croniter cannot be installed here; ours is held against croner alone");
    }
    let writes = std::env::var_os("OPSWARD_WRITE_VECTORS").is_some();
    let listed = Listed::read();
    let mut found = BTreeMap::new();
    let (mut compared, mut problems) = (0, Vec::new());
    for (at, line) in lines.iter().enumerate() {
        for zone in ZONES {
            let windows = &windows[at][zone];
            let (ours, croner) = (ours(line, zone, windows), croner_fires(line, zone, windows));
            let third = croniter.as_ref().map(|all| &all[&(at, zone.to_owned())]);
            compared += ours.len();
            for day in days_that_differ(&ours, &croner, third, zone) {
                let key = (line.ours.clone(), zone.to_owned(), day.date.clone());
                match listed.0.get(&key) {
                    Some(known)
                        if (&known.croner, &known.decision) == (&day.croner, &day.decision)
                            && (third.is_none() || known.croniter == day.croniter) => {}
                    _ => problems
                        .push(format!("{} {} in {zone} on {}: {day:?}", line.dialect, line.ours, day.date)),
                }
                found.insert(key, day);
            }
        }
    }
    if writes && croniter.is_some() {
        Listed(found.clone()).write();
        problems.clear();
    }
    println!(
        "{compared} fire times of {COUNT} lines in {} zones, {} days differ as listed",
        ZONES.len(),
        found.len()
    );
    assert!(
        problems.is_empty(),
        "{} differ, such as\n{}",
        problems.len(),
        problems[..problems.len().min(20)].join("\n")
    );
    if croniter.is_some() {
        let alone: Vec<_> = found.iter().filter(|(_, day)| day.croner == day.croniter).collect();
        assert!(alone.is_empty(), "both others agree, and ours differs: {alone:?}");
        let gone: Vec<_> = listed.0.keys().filter(|key| !writes && !found.contains_key(*key)).collect();
        assert!(gone.is_empty(), "listed, but agreed upon: {gone:?}");
    }
}

/// The beginning, and what is around each clock change of a zone.
fn windows(zone: &str) -> Vec<Window> {
    let [from, until] = [FROM, UNTIL].map(|text| Timestamp::parse_rfc3339(text).expect("RFC 3339").seconds());
    let first = Window { from, until, max: FIRST[usize::from(long())] };
    let zone: Tz = zone.parse().expect("a zone");
    let offset = |at: i64| {
        DateTime::from_timestamp(at, 0).expect("in range").with_timezone(&zone).to_string()[19..].to_owned()
    };
    let changes = (from..until).step_by(1800).filter(|at| offset(at - 1) != offset(*at));
    let around = changes.map(|at| Window { from: at - BEFORE, until: at + AFTER, max: AROUND_MAX });
    std::iter::once(first).chain(around).collect()
}

/// The windows, each ending where ours has told enough: who tells more of an hour must not stop before the others do.
fn bounded(line: &Line, zone: &str, windows: &[Window]) -> Vec<Window> {
    let bound = |window: &Window| {
        let told = ours(line, zone, &[*window]);
        match told.last() {
            Some(last) if told.len() == window.max => Window { until: *last, max: 2 * window.max, ..*window },
            _ => *window,
        }
    };
    windows.iter().map(bound).collect()
}

fn ours(line: &Line, zone: &str, windows: &[Window]) -> BTreeSet<i64> {
    let entry = ScheduleEntry {
        cron: Some(line.ours.clone()),
        dialect: Some(serde_json::from_value(json!(line.dialect)).expect("a dialect")),
        zone: Some(zone.to_owned()),
        ..ScheduleEntry::default()
    };
    let schedule = Schedule::parse(&entry).unwrap_or_else(|error| panic!("{}: {error}", line.ours));
    let fires = |window: &Window| {
        let first = schedule.next_after(Timestamp::from_seconds(window.from));
        let all = std::iter::successors(first, |at| schedule.next_after(*at)).map(Timestamp::seconds);
        let until = window.until;
        all.take_while(move |at| *at <= until).take(window.max).collect::<Vec<_>>()
    };
    windows.iter().flat_map(fires).collect()
}

fn croner_fires(line: &Line, zone: &str, windows: &[Window]) -> BTreeSet<i64> {
    let seconds = if line.has_seconds { Seconds::Required } else { Seconds::Disallowed };
    let parser = CronParser::builder().seconds(seconds).build();
    let cron: Cron = parser.parse(&line.croner).unwrap_or_else(|error| panic!("{}: {error}", line.croner));
    let zone: Tz = zone.parse().expect("a zone");
    let fires = |window: &Window| {
        let from: DateTime<Utc> = DateTime::from_timestamp(window.from, 0).expect("in range");
        let all = cron.iter_after(from.with_timezone(&zone)).map(|at| at.timestamp());
        let until = window.until;
        all.take_while(move |at| *at <= until).take(window.max).collect::<Vec<_>>()
    };
    windows.iter().flat_map(fires).collect()
}

/// Fire times by line and zone; `None` where there is no croniter.
fn ask_croniter(
    lines: &[Line],
    windows: &[BTreeMap<&str, Vec<Window>>],
) -> Option<BTreeMap<(usize, String), BTreeSet<i64>>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/cron.py");
    let mut python = Command::new("python3");
    python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    if !long() {
        // The usual form of a test asks nothing of a network.
        python.arg("--only-if-installed");
    }
    let mut child = python.spawn().ok()?;
    let mut questions = String::new();
    for (at, line) in lines.iter().enumerate() {
        for zone in ZONES {
            let spans: Vec<Value> =
                windows[at][zone].iter().map(|w| json!([w.from, w.until, w.max])).collect();
            let asked = json!({ "line": line.croniter, "seconds": line.has_seconds, "zone": zone, "windows": spans, "at": at });
            questions.push_str(&format!("{asked}\n"));
        }
    }
    let mut stdin = child.stdin.take().expect("piped");
    // In a thread: answers come while questions are still written.
    let asking = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = child.wait_with_output().ok()?;
    const NOT_THERE: i32 = 77;
    if output.status.code() == Some(NOT_THERE) {
        return None;
    }
    assert!(output.status.success(), "peers/cron.py failed");
    asking.join().expect("no panic").expect("taken");
    let answers = String::from_utf8(output.stdout).expect("UTF-8");
    let read = |text: &str| {
        let answer: Value = serde_json::from_str(text).expect("JSON");
        let at = usize::try_from(answer["at"].as_u64().expect("a number")).expect("small");
        let fires = answer["fires"].as_array().expect("a list").iter().filter_map(Value::as_i64);
        ((at, answer["zone"].as_str().expect("a zone").to_owned()), fires.collect())
    };
    Some(answers.lines().map(read).collect())
}

/// A local day on which not all agree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Day {
    date: String,
    ours: String,
    croner: String,
    croniter: String,
    decision: String,
}

fn days_that_differ(
    ours: &BTreeSet<i64>,
    croner: &BTreeSet<i64>,
    croniter: Option<&BTreeSet<i64>>,
    zone: &str,
) -> Vec<Day> {
    let zone: Tz = zone.parse().expect("a zone");
    let known = [Some(ours), Some(croner), croniter];
    let date = |at: i64| {
        DateTime::from_timestamp(at, 0).expect("in range").with_timezone(&zone).date_naive().to_string()
    };
    let dates: BTreeSet<String> = {
        let all = known.iter().flatten();
        let union: BTreeSet<i64> = all.clone().flat_map(|set| set.iter().copied()).collect();
        union.into_iter().filter(|at| all.clone().any(|set| !set.contains(at))).map(date).collect()
    };
    let on = |set: &BTreeSet<i64>, day: &str| {
        let times = set.iter().filter(|at| date(**at) == day);
        let show = |at: &i64| {
            let local = DateTime::from_timestamp(*at, 0).expect("in range").with_timezone(&zone);
            local.format("%H:%M:%S%:z").to_string()
        };
        times.map(show).collect::<BTreeSet<_>>()
    };
    let without = |set: &BTreeSet<i64>, day: &str| -> String {
        let (theirs, mine) = (on(set, day), on(ours, day));
        if theirs == mine {
            return "as ours".to_owned();
        }
        let more = theirs.difference(&mine).map(|time| format!("+{time}"));
        let less = mine.difference(&theirs).map(|time| format!("-{time}"));
        more.chain(less).collect::<Vec<_>>().join(" ")
    };
    let day = |date: String| {
        let croner = without(croner, &date);
        Day {
            decision: decision(zone, &date, &croner).to_owned(),
            ours: on(ours, &date).len().to_string(),
            croniter: croniter.map(|set| without(set, &date)).unwrap_or_default(),
            croner,
            date,
        }
    };
    dates.into_iter().map(day).collect()
}

/// What was decided of a day like this, in the words of `HEAD`.
fn decision(zone: Tz, date: &str, croner: &str) -> &'static str {
    let date: chrono::NaiveDate = date.parse().expect("a date");
    let noon =
        |date: chrono::NaiveDate| date.and_hms_opt(12, 0, 0).expect("noon").and_local_timezone(zone).unwrap();
    // From noon to noon: a day with a change is longer or shorter.
    let hours = noon(date) - noon(date.pred_opt().expect("a day before"));
    match hours.num_minutes() - 24 * 60 {
        1.. => "once",
        ..0 if croner == "as ours" => "passed over",
        ..0 => "made up for",
        0 => "none: no clock was changed",
    }
}

/// The days on which they may differ, by line, zone and date.
struct Listed(BTreeMap<(String, String, String), Day>);

const HEAD: &str = "\
# Days on which ours, croner 4.0.3 and croniter 7.0.0 do not all agree, of the 200 lines of tests/tests/it/cron/lines.rs in six zones
# from 2026 to 2030: what each of the others has more (+) and less (-) than ours. Written by
# `OPSWARD_LONG=1 OPSWARD_WRITE_VECTORS=1 cargo test -p opsward-tests two_other_readers`.
#
# Decisions, in docs/schedules.md and docs/decisions/0010-clock-changes.md:
# - once: a time of the day that a clock change repeats fires at its first occurrence only. croniter repeats it: a reset at 01:08
#   would be done twice.
# - made up for: a time of the day that a clock change skips fires at the first instant after it, to the second. croner passes over
#   it where the line has several times a day, and croniter keeps the line's second.
# - passed over: a pace, of hours that follow one another, has nothing to make up for. croniter fires at the first instant after.
# Where both others agree, ours agrees.
#
# line | zone | day | how many of ours | croner | croniter | decision
";

impl Listed {
    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/cron-disagreements.txt")
    }

    fn read() -> Self {
        let text = std::fs::read_to_string(Self::path()).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let entry = |line: &str| {
            let parts: Vec<String> = line.split(" | ").map(str::to_owned).collect();
            let [line, zone, date, ours, croner, croniter, decision] =
                <[String; 7]>::try_from(parts).expect("seven parts");
            ((line, zone, date.clone()), Day { date, ours, croner, croniter, decision })
        };
        Self(lines.map(entry).collect())
    }

    fn write(&self) {
        let mut text = HEAD.to_owned();
        for ((line, zone, date), day) in &self.0 {
            let Day { ours, croner, croniter, decision, .. } = day;
            text.push_str(&format!(
                "{line} | {zone} | {date} | {ours} | {croner} | {croniter} | {decision}\n"
            ));
        }
        std::fs::write(Self::path(), text).expect("written");
    }
}

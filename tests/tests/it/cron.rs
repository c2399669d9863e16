//! Cron cases: every line of `tests/vectors/cron.json`, and of each file of that shape in the directory named by
//! `OPSWARD_EXTRA_VECTORS`, fires when the file says, or is refused. Leaves clock changes and wording to the tables in
//! `opsward_core::schedule`.

mod lines;
mod oracles;

use opsward_core::schedule::{Dialect, Schedule, ScheduleEntry, ScheduleError};
use opsward_core::time::Timestamp;
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Vectors {
    base: String,
    cases: Vec<Case>,
    #[serde(default)]
    must_reject_or_translate: Vec<Line>,
}

#[derive(Deserialize)]
struct Case {
    dialect: String,
    expression: String,
    tz: String,
    /// `None` for an interval, which vendors count from the trigger's creation.
    fires: Option<Vec<String>>,
    translate_to_cron_0_17: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Line {
    expression: String,
}

#[test]
fn every_cron_case_fires_when_its_vector_says() {
    let (mut checked, mut problems) = (0, Vec::new());
    for (path, vectors) in files() {
        let base = at(&vectors.base);
        for case in &vectors.cases {
            checked += 1;
            if let Err(problem) = check(case, base) {
                problems.push(format!(
                    "{}: {} `{}`: {problem}",
                    path.display(),
                    case.dialect,
                    case.expression
                ));
            }
        }
    }
    assert!(checked >= 15, "only {checked} cases found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn lines_the_crate_misreads_are_translated_or_refused() {
    for (path, vectors) in files() {
        for line in &vectors.must_reject_or_translate {
            let readings = std::iter::once(None).chain(Dialect::ALL.map(Some));
            for (dialect, read) in
                readings.map(|dialect| (dialect, parse(&line.expression, dialect, Some("UTC"))))
            {
                let shown = format!("{}: {dialect:?} `{}`", path.display(), line.expression);
                if let Ok(schedule) = read {
                    assert!(
                        schedule.next_after(at(&vectors.base)).is_some(),
                        "{shown} is taken and never fires"
                    );
                }
            }
        }
    }
    let base = "2024-01-01T00:00:00Z";
    for (line, dialect, fires) in [
        ("0 9 * * *", None, ["2024-01-01T09:00:00Z", "2024-01-02T09:00:00Z", "2024-01-03T09:00:00Z"]),
        (
            "0 0 9 L * ?",
            Some(Dialect::Quartz),
            ["2024-01-31T09:00:00Z", "2024-02-29T09:00:00Z", "2024-03-31T09:00:00Z"],
        ),
        (
            "0 0 9 L * ? *",
            Some(Dialect::Scf),
            ["2024-01-31T09:00:00Z", "2024-02-29T09:00:00Z", "2024-03-31T09:00:00Z"],
        ),
        ("0 0 22-2 * * *", None, ["2024-01-01T01:00:00Z", "2024-01-01T02:00:00Z", "2024-01-01T22:00:00Z"]),
        ("0 0 9 * * FRI-MON", None, ["2024-01-01T09:00:00Z", "2024-01-05T09:00:00Z", "2024-01-06T09:00:00Z"]),
    ] {
        let schedule = parse(line, dialect, Some("UTC")).expect(line);
        assert_eq!(fire_times(&schedule, at(base), 3), fires.map(at), "{line}");
    }
    for dialect in std::iter::once(None).chain(Dialect::ALL.map(Some)) {
        assert!(parse("******", dialect, Some("UTC")).is_err(), "{dialect:?} takes a line of one field");
        assert!(parse("0 0 0 30 2 ?", dialect, Some("UTC")).is_err(), "{dialect:?} takes 30 February");
    }
}

/// A case of the crate's own dialect states what the translation rests on; the others go through a schedule.
fn check(case: &Case, base: Timestamp) -> Result<(), String> {
    if case.dialect.starts_with("cron") {
        return check_crate(case, base);
    }
    let dialect = serde_json::from_value(case.dialect.clone().into()).map_err(|e| e.to_string())?;
    let carries_zone = case.expression.contains("CRON_TZ=") || case.expression.starts_with('@');
    let zone = (!carries_zone).then_some(case.tz.as_str());
    let schedule = parse(&case.expression, Some(dialect), zone).map_err(|e| e.to_string())?;
    let Some(expected) = &case.fires else {
        return match fire_times(&schedule, base, 2)[..] {
            [first, second] if first > base && second > first => Ok(()),
            _ => Err("does not go on firing".to_owned()),
        };
    };
    let (fired, expected) = (fire_times(&schedule, base, expected.len()), instants(expected));
    if fired == expected { Ok(()) } else { Err(format!("fires {fired:?}, not {expected:?}")) }
}

fn check_crate(case: &Case, base: Timestamp) -> Result<(), String> {
    let after = chrono::DateTime::from_timestamp(base.seconds(), 0).ok_or("base out of range")?;
    let expected = instants(case.fires.as_deref().unwrap_or_default());
    let mut fired: Vec<_> = Vec::new();
    for line in case.translate_to_cron_0_17.iter().flatten() {
        let schedule: cron::Schedule = line.parse().map_err(|e| format!("{line}: {e}"))?;
        let times =
            schedule.after(&after).take(expected.len()).map(|t| Timestamp::from_seconds(t.timestamp()));
        fired.extend(times);
    }
    fired.sort();
    fired.truncate(expected.len());
    if fired == expected { Ok(()) } else { Err(format!("the crate fires {fired:?}, not {expected:?}")) }
}

fn parse(line: &str, dialect: Option<Dialect>, zone: Option<&str>) -> Result<Schedule, ScheduleError> {
    Schedule::parse(&ScheduleEntry {
        cron: Some(line.to_owned()),
        dialect,
        zone: zone.map(str::to_owned),
        allow_frequent: true,
        ..ScheduleEntry::default()
    })
}

fn fire_times(schedule: &Schedule, after: Timestamp, n: usize) -> Vec<Timestamp> {
    std::iter::successors(schedule.next_after(after), |t| schedule.next_after(*t)).take(n).collect()
}

fn instants(texts: &[String]) -> Vec<Timestamp> {
    texts.iter().map(|text| at(text)).collect()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("RFC 3339")
}

fn files() -> Vec<(PathBuf, Vectors)> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/cron.json");
    let read = |path: &Path| std::fs::read_to_string(path).expect("a readable vector file");
    let mut files = vec![(own.clone(), serde_json::from_str(&read(&own)).expect("a file of cron cases"))];
    let Some(extra) = std::env::var_os("OPSWARD_EXTRA_VECTORS") else { return files };
    for found in std::fs::read_dir(&extra).expect("OPSWARD_EXTRA_VECTORS names a directory") {
        let path = found.expect("a readable directory").path();
        if path.extension().is_some_and(|e| e == "json")
            && let json = serde_json::from_str::<serde_json::Value>(&read(&path)).expect("JSON")
            && json["cases"][0]["expression"].is_string()
        {
            files.push((path.clone(), serde_json::from_value(json).expect("a file of cron cases")));
        }
    }
    files
}

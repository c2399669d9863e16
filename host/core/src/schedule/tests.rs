//! Tables over whole entries: which lines are read, how, what is refused with which words, and real clock changes.

use super::*;

fn entry(line: &str, dialect: Option<Dialect>, zone: Option<&str>) -> ScheduleEntry {
    ScheduleEntry {
        cron: Some(line.to_owned()),
        dialect,
        zone: zone.map(str::to_owned),
        ..ScheduleEntry::default()
    }
}

fn every(period: &str) -> ScheduleEntry {
    ScheduleEntry { every: Some(period.to_owned()), ..ScheduleEntry::default() }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("an instant")
}

fn fires(schedule: &Schedule, after: &str, n: usize) -> Vec<String> {
    schedule.display_next(n, at(after))
}

use Dialect::{Fc, Quartz, Scf, Unix};

#[test]
fn a_schedule_has_a_text_that_does_not_depend_on_spelling() {
    for (entry, text, zone) in [
        (
            entry("0 0 3 * * * *", Some(Scf), Some("Asia/Shanghai")),
            "scf:0 0 3 * * * *@Asia/Shanghai",
            "Asia/Shanghai",
        ),
        (entry(" 0  0 3 * *\t* * ", Some(Scf), None), "scf:0 0 3 * * * *@Asia/Shanghai", "Asia/Shanghai"),
        (
            entry("0 3 * * mon-fri", None, Some("europe/berlin")),
            "unix:0 3 * * MON-FRI@Europe/Berlin",
            "Europe/Berlin",
        ),
        (entry("@daily", None, Some("UTC")), "unix:0 0 * * *@UTC", "UTC"),
        (entry("0 0 4 * * *", Some(Fc), None), "fc:0 0 4 * * *@UTC", "UTC"),
        (entry("CRON_TZ=Asia/Tokyo 0 0 4 * * *", Some(Fc), None), "fc:0 0 4 * * *@Asia/Tokyo", "Asia/Tokyo"),
        (entry("0 0 4 ? * 2-6 2030", Some(Quartz), Some("UTC")), "quartz:0 0 4 ? * 2-6 2030@UTC", "UTC"),
        (entry("@every 1h30m", Some(Fc), None), "every:1h30m", "UTC"),
        (every("90m"), "every:1h30m", "UTC"),
    ] {
        let schedule = Schedule::parse(&entry).expect(text);
        assert_eq!((schedule.text(), schedule.zone()), (text, zone));
    }
}

#[test]
fn a_line_fires_as_its_dialect_says() {
    // 2024-01-01 is a Monday; 2024 is a leap year.
    for (line, dialect, expected) in [
        ("30 4 * * 1-5", Unix, ["01-01 04:30", "01-02 04:30", "01-03 04:30"]),
        ("30 4 * * 7", Unix, ["01-07 04:30", "01-14 04:30", "01-21 04:30"]),
        ("0 0 1,15 * 0", Unix, ["01-07 00:00", "01-14 00:00", "01-15 00:00"]),
        ("0 22-2 * * *", Unix, ["01-01 01:00", "01-01 02:00", "01-01 22:00"]),
        ("0 9 * * FRI-MON", Unix, ["01-01 09:00", "01-05 09:00", "01-06 09:00"]),
        ("0 0 29 2 *", Unix, ["02-29 00:00", "02-29 00:00", "02-29 00:00"]),
        ("0 0 9 * * 1-5 *", Scf, ["01-01 09:00", "01-02 09:00", "01-03 09:00"]),
        ("0 9 * * 0", Scf, ["01-07 09:00", "01-14 09:00", "01-21 09:00"]),
        ("0 0 9 L * * *", Scf, ["01-31 09:00", "02-29 09:00", "03-31 09:00"]),
        ("0 0 9 ? * 1-5", Quartz, ["01-01 09:00", "01-02 09:00", "01-03 09:00"]),
        ("0 0 9 ? * 6", Quartz, ["01-05 09:00", "01-12 09:00", "01-19 09:00"]),
        ("0 0 9 L-2 * ?", Quartz, ["01-29 09:00", "02-27 09:00", "03-29 09:00"]),
        ("0 0 9 LW 3-6 ?", Quartz, ["03-29 09:00", "04-30 09:00", "05-31 09:00"]),
        ("0 0 9 LW 6 ?", Quartz, ["06-28 09:00", "06-30 09:00", "06-30 09:00"]),
        ("0 0 9 6W * ?", Quartz, ["01-05 09:00", "02-06 09:00", "03-06 09:00"]),
        ("0 0 9 1W 6-9 ?", Quartz, ["06-03 09:00", "07-01 09:00", "08-01 09:00"]),
        ("0 0 9 31W 3-6 ?", Quartz, ["03-29 09:00", "05-31 09:00", "03-31 09:00"]),
        ("0 0 9 ? * FRI#2", Quartz, ["01-12 09:00", "02-09 09:00", "03-08 09:00"]),
        ("0 0 9 ? * 5#5", Quartz, ["02-29 09:00", "05-30 09:00", "08-29 09:00"]),
        ("0 0 9 ? * 2L", Quartz, ["01-29 09:00", "02-26 09:00", "03-25 09:00"]),
        ("0 0 9 ? * L", Quartz, ["01-06 09:00", "01-13 09:00", "01-20 09:00"]),
        ("0 0 4 ? * 7", Fc, ["01-07 04:00", "01-14 04:00", "01-21 04:00"]),
        ("0 0 4 ? * MON-FRI", Fc, ["01-01 04:00", "01-02 04:00", "01-03 04:00"]),
    ] {
        let schedule = Schedule::parse(&entry(line, Some(dialect), Some("UTC"))).expect(line);
        let fired: Vec<_> =
            fires(&schedule, "2024-01-01T00:00:00Z", 3).iter().map(|t| t[5..16].to_owned()).collect();
        assert_eq!(fired, expected, "{line}");
    }
}

#[test]
fn without_a_dialect_a_line_is_read_where_all_dialects_agree() {
    for (line, agreed) in [
        ("0 9 * * MON-FRI", "2024-01-01 09:00:00 +00:00"),
        ("0 0 9 * * MON-FRI", "2024-01-01 09:00:00 +00:00"),
        ("0 0 9 ? * TUE *", "2024-01-02 09:00:00 +00:00"),
        ("0 0 9 13 * ?", "2024-01-13 09:00:00 +00:00"),
    ] {
        let schedule = Schedule::parse(&entry(line, None, Some("UTC"))).expect(line);
        assert_eq!(fires(&schedule, "2024-01-01T00:00:00Z", 1), [agreed], "{line}");
    }
}

#[test]
fn what_is_wrong_is_said_with_what_to_write() {
    let none = None::<&str>;
    let utc = Some("UTC");
    for (entry, key, part) in [
        (
            entry("0 0 9 * * 1-5", None, utc),
            "cron",
            "Monday-Friday in unix/scf/fc, Sunday-Thursday in quartz; add `dialect`",
        ),
        (entry("0 9 * * 1", None, utc), "cron", "Monday in unix/scf/fc, Sunday in quartz"),
        (entry("0 9 * * 7", None, utc), "cron", "Sunday in unix/fc, Saturday in quartz"),
        (entry("0 9 * * 9", None, utc), "cron", "no dialect has such weekdays"),
        (entry("0 0 9 L * ?", None, utc), "cron", "only scf and quartz know L, W and #"),
        (entry("0 0 9 1 * MON", None, utc), "cron", "either one in scf"),
        (entry("0 0 3 * * *", None, none), "cron", "names local times but no zone"),
        (entry("0 3 * * *", Some(Unix), none), "cron", "add `zone"),
        (entry("0 0 3 ? * *", Some(Quartz), none), "cron", "add `zone"),
        (entry("0 3 * * *", None, Some("Asia/Beijing")), "zone", "all of China keeps `Asia/Shanghai`"),
        (entry("0 3 * * *", None, Some("Berlin")), "zone", "did you mean `Europe/Berlin`?"),
        (entry("0 3 * * *", None, Some("+08:00")), "zone", "not an offset"),
        (entry("CRON_TZ=Asia/Tokyo 0 0 4 * * *", Some(Fc), utc), "zone", "leave one of them out"),
        (
            entry("CRON_TZ=Asia/Tokyo 0 4 * * *", Some(Unix), utc),
            "cron",
            "write `zone = \"Asia/Tokyo\"` instead",
        ),
        (entry("******", None, utc), "cron", "1 fields; unix has 5 fields"),
        (entry("******", Some(Quartz), utc), "cron", "quartz has 6 or 7 fields"),
        (entry("0 0 9***", Some(Fc), utc), "cron", "here are 3"),
        (entry("", None, utc), "cron", "0 fields"),
        (entry("@reboot", None, utc), "cron", "every = \"5m\""),
        (entry("@daily", Some(Scf), utc), "cron", "in unix this is `0 0 * * *`"),
        (entry("@every 5m", Some(Fc), utc), "zone", "an interval has no `zone`"),
        (entry("@every 5x", Some(Fc), none), "cron", "`5x` is not an interval"),
        (entry("0 0 0 30 2 ?", Some(Quartz), utc), "cron", "can never fire"),
        (entry("0 0 31 4,6 *", Some(Unix), utc), "cron", "can never fire"),
        (entry("0 0 0 29 2 ? 2025", Some(Quartz), utc), "cron", "can never fire"),
        (entry("0 0 3 * * *", Some(Quartz), utc), "cron", "exactly one of"),
        (entry("0 0 3 ? * ?", Some(Quartz), utc), "cron", "exactly one of"),
        (entry("0 0 3 1 * MON", Some(Fc), utc), "cron", "put `?` in one of them"),
        (entry("0 3 ? * 1", Some(Unix), utc), "cron", "write `*`"),
        (entry("0 3 */2 * 1", Some(Unix), utc), "cron", "write the days as a list"),
        (entry("0 3 L * *", Some(Unix), utc), "cron", "unix knows no L, W and #"),
        (entry("0 3 * * 5L", Some(Unix), utc), "cron", "unix knows no L, W and #"),
        (entry("0 0 3 ? * 5#6", Some(Quartz), utc), "cron", "from 1 to 5"),
        (entry("0 25 * * *", Some(Unix), utc), "cron", "`25` in the hour field"),
        (entry("*/90 * * * *", Some(Unix), utc), "cron", "use `every`"),
        (entry("* * * * * * *", Some(Scf), None), "cron", "fires every 1s"),
        (entry("*/5 * * * * *", Some(Fc), None), "cron", "allow-frequent = true"),
        (entry("0,55 * * * * *", Some(Fc), None), "cron", "fires every 5s"),
        (entry(&"0,".repeat(600), Some(Fc), None), "cron", "at most 1024"),
        (every("5s"), "every", "allow-frequent = true"),
        (every("5"), "every", "such as `5m` or `1h30m`"),
        (every("1d"), "every", "not always 24 hours"),
        (every("9000h"), "every", "longer than a year"),
        (ScheduleEntry { zone: Some("UTC".to_owned()), ..every("5m") }, "zone", "has no `zone`"),
        (ScheduleEntry { dialect: Some(Scf), ..every("5m") }, "dialect", "has no `dialect`"),
        (ScheduleEntry { grace: Some("1s".to_owned()), ..every("5m") }, "grace", "from 5s to 24h"),
        (ScheduleEntry { grace: Some("soon".to_owned()), ..every("5m") }, "grace", "such as `5m`"),
        (
            ScheduleEntry { cron: Some("0 3 * * *".to_owned()), ..every("5m") },
            "cron",
            "either `cron` or `every`",
        ),
        (ScheduleEntry::default(), "cron", "either `cron` or `every`"),
    ] {
        let error = Schedule::parse(&entry).expect_err(part);
        assert!(error.to_string().contains(part), "{entry:?}: {error}");
        assert_eq!(error.key(), key, "{entry:?}");
    }
}

#[test]
fn a_frequent_schedule_is_taken_where_the_operator_says_so() {
    for typed in [entry("*/5 * * * * *", Some(Fc), None), every("1s")] {
        assert!(Schedule::parse(&ScheduleEntry { allow_frequent: true, ..typed }).is_ok());
    }
    // Ten seconds and a minute need no word.
    for typed in
        [entry("*/10 * * * * *", Some(Fc), None), entry("55 * * * * *", Some(Fc), None), every("10s")]
    {
        assert!(Schedule::parse(&typed).is_ok(), "{typed:?}");
    }
}

#[test]
fn an_unknown_key_of_an_entry_is_refused() {
    let read = |text: &str| toml::from_str::<ScheduleEntry>(text);
    let typed = read(
        "cron = \"0 0 3 * * * *\"\ndialect = \"scf\"\ngrace = \"10m\"\noverlap = \"allow\"\nallow-frequent = true",
    );
    let schedule = Schedule::parse(&typed.expect("an entry")).expect("a schedule");
    assert_eq!((schedule.grace().as_secs(), schedule.overlap()), (600, Overlap::Allow));
    for text in ["con = \"0 3 * * *\"", "dialect = \"vixie\"", "overlap = true", "allow_frequent = true"] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn a_skipped_local_time_fires_at_the_end_of_the_gap_and_a_repeated_one_once() {
    for (zone, line, after, expected) in [
        // 2024-03-10 02:00 to 03:00 is skipped.
        (
            "America/New_York",
            "30 2 * * *",
            "2024-03-09T08:00:00Z",
            ["2024-03-10 03:00:00 -04:00", "2024-03-11 02:30:00 -04:00"],
        ),
        (
            "America/New_York",
            "0 3 * * *",
            "2024-03-09T09:00:00Z",
            ["2024-03-10 03:00:00 -04:00", "2024-03-11 03:00:00 -04:00"],
        ),
        // Several skipped times, and 03:00 itself, are one firing.
        (
            "America/New_York",
            "*/30 2-3 10 3 *",
            "2024-03-10T00:00:00Z",
            ["2024-03-10 03:00:00 -04:00", "2024-03-10 03:30:00 -04:00"],
        ),
        // 2024-11-03 01:00 to 02:00 is repeated.
        (
            "America/New_York",
            "30 1 * * *",
            "2024-11-03T00:00:00Z",
            ["2024-11-03 01:30:00 -04:00", "2024-11-04 01:30:00 -05:00"],
        ),
        // Asked in the midst of the second pass: it has fired in the first.
        (
            "America/New_York",
            "45 1 * * *",
            "2024-11-03T06:15:00Z",
            ["2024-11-04 01:45:00 -05:00", "2024-11-05 01:45:00 -05:00"],
        ),
        (
            "America/New_York",
            "0 2 * * *",
            "2024-11-03T06:00:00Z",
            ["2024-11-03 02:00:00 -05:00", "2024-11-04 02:00:00 -05:00"],
        ),
        (
            "Europe/Berlin",
            "15 2 * * *",
            "2024-03-30T12:00:00Z",
            ["2024-03-31 03:00:00 +02:00", "2024-04-01 02:15:00 +02:00"],
        ),
        (
            "Europe/Berlin",
            "15 2 * * *",
            "2024-10-26T12:00:00Z",
            ["2024-10-27 02:15:00 +02:00", "2024-10-28 02:15:00 +01:00"],
        ),
        // Half an hour: 2024-10-06 02:00 to 02:30 is skipped, 2024-04-07 01:30 to 02:00 is repeated.
        (
            "Australia/Lord_Howe",
            "10 2 * * *",
            "2024-10-05T12:00:00Z",
            ["2024-10-06 02:30:00 +11:00", "2024-10-07 02:10:00 +11:00"],
        ),
        (
            "Australia/Lord_Howe",
            "40 1 * * *",
            "2024-04-06T12:00:00Z",
            ["2024-04-07 01:40:00 +11:00", "2024-04-08 01:40:00 +10:30"],
        ),
        // A whole day: 2011-12-30 is skipped.
        (
            "Pacific/Apia",
            "0 12 30 12 *",
            "2011-12-01T00:00:00Z",
            ["2011-12-31 00:00:00 +14:00", "2012-12-30 12:00:00 +14:00"],
        ),
    ] {
        let schedule = Schedule::parse(&entry(line, Some(Unix), Some(zone))).expect(line);
        assert_eq!(fires(&schedule, after, 2), expected, "{line} in {zone}");
    }
}

#[test]
fn a_pace_goes_on_through_a_clock_change() {
    for (zone, line, after, expected) in [
        // 2024-03-10 02:00 to 03:00 is skipped: a pace has nothing to make up for.
        (
            "America/New_York",
            "10,40 * * * *",
            "2024-03-10T06:30:00Z",
            ["01:40:00 -05:00", "03:10:00 -04:00", "03:40:00 -04:00", "04:10:00 -04:00"],
        ),
        // 2024-11-03 01:00 to 02:00 is repeated: it is an hour like any other.
        (
            "America/New_York",
            "*/30 * * * *",
            "2024-11-03T05:00:00Z",
            ["01:30:00 -04:00", "01:00:00 -05:00", "01:30:00 -05:00", "02:00:00 -05:00"],
        ),
        // Asked at the second before a change, and at the change itself.
        (
            "America/New_York",
            "0 * * * *",
            "2024-11-03T05:59:59Z",
            ["01:00:00 -05:00", "02:00:00 -05:00", "03:00:00 -05:00", "04:00:00 -05:00"],
        ),
        (
            "America/New_York",
            "0 * * * *",
            "2024-11-03T06:00:00Z",
            ["02:00:00 -05:00", "03:00:00 -05:00", "04:00:00 -05:00", "05:00:00 -05:00"],
        ),
        // In a part of the day, over midnight too.
        (
            "America/New_York",
            "20 23-2 * * *",
            "2024-11-03T04:30:00Z",
            ["01:20:00 -04:00", "01:20:00 -05:00", "02:20:00 -05:00", "23:20:00 -05:00"],
        ),
        // Hours apart from one another are times of the day.
        (
            "America/New_York",
            "20 1,13 * * *",
            "2024-11-03T04:30:00Z",
            ["01:20:00 -04:00", "13:20:00 -05:00", "01:20:00 -05:00", "13:20:00 -05:00"],
        ),
        // Half an hour: 2024-04-07 01:30 to 02:00 is repeated.
        (
            "Australia/Lord_Howe",
            "*/20 * * * *",
            "2024-04-06T14:20:00Z",
            ["01:40:00 +11:00", "01:40:00 +10:30", "02:00:00 +10:30", "02:20:00 +10:30"],
        ),
    ] {
        let schedule = Schedule::parse(&entry(line, Some(Unix), Some(zone))).expect(line);
        let fired: Vec<_> = fires(&schedule, after, 4).iter().map(|t| t[11..].to_owned()).collect();
        assert_eq!(fired, expected, "{line} in {zone}");
    }
    // On a day that comes many clock changes later.
    let schedule =
        Schedule::parse(&entry("0 * 29 2 *", Some(Unix), Some("Europe/Berlin"))).expect("a schedule");
    assert_eq!(fires(&schedule, "2096-03-01T00:00:00Z", 1), Vec::<String>::new());
    assert_eq!(fires(&schedule, "2025-03-01T00:00:00Z", 1), ["2028-02-29 00:00:00 +01:00"]);
}

#[test]
fn after_the_last_year_nothing_fires() {
    let schedule = Schedule::parse(&entry("0 0 3 1 1 ? 2030", Some(Scf), None)).expect("a schedule");
    assert_eq!(fires(&schedule, "2024-01-01T00:00:00Z", 3), ["2030-01-01 03:00:00 +08:00"]);
    for t in [i64::MAX, i64::MIN, 4_102_444_800_000] {
        let next = schedule.next_after(Timestamp::from_ms(t));
        assert_eq!(next.is_some(), t < 0, "{t}");
    }
    assert_eq!(
        Schedule::parse(&every("5m")).expect("a schedule").next_after(Timestamp::from_ms(i64::MAX)),
        None
    );
}

#[test]
fn an_interval_is_counted_from_1970() {
    let schedule = Schedule::parse(&every("5m")).expect("a schedule");
    assert_eq!(
        fires(&schedule, "2024-01-01T00:00:00Z", 2),
        ["2024-01-01 00:05:00 +00:00", "2024-01-01 00:10:00 +00:00"]
    );
    assert_eq!(fires(&schedule, "2024-01-01T00:04:59.999Z", 1), ["2024-01-01 00:05:00 +00:00"]);
}

const ZONES: [&str; 8] = [
    "UTC",
    "Asia/Shanghai",
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Africa/Casablanca",
    "America/Santiago",
];

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 64, ..Default::default() })]

    #[test]
    fn a_daily_schedule_fires_once_for_every_day_of_a_year(zone in 0..ZONES.len(), hour in 0u8..24, minute in 0u8..60) {
        let line = format!("{minute} {hour} * * *");
        let schedule = Schedule::parse(&entry(&line, Some(Unix), Some(ZONES[zone]))).expect("a schedule");
        let fired = fires(&schedule, "2023-12-31T00:00:00Z", 370);
        let days: std::collections::BTreeSet<_> = fired.iter().map(|t| &t[..10]).collect();
        proptest::prop_assert_eq!(days.len(), fired.len());
        let fired_on = fired.iter().filter(|t| t.starts_with("2024-")).count();
        proptest::prop_assert_eq!(fired_on, 366);
    }

    #[test]
    fn the_next_fire_time_is_the_same_from_anywhere_before_it(zone in 0..ZONES.len(), t in 1_700_000_000_000i64..1_740_000_000_000) {
        let schedule = Schedule::parse(&entry("7-59/13 1-3 * * *", Some(Unix), Some(ZONES[zone]))).expect("a schedule");
        let t = Timestamp::from_ms(t);
        let next = schedule.next_after(t).expect("it goes on");
        proptest::prop_assert!(next > t);
        for part in 1..8 {
            let between = Timestamp::from_ms(t.ms() + (next.ms() - t.ms()) * part / 8);
            proptest::prop_assert_eq!(schedule.next_after(between), Some(next));
        }
        proptest::prop_assert_eq!(schedule.next_after(Timestamp::from_ms(next.ms() - 1)), Some(next));
    }

    #[test]
    fn no_text_makes_the_reader_panic(line in "[-*/,?0-9LW# @A-Z]{0,24}", dialect in 0..4usize) {
        let typed = entry(&line, Some(Dialect::ALL[dialect]), Some("UTC"));
        if let Ok(schedule) = Schedule::parse(&ScheduleEntry { allow_frequent: true, ..typed }) {
            proptest::prop_assert!(schedule.next_after(Timestamp::from_ms(0)).is_some());
        }
    }
}

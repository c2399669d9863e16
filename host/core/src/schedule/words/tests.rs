//! Tables of lines and their words, in both languages, for every shape there is.

use super::super::{Dialect, ExceptEntry, Schedule, ScheduleEntry};
use Dialect::{Fc, Quartz, Scf, Unix};

fn entry(line: &str, dialect: Dialect) -> ScheduleEntry {
    let [cron, zone] = [line, "UTC"].map(|text| Some(text.to_owned()));
    ScheduleEntry { cron, zone, dialect: Some(dialect), allow_frequent: true, ..ScheduleEntry::default() }
}

fn said(entry: &ScheduleEntry) -> (String, String) {
    let words = Schedule::parse(entry).unwrap_or_else(|error| panic!("{entry:?}: {error}")).words();
    (words.en, words.zh)
}

fn check(dialect: Dialect, table: &[(&str, &str, &str)]) {
    for (line, en, zh) in table {
        let expected = (format!("{en}, UTC"), format!("{zh}(UTC)"));
        assert_eq!(said(&entry(line, dialect)), expected, "{line}");
    }
}

#[test]
fn the_readings_of_the_manual() {
    let typed = ScheduleEntry { zone: Some("Asia/Shanghai".to_owned()), ..entry("0 0 3 * * * *", Scf) };
    let expected = ("every day at 03:00, Asia/Shanghai".to_owned(), "每天 03:00(Asia/Shanghai)".to_owned());
    assert_eq!(said(&typed), expected);
}

#[test]
fn times_of_the_day() {
    check(
        Unix,
        &[
            ("30 4 * * *", "every day at 04:30", "每天 04:30"),
            ("0 9,18 * * *", "every day at 09:00 and 18:00", "每天 09:00 和 18:00"),
            (
                "0,30 9-11 * * *",
                "every day at 09:00, 09:30, 10:00, 10:30, 11:00 and 11:30",
                "每天 09:00、09:30、10:00、10:30、11:00 和 11:30",
            ),
            ("* * * * *", "every minute", "每分钟"),
            ("*/5 * * * *", "every 5 minutes", "每 5 分钟"),
            ("15,45 * * * *", "every 30 minutes from minute 15", "从第 15 分起每 30 分钟"),
            ("0 * * * *", "every hour", "每小时"),
            ("20 * * * *", "every hour at minute 20", "每小时第 20 分"),
            ("5,20,25 * * * *", "at minutes 5, 20 and 25 of every hour", "每小时第 5、20 和 25 分"),
            ("0 */2 * * *", "every 2 hours, every day", "每天 每 2 小时"),
            ("30 1-23/2 * * *", "every 2 hours from 01:30, every day", "每天 从 01:30 起每 2 小时"),
            ("0 9-17 * * *", "every hour from 09:00 to 17:00, every day", "每天 09:00 至 17:00 每小时"),
            (
                "*/10 9-17 * * 1-5",
                "every 10 minutes from 09:00 to 17:50, Monday to Friday",
                "每周一至周五 09:00 至 17:50 每 10 分钟",
            ),
            ("* 9-17 * * *", "every minute from 09:00 to 17:59, every day", "每天 09:00 至 17:59 每分钟"),
            (
                "0,10 1-4 * * *",
                "at minutes 0 and 10 of hours 1 to 4, every day",
                "每天 1 至 4 时的第 0 和 10 分",
            ),
            ("*/5 * * * 6", "every 5 minutes, every Saturday", "每周六 每 5 分钟"),
        ],
    );
    check(
        Fc,
        &[
            ("5 30 4 * * *", "every day at 04:30:05", "每天 04:30:05"),
            ("*/10 * * * * *", "every 10 seconds", "每 10 秒"),
            ("* * * * * *", "every second", "每秒"),
            (
                "*/30 * 9-17 * * *",
                "every 30 seconds from 09:00 to 17:59, every day",
                "每天 09:00 至 17:59 每 30 秒",
            ),
            ("30 */5 * * * *", "every 5 minutes, at second 30", "每 5 分钟第 30 秒"),
        ],
    );
}

#[test]
fn days_of_the_week_the_month_and_the_year() {
    check(
        Unix,
        &[
            ("0 9 * * 1", "every Monday at 09:00", "每周一 09:00"),
            ("0 9 * * 1-5", "Monday to Friday at 09:00", "每周一至周五 09:00"),
            ("0 9 * * 0,6", "every Saturday and Sunday at 09:00", "每周六和周日 09:00"),
            ("0 9 * * 5-7", "Friday to Sunday at 09:00", "每周五至周日 09:00"),
            ("0 9 1 * *", "on the 1st of every month at 09:00", "每月 1 日 09:00"),
            (
                "0 9 1-7,22 * *",
                "on the 1st to 7th and 22nd of every month at 09:00",
                "每月 1 日至 7 日和 22 日 09:00",
            ),
            ("0 9 1 1,7 *", "on the 1st of January and July at 09:00", "每年 1 月和 7 月的 1 日 09:00"),
            ("0 9 * 6-8 *", "every day in June to August at 09:00", "每年 6 月至 8 月的每天 09:00"),
            ("0 9 * 6 1", "every Monday in June at 09:00", "每年 6 月的每周一 09:00"),
            ("*/5 * * 6 *", "every 5 minutes, every day in June", "每年 6 月的每天 每 5 分钟"),
            (
                "0 9 1,15 * 1",
                "on the 1st and 15th of every month and every Monday at 09:00",
                "每月 1 日和 15 日及每周一 09:00",
            ),
        ],
    );
    check(
        Quartz,
        &[
            ("0 0 9 L * ?", "on the last day of every month at 09:00", "每月最后一天 09:00"),
            ("0 0 9 L 6 ?", "on the last day of June at 09:00", "每年 6 月的最后一天 09:00"),
            ("0 0 9 L-1 * ?", "on the day before the last of every month at 09:00", "每月倒数第 2 天 09:00"),
            ("0 0 9 L-3 * ?", "3 days before the last day of every month at 09:00", "每月倒数第 4 天 09:00"),
            (
                "0 0 9 LW * ?",
                "on the last working day (Monday to Friday) of every month at 09:00",
                "每月最后一个工作日(周一至周五) 09:00",
            ),
            (
                "0 0 9 15W * ?",
                "on the working day (Monday to Friday) nearest the 15th of every month at 09:00",
                "离每月 15 日最近的工作日(周一至周五) 09:00",
            ),
            ("0 0 9 ? * FRI#2", "on the second Friday of every month at 09:00", "每月第二个周五 09:00"),
            ("0 0 9 ? * 6L", "on the last Friday of every month at 09:00", "每月最后一个周五 09:00"),
            ("0 0 9 ? * L", "every Saturday at 09:00", "每周六 09:00"),
            ("0 0 9 ? * 2-6", "Monday to Friday at 09:00", "每周一至周五 09:00"),
        ],
    );
    check(
        Scf,
        &[
            ("0 0 9 * * * 2030", "every day in 2030 at 09:00", "2030 年每天 09:00"),
            (
                "0 0 9 1 6 * 2030,2032",
                "on the 1st of June in 2030 and 2032 at 09:00",
                "2030 和 2032 年 6 月的 1 日 09:00",
            ),
            ("0 0 9 * * * 2030-2035", "every day in 2030 to 2035 at 09:00", "2030 至 2035 年每天 09:00"),
            (
                "0 0 10 1 * 1 *",
                "on the 1st of every month and every Monday at 10:00",
                "每月 1 日及每周一 10:00",
            ),
            (
                "0 0 10 1,L * FRI#1,MON *",
                "on the 1st of every month and on the last day of every month and every Monday and on the first Friday of every month at 10:00",
                "每月 1 日及每月最后一天及每周一及每月第一个周五 10:00",
            ),
        ],
    );
}

#[test]
fn what_nobody_would_read_is_not_put_into_words() {
    for (line, dialect) in [
        ("1,3,7,12,19,28,41 1,5,7 * * *", Unix),
        ("0 3 1,3,5,7,9,11,13 * *", Unix),
        ("1,2,5 * * * * *", Fc),
        ("*/10 */7 * * * *", Fc),
    ] {
        let expected = (format!("as the line says, `{line}`, UTC"), format!("按表达式 `{line}`(UTC)"));
        assert_eq!(said(&entry(line, dialect)), expected, "{line}");
    }
}

#[test]
fn intervals_bounds_and_jitter() {
    let text = |text: &str| Some(text.to_owned());
    let every = |period: &str| ScheduleEntry { every: text(period), ..ScheduleEntry::default() };
    for (entry, en, zh) in [
        (every("5m"), "every 5 minutes", "每 5 分钟"),
        (every("1h30m"), "every 1 hour 30 minutes", "每 1 小时 30 分钟"),
        (every("1h"), "every hour", "每小时"),
        (
            ScheduleEntry { jitter: text("10m"), ..every("1h") },
            "every hour; up to 10 minutes later",
            "每小时;最多推迟 10 分钟",
        ),
        (
            ScheduleEntry {
                start: text("2026-10-01"),
                end: text("2026-12-31"),
                except: Some(ExceptEntry {
                    dates: ["2026-10-05..2026-10-07", "2026-12-25"].map(str::to_owned).to_vec(),
                    weekdays: ["SAT", "SUN"].map(str::to_owned).to_vec(),
                }),
                ..entry("0 3 * * *", Unix)
            },
            "every day at 03:00, UTC; from 2026-10-01; until 2026-12-31; not on Saturday and Sunday, 2026-10-05 to 2026-10-07, 2026-12-25",
            "每天 03:00(UTC);自 2026-10-01 起;至 2026-12-31 止;周六和周日、2026-10-05 至 2026-10-07、2026-12-25除外",
        ),
        (
            ScheduleEntry { start: text("2026-10-01T03:00:00Z"), ..every("1h") },
            "every hour; from 2026-10-01 03:00:00",
            "每小时;自 2026-10-01 03:00:00 起",
        ),
    ] {
        assert_eq!(said(&entry), (en.to_owned(), zh.to_owned()));
    }
}

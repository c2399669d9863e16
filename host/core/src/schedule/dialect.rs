//! Dialects: how many fields a line has, what they are, and which zone the vendor gives it. A line without a dialect is
//! taken only where all dialects read it alike. Leaves what is inside a field to `field` and `days`. Tested in
//! `super::tests`. Sources: crontab(5); cloud.tencent.com/document/product/583/9708 (scf); the timer pages of Function
//! Compute (fc); the CronTrigger tutorial of Quartz 2.

use super::{ScheduleError, field};
use serde::{Deserialize, Serialize};

/// Who the cron line was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// crontab: minute hour day month weekday; 0 and 7 are Sunday.
    Unix,
    /// Tencent SCF: second minute hour day month weekday year; 0 is Sunday. The older form is that of crontab.
    Scf,
    /// Alibaba Function Compute: second minute hour day month weekday; 1 is Monday; `CRON_TZ=` and `@every`.
    Fc,
    /// Quartz: second minute hour day month weekday, and perhaps year; 1 is Sunday.
    Quartz,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unix, Self::Scf, Self::Fc, Self::Quartz];

    /// The name in a policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Scf => "scf",
            Self::Fc => "fc",
            Self::Quartz => "quartz",
        }
    }

    /// The zone the vendor documents; `None` where it depends on the machine.
    pub fn default_zone(self) -> Option<&'static str> {
        match self {
            Self::Scf => Some("Asia/Shanghai"),
            Self::Fc => Some("UTC"),
            Self::Unix | Self::Quartz => None,
        }
    }

    fn takes(self, fields: usize) -> bool {
        match self {
            Self::Unix => fields == 5,
            Self::Scf => fields == 7 || fields == 5,
            Self::Fc => fields == 6,
            Self::Quartz => fields == 6 || fields == 7,
        }
    }

    fn form(self) -> &'static str {
        match self {
            Self::Unix => "unix has 5 fields: minute hour day month weekday",
            Self::Scf => "scf has 7 fields: second minute hour day month weekday year",
            Self::Fc => "fc has 6 fields: second minute hour day month weekday",
            Self::Quartz => {
                "quartz has 6 or 7 fields: second minute hour day month weekday, and perhaps year"
            }
        }
    }
}

/// A cron line, taken apart.
pub(super) enum Line {
    /// `@every`, with its interval.
    Every(String),
    /// All other lines.
    Fields(FieldsLine),
}

/// A cron line in fields.
pub(super) struct FieldsLine {
    /// As declared; otherwise one that reads it as all do.
    pub(super) dialect: Dialect,
    /// The zone of a `CRON_TZ=` prefix.
    pub(super) zone: Option<String>,
    /// 5, 6 or 7 fields in upper case.
    pub(super) fields: Vec<String>,
}

impl FieldsLine {
    /// Second, minute, hour, day of month, month, day of week, year.
    pub(super) fn seven(&self) -> [&str; 7] {
        let field = |at: usize| self.fields.get(at).map(String::as_str);
        let offset = usize::from(self.fields.len() > 5);
        let second = if offset == 1 { field(0) } else { Some("0") };
        [
            second.unwrap_or("0"),
            field(offset).unwrap_or("*"),
            field(offset + 1).unwrap_or("*"),
            field(offset + 2).unwrap_or("*"),
            field(offset + 3).unwrap_or("*"),
            field(offset + 4).unwrap_or("*"),
            field(6).unwrap_or("*"),
        ]
    }
}

/// Takes a line apart as `declared`, or as all dialects do.
pub(super) fn read(typed: &str, declared: Option<Dialect>) -> Result<Line, ScheduleError> {
    let wrong = |problem: String| ScheduleError::Line { text: typed.trim().to_owned(), problem };
    let mut words: Vec<&str> = typed.split_whitespace().collect();
    let zone = match words.first().and_then(|w| w.strip_prefix("CRON_TZ=").or_else(|| w.strip_prefix("TZ=")))
    {
        Some(zone) if declared.is_none_or(|d| d == Dialect::Fc) => {
            words.remove(0);
            Some(zone.to_owned())
        }
        Some(zone) => return Err(wrong(format!("the prefix is fc's; write `zone = \"{zone}\"` instead"))),
        None => None,
    };
    if let Some(nickname) = words.first().filter(|w| w.starts_with('@')) {
        if *nickname == "@every" && declared.is_none_or(|d| d == Dialect::Fc) && zone.is_none() {
            return Ok(Line::Every(words[1..].concat()));
        }
        let standing_for = NICKNAMES.iter().find(|(name, _)| name == nickname).map(|(_, line)| *line);
        match (standing_for, declared.unwrap_or(Dialect::Unix)) {
            (Some(line), Dialect::Unix) if words.len() == 1 => words = line.split(' ').collect(),
            (Some(line), _) => return Err(wrong(format!("in unix this is `{line}`: write the fields out"))),
            (None, _) => {
                return Err(wrong("write the fields, or `every = \"5m\"` for an interval".to_owned()));
            }
        }
    }
    let dialect = match declared {
        Some(dialect) if dialect.takes(words.len()) => dialect,
        Some(dialect) => return Err(wrong(format!("{}; here are {}", dialect.form(), words.len()))),
        // With the ambiguous refused below, any dialect of that many fields reads the line as all do.
        None => match words.len() {
            5 => Dialect::Unix,
            6 => Dialect::Fc,
            7 => Dialect::Scf,
            count => {
                return Err(wrong(format!("{count} fields; {}", Dialect::ALL.map(Dialect::form).join("; "))));
            }
        },
    };
    let fields = words.iter().map(|w| w.to_ascii_uppercase()).collect();
    let line = FieldsLine { dialect, zone, fields };
    if declared.is_none() {
        refuse_ambiguous(&line)?;
    }
    Ok(Line::Fields(line))
}

/// crontab(5).
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * SUN"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

fn refuse_ambiguous(line: &FieldsLine) -> Result<(), ScheduleError> {
    let [_, _, _, day, _, weekday, _] = line.seven();
    let text = line.fields.join(" ");
    let declare = |problem: &str| ScheduleError::Line {
        text: text.clone(),
        problem: format!("{problem}; add `dialect = \"unix\"`, `\"scf\"`, `\"fc\"` or `\"quartz\"`"),
    };
    if field::is_special(day, weekday) {
        return Err(declare("only scf and quartz know L, W and #"));
    }
    if weekday.contains(|c: char| c.is_ascii_digit()) {
        let mut readings: Vec<(String, Vec<&str>)> = Vec::new();
        for dialect in Dialect::ALL {
            let Ok(days) = field::read(&field::weekday(dialect), weekday) else { continue };
            let reading = field::show_weekdays(&days);
            match readings.iter_mut().find(|(known, _)| *known == reading) {
                Some((_, dialects)) => dialects.push(dialect.as_str()),
                None => readings.push((reading, vec![dialect.as_str()])),
            }
        }
        let readings: Vec<String> =
            readings.iter().map(|(days, dialects)| format!("{days} in {}", dialects.join("/"))).collect();
        return Err(match readings.is_empty() {
            true => declare("no dialect has such weekdays"),
            false => {
                ScheduleError::AmbiguousWeekday { text: weekday.to_owned(), readings: readings.join(", ") }
            }
        });
    }
    let both = field::is_restricted(day) && field::is_restricted(weekday);
    if both && line.fields.len() > 5 {
        return Err(declare(
            "day of month and weekday together mean either one in scf, and are refused by fc and quartz",
        ));
    }
    Ok(())
}

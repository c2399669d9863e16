//! Two hundred cron lines, drawn from all forms that ours and the two other readers can express. The same ones each time.

use crate::chaos::next;

/// How many.
pub(super) const COUNT: usize = 200;
const SEED: u64 = 0x5eed_c402;

/// A line, as each reader wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// As a policy file has it.
    pub(super) ours: String,
    pub(super) dialect: &'static str,
    pub(super) croner: String,
    pub(super) croniter: String,
    /// Whether the first field is that of seconds.
    pub(super) has_seconds: bool,
}

/// The lines.
pub(super) fn lines() -> Vec<Line> {
    let mut draw = Draw(SEED);
    let mut lines: Vec<Line> = Vec::with_capacity(COUNT);
    while lines.len() < COUNT {
        let line = draw.line();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        (next(&mut self.0) >> 11) % bound
    }

    fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    fn line(&mut self) -> Line {
        let minute = self.field(0, 59, false);
        let hour = self.field(0, 23, true);
        let month = match self.below(4) {
            0 => self.month(),
            _ => "*".to_owned(),
        };
        match self.below(10) {
            // Seconds, and names of weekdays alone: numbers differ between the dialects.
            0 => {
                let second = self.below(60).to_string();
                let weekday = if self.below(2) == 0 { "*".to_owned() } else { self.weekday_names() };
                let line = format!("{second} {minute} {hour} * {month} {weekday}");
                Line {
                    ours: line.clone(),
                    dialect: "fc",
                    croner: line.clone(),
                    croniter: line,
                    has_seconds: true,
                }
            }
            1 => self.of_days(&minute, &hour, &month, "L", "*", "*"),
            2 => {
                let (day, nth) = (self.below(7), self.between(1, 5));
                let text = format!("{day}#{nth}");
                self.of_days(&minute, &hour, &month, "*", &text, &text)
            }
            3 => {
                let day = self.below(7);
                self.of_days(&minute, &hour, &month, "*", &format!("{day}L"), &format!("L{day}"))
            }
            4 => {
                // Day of month or weekday.
                let (day, weekday) = (self.days(), self.weekday_names());
                self.of_days(&minute, &hour, &month, &day, &weekday, &weekday)
            }
            5 | 6 => {
                let weekday = if self.below(2) == 0 { self.weekday_names() } else { self.weekday_numbers() };
                self.unix(&minute, &hour, "*", &month, &weekday)
            }
            7 => {
                let day = self.days();
                self.unix(&minute, &hour, &day, &month, "*")
            }
            _ => self.unix(&minute, &hour, "*", &month, "*"),
        }
    }

    fn unix(&mut self, minute: &str, hour: &str, day: &str, month: &str, weekday: &str) -> Line {
        let line = format!("{minute} {hour} {day} {month} {weekday}");
        Line { ours: line.clone(), dialect: "unix", croner: line.clone(), croniter: line, has_seconds: false }
    }

    /// `scf` has a form of five fields that knows `L` and `#`.
    fn of_days(
        &mut self,
        minute: &str,
        hour: &str,
        month: &str,
        day: &str,
        weekday: &str,
        croniter: &str,
    ) -> Line {
        let ours = format!("{minute} {hour} {day} {month} {weekday}");
        let croniter = format!("{minute} {hour} {day} {month} {croniter}");
        Line { croner: ours.clone(), ours, dialect: "scf", croniter, has_seconds: false }
    }

    /// `5`, `1,15,40`, `10-20`, `10-20/3`, `*/15`, `*`.
    fn field(&mut self, min: u64, max: u64, seldom_all: bool) -> String {
        let (a, b) = (self.between(min, max), self.between(min, max));
        let (first, last) = (a.min(b), a.max(b));
        match self.below(8) {
            0 => {
                let mut list: Vec<u64> = (0..self.between(2, 4)).map(|_| self.between(min, max)).collect();
                list.sort_unstable();
                list.dedup();
                list.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
            }
            1 if first < last => format!("{first}-{last}"),
            2 if last > first + 4 => format!("{first}-{last}/{}", self.between(2, 4)),
            3 => format!("*/{}", [2, 3, 4, 6, 5, 10, 12, 7][usize::try_from(self.below(8)).expect("small")]),
            4 if !seldom_all => "*".to_owned(),
            5 if seldom_all && self.below(2) == 0 => "*".to_owned(),
            _ => a.to_string(),
        }
    }

    fn days(&mut self) -> String {
        match self.below(3) {
            0 => self.between(1, 31).to_string(),
            1 => format!("{},{}", self.between(1, 15), self.between(16, 31)),
            _ => format!("{}-{}", self.between(1, 10), self.between(11, 28)),
        }
    }

    fn month(&mut self) -> String {
        const NAMES: [&str; 12] =
            ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
        match self.below(3) {
            0 => NAMES[usize::try_from(self.below(12)).expect("small")].to_owned(),
            1 => format!("{}-{}", self.between(1, 6), self.between(7, 12)),
            _ => format!("{},{}", self.between(1, 6), self.between(7, 12)),
        }
    }

    fn weekday_names(&mut self) -> String {
        const NAMES: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
        let name = |at: u64| NAMES[usize::try_from(at).expect("small")];
        match self.below(3) {
            0 => name(self.below(7)).to_owned(),
            1 => format!("{}-{}", name(self.below(3)), name(self.between(3, 5))),
            _ => format!("{},{}", name(self.below(3)), name(self.between(3, 6))),
        }
    }

    fn weekday_numbers(&mut self) -> String {
        match self.below(3) {
            0 => self.below(8).to_string(),
            1 => format!("{}-{}", self.below(3), self.between(3, 6)),
            _ => format!("{},{}", self.below(3), self.between(3, 6)),
        }
    }
}

//! Intervals in whole seconds, typed as `5m` or `1h30m`. Leaves bounds to the caller. Tested below.

use std::time::Duration;

/// Reads a positive number of whole seconds; the error says what is wrong.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write hours, minutes and seconds, such as `5m` or `1h30m`";
    let wrong = |problem: &str| format!("{problem}; {FORM}");
    let days = text.trim_end().ends_with('d') && !text.contains(|c: char| c.is_whitespace());
    if days {
        return Err("a day is not always 24 hours: write `24h`, or a cron line for a time of day".to_owned());
    }
    let duration = text.parse::<jiff::SignedDuration>().map_err(|_| wrong("unreadable"))?;
    if duration.subsec_nanos() != 0 {
        return Err(wrong("parts of a second are not kept"));
    }
    match u64::try_from(duration.as_secs()) {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong("it has to be longer than nothing")),
    }
}

/// The canonical text: `1h30m`, `90s` as `1m30s`.
pub(crate) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let mut text = String::new();
    for (value, unit) in [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')] {
        if value > 0 {
            text.push_str(&value.to_string());
            text.push(unit);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_whole_seconds_in_hours_minutes_and_seconds() {
        for (text, canonical) in
            [("5m", "5m"), ("90s", "1m30s"), ("1h30m", "1h30m"), ("1.5h", "1h30m"), ("24h", "24h")]
        {
            assert_eq!(parse(text).map(show).as_deref(), Ok(canonical), "{text}");
        }
        for text in ["", "5", "m", "0s", "-5m", "500ms", "1d", "5m5m", "9999999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Instants as milliseconds since 1970 in UTC. Leaves calendars and zones to `schedule`, and reading a clock to the
//! host. Tested below.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `ms` milliseconds after 1970.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// The instant `seconds` after 1970.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long after `earlier` this is; zero where it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339, with any offset.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(Into::into)
    }

    /// Reads an HTTP date: `Fri, 08 Jun 2018 01:25:37 GMT`.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(Into::into)
    }

    /// `Fri, 08 Jun 2018 01:25:37 GMT`: how HTTP writes instants.
    pub fn to_http_date(self) -> String {
        jiff::Timestamp::from(self).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// `2018-06-08T01:25:37Z`: the form Alibaba signs.
    pub fn to_iso_seconds(self) -> String {
        jiff::Timestamp::from(Self::from_seconds(self.seconds())).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// `2018-06-08`, the UTC date.
    pub fn to_utc_date(self) -> String {
        jiff::Timestamp::from(self).strftime("%Y-%m-%d").to_string()
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(t: jiff::Timestamp) -> Self {
        Self(t.as_millisecond())
    }
}
/// Instants outside jiff's range (years -9999 to 9999) become its nearest end.
impl From<Timestamp> for jiff::Timestamp {
    fn from(t: Timestamp) -> Self {
        Self::from_millisecond(t.0).unwrap_or(if t.0 < 0 { Self::MIN } else { Self::MAX })
    }
}
impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}
impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}
/// RFC 3339 in UTC with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&jiff::Timestamp::from(*self).strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_agree() {
        let t = Timestamp::parse_rfc3339("2018-06-08T09:25:37.410+08:00").expect("valid");
        assert_eq!(t.ms(), 1_528_421_137_410);
        assert_eq!(t.to_string(), "2018-06-08T01:25:37.410Z");
        assert_eq!(t.to_iso_seconds(), "2018-06-08T01:25:37Z");
        assert_eq!(t.to_http_date(), "Fri, 08 Jun 2018 01:25:37 GMT");
        assert_eq!(t.to_utc_date(), "2018-06-08");
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
        let whole_second = Timestamp::from_seconds(t.seconds());
        assert_eq!(Timestamp::parse_http_date("Fri, 08 Jun 2018 01:25:37 GMT"), Some(whole_second));
        assert_eq!(Timestamp::parse_http_date("2018-06-08"), None);
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Timestamp::from_ms(5).since(Timestamp::from_ms(9)), Duration::ZERO);
        assert_eq!(Timestamp::from_ms(i64::MAX) + Duration::from_secs(1), Timestamp::from_ms(i64::MAX));
        assert!(Timestamp::from_ms(i64::MAX).to_string().starts_with("9999-"));
    }
}

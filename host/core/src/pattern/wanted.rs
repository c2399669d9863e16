//! What a condition on `data` demands, compiled: where to look, and what may be there. Leaves how it is typed to `data`.
//! Tested in the parent's tables.

use super::data::{AnyOf, DataTest, Scalar, TestTable};
use crate::event::JSON_DEPTH_MAX;
use serde_json::Value;
use std::fmt;

/// One of `wanted` is at `path`.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: Vec<String>,
    pub(super) wanted: Vec<Wanted>,
}

/// What may be at a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Is(Scalar),
    Text { prefix: String, suffix: String },
    Number(Range),
    There,
    Absent,
}

/// A range of numbers that has at least one end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range {
    /// The end, and whether it is in the range.
    low: Option<(f64, bool)>,
    high: Option<(f64, bool)>,
}

impl Place {
    /// Compiles the condition on the place `path`.
    pub(super) fn compile(path: &str, AnyOf(tests): &AnyOf, values_max: usize) -> Result<Self, String> {
        if tests.is_empty() {
            return Err(format!("`{path}` has an empty list, which never matches"));
        }
        if tests.len() > values_max {
            return Err(format!("`{path}` has more than {values_max} values"));
        }
        let keys: Vec<String> = path.split('.').map(str::to_owned).collect();
        if keys.iter().any(String::is_empty) {
            return Err(format!("`{path}` is no path: write keys with dots between them"));
        }
        if keys.len() > JSON_DEPTH_MAX {
            return Err(format!(
                "`{path}` is deeper than the {JSON_DEPTH_MAX} levels that an event may have"
            ));
        }
        let wanted = tests.iter().map(|test| wanted(path, test));
        Ok(Self { path: keys, wanted: wanted.collect::<Result<_, _>>()? })
    }

    /// Whether it holds of an event's data; without any there is nothing at any place.
    pub(super) fn holds(&self, data: Option<&Value>) -> bool {
        let found = data.and_then(|data| at_path(data, &self.path));
        self.wanted.iter().any(|wanted| wanted.is(found))
    }
}

/// What is at `path`; a number in a path counts the items of a list from 0. What is null is not there: vendors write it for what they
/// do not have.
pub(super) fn at_path<'d>(data: &'d Value, path: &[String]) -> Option<&'d Value> {
    let found = path.iter().try_fold(data, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => value.get(key),
    })?;
    (!found.is_null()).then_some(found)
}

/// A number, or a text that is one: vendors send measurements either way.
pub(super) fn number_of(value: &Value) -> Option<f64> {
    /// Longest text that is looked at: the longest number that a 64-bit float is printed as has 24 characters.
    const DIGITS_MAX: usize = 40;
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.len() <= DIGITS_MAX => {
            serde_json::from_str::<serde_json::Number>(text).ok()?.as_f64()
        }
        _ => None,
    }
}

impl Wanted {
    fn is(&self, found: Option<&Value>) -> bool {
        let Some(found) = found else { return *self == Self::Absent };
        match self {
            Self::Is(scalar) => scalar.is(found),
            Self::Text { prefix, suffix } => found.as_str().is_some_and(|text| {
                text.len() >= prefix.len() + suffix.len()
                    && text.starts_with(prefix.as_str())
                    && text.ends_with(suffix.as_str())
            }),
            Self::Number(range) => number_of(found).is_some_and(|number| range.contains(number)),
            Self::There => true,
            Self::Absent => false,
        }
    }
}

impl Range {
    fn contains(&self, number: f64) -> bool {
        let above = self.low.is_none_or(|(low, included)| number > low || included && number == low);
        let below = self.high.is_none_or(|(high, included)| number < high || included && number == high);
        above && below
    }

    /// Its ends, be they in it or not; infinite where it is open.
    pub(super) fn ends(&self) -> (f64, f64) {
        (
            self.low.map_or(f64::NEG_INFINITY, |(low, _)| low),
            self.high.map_or(f64::INFINITY, |(high, _)| high),
        )
    }

    fn is_empty(&self) -> bool {
        let (low, high) = self.ends();
        let both_included =
            self.low.is_some_and(|(_, included)| included) && self.high.is_some_and(|(_, included)| included);
        low > high || low == high && !both_included
    }
}

fn wanted(path: &str, test: &DataTest) -> Result<Wanted, String> {
    let table = match test {
        DataTest::Is(scalar) => return Ok(Wanted::Is(scalar.clone())),
        DataTest::Passes(table) => table,
    };
    let TestTable { prefix, suffix, min, above, max, below, exists } = table;
    let is_text = prefix.is_some() || suffix.is_some();
    let is_number = [min, above, max, below].into_iter().any(Option::is_some);
    match (is_text, is_number, exists) {
        (false, false, None) => {
            Err(format!("`{path}` has an empty test: write `{{ exists = true }}` for anything"))
        }
        (false, false, Some(true)) => Ok(Wanted::There),
        (false, false, Some(false)) => Ok(Wanted::Absent),
        (_, _, Some(_)) => Err(format!("`exists` stands alone in the test of `{path}`: leave it out")),
        (true, true, None) => {
            Err(format!("the test of `{path}` wants a text and a number at once: write two in a list"))
        }
        (true, false, None) => {
            if [prefix, suffix].into_iter().flatten().any(String::is_empty) {
                return Err(format!("an empty text in the test of `{path}`: leave the key out"));
            }
            let text = |end: &Option<String>| end.clone().unwrap_or_default();
            Ok(Wanted::Text { prefix: text(prefix), suffix: text(suffix) })
        }
        (false, true, None) => range(path, table).map(Wanted::Number),
    }
}

fn range(path: &str, table: &TestTable) -> Result<Range, String> {
    let end = |included: (&str, Option<f64>), excluded: (&str, Option<f64>)| match (included, excluded) {
        ((one, Some(_)), (other, Some(_))) => {
            Err(format!("`{one}` and `{other}` in one test of `{path}`: leave one out"))
        }
        ((_, Some(end)), _) => Ok(Some((end, true))),
        (_, (_, end)) => Ok(end.map(|end| (end, false))),
    };
    let range = Range {
        low: end(("min", table.min), ("above", table.above))?,
        high: end(("max", table.max), ("below", table.below))?,
    };
    if [range.low, range.high].into_iter().flatten().any(|(end, _)| !end.is_finite()) {
        return Err(format!("the range of `{path}` ends in what is no number: leave the key out"));
    }
    if range.is_empty() {
        return Err(format!("the range of `{path}` has no number in it, and never matches"));
    }
    Ok(range)
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(scalar) => write!(f, "{scalar}"),
            Self::Text { prefix, suffix } => match (prefix.as_str(), suffix.as_str()) {
                (prefix, "") => write!(f, "a text that begins with `{prefix}`"),
                ("", suffix) => write!(f, "a text that ends in `{suffix}`"),
                _ => write!(f, "a text that begins with `{prefix}` and ends in `{suffix}`"),
            },
            Self::Number(range) => write!(f, "a number {range}"),
            Self::There => f.write_str("anything"),
            Self::Absent => f.write_str("nothing"),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low =
            self.low.map(|(low, included)| format!("{} {low}", if included { "from" } else { "above" }));
        let high =
            self.high.map(|(high, included)| format!("{} {high}", if included { "to" } else { "below" }));
        f.write_str(&[low, high].into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

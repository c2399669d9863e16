//! Conditions on places in an event's `data`, as an operator types them: a value, a test, or a list of which one must hold.
//! Leaves what they mean to `wanted`. Tested in the parent's tables.

use crate::suggest::nearest;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Conditions on `data`: dotted path to what may be there.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(transparent)]
pub struct DataTests(pub BTreeMap<String, AnyOf>);

/// What may be at a place: one of these.
#[derive(Debug, Clone, PartialEq)]
pub struct AnyOf(pub Vec<DataTest>);

/// One of the things that may be at a place.
#[derive(Debug, Clone, PartialEq)]
pub enum DataTest {
    /// This value.
    Is(Scalar),
    /// What passes this test.
    Passes(TestTable),
}

/// `{ prefix = "System" }`, `{ min = 90, below = 100 }`, `{ exists = false }`: all of its keys must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TestTable {
    /// What the text begins with.
    pub prefix: Option<String>,
    /// What the text ends in.
    pub suffix: Option<String>,
    /// The number is this or more.
    pub min: Option<f64>,
    /// The number is more than this.
    pub above: Option<f64>,
    /// The number is this or less.
    pub max: Option<f64>,
    /// The number is less than this.
    pub below: Option<f64>,
    /// Whether there is anything.
    pub exists: Option<bool>,
}

/// The keys of a test.
const TEST_KEYS: [&str; 7] = ["prefix", "suffix", "min", "above", "max", "below", "exists"];

impl<'de> Deserialize<'de> for AnyOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tests;
        impl<'de> Visitor<'de> for Tests {
            type Value = AnyOf;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a text, number or boolean, a test such as { prefix = \"...\" }, or a list of them",
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<AnyOf, E> {
                one(OneTest.visit_str(text))
            }
            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<AnyOf, E> {
                one(OneTest.visit_bool(truth))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<AnyOf, E> {
                one(OneTest.visit_i64(number))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<AnyOf, E> {
                one(OneTest.visit_f64(number))
            }
            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<AnyOf, A::Error> {
                one(OneTest.visit_map(entries))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<AnyOf, A::Error> {
                let mut tests = Vec::new();
                while let Some(test) = items.next_element()? {
                    tests.push(test);
                }
                Ok(AnyOf(tests))
            }
        }
        fn one<E>(test: Result<DataTest, E>) -> Result<AnyOf, E> {
            test.map(|test| AnyOf(vec![test]))
        }
        deserializer.deserialize_any(Tests)
    }
}

impl<'de> Deserialize<'de> for DataTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneTest)
    }
}

struct OneTest;

impl<'de> Visitor<'de> for OneTest {
    type Value = DataTest;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, number or boolean, or a test such as { prefix = \"...\" }")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<DataTest, E> {
        Ok(DataTest::Is(Scalar::Text(text.to_owned())))
    }
    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<DataTest, E> {
        Ok(DataTest::Is(Scalar::Bool(truth)))
    }
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<DataTest, E> {
        Ok(DataTest::Is(Scalar::Integer(number)))
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<DataTest, E> {
        let number = i64::try_from(number).map_err(|_| E::custom("the number is too large"))?;
        self.visit_i64(number)
    }
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<DataTest, E> {
        Ok(DataTest::Is(Scalar::from_f64(number)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<DataTest, A::Error> {
        let mut test = TestTable::default();
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "prefix" => test.prefix = Some(entries.next_value()?),
                "suffix" => test.suffix = Some(entries.next_value()?),
                "min" => test.min = Some(entries.next_value()?),
                "above" => test.above = Some(entries.next_value()?),
                "max" => test.max = Some(entries.next_value()?),
                "below" => test.below = Some(entries.next_value()?),
                "exists" => test.exists = Some(entries.next_value()?),
                other => return Err(de::Error::custom(no_test(other))),
            }
        }
        Ok(DataTest::Passes(test))
    }
}

/// An unknown key is a slip, or one of a path that was written without quotes, which TOML makes a table of.
fn no_test(key: &str) -> String {
    match nearest(key, TEST_KEYS) {
        Some(near) => format!("unknown test `{key}`: did you mean `{near}`?"),
        None => format!(
            "unknown test `{key}`: there are {}; a place with dots is written in quotes, as in \"content.{key}\" = ...",
            TEST_KEYS.map(|key| format!("`{key}`")).join(", ")
        ),
    }
}

/// A JSON value that can be compared: `1` and `1.0` are one number, `1` and `"1"` are not equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scalar {
    /// A string.
    Text(String),
    /// A number without fraction.
    Integer(i64),
    /// The bits of any other number.
    Real(u64),
    /// `true` or `false`.
    Bool(bool),
}

impl Scalar {
    /// Whole numbers that a 64-bit float holds exactly are integers.
    fn from_f64(number: f64) -> Self {
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
            return Self::Integer(number as i64);
        }
        Self::Real(number.to_bits())
    }

    /// What `value` is, where it is a number or a boolean.
    pub(super) fn of(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Bool(truth) => Some(Self::Bool(*truth)),
            serde_json::Value::Number(number) => {
                number.as_i64().map(Self::Integer).or_else(|| number.as_f64().map(Self::from_f64))
            }
            _ => None,
        }
    }

    /// Whether `value` is this.
    pub(super) fn is(&self, value: &serde_json::Value) -> bool {
        match self {
            Self::Text(text) => value.as_str() == Some(text),
            other => Self::of(value).as_ref() == Some(other),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", serde_json::Value::from(text.as_str())),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Real(bits) => write!(f, "{}", f64::from_bits(*bits)),
            Self::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

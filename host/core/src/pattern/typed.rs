//! `on` entries as an operator types them. Leaves what they mean to `compile`.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// One `on = [{ ... }]` entry as typed. Every key takes one text or a list of which one must match.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OnEntry {
    /// Names of `[sources]`.
    #[serde(default)]
    pub source: Option<OneOrMany>,
    /// Event types, with `*` for any run of characters; compared without regard to case.
    #[serde(default, rename = "type")]
    pub kind: Option<OneOrMany>,
    /// Resources, with `*` for any run of characters.
    #[serde(default)]
    pub subject: Option<OneOrMany>,
    /// Cloud regions, with `*` for any run of characters.
    #[serde(default)]
    pub region: Option<OneOrMany>,
    /// The cloud's account ids, with `*` for any run of characters.
    #[serde(default)]
    pub account: Option<OneOrMany>,
    /// Places in `data` and what is there: `{ "content.eventType" = "SystemFailure.Reboot" }`.
    #[serde(default)]
    pub data: Option<DataTests>,
}

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes, or a list of such texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMany(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

/// Conditions on `data`: dotted path to the values of which one must be there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataTests(pub BTreeMap<String, Vec<Scalar>>);

impl<'de> Deserialize<'de> for DataTests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = BTreeMap::<String, DataTest>::deserialize(deserializer)?;
        let mut flat = BTreeMap::new();
        for (key, test) in members {
            test.flatten_into(key, &mut flat);
        }
        Ok(Self(flat))
    }
}

/// What stands behind a key. A table is what TOML makes of a path without quotes: `{ content.eventType = "x" }`.
enum DataTest {
    One(Scalar),
    AnyOf(Vec<Scalar>),
    Table(BTreeMap<String, DataTest>),
}

impl DataTest {
    /// The TOML reader bounds the nesting.
    fn flatten_into(self, path: String, flat: &mut BTreeMap<String, Vec<Scalar>>) {
        match self {
            Self::One(value) => drop(flat.insert(path, vec![value])),
            Self::AnyOf(values) => drop(flat.insert(path, values)),
            Self::Table(members) => {
                for (key, test) in members {
                    test.flatten_into(format!("{path}.{key}"), flat);
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for DataTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Test;
        impl<'de> Visitor<'de> for Test {
            type Value = DataTest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, number or boolean, or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<DataTest, E> {
                Ok(DataTest::One(Scalar::Text(text.to_owned())))
            }
            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<DataTest, E> {
                Ok(DataTest::One(Scalar::Bool(truth)))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<DataTest, E> {
                Ok(DataTest::One(Scalar::Integer(number)))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<DataTest, E> {
                let number = i64::try_from(number).map_err(|_| E::custom("the number is too large"))?;
                self.visit_i64(number)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<DataTest, E> {
                Ok(DataTest::One(Scalar::from_f64(number)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<DataTest, A::Error> {
                let mut values = Vec::new();
                while let Some(item) = items.next_element()? {
                    match item {
                        DataTest::One(value) => values.push(value),
                        _ => {
                            return Err(de::Error::custom(
                                "a list here holds texts, numbers and booleans only",
                            ));
                        }
                    }
                }
                Ok(DataTest::AnyOf(values))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<DataTest, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((key, test)) = entries.next_entry()? {
                    members.insert(key, test);
                }
                Ok(DataTest::Table(members))
            }
        }
        deserializer.deserialize_any(Test)
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

    /// What `value` is, where it is neither null, list nor object.
    pub(super) fn of(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(text) => Some(Self::Text(text.clone())),
            serde_json::Value::Bool(truth) => Some(Self::Bool(*truth)),
            serde_json::Value::Number(number) => {
                number.as_i64().map(Self::Integer).or_else(|| number.as_f64().map(Self::from_f64))
            }
            _ => None,
        }
    }
}

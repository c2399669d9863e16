//! `on` entries as an operator types them. Leaves what stands behind `data` to `data`, and what it all means to `compile`.

use super::data::DataTests;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
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
    /// The vendor's words for how grave it is, with `*` for any run of characters; compared without regard to case.
    #[serde(default)]
    pub level: Option<OneOrMany>,
    /// How far the incident has come, in the words of `Transition`. An entry that has it takes late notices too.
    #[serde(default)]
    pub transition: Option<OneOrMany>,
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
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OneOrMany, E> {
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

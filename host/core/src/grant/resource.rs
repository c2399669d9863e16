//! What a grant says of resources: ids, ids with `*`, and selectors over what a fresh read shows of them. Leaves which of
//! these an action may be granted by to `compile`, and the read to the broker. Tested below.

use crate::catalog::{Facts, ResourceFacts};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// One element of `resource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceEntry {
    /// An id, with `*` for any run of characters.
    Id(String),
    /// Whatever a fresh read shows to be so.
    Where(Selector),
}

/// What must be true of a resource: all that is given. Values may contain `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Selector {
    /// Tags it has.
    #[serde(default)]
    pub tag: BTreeMap<String, String>,
    /// Its name.
    pub name: Option<String>,
    /// How it is paid for, in the vendor's words.
    pub charge_type: Option<String>,
    /// A security group or the resource group that it is in.
    pub group: Option<String>,
}

impl ResourceEntry {
    /// Whether it stands for `id`, of which `facts` tell what a read has shown.
    pub(super) fn holds_for(&self, id: &str, facts: &Facts) -> bool {
        match self {
            Self::Id(pattern) => glob_matches(pattern, id),
            Self::Where(selector) => facts.get(id).is_some_and(|facts| selector.holds_for(facts)),
        }
    }
}

impl Selector {
    /// Whether all of it is true of what a read has shown.
    pub(crate) fn holds_for(&self, facts: &ResourceFacts) -> bool {
        let is = |wanted: &Option<String>, value: &Option<String>| match (wanted, value) {
            (None, _) => true,
            (Some(wanted), Some(value)) => glob_matches(wanted, value),
            (Some(_), None) => false,
        };
        self.tag.iter().all(|(key, wanted)| facts.tags.get(key).is_some_and(|is| glob_matches(wanted, is)))
            && is(&self.name, &facts.name)
            && is(&self.charge_type, &facts.charge_type)
            && self
                .group
                .as_ref()
                .is_none_or(|wanted| facts.groups.iter().any(|group| glob_matches(wanted, group)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it leaves anything out: a tag must be there at least, any other value must say something.
    pub(super) fn is_narrow(&self) -> bool {
        let says = |value: &Option<String>| value.as_deref().is_some_and(|text| text.contains(|c| c != '*'));
        !self.tag.is_empty() || says(&self.name) || says(&self.charge_type) || says(&self.group)
    }

    fn conditions(&self) -> Vec<String> {
        let one = |key: &str, value: &Option<String>| value.as_ref().map(|text| format!("{key} = {text:?}"));
        let key =
            |key: &String| match key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                true => key.clone(),
                false => format!("{key:?}"),
            };
        let tags = self.tag.iter().map(|(name, value)| format!("{} = {value:?}", key(name)));
        let tags = tags.collect::<Vec<_>>().join(", ");
        let tags = (!tags.is_empty()).then(|| format!("tag = {{ {tags} }}"));
        let others =
            [one("name", &self.name), one("charge-type", &self.charge_type), one("group", &self.group)];
        tags.into_iter().chain(others.into_iter().flatten()).collect()
    }
}

/// As it is typed.
impl fmt::Display for ResourceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(pattern) => f.write_str(pattern),
            Self::Where(selector) => write!(f, "{{ {} }}", selector.conditions().join(", ")),
        }
    }
}

impl<'de> Deserialize<'de> for ResourceEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = ResourceEntry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id in quotes, or a selector such as { tag = { env = \"lab\" } }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ResourceEntry, E> {
                Ok(ResourceEntry::Id(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<ResourceEntry, A::Error> {
                Selector::deserialize(MapAccessDeserializer::new(entries)).map(ResourceEntry::Where)
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

/// Whether `text` is `pattern`, where `*` stands for any run of characters.
pub(crate) fn glob_matches(pattern: &str, text: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    while let Some((middle, after)) = rest.split_once('*') {
        let Some(at) = text.find(middle) else { return false };
        text = &text[at + middle.len()..];
        rest = after;
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> ResourceEntry {
        let table: BTreeMap<String, ResourceEntry> =
            toml::from_str(&format!("r = {text}")).expect("an entry");
        table["r"].clone()
    }

    #[test]
    fn a_selector_holds_where_all_of_it_is_shown() {
        let facts = ResourceFacts {
            name: Some("web-1".into()),
            tags: BTreeMap::from([("env".into(), "lab".into()), ("team".into(), "a".into())]),
            charge_type: Some("PostPaid".into()),
            groups: vec!["sg-1".into(), "rg-1".into()],
        };
        let facts = Facts::from([("i-1".to_owned(), facts), ("i-2".to_owned(), ResourceFacts::default())]);
        let cases = [
            (r#"{ tag = { env = "lab" } }"#, true),
            (r#"{ tag = { env = "l*" } }"#, true),
            (r#"{ tag = { env = "lab", team = "b" } }"#, false),
            (r#"{ tag = { Env = "lab" } }"#, false),
            (r#"{ name = "web-*" }"#, true),
            (r#"{ name = "web" }"#, false),
            (r#"{ charge-type = "PostPaid", group = "rg-*" }"#, true),
            (r#"{ charge-type = "PrePaid", group = "sg-1" }"#, false),
            (r#"{ group = "sg-2" }"#, false),
        ];
        for (text, holds) in cases {
            let selector = entry(text);
            assert_eq!(selector.holds_for("i-1", &facts), holds, "{text}");
            assert!(!selector.holds_for("i-2", &facts), "{text}: nothing is known of i-2 but that it exists");
            assert!(!selector.holds_for("i-3", &facts), "{text}: i-3 is not shown");
            assert_eq!(selector.to_string(), text);
        }
        assert!(!entry(r#"{ tag = { env = "*" } }"#).holds_for("i-2", &facts), "the tag must be there");
    }

    #[test]
    fn globs() {
        let cases = [
            ("i-1", "i-1", true),
            ("i-1", "i-12", false),
            ("i-*", "i-", true),
            ("*", "", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("*a*", "bab", true),
            ("é*", "éa", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}

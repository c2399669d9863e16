//! The pattern that names actions: `service:Action`, or `service:Prefix*`. Leaves which patterns an operator may write
//! to `compile`. Tested below.

use std::fmt;

/// `ecs:CreateSnapshot`, or all actions of a service whose name begins alike. Letter case counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ActionPattern {
    pub(super) service: String,
    /// The name, or what it begins with.
    pub(super) name: String,
    open_end: bool,
}

impl ActionPattern {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (service, name) = text.split_once(':')?;
        let (name, open_end) = match name.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (name, false),
        };
        let service_fits = !service.is_empty()
            && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let name_fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let named = open_end || !name.is_empty();
        (service_fits && name_fits && named).then(|| Self {
            service: service.into(),
            name: name.into(),
            open_end,
        })
    }

    pub(super) fn exact(service: &str, name: &str) -> Self {
        Self { service: service.to_owned(), name: name.to_owned(), open_end: false }
    }

    pub(super) fn is_exact(&self) -> bool {
        !self.open_end
    }

    pub(super) fn covers(&self, service: &str, action: &str) -> bool {
        let name_fits = if self.open_end { action.starts_with(&self.name) } else { action == self.name };
        self.service == service && name_fits
    }

    /// What both cover: the narrower of the two, if they meet.
    pub(super) fn intersection<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        let (narrow, wide) = match (self.open_end, other.open_end) {
            (false, _) => (self, other),
            (true, false) => (other, self),
            (true, true) if self.name.len() >= other.name.len() => (self, other),
            (true, true) => (other, self),
        };
        wide.covers(&narrow.service, &narrow.name).then_some(narrow)
    }
}

impl fmt::Display for ActionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.service, self.name, if self.open_end { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_service_and_a_name_that_may_be_open() {
        for good in ["ecs:CreateSnapshot", "ecs:Describe*", "ecs:*"] {
            assert_eq!(ActionPattern::parse(good).map(|p| p.to_string()).as_deref(), Some(good));
        }
        for bad in
            ["CreateSnapshot", "ecs:", ":A", "ECS:A", "ecs:A*B", "ecs:A b", "ecs:A:B", "*:Describe*", ""]
        {
            assert_eq!(ActionPattern::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn two_patterns_meet_in_the_narrower_one() {
        let meet = |a: &str, b: &str| {
            let (a, b) = (ActionPattern::parse(a).expect("valid"), ActionPattern::parse(b).expect("valid"));
            a.intersection(&b).map(ToString::to_string)
        };
        let cases = [
            ("ecs:DescribeDisks", "ecs:DescribeDisks", Some("ecs:DescribeDisks")),
            ("ecs:Describe*", "ecs:DescribeDisks", Some("ecs:DescribeDisks")),
            ("ecs:Describe*", "ecs:DescribeD*", Some("ecs:DescribeD*")),
            ("ecs:Describe*", "ecs:List*", None),
            ("ecs:Describe*", "cvm:DescribeDisks", None),
            ("ecs:DescribeDisks", "ecs:DescribeDisk", None),
        ];
        for (a, b, expected) in cases {
            assert_eq!(meet(a, b).as_deref(), expected, "{a} {b}");
            assert_eq!(meet(b, a).as_deref(), expected, "{b} {a}");
        }
    }
}

//! What conditions look at: an event's attributes by the key that an operator writes, and its data, parsed once and only if asked
//! for.

use crate::event::{Event, Transition};
use serde_json::Value;
use std::cell::OnceCell;

/// An attribute that is compared as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Attribute {
    Type,
    Subject,
    Region,
    Account,
    Level,
    Transition,
}

impl Attribute {
    /// All of them, in the order in which they are compared.
    pub(super) const ALL: [Self; 6] =
        [Self::Type, Self::Subject, Self::Region, Self::Account, Self::Level, Self::Transition];

    /// As the operator writes it.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Subject => "subject",
            Self::Region => "region",
            Self::Account => "account",
            Self::Level => "level",
            Self::Transition => "transition",
        }
    }

    /// Whether it is compared without regard to case: of the vendors' words, not of names.
    pub(super) fn ignores_case(self) -> bool {
        matches!(self, Self::Type | Self::Level | Self::Transition)
    }
}

/// An event as conditions see it.
pub(super) struct Facts<'e> {
    pub(super) event: &'e Event,
    kind: String,
    level: Option<String>,
    data: OnceCell<Option<Value>>,
}

impl<'e> Facts<'e> {
    pub(super) fn of(event: &'e Event) -> Self {
        Self {
            event,
            kind: event.kind.to_ascii_lowercase(),
            level: event.level.as_deref().map(str::to_ascii_lowercase),
            data: OnceCell::new(),
        }
    }

    /// The text that is compared, in lower case where case does not count.
    pub(super) fn attribute(&self, attribute: Attribute) -> Option<&str> {
        match attribute {
            Attribute::Type => Some(&self.kind),
            Attribute::Subject => self.event.subject.as_deref(),
            Attribute::Region => self.event.region.as_deref(),
            Attribute::Account => self.event.account.as_deref(),
            Attribute::Level => self.level.as_deref(),
            Attribute::Transition => self.event.transition.map(Transition::as_str),
        }
    }

    /// The data, where it is JSON.
    pub(super) fn data(&self) -> Option<&Value> {
        self.data.get_or_init(|| serde_json::from_str(&self.event.data).ok()).as_ref()
    }
}

//! Text with `*` for any run of characters, none included. Leaves to the caller whether case counts. Tested in the parent's table.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    /// As it is compared.
    text: String,
    /// As it was typed.
    pub(super) typed: String,
}

/// The end of a pattern that says most about what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Anchor<'a> {
    /// What matches is this.
    Whole(&'a str),
    /// What matches begins with this.
    Prefix(&'a str),
    /// What matches ends in this.
    Suffix(&'a str),
}

impl Glob {
    /// Any text is a pattern. One that ignores case is for texts in lower case.
    pub(super) fn new(typed: &str, ignores_case: bool) -> Self {
        let text = if ignores_case { typed.to_ascii_lowercase() } else { typed.to_owned() };
        Self { text, typed: typed.to_owned() }
    }

    /// All of it where it has no star, else the longer of the fixed ends: an empty prefix where there is none.
    pub(super) fn anchor(&self) -> Anchor<'_> {
        match (self.text.split_once('*'), self.text.rsplit_once('*')) {
            (Some((prefix, _)), Some((_, suffix))) => Anchor::longer(prefix, suffix),
            _ => Anchor::Whole(&self.text),
        }
    }

    /// Whether all of `text` matches. Takes the leftmost place for each piece between stars, which is enough: time is the
    /// product of the lengths at worst.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((prefix, rest)) = self.text.split_once('*') else { return self.text == text };
        let Some(mut text) = text.strip_prefix(prefix) else { return false };
        let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
        let Some(before_suffix) = text.strip_suffix(suffix) else { return false };
        text = before_suffix;
        for piece in middle.split('*') {
            let Some(at) = text.find(piece) else { return false };
            text = &text[at + piece.len()..];
        }
        true
    }
}

impl<'a> Anchor<'a> {
    /// The longer of two fixed ends.
    pub(super) fn longer(prefix: &'a str, suffix: &'a str) -> Self {
        if suffix.len() > prefix.len() { Self::Suffix(suffix) } else { Self::Prefix(prefix) }
    }

    /// Whether it says nothing.
    pub(super) fn is_any(self) -> bool {
        self == Self::Prefix("")
    }
}

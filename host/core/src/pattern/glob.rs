//! Text with `*` for any run of characters, none included. Leaves case to the caller. Tested in the parent's table.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(String);

/// The end of a pattern that says most about what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor<'a> {
    /// What matches is this.
    Whole(&'a str),
    /// What matches begins with this.
    Prefix(&'a str),
    /// What matches ends in this.
    Suffix(&'a str),
}

impl Glob {
    /// Any text is a pattern.
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// All of it where it has no star, else the longer of the fixed ends: an empty prefix where there is none.
    pub(super) fn anchor(&self) -> Anchor<'_> {
        let (Some((prefix, _)), Some((_, suffix))) = (self.0.split_once('*'), self.0.rsplit_once('*')) else {
            return Anchor::Whole(&self.0);
        };
        if suffix.len() > prefix.len() { Anchor::Suffix(suffix) } else { Anchor::Prefix(prefix) }
    }

    /// Whether all of `text` matches. Takes the leftmost place for each piece between stars, which is enough: time is the
    /// product of the lengths at worst.
    pub(super) fn matches(&self, text: &str) -> bool {
        let Some((prefix, rest)) = self.0.split_once('*') else { return self.0 == text };
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

//! What is said about a place in a file, and how it is shown: message, place, the line with a caret, and the fix. Leaves
//! finding the place to `source`. Tested in `super::tests`.

use std::fmt;
use std::ops::Range;

/// Longest stretch of a line shown, in characters.
const SHOWN_CHARS_MAX: usize = 120;
/// Characters shown before the place where a longer line is cut.
const LEAD_CHARS: usize = 40;

/// One finding in a file of the operator's. Its `Display` is the whole text, of several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// How grave.
    pub severity: Severity,
    /// The file as the caller named it.
    pub file: String,
    /// Line and column from 1; absent where the finding is about the whole file.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub fix: String,
    excerpt: Option<Excerpt>,
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file is not used.
    Error,
    /// The file is used.
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: String,
    /// Columns before the caret, in character cells.
    indent: usize,
    /// Length of the underlining, in character cells.
    width: usize,
}

impl ConfigError {
    /// A finding about the whole file.
    pub fn about_file(file: &str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            at: None,
            message: message.into(),
            fix: fix.into(),
            excerpt: None,
        }
    }

    /// A finding about the bytes `span` of `text`, which is what may be shown of the file.
    pub(super) fn at(file: &str, text: &str, span: Range<usize>, message: String, fix: String) -> Self {
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let line = text[line_start..line_end].trim_end_matches('\r');
        let before = text[line_start..start].chars().count();
        let marked = text[start..end.min(line_start + line.len()).max(start)].chars().count();
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            at: Some((text[..line_start].matches('\n').count() + 1, before + 1)),
            message,
            fix,
            excerpt: Some(Excerpt::cut(line, before, marked)),
        }
    }

    pub(super) fn into_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

impl Excerpt {
    fn cut(line: &str, before: usize, marked: usize) -> Self {
        let chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let skipped = if chars.len() > SHOWN_CHARS_MAX { before.saturating_sub(LEAD_CHARS) } else { 0 };
        let shown = &chars[skipped.min(chars.len())..chars.len().min(skipped + SHOWN_CHARS_MAX)];
        let lead = (before - skipped).min(shown.len());
        let marked = marked.min(shown.len() - lead);
        let cells = |part: &[char]| part.iter().map(|c| cells_of(*c)).sum::<usize>();
        let ellipsis = if skipped > 0 { "... " } else { "" };
        Self {
            line: format!("{ellipsis}{}", shown.iter().collect::<String>()),
            indent: ellipsis.len() + cells(&shown[..lead]),
            width: cells(&shown[lead..lead + marked]).max(1),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        let (Some((line, column)), Some(excerpt)) = (self.at, &self.excerpt) else {
            write!(f, "\n  --> {}", self.file)?;
            return if self.fix.is_empty() { Ok(()) } else { write!(f, "\n   = {}", self.fix) };
        };
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        write!(f, "\n {gutter}--> {}:{line}:{column}", self.file)?;
        write!(f, "\n {gutter} |\n {number} | {}", excerpt.line)?;
        write!(f, "\n {gutter} | {}{}", " ".repeat(excerpt.indent), "^".repeat(excerpt.width))?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, " {}", self.fix) }
    }
}

impl std::error::Error for ConfigError {}

/// Terminals show characters from Hangul Jamo on, Chinese among them, two cells wide, near enough.
fn cells_of(c: char) -> usize {
    if c >= '\u{1100}' { 2 } else { 1 }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

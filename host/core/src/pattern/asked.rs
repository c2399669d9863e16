//! Which events patterns ask for, asked the other way round: what a cloud should be told to send. Leaves telling it to the operator.
//! Tested below.

use super::compile::Patterns;
use super::facts::Attribute;
use crate::id::SourceName;

impl Patterns {
    /// Whether an event of that type from `source` may match, whatever else is asked of it.
    pub fn wants(&self, source: &SourceName, kind: &str) -> bool {
        let kind = kind.to_ascii_lowercase();
        self.entries.iter().any(|entry| {
            let kinds = entry.wanted(Attribute::Type);
            (entry.sources.is_empty() || entry.sources.contains(source))
                && (kinds.is_empty() || kinds.iter().any(|glob| glob.matches(&kind)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::{OnEntry, OneOrMany};

    #[test]
    fn a_source_is_asked_for_the_types_of_entries_that_take_its_events() {
        let some = |text: &str| Some(OneOrMany(vec![text.to_owned()]));
        let entries = [
            OnEntry { kind: some("Instance:*:Executed"), ..OnEntry::default() },
            OnEntry { source: some("web"), kind: some("Disk:*"), ..OnEntry::default() },
            OnEntry { source: some("all"), ..OnEntry::default() },
        ];
        let patterns = Patterns::compile(&entries).expect("good");
        let wants = |source: &str, kind| patterns.wants(&source.parse().expect("a name"), kind);
        assert!(wants("web", "instance:SystemFailure.Reboot:executed"));
        assert!(wants("web", "Disk:Stalled:Executing") && !wants("other", "Disk:Stalled:Executing"));
        assert!(wants("all", "Disk:Stalled:Executing") && !wants("web", "Instance:StateChange"));
        assert!(!Patterns::default().wants(&"web".parse().expect("a name"), "x"));
    }
}

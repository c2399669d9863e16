//! "Did you mean": the known word nearest to a mistyped one. Leaves wording to the caller. Tested below.

/// The candidate that `word` is most likely a slip of, if any is near enough. Letter case counts for nothing.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // A third of the letters wrong is a slip; more is another word.
    let slips_max = ((word.chars().count() + 1) / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_word_is_suggested() {
        let known = ["account", "action", "plugin", "CreateSnapshot", "on"];
        let cases = [
            ("acount", Some("account")),
            ("acconut", Some("account")),
            ("createsnapshots", Some("CreateSnapshot")),
            ("plug-in", Some("plugin")),
            ("no", Some("on")),
            ("mode", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}

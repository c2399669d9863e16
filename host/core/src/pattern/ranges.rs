//! Ranges found by a number that lies in them, in time that depends on how many do: they lie sorted by their low end, as a balanced
//! tree of which each node knows how far the ranges below it reach. Leaves open and closed ends to the comparison that follows.

/// Ranges of numbers, each for an entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranges {
    /// Sorted by `low` once arranged. The middle of a stretch is the node above its two halves.
    ranges: Vec<Range>,
}

#[derive(Debug, Clone)]
struct Range {
    low: f64,
    high: f64,
    /// The highest end of this node and those below it.
    reach: f64,
    entry: usize,
}

impl Ranges {
    pub(super) fn add(&mut self, (low, high): (f64, f64), entry: usize) {
        self.ranges.push(Range { low, high, reach: high, entry });
    }

    /// Makes them findable, once all are there.
    pub(super) fn arrange(&mut self) {
        self.ranges.sort_by(|a, b| a.low.total_cmp(&b.low));
        reach(&mut self.ranges);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Shows the entry of every range that `number` lies in, ends included.
    pub(super) fn visit(&self, number: f64, show: &mut impl FnMut(usize)) {
        visit(&self.ranges, number, show);
    }
}

/// The middle, and what lies on either side. The halves shrink, so that recursion is as deep as the logarithm of their number.
fn reach(ranges: &mut [Range]) -> f64 {
    let middle = ranges.len() / 2;
    let (below, rest) = ranges.split_at_mut(middle);
    let Some((node, above)) = rest.split_first_mut() else { return f64::NEG_INFINITY };
    node.reach = node.high.max(reach(below)).max(reach(above));
    node.reach
}

fn visit(ranges: &[Range], number: f64, show: &mut impl FnMut(usize)) {
    let (below, rest) = ranges.split_at(ranges.len() / 2);
    let Some((node, above)) = rest.split_first() else { return };
    if number > node.reach {
        return;
    }
    visit(below, number, show);
    if number >= node.low {
        if number <= node.high {
            show(node.entry);
        }
        visit(above, number, show);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_finds_the_ranges_it_lies_in(
            ends in prop::collection::vec((-5_i32..5, -5_i32..5), 0..40),
            number in -6_i32..6,
        ) {
            let ends: Vec<(f64, f64)> = ends.iter().map(|(a, b)| (f64::from(*a.min(b)), f64::from(*a.max(b)))).collect();
            let mut ranges = Ranges::default();
            for (entry, ends) in ends.iter().enumerate() {
                ranges.add(*ends, entry);
            }
            ranges.arrange();
            let number = f64::from(number);
            let mut found = Vec::new();
            ranges.visit(number, &mut |entry| found.push(entry));
            found.sort_unstable();
            let expected: Vec<usize> =
                (0..ends.len()).filter(|at| (ends[*at].0..=ends[*at].1).contains(&number)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

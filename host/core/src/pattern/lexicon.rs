//! Slots found by how a text begins, how it ends or what it is, in time that depends on the text's length and not on the number of
//! slots: two tries whose nodes hold as many bytes as have no fork in them. Leaves what a slot holds to `index`.

use super::glob::Anchor;

/// Slots by the anchor of what they are for.
#[derive(Debug, Clone)]
pub(super) struct Lexicon<T> {
    slots: Vec<T>,
    by_prefix: Trie,
    /// Of texts read from their end.
    by_suffix: Trie,
}

/// The root is the first node; none where nothing was put in.
#[derive(Debug, Clone, Default)]
struct Trie(Vec<Node>);

#[derive(Debug, Clone, Default)]
struct Node {
    /// What leads here from the node above.
    label: Box<[u8]>,
    /// By the first byte of their labels, sorted.
    children: Vec<(u8, usize)>,
    /// The slot of what begins so.
    beginning: Option<usize>,
    /// The slot of what is just this.
    whole: Option<usize>,
}

impl<T> Default for Lexicon<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), by_prefix: Trie::default(), by_suffix: Trie::default() }
    }
}

impl<T: Default> Lexicon<T> {
    /// The slot of an anchor, made where there is none.
    pub(super) fn slot(&mut self, anchor: Anchor<'_>) -> &mut T {
        let slot = match anchor {
            Anchor::Whole(text) => &mut self.by_prefix.grow(text.as_bytes()).whole,
            Anchor::Prefix(text) => &mut self.by_prefix.grow(text.as_bytes()).beginning,
            Anchor::Suffix(text) => &mut self.by_suffix.grow(&reversed(text)).beginning,
        };
        let slots = &mut self.slots;
        let slot = *slot.get_or_insert_with(|| {
            slots.push(T::default());
            slots.len() - 1
        });
        &mut self.slots[slot]
    }

    /// Every slot.
    pub(super) fn slots_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut()
    }

    /// Shows every slot whose anchor `text` is, begins with or ends in.
    pub(super) fn visit(&self, text: &str, show: &mut impl FnMut(&T)) {
        let mut show = |slot: usize| show(&self.slots[slot]);
        self.by_prefix.walk(text.as_bytes(), &mut show);
        if !self.by_suffix.0.is_empty() {
            self.by_suffix.walk(&reversed(text), &mut show);
        }
    }
}

fn reversed(text: &str) -> Vec<u8> {
    text.bytes().rev().collect()
}

impl Trie {
    /// The node of `key`, made where there is none.
    fn grow(&mut self, key: &[u8]) -> &mut Node {
        if self.0.is_empty() {
            self.0.push(Node::default());
        }
        let (mut at, mut rest) = (0, key);
        while let Some(first) = rest.first() {
            match self.0[at].children.binary_search_by_key(first, |(byte, _)| *byte) {
                Ok(place) => {
                    let (_, child) = self.0[at].children[place];
                    let label = &self.0[child].label;
                    let common = label.iter().zip(rest).take_while(|(one, other)| one == other).count();
                    let next = if common < label.len() { self.fork(child, common) } else { child };
                    self.0[at].children[place].1 = next;
                    (at, rest) = (next, &rest[common..]);
                }
                Err(place) => {
                    let added = self.add(Node { label: rest.into(), ..Node::default() });
                    self.0[at].children.insert(place, (*first, added));
                    (at, rest) = (added, &[]);
                }
            }
        }
        &mut self.0[at]
    }

    /// Puts a node above `node` that takes the first `common` bytes of its label.
    fn fork(&mut self, node: usize, common: usize) -> usize {
        let (above, below) = self.0[node].label.split_at(common);
        let (above, below): (Box<[u8]>, Box<[u8]>) = (above.into(), below.into());
        let children = vec![(below[0], node)];
        self.0[node].label = below;
        self.add(Node { label: above, children, ..Node::default() })
    }

    fn add(&mut self, node: Node) -> usize {
        self.0.push(node);
        self.0.len() - 1
    }

    fn walk(&self, key: &[u8], show: &mut impl FnMut(usize)) {
        let Some(mut node) = self.0.first() else { return };
        let mut rest = key;
        loop {
            node.beginning.into_iter().for_each(&mut *show);
            let Some(first) = rest.first() else {
                node.whole.into_iter().for_each(show);
                return;
            };
            let Ok(place) = node.children.binary_search_by_key(first, |(byte, _)| *byte) else { return };
            node = &self.0[node.children[place].1];
            let Some(after) = rest.strip_prefix(&*node.label) else { return };
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_finds_every_slot_whose_anchor_it_fits() {
        let anchors = [
            Anchor::Whole("abc"),
            Anchor::Whole("ab"),
            Anchor::Whole(""),
            Anchor::Prefix("ab"),
            Anchor::Prefix("abcd"),
            Anchor::Prefix("abd"),
            Anchor::Prefix(""),
            Anchor::Suffix("bc"),
            Anchor::Suffix("c"),
            Anchor::Suffix("abc"),
            Anchor::Suffix("xbc"),
        ];
        // Whatever the order in which nodes are forked.
        for turn in 0..anchors.len() {
            let mut lexicon = Lexicon::<Vec<Anchor<'_>>>::default();
            for at in 0..anchors.len() {
                let anchor = anchors[(at + turn) % anchors.len()];
                lexicon.slot(anchor).push(anchor);
            }
            for text in ["", "a", "ab", "abc", "abcd", "abcde", "abd", "xbc", "b", "\u{e9}bc"] {
                let mut found = Vec::new();
                lexicon.visit(text, &mut |slot: &Vec<Anchor<'_>>| found.extend(slot.iter().copied()));
                let fits = |anchor: &Anchor<'_>| match anchor {
                    Anchor::Whole(whole) => text == *whole,
                    Anchor::Prefix(prefix) => text.starts_with(prefix),
                    Anchor::Suffix(suffix) => text.ends_with(suffix),
                };
                let place = |anchor: &Anchor<'_>| anchors.iter().position(|known| known == anchor);
                found.sort_by_key(place);
                let expected: Vec<_> = anchors.iter().copied().filter(fits).collect();
                assert_eq!(found, expected, "{text}, turn {turn}");
            }
        }
    }
}

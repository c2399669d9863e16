//! Chains made and spoiled by hand; a thousand random ways to spoil a whole store are in `tests/tests/it/audit.rs`.

use super::*;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// Texts and hashes of a chain of `rows`.
fn chain(rows: i64) -> Vec<(String, Digest)> {
    let mut before = root();
    let mut made = Vec::new();
    for seq in 1..=rows {
        let entry = Entry { seq, ..Entry::new(NOW, Kind::Change) };
        let text = serde_json::to_string(&entry).expect("plain data");
        before = link(&before, text.as_bytes());
        made.push((text, before));
    }
    made
}

fn checkpoint(seq: i64, hash: Digest, kind: CheckpointKind) -> Checkpoint {
    Checkpoint { kind, seq, hash, at: NOW }
}

fn verified(rows: &[(String, Digest)], checkpoints: &[Checkpoint], closed: bool) -> Result<Summary, Bad> {
    let mut verifier = Verifier::new([checkpoints], []);
    for (seq, (text, hash)) in (1..).zip(rows) {
        let row = Row { seq, entry: Some(text.as_bytes()), hash: Some(hash.as_bytes().as_slice()) };
        verifier.check(row)?;
    }
    verifier.finish(closed)
}

#[test]
fn a_chain_is_held_against_its_checkpoints() {
    use CheckpointKind::{Checkpoint as Of, Restored};
    let rows = chain(5);
    let hash = |seq: usize| rows[seq - 1].1;
    let other = Digest::of(b"other");
    let table = [
        (vec![checkpoint(5, hash(5), Of)], true, None),
        (vec![checkpoint(3, hash(3), Of)], false, None),
        (vec![checkpoint(3, hash(3), Of)], true, Some((4, Wrong::AfterTheEnd { last: 3 }))),
        (vec![checkpoint(7, other, Of)], false, Some((6, Wrong::CutOff { checkpoint: 7 }))),
        (
            vec![checkpoint(2, hash(2), Of), checkpoint(4, other, Of)],
            false,
            Some((3, Wrong::Replaced { checkpoint: 4 })),
        ),
        // What was lost with a store that was restored is no matter.
        (
            vec![checkpoint(4, other, Of), checkpoint(9, other, Of), checkpoint(4, hash(4), Restored)],
            false,
            None,
        ),
        (
            vec![checkpoint(3, other, Of), checkpoint(4, hash(4), Restored)],
            false,
            Some((1, Wrong::Replaced { checkpoint: 3 })),
        ),
    ];
    for (checkpoints, closed, bad) in table {
        let found = verified(&rows, &checkpoints, closed).err().map(|bad| (bad.seq, bad.wrong));
        assert_eq!(found, bad, "{checkpoints:?}");
    }
}

#[test]
fn a_damaged_row_is_named_and_nothing_panics() {
    let rows = chain(3);
    let good = |at: usize| (rows[at].0.as_bytes(), rows[at].1);
    let check = |seq: i64, entry: Option<&[u8]>, hash: Option<&[u8]>| {
        let mut verifier = Verifier::new([&[][..]], []);
        let (text, first) = good(0);
        verifier.check(Row { seq: 1, entry: Some(text), hash: Some(first.as_bytes()) }).expect("good");
        verifier.check(Row { seq, entry, hash }).expect_err("bad")
    };
    let (text, hash) = good(1);
    let hash = hash.as_bytes().as_slice();
    let (third, _) = good(2);
    let (first, _) = good(0);
    let link_of_none = link(&rows[0].1, b"");
    let table: [(Bad, i64, &str); 8] = [
        (check(2, None, Some(hash)), 2, "not what was written"),
        (check(2, Some(text), None), 2, "not what was written"),
        (check(2, Some(b"\xff\xfe"), Some(hash)), 2, "not what was written"),
        (check(2, Some(third), Some(hash)), 2, "row 3 stands in its place"),
        (check(2, Some(first), Some(hash)), 2, "row 1 stands here again"),
        (check(4, Some(text), Some(hash)), 2, "the next row is 4"),
        (check(i64::MIN, Some(text), Some(hash)), i64::MIN, "out of order"),
        (check(2, None, Some(link_of_none.as_bytes())), 2, "cannot be read"),
    ];
    for (bad, row, words) in table {
        assert_eq!(bad.seq, row, "{bad}");
        assert!(bad.to_string().contains(words), "{bad}");
    }
}

#[test]
fn a_checkpoint_line_reads_back_and_only_the_key_makes_it() {
    let key = parse_key(&"0a".repeat(32)).expect("a key");
    let other = parse_key(&"0b".repeat(32)).expect("a key");
    let first = CheckpointLine::new(checkpoint(7, root(), CheckpointKind::Checkpoint), None, &key);
    let second = CheckpointLine::new(checkpoint(9, root(), CheckpointKind::Restored), Some(&first.mac), &key);
    for (line, before) in [(&first, None), (&second, Some(&first.mac))] {
        let read = CheckpointLine::parse(line.to_string().as_bytes()).expect("a line");
        assert_eq!(&read, line);
        assert_eq!(read.authenticate(before, &key), Ok(()));
        assert_eq!(read.authenticate(before, &other), Err(InvalidCheckpoint::NotAuthentic));
    }
    assert_eq!(
        second.authenticate(None, &key),
        Err(InvalidCheckpoint::NotAuthentic),
        "it has lost its place"
    );
    let text = first.to_string();
    for wrong in [String::new(), text.to_uppercase(), format!("{text} "), text.replacen(" 7 ", " 07 ", 1)] {
        assert_eq!(CheckpointLine::parse(wrong.as_bytes()), Err(InvalidCheckpoint::Malformed), "{wrong}");
    }
    assert!(parse_key("short").is_none());
}

#[test]
fn an_entry_of_this_version_reads_back_for_ever() {
    // As the first release wrote it.
    let text = r#"{"v":1,"seq":2,"at":1700000000000,"kind":"intent","run":"0a","policy":"p","position":0,"account":"prod","action":"ecs:CreateSnapshot","region":"cn-hangzhou","resources":["d-1"],"class":"token"}"#;
    let entry: Entry = serde_json::from_str(text).expect("an entry");
    assert_eq!((entry.kind, entry.seq, entry.resources.len()), (Kind::Intent, 2, 1));
    assert_eq!(serde_json::to_string(&entry).expect("plain data"), text);
}

//! What happens to logs beside writing and rotating them: files that are replaced, restored, or longer than what is written in them, and
//! what befalls a log before its first line. Each line comes once here as well.

use super::model::{Lab, Step};
use std::fs;

fn after(steps: &[Step]) -> Lab {
    let mut lab = Lab::new();
    steps.iter().for_each(|step| lab.take(step));
    lab
}

#[test]
fn a_log_that_was_replaced_by_its_copy_is_read_on() {
    use Step::{CopyAndCut, Look, Rename, Replace, Restart, Write, WritePart};
    let cases: [&[Step]; 7] = [
        &[Write(3), Look(9), Replace, Restart, Write(1)],
        &[Write(3), Look(9), Replace, Write(1)],
        &[Write(3), Look(1), Replace, Write(1)],
        &[Write(3), WritePart, Look(9), Replace, Write(1)],
        &[Write(3), WritePart, Look(9), Replace, Restart, Write(1)],
        &[Write(3), Look(9), Replace, Write(1), Rename, Write(1)],
        &[Write(3), Look(9), Replace, Write(1), CopyAndCut, Write(1)],
    ];
    for steps in cases {
        let mut lab = after(steps);
        lab.drain();
        assert_eq!(lab.shown(&lab.got), lab.shown(&lab.expected()), "{steps:?}");
        assert!(lab.note.is_none_or(|note| note.contains("the same text")), "{:?}", lab.note);
    }
}

/// A short log may say the same after a rotation: the file before is still there, so that it is no copy of it.
#[test]
fn a_log_that_begins_as_the_one_before_is_another() {
    let mut lab = Lab::new();
    for _ in 0..2 {
        fs::write(lab.log(), "again\n").expect("written");
        lab.changed(lab.log());
        lab.drain();
        lab.take(&Step::Rename);
    }
    assert_eq!(lab.shown(&lab.got)[..2], ["again", "again"]);
    // What was replaced by something else is another as well.
    lab.drain();
    lab.got.clear();
    fs::write(lab.dir.path().join("other"), "else\n").expect("written");
    fs::rename(lab.dir.path().join("other"), lab.log()).expect("renamed");
    lab.drain();
    assert_eq!(lab.shown(&lab.got), ["else"]);
}

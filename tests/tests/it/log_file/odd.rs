//! What happens to logs beside writing and rotating them: files that are replaced, restored, or longer than what is written in them, and
//! what befalls a log before its first line. Each line comes once here as well.

use super::model::{Lab, Step};
use opsward::trigger::log_file::Tail;
use opsward_core::config::StartAt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn after(steps: &[Step]) -> Lab {
    let mut lab = Lab::new();
    steps.iter().for_each(|step| lab.take(step));
    lab
}

#[track_caller]
fn has_each_line_once(mut lab: Lab) {
    lab.drain();
    assert_eq!(lab.shown(&lab.got), lab.shown(&lab.expected()));
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

/// Writes at `offset`, whatever is there.
fn put(log: &Path, offset: u64, text: &[u8]) {
    let log = File::options().write(true).create(true).truncate(false).open(log).expect("opened");
    log.write_all_at(text, offset).expect("written");
}

/// Some writers make room for what is to come, and a network file system shows it before the text.
#[test]
fn what_is_written_into_room_that_was_made_for_it_comes_once() {
    for room in [100, 20_000, 256 * 1024, 1_000_000] {
        for (from, restarts) in [(StartAt::Start, false), (StartAt::Start, true), (StartAt::End, false)] {
            let mut lab = Lab::new();
            lab.tail = Tail::new(lab.log(), from, None);
            let (mut at, mut expected) = (0, vec![]);
            for n in 0..4 {
                let line = format!("the line number {n}\n");
                let (begun, rest) = line.split_at(7);
                for part in [begun, rest] {
                    put(&lab.log(), at, part.as_bytes());
                    at += part.len() as u64;
                    File::options()
                        .write(true)
                        .open(lab.log())
                        .and_then(|log| log.set_len(at + room))
                        .expect("grown");
                    if restarts {
                        lab.tail = Tail::new(lab.log(), from, lab.recorded.clone());
                    }
                    while lab.look(9) {}
                }
                expected.push(line.trim_end().to_owned());
            }
            // Whoever is done with a file gives the room back.
            File::options().write(true).open(lab.log()).and_then(|log| log.set_len(at)).expect("cut");
            lab.changed(lab.log());
            lab.take(&Step::Rename);
            lab.drain();
            let got: Vec<_> = lab.got.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
            assert_eq!(got[..4], expected, "{room} bytes, from {from:?}, restarts: {restarts}");
            assert_eq!(lab.note, None);
        }
    }
}

/// A writer that does not append goes on where it was in a log that was cut short.
#[test]
fn a_hole_is_passed_over_however_large_it_is() {
    for hole in [100_u64, 256 * 1024, 3_000_000, 5 << 30] {
        let mut lab = after(&[Step::Write(1), Step::Look(9)]);
        File::options().write(true).truncate(true).open(lab.log()).expect("cut");
        while lab.look(9) {}
        put(&lab.log(), hole, b"after\nnex");
        while lab.look(9) {}
        put(&lab.log(), hole + 9, b"t\nbegun");
        while lab.look(9) {}
        put(&lab.log(), 2 * hole + 14, b"\nlast\n");
        while lab.look(9) {}
        let got = lab.shown(&lab.got);
        assert_eq!(got[..3], ["line 1", "after", "next"], "{hole}");
        assert!(got[3].starts_with("begun") && got.last().is_some_and(|last| last == "last"), "{got:?}");
    }
}

/// A log that cannot be read at first, and is to be followed from its end.
#[test]
fn an_error_at_the_first_look_leaves_the_end_the_beginning() {
    let mut lab = Lab::new();
    let (now, real) = (lab.dir.path().join("now"), lab.dir.path().join("real"));
    let log = now.join("mem");
    std::os::unix::fs::symlink("/proc/self", &now).expect("linked");
    lab.tail = Tail::new(log.clone(), StartAt::End, None);
    lab.tail.look(9, lab.now).expect_err("nothing is at its beginning");
    fs::remove_file(&now).expect("removed");
    fs::create_dir(&real).expect("made");
    std::os::unix::fs::symlink(&real, &now).expect("linked");
    put(&log, 0, b"old\n");
    while lab.look(9) {}
    put(&log, 4, b"new\n");
    while lab.look(9) {}
    assert_eq!(lab.shown(&lab.got), ["new"]);
}

/// The log is there, and its first line comes, and is rotated, while no host runs.
#[test]
fn a_log_that_was_rotated_before_its_first_line_was_found_is_read() {
    use Step::{CopyAndCut, Rename, Restart, Write, WritePart};
    let cases: [&[Step]; 6] = [
        &[Write(2), Rename, Write(1)],
        &[Write(2), Rename],
        &[Write(2), CopyAndCut, Write(1)],
        &[Write(2), Rename, Write(2), Rename, Write(1)],
        &[WritePart, Rename, Write(1)],
        &[Write(2), Step::Replace, Write(1)],
    ];
    for steps in cases {
        for from in [StartAt::Start, StartAt::End] {
            let mut lab = Lab::new();
            // There are files of before, which are not read.
            fs::write(lab.rotated(1), "before\n").expect("written");
            lab.changed(lab.rotated(1));
            File::create(lab.log()).expect("made");
            lab.changed(lab.log());
            lab.tail = Tail::new(lab.log(), from, None);
            while lab.look(9) {}
            steps.iter().chain([&Restart]).for_each(|step| lab.take(step));
            lab.drain();
            assert_eq!(lab.shown(&lab.got), lab.shown(&lab.expected()), "{steps:?}");
        }
    }
    // The empty one was rotated, and nothing is lost.
    let mut lab = Lab::new();
    File::create(lab.log()).expect("made");
    while lab.look(9) {}
    [Rename, Restart, Write(1)].iter().for_each(|step| lab.take(step));
    lab.drain();
    assert_eq!((lab.shown(&lab.got), lab.note), (vec!["line 1".to_owned()], None));
}

/// Whoever looks for something in an old log unpacks it beside the new one.
#[test]
fn a_file_of_before_that_is_restored_is_not_read_again() {
    use Step::{Look, Rename, Restart, Write};
    let cases: [&[Step]; 3] = [&[], &[Restart], &[Rename, Restart]];
    for steps in cases {
        let mut lab = after(&[Write(2), Look(9)]);
        let restored: PathBuf = lab.dir.path().join("app.log.2026");
        fs::write(&restored, "restored\n").expect("written");
        lab.changed(restored);
        lab.now += Duration::from_secs(15);
        while lab.look(9) {}
        steps.iter().for_each(|step| lab.take(step));
        if !steps.iter().any(|step| matches!(step, Rename)) {
            lab.take(&Rename);
        }
        lab.take(&Write(1));
        has_each_line_once(lab);
    }
}

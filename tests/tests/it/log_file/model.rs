//! A log on a real disk that is written, rotated, copied, cut short and tidied up in any order, and a tail that is looked through,
//! thrown away and begun again at any moment: each line comes once, and in order. Files get their times from the test, since real
//! ones are too coarse for rotations that follow each other at once.

use opsward::trigger::log_file::Tail;
use opsward_core::config::StartAt;
use opsward_core::tail::{LINE_BYTES_MAX, Progress};
use proptest::prelude::*;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Whole lines.
    Write(u8),
    /// The beginning of a line, or more of it.
    WritePart,
    /// A line that is longer than any that is kept.
    WriteLong,
    /// As logrotate does it by itself: the file gets another name.
    Rename,
    /// As logrotate does it with `copytruncate`.
    CopyAndCut,
    /// As editors do it, or whoever copies a directory: another file with the same text is there.
    Replace,
    /// A look that is recorded, of so many lines at most.
    Look(u8),
    /// A look that is not recorded, since the host dies.
    LookAndDie(u8),
    Restart,
    /// Time passes.
    Wait,
    /// All is read, of the log a line at least, then the rotated files are deleted.
    Tidy,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6_u8).prop_map(Step::Write),
        2 => Just(Step::WritePart),
        1 => Just(Step::WriteLong),
        2 => Just(Step::Rename),
        2 => Just(Step::CopyAndCut),
        1 => Just(Step::Replace),
        5 => (1..5_u8).prop_map(Step::Look),
        2 => (1..5_u8).prop_map(Step::LookAndDie),
        2 => Just(Step::Restart),
        2 => Just(Step::Wait),
        1 => Just(Step::Tidy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn each_line_comes_once_and_in_order(steps in proptest::collection::vec(step(), 1..40)) {
        let mut lab = Lab::new();
        // What was never seen is not followed through a rotation.
        lab.take(&Step::Write(1));
        lab.take(&Step::Look(1));
        for step in &steps {
            lab.take(step);
        }
        lab.drain();
        let expected = lab.expected();
        prop_assert_eq!(lab.shown(&lab.got), lab.shown(&expected));
    }
}

/// As with `compress` in logrotate: the file that was read is gone, and the log was rotated once more meanwhile.
#[test]
fn what_was_rotated_while_the_file_before_was_compressed_is_read() {
    let mut lab = Lab::new();
    let steps = [Step::Write(2), Step::Look(9), Step::Rename, Step::Write(2), Step::Rename, Step::Write(2)];
    steps.iter().for_each(|step| lab.take(step));
    fs::rename(lab.rotated(2), lab.dir.path().join("app.log.2.gz")).expect("renamed");
    fs::write(lab.dir.path().join("app.log.2.gz"), "compressed").expect("written");
    // Older ones were read, and are not read again.
    fs::write(lab.rotated(3), "older\n").expect("written");
    let older = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    File::options().append(true).open(lab.rotated(3)).and_then(|file| file.set_modified(older)).expect("set");
    lab.restart();
    lab.drain();
    assert_eq!(lab.shown(&lab.got), lab.shown(&lab.expected()));
}

/// However many files are beside it, and wherever the system lists them.
#[test]
fn a_rotated_log_is_found_among_many_files() {
    let mut lab = Lab::new();
    for nth in 0..12_000 {
        File::create(lab.dir.path().join(format!("session-{nth}"))).expect("made");
    }
    let steps = [Step::Write(2), Step::Look(1), Step::Rename, Step::Write(2), Step::Restart];
    steps.iter().for_each(|step| lab.take(step));
    lab.drain();
    assert_eq!(lab.shown(&lab.got), lab.shown(&lab.expected()));
}

#[test]
fn a_log_with_another_path_is_another_unless_it_was_moved() {
    let mut lab = Lab::new();
    [Step::Write(2), Step::Look(9)].iter().for_each(|step| lab.take(step));
    let files = |lab: &Lab| lab.recorded.as_ref().map(|recorded| recorded.files);
    let other = lab.dir.path().join("other.log");
    let at = |lab: &mut Lab, path: &PathBuf, from| {
        lab.got.clear();
        lab.tail = Tail::new(path.clone(), from, lab.recorded.clone());
        while lab.look(9) && lab.got.len() < 100 {}
        lab.shown(&lab.got)
    };
    // Both are there: the old one is not read on, and the new one as if it were first seen.
    fs::write(&other, "a\nb\n").expect("written");
    lab.take(&Step::Write(1));
    let recorded = lab.recorded.clone();
    assert_eq!(at(&mut lab, &other, StartAt::Start), ["a", "b"]);
    assert_eq!(files(&lab), Some(2), "so that its lines have ids of their own");
    lab.recorded = recorded.clone();
    assert_eq!(at(&mut lab, &other, StartAt::End), [""; 0]);
    fs::write(&other, "a\nb\nc\n").expect("written");
    assert_eq!(at(&mut lab, &other, StartAt::End), ["c"]);
    // The file itself has another path: it is read on.
    lab.recorded = recorded;
    fs::rename(lab.log(), &other).expect("renamed");
    assert_eq!(at(&mut lab, &other, StartAt::End), ["line 3"]);
    assert_eq!(files(&lab), Some(1));
}

#[test]
fn a_log_that_is_called_by_another_way_to_its_directory_is_the_same() {
    let beside = tempfile::tempdir().expect("a temporary directory");
    for is_link in [true, false] {
        let mut lab = Lab::new();
        let (directory, link) = (lab.dir.path(), beside.path().join("link"));
        std::os::unix::fs::symlink(directory, &link).expect("linked");
        let back = directory.join("..").join(directory.file_name().expect("it has a name"));
        let way = if is_link { link } else { back };
        [Step::Write(2), Step::Look(9), Step::Write(1)].iter().for_each(|step| lab.take(step));
        // Rotated while nobody looks: only who knows that it is the same log reads the rest of what it was.
        fs::rename(lab.log(), lab.dir.path().join("app.log.1")).expect("renamed");
        lab.got.clear();
        lab.tail = Tail::new(way.join("app.log"), StartAt::End, lab.recorded.clone());
        while lab.look(9) && lab.got.len() < 100 {}
        assert_eq!(lab.shown(&lab.got), ["line 3"], "{}", way.display());
        fs::remove_file(beside.path().join("link")).expect("removed");
    }
}

pub(super) struct Lab {
    pub(super) dir: tempfile::TempDir,
    pub(super) tail: Tail,
    pub(super) recorded: Option<Progress>,
    pub(super) now: Instant,
    /// Counts changes of files, a second each.
    tick: u64,
    /// Numbers what is written.
    count: u64,
    /// What each file that was the log holds, the present one last.
    written: Vec<Vec<u8>>,
    pub(super) got: Vec<Vec<u8>>,
    /// What the operator was told last.
    pub(super) note: Option<&'static str>,
}

impl Lab {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tail = Tail::new(dir.path().join("app.log"), StartAt::Start, None);
        let (now, written) = (Instant::now(), vec![Vec::new()]);
        Self { dir, tail, recorded: None, now, tick: 0, count: 0, written, got: Vec::new(), note: None }
    }

    pub(super) fn take(&mut self, step: &Step) {
        match step {
            Step::Write(lines) => {
                for _ in 0..*lines {
                    self.count += 1;
                    self.write(format!("line {}\n", self.count).into_bytes());
                }
            }
            Step::WritePart => {
                self.count += 1;
                self.write(format!("part {} ", self.count).into_bytes());
            }
            Step::WriteLong => {
                self.count += 1;
                self.write(format!("{:x<1$}\n", self.count, LINE_BYTES_MAX + 100).into_bytes());
            }
            Step::Rename if self.log().exists() => {
                self.shift();
                fs::rename(self.log(), self.rotated(1)).expect("renamed");
                self.written.push(Vec::new());
            }
            Step::CopyAndCut if self.log().exists() => {
                self.shift();
                fs::copy(self.log(), self.rotated(1)).expect("copied");
                self.changed(self.rotated(1));
                File::options().write(true).truncate(true).open(self.log()).expect("cut");
                self.changed(self.log());
                self.written.push(Vec::new());
            }
            Step::Replace if self.log().exists() => {
                let other = self.dir.path().join("other");
                fs::copy(self.log(), &other).expect("copied");
                self.changed(other.clone());
                fs::rename(other, self.log()).expect("renamed");
            }
            Step::Rename | Step::CopyAndCut | Step::Replace => {}
            Step::Look(lines) => drop(self.look(*lines)),
            Step::LookAndDie(lines) => {
                self.tail.look(usize::from(*lines), self.now).expect("looked");
                self.restart();
            }
            Step::Restart => self.restart(),
            Step::Wait => self.now += Duration::from_secs(3),
            Step::Tidy => {
                // A file of which no line was read is found from the one before.
                self.take(&Step::Write(1));
                self.drain();
                for n in (1..).take_while(|n| self.rotated(*n).exists()) {
                    fs::remove_file(self.rotated(n)).expect("removed");
                }
            }
        }
    }

    fn write(&mut self, bytes: Vec<u8>) {
        let log = File::options().append(true).create(true).open(self.log());
        log.and_then(|mut log| log.write_all(&bytes)).expect("written");
        self.changed(self.log());
        self.written.last_mut().expect("one is the log").extend(bytes);
    }

    /// Looks, and records what was found; whether there was anything.
    pub(super) fn look(&mut self, lines: u8) -> bool {
        let look = self.tail.look(usize::from(lines), self.now).expect("looked");
        let found = look.has_more || look.has_begun || !look.lines.is_empty();
        self.note = look.note.or(self.note);
        self.got.extend(look.lines.into_iter().map(|line| line.bytes));
        self.recorded = Some(look.progress);
        found
    }

    /// Reads all there is. A file that was renamed is finished once there is a next one.
    pub(super) fn drain(&mut self) {
        if !self.log().exists() {
            self.take(&Step::Write(1));
        }
        while self.look(7) || {
            self.now += Duration::from_secs(3);
            self.look(7)
        } {}
    }

    pub(super) fn restart(&mut self) {
        self.tail = Tail::new(self.log(), StartAt::Start, self.recorded.clone());
    }

    pub(super) fn expected(&self) -> Vec<Vec<u8>> {
        let (present, before) = self.written.split_last().expect("one is the log");
        let mut lines = Vec::new();
        for file in before {
            let mut of_it: Vec<_> = file.split(|byte| *byte == b'\n').collect();
            of_it.pop_if(|last| last.is_empty());
            lines.extend(of_it);
        }
        let mut of_it: Vec<_> = present.split(|byte| *byte == b'\n').collect();
        of_it.pop();
        lines.extend(of_it);
        lines.into_iter().map(|line| line[..line.len().min(LINE_BYTES_MAX)].to_vec()).collect()
    }

    pub(super) fn shown(&self, lines: &[Vec<u8>]) -> Vec<String> {
        lines.iter().map(|line| String::from_utf8_lossy(&line[..line.len().min(20)]).into_owned()).collect()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.path().join("app.log")
    }

    pub(super) fn rotated(&self, n: u32) -> PathBuf {
        self.dir.path().join(format!("app.log.{n}"))
    }

    /// Makes room for a file that is the latest of the rotated ones.
    fn shift(&self) {
        let last = (1..).take_while(|n| self.rotated(*n).exists()).last().unwrap_or(0);
        for n in (1..=last).rev() {
            fs::rename(self.rotated(n), self.rotated(n + 1)).expect("renamed");
        }
    }

    pub(super) fn changed(&mut self, path: PathBuf) {
        self.tick += 1;
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.tick);
        File::options().append(true).open(path).and_then(|file| file.set_modified(at)).expect("set");
    }
}

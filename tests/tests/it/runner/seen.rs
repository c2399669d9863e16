//! What the kernel shows of a process to a process of the same user, or of root: its descriptors, its environment, its
//! memory. A runner is closed to other processes of its own user; where only root may look, what was to be looked at is
//! skipped, and said to be.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

/// Bytes read of a process's memory at a time.
const READ_BYTES: usize = 1 << 16;

/// A process of this machine.
pub(crate) struct Process {
    pub(crate) pid: u32,
}

/// The children of a host that run guests.
pub(crate) fn runners_of(keeper: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("Linux");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_runner = |process: &Process| {
        let parent = format!("\nPPid:\t{keeper}\n");
        process.lives()
            && process.text("status").is_some_and(|status| status.contains(&parent))
            && process.text("cmdline").is_some_and(|line| line.starts_with("opsward\0runner\0"))
    };
    pids.map(|pid| Process { pid }).filter(is_runner).collect()
}

impl Process {
    /// One of its files in `/proc`, where this process may read it.
    pub(super) fn text(&self, file: &str) -> Option<String> {
        let bytes = fs::read(format!("/proc/{}/{file}", self.pid)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether it is there, and not merely waited for.
    pub(super) fn lives(&self) -> bool {
        self.text("status")
            .is_some_and(|status| !status.contains("\nState:\tZ") && !status.contains("\nState:\tX"))
    }

    pub(super) fn signal(&self, signal: &str) {
        // One that has ended meanwhile is as dead as it was to be.
        let sent = Command::new("kill").args([signal, &self.pid.to_string()]).stderr(Stdio::null()).status();
        assert!(sent.is_ok(), "kill runs");
    }

    /// The status of each of its threads.
    pub(super) fn thread_statuses(&self) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("it lives");
        threads
            .map(|thread| fs::read_to_string(thread.expect("an entry").path().join("status")).expect("shown"))
            .collect()
    }

    /// What its descriptors are; `None`, and said, where this process may not look.
    pub(super) fn descriptors(&self) -> Option<Vec<String>> {
        if !self.is_open_to_us() {
            println!("SKIPPED: this user may not look into the runner; root may");
            return None;
        }
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("readable");
        let target = |entry: fs::DirEntry| fs::read_link(entry.path()).ok().map(|t| t.display().to_string());
        Some(entries.filter_map(|entry| target(entry.expect("an entry"))).collect())
    }

    /// How often each of `texts` is in its memory, but for files that are mapped; `None`, and said, where this process may not look.
    pub(super) fn finds(&self, texts: &[&str]) -> Option<Vec<usize>> {
        if !self.is_open_to_us() {
            println!("SKIPPED: this user may not read the runner's memory; root may");
            return None;
        }
        let memory = File::open(format!("/proc/{}/mem", self.pid)).expect("readable");
        let maps = self.text("maps").expect("readable");
        let overlap = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let mut found = vec![0; texts.len()];
        let (mut buffer, untouched) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next().expect("a range"), words.next().expect("rights"));
            let is_file =
                words.nth(3).is_some_and(|path| path.starts_with('/') && !path.starts_with("/memfd:"));
            if !rights.starts_with('r') || is_file {
                continue;
            }
            let (from, to) = range.split_once('-').expect("a range");
            let [mut at, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).expect("hex"));
            while at < to {
                let bytes = usize::try_from(to - at).map_or(READ_BYTES, |left| left.min(READ_BYTES));
                // The kernel's own pages cannot be read.
                let Ok(read) = memory.read_at(&mut buffer[..bytes], at) else { break };
                // Most of what is set aside for guests was never used.
                let used = buffer[..read] != untouched[..read];
                for (text, times) in texts.iter().zip(&mut found).filter(|_| used) {
                    *times += buffer[..read].windows(text.len()).filter(|w| *w == text.as_bytes()).count();
                }
                if read < READ_BYTES {
                    break;
                }
                at += u64::try_from(read - overlap).expect("fits");
            }
        }
        Some(found)
    }

    /// Whether this process may look into it.
    pub(super) fn is_open_to_us(&self) -> bool {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).is_ok()
    }
}

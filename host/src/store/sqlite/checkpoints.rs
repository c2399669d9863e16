//! Checkpoints of the audit chain: lines in `<store>.checkpoints`, authenticated with the key in `<store>.audit-key`, written and
//! synced by a thread of their own, so that no effect waits for them. A line tells only of what is committed; what is committed
//! may be ahead of the last line by what `ENTRIES_MAX` and `EVERY` say. Leaves the form of a line to `opsward_core::audit`. Tested in
//! `tests/tests/it/audit.rs`.

use super::schema::open_private;
use crate::clock::{Clock as _, SystemClock};
use opsward_core::audit::{Checkpoint, CheckpointKind, CheckpointLine, Key, parse_key};
use opsward_core::id::{Digest, hex};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Rows that may follow the last checkpoint: a thief of the store, but not of its key, can take so many away unseen.
const ENTRIES_MAX: i64 = 512;
/// How old such rows may be.
const EVERY: Duration = Duration::from_secs(60);
/// Longest line there can be: two hashes, a number, a time, with room to spare.
const LINE_BYTES_MAX: u64 = 512;

/// The end of the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) hash: Digest,
    /// Whether the last row says that the store is a restored copy.
    pub(super) restored: bool,
}

/// The thread that writes checkpoints.
pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<bool>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    reached: Head,
    /// The row that the last checkpoint is of.
    written: i64,
    closed: bool,
}

impl Checkpoints {
    /// Writes a checkpoint of `head`, where the store at `path` begins, and goes on from there.
    pub(super) fn start(path: &Path, head: Head) -> io::Result<Self> {
        let files = Files::of(path);
        let written = if files.begin(&head) { head.seq } else { -1 };
        let state = Mutex::new(State { reached: head, written, closed: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("opsward-audit".to_owned())
            .spawn(move || write_until_closed(&of_thread, &files))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// `head` is on disk.
    pub(super) fn reached(&self, head: Head) {
        let mut state = self.shared.lock();
        state.reached = head;
        if state.is_much() {
            self.shared.changed.notify_one();
        }
    }

    /// Has what was reached written, and ends. Returns whether it is on disk.
    pub(super) fn close(&mut self) -> bool {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        self.thread.take().is_none_or(|thread| thread.join().unwrap_or(false))
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_much(&self) -> bool {
        self.reached.seq - self.written >= ENTRIES_MAX
    }
}

/// Returns whether the last row reached is on disk.
fn write_until_closed(shared: &Shared, files: &Files) -> bool {
    let mut failed = false;
    loop {
        let waiting = shared.lock();
        // After a failure the next try comes with the time.
        let wait = |state: &mut State| !state.closed && (failed || !state.is_much());
        let waited = shared.changed.wait_timeout_while(waiting, EVERY, wait);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let (reached, written, closed) = (state.reached, state.written, state.closed);
        drop(state);
        if reached.seq != written {
            match files.append(CheckpointKind::Checkpoint, &reached) {
                Ok(()) => shared.lock().written = reached.seq,
                Err(error) => tracing::warn!(%error, path = %files.lines.display(), "no audit checkpoint"),
            }
        }
        failed = shared.lock().written != reached.seq;
        if closed {
            return !failed;
        }
    }
}

/// Where checkpoints and their key are.
pub(super) struct Files {
    pub(super) lines: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    pub(super) fn of(store: &Path) -> Self {
        let beside = |end: &str| {
            let mut path = store.as_os_str().to_owned();
            path.push(end);
            PathBuf::from(path)
        };
        Self { lines: beside(".checkpoints"), key: beside(".audit-key") }
    }

    /// Writes a checkpoint of `head` unless the file ends with one. Returns whether it does now.
    fn begin(&self, head: &Head) -> bool {
        let last = self.last().unwrap_or_default().map(|line| line.checkpoint);
        if last.is_some_and(|last| (last.seq, last.hash) == (head.seq, head.hash)) {
            return true;
        }
        if let Some(last) = last.filter(|last| last.seq >= head.seq && !head.restored) {
            tracing::error!(
                checkpoint = last.seq,
                row = head.seq,
                "rows of the audit chain are missing that a checkpoint tells of: see `opsward audit verify`"
            );
        }
        let kind = if head.restored { CheckpointKind::Restored } else { CheckpointKind::Checkpoint };
        let appended = self.append(kind, head);
        if let Err(error) = &appended {
            tracing::warn!(%error, path = %self.lines.display(), "no audit checkpoint yet");
        }
        appended.is_ok()
    }

    /// The last line, where there is one that is whole.
    fn last(&self) -> io::Result<Option<CheckpointLine>> {
        match File::open(&self.lines) {
            Ok(mut file) => Ok(last_line(&mut file)?.1),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Appends a line and has it on disk.
    fn append(&self, kind: CheckpointKind, head: &Head) -> io::Result<()> {
        let key = self.key()?;
        let mut file = open_private(&self.lines)?;
        let (end, last) = last_line(&mut file)?;
        // What a host that died left half written is no line.
        file.set_len(end)?;
        let at = SystemClock.now();
        let checkpoint = Checkpoint { kind, seq: head.seq, hash: head.hash, at };
        let line = CheckpointLine::new(checkpoint, last.as_ref().map(|line| &line.mac), &key);
        file.seek(SeekFrom::End(0))?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        if end == 0 {
            sync_dir(&self.lines)?;
        }
        tracing::info!(line = %line, "audit checkpoint");
        Ok(())
    }

    /// The host's own key, made where there is none.
    fn key(&self) -> io::Result<Key> {
        if let Some(key) = self.existing_key()? {
            return Ok(key);
        }
        let mut bytes = [0; 32];
        let random = SystemRandom::new().fill(&mut bytes);
        random.map_err(|_| io::Error::other("the system gives no random numbers"))?;
        let mut file = open_private(&self.key)?;
        file.set_len(0)?;
        file.write_all(format!("{}\n", hex(&bytes)).as_bytes())?;
        file.sync_all()?;
        sync_dir(&self.key)?;
        parse_key(&hex(&bytes)).ok_or_else(|| io::Error::other("not a key"))
    }

    /// The key, where there is one.
    pub(super) fn existing_key(&self) -> io::Result<Option<Key>> {
        match std::fs::read_to_string(&self.key) {
            // An empty one was made by a host that died meanwhile, before it wrote any line.
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => parse_key(&text).map(Some).ok_or_else(|| {
                io::Error::other(format!("`{}` is no key: 64 hex digits are one", self.key.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where the last whole line ends, and what it says where that can be read.
fn last_line(file: &mut File) -> io::Result<(u64, Option<CheckpointLine>)> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(2 * LINE_BYTES_MAX).read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        // No line can be so long: what is there is left for people to see.
        return Ok((if from == 0 { 0 } else { length }, None));
    };
    let begin = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    Ok((from + end as u64 + 1, CheckpointLine::parse(&tail[begin..end]).ok()))
}

/// A new file is there after a power cut only once its directory is on disk.
fn sync_dir(file: &Path) -> io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

//! Sources of kind `logfile`: each log is followed by a task of its own, which has new lines made into events and recorded with the
//! place that reading has come to, in one transaction. Where the store does not take them, the log waits. Leaves reading to `tail`,
//! what a line says to `opsward_core::event`. Tested with whole hosts in `tests/tests/it/log_file.rs`.

mod disk;
mod tail;

pub use tail::{Look, Tail};

use super::accept::Accept;
use crate::failpoint::haste;
use crate::store::Cursor;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use opsward_core::config::{Comes, FileSettings, HostSettings};
use opsward_core::event::{Event, ReadFrom};
use opsward_core::id::SourceName;
use opsward_core::sender::Trust;
use opsward_core::tail::Progress;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// How often a log is looked at though nothing was heard of it: network file systems tell nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long after a change the log is looked at: what a writer adds line by line is then read in one go.
const SETTLE: Duration = Duration::from_millis(50);
/// How soon a store that failed is asked again: lines wait in the log meanwhile.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often the place is recorded where no line is an event: what is read again after a kill makes no event again.
const RECORD_EVERY: Duration = Duration::from_secs(10);
/// The one cursor of a log.
const CURSOR: &str = "log";

/// One log that is followed.
pub struct LogFile {
    name: SourceName,
    settings: FileSettings,
    path: PathBuf,
    accept: Arc<Accept>,
}

/// The logs that the configuration names; relative paths begin at `base`.
pub fn all(host: &HostSettings, base: &Path, accept: &Arc<Accept>) -> Vec<LogFile> {
    let logs = host.sources.values().filter_map(|source| match &source.comes {
        Comes::File(file) => Some((source, file)),
        _ => None,
    });
    let log = |(source, file): (&opsward_core::config::SourceSettings, &FileSettings)| LogFile {
        name: source.name.clone(),
        settings: file.clone(),
        path: base.join(&file.path),
        accept: accept.clone(),
    };
    logs.map(log).collect()
}

impl LogFile {
    /// Follows the log until `stopping` turns true or its sender is gone.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let touched = Arc::new(Notify::new());
        let watcher = listen(&self.path, touched.clone());
        if let Err(problem) = &watcher {
            tracing::warn!(source = %self.name, %problem, "cannot watch the log's directory; it is read every second instead");
        }
        let Some(progress) = self.recorded(&mut stopping).await else { return };
        let mut tail = Some(self.tail(progress.clone()));
        let mut state = State { recorded: progress, recorded_at: Instant::now(), problem: None };
        while let Some(reading) = tail.take() {
            // Registered before looking: what is written during the look ends the wait at once.
            let changed = touched.notified();
            let (wait, reading) = match look(reading, self.settings.events_a_second).await {
                Ok((reading, looked)) => {
                    let Some(wait) = self.take(looked, &mut state, &mut stopping).await else { return };
                    (wait, reading)
                }
                // The thread that looked is gone, and with it nothing that is not on disk.
                Err(problem) => {
                    tracing::error!(source = %self.name, %problem, "a look at the log failed");
                    (Wait::ForChange, self.tail(state.recorded.clone()))
                }
            };
            tail = Some(reading);
            tokio::select! {
                () = pause(wait, changed) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn tail(&self, progress: Option<Progress>) -> Tail {
        Tail::new(self.path.clone(), self.settings.from, progress)
    }

    /// Where the log was left; the outer `None` once the host ends.
    async fn recorded(&self, stopping: &mut watch::Receiver<bool>) -> Option<Option<Progress>> {
        loop {
            match self.accept.store.cursor(&self.name, CURSOR).await {
                Ok(None) => return Some(None),
                Ok(Some(text)) => match serde_json::from_str(&text) {
                    Ok(progress) => return Some(Some(progress)),
                    Err(problem) => tracing::error!(
                        source = %self.name, %problem, "the recorded place of the log cannot be read: it is not followed"
                    ),
                },
                Err(error) => {
                    tracing::error!(source = %self.name, %error, "cannot read where the log was left");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(haste(RETRY_AFTER)) => {}
                _ = stopping.wait_for(|stop| *stop) => return None,
            }
        }
    }

    /// Records what a look found; returns how long to wait before the next, `None` once the host ends.
    async fn take(
        &self,
        looked: io::Result<Look>,
        state: &mut State,
        stopping: &mut watch::Receiver<bool>,
    ) -> Option<Wait> {
        let look = match looked {
            Ok(look) => look,
            Err(error) => {
                state.tell(&self.name, &self.path, Some(error.to_string()));
                return Some(Wait::ForChange);
            }
        };
        state.tell(&self.name, &self.path, None);
        if let Some(note) = look.note {
            tracing::warn!(source = %self.name, path = %self.path.display(), "{note}");
        }
        metrics::counter!("opsward_log_lines_total", "source" => self.name.as_str().to_owned())
            .increment(look.lines.len() as u64);
        let events = self.events(&look);
        let is_due = look.has_begun || state.recorded_at.elapsed() >= haste(RECORD_EVERY);
        if !events.is_empty() || (is_due && state.recorded.as_ref() != Some(&look.progress)) {
            while let Err(error) = self.record(&events, &look.progress).await {
                tracing::error!(source = %self.name, %error, "lines of the log not recorded, will try again");
                tokio::select! {
                    () = tokio::time::sleep(haste(RETRY_AFTER)) => {}
                    _ = stopping.wait_for(|stop| *stop) => return None,
                }
            }
            state.recorded = Some(look.progress);
            state.recorded_at = Instant::now();
        }
        let rate = f64::from(self.settings.events_a_second);
        Some(match (events.len(), look.has_more) {
            (0, true) => Wait::Not,
            (0, false) => Wait::ForChange,
            (count, _) => Wait::For(Duration::from_secs_f64(count as f64 / rate)),
        })
    }

    fn events(&self, look: &Look) -> Vec<Event> {
        let received = self.accept.clock.now();
        let path = self.settings.path.to_string_lossy();
        let from = ReadFrom { source: &self.name, path: &path, files: look.files, received };
        look.lines.iter().filter_map(|line| self.settings.pattern.event(line, from)).collect()
    }

    async fn record(&self, events: &[Event], progress: &Progress) -> Result<(), crate::store::StoreError> {
        let value = serde_json::to_string(progress).expect("numbers, a truth and a digest have a text");
        let cursor = Cursor { source: self.name.clone(), key: CURSOR.to_owned(), value };
        // What stands in a log was written by a program of this machine, but often in the words of strangers.
        self.accept.accept_at(events.to_vec(), b"", Trust::Hint, Some(cursor)).await.map(drop)
    }
}

/// What one task remembers between looks.
struct State {
    recorded: Option<Progress>,
    recorded_at: Instant,
    /// Why the log cannot be read, as it was last told.
    problem: Option<String>,
}

impl State {
    /// Tells of a problem, and of its end, once.
    fn tell(&mut self, source: &SourceName, path: &Path, problem: Option<String>) {
        if self.problem == problem {
            return;
        }
        let path = path.display();
        match &problem {
            Some(problem) => tracing::error!(%source, %path, problem, "cannot read the log, will try again"),
            None => tracing::info!(%source, %path, "the log can be read again"),
        }
        self.problem = problem;
    }
}

/// How long to wait before the next look.
enum Wait {
    Not,
    /// Until the log changes.
    ForChange,
    /// So that events keep to their rate.
    For(Duration),
}

async fn pause(wait: Wait, changed: impl Future<Output = ()>) {
    match wait {
        Wait::Not => {}
        Wait::For(time) => tokio::time::sleep(time).await,
        Wait::ForChange => tokio::select! {
            () = tokio::time::sleep(haste(LOOK_EVERY)) => {}
            () = changed => tokio::time::sleep(SETTLE).await,
        },
    }
}

/// Reads on, on a thread that may block. At most a second's worth of events comes of it.
async fn look(mut tail: Tail, lines_max: u32) -> Result<(Tail, io::Result<Look>), tokio::task::JoinError> {
    let looking = tokio::task::spawn_blocking(move || {
        let looked = tail.look(lines_max as usize, Instant::now());
        (tail, looked)
    });
    looking.await
}

/// Tells `touched` of changes of files whose names begin as the log's, while the watcher lives.
fn listen(log: &Path, touched: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let name = log.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_of_log = move |path: &PathBuf| {
        path.file_name().is_some_and(|changed| changed.to_string_lossy().starts_with(name.as_str()))
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let is_change = event.map_or(true, |event| {
            !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(&is_of_log)
        });
        if is_change {
            touched.notify_one();
        }
    })?;
    let directory = log.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

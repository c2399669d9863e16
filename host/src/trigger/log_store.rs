//! A log store as a source: lists its shards now and then, and has each read by a task of its own, so that one that is slow or refused
//! holds no other. Leaves reading a shard to `shard`, the protocol and the pauses to `opsward_core::source`, signing and sending to
//! `cloud`, and recording to `accept`. Tested by `tests/tests/it/polled.rs`.

mod shard;

use super::accept::Accept;
use super::pulling::{PullError, Reported};
use crate::cloud::{CloudClient, Pull, Pulled};
use crate::failpoint::haste;
use crate::store::Cursor;
use opsward_core::config::LogStoreSettings;
use opsward_core::event::SourceKind;
use opsward_core::id::{Digest, SourceName};
use opsward_core::sender::Trust;
use opsward_core::sign::alibaba_sls;
use opsward_core::source::Request;
use opsward_core::source::log_store::{self, PAGE_BYTES_MAX, Shard};
use opsward_core::source::poll::{Pace, Polled};
use shard::Reader;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

/// How often shards are listed anew: one that is split goes on in others.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pages of one log store fetched at a time.
const FETCHING_MAX: usize = 4;
/// Pages of one log store in memory, until their records are on disk.
const PAGES_MAX: usize = 2 * FETCHING_MAX;
/// The cursor that tells since when the source is read, in seconds since 1970: where a shard begins that has none of its own.
const SINCE: &str = "since";
/// The cursor that tells which log store the source read first: those of another have its name before theirs.
const FIRST: &str = "first";

/// How far records are believed: the store is the account's, but programs write there in the words of strangers.
const TRUST: Trust = Trust::Hint;

/// A log store that events are read from.
pub struct LogStoreSource {
    /// The source's name.
    pub name: SourceName,
    /// What its records are.
    pub kind: SourceKind,
    /// Where they are.
    pub store: LogStoreSettings,
    /// Sends what is asked.
    pub cloud: Arc<CloudClient>,
    /// Records events.
    pub accept: Arc<Accept>,
    /// Whether others of the source's events are proved.
    pub is_mixed: bool,
}

/// What the readers of all shards share.
struct Reading {
    source: LogStoreSource,
    /// What stands before the keys of cursors and the ids of records.
    prefix: String,
    since: i64,
    /// To fetch a page.
    turns: Semaphore,
    /// To have one.
    pages: Semaphore,
}

impl LogStoreSource {
    /// Runs until `stopping` turns true. A page in hand is recorded as a whole, or read again at the next start.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        tokio::select! {
            () = self.read() => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }

    async fn read(self) {
        let mut pace = Pace::default();
        let mut reported = Reported::default();
        let reading = loop {
            let known = self.known().await;
            reported.tell(&self.name, &self.store.name, known.as_ref().err());
            match known {
                Ok((prefix, since)) => {
                    let [turns, pages] = [FETCHING_MAX, PAGES_MAX].map(Semaphore::new);
                    break Reading { source: self, prefix, since, turns, pages };
                }
                Err(_) => tokio::time::sleep(haste(pace.pause_after(Polled::Failed))).await,
            }
        };
        let reading = Arc::new(reading);
        let mut readers = Readers::default();
        loop {
            let LogStoreSource { name, store, .. } = &reading.source;
            let listed = reading.source.list().await;
            reported.tell(name, &store.name, listed.as_ref().err());
            let pause = match listed {
                Ok(shards) => {
                    pace.pause_after(Polled::Got);
                    readers.keep_to(&shards, &reading);
                    LIST_EVERY
                }
                Err(_) => pace.pause_after(Polled::Failed),
            };
            tokio::time::sleep(haste(pause)).await;
        }
    }

    /// What stands before this log store's cursors, and since when it is read. Both are decided once, and recorded before anything is
    /// read: a shard that is first seen later begins there too, or what was written to it before it was seen would be lost.
    async fn known(&self) -> Result<(String, i64), PullError> {
        let identity = log_store::identity(&self.store.endpoint, &self.store.name);
        let prefix = match self.cursor(FIRST).await? {
            Some(first) if first != identity => format!("{}/", Digest::of(identity.as_bytes()).short()),
            Some(_) => String::new(),
            None => {
                self.record_cursor(FIRST.to_owned(), identity).await?;
                String::new()
            }
        };
        let key = format!("{prefix}{SINCE}");
        if let Some(since) = self.cursor(&key).await?.and_then(|text| text.parse().ok()) {
            return Ok((prefix, since));
        }
        let since = (self.accept.clock.now() - self.store.since).seconds();
        self.record_cursor(key, since.to_string()).await?;
        Ok((prefix, since))
    }

    async fn cursor(&self, key: &str) -> Result<Option<String>, PullError> {
        Ok(self.accept.store.cursor(&self.name, key).await?)
    }

    async fn record_cursor(&self, key: String, value: String) -> Result<(), PullError> {
        let cursor = Cursor { source: self.name.clone(), key, value };
        self.accept.accept_at(Vec::new(), &[], TRUST, Some(cursor)).await?;
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Shard>, PullError> {
        let answer = self.ask("sls:ListShards", &log_store::shards(&self.store.name)).await?;
        Ok(log_store::read_shards(answer.status, &answer.body)?)
    }

    async fn ask(&self, action: &'static str, request: &Request) -> Result<Pulled, PullError> {
        let LogStoreSettings { account, endpoint, .. } = &self.store;
        let what = Pull { account, endpoint, action, timeout: TIMEOUT, bytes_max: PAGE_BYTES_MAX };
        let sign = |credential: &_, now| alibaba_sls::prepare(request, endpoint, credential, now);
        Ok(self.cloud.pull(&what, sign).await?)
    }
}

/// The tasks that read, one for each shard.
#[derive(Default)]
struct Readers {
    tasks: JoinSet<u32>,
    /// Whether more may be written to it, and who reads it.
    shards: HashMap<u32, (watch::Sender<bool>, AbortHandle)>,
    /// Those that are closed and read to their end.
    ended: HashSet<u32>,
}

impl Readers {
    /// Begins to read what is new in the list, tells who reads what was closed, and ends what is there no more.
    fn keep_to(&mut self, listed: &[Shard], reading: &Arc<Reading>) {
        let source = &reading.source.name;
        while let Some(ended) = self.tasks.try_join_next() {
            match ended {
                Ok(shard) => drop(self.ended.insert(shard)),
                Err(error) if error.is_cancelled() => {}
                Err(error) => tracing::error!(%source, %error, "a shard's reader failed, and begins anew"),
            }
        }
        let listed: HashMap<u32, bool> = listed.iter().map(|shard| (shard.id, shard.is_open)).collect();
        self.ended.retain(|id| listed.contains_key(id));
        self.shards.retain(|id, (_, task)| {
            let is_listed = listed.contains_key(id);
            if !is_listed {
                task.abort();
            }
            is_listed && !task.is_finished()
        });
        for (&id, &is_open) in listed.iter().filter(|(id, _)| !self.ended.contains(id)) {
            if let Some((open, _)) = self.shards.get(&id) {
                open.send_replace(is_open);
                continue;
            }
            let (open, is_open) = watch::channel(is_open);
            let reader = Reader::new(reading.clone(), id, is_open);
            self.shards.insert(id, (open, self.tasks.spawn(reader.run())));
        }
    }
}

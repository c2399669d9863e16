//! A log store as a source: reads what follows the cursor of each shard, and records it with the cursor after it in one transaction, so
//! that a host that dies reads on where it had recorded. What cannot be decoded is recorded as such and wakes nobody. Leaves the
//! protocol and the pauses to `opsward_core::source`, signing and sending to `cloud`, and recording to `accept`. Tested by
//! `tests/tests/it/polled.rs`.

use super::accept::Accept;
use super::http::chain;
use super::pulling::{PullError, Reported};
use crate::cloud::{CloudClient, Pull, Pulled};
use crate::failpoint::{haste, hit};
use crate::store::Cursor;
use opsward_core::config::LogStoreSettings;
use opsward_core::event::{
    BATCH_EVENTS_MAX, BODY_BYTES_MAX, Delivery, Event, MESSAGE_ID, SourceKind, decode,
};
use opsward_core::id::SourceName;
use opsward_core::sender::Trust;
use opsward_core::sign::alibaba_sls;
use opsward_core::source::log_store::{self, PAGE_BYTES_MAX, PAGE_GROUPS, Page, PageHeaders, Shard};
use opsward_core::source::poll::{Pace, Polled};
use opsward_core::source::{Request, undecodable};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How soon a log store that had nothing new is read again: each look costs a request a shard.
const IDLE: Duration = Duration::from_secs(3);
/// How often shards are listed anew: one that is split goes on in others.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The cursor that tells since when the source is read, in seconds since 1970: where a shard begins that has none of its own.
const SINCE: &str = "since";

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

/// How far reading has come.
#[derive(Default)]
struct Reading {
    since: i64,
    listed: Option<Instant>,
    shards: Vec<Shard>,
    cursors: HashMap<u32, String>,
    /// Groups in a page: fewer where one was too large.
    groups: u32,
}

impl LogStoreSource {
    /// Runs until `stopping` turns true. A page in hand is recorded as a whole, or read again at the next start.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut pace = Pace::default();
        let mut reported = Reported::default();
        let mut reading = Reading { groups: PAGE_GROUPS, ..Reading::default() };
        loop {
            let read = tokio::select! {
                read = self.read_all(&mut reading) => read,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            reported.tell(&self.name, &self.store.name, read.as_ref().err());
            let least = if matches!(read, Ok(true)) { Duration::ZERO } else { IDLE };
            let polled = if read.is_ok() { Polled::Got } else { Polled::Failed };
            tokio::select! {
                () = tokio::time::sleep(haste(pace.pause_after(polled).max(least))) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Reads a page of each shard, of one that fails as well as of the others; tells whether any had records.
    async fn read_all(&self, reading: &mut Reading) -> Result<bool, PullError> {
        if reading.listed.is_none_or(|listed| listed.elapsed() >= haste(LIST_EVERY)) {
            reading.since = self.since().await?;
            let answer = self.ask("sls:ListShards", &log_store::shards(&self.store.name)).await?;
            reading.shards = log_store::read_shards(answer.status, &answer.body)?;
            reading.listed = Some(Instant::now());
        }
        let (mut any, mut failed) = (false, None);
        for shard in reading.shards.clone() {
            match self.read_shard(shard, reading).await {
                Ok(had_records) => any |= had_records,
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(any), Err)
    }

    /// Since when the source is read. Decided once, and recorded before anything is read: a shard that is first seen later begins
    /// there too, or what was written to it before it was seen would be lost.
    async fn since(&self) -> Result<i64, PullError> {
        let known = self.accept.store.cursor(&self.name, SINCE).await?;
        if let Some(since) = known.and_then(|text| text.parse().ok()) {
            return Ok(since);
        }
        let since = (self.accept.clock.now() - self.store.since).seconds();
        self.accept
            .accept_at(Vec::new(), &[], TRUST, Some(self.cursor(SINCE.to_owned(), since.to_string())))
            .await?;
        Ok(since)
    }

    async fn read_shard(&self, shard: Shard, reading: &mut Reading) -> Result<bool, PullError> {
        let key = format!("shard/{}", shard.id);
        let cursor = match reading.cursors.get(&shard.id) {
            Some(cursor) => cursor.clone(),
            None => match self.accept.store.cursor(&self.name, &key).await? {
                Some(cursor) => cursor,
                None => self.begin(shard, reading.since).await?,
            },
        };
        let page = match self.page(shard, &cursor, reading.groups).await {
            Ok(page) => page,
            Err(PullError::Answer(lost)) if log_store::is_cursor_lost(&lost) => {
                tracing::warn!(
                    source = %self.name, shard = shard.id,
                    "the cursor is older than what the log store keeps: records may be lost, and reading begins at the oldest"
                );
                reading.cursors.insert(shard.id, self.begin(shard, reading.since).await?);
                // Not at once: a cloud that knows no cursor at all is asked no faster for it.
                return Ok(false);
            }
            Err(PullError::NoAnswer(error))
                if error.code == "opsward.answer-too-large" && reading.groups > 1 =>
            {
                reading.groups /= 2;
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        reading.groups = PAGE_GROUPS.min(reading.groups * 2);
        if page.next == cursor {
            reading.cursors.insert(shard.id, cursor);
            if !shard.is_open {
                // Nothing will ever follow in it.
                reading.shards.retain(|one| one.id != shard.id);
            }
            return Ok(false);
        }
        let next = self.cursor(key, page.next.clone());
        self.record(shard, &cursor, page.records, next.clone()).await?;
        reading.cursors.insert(shard.id, next.value);
        // A page of which the query left nothing is followed by others as well.
        Ok(true)
    }

    /// Records what a page says, and where reading goes on, in the transaction of its last events.
    async fn record(
        &self,
        shard: Shard,
        cursor: &str,
        records: Vec<String>,
        next: Cursor,
    ) -> Result<(), PullError> {
        hit("after-receive");
        let mut events = Vec::new();
        for (nth, record) in records.into_iter().enumerate() {
            events.extend(self.decoded(&format!("{}/{cursor}/{nth}", shard.id), record).await?);
            if events.len() >= BATCH_EVENTS_MAX {
                let rest = events.split_off(BATCH_EVENTS_MAX);
                self.accept.accept(std::mem::replace(&mut events, rest), &[], TRUST).await?;
            }
        }
        self.accept.accept_at(events, &[], TRUST, Some(next)).await?;
        Ok(())
    }

    /// The events of a record; one that cannot be decoded is recorded here, with its bytes.
    async fn decoded(&self, id: &str, record: String) -> Result<Vec<Event>, PullError> {
        let received = self.accept.clock.now();
        let headers = [(MESSAGE_ID.to_owned(), id.to_owned())];
        let delivery = Delivery { headers: &headers, body: record.as_bytes() };
        let decoded = match record.len() {
            ..=BODY_BYTES_MAX => {
                decode(self.kind, &self.name, &delivery, received).map_err(|error| chain(&error))
            }
            bytes => Err(format!("it has {bytes} bytes; at most {BODY_BYTES_MAX} are read")),
        };
        match decoded {
            Ok(events) if self.is_mixed => Ok(events.into_iter().map(Event::unproved).collect()),
            Ok(events) => Ok(events),
            Err(problem) => {
                tracing::warn!(
                    source = %self.name, record = id, bytes = record.len(),
                    "a record cannot be decoded, and is recorded as it is: {problem}"
                );
                self.accept.seen.count(&self.name, "undecodable", self.accept.clock.now());
                let event = undecodable(&self.name, id, &problem, record.len(), received);
                self.accept.accept(vec![event], record.as_bytes(), TRUST).await?;
                Ok(Vec::new())
            }
        }
    }

    /// Where a shard begins that was never read.
    async fn begin(&self, shard: Shard, since: i64) -> Result<String, PullError> {
        let request = log_store::cursor(&self.store.name, shard.id, since);
        let answer = self.ask("sls:GetCursor", &request).await?;
        Ok(log_store::read_cursor(answer.status, &answer.body)?)
    }

    async fn page(&self, shard: Shard, cursor: &str, groups: u32) -> Result<Page, PullError> {
        let query = self.store.query.as_deref();
        let request = log_store::page(&self.store.name, shard.id, cursor, groups, query);
        let answer = self.ask("sls:PullLogs", &request).await?;
        let headers = PageHeaders {
            cursor: answer.header("x-log-cursor"),
            compression: answer.header("x-log-compresstype"),
            raw_bytes: answer.header("x-log-bodyrawsize"),
        };
        Ok(log_store::read_page(answer.status, headers, &answer.body)?)
    }

    async fn ask(&self, action: &'static str, request: &Request) -> Result<Pulled, PullError> {
        let LogStoreSettings { account, endpoint, .. } = &self.store;
        let what = Pull { account, endpoint, action, timeout: TIMEOUT, bytes_max: PAGE_BYTES_MAX };
        let sign = |credential: &_, now| alibaba_sls::prepare(request, endpoint, credential, now);
        Ok(self.cloud.pull(&what, sign).await?)
    }

    fn cursor(&self, key: String, value: String) -> Cursor {
        Cursor { source: self.name.clone(), key, value }
    }
}

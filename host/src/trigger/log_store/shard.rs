//! One shard of a log store: reads what follows its cursor, and records it with the cursor after it in one transaction, so that a host
//! that dies reads on where it had recorded. What cannot be decoded is recorded as such and wakes nobody. Tested by
//! `tests/tests/it/polled.rs`.

use super::super::http::chain;
use super::super::pulling::{PullError, Reported};
use super::{Reading, TRUST};
use crate::failpoint::{haste, hit};
use crate::store::Cursor;
use futures::future::join_all;
use opsward_core::event::{BATCH_EVENTS_MAX, BODY_BYTES_MAX, Delivery, Event, MESSAGE_ID, decode};
use opsward_core::source::log_store::{self, PAGE_GROUPS, Page, PageHeaders};
use opsward_core::source::poll::{Pace, Polled};
use opsward_core::source::{AnswerError, undecodable};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How soon a shard that had nothing new is read again: each look costs a request.
const IDLE: Duration = Duration::from_secs(3);
/// Bytes of data that are recorded at a time, before the record that goes over it: what bounds the memory for events.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Records that cannot be decoded, recorded at a time: each keeps its own bytes, and the disk takes so many at once as fast as one.
const ODD_MAX: usize = 64;

/// Who reads a shard.
pub(super) struct Reader {
    reading: Arc<Reading>,
    shard: u32,
    is_open: watch::Receiver<bool>,
    cursor: Option<String>,
    /// Groups in a page: fewer where one was too large.
    groups: u32,
}

/// What a look at a shard has come to.
enum Look {
    /// There may be more at once.
    More,
    /// There was nothing, or too much at a time.
    Nothing,
    /// Nothing will ever follow in it.
    End,
}

impl Reader {
    pub(super) fn new(reading: Arc<Reading>, shard: u32, is_open: watch::Receiver<bool>) -> Self {
        Self { reading, shard, is_open, cursor: None, groups: PAGE_GROUPS }
    }

    /// Reads until the shard is closed and all of it was read; returns which it was.
    pub(super) async fn run(mut self) -> u32 {
        let reading = self.reading.clone();
        let from = format!("{}, shard {}", reading.source.store.name, self.shard);
        let mut pace = Pace::default();
        let mut reported = Reported::default();
        loop {
            let looked = self.look().await;
            reported.tell(&reading.source.name, &from, looked.as_ref().err());
            let pause = pace.pause_after(if looked.is_ok() { Polled::Got } else { Polled::Failed });
            match looked {
                Ok(Look::More) => {}
                Ok(Look::End) => return self.shard,
                Ok(Look::Nothing) | Err(_) => tokio::time::sleep(haste(pause.max(IDLE))).await,
            }
        }
    }

    async fn look(&mut self) -> Result<Look, PullError> {
        let reading = self.reading.clone();
        let _room = reading.pages.acquire().await;
        let turn = reading.turns.acquire().await;
        // Asked before the page: one that is closed after it may have more.
        let is_open = *self.is_open.borrow();
        let cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => match reading.source.cursor(&self.key()).await? {
                Some(cursor) => cursor,
                None => self.begin().await?,
            },
        };
        self.cursor = Some(cursor.clone());
        let page = match self.page(&cursor).await {
            Ok(page) => page,
            Err(PullError::Answer(lost)) if log_store::is_cursor_lost(&lost) => {
                tracing::warn!(
                    source = %reading.source.name, shard = self.shard,
                    "the cursor is older than what the log store keeps: records may be lost, and reading begins at the oldest"
                );
                self.cursor = Some(self.begin().await?);
                // Not at once: a cloud that knows no cursor at all is asked no faster for it.
                return Ok(Look::Nothing);
            }
            Err(error) if is_too_large(&error) && self.groups > 1 => {
                self.groups /= 2;
                return Ok(Look::Nothing);
            }
            Err(error) => return Err(error),
        };
        // One more at a time: what was too large is so again, mostly, a little further on.
        self.groups = PAGE_GROUPS.min(self.groups + 1);
        if page.next == cursor {
            return Ok(if is_open { Look::Nothing } else { Look::End });
        }
        // Nobody who only fetches waits for the disk.
        drop(turn);
        self.record(&cursor, &page).await?;
        self.cursor = Some(page.next);
        // A page of which the query left nothing is followed by others as well.
        Ok(Look::More)
    }

    /// Records what a page says, and where reading goes on, in the transaction of its last events.
    async fn record(&self, cursor: &str, page: &Page) -> Result<(), PullError> {
        hit("after-receive");
        let Reading { source, prefix, .. } = &*self.reading;
        let (mut events, mut bytes) = (Vec::new(), 0);
        let (mut odd, mut odd_bytes) = (Vec::new(), 0);
        for (nth, record) in page.groups.records().enumerate() {
            match self.decoded(&format!("{prefix}{}/{cursor}/{nth}", self.shard), &record) {
                Ok(of_record) => {
                    bytes += of_record.iter().map(|event| event.data.len()).sum::<usize>();
                    events.extend(of_record);
                }
                Err(undecodable) => {
                    odd_bytes += record.len();
                    odd.push((undecodable, record));
                }
            }
            if odd.len() >= ODD_MAX || odd_bytes >= BATCH_BYTES_MAX {
                odd_bytes = 0;
                self.record_odd(std::mem::take(&mut odd)).await?;
            }
            if events.len() >= BATCH_EVENTS_MAX || bytes >= BATCH_BYTES_MAX {
                bytes = 0;
                let rest = events.split_off(events.len().min(BATCH_EVENTS_MAX));
                source.accept.accept(std::mem::replace(&mut events, rest), &[], TRUST).await?;
            }
        }
        self.record_odd(odd).await?;
        let next = Cursor { source: source.name.clone(), key: self.key(), value: page.next.clone() };
        source.accept.accept_at(events, &[], TRUST, Some(next)).await?;
        Ok(())
    }

    /// Records what cannot be decoded, each with its bytes.
    async fn record_odd(&self, odd: Vec<(Box<Event>, String)>) -> Result<(), PullError> {
        let accept = &self.reading.source.accept;
        let recording = |(event, raw): (Box<Event>, String)| async move {
            accept.accept(vec![*event], raw.as_bytes(), TRUST).await
        };
        join_all(odd.into_iter().map(recording))
            .await
            .into_iter()
            .try_for_each(|recorded| recorded.map(drop))?;
        Ok(())
    }

    /// The events of a record; of one that cannot be decoded the event that says so.
    fn decoded(&self, id: &str, record: &str) -> Result<Vec<Event>, Box<Event>> {
        let source = &self.reading.source;
        let received = source.accept.clock.now();
        let headers = [(MESSAGE_ID.to_owned(), id.to_owned())];
        let delivery = Delivery { headers: &headers, body: record.as_bytes() };
        let decoded = match record.len() {
            ..=BODY_BYTES_MAX => {
                decode(source.kind, &source.name, &delivery, received).map_err(|error| chain(&error))
            }
            bytes => Err(format!("it has {bytes} bytes; at most {BODY_BYTES_MAX} are read")),
        };
        match decoded {
            Ok(events) if source.is_mixed => Ok(events.into_iter().map(Event::unproved).collect()),
            Ok(events) => Ok(events),
            Err(problem) => {
                if source.accept.seen.is_first(&source.name, "undecodable") {
                    tracing::warn!(
                        source = %source.name, record = id, bytes = record.len(),
                        "a record cannot be decoded, and is recorded as it is: {problem}"
                    );
                }
                source.accept.seen.count(&source.name, "undecodable", received);
                Err(Box::new(undecodable(&source.name, id, &problem, record.len(), received)))
            }
        }
    }

    /// Where the shard begins that was never read.
    async fn begin(&self) -> Result<String, PullError> {
        let Reading { source, since, .. } = &*self.reading;
        let request = log_store::cursor(&source.store.name, self.shard, *since);
        let answer = source.ask("sls:GetCursor", &request).await?;
        Ok(log_store::read_cursor(answer.status, &answer.body)?)
    }

    async fn page(&self, cursor: &str) -> Result<Page, PullError> {
        let source = &self.reading.source;
        let query = source.store.query.as_deref();
        let request = log_store::page(&source.store.name, self.shard, cursor, self.groups, query);
        let answer = source.ask("sls:PullLogs", &request).await?;
        let headers = PageHeaders {
            cursor: answer.header("x-log-cursor"),
            compression: answer.header("x-log-compresstype"),
            raw_bytes: answer.header("x-log-bodyrawsize"),
        };
        Ok(log_store::read_page(answer.status, headers, &answer.body)?)
    }

    fn key(&self) -> String {
        format!("{}shard/{}", self.reading.prefix, self.shard)
    }
}

/// Whether a page is longer than is taken, as it was sent or once it is unpacked.
fn is_too_large(error: &PullError) -> bool {
    match error {
        PullError::NoAnswer(error) => error.code == "opsward.answer-too-large",
        PullError::Answer(error) => matches!(error, AnswerError::TooLarge { .. }),
        _ => false,
    }
}

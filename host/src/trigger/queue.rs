//! A message queue as a source: takes batches by long poll, records their events, and only then deletes the messages, so that a host
//! that dies in between gets them again and knows them. What cannot be decoded is recorded as such, wakes nobody, and is
//! deleted too: it neither blocks the queue nor is lost. Leaves the protocol and the pauses to `opsward_core::source`, signing and
//! sending to `cloud`, and recording to `accept`. Tested by `tests/tests/it/pulled.rs`.

use super::accept::Accept;
use super::http::chain;
use super::pulling::{PullError, Reported};
use crate::cloud::{CloudClient, Pull, Pulled};
use crate::failpoint::{haste, hit, wrong};
use futures::future::join_all;
use opsward_core::config::QueueSettings;
use opsward_core::event::{Delivery, MESSAGE_ID, SourceKind, decode};
use opsward_core::id::SourceName;
use opsward_core::sender::Trust;
use opsward_core::sign::alibaba_mns;
use opsward_core::source::poll::{LONG_POLL, Pace, Polled};
use opsward_core::source::queue::{self, Body, Message};
use opsward_core::source::{Request, undecodable};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a poll may take: longer than the cloud holds it, or the answer to one that waited would be lost.
const POLL_TIMEOUT: Duration = LONG_POLL.saturating_add(Duration::from_secs(15));
/// How long deleting may take: what is not deleted comes again, and a host that is told to end waits for it.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer: a batch of 16 messages of 64 KiB each, six times that where all of it is escaped, with what XML adds.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// How far messages are believed: whoever put them there had the account's leave.
const TRUST: Trust = Trust::Proved;

/// A queue that events are taken from.
pub struct QueueSource {
    /// The source's name.
    pub name: SourceName,
    /// What its messages are.
    pub kind: SourceKind,
    /// Where they are.
    pub queue: QueueSettings,
    /// Sends what is asked.
    pub cloud: Arc<CloudClient>,
    /// Records events.
    pub accept: Arc<Accept>,
}

impl QueueSource {
    /// Runs until `stopping` turns true. Messages in hand are recorded and deleted first; a poll that waits is given up, and what it
    /// would have brought comes again.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut pace = Pace::default();
        let mut reported = Reported::default();
        loop {
            let begun = Instant::now();
            let received = tokio::select! {
                received = self.receive() => received,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            let polled = match received {
                Ok(messages) if messages.is_empty() => Ok(Polled::EmptyAfter(begun.elapsed())),
                Ok(messages) => self.take(messages).await.map(|()| Polled::Got),
                Err(problem) => Err(problem),
            };
            reported.tell(&self.name, &self.queue.name, polled.as_ref().err());
            let pause = haste(pace.pause_after(polled.unwrap_or(Polled::Failed)));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn receive(&self) -> Result<Vec<Message>, PullError> {
        let request = queue::receive(&self.queue.name);
        let answer = self.ask("mns:BatchReceiveMessage", &request, POLL_TIMEOUT).await?;
        Ok(queue::read_received(answer.status, &answer.body)?)
    }

    /// Records what the messages say, then deletes those that are recorded.
    async fn take(&self, messages: Vec<Message>) -> Result<(), PullError> {
        hit("after-receive");
        if wrong("delete-before-accept") {
            self.delete(&messages.iter().collect::<Vec<_>>()).await?;
        }
        let recorded = join_all(messages.iter().map(|message| self.record(message))).await;
        let mut failed = None;
        let mut done = Vec::new();
        for (message, recorded) in messages.iter().zip(recorded) {
            match recorded {
                Ok(()) => done.push(message),
                Err(error) => failed = Some(error),
            }
        }
        hit("before-delete");
        if !done.is_empty() {
            self.delete(&done).await?;
        }
        hit("after-delete");
        failed.map_or(Ok(()), Err)
    }

    async fn record(&self, message: &Message) -> Result<(), PullError> {
        let received = self.accept.clock.now();
        let headers = [(MESSAGE_ID.to_owned(), message.id.clone())];
        let (raw, decoded) = match &message.body {
            Body::Text(text) => {
                let delivery = Delivery { headers: &headers, body: text.as_bytes() };
                let decoded = decode(self.kind, &self.name, &delivery, received);
                (text.as_bytes(), decoded.map_err(|error| chain(&error)))
            }
            Body::Unreadable { bytes, problem } => {
                (bytes.as_slice(), Err(format!("the body is no text of XML: {problem}")))
            }
        };
        let events = decoded.unwrap_or_else(|problem| {
            if self.accept.seen.is_first(&self.name, "undecodable") {
                tracing::warn!(
                    source = %self.name, message = message.id, dequeued = message.dequeued, bytes = raw.len(),
                    "a message cannot be decoded, and is recorded as it is: {problem}"
                );
            }
            self.accept.seen.count(&self.name, "undecodable", received);
            vec![undecodable(&self.name, &message.id, &problem, raw.len(), received)]
        });
        self.accept.accept(events, raw, TRUST).await?;
        Ok(())
    }

    async fn delete(&self, messages: &[&Message]) -> Result<(), PullError> {
        let handles = messages.iter().map(|message| message.handle.as_str());
        let request = queue::delete(&self.queue.name, handles);
        let answer = self.ask("mns:BatchDeleteMessage", &request, DELETE_TIMEOUT).await?;
        Ok(queue::read_deleted(answer.status, &answer.body)?)
    }

    async fn ask(
        &self,
        action: &'static str,
        request: &Request,
        timeout: Duration,
    ) -> Result<Pulled, PullError> {
        let QueueSettings { account, endpoint, .. } = &self.queue;
        let what = Pull { account, endpoint, action, timeout, bytes_max: ANSWER_BYTES_MAX };
        let sign = |credential: &_, now| alibaba_mns::prepare(request, endpoint, credential, now);
        Ok(self.cloud.pull(&what, sign).await?)
    }
}

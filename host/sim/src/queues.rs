//! Message queues as they stand: what was sent, what is hidden since it was received, and how often. Leaves the protocol to `mns`.
//! Tested below.

use crate::ids::Ids;
use opsward_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The queues by name.
#[derive(Default)]
pub(crate) struct Queues {
    queues: Mutex<BTreeMap<String, Queue>>,
    /// Told when something was sent.
    pub(crate) sent: Notify,
}

/// One queue.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Queue {
    /// How long a message that was received is hidden.
    visibility_ms: u64,
    /// How many messages were deleted.
    deleted: u64,
    messages: Vec<Message>,
}

/// A message that is not deleted.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
    /// Whether the body stands in answers as it is, whatever that does to them.
    pub(crate) is_raw: bool,
    pub(crate) sent: Timestamp,
    pub(crate) visible: Timestamp,
    pub(crate) first_dequeued: Option<Timestamp>,
    pub(crate) dequeued: u64,
    /// Of the last time it was received; the ones before it delete nothing.
    pub(crate) handle: Option<String>,
}

/// Makes a queue, or changes one, and sends to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueRequest {
    name: String,
    visibility_ms: Option<u64>,
    #[serde(default)]
    messages: Vec<String>,
    /// Messages whose bodies are not escaped in answers, as no cloud should send them.
    #[serde(default)]
    raw: Vec<String>,
}

/// There is no such queue.
#[derive(Debug)]
pub(crate) struct NoQueue;

/// What the vendor's console sets where nobody says otherwise.
const VISIBILITY_MS: u64 = 30_000;

impl Queues {
    pub(crate) fn all(&self) -> BTreeMap<String, Queue> {
        self.lock().clone()
    }

    pub(crate) fn put(&self, request: QueueRequest, ids: &Ids, now: Timestamp) {
        let mut queues = self.lock();
        let queue = queues.entry(request.name).or_insert_with(|| Queue {
            visibility_ms: VISIBILITY_MS,
            deleted: 0,
            messages: Vec::new(),
        });
        queue.visibility_ms = request.visibility_ms.unwrap_or(queue.visibility_ms);
        let raw = request.raw.into_iter().map(|body| Message { is_raw: true, ..message(ids, body, now) });
        queue.messages.extend(raw);
        queue.messages.extend(request.messages.into_iter().map(|body| message(ids, body, now)));
        drop(queues);
        self.sent.notify_waiters();
    }

    /// The new message's id.
    pub(crate) fn send(
        &self,
        name: &str,
        body: String,
        ids: &Ids,
        now: Timestamp,
    ) -> Result<String, NoQueue> {
        let message = message(ids, body, now);
        let id = message.id.clone();
        self.lock().get_mut(name).ok_or(NoQueue)?.messages.push(message);
        self.sent.notify_waiters();
        Ok(id)
    }

    /// At most `max` of the visible messages, which are hidden from now on.
    pub(crate) fn receive(
        &self,
        name: &str,
        max: usize,
        ids: &Ids,
        now: Timestamp,
    ) -> Result<Vec<Message>, NoQueue> {
        let mut queues = self.lock();
        let queue = queues.get_mut(name).ok_or(NoQueue)?;
        let visible = now + Duration::from_millis(queue.visibility_ms);
        let due = queue.messages.iter_mut().filter(|message| message.visible <= now).take(max);
        Ok(due
            .map(|message| {
                message.visible = visible;
                message.first_dequeued.get_or_insert(now);
                message.dequeued += 1;
                message.handle = Some(format!("1-{}==", ids.word(30)));
                message.clone()
            })
            .collect())
    }

    /// Deletes by handle; returns the handles that delete nothing: unknown ones, and those that have lapsed.
    pub(crate) fn delete(
        &self,
        name: &str,
        handles: &[String],
        now: Timestamp,
    ) -> Result<Vec<String>, NoQueue> {
        let mut queues = self.lock();
        let queue = queues.get_mut(name).ok_or(NoQueue)?;
        let mut refused = Vec::new();
        for handle in handles {
            let is_it =
                |message: &Message| message.handle.as_deref() == Some(handle) && message.visible > now;
            match queue.messages.iter().position(is_it) {
                Some(at) => {
                    queue.messages.remove(at);
                    queue.deleted += 1;
                }
                None => refused.push(handle.clone()),
            }
        }
        Ok(refused)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn message(ids: &Ids, body: String, now: Timestamp) -> Message {
    let id = format!("{}-1-{}", ids.word(16).to_ascii_uppercase(), ids.word(11).to_ascii_uppercase());
    Message {
        id,
        body,
        is_raw: false,
        sent: now,
        visible: now,
        first_dequeued: None,
        dequeued: 0,
        handle: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_hidden_for_a_while_and_its_handle_lapses() {
        let (queues, ids, start) = (Queues::default(), Ids::new(1), Timestamp::from_ms(0));
        let later = start + Duration::from_millis(VISIBILITY_MS);
        queues.put(
            QueueRequest {
                name: "q".into(),
                visibility_ms: None,
                messages: vec!["a".into()],
                raw: Vec::new(),
            },
            &ids,
            start,
        );
        let first = queues.receive("q", 16, &ids, start).expect("there").remove(0);
        assert!(queues.receive("q", 16, &ids, start).expect("there").is_empty(), "it is hidden");
        let second = queues.receive("q", 16, &ids, later).expect("there").remove(0);
        assert_eq!((first.id == second.id, second.dequeued), (true, 2));
        let [first, second] = [first, second].map(|message| message.handle.into_iter().collect::<Vec<_>>());
        assert_eq!(queues.delete("q", &first, later).expect("there"), first, "another handle is in force");
        assert!(queues.delete("q", &second, later).expect("there").is_empty());
        assert_eq!(queues.all()["q"].deleted, 1);
        assert!(queues.receive("nobody", 1, &ids, start).is_err());
    }
}

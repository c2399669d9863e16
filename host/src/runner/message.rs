//! What keeper and runner tell each other, as JSON in frames. Leaves frames to `frame`, and what is done about a message to
//! `link` on the one side and `process` on the other. Tested below.

use super::frame::{BrokenFrame, Frame};
use crate::plugin::RunContext;
use crate::plugin::engine::{Description, Limits};
use crate::plugin::judge::Interfaces;
use opsward_core::event::Event;
use opsward_core::id::Digest;
use opsward_core::run::{Failure, Fault, HostReply, HostRequest, Outcome, Stop};
use opsward_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Both sides are the same program, but not for ever: the file may be replaced while one of them runs.
pub(super) const VERSION: u32 = 1;

/// To the runner.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToRunner<'a> {
    /// The first: what it is to be. Answered by `Ready` or `Unfit`.
    Setup { version: u32, limits: Limits },
    /// Compiled code follows, in chunks of so many bytes together. Answered by `Loaded`.
    Load { digest: Digest, bytes: usize },
    /// Answered by `Described`, with `id`.
    Describe { id: u64, digest: Digest },
    /// A run to be begun. Answered by any number of `Ask` and one `Ended`.
    Run { id: u64, digest: Digest, now: Timestamp, about: Box<About<'a>> },
    /// To the `Ask` of a run, with the run's time from now on.
    Answer { id: u64, answer: Result<HostReply, Stop>, now: Timestamp },
    /// No more runs of it will come.
    Forget { digest: Digest },
}

/// What a run is about.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct About<'a> {
    pub(super) event: Cow<'a, Event>,
    pub(super) context: Cow<'a, RunContext>,
}

/// To the keeper.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToKeeper {
    /// It takes runs now. `configuration` is what compiled code must have been made for.
    Ready { version: u32, configuration: u64, confined: Vec<Confined> },
    /// It cannot do its work.
    Unfit { problem: String },
    /// The code is mapped, or why it is not.
    Loaded { digest: Digest, loaded: Result<Loaded, String> },
    /// What the plugin says of itself, or how it failed to.
    Described { id: u64, told: Result<Description, String> },
    /// A host call of a run.
    Ask { id: u64, request: HostRequest },
    /// The end of a run.
    Ended { id: u64, ended: GuestEnd },
}

/// A plugin whose code is mapped.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Loaded {
    pub(super) interfaces: Interfaces,
    /// Why it cannot be instantiated all the same.
    pub(super) mismatch: Option<String>,
}

/// How a guest ended. Why the broker ended it, the keeper knows itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum GuestEnd {
    Done(Outcome),
    Failed(Failure),
    Stopped,
    Faulted(Fault),
}

/// One wall around the runner, or why it does not stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Confined {
    /// The wall, with its version where there are several.
    pub(super) by: String,
    /// Why it does not stand, and what it takes.
    pub(super) lacks: Option<String>,
}

/// What was received is no message, or none that may come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BrokenMessage {
    /// No frame.
    #[error("{0}")]
    Frame(#[from] BrokenFrame),
    /// No message.
    #[error("an unreadable message: {0}")]
    Unreadable(String),
    /// Code where none was announced, or more than was.
    #[error("compiled code that was not announced")]
    StrayChunk,
}

/// Reads the message in a frame.
pub(super) fn read<M: DeserializeOwned>(frame: &Frame<'_>) -> Result<M, BrokenMessage> {
    match frame {
        Frame::Message(text) => {
            serde_json::from_slice(text).map_err(|e| BrokenMessage::Unreadable(e.to_string()))
        }
        Frame::Chunk(_) => Err(BrokenMessage::StrayChunk),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Frames, message};
    use super::*;

    #[test]
    fn what_is_no_message_is_an_error_and_never_a_panic() {
        for text in [
            "",
            "{",
            "null",
            "{\"ask\":{}}",
            "{\"ask\":{\"id\":-1,\"request\":\"unit\"}}",
            "{\"ended\":{\"id\":1}}",
            "{\"none-such\":1}",
            "{\"forget\":{\"digest\":\"é\"}}",
            &"[".repeat(100_000),
        ] {
            assert!(read::<ToKeeper>(&Frame::Message(text.as_bytes())).is_err(), "{text:.40}");
            assert!(read::<ToRunner<'_>>(&Frame::Message(text.as_bytes())).is_err(), "{text:.40}");
        }
        assert_eq!(read::<ToKeeper>(&Frame::Chunk(b"x")).map(drop), Err(BrokenMessage::StrayChunk));
    }

    #[test]
    fn random_and_damaged_bytes_are_errors_and_never_a_panic() {
        let whole = message(&ToKeeper::Ask { id: 7, request: HostRequest::Sleep { ms: 5 } }).expect("short");
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random % 4 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let at = usize::try_from(random >> 32).unwrap_or(0) % bytes.len();
                bytes[at] = random.to_le_bytes()[0];
            }
            let mut frames = Frames::default();
            frames.room().extend_from_slice(&bytes);
            while let Ok(Some(frame)) = frames.next() {
                read::<ToKeeper>(&frame).ok();
                read::<ToRunner<'_>>(&frame).ok();
            }
        }
    }
}

//! How messages lie on the socket between keeper and runner: a length, a kind, the body. Either side reads what the other
//! wrote and believes none of it: a frame that is too long, empty or of an unknown kind is an error, however it came about.
//! Leaves what the bodies mean to `message`, and sockets to `link` and `process`. Tested below.

use serde::Serialize;

/// Longest frame in bytes: the arguments or results of one host call have 4 MiB at the most, of which JSON makes up to six
/// times as much; and a MiB for what is around them.
pub(super) const FRAME_BYTES_MAX: usize = 25 << 20;
/// Bytes of compiled code in one frame: what is small waits no longer than for that behind what is large.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Bytes before the body: its length with the kind, and the kind.
const HEAD_BYTES: usize = 5;
/// What is read at a time, in bytes: dozens of usual messages.
pub(super) const READ_BYTES: usize = 64 << 10;
/// A buffer that grew beyond this, in bytes, for one large message is not kept.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// The kinds of frame.
const MESSAGE: u8 = b'M';
const CHUNK: u8 = b'C';

/// What a frame holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A message in JSON.
    Message(&'a [u8]),
    /// A piece of compiled code.
    Chunk(&'a [u8]),
}

/// What was received is no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BrokenFrame {
    /// Longer than any that is sent.
    #[error("a frame of {0} bytes; {FRAME_BYTES_MAX} is the most")]
    TooLong(usize),
    /// Without a kind.
    #[error("an empty frame")]
    Empty,
    /// Of no known kind.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
}

/// A message does not fit in a frame.
#[derive(Debug, thiserror::Error)]
#[error("a message of {bytes} bytes does not fit in a frame")]
pub(super) struct TooLong {
    bytes: usize,
}

/// A message as a frame.
pub(super) fn message(message: &impl Serialize) -> Result<Vec<u8>, TooLong> {
    let mut frame = vec![0, 0, 0, 0, MESSAGE];
    serde_json::to_writer(&mut frame, message).expect("what is sent has a form in JSON");
    finish(frame)
}

/// A piece of compiled code as a frame; `code` has at most `CHUNK_BYTES`.
pub(super) fn chunk(code: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0, CHUNK];
    frame.extend_from_slice(code);
    finish(frame).expect("chunks are short")
}

fn finish(mut frame: Vec<u8>) -> Result<Vec<u8>, TooLong> {
    let bytes = frame.len() + 1 - HEAD_BYTES;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX).ok_or(TooLong { bytes })?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Received bytes on their way to be frames.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Of these, how many have been given as frames.
    given: usize,
}

impl Frames {
    /// Where to append what is received; has room for `READ_BYTES` more.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.given);
        self.given = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }

    /// The next frame that is here as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, BrokenFrame> {
        let rest = &self.bytes[self.given..];
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(BrokenFrame::TooLong(length));
        }
        if length == 0 {
            return Err(BrokenFrame::Empty);
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        self.given += 4 + length;
        match frame[0] {
            MESSAGE => Ok(Some(Frame::Message(&frame[1..]))),
            CHUNK => Ok(Some(Frame::Chunk(&frame[1..]))),
            kind => Err(BrokenFrame::UnknownKind(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let sent = [message(&"one").expect("short"), chunk(&[7; 300]), message(&2).expect("short")].concat();
        for piece in [1, 2, 3, 5, 64, 4096] {
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for part in sent.chunks(piece) {
                frames.room().extend_from_slice(part);
                while let Some(frame) = frames.next().expect("whole") {
                    got.push(match frame {
                        Frame::Message(text) => String::from_utf8(text.to_vec()).expect("text"),
                        Frame::Chunk(code) => format!("{} bytes", code.len()),
                    });
                }
            }
            assert_eq!(got, ["\"one\"", "300 bytes", "2"], "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_frame_is_told_apart() {
        let over = u32::try_from(FRAME_BYTES_MAX + 1).expect("fits").to_le_bytes();
        for (bytes, expected) in [
            (&[][..], Ok(None)),
            (&[1, 0, 0], Ok(None)),
            (&[9, 0, 0, 0, b'M', b'1'], Ok(None)),
            (&over, Err(BrokenFrame::TooLong(FRAME_BYTES_MAX + 1))),
            (&[255; 64], Err(BrokenFrame::TooLong(usize::try_from(u32::MAX).expect("fits")))),
            (&[0, 0, 0, 0], Err(BrokenFrame::Empty)),
            (&[1, 0, 0, 0, b'Z'], Err(BrokenFrame::UnknownKind(b'Z'))),
        ] {
            let mut frames = Frames::default();
            frames.room().extend_from_slice(bytes);
            assert_eq!(frames.next(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_message_beyond_the_bound_is_not_made() {
        assert!(message(&"x".repeat(FRAME_BYTES_MAX - 4)).is_ok());
        assert!(message(&"x".repeat(FRAME_BYTES_MAX)).is_err());
        assert_eq!(chunk(&[0; CHUNK_BYTES]).len(), CHUNK_BYTES + HEAD_BYTES);
    }

    #[test]
    fn a_large_message_leaves_no_large_buffer() {
        let mut frames = Frames::default();
        frames.room().extend_from_slice(&message(&"x".repeat(8 << 20)).expect("fits"));
        assert!(matches!(frames.next(), Ok(Some(Frame::Message(_)))));
        assert!(frames.room().capacity() <= KEPT_BYTES_MAX);
    }
}

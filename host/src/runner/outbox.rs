//! What goes to a runner. Whoever has something to say writes it at once, along with what others have said meanwhile; only
//! where the socket is full does whoever listens to the runner go on with it. Leaves frames to `frame`. Tested below.
//!
//! Honest runners have at most one message of each run that is under way, and one chunk of code, unread; for others there is a
//! bound.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::UnixStream;
use tokio::sync::Notify;

/// Most bytes unsent: more than what honest runners leave unread, a largest answer for each run there may be.
const UNSENT_BYTES_MAX: usize = 512 << 20;

pub(super) struct Outbox {
    socket: Arc<UnixStream>,
    state: Mutex<Unsent>,
    /// Rung where the socket is full.
    full: Notify,
    /// Rung where all is sent.
    empty: Notify,
}

#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    turn: Turn,
}

/// The runner asks, and does not read the answers.
#[derive(Debug, thiserror::Error)]
#[error("it left more than {UNSENT_BYTES_MAX} bytes unread")]
pub(super) struct Unread;

/// Who writes.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Whoever comes next.
    #[default]
    Free,
    /// Somebody does, and takes what is added as well.
    Taken,
    /// Nobody until the socket has room.
    Full,
    /// Nobody any more.
    Failed,
}

impl Outbox {
    pub(super) fn new(socket: Arc<UnixStream>) -> Self {
        Self { socket, state: Mutex::default(), full: Notify::new(), empty: Notify::new() }
    }

    /// Sends a frame. That the runner is dead is seen where it is listened to.
    ///
    /// # Errors
    /// Where it leaves too much unread, so that it is to be ended.
    pub(super) fn send(&self, frame: &[u8]) -> Result<(), Unread> {
        let mut state = self.lock();
        if state.turn == Turn::Failed {
            return Ok(());
        }
        if state.bytes.len() + frame.len() > UNSENT_BYTES_MAX {
            return Err(Unread);
        }
        state.bytes.extend_from_slice(frame);
        if state.turn == Turn::Free {
            self.write(state);
        }
        Ok(())
    }

    /// The same, once all before it is sent: for what is large.
    pub(super) async fn send_when_empty(&self, frame: &[u8]) -> Result<(), Unread> {
        loop {
            // The wish to be woken comes before the look.
            let empty = self.empty.notified();
            if matches!(self.lock().turn, Turn::Free | Turn::Failed) {
                break;
            }
            empty.await;
        }
        self.send(frame)
    }

    /// Goes on where the socket was full; never ends. Cancelling it loses nothing.
    pub(super) async fn go_on(&self) -> io::Result<std::convert::Infallible> {
        loop {
            let full = self.full.notified();
            if self.lock().turn == Turn::Full {
                self.socket.writable().await?;
                self.write(self.lock());
            } else {
                full.await;
            }
        }
    }

    /// Writes what there is until there is no more, or until the socket is full.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, Unsent>) {
        state.turn = Turn::Taken;
        while !state.bytes.is_empty() {
            let mut bytes = std::mem::take(&mut state.bytes);
            drop(state);
            let mut sent = 0;
            let mut problem = None;
            while sent < bytes.len() && problem.is_none() {
                match self.socket.try_write(&bytes[sent..]) {
                    Ok(more) => sent += more,
                    Err(e) => problem = Some(e),
                }
            }
            state = self.lock();
            match problem {
                None => {}
                Some(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    bytes.drain(..sent);
                    bytes.append(&mut state.bytes);
                    state.bytes = bytes;
                    state.turn = Turn::Full;
                    self.full.notify_one();
                    return;
                }
                Some(_) => {
                    *state = Unsent { turn: Turn::Failed, ..Unsent::default() };
                    self.empty.notify_waiters();
                    return;
                }
            }
        }
        state.turn = Turn::Free;
        self.empty.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Unsent> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn what_does_not_fit_in_the_socket_arrives_all_the_same_and_in_order() {
        let (ours, mut theirs) = UnixStream::pair().expect("a socket");
        let outbox = Arc::new(Outbox::new(Arc::new(ours)));
        let goes_on = outbox.clone();
        let going_on = tokio::spawn(async move { goes_on.go_on().await });
        let sender = outbox.clone();
        let sending = tokio::spawn(async move {
            for n in 0..64_u8 {
                sender.send_when_empty(&[n; 100_000]).await.expect("read");
            }
            sender.send(&[255]).expect("read");
        });
        let mut got = vec![0; 64 * 100_000 + 1];
        theirs.read_exact(&mut got).await.expect("all of it");
        sending.await.expect("sent");
        going_on.abort();
        assert!(
            got.chunks(100_000).zip((0..64).chain([255])).all(|(chunk, n)| chunk.iter().all(|b| *b == n))
        );
    }

    #[tokio::test]
    async fn nobody_waits_for_a_socket_that_has_failed() {
        let (ours, theirs) = UnixStream::pair().expect("a socket");
        drop(theirs);
        let outbox = Outbox::new(Arc::new(ours));
        for _ in 0..3 {
            outbox.send_when_empty(&[0; 1000]).await.expect("nothing is kept");
        }
        assert!(outbox.lock().turn == Turn::Failed);
    }

    #[tokio::test]
    async fn what_nobody_reads_is_bounded() {
        let (ours, _never_reads) = UnixStream::pair().expect("a socket");
        let outbox = Outbox::new(Arc::new(ours));
        let frame = vec![0; 100 << 20];
        let taken = (0..10).take_while(|_| outbox.send(&frame).is_ok()).count();
        assert_eq!(taken, 5);
        assert!(outbox.lock().bytes.len() <= UNSENT_BYTES_MAX);
    }
}

//! Interrupts guests: at each tick, one that computes lets go of its thread, and is ended if it has used up its time. Slowly as
//! long as every guest is quick, fast while one computes on. Leaves what a tick does to `guest`. Tested by the hostile guests in
//! `tests/`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;
use wasmtime::Engine;

/// How often guests are interrupted where all are quick: the longest one keeps a thread before it moves to another lane.
const TICK: Duration = Duration::from_millis(10);
/// How often while one computes on.
const FAST_TICK: Duration = Duration::from_micros(500);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Ticker {
    thread: Thread,
    /// How many guests it is to be fast for.
    fast: Arc<AtomicUsize>,
}

impl Ticker {
    /// Ticks without regard to what runs: a guest that never returns must not be able to stop its own clock. Ends with the
    /// engine.
    pub(super) fn start(wasm: &Engine) -> io::Result<Self> {
        let (weak, fast) = (wasm.weak(), Arc::new(AtomicUsize::new(0)));
        let is_fast = fast.clone();
        let tick = move || {
            while let Some(wasm) = weak.upgrade() {
                wasm.increment_epoch();
                drop(wasm);
                match is_fast.load(Ordering::Relaxed) {
                    0 => thread::park_timeout(TICK),
                    _ => thread::sleep(FAST_TICK),
                }
            }
        };
        let started = thread::Builder::new().name("guest-ticker".to_owned()).spawn(tick)?;
        Ok(Self { thread: started.thread().clone(), fast })
    }

    /// One that never ticks.
    #[cfg(test)]
    pub(super) fn still() -> Self {
        Self { thread: thread::current(), fast: Arc::default() }
    }

    /// Has it tick fast until what is given back is dropped.
    pub(super) fn go_fast(&self) -> Fast {
        if self.fast.fetch_add(1, Ordering::Relaxed) == 0 {
            self.thread.unpark();
        }
        Fast(self.fast.clone())
    }
}

/// As long as this lives, a ticker is fast.
pub(super) struct Fast(Arc<AtomicUsize>);

impl Drop for Fast {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Has the store delete what the operator no longer keeps: once at the start, then now and then, slice by slice, so that
//! nobody waits long for it. Leaves what may go to the store. Tested below and in `tests/tests/it/db.rs`.

use super::parts::stopped;
use crate::clock::Clock;
use crate::store::{EventFilter, RetainedUpTo, Store, StoreError};
use opsward_core::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often what has grown old since is looked for: small beside the shortest time that anything is kept.
const EVERY: Duration = Duration::from_secs(3600);
/// How long the writer is left to others between two slices: it spends at most a fifth of its time on deleting.
const PAUSE: Duration = Duration::from_millis(20);

/// Deletes what is older than `keep` until told to stop.
pub(super) async fn run(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keep: Duration,
    stopping: watch::Receiver<bool>,
) {
    let mut stopping = std::pin::pin!(stopped(stopping));
    loop {
        let deleted = tokio::select! {
            () = &mut stopping => return,
            deleted = delete_old(&*store, clock.now(), keep) => deleted,
        };
        if let Err(error) = deleted {
            tracing::warn!(error = &error as &dyn std::error::Error, "old runs stay in the store for now");
        }
        tokio::select! { () = &mut stopping => return, () = tokio::time::sleep(EVERY) => {} }
    }
}

async fn delete_old(store: &dyn Store, now: Timestamp, keep: Duration) -> Result<(), StoreError> {
    let newest = store.list_events(EventFilter::latest(1)).await?.first().map(|event| event.received);
    let before = kept_from(now, newest, keep);
    let [mut events, mut runs, mut firings] = [0; 3];
    let mut from = Some(RetainedUpTo::default());
    while let Some(up_to) = from {
        let slice = store.retain(before, up_to).await?;
        for (what, count, all) in [
            ("events", slice.events, &mut events),
            ("runs", slice.runs, &mut runs),
            ("firings", slice.firings, &mut firings),
        ] {
            metrics::counter!("opsward_store_deleted_total", "what" => what).increment(count);
            *all += count;
        }
        from = slice.next;
        tokio::time::sleep(PAUSE).await;
    }
    if events + runs + firings > 0 {
        tracing::info!(events, runs, firings, before = %before, "deleted what was kept long enough");
    }
    Ok(())
}

/// From when on everything is kept. Counted from the newest event where the clock is past it: one that was set wrong, years
/// ahead, must not cost what is needed, and a store that takes in nothing does not grow.
fn kept_from(now: Timestamp, newest_event: Option<Timestamp>, keep: Duration) -> Timestamp {
    newest_event.map_or(now, |newest| newest.min(now)) - keep
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_ahead_does_not_make_things_old() {
        let at = |day: i64| Timestamp::from_seconds(day * 86_400);
        let keep = Duration::from_secs(90 * 86_400);
        for (now, newest, from) in [
            (1000, Some(1000), 910),
            (1000, Some(990), 900),
            (5000, Some(990), 900),
            (1000, Some(5000), 910),
            (1000, None, 910),
        ] {
            assert_eq!(kept_from(at(now), newest.map(at), keep), at(from), "{now} {newest:?}");
        }
    }
}

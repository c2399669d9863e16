//! Runs that begin too late: where a schedule skips what is later than its grace, a run that waited longer than that since it was
//! recorded does not begin, whatever kept it. Leaves how long it may wait to `opsward_core::schedule`. Tested by `schedules` in `tests/`.

use crate::policy::LivePolicy;
use crate::store::Work;
use opsward_core::run::{Entry, Failure, Record};
use opsward_core::schedule::begins_within;
use opsward_core::time::Timestamp;

/// Why `run` may not begin at `now`. One that has begun goes on: what it has done is for it to complete; and so does one that a
/// person had tried again.
pub(super) fn too_late(run: &Work, policy: &LivePolicy, now: Timestamp) -> Option<Failure> {
    let begun =
        |record: &Record| matches!(record.entry, Entry::Started { .. } | Entry::Retried { by: Some(_), .. });
    if run.ledger.iter().any(begun) {
        return None;
    }
    let within = begins_within(&run.event, &policy.settings.schedules)?;
    let waited = now.since(run.received);
    (waited > within).then(|| Failure {
        code: "too-late".to_owned(),
        message: format!(
            "this run of a schedule was recorded {} s ago and was to begin within {} s: nothing was done; `opsward run retry {}` has it done now",
            waited.as_secs(),
            within.as_secs(),
            run.claim.run,
        ),
        retryable: false,
        details: String::new(),
    })
}

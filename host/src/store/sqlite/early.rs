//! Claims are handed out before they are on disk, so that a run does not wait for a sync before its first read: losing a claim
//! means claiming again, and an effect waits for its own intent, which reaches the disk after the claim. Leaves taking the
//! runs to `apply`. Tested below, by the conformance suite, and by hosts that are killed.

use super::writer::{Answer, Job, Op};
use crate::store::{Claim, StoreError};
use std::time::{Duration, Instant};

/// How long after a host that died every claim waits for the disk: a run that brought that host down as soon as it had it does
/// so again within this, and the crash must be counted.
const CAREFUL: Duration = Duration::from_secs(60);

/// The claims that the present transaction has handed out.
pub(super) struct Early {
    from: Instant,
    handed_out: bool,
    /// Claims for somebody who has left.
    untaken: Vec<Claim>,
}

impl Early {
    /// `was_closed` tells whether the host before came to its end.
    pub(super) fn after(was_closed: bool) -> Self {
        let from = Instant::now() + if was_closed { Duration::ZERO } else { CAREFUL };
        Self { from, handed_out: false, untaken: Vec::new() }
    }

    /// Answers the claims among `jobs`, of which only the commit is left.
    pub(super) fn hand_out(&mut self, jobs: &mut [Job], answers: &mut [Result<Answer, StoreError>]) {
        if Instant::now() < self.from {
            return;
        }
        for (job, answer) in jobs.iter_mut().zip(answers) {
            if !matches!(answer, Ok(Answer::Claimed(runs)) if !runs.is_empty()) {
                continue;
            }
            let Some(reply) = job.reply.take() else { continue };
            self.handed_out = true;
            if let Err(Ok(Answer::Claimed(runs))) = reply.send(std::mem::replace(answer, Ok(Answer::Written)))
            {
                self.untaken.extend(runs.into_iter().map(|run| run.claim));
            }
        }
    }

    /// The transaction is on disk. Returns the claims that are for the next.
    pub(super) fn written(&mut self) -> Vec<Claim> {
        self.handed_out = false;
        std::mem::take(&mut self.untaken)
    }

    /// The transaction did not happen: what was answered is not done again. Returns whether claims were handed out.
    pub(super) fn not_written(&mut self, jobs: &mut Vec<Job>) -> bool {
        self.untaken.clear();
        jobs.retain(|job| job.reply.is_some() || !matches!(job.op, Op::Claim { .. }));
        std::mem::take(&mut self.handed_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opsward_core::time::Timestamp;
    use tokio::sync::oneshot;

    type Asked = oneshot::Receiver<Result<Answer, StoreError>>;

    fn claim() -> (Job, Result<Answer, StoreError>, Asked) {
        let (reply, asked) = oneshot::channel();
        let op = Op::Claim { limit: 1, now: Timestamp::from_ms(1) };
        let run = super::super::claimed::RawClaimed {
            seq: 1,
            claim: Claim { run: opsward_core::id::RunId::from_text("r".to_owned()), epoch: 1 },
            faults: 0,
            crashes: 0,
            woken: Err(rusqlite::Error::InvalidQuery),
        };
        (Job { op, reply: Some(reply) }, Ok(Answer::Claimed(vec![run])), asked)
    }

    #[test]
    fn a_claim_is_answered_before_the_commit_and_not_done_again_after_a_failed_one() {
        let (job, answer, mut asked) = claim();
        let (mut jobs, mut answers) = (vec![job], vec![answer]);
        let mut early = Early::after(true);
        early.hand_out(&mut jobs, &mut answers);
        assert!(matches!(asked.try_recv(), Ok(Ok(Answer::Claimed(_)))));
        assert!(early.not_written(&mut jobs) && jobs.is_empty());
        assert!(!early.not_written(&mut jobs), "only once");
    }

    #[test]
    fn after_a_host_that_died_a_claim_waits_for_the_disk() {
        let (job, answer, mut asked) = claim();
        let (mut jobs, mut answers) = (vec![job], vec![answer]);
        let mut early = Early::after(false);
        early.hand_out(&mut jobs, &mut answers);
        assert!(asked.try_recv().is_err());
        assert!(!early.not_written(&mut jobs) && jobs.len() == 1);
    }

    #[test]
    fn a_claim_for_somebody_who_has_left_is_for_the_next() {
        let (job, answer, asked) = claim();
        drop(asked);
        let mut early = Early::after(true);
        early.hand_out(&mut [job], &mut [answer]);
        assert_eq!(early.written().len(), 1);
    }
}

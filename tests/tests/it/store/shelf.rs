//! What a store in memory holds, and what each verb does to it. Leaves waiting, faults and answers to `memory`, natural keys
//! and a policy's state to `shelf_keys`. Tested by the conformance suite.

mod lists;

use super::shelf_incidents::Incidents;
use super::shelf_keys::{Counted, Keys, PolicyStates};
use opsward::store::{
    Acceptance, Claim, Claimed, Cursor, Decision, Firing, NewEvent, NewFiring, NewRun, Once, OnceKey, Pause,
    Recorded, SUSPECT_AT, ScheduleKey, ScheduleState, Standing, StoreError, Work,
};
use opsward_core::event::{Hinted, Meeting, Proof};
use opsward_core::guardrail::{Halt, Halts, Limit, Spent};
use opsward_core::id::{AccountName, PolicyName, RunId, SourceName};
use opsward_core::run::{Answered, Entry, Record, RunState, StateOp, StateReply, has_acted};
use opsward_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How far the clock may have been ahead when a run was accepted, without that the run is roused once it is set back.
const AHEAD_MAX: Duration = Duration::from_secs(60);
/// Longest note of a run, in characters.
const NOTE_CHARS_MAX: usize = 200;

/// Everything stored, and the claims in force.
#[derive(Clone, Default)]
pub(super) struct Shelf {
    events: Vec<(NewEvent, Vec<RunId>)>,
    known: BTreeSet<(String, String)>,
    runs: Vec<Run>,
    places: BTreeMap<String, usize>,
    firings: Vec<Firing>,
    incidents: Incidents,
    pauses: BTreeMap<ScheduleKey, Pause>,
    settled: BTreeMap<ScheduleKey, Timestamp>,
    cursors: BTreeMap<(SourceName, String), String>,
    keys: Keys,
    states: PolicyStates,
    spent: Counted,
    halts: BTreeMap<Option<PolicyName>, Halt>,
    locks: BTreeMap<(String, String), (RunId, u32)>,
    /// Queued by `append_later`, not on the disk yet.
    later: Vec<(Claim, Vec<Record>)>,
    claimed_at: Option<Timestamp>,
}

#[derive(Clone)]
struct Run {
    new: NewRun,
    event: usize,
    schedule: Option<String>,
    state: RunState,
    epoch: u64,
    /// The claim is in force.
    claimed: bool,
    faults: u32,
    crashes: u32,
    created: Timestamp,
    changed: Timestamp,
    wake: Timestamp,
    note: Option<String>,
    ledger: Vec<Record>,
}

impl Shelf {
    /// Ends all claims, as a start of the host does.
    pub(super) fn reopen(&mut self) {
        self.write_later();
        self.claimed_at = None;
        for run in &mut self.runs {
            run.claimed = false;
            if run.state == RunState::Running {
                run.state = RunState::Ready;
                run.crashes += 1;
            }
        }
    }

    pub(super) fn append_later(&mut self, claim: Claim, records: Vec<Record>) {
        self.later.push((claim, records));
    }

    pub(super) fn write_later(&mut self) {
        for (claim, records) in std::mem::take(&mut self.later) {
            // A past claim's are refused; its next verb says so.
            self.append(&claim, records).ok();
        }
    }

    pub(super) fn lose_later(&mut self, kept: usize) {
        self.later.truncate(kept);
    }

    pub(super) fn move_to(&mut self, cursor: Option<Cursor>) {
        self.cursors.extend(cursor.map(|Cursor { source, key, value }| ((source, key), value)));
    }

    pub(super) fn cursor(&self, name: &(SourceName, String)) -> Option<String> {
        self.cursors.get(name).cloned()
    }

    pub(super) fn accept(&mut self, mut new: NewEvent, schedule: Option<&str>) -> Acceptance {
        if !self.known.insert((new.event.source.as_str().to_owned(), new.event.id.clone())) {
            return Acceptance::Duplicate;
        }
        let received = new.received;
        let mut incidents = std::mem::take(&mut self.incidents);
        incidents.hear(&mut new, |hinted, to, proof| self.is_done(hinted, to, proof, received));
        self.incidents = incidents;
        for run in &new.runs {
            self.places.insert(run.id.as_str().to_owned(), self.runs.len());
            self.runs.push(Run {
                new: run.clone(),
                event: self.events.len(),
                schedule: schedule.map(str::to_owned),
                state: RunState::Ready,
                epoch: 0,
                claimed: false,
                faults: 0,
                crashes: 0,
                created: received,
                changed: received,
                wake: received,
                note: None,
                ledger: Vec::new(),
            });
        }
        let runs = new.runs.len();
        let ids = new.runs.iter().map(|run| run.id.clone()).collect();
        self.events.push((new, ids));
        Acceptance::New { runs }
    }

    /// Whether what hints have woken has done what the run `to` would; where nothing has, what gives way is over.
    fn is_done(&mut self, hinted: &[&RunId], to: &RunId, proof: &Proof<'_>, received: Timestamp) -> bool {
        let places: Vec<usize> =
            hinted.iter().filter_map(|run| self.places.get(run.as_str())).copied().collect();
        let meets = |shelf: &Self, at: usize| {
            let Run { event, ledger, .. } = &shelf.runs[at];
            let (NewEvent { event, received, .. }, _) = &shelf.events[*event];
            let (gravity, at, subject) = (event.gravity(), event.time.min(*received), event.subject.clone());
            Hinted { gravity, at, subject, acted: has_acted(ledger) }.meets(proof)
        };
        if places.iter().any(|&at| meets(self, at) == Meeting::Done) {
            return true;
        }
        for at in places {
            if meets(self, at) == Meeting::GivesWay && !self.runs[at].state.is_final() {
                let records = [Record::new(received, Entry::GaveWay { to: to.clone() })];
                self.write(at, &records);
                self.runs[at].claimed = false;
                self.stand(at, &records, Standing::Done);
            }
        }
        false
    }

    pub(super) fn fire(&mut self, new: NewFiring) -> Recorded {
        let NewFiring { firing, event, overlaps, .. } = new;
        let key = ScheduleKey { policy: firing.policy.clone(), schedule: firing.schedule.as_str().into() };
        let may_wait = [Decision::Fired, Decision::Queued].contains(&firing.decision);
        if may_wait && self.pause(&key, Timestamp::from_ms(i64::MIN)).is_some() {
            return Recorded::Paused;
        }
        if firing.decision.starts_a_run() && !overlaps && self.unfinished(&key) {
            return Recorded::Unfinished;
        }
        let is_same = |known: &Firing| {
            (&known.policy, &known.schedule, known.fire_at)
                == (&firing.policy, &firing.schedule, firing.fire_at)
        };
        if let Some(known) = self.firings.iter_mut().find(|known| is_same(known)) {
            let anew = match known.decision {
                Decision::Fired | Decision::FiredByHand => false,
                Decision::Queued => firing.decision != Decision::Queued,
                _ => firing.decided_at < known.decided_at,
            };
            if !anew {
                return Recorded::Before;
            }
            known.clone_from(&firing);
        } else {
            self.firings.push(firing.clone());
        }
        if let Some(event) = event {
            self.accept(event, Some(&firing.schedule));
        }
        Recorded::First
    }

    pub(super) fn settle_schedules(&mut self, settled: Vec<(ScheduleKey, Timestamp)>) {
        self.settled.extend(settled);
    }

    pub(super) fn pause_schedule(&mut self, key: ScheduleKey, pause: Pause) {
        self.pauses.insert(key, pause);
    }

    pub(super) fn resume_schedule(&mut self, key: &ScheduleKey, at: Timestamp) -> bool {
        let is_meant = |known: &ScheduleKey| known.policy == key.policy && (key.is_all() || known == key);
        let paused = self.pauses.iter_mut().filter(|(known, pause)| is_meant(known) && pause.until.is_none());
        paused.map(|(_, pause)| pause.until = Some(at)).count() > 0
    }

    /// One that lasts before one that was over by `up_to`, and of these the latest.
    fn pause(&self, key: &ScheduleKey, up_to: Timestamp) -> Option<&Pause> {
        let all = self.pauses.get(&ScheduleKey::all_of(key.policy.clone()));
        let pauses = all.into_iter().chain(self.pauses.get(key));
        let pauses = pauses.filter(|pause| pause.until.is_none_or(|until| until <= up_to));
        pauses.max_by_key(|pause| (pause.until.is_none(), pause.until))
    }

    pub(super) fn claim(&mut self, limit: usize, now: Timestamp) -> Vec<Claimed> {
        if self.claimed_at.is_none_or(|at| now < at) {
            for run in self.runs.iter_mut().filter(|run| run.state == RunState::Ready && run.epoch == 0) {
                if run.wake > now + AHEAD_MAX {
                    run.wake = now;
                }
            }
        }
        self.claimed_at = Some(now);
        let is_due = |run: &Run| run.state == RunState::Ready && run.wake <= now;
        let mut due: Vec<usize> = (0..self.runs.len()).filter(|at| is_due(&self.runs[*at])).collect();
        due.sort_by_key(|at| self.runs[*at].wake);
        // Of suspects one at a time, after all others.
        let is_suspect = |run: &Run| run.crashes >= SUSPECT_AT;
        let (suspects, mut due): (Vec<usize>, Vec<usize>) =
            due.into_iter().partition(|at| is_suspect(&self.runs[*at]));
        let one_is_out = self.runs.iter().any(|run| run.state == RunState::Running && is_suspect(run));
        due.extend(suspects.into_iter().take(usize::from(!one_is_out)));
        due.truncate(limit);
        due.into_iter().map(|at| self.hand_out(at, now)).collect()
    }

    fn hand_out(&mut self, at: usize, now: Timestamp) -> Claimed {
        let run = &mut self.runs[at];
        run.epoch += 1;
        (run.state, run.claimed, run.changed) = (RunState::Running, true, now);
        let event = &self.events[run.event].0;
        Claimed {
            claim: Claim { run: run.new.id.clone(), epoch: run.epoch },
            policy: run.new.policy.clone(),
            digest: run.new.digest,
            faults: run.faults,
            crashes: run.crashes,
            event: event.event.clone(),
            received: event.received,
            trust: event.trust,
        }
    }

    pub(super) fn take_up(&self, claimed: Claimed) -> Result<Work, StoreError> {
        let run = self.runs.iter().find(|run| run.new.id == claimed.claim.run);
        match run.filter(|run| run.claimed && run.epoch == claimed.claim.epoch) {
            Some(run) => Ok(Work { ledger: run.ledger.clone(), run: claimed }),
            None => Err(StoreError::Lost(claimed.claim.run)),
        }
    }

    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let waits = |run: &&Run| run.state == RunState::Ready && run.crashes < SUSPECT_AT;
        self.runs.iter().filter(waits).map(|run| run.wake).min()
    }

    pub(super) fn append(&mut self, claim: &Claim, records: Vec<Record>) -> Result<(), StoreError> {
        let at = self.place(claim)?;
        self.write(at, &records);
        Ok(())
    }

    pub(super) fn append_effect(
        &mut self,
        claim: &Claim,
        key: Option<OnceKey>,
        limits: &[Limit],
        record: Option<Record>,
    ) -> Result<Once, StoreError> {
        let at = self.place(claim)?;
        let other = key.as_ref().and_then(|key| self.keys.other(&claim.run, key, record.as_ref()));
        if let Some(other) = other {
            return Ok(other);
        }
        if let Some(record) = record {
            if let Some(over) = self.spent.spend(&claim.run, limits, &record) {
                return Ok(Once::Over(over));
            }
            if let Some(key) = key {
                self.keys.follow(&claim.run, key, &record);
            }
            self.write(at, &[record]);
        }
        Ok(Once::First)
    }

    pub(super) fn halt(&mut self, halt: Halt) {
        self.halts.insert(halt.policy.clone(), halt);
    }

    pub(super) fn resume(&mut self, policy: Option<&PolicyName>) -> bool {
        let forgotten = policy.is_some_and(|policy| self.spent.forget_failures(policy));
        self.halts.remove(&policy.cloned()).is_some() || forgotten
    }

    pub(super) fn spent(&self, limits: &[Limit]) -> Vec<Vec<Spent>> {
        limits.iter().map(|limit| self.spent.of(limit)).collect()
    }

    pub(super) fn halts(&self) -> Halts {
        Halts(self.halts.values().cloned().collect())
    }

    pub(super) fn lock(
        &mut self,
        claim: &Claim,
        position: u32,
        resources: &[(AccountName, String)],
    ) -> Result<Option<RunId>, StoreError> {
        self.place(claim)?;
        let name = |(account, id): &(AccountName, String)| (account.as_str().to_owned(), id.clone());
        let own = (claim.run.clone(), position);
        let holder = resources.iter().find_map(|one| self.locks.get(&name(one)).filter(|has| **has != own));
        if let Some((holder, _)) = holder {
            return Ok(Some(holder.clone()));
        }
        self.locks.extend(resources.iter().map(|one| (name(one), own.clone())));
        Ok(None)
    }

    pub(super) fn state(
        &mut self,
        claim: &Claim,
        policy: &PolicyName,
        position: u32,
        op: StateOp,
        at: Timestamp,
    ) -> Result<StateReply, StoreError> {
        let run = self.place(claim)?;
        let reply = self.states.perform(policy, &op);
        self.write(run, &[Record::new(at, Entry::State { position, op, reply: reply.clone() })]);
        Ok(reply)
    }

    pub(super) fn finish(
        &mut self,
        claim: &Claim,
        records: Vec<Record>,
        to: Standing,
    ) -> Result<(), StoreError> {
        let at = self.place(claim)?;
        self.runs[at].claimed = false;
        let crashes = self.runs[at].crashes;
        self.write(at, &records);
        self.stand(at, &records, to);
        if matches!(to, Standing::Crashed { .. }) {
            self.runs[at].crashes = crashes + 1;
        }
        Ok(())
    }

    pub(super) fn intervene(
        &mut self,
        claim: &Claim,
        from: RunState,
        key: Option<OnceKey>,
        record: Record,
        to: Standing,
    ) -> Result<(), StoreError> {
        let found = self.places.get(claim.run.as_str()).copied();
        let stands = |at: &usize| self.runs[*at].state == from && self.runs[*at].epoch == claim.epoch;
        let at = found.filter(stands).ok_or_else(|| StoreError::Lost(claim.run.clone()))?;
        if let Some(key) = key {
            self.keys.follow(&claim.run, key, &record);
        }
        let records = [record];
        self.write(at, &records);
        self.runs[at].faults = 0;
        self.runs[at].epoch += 1;
        self.stand(at, &records, to);
        Ok(())
    }

    /// Ends a claim whose record could not be written.
    pub(super) fn revoke(&mut self, claim: &Claim) {
        if let Ok(at) = self.place(claim) {
            self.runs[at].claimed = false;
            self.runs[at].state = RunState::Ready;
        }
    }

    fn place(&self, claim: &Claim) -> Result<usize, StoreError> {
        let at = self.places.get(claim.run.as_str()).copied();
        let in_force = |at: &usize| self.runs[*at].claimed && self.runs[*at].epoch == claim.epoch;
        at.filter(in_force).ok_or_else(|| StoreError::Lost(claim.run.clone()))
    }

    fn write(&mut self, at: usize, records: &[Record]) {
        let run = &mut self.runs[at];
        run.ledger.extend_from_slice(records);
        let says_more = |record: &Record| {
            !matches!(record.entry, Entry::Started { .. } | Entry::Waited { .. } | Entry::Log { .. })
        };
        if records.iter().any(says_more) {
            run.crashes = 0;
        }
        let id = run.new.id.clone();
        for record in records {
            if let Entry::Result { position, .. }
            | Entry::NotExecuted { position, .. }
            | Entry::Call { position, .. } = &record.entry
            {
                self.locks.retain(|_, has| *has != (id.clone(), *position));
            }
            self.spent.end(&id, record);
        }
    }

    fn stand(&mut self, at: usize, records: &[Record], to: Standing) {
        let run = &mut self.runs[at];
        let (state, faulted) = match to {
            Standing::Wake { at, faulted } => {
                run.wake = at;
                (RunState::Ready, faulted)
            }
            Standing::Crashed { at } => {
                run.wake = at;
                (RunState::Ready, false)
            }
            Standing::Held => (RunState::Held, false),
            Standing::Done => (RunState::Done, false),
            Standing::Failed => (RunState::Failed, false),
            Standing::Dead => (RunState::Dead, true),
        };
        run.state = state;
        run.faults += u32::from(faulted);
        run.crashes = 0;
        run.note = records.iter().rev().find_map(note);
        run.changed = records.last().map_or(run.changed, |record| record.at);
        if state.is_final() {
            let id = run.new.id.clone();
            self.locks.retain(|_, has| has.0 != id);
        }
    }

    pub(super) fn schedule_state(&self, key: &ScheduleKey, up_to: Timestamp) -> ScheduleState {
        let of_it = |firing: &&Firing| firing.policy == key.policy && *firing.schedule == *key.schedule;
        let all: Vec<&Firing> = self.firings.iter().filter(of_it).collect();
        let by_then = || all.iter().filter(|firing| firing.fire_at <= up_to);
        let waiting = by_then().filter(|firing| firing.decision == Decision::Queued);
        ScheduleState {
            last_fire: by_then()
                .filter(|firing| firing.decision != Decision::FiredByHand)
                .map(|firing| firing.fire_at)
                .max(),
            settled: self.settled.get(key).copied().filter(|at| *at <= up_to),
            waiting: waiting.map(|firing| firing.fire_at).min(),
            unfinished: self.unfinished(key),
            pause: self.pause(key, up_to).cloned(),
            latest: by_then().max_by_key(|firing| firing.fire_at).map(|firing| (*firing).clone()),
        }
    }

    fn unfinished(&self, key: &ScheduleKey) -> bool {
        self.runs.iter().any(|run| {
            run.new.policy == key.policy
                && run.schedule.as_deref() == Some(&*key.schedule)
                && matches!(run.state, RunState::Ready | RunState::Running | RunState::Held)
        })
    }
}

fn note(record: &Record) -> Option<String> {
    let text = match &record.entry {
        Entry::Done { outcome } => outcome.summary.clone(),
        Entry::Failed { failure } => format!("{}: {}", failure.code, failure.message),
        Entry::Held { reason, .. } => reason.clone(),
        Entry::Faulted { fault } => fault.message.clone(),
        Entry::Abandoned { by, .. } => format!("given up by {by}"),
        Entry::GaveWay { to } => format!("gave way to {to}, whose event is proved"),
        Entry::Retried { why, .. } => format!("to be tried again: {why}"),
        Entry::Result { answered: Answered::Person { by }, .. } => format!("took place, says {by}"),
        Entry::NotExecuted { why, .. } => format!("did not take place: {why}"),
        _ => return None,
    };
    Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(NOTE_CHARS_MAX).collect())
}

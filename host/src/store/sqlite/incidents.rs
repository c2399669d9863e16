//! Where each incident stands, and which of its transitions have woken whom: looked up and written in the transaction that records a
//! notice with its runs. An incident has a track for what is proved and one for hints; what they mean is decided by
//! `opsward_core::event::Incident`. Leaves runs that hints have woken to `hinted`. Tested by the conformance suite.

use super::hinted;
use super::late::EventKey;
use crate::failpoint::wrong;
use crate::store::{NewEvent, NewRun};
use opsward_core::event::{Event, Incident, News, Proof, Transition, Transitions, Woken, manual_source};
use opsward_core::id::{Digest, PolicyName};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};

/// - A row with the empty policy says where the incident stands, when that was last heard, and by which event.
/// - Each other one has the transitions that have woken the policy.
/// - An incident's rows lie side by side, so that a notice writes to one page, and go with the latest of its events.
pub(super) const TABLE: &str = "
CREATE TABLE incidents (
  incident BLOB NOT NULL, policy TEXT NOT NULL, transitions INTEGER NOT NULL, heard INTEGER, event INTEGER,
  PRIMARY KEY (incident, policy)
) STRICT, WITHOUT ROWID;
";

/// `since` is when the happening began, and `gravity` how grave the alarm was that has woken the policy. Rows from before it count as
/// told by proved senders, as begun when they were last heard, and as of the gravest alarms: one that goes on is not to wake again.
pub(super) const TRACKS: &str = "
ALTER TABLE incidents ADD COLUMN since INTEGER;
ALTER TABLE incidents ADD COLUMN gravity INTEGER NOT NULL DEFAULT 0;
UPDATE incidents SET since = heard, gravity = 255;
";

/// Names the track of what proved senders tell of an incident: half a SHA-256 of its key, of fixed size.
fn proved_key(incident: &str) -> EventKey {
    let digest = Digest::of(incident.as_bytes());
    std::array::from_fn(|at| digest.as_bytes()[at])
}

/// Names the track of what hints tell of it.
fn hints_key(incident: &str) -> EventKey {
    if wrong("one-track") {
        return proved_key(incident);
    }
    // No incident begins so: it has no control characters.
    proved_key(&format!("\n{incident}"))
}

/// What an event says of its incident.
pub(super) struct Notice {
    proved: EventKey,
    hints: EventKey,
    trust: Trust,
    transition: Transition,
    gravity: u8,
    at: Timestamp,
}

impl Notice {
    /// What a person gives to a policy is no word of the sender's, and leaves the incident where it stands.
    pub(super) fn of(new: &NewEvent) -> Option<Self> {
        let event = &new.event;
        let told =
            event.incident.as_deref().zip(event.transition).filter(|_| event.source != manual_source());
        let (incident, transition) = told?;
        // A sender's clock that runs ahead would make all that follows late.
        let at = event.time.min(new.received);
        let (proved, hints, gravity) = (proved_key(incident), hints_key(incident), event.gravity());
        Some(Self { proved, hints, trust: new.trust, transition, gravity, at })
    }

    /// The track that it writes to.
    fn own(&self) -> &EventKey {
        match self.trust {
            Trust::Proved => &self.proved,
            Trust::Hint => &self.hints,
        }
    }
}

/// A notice that is to be noted down.
pub(super) struct Heard<'n> {
    notice: &'n Notice,
    /// What it is to its own track, and where that stands with it.
    incident: Incident,
    news: News,
    /// Where the tracks stand before it.
    proved: Option<Incident>,
    by_hints: Option<Incident>,
    /// For each run of the event, what it does to its policy; none where it does not wake that.
    wakes: Vec<Option<Wake>>,
}

/// Where a track stands.
enum Stands {
    Unheard,
    /// The row is there and says nothing that was ever written.
    Unknown,
    At(Incident),
}

impl Stands {
    fn known(&self) -> Option<Incident> {
        match self {
            Self::At(incident) => Some(*incident),
            Self::Unheard | Self::Unknown => None,
        }
    }

    /// After the notice, and what that is to it. Where nobody knows, it moves the incident on, or begins it where it is one that may
    /// happen again: a notice that is kept out for what cannot be read would be lost.
    fn after(&self, notice: &Notice) -> (Incident, News) {
        let (incident, news) = Incident::after(self.known(), notice.transition, notice.at);
        let moves_on = matches!(self, Self::Unknown) && notice.transition != Transition::Firing;
        (incident, if moves_on { News::Moves } else { news })
    }
}

struct Wake {
    /// What has woken the policy, with this notice included.
    woken: Woken,
    /// Whether the event's own run starts.
    starts: bool,
}

impl Heard<'_> {
    /// Whether it starts the event's run at this place.
    pub(super) fn starts(&self, at: usize) -> bool {
        self.wakes.get(at).and_then(Option::as_ref).is_some_and(|wake| wake.starts)
    }

    /// The track of hints, where they may have woken a policy that this proved notice wakes; and what the notice is to their runs.
    pub(super) fn proof<'e>(&self, event: &'e Event) -> Option<(EventKey, Proof<'e>)> {
        let Self { proved, by_hints, notice, .. } = *self;
        let Notice { hints, trust, transition, gravity, at, .. } = *notice;
        let proof = Proof { proved, by_hints, transition, gravity, at, subject: event.subject.as_deref() };
        (trust == Trust::Proved && by_hints.is_some()).then_some((hints, proof))
    }

    /// A hint's run stands for the event's.
    pub(super) fn is_done(&mut self, at: usize) {
        if let Some(Some(wake)) = self.wakes.get_mut(at) {
            wake.starts = false;
        }
    }
}

pub(super) struct Statements<'c> {
    pub(super) hinted: hinted::Statements<'c>,
    find: Statement<'c>,
    woken: Statement<'c>,
    put: Statement<'c>,
    begin_anew: Statement<'c>,
    forget: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            hinted: hinted::Statements::prepare(conn)?,
            find: conn.prepare(
                "SELECT transitions, heard, since FROM incidents WHERE incident = ?1 AND policy = ''",
            )?,
            woken: conn
                .prepare("SELECT transitions, gravity FROM incidents WHERE incident = ?1 AND policy = ?2")?,
            put: conn.prepare(
                "INSERT OR REPLACE INTO incidents (incident, policy, transitions, heard, event, since, gravity)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            begin_anew: conn.prepare("DELETE FROM incidents WHERE incident = ?1 AND policy <> ''")?,
            forget: conn.prepare(
                "DELETE FROM incidents WHERE incident = ?1
                 AND (SELECT event FROM incidents WHERE incident = ?1 AND policy = '') = ?2",
            )?,
        })
    }

    /// Decides which of the event's runs the notice starts.
    pub(super) fn hear<'n>(
        &mut self,
        notice: &'n Notice,
        new: &NewEvent,
    ) -> Result<Heard<'n>, rusqlite::Error> {
        let Notice { transition, gravity, at, .. } = *notice;
        let [proved, hints] = [self.stands(&notice.proved)?, self.stands(&notice.hints)?];
        let mut is_damaged = [&proved, &hints].iter().any(|stands| matches!(stands, Stands::Unknown));
        let (incident, news) = match notice.trust {
            Trust::Proved => proved.after(notice),
            Trust::Hint => hints.after(notice),
        };
        // What the other track has woken counts for a hint alone.
        let other = (notice.trust == Trust::Hint).then(|| proved.after(notice).1);
        let (proved, by_hints) = (proved.known(), hints.known());
        let later = || Incident::after(Incident::later(by_hints, proved), transition, at).1;
        let judged = if other.is_some() { later() } else { news };
        let [judged, news] = if wrong("incident-any-order") { [News::Moves; 2] } else { [judged, news] };
        let mut wakes = Vec::with_capacity(new.runs.len());
        for NewRun { policy, wants, .. } in &new.runs {
            let mut woken = |track, news| {
                let woken = self.woken(track, policy, news)?;
                is_damaged |= woken.is_none();
                Ok::<_, rusqlite::Error>(woken.unwrap_or_default())
            };
            let had = woken(notice.own(), news)?;
            let mut is_known = had.has(transition, gravity);
            if let Some(news) = other {
                is_known |= woken(&notice.proved, news)?.has(transition, gravity);
            }
            if !wants.wakes(judged, is_known) {
                wakes.push(None);
                continue;
            }
            let woken = had.with(transition, gravity);
            wakes.push(Some(Wake { woken, starts: true }));
        }
        if is_damaged {
            let Event { id, source, incident, .. } = &new.event;
            let problem = "what is recorded of the incident cannot be read: policies may be woken once more";
            tracing::warn!(event = id, %source, incident = incident.as_deref(), "{problem}");
        }
        Ok(Heard { notice, incident, news, proved, by_hints, wakes })
    }

    /// Where a track stands.
    fn stands(&mut self, track: &EventKey) -> Result<Stands, rusqlite::Error> {
        let found =
            self.find.query_row([track], |row| Ok(incident_of(row)?.map_or(Stands::Unknown, Stands::At)));
        Ok(found.optional()?.unwrap_or(Stands::Unheard))
    }

    /// What has woken a policy, by a track to which a notice is `news`; none where that cannot be read.
    fn woken(
        &mut self,
        track: &EventKey,
        policy: &PolicyName,
        news: News,
    ) -> Result<Option<Woken>, rusqlite::Error> {
        if news == News::Begins || wrong("incident-repeats") {
            return Ok(Some(Woken::default()));
        }
        let found = self.woken.query_row(params![track, policy.as_str()], |row| {
            let gravity = u8::try_from(row.get::<_, i64>(1)?).ok();
            Ok(transitions_of(row)?.zip(gravity).map(|(transitions, gravity)| Woken { transitions, gravity }))
        });
        Ok(found.optional()?.unwrap_or_else(|| Some(Woken::default())))
    }

    /// Notes down what was decided of event `seq` and its `runs`, of which the first that starts is `first_run`.
    pub(super) fn note(
        &mut self,
        heard: &Heard<'_>,
        runs: &[NewRun],
        seq: i64,
        first_run: i64,
    ) -> Result<(), rusqlite::Error> {
        let Heard { notice, incident, news, wakes, .. } = heard;
        let Notice { transition, trust, .. } = **notice;
        let track = notice.own();
        if *news == News::Begins {
            self.begin_anew.execute([track])?;
        }
        let stands = Transitions::default().with(incident.transition);
        let (heard, since) = (incident.heard.ms(), incident.since.ms());
        self.put.execute(params![track, "", stands.bits(), heard, seq, since, 0])?;
        let mut next_run = first_run;
        for (run, wake) in runs.iter().zip(wakes) {
            let Some(Wake { woken, starts, .. }) = wake else { continue };
            let nothing = None::<i64>;
            let (bits, policy) = (woken.transitions.bits(), run.policy.as_str());
            self.put.execute(params![track, policy, bits, nothing, nothing, nothing, woken.gravity])?;
            if trust == Trust::Hint {
                self.hinted.put(track, &run.policy, transition, next_run)?;
            }
            next_run += i64::from(*starts);
        }
        Ok(())
    }

    /// Forgets the tracks of the incident of which event `seq`, which is deleted, is the latest.
    pub(super) fn forget(&mut self, incident: &str, seq: i64) -> Result<(), rusqlite::Error> {
        let hints = hints_key(incident);
        self.forget.execute(params![proved_key(incident), seq])?;
        if self.forget.execute(params![hints, seq])? > 0 {
            self.hinted.forget(&hints)?;
        }
        Ok(())
    }
}

/// Where an incident stands; none where that cannot be read.
fn incident_of(row: &Row<'_>) -> Result<Option<Incident>, rusqlite::Error> {
    let set = transitions_of(row)?;
    let transition = set.and_then(|set| Transition::ALL.into_iter().find(|one| set.has(*one)));
    let (heard, since): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
    let known = transition.zip(heard);
    Ok(known.map(|(transition, heard)| {
        let [heard, since] = [heard, since.unwrap_or(heard)].map(Timestamp::from_ms);
        Incident { transition, since, heard }
    }))
}

/// The first column as what it was written from.
fn transitions_of(row: &Row<'_>) -> Result<Option<Transitions>, rusqlite::Error> {
    Ok(u16::try_from(row.get::<_, i64>(0)?).ok().and_then(Transitions::from_bits))
}

/// What the check of a file tells: rows whose latest event is not there, and rows that cannot be read.
pub(super) fn astray(conn: &Connection) -> Result<[i64; 2], rusqlite::Error> {
    let astray = "SELECT count(*) FROM incidents WHERE policy = '' AND event NOT IN (SELECT seq FROM events)";
    let unreadable = "SELECT count(*) FROM incidents
                      WHERE transitions NOT BETWEEN 1 AND ?1 OR policy = '' AND heard IS NULL";
    let all = Transition::ALL.into_iter().fold(Transitions::default(), Transitions::with).bits();
    let astray = conn.query_row(astray, [], |row| row.get(0))?;
    Ok([astray, conn.query_row(unreadable, [all], |row| row.get(0))?])
}

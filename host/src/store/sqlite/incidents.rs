//! Where each incident stands, and which of its transitions have woken whom: looked up and written in the transaction that records a
//! notice with its runs. What they mean is decided by `opsward_core::event::Incident`. Tested by the conformance suite.

use super::late::EventKey;
use crate::failpoint::wrong;
use crate::store::{NewEvent, NewRun};
use opsward_core::event::{Incident, News, Transition, Transitions, manual_source};
use opsward_core::id::{Digest, PolicyName};
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

/// Names an incident: half a SHA-256 of its key, of fixed size.
fn key_of(incident: &str) -> EventKey {
    let digest = Digest::of(incident.as_bytes());
    std::array::from_fn(|at| digest.as_bytes()[at])
}

/// What an event says of its incident.
pub(super) struct Notice {
    key: EventKey,
    transition: Transition,
    at: Timestamp,
}

impl Notice {
    /// What a person gives to a policy is no word of the sender's, and leaves the incident where it stands.
    pub(super) fn of(new: &NewEvent) -> Option<Self> {
        let event = &new.event;
        let told =
            event.incident.as_deref().zip(event.transition).filter(|_| event.source != manual_source());
        // A sender's clock that runs ahead would make all that follows late.
        let at = event.time.min(new.received);
        told.map(|(incident, transition)| Self { key: key_of(incident), transition, at })
    }
}

/// A notice that is to be noted down.
pub(super) struct Heard<'n> {
    notice: &'n Notice,
    incident: Incident,
    news: News,
    /// For each run of the event, what has woken its policy with this notice included; none where it does not.
    woken: Vec<Option<Transitions>>,
}

impl Heard<'_> {
    /// Whether it starts the event's run at this place.
    pub(super) fn starts(&self, at: usize) -> bool {
        self.woken.get(at).is_some_and(Option::is_some)
    }
}

pub(super) struct Statements<'c> {
    find: Statement<'c>,
    put: Statement<'c>,
    begin_anew: Statement<'c>,
    forget: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            find: conn
                .prepare("SELECT transitions, heard FROM incidents WHERE incident = ?1 AND policy = ?2")?,
            put: conn.prepare(
                "INSERT OR REPLACE INTO incidents (incident, policy, transitions, heard, event)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            begin_anew: conn.prepare("DELETE FROM incidents WHERE incident = ?1 AND policy <> ''")?,
            forget: conn.prepare(
                "DELETE FROM incidents WHERE incident = ?1
                 AND (SELECT event FROM incidents WHERE incident = ?1 AND policy = '') = ?2",
            )?,
        })
    }

    /// Decides which of `runs` the notice starts.
    pub(super) fn hear<'n>(
        &mut self,
        notice: &'n Notice,
        runs: &[NewRun],
    ) -> Result<Heard<'n>, rusqlite::Error> {
        let before = self.find.query_row(params![notice.key, ""], incident_of).optional()?;
        let (incident, mut news) = Incident::after(before, notice.transition, notice.at);
        if wrong("incident-any-order") {
            news = News::Moves;
        }
        let mut woken = Vec::with_capacity(runs.len());
        for run in runs {
            let had = match news {
                News::Begins => Transitions::default(),
                _ if wrong("incident-repeats") => Transitions::default(),
                News::Moves | News::Stands | News::Late => self.woken(notice, &run.policy)?,
            };
            let wakes = run.wants.wakes(news, had.has(notice.transition));
            woken.push(wakes.then(|| had.with(notice.transition)));
        }
        Ok(Heard { notice, incident, news, woken })
    }

    fn woken(&mut self, notice: &Notice, policy: &PolicyName) -> Result<Transitions, rusqlite::Error> {
        let found = self.find.query_row(params![notice.key, policy.as_str()], |row| row.get(0));
        Ok(Transitions::from_bits(found.optional()?.unwrap_or(0)))
    }

    /// Notes down what `hear` decided of event `seq` and its `runs`.
    pub(super) fn note(
        &mut self,
        heard: &Heard<'_>,
        runs: &[NewRun],
        seq: i64,
    ) -> Result<(), rusqlite::Error> {
        let Heard { notice, incident, news, woken } = heard;
        if *news == News::Begins {
            self.begin_anew.execute([notice.key])?;
        }
        let stands = Transitions::default().with(incident.transition);
        self.put.execute(params![notice.key, "", stands.bits(), incident.heard.ms(), seq])?;
        for (run, woken) in runs.iter().zip(woken) {
            if let Some(woken) = woken {
                let nothing = None::<i64>;
                self.put.execute(params![notice.key, run.policy.as_str(), woken.bits(), nothing, nothing])?;
            }
        }
        Ok(())
    }

    /// Forgets the incident, where event `seq`, which is deleted, is its latest.
    pub(super) fn forget(&mut self, incident: &str, seq: i64) -> Result<(), rusqlite::Error> {
        self.forget.execute(params![key_of(incident), seq])?;
        Ok(())
    }
}

/// Where an incident stands.
fn incident_of(row: &Row<'_>) -> Result<Incident, rusqlite::Error> {
    let bits: u16 = row.get(0)?;
    let stands = |one: &Transition| Transitions::from_bits(bits).has(*one);
    let transition = Transition::ALL.into_iter().find(stands);
    let transition = transition.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, bits.into()))?;
    Ok(Incident { transition, heard: Timestamp::from_ms(row.get(1)?) })
}

/// Rows whose latest event is not there: what the check of a file tells.
pub(super) fn astray(conn: &Connection) -> Result<i64, rusqlite::Error> {
    let sql = "SELECT count(*) FROM incidents WHERE policy = '' AND event NOT IN (SELECT seq FROM events)";
    conn.query_row(sql, [], |row| row.get(0))
}

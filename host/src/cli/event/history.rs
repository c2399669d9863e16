//! What came of an incident, as the store has it: what each notice was to it, where it stands, and whom its transitions have woken.
//! Leaves what that means to `opsward_core::event`, and printing to the parent.

use crate::store::sqlite::Reader;
use crate::store::{EventFilter, EventRow, LISTED_MAX, StoreError};
use opsward_core::event::{Event, Hinted, Incident, Meeting, News, Proof, Transition, Woken, manual_source};
use opsward_core::id::{PolicyName, RunId};
use opsward_core::run::has_acted;
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;

/// The notices of one incident, oldest first.
#[derive(Default)]
pub(super) struct History {
    pub(super) rows: Vec<EventRow>,
    /// What each was to the incident; none of what moves none.
    pub(super) news: Vec<Option<News>>,
    proved: Track,
    hints: Track,
}

/// What one kind of notices told.
#[derive(Default, Clone, Copy)]
struct Track {
    incident: Option<Incident>,
    /// The first of `rows` that is of the present happening.
    begun: usize,
}

/// What an event says of its incident.
#[derive(Clone, Copy)]
pub(super) struct Notice {
    pub(super) trust: Trust,
    pub(super) transition: Transition,
    gravity: u8,
    at: Timestamp,
}

impl Notice {
    /// None where it says nothing that moves one.
    pub(super) fn of(event: &Event, trust: Trust, received: Timestamp) -> Option<Self> {
        event.incident.as_ref()?;
        let transition = event.transition.filter(|_| event.source != manual_source())?;
        Some(Self { trust, transition, gravity: event.gravity(), at: event.time.min(received) })
    }

    fn after(&self, before: Option<Incident>) -> (Incident, News) {
        Incident::after(before, self.transition, self.at)
    }
}

impl History {
    /// That of the event's incident; empty where it has none.
    pub(super) fn of(store: &Reader, event: &Event) -> Result<Self, StoreError> {
        let Some(incident) = event.incident.clone() else { return Ok(Self::default()) };
        let filter = EventFilter { incident: Some(incident), limit: LISTED_MAX, ..EventFilter::default() };
        let mut rows = store.list_events(&filter)?;
        rows.reverse();
        Ok(Self::told_by(rows))
    }

    fn told_by(rows: Vec<EventRow>) -> Self {
        let mut history = Self::default();
        for (at, row) in rows.iter().enumerate() {
            let notice = Notice::of(&row.event, row.trust, row.received);
            history.news.push(notice.map(|notice| history.news(&notice)));
            let Some(notice) = notice else { continue };
            let track = history.track_mut(notice.trust);
            let (incident, news) = notice.after(track.incident);
            let begun = if news == News::Begins { at } else { track.begun };
            *track = Track { incident: Some(incident), begun };
        }
        Self { rows, ..history }
    }

    fn track(&self, trust: Trust) -> &Track {
        match trust {
            Trust::Proved => &self.proved,
            Trust::Hint => &self.hints,
        }
    }

    fn track_mut(&mut self, trust: Trust) -> &mut Track {
        match trust {
            Trust::Proved => &mut self.proved,
            Trust::Hint => &mut self.hints,
        }
    }

    /// Where the incident stands for a notice that is believed so far.
    pub(super) fn stands(&self, trust: Trust) -> Option<Incident> {
        match trust {
            Trust::Proved => self.proved.incident,
            Trust::Hint => Incident::later(self.hints.incident, self.proved.incident),
        }
    }

    /// What a notice is to the incident.
    pub(super) fn news(&self, notice: &Notice) -> News {
        notice.after(self.stands(notice.trust)).1
    }

    /// As it was before this event; whole where that is not in it.
    pub(super) fn before(self, event: &Event) -> Self {
        let is_it = |row: &EventRow| (&row.event.source, &row.event.id) == (&event.source, &event.id);
        match self.rows.iter().position(is_it) {
            Some(at) => Self::told_by(self.rows.into_iter().take(at).collect()),
            None => self,
        }
    }

    /// Whether such a notice has woken the policy in the present happening.
    pub(super) fn has_woken(&self, policy: &PolicyName, notice: &Notice) -> bool {
        let by = |trust: Trust| {
            let begins = notice.after(self.track(trust).incident).1 == News::Begins;
            let woken = self
                .runs(policy, trust, self.track(trust).begun)
                .fold(Woken::default(), |woken, (_, told, _)| woken.with(told.transition, told.gravity));
            !begins && woken.has(notice.transition, notice.gravity)
        };
        by(Trust::Proved) || notice.trust == Trust::Hint && by(Trust::Hint)
    }

    /// Whether a run that a hint has woken stands for the one that a proved notice would start: it has made an effect.
    pub(super) fn is_done(
        &self,
        store: &Reader,
        policy: &PolicyName,
        notice: &Notice,
        subject: Option<&str>,
    ) -> Result<bool, StoreError> {
        let Notice { trust: Trust::Proved, transition, gravity, at } = *notice else { return Ok(false) };
        let (proved, by_hints) = (self.proved.incident, self.hints.incident);
        let proof = Proof { proved, by_hints, transition, gravity, at, subject };
        for (row, hint, run) in
            self.runs(policy, Trust::Hint, 0).filter(|(_, hint, _)| hint.transition == transition)
        {
            let subject = row.event.subject.clone();
            let hinted = Hinted { gravity: hint.gravity, at: hint.at, subject, acted: true };
            let would_stand = hinted.meets(&proof) == Meeting::Done;
            if would_stand
                && store.find_runs(run.as_str(), 1)?.first().is_some_and(|run| has_acted(&run.ledger))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What has woken the policy, from the row at `begun` on, with its runs.
    fn runs(
        &self,
        policy: &PolicyName,
        trust: Trust,
        begun: usize,
    ) -> impl Iterator<Item = (&EventRow, Notice, RunId)> {
        self.rows.iter().skip(begun).filter(move |row| row.trust == trust).filter_map(move |row| {
            let run = RunId::derive(&row.event.source, &row.event.id, policy);
            let notice = Notice::of(&row.event, row.trust, row.received)?;
            row.runs.contains(&run).then_some((row, notice, run))
        })
    }
}

/// What a notice is to its incident, in a word.
pub(super) fn word(news: News) -> &'static str {
    match news {
        News::Begins => "new",
        News::Moves => "moves on",
        News::Stands => "repeated",
        News::Late => "late",
    }
}

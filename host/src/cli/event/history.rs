//! What came of an incident, as the store has it: what each notice was to it, where it stands, and whom its transitions have woken.
//! Leaves what that means to `opsward_core::event::Incident`, and printing to the parent.

use crate::store::sqlite::Reader;
use crate::store::{EventFilter, EventRow, LISTED_MAX, StoreError};
use opsward_core::event::{Event, Incident, News, Transition, manual_source};
use opsward_core::id::{PolicyName, RunId};

/// The notices of one incident, oldest first.
#[derive(Default)]
pub(super) struct History {
    pub(super) rows: Vec<EventRow>,
    /// What each was to the incident; none of what moves none.
    pub(super) news: Vec<Option<News>>,
    pub(super) incident: Option<Incident>,
    /// The first of `rows` that is of the present happening.
    begun: usize,
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
            let told = row.event.transition.filter(|_| row.event.source != manual_source());
            let news = told.map(|transition| {
                let time = row.event.time.min(row.received);
                let (incident, news) = Incident::after(history.incident, transition, time);
                history.incident = Some(incident);
                news
            });
            if news == Some(News::Begins) {
                history.begun = at;
            }
            history.news.push(news);
        }
        Self { rows, ..history }
    }

    /// As it was before this event; whole where that is not in it.
    pub(super) fn before(self, event: &Event) -> Self {
        let is_it = |row: &EventRow| (&row.event.source, &row.event.id) == (&event.source, &event.id);
        match self.rows.iter().position(is_it) {
            Some(at) => Self::told_by(self.rows.into_iter().take(at).collect()),
            None => self,
        }
    }

    /// Whether the transition has woken the policy in the present happening.
    pub(super) fn has_woken(&self, policy: &PolicyName, transition: Transition) -> bool {
        self.rows.iter().skip(self.begun).any(|row| {
            let event = &row.event;
            event.transition == Some(transition)
                && event.source != manual_source()
                && row.runs.contains(&RunId::derive(&event.source, &event.id, policy))
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

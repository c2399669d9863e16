//! Events that never came: senders give up after seconds, and what they told of while nobody listened is gone. For a source that opts
//! in, the cloud's own history is read now and then, and what it tells goes the way of what is sent. The rules of incidents see to it
//! that what was made of a notification is not made again. A region that refuses, and an event that cannot be read, hold nothing
//! else up. Leaves what the history says to `opsward_core::source::history`, asking to `cloud`, and recording to
//! `accept`. Tested by `tests/tests/it/caught_up.rs`.

use super::accept::Accept;
use super::pulling::{PullError, Reported};
use crate::cloud::CloudClient;
use crate::failpoint::haste;
use crate::store::{Acceptance, Cursor};
use opsward_core::config::CatchUp;
use opsward_core::id::SourceName;
use opsward_core::sender::Trust;
use opsward_core::source::history::{About, Odd, Past, REMEMBERED};
use opsward_core::source::undecodable;
use opsward_core::time::Timestamp;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the history is read: a notification that is lost is late by so much.
const EVERY: Duration = Duration::from_secs(300);
/// The oldest that is still told: what a policy does about a machine is seldom right days later, and somebody has looked by then.
const AGE_MAX: Duration = Duration::from_secs(72 * 3600);
/// Most pages of one region, of 100 events each.
const PAGES_MAX: usize = 50;
/// The cursor that tells since when the source catches up: what had happened before is nobody's.
const SINCE: &str = "catch-up/since";

/// A source that catches up.
pub struct CatchUpSource {
    /// The source's name.
    pub name: SourceName,
    /// Whose history of where.
    pub catch_up: CatchUp,
    /// Asks for it.
    pub cloud: Arc<CloudClient>,
    /// Records events.
    pub accept: Arc<Accept>,
}

/// What is kept between looks.
#[derive(Default)]
struct Told {
    /// The account's number.
    owner: Option<String>,
    /// By region.
    regions: BTreeMap<String, OfRegion>,
}

#[derive(Default)]
struct OfRegion {
    reported: Reported,
    /// What was handed on, so as not to do it at each look.
    ids: HashSet<String>,
}

impl CatchUpSource {
    /// Runs until `stopping` turns true.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) {
        let mut reported = Reported::default();
        let mut told = Told::default();
        loop {
            let looked = tokio::select! {
                looked = self.look(&mut told) => looked,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            reported.tell(&self.name, "the cloud's history", looked.as_ref().err());
            tokio::select! {
                () = tokio::time::sleep(haste(EVERY)) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn look(&self, told: &mut Told) -> Result<(), PullError> {
        let now = self.accept.clock.now();
        let since = self.since(now).await?.max(now - AGE_MAX);
        let owner = match &told.owner {
            Some(owner) => owner.clone(),
            None => self.cloud.identify(&self.catch_up.account).await?.account_id,
        };
        told.owner = Some(owner.clone());
        for region in &self.catch_up.regions {
            let of_region = told.regions.entry(region.clone()).or_default();
            let looked = self.look_at(region, &owner, (since, now), &mut of_region.ids).await;
            let from = format!("the cloud's history of {region}");
            of_region.reported.tell(&self.name, &from, looked.as_ref().err());
        }
        Ok(())
    }

    /// Hands on what a region remembers, but for what `told` has, and makes `told` that. Of a history that is too long at least the
    /// latest part is read, and the rest is told of.
    async fn look_at(
        &self,
        region: &str,
        owner: &str,
        (since, now): (Timestamp, Timestamp),
        told: &mut HashSet<String>,
    ) -> Result<(), PullError> {
        let about = About { source: &self.name, owner, region, now };
        let mut seen = HashSet::new();
        let is_whole = self.read(&about, now - REMEMBERED, since, (&mut *told, &mut seen)).await?;
        let is_latest = is_whole || self.read(&about, now - AGE_MAX, since, (&mut *told, &mut seen)).await?;
        // What the history no longer has need not be remembered.
        *told = seen;
        if is_whole {
            return Ok(());
        }
        self.accept.seen.count(&self.name, "history-too-long", now);
        let of = if is_latest { "what was announced more than 72 hours ago" } else { "all that there is" };
        Err(PullError::TooLong { pages: PAGES_MAX, of })
    }

    /// Hands on what was announced after `from` and has happened after `since`, but for what `told` has; whether that was all.
    async fn read(
        &self,
        about: &About<'_>,
        from: Timestamp,
        since: Timestamp,
        (told, seen): (&mut HashSet<String>, &mut HashSet<String>),
    ) -> Result<bool, PullError> {
        let CatchUp { account, history, .. } = &self.catch_up;
        let (service, action) = history.action();
        let About { region, now, .. } = *about;
        let mut token = None;
        for _ in 0..PAGES_MAX {
            let params = history.params(region, (from, now), token.as_deref());
            let answer = self.cloud.read(account, service, action, region, &params).await?;
            let page = history.read(&answer, about, token.as_deref()).map_err(PullError::History)?;
            for event in page.events {
                let id = match &event {
                    Ok(past) if past.event.time < since => continue,
                    Ok(past) => past.event.id.clone(),
                    Err(odd) => odd.id.clone(),
                };
                if !told.contains(&id) {
                    self.hand_on(event, now).await?;
                    told.insert(id.clone());
                }
                seen.insert(id);
            }
            token = page.next;
            if token.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn hand_on(&self, event: Result<Past, Odd>, now: Timestamp) -> Result<(), PullError> {
        let Odd { id, text, problem } = match event {
            Err(odd) => odd,
            Ok(Past { event, body }) => {
                self.accept.accept(vec![event], body.as_bytes(), Trust::Proved).await?;
                return Ok(());
            }
        };
        let event = undecodable(&self.name, &id, &problem, text.len(), now);
        let accepted = self.accept.accept(vec![event], text.as_bytes(), Trust::Proved).await?;
        // The history shows it for weeks, also to the next host.
        if accepted.iter().any(|one| matches!(one, Acceptance::New { .. })) {
            if self.accept.seen.is_first(&self.name, "undecodable") {
                tracing::warn!(
                    source = %self.name, event = id,
                    "the cloud's history has what cannot be read, and it is recorded as it is: {problem}"
                );
            }
            self.accept.seen.count(&self.name, "undecodable", now);
        }
        Ok(())
    }

    /// Since when it catches up: since the first look, which is recorded before anything is handed on.
    async fn since(&self, now: Timestamp) -> Result<Timestamp, PullError> {
        let known = self.accept.store.cursor(&self.name, SINCE).await?;
        if let Some(ms) = known.and_then(|text| text.parse().ok()) {
            return Ok(Timestamp::from_ms(ms));
        }
        let cursor = Cursor { source: self.name.clone(), key: SINCE.to_owned(), value: now.ms().to_string() };
        self.accept.accept_at(Vec::new(), &[], Trust::Proved, Some(cursor)).await?;
        Ok(now)
    }
}

//! What a cloud remembers of its own events, read as notifications: of ECS those that were sent, or should have been; of CVM its
//! maintenance tasks. Leaves asking to the host, and whether a policy has been woken already to the rules of incidents. Each history is
//! tested in its file.

mod ecs;
mod tasks;

use crate::catalog::Provider;
use crate::event::Event;
use crate::id::{Digest, SourceName};
use crate::time::Timestamp;
use std::time::Duration;

/// How far back a history is read, by when something was first told of: as long as ECS remembers, and a task that takes longer is told of
/// until it is this old.
pub const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whose history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// System events of ECS.
    Ecs,
    /// Maintenance tasks of CVM.
    Tasks,
}

/// Of what an answer tells.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The source that the events are of.
    pub source: &'a SourceName,
    /// The number of the account.
    pub owner: &'a str,
    /// The region that was asked.
    pub region: &'a str,
    /// When it was asked.
    pub now: Timestamp,
}

/// One answer.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    /// What has happened, and what cannot be read.
    pub events: Vec<Result<Past, Odd>>,
    /// What the next page is asked for with; there is none after the last.
    pub next: Option<String>,
}

/// A notification that was sent, or should have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// As it is recorded; its time is when the incident came there, as far as the cloud tells.
    pub event: Event,
    /// As the cloud would have sent it, or as it shows it.
    pub body: String,
}

/// What a history has that is not as documented: it is told, and holds nothing else up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// The same whenever it is read.
    pub id: String,
    /// What the cloud said.
    pub text: String,
    /// What is amiss.
    pub problem: String,
}

impl History {
    /// The one that a cloud keeps.
    pub fn of(provider: Provider) -> Self {
        match provider {
            Provider::Alibaba => Self::Ecs,
            Provider::Tencent => Self::Tasks,
        }
    }

    /// The service that is asked, and its action.
    pub fn action(self) -> (&'static str, &'static str) {
        match self {
            Self::Ecs => ("ecs", ecs::ACTION),
            Self::Tasks => ("cvm", tasks::ACTION),
        }
    }

    /// The parameters of the call for what was first told of in `region` between `since` and `now`: of its first page, or of that which
    /// `next` names.
    pub fn params(self, region: &str, (since, now): (Timestamp, Timestamp), next: Option<&str>) -> String {
        match self {
            Self::Ecs => ecs::params(region, since, next),
            Self::Tasks => tasks::params((since, now), next),
        }
    }

    /// Reads an answer to a call with those parameters.
    ///
    /// # Errors
    /// Where all of it is not as documented.
    pub fn read(self, answer: &str, about: &About<'_>, next: Option<&str>) -> Result<Page, String> {
        match self {
            Self::Ecs => ecs::read(answer, about),
            Self::Tasks => tasks::read(answer, about, next),
        }
    }
}

impl Page {
    fn take(&mut self, id: Option<&str>, read: Result<Event, String>, body: String) {
        let id = || id.map_or_else(|| Digest::of(body.as_bytes()).to_string(), str::to_owned);
        self.events.push(match read {
            Ok(event) => Ok(Past { event, body }),
            Err(problem) => Err(Odd { id: id(), problem, text: body }),
        });
    }
}

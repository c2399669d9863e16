//! Where guests run: in this process, or in the runner. Both take the same plugins and give the same ends. Leaves the one to
//! `engine` and `compile`, the other to `runner`.

use super::engine::{Engine, Limits, Revision};
use super::judge::RefusedPlugin;
use super::{Ended, GuestCalls, RunContext};
use crate::runner::Runner;
use opsward_core::event::Event;
use opsward_core::id::Digest;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Where guests run. Cheap to clone.
#[derive(Clone)]
pub enum Guests {
    /// In this process, which then holds keys and guests.
    Here(Engine),
    /// In a process that holds nothing else.
    Apart(Arc<Runner>),
}

impl From<Engine> for Guests {
    fn from(engine: Engine) -> Self {
        Self::Here(engine)
    }
}

impl From<Arc<Runner>> for Guests {
    fn from(runner: Arc<Runner>) -> Self {
        Self::Apart(runner)
    }
}

impl Guests {
    /// The bounds of guests.
    pub fn limits(&self) -> &Limits {
        match self {
            Self::Here(engine) => engine.limits(),
            Self::Apart(runner) => runner.limits(),
        }
    }

    /// Makes a revision of a plugin's bytes.
    pub async fn compile(&self, bytes: Vec<u8>) -> Result<Revision, RefusedPlugin> {
        match self {
            Self::Here(engine) => engine.compile(bytes).await,
            Self::Apart(runner) => runner.compile(bytes).await,
        }
    }

    /// The revision with that digest as it was kept when it was compiled first; `None` where it was not, or is not
    /// whole.
    pub async fn load_pinned(&self, digest: Digest) -> Result<Option<Revision>, RefusedPlugin> {
        match self {
            Self::Here(engine) => engine.load_pinned(digest).await,
            Self::Apart(runner) => runner.load_pinned(digest).await,
        }
    }

    /// Takes over from the cache at `from` the revision with that digest, for `load_pinned` to find.
    pub fn take_over(&self, from: &Path, digest: &Digest) -> io::Result<()> {
        match self {
            Self::Here(engine) => engine.take_over(from, digest),
            Self::Apart(runner) => runner.take_over(from, digest),
        }
    }

    /// Forgets compiled code that belongs to none of `keep`. Gives the number of files removed.
    pub fn prune_cache(&self, keep: &HashSet<Digest>) -> io::Result<usize> {
        match self {
            Self::Here(engine) => engine.prune_cache(keep),
            Self::Apart(runner) => runner.prune_cache(keep),
        }
    }

    /// Has a plugin be where guests run before its first run; what fails is told by that.
    pub async fn warm(&self, revision: &Revision) {
        match self {
            Self::Here(_) => {}
            Self::Apart(runner) => runner.warm(revision).await,
        }
    }

    /// Runs `handle(event)` of a plugin in a fresh instance until it ends. The caller sees to it that no more than
    /// `limits().instances` run at a time. `calls` comes back however the run ended.
    pub async fn run<C: GuestCalls>(
        &self,
        revision: &Revision,
        event: &Event,
        context: RunContext,
        calls: C,
    ) -> (Ended, C) {
        match self {
            Self::Here(engine) => engine.run(revision, event, context, calls).await,
            Self::Apart(runner) => runner.run(revision, event, context, calls).await,
        }
    }
}

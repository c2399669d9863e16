//! Plugins: the engine that runs them, the imports they see, and the registry of revisions loaded from the plugins
//! directory. Leaves matching, claiming and calling clouds to others.

mod bindings;
mod cache;
pub mod compile;
pub mod compiler;
pub mod engine;
mod guest;
pub mod guests;
pub(crate) mod imports;
pub mod judge;
pub(crate) mod lane;
pub mod registry;
mod ticker;
mod wasi;

use opsward_core::id::{PolicyName, RunId};
use opsward_core::run::{Failure, Fault, HostReply, HostRequest, Mode, Outcome, Stop};
use opsward_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;

/// The broker's side of a running guest: everything the guest asks of the outside goes through here.
pub trait GuestCalls: Send + 'static {
    /// Answers one import call, or ends the guest.
    fn perform(&mut self, request: HostRequest) -> impl Future<Output = Result<HostReply, Stop>> + Send;
    /// The run's time: that of its latest ledger record.
    fn now(&self) -> Timestamp;
}

/// What the engine tells a guest about its run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunContext {
    /// The run; also the seed of the guest's random numbers.
    pub run: RunId,
    /// Whose run it is.
    pub policy: PolicyName,
    /// 1 for the first try.
    pub attempt: u32,
    /// How effects are treated.
    pub mode: Mode,
    /// The operator's config as JSON text.
    pub config: Arc<str>,
}

/// How one claim of a run ended inside the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// `handle` returned an outcome.
    Done(Outcome),
    /// `handle` returned a failure.
    Failed(Failure),
    /// The broker ended it.
    Stopped(Stop),
    /// A bound of the sandbox ended it, or the guest trapped.
    Faulted(Fault),
    /// The process that had it died.
    Crashed {
        /// How, in one line.
        how: String,
    },
}

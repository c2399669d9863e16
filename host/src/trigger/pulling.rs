//! What sources that the host fetches from have in common: why fetching fails, and how often that is told.

use crate::store::StoreError;
use opsward_core::call::CallError;
use opsward_core::id::SourceName;
use opsward_core::source::AnswerError;

use super::http::chain;

/// Why something was not fetched, recorded or deleted.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error("{} ({})", .0.message, .0.code)]
    NoAnswer(CallError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("the history cannot be read: {0}")]
    History(String),
    #[error(
        "there is more than {pages} pages: of {of}, events that stand behind them may be passed over, unless somebody looks in the \
         cloud's console"
    )]
    TooLong { pages: usize, of: &'static str },
    #[error("cannot be recorded")]
    Record(#[from] StoreError),
}

impl From<CallError> for PullError {
    fn from(error: CallError) -> Self {
        Self::NoAnswer(error)
    }
}

/// Whether the last try failed: that is told when it begins and when it ends, not at each try between.
#[derive(Default)]
pub(super) struct Reported {
    is_failing: bool,
}

impl Reported {
    pub(super) fn tell(&mut self, source: &SourceName, from: &str, problem: Option<&PullError>) {
        match problem {
            None if self.is_failing => tracing::info!(%source, from, "fetched from again"),
            None => {}
            Some(problem) if self.is_failing => {
                tracing::debug!(%source, from, "still cannot be fetched from: {}", chain(problem));
            }
            Some(problem) => {
                tracing::warn!(%source, from, "cannot be fetched from, and is tried again: {}", chain(problem));
            }
        }
        self.is_failing = problem.is_some();
    }
}

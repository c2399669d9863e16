//! Why a delivery is not recorded: as it is answered, counted and told. Leaves finding out to `http`.

use crate::cloud::CertificateError;
use crate::store::StoreError;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse as _, Response};
use opsward_core::event::{BODY_BYTES_MAX, DecodeError};
use opsward_core::id::SourceName;
use opsward_core::sender::Unproved;
use serde_json::json;
use std::error::Error;
use std::time::Duration;

/// Seconds a sender is asked to wait after a 503: a commit takes milliseconds, a full disk longer than anybody waits.
const RETRY_AFTER_SECONDS: u64 = 2;

/// Why a delivery is not recorded.
#[derive(Debug)]
pub(super) enum Refusal {
    NotFound,
    Elsewhere,
    TooFast(Duration),
    TooMany,
    Busy,
    TooSlow,
    TooLarge,
    Unreadable(String),
    Unproved(Unproved),
    Uncertified(CertificateError),
    Decode(DecodeError),
    Store(StoreError),
    StoreSlow,
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<Unproved> for Refusal {
    fn from(unproved: Unproved) -> Self {
        Self::Unproved(unproved)
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Elsewhere => StatusCode::FORBIDDEN,
            Self::TooFast(_) | Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unreadable(_) | Self::Decode(_) => StatusCode::BAD_REQUEST,
            Self::Unproved(_) => StatusCode::UNAUTHORIZED,
            Self::Busy | Self::Uncertified(_) | Self::Store(_) | Self::StoreSlow => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// As it is counted.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Elsewhere => "address",
            Self::TooFast(_) => "rate",
            Self::TooMany => "too-many",
            Self::Busy => "busy",
            Self::TooSlow => "too-slow",
            Self::TooLarge => "too-large",
            Self::Unreadable(_) | Self::Decode(_) => "malformed",
            Self::Unproved(_) => "unproved",
            Self::Uncertified(_) => "no-certificate",
            Self::Store(_) | Self::StoreSlow => "unavailable",
        }
    }

    /// As the sender reads it. What ails the store is the operator's to know.
    fn message(&self) -> String {
        match self {
            Self::NotFound => "not found".to_owned(),
            Self::Elsewhere => "this source takes nothing from your address".to_owned(),
            Self::TooFast(_) => "more than this source's rate: send the event again later".to_owned(),
            Self::TooMany => "too many requests of this source at once: send the event again".to_owned(),
            Self::Busy => "too many requests at once".to_owned(),
            Self::TooSlow => "the body did not arrive in time".to_owned(),
            Self::TooLarge => format!("the body is larger than {BODY_BYTES_MAX} bytes"),
            Self::Unreadable(problem) => problem.clone(),
            Self::Unproved(unproved) => unproved.to_string(),
            Self::Uncertified(_) => CertificateError::NotNow.to_string(),
            Self::Decode(error) => chain(error),
            Self::Store(StoreError::Full) => "the host's disk is full: nothing was recorded".to_owned(),
            Self::Store(_) => "the host cannot record events now".to_owned(),
            Self::StoreSlow => {
                "recording takes too long: it may still succeed, send the event again".to_owned()
            }
        }
    }

    /// Tells the operator, in the log.
    pub(super) fn tell(&self, source: &SourceName) {
        match self {
            Self::Store(error) => tracing::error!(%source, error = chain(error), "events not recorded"),
            Self::Uncertified(error) => tracing::warn!(%source, reason = %error, "delivery refused"),
            _ => tracing::warn!(%source, reason = self.message(), "delivery refused"),
        }
    }

    pub(super) fn into_response(self) -> Response {
        let mut body = json!({ "error": self.message() });
        if let Self::Decode(error) = &self
            && let Some((line, column)) = error.position()
        {
            body["line"] = line.into();
            body["column"] = column.into();
        }
        let mut response = answer(self.status(), &body);
        let headers = response.headers_mut();
        match (self.status(), &self) {
            (_, Self::TooFast(wait)) => {
                // Whole seconds, and never so few that the sender is refused again.
                headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            }
            (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, _) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            (StatusCode::UNAUTHORIZED, _) => {
                // Some senders hold BasicAuth back until they are asked.
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"opsward\""));
            }
            _ => {}
        }
        response
    }
}

pub(super) fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// The error with its causes, in one line.
pub(in crate::trigger) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

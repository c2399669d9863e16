//! A vendor's HTTP answer, judged: did the call take place, did it certainly not, or is that unclear? By the content,
//! since content types lie. Leaves what an error code says to `catalog`, timeouts and resets to the client (unclear), and what to
//! do next to the broker. Tested by the tables below.

mod alibaba;
mod tencent;

use crate::call::{CallError, CallReply, CallResponse, ErrorKind};
use crate::catalog::{self, Meaning, Provider};
use crate::event::json;
use crate::secret::Secret;
use serde_json::Value;
use std::time::Duration;

/// Longest answer taken, in bytes: a page of 100 instances is about 300 KiB, and what a policy can be given is 4 MiB.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;
/// Deepest nesting of an answer that is taken: the vendors' have fewer than ten levels, and policies read them by recursion.
pub const RESPONSE_DEPTH_MAX: usize = 64;
/// Longest vendor message kept, in bytes: it goes into ledgers and logs.
pub const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// Longest wait a vendor may ask for: limits are counted by the minute.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// An answer as received, and to what.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The service that was called.
    pub service: &'a str,
    /// The action that was called.
    pub action: &'a str,
    /// HTTP status.
    pub status: u16,
    /// The body, complete.
    pub body: &'a [u8],
    /// `x-acs-request-id`, where present.
    pub request_id: Option<&'a str>,
    /// `x-acs-retry-after` in milliseconds, where present.
    pub retry_after_ms: Option<u64>,
    /// What the client signed, to tell a wrong secret from a wrong signature.
    pub string_to_sign: &'a str,
}

/// What an answer, or its absence, says about the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The cloud decided: done, or refused for good.
    Answered(CallReply),
    /// The cloud certainly did not carry it out, and the same call may be sent again after the remedy.
    NotExecuted {
        /// What the policy is told if nobody sends it again.
        error: CallError,
        /// How long to wait first, where the cloud says so or it is known.
        retry_after: Option<Duration>,
        /// What to do first.
        remedy: Remedy,
    },
    /// It may or may not have taken place.
    Unclear {
        /// What the policy is told if nothing settles it.
        error: CallError,
    },
}

impl Verdict {
    /// The same without `secrets`: vendors repeat bad values in their messages, and these go to policies, ledgers and logs.
    pub fn concealing<'a>(mut self, secrets: impl Iterator<Item = &'a Secret>) -> Self {
        for secret in secrets {
            let quoted = Value::from(secret.expose()).to_string();
            for form in
                [secret.expose(), quoted.trim_matches('"')].into_iter().filter(|form| !form.is_empty())
            {
                for text in self.texts().into_iter().filter(|text| text.contains(form)) {
                    *text = text.replace(form, "[secret]");
                }
            }
        }
        self
    }

    fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Self::Answered(Ok(response)) => vec![&mut response.request_id, &mut response.body],
            Self::Answered(Err(error)) | Self::NotExecuted { error, .. } | Self::Unclear { error } => {
                [Some(&mut error.code), Some(&mut error.message), error.request_id.as_mut()]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        }
    }
}

/// What to do before a call is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Wait: the rate limit is met, or there was no way to the cloud.
    Wait,
    /// Sign again with the corrected time.
    Resign,
    /// Wait, then send with the same token: the first sending with it is still at work.
    RepeatToken,
    /// Get fresh credentials; where they are fixed it cannot help.
    RefreshCredentials,
}

/// Judges an answer of `provider`.
pub fn judge(provider: Provider, answer: &Answer<'_>) -> Verdict {
    let text = std::str::from_utf8(answer.body).unwrap_or_default();
    match provider {
        _ if json::deeper_than(RESPONSE_DEPTH_MAX, text).is_some() => foreign(answer),
        Provider::Alibaba => alibaba::judge(answer),
        Provider::Tencent => tencent::judge(answer),
    }
}

/// `Unclear`, for a send that ended without an answer; `code` is an `opsward.*` code.
pub fn no_answer(code: &str, message: &str) -> Verdict {
    Verdict::Unclear { error: unavailable(code, message) }
}

/// `NotExecuted`, for a send that ended before the request left this machine.
pub fn not_sent(code: &str, message: &str) -> Verdict {
    Verdict::NotExecuted { error: unavailable(code, message), retry_after: None, remedy: Remedy::Wait }
}

fn unavailable(code: &str, message: &str) -> CallError {
    CallError {
        kind: ErrorKind::Unavailable,
        code: code.into(),
        message: message.into(),
        request_id: None,
        retryable: true,
    }
}

/// A vendor's error, as found in the body.
struct VendorError<'a> {
    code: &'a str,
    message: &'a str,
    request_id: Option<&'a str>,
    /// The whole answer as JSON, for a dry run that passed.
    body: &'a str,
}

/// What the error says by its code. A server that failed may have carried the call out, whatever it calls the failure, unless
/// the code is one that is known to say that nothing was done. A code that nothing is known of is a refusal only where the
/// status, or the number that is the code, says that the request was at fault.
fn meaning(provider: Provider, code: &str, answer: &Answer<'_>) -> Meaning {
    let known = catalog::meaning(provider, answer.service, answer.action, code);
    let status = code.parse().unwrap_or(answer.status).max(answer.status);
    match known {
        Some(means) if means.is_refusal() && status >= 500 => Meaning::Unclear,
        Some(means) => means,
        None if (400..500).contains(&status) => Meaning::Failed,
        None => Meaning::Unclear,
    }
}

fn verdict(means: Meaning, found: &VendorError<'_>, answer: &Answer<'_>) -> Verdict {
    use ErrorKind::{Conflict, Failed, Invalid, NotFound, Throttled, Unauthorized, Unavailable};
    let request_id = found.request_id.or(answer.request_id).map(str::to_owned);
    let error = |kind| CallError {
        kind,
        code: found.code.to_owned(),
        message: cut(found.message),
        request_id: request_id.clone(),
        retryable: means.is_retryable(),
    };
    let refused = |kind| Verdict::Answered(Err(error(kind)));
    let not_executed = |kind, remedy| {
        let asked = answer.retry_after_ms.map(|ms| Duration::from_millis(ms).min(RETRY_AFTER_MAX));
        Verdict::NotExecuted { error: error(kind), retry_after: asked, remedy }
    };
    match means {
        Meaning::Wait => not_executed(Throttled, Remedy::Wait),
        Meaning::RepeatToken => not_executed(Conflict, Remedy::RepeatToken),
        Meaning::Resign => not_executed(Unauthorized, Remedy::Resign),
        Meaning::RefreshCredentials => not_executed(Unauthorized, Remedy::RefreshCredentials),
        Meaning::Unclear => Verdict::Unclear { error: error(Unavailable) },
        Meaning::DryRunPassed => Verdict::Answered(Ok(CallResponse {
            request_id: request_id.unwrap_or_default(),
            body: found.body.to_owned(),
            simulated: false,
        })),
        Meaning::Conflict => refused(Conflict),
        Meaning::NotFound => refused(NotFound),
        Meaning::Invalid => refused(Invalid),
        Meaning::Unauthorized => refused(Unauthorized),
        Meaning::Failed => refused(Failed),
    }
}

/// For an answer in no form the vendor uses: a proxy's or a gateway's. Only a rate limit is certain to have kept the
/// call from being carried out.
fn foreign(answer: &Answer<'_>) -> Verdict {
    let message = format!("HTTP status {} with a body that is not the vendor's", answer.status);
    let found =
        VendorError { code: "opsward.unreadable-answer", message: &message, request_id: None, body: "" };
    let meaning = match answer.status {
        429 => Meaning::Wait,
        _ => Meaning::Unclear,
    };
    verdict(meaning, &found, answer)
}

fn cut(message: &str) -> String {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

#[cfg(test)]
mod tests;

//! Tencent's answers: status 200 with `{"Response": {..., "RequestId"}}`, where `Error` inside means refused.

use super::{Answer, Meaning, Remedy, VendorError, Verdict, foreign, is_in, verdict};
use crate::call::{CallResponse, ErrorKind};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "Response", borrow)]
    response: &'a RawValue,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "Error")]
    error: Option<Refusal>,
    #[serde(rename = "RequestId")]
    request_id: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

pub(super) fn judge(answer: &Answer<'_>) -> Verdict {
    let text = std::str::from_utf8(answer.body).unwrap_or_default();
    let Ok(Envelope { response: raw }) = serde_json::from_str(text) else { return foreign(answer) };
    let is_object = raw.get().starts_with('{');
    let Some(response) = is_object.then(|| serde_json::from_str::<Response>(raw.get()).ok()).flatten() else {
        return foreign(answer);
    };
    match response.error {
        Some(refusal) => {
            let found = VendorError {
                code: &refusal.code,
                message: &refusal.message,
                request_id: response.request_id.as_deref(),
                body: raw.get(),
            };
            let meaning = match meaning(&refusal.code) {
                // The service answers with 200 only.
                Meaning::Refused(_) if answer.status >= 500 => Meaning::Unclear,
                meaning => meaning,
            };
            verdict(meaning, &found, answer)
        }
        // Anything but 200 is the gateway's own trouble, whatever it says.
        None if answer.status != 200 => foreign(answer),
        None => Verdict::Answered(Ok(CallResponse {
            request_id: response.request_id.unwrap_or_default(),
            body: raw.get().to_owned(),
            simulated: false,
        })),
    }
}

fn meaning(code: &str) -> Meaning {
    use ErrorKind::{Conflict, Failed, Invalid, NotFound, Throttled, Unauthorized};
    if is_in(code, &["RequestLimitExceeded"]) {
        return Meaning::NotExecuted(Throttled, Remedy::Wait);
    }
    if is_in(code, &["InternalError", "InternalServerError", "ServiceUnavailable"]) {
        return Meaning::Unclear;
    }
    if code == "DryRunOperation" {
        return Meaning::DryRunPassed;
    }
    if is_in(code, &["AuthFailure.SignatureExpire"]) {
        return Meaning::NotExecuted(Unauthorized, Remedy::Resign);
    }
    if is_in(code, &["UnauthorizedOperation", "AuthFailure.UnauthorizedOperation"]) {
        return Meaning::Refused(Unauthorized);
    }
    if is_in(code, &["AuthFailure"]) {
        return Meaning::NotExecuted(Unauthorized, Remedy::RefreshCredentials);
    }
    Meaning::Refused(match code {
        _ if code.ends_with("NotFound")
            || code.ends_with("NotExist")
            || is_in(code, &["ResourceNotFound"]) =>
        {
            NotFound
        }
        _ if is_in(code, &STATE) || code.starts_with("UnsupportedOperation.InstanceState") => Conflict,
        _ if is_in(code, &["LimitExceeded", "ResourceInsufficient"]) => Failed,
        _ if ["Invalid", "Missing", "Unknown", "Unsupported", "NoSuch"]
            .iter()
            .any(|p| code.starts_with(p)) =>
        {
            Invalid
        }
        _ => Failed,
    })
}

/// The resource's state does not allow it, or something else is being done to it.
const STATE: [&str; 5] =
    ["MutexOperation", "OperationDenied", "ResourceUnavailable", "ResourceBusy", "ResourceInUse"];

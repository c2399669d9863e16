//! Alibaba's answers: JSON `{RequestId, HostId, Code, Message}` with 4xx or 5xx, and for CloudMonitor also with 200.

use super::{Answer, Meaning, Remedy, VendorError, Verdict, foreign, is_in, verdict};
use crate::call::{CallResponse, ErrorKind};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "RequestId", alias = "requestId", default)]
    request_id: Value,
    #[serde(rename = "Code", alias = "code", default)]
    code: Value,
    #[serde(rename = "Message", alias = "message", default)]
    message: Value,
    #[serde(rename = "Success", alias = "success", default)]
    success: Value,
}

pub(super) fn judge(answer: &Answer<'_>) -> Verdict {
    let Ok(text) = std::str::from_utf8(answer.body) else { return foreign(answer) };
    let is_object = text.trim_start().starts_with('{');
    let Some(body) = is_object.then(|| serde_json::from_str::<Body>(text).ok()).flatten() else {
        return foreign(answer);
    };
    let request_id = body.request_id.as_str();
    // CloudMonitor says `"Success": false` with status 200; elsewhere the field is absent.
    let is_refusal =
        body.success == false || body.success.as_str().is_some_and(|s| s.eq_ignore_ascii_case("false"));
    if (200..300).contains(&answer.status) && !is_refusal {
        return Verdict::Answered(Ok(CallResponse {
            request_id: request_id.or(answer.request_id).unwrap_or_default().to_owned(),
            body: text.to_owned(),
            simulated: false,
        }));
    }
    let code = match &body.code {
        Value::String(code) => code.clone(),
        Value::Number(number) => number.to_string(),
        _ => return foreign(answer),
    };
    let (code, message) = explain(&code, body.message.as_str().unwrap_or_default(), answer);
    let found = VendorError { code, message: &message, request_id, body: text };
    verdict(meaning(code, answer.status), &found, answer)
}

/// A mismatching signature comes with the server's string to sign, which holds the session token: it goes no further.
/// Where it equals what was signed, the secret is wrong.
fn explain<'a>(code: &'a str, message: &str, answer: &Answer<'_>) -> (&'a str, String) {
    if code != "SignatureDoesNotMatch" && code != "IncompleteSignature" {
        return (code, message.to_owned());
    }
    const LEAD: &str = "server string to sign is:";
    let is_same = !answer.string_to_sign.is_empty()
        && message.split_once(LEAD).is_some_and(|(_, theirs)| theirs.trim() == answer.string_to_sign.trim());
    if is_same {
        return (code, "the access key secret does not belong to the access key id".to_owned());
    }
    (code, message.split("server string to sign").next().unwrap_or_default().trim_end().to_owned())
}

fn meaning(code: &str, status: u16) -> Meaning {
    use ErrorKind::{Conflict, Failed, Invalid, NotFound, Throttled, Unauthorized};
    if is_in(code, &["Throttling"]) {
        return Meaning::NotExecuted(Throttled, Remedy::Wait);
    }
    if is_in(code, &["LastTokenProcessing", "IdempotentProcessing"]) {
        return Meaning::NotExecuted(Conflict, Remedy::RepeatToken);
    }
    if is_in(code, &["InvalidTimeStamp", "IllegalTimestamp"]) {
        return Meaning::NotExecuted(Unauthorized, Remedy::Resign);
    }
    // Each send has a nonce of its own, so a used one means that this very request arrived twice: the other copy,
    // whose answer is lost, may have been carried out.
    if is_in(code, &["SignatureNonceUsed", "InternalError", "UnknownError", "ServiceUnavailable"]) {
        return Meaning::Unclear;
    }
    if is_in(code, &CREDENTIALS) {
        return Meaning::NotExecuted(Unauthorized, Remedy::RefreshCredentials);
    }
    if code == "DryRunOperation" {
        return Meaning::DryRunPassed;
    }
    if status >= 500 || code.parse::<u16>().is_ok_and(|number| number >= 500) {
        return Meaning::Unclear;
    }
    Meaning::Refused(match code {
        _ if is_in(code, &["Forbidden", "NoPermission", "NotAuthorized", "AccessDenied"]) => Unauthorized,
        _ if is_in(code, &["QuotaExceed", "QuotaExceeded"]) => Failed,
        _ if is_in(code, &STATE) => Conflict,
        _ if code.ends_with("NotFound") || code.ends_with("NotExist") || is_in(code, &["EntityNotExist"]) => {
            NotFound
        }
        _ if ["Invalid", "Missing", "Illegal", "Unsupported"].iter().any(|p| code.starts_with(p)) => Invalid,
        "400" => Invalid,
        "403" => Unauthorized,
        "404" => NotFound,
        "409" => Conflict,
        _ => Failed,
    })
}

/// The key, its secret or its session token is not taken.
const CREDENTIALS: [&str; 7] = [
    "InvalidSecurityToken",
    "MissingSecurityToken",
    "InvalidAccessKeyId",
    "InvalidAccessKeySecret",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "InvalidCredentials",
];

/// The resource's state does not allow it, or something else is being done to it.
const STATE: [&str; 16] = [
    "IncorrectInstanceStatus",
    "IncorrectDiskStatus",
    "IncorrectSnapshotStatus",
    "IncorrectImageStatus",
    "IncorrectStatus",
    "IncorrectScalingGroupStatus",
    "IncorrectCapacity",
    "IdempotentParameterMismatch",
    "OperationConflict",
    "OperationDenied",
    "InstanceLockedForSecurity",
    "InstanceNotReady",
    "DiskCreatingSnapshot",
    "ScalingActivityInProgress",
    "DependencyViolation",
    "ResourceInUse",
];

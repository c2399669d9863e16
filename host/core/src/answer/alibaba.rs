//! Alibaba's answers: JSON `{RequestId, HostId, Code, Message}` with 4xx or 5xx, and for CloudMonitor also with 200.

use super::{Answer, VendorError, Verdict, foreign, meaning, verdict};
use crate::call::CallResponse;
use crate::catalog::Provider;
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
    verdict(meaning(Provider::Alibaba, code, answer), &found, answer)
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

//! Tencent's answers: status 200 with `{"Response": {..., "RequestId"}}`, where `Error` inside means refused.

use super::{Answer, VendorError, Verdict, foreign, meaning, verdict};
use crate::call::CallResponse;
use crate::catalog::Provider;
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
            verdict(meaning(Provider::Tencent, &refusal.code, answer), &found, answer)
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

//! One signed request over the wire, once, and its bounded answer. Says of each failure whether the cloud may have got the request.
//! Leaves signing and judging to `client` and `pull`, and where connections go to `egress`. Tested in `client/tests.rs`.

use super::client::refuse;
use super::egress::{self, Clients};
use opsward_core::answer::{Verdict, no_answer, not_sent};
use opsward_core::endpoint::Endpoint;
use opsward_core::sign::SignedRequest;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use zeroize::Zeroizing;

/// Sends `request`; `Err` says what became of it where there is no answer.
pub(super) async fn send(
    clients: &Clients,
    endpoint: &Endpoint,
    request: &SignedRequest,
) -> Result<Response, Verdict> {
    let elsewhere = || format!("the request to {endpoint} would go elsewhere");
    let (client, url) =
        clients.to(endpoint, &request.url).ok_or_else(|| refuse("opsward.invalid-request", elsewhere()))?;
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for (name, value) in &request.headers {
        let unsendable = || format!("the value of header `{name}` cannot be sent");
        let mut value =
            HeaderValue::from_str(value).map_err(|_| refuse("opsward.invalid-header", unsendable()))?;
        value.set_sensitive(true);
        headers.insert(*name, value);
    }
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| refuse("opsward.invalid-request", format!("`{}` is no method", request.method)))?;
    let sent = client.request(method, url).headers(headers).body(request.body.clone()).send().await;
    sent.map_err(|error| judge_failure(&error, endpoint))
}

/// Without a connection nothing was sent. Everything else may have reached the cloud. The error's own text is not used:
/// it holds the URL, and the URL holds parameters.
fn judge_failure(error: &reqwest::Error, endpoint: &Endpoint) -> Verdict {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let host = endpoint.authority();
    if error.is_builder() {
        return refuse("opsward.invalid-request", format!("the request to {host} cannot be built"));
    }
    if let Some(refused) = egress::refused(error) {
        return not_sent("opsward.forbidden-address", &refused.to_string());
    }
    if error.is_connect() {
        return not_sent("opsward.no-connection", &format!("cannot connect to {host}: {cause}"));
    }
    no_answer("opsward.no-answer", &format!("the connection to {host} broke before the answer: {cause}"))
}

/// The body, of at most `bytes_max`; zeroed when dropped, since a token service's holds a credential.
pub(super) async fn read_body(
    mut response: Response,
    bytes_max: usize,
) -> Result<Zeroizing<Vec<u8>>, Verdict> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut body = Zeroizing::new(Vec::with_capacity(announced.min(bytes_max)));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= bytes_max => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let message = format!("the answer is longer than {bytes_max} bytes: ask for smaller pages");
                return Err(no_answer("opsward.answer-too-large", &message));
            }
            Ok(None) => return Ok(body),
            Err(_) => return Err(no_answer("opsward.answer-cut", "the connection broke within the answer")),
        }
    }
}

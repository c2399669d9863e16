//! Takes a notification to whom it is for: an address, a queue or a log store. Leaves what it says to `emit` and `cms`. Tested by
//! `tests/tests/it/sim.rs` and `setup.rs`.

use crate::cms::Sent;
use crate::emit::Form;
use crate::queues::NoQueue;
use crate::server::Simulator;
use opsward_core::sign::keyed_hash::base64;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// CloudMonitor gives a receiver five seconds.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// One push and CloudMonitor's three retries.
const PUSHES_MAX: usize = 4;
/// Shorter than the real one, so that nobody waits for it.
const PUSH_PAUSE: Duration = Duration::from_millis(200);

/// What pushes to addresses.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    // An empty TLS configuration: receivers are plain HTTP, and reqwest wants one all the same.
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map(|config| config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    let builder = reqwest::Client::builder().no_proxy().timeout(PUSH_TIMEOUT);
    match tls {
        Ok(tls) => builder.tls_backend_preconfigured(tls),
        Err(_) => builder,
    }
    .build()
}

/// Takes `body` to an address, to `mns:<queue>` or to `sls:<log store>`; what each try was answered.
pub(crate) async fn deliver(sim: &Simulator, client: &reqwest::Client, to: &str, body: &Value) -> Vec<Value> {
    match to.split_once(':') {
        Some(("mns", queue)) => enqueue(sim, queue, body),
        Some(("sls", store)) => write(sim, store, body),
        _ => push(client, to, body).await,
    }
}

/// Sends the test events that were asked for, after the answer to who asked.
pub(crate) fn send_test_events(sim: &Arc<Simulator>) {
    let sent = std::mem::take(&mut sim.cloud().sent);
    if sent.is_empty() {
        return;
    }
    let sim = sim.clone();
    tokio::spawn(async move {
        let Ok(client) = client() else { return };
        for Sent { to, body } in sent {
            for subscriber in to {
                let mut body = body.clone();
                if subscriber.form == Form::UrlCallback {
                    body["content"] = body["content"].to_string().into();
                }
                let answers = deliver(&sim, &client, &subscriber.url, &body).await;
                // An address may hold a token.
                tracing::debug!(?answers, "a test event is sent");
            }
        }
    });
}

/// CloudMonitor's messages are in base64, as the vendor's own clients send them.
fn enqueue(sim: &Simulator, queue: &str, body: &Value) -> Vec<Value> {
    let body = base64(body.to_string().as_bytes());
    match sim.queues.send(queue, body, &sim.ids, sim.clock.now()) {
        Ok(_) => vec![201.into()],
        Err(NoQueue) => vec![404.into()],
    }
}

/// In a log store all values are texts.
fn write(sim: &Simulator, store: &str, body: &Value) -> Vec<Value> {
    let now = sim.clock.now();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut record: Map<String, Value> = body
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), text(value).into()))
        .collect();
    record.insert("__time__".to_owned(), now.seconds().into());
    vec![if sim.logs.write(store, record, now) { 200.into() } else { 404.into() }]
}

async fn push(client: &reqwest::Client, url: &str, body: &Value) -> Vec<Value> {
    let mut answers = Vec::new();
    for attempt in 0..PUSHES_MAX {
        if attempt > 0 {
            tokio::time::sleep(PUSH_PAUSE).await;
        }
        let sending = client.post(url).header("content-type", "application/json; charset=UTF-8");
        match sending.body(body.to_string()).send().await {
            Ok(response) => {
                answers.push(response.status().as_u16().into());
                if response.status().is_success() {
                    break;
                }
            }
            Err(error) => answers.push(json!(error.without_url().to_string())),
        }
    }
    answers
}

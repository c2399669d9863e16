//! MNS, Alibaba's message queues: send, receive by long poll, delete, one by one and in batches; signatures checked, faults injected
//! like those of every call, and polls cut short as above the vendor's cap (`poll-cap`). Leaves what is in a queue to `queues`.
//! `MessageBodyMD5` is left out. Tested by `tests/tests/it/sim/mns.rs`.

use crate::answer::{ApiError, respond, xml_text};
use crate::faults::{FaultKind, Taken};
use crate::queues::{Message, NoQueue};
use crate::request::{Asked, Inbound, Product};
use crate::server::{Simulator, Worked};
use crate::verify::{self, Doubt};
use axum::body::Body;
use axum::http::{HeaderValue, Response};
use opsward_core::sign::SignatureKind;
use opsward_core::sign::encoding::split;
use serde_json::{Map, json};
use std::time::Duration;

/// Longest wait for a message, and most messages in one answer: the vendor's limits.
const WAIT_MAX_SECONDS: u64 = 30;
const BATCH_MAX: usize = 16;
/// How often a poll that waits looks for messages that have become visible by time alone.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const NAMESPACE: &str = "xmlns=\"http://mns.aliyuncs.com/doc/v1/\"";

/// What is asked of which queue.
struct Ask {
    queue: String,
    verb: Verb,
}

enum Verb {
    Receive { batch: bool, max: usize, wait: Duration },
    Delete { batch: bool, handles: Vec<String> },
    Send { body: String },
}

impl Verb {
    fn action(&self) -> &'static str {
        match self {
            Self::Receive { batch: false, .. } => "ReceiveMessage",
            Self::Receive { batch: true, .. } => "BatchReceiveMessage",
            Self::Delete { batch: false, .. } => "DeleteMessage",
            Self::Delete { batch: true, .. } => "BatchDeleteMessage",
            Self::Send { .. } => "SendMessage",
        }
    }
}

/// What is answered: a status with a document, or a refusal.
type Answered = Result<(u16, String), ApiError>;

/// Whether a request is for a queue.
pub(crate) fn is_for(inbound: &Inbound) -> bool {
    inbound.path().starts_with("/queues/")
}

/// Everything about a request except sending the answer.
pub(crate) async fn work(sim: &Simulator, inbound: &Inbound) -> Worked {
    let now = sim.clock.now();
    let read = Ask::read(inbound);
    let asked = asked(&read);
    let scheme = (SignatureKind::AlibabaMns, refusal as fn(Doubt) -> ApiError);
    let (verdict, skew, taken) = verify::judge(sim, inbound, &asked, read.is_ok(), scheme, now);
    let request_id = sim.ids.word(24).to_ascii_uppercase();
    let answered = match (&verdict.outcome, &read) {
        (Err(refused), _) | (_, Err(refused)) => Err(refused.clone()),
        (Ok(key), Ok(_)) if !key.may(&format!("mns:{}", asked.action)) => Err(not_allowed()),
        (Ok(_), Ok(ask)) => carry_out(sim, ask, &taken).await,
    };
    let outcome = match &answered {
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(error.clone()),
    };
    sim.record(inbound, &verdict, &asked, &request_id, now, &outcome, taken.shown());
    let mut response = match answered {
        Ok((status, document)) => respond(status, "text/xml;charset=utf-8", document),
        Err(error) => refused(&error, &request_id, inbound.host()),
    };
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-mns-request-id", value);
    }
    if !skew.is_zero() || sim.clock.is_moved() {
        sim.show_date(&mut response, skew);
    }
    Worked { response, fault: taken.fault }
}

async fn carry_out(sim: &Simulator, ask: &Ask, taken: &Taken) -> Answered {
    let refusal = taken.kind().and_then(fault);
    if taken.kind().is_some_and(|kind| !kind.lets_change_happen()) {
        return refusal.map_or_else(|| Ok((200, String::new())), Err);
    }
    let answered = match &ask.verb {
        Verb::Receive { batch, max, wait } => {
            let wait = if taken.kind() == Some(FaultKind::PollCap) { Duration::ZERO } else { *wait };
            receive(sim, &ask.queue, *max, wait, taken.kind() == Some(FaultKind::PollCap))
                .await
                .map(|messages| (200, received(&messages, *batch)))
        }
        Verb::Delete { batch, handles } => delete(sim, &ask.queue, handles, *batch),
        Verb::Send { body } => sim
            .queues
            .send(&ask.queue, body.clone(), &sim.ids, sim.clock.now())
            .map(|id| {
                (201, format!("{DECLARATION}<Message {NAMESPACE}><MessageId>{id}</MessageId></Message>"))
            })
            .map_err(no_queue),
    };
    refusal.map_or(answered, Err)
}

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";

async fn receive(
    sim: &Simulator,
    queue: &str,
    max: usize,
    wait: Duration,
    is_capped: bool,
) -> Result<Vec<Message>, ApiError> {
    let until = tokio::time::Instant::now() + wait;
    loop {
        // Registered before looking: what is sent meanwhile ends the wait.
        let sent = sim.queues.sent.notified();
        let max = if is_capped { 0 } else { max };
        let messages = sim.queues.receive(queue, max, &sim.ids, sim.clock.now()).map_err(no_queue)?;
        if !messages.is_empty() {
            return Ok(messages);
        }
        if tokio::time::Instant::now() >= until {
            return Err(ApiError::new(404, "MessageNotExist", "Message not exist."));
        }
        tokio::select! {
            () = sent => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

fn delete(sim: &Simulator, queue: &str, handles: &[String], batch: bool) -> Answered {
    let refused = sim.queues.delete(queue, handles, sim.clock.now()).map_err(no_queue)?;
    if refused.is_empty() {
        return Ok((204, String::new()));
    }
    if !batch {
        return Err(ApiError::new(404, "MessageNotExist", "Message not exist."));
    }
    let mut document = format!("{DECLARATION}<Errors {NAMESPACE}>");
    for handle in refused {
        document.push_str("<Error><ErrorCode>ReceiptHandleError</ErrorCode><ErrorMessage>The receipt handle you provide is not valid.</ErrorMessage>");
        element(&mut document, "ReceiptHandle", &handle);
        document.push_str("</Error>");
    }
    Ok((404, document + "</Errors>"))
}

fn received(messages: &[Message], batch: bool) -> String {
    let mut document = DECLARATION.to_owned();
    if batch {
        document.push_str(&format!("<Messages {NAMESPACE}>"));
    }
    for message in messages {
        document.push_str(&if batch { "<Message>".to_owned() } else { format!("<Message {NAMESPACE}>") });
        let first = message.first_dequeued.unwrap_or(message.sent);
        for (name, value) in [
            ("MessageId", message.id.clone()),
            ("ReceiptHandle", message.handle.clone().unwrap_or_default()),
            ("MessageBody", message.body.clone()),
            ("EnqueueTime", message.sent.ms().to_string()),
            ("NextVisibleTime", message.visible.ms().to_string()),
            ("FirstDequeueTime", first.ms().to_string()),
            ("DequeueCount", message.dequeued.to_string()),
            ("Priority", "8".to_owned()),
        ] {
            if name == "MessageBody" && message.is_raw {
                document.push_str(&format!("<{name}>{value}</{name}>"));
                continue;
            }
            element(&mut document, name, &value);
        }
        document.push_str("</Message>");
    }
    if batch {
        document.push_str("</Messages>");
    }
    document
}

fn element(document: &mut String, name: &str, value: &str) {
    document.push_str(&format!("<{name}>"));
    xml_text(document, value);
    document.push_str(&format!("</{name}>"));
}

impl Ask {
    fn read(inbound: &Inbound) -> Result<Self, ApiError> {
        let invalid = |what: &str| ApiError::new(400, "InvalidArgument", format!("{what} is not valid."));
        let queue = inbound.path().strip_prefix("/queues/").and_then(|rest| rest.strip_suffix("/messages"));
        let queue = queue.ok_or_else(|| invalid("The path"))?.to_owned();
        let pairs = split(inbound.query().as_bytes()).ok_or_else(|| invalid("The query"))?;
        let given =
            |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let number = |name: &str, most: u64| match given(name).map(str::parse::<u64>) {
            None => Ok(None),
            Some(Ok(number)) if number <= most => Ok(Some(number)),
            Some(_) => Err(invalid(name)),
        };
        let body = String::from_utf8_lossy(inbound.body());
        let verb = match (inbound.method.as_str(), given("ReceiptHandle")) {
            ("GET", _) if given("peekonly").is_none() => {
                let max =
                    number("numOfMessages", BATCH_MAX as u64)?.map(|max| usize::try_from(max).unwrap_or(1));
                let wait = Duration::from_secs(number("waitseconds", WAIT_MAX_SECONDS)?.unwrap_or(0));
                Verb::Receive { batch: max.is_some(), max: max.unwrap_or(1), wait }
            }
            ("DELETE", Some(handle)) => Verb::Delete { batch: false, handles: vec![handle.to_owned()] },
            ("DELETE", None) => Verb::Delete { batch: true, handles: texts(&body, "ReceiptHandle") },
            ("POST", _) => match texts(&body, "MessageBody").pop() {
                Some(body) => Verb::Send { body },
                None => {
                    return Err(ApiError::new(
                        400,
                        "MalformedXML",
                        "The XML you provided was not well-formed.",
                    ));
                }
            },
            _ => return Err(invalid("The method")),
        };
        Ok(Self { queue, verb })
    }
}

/// The texts of all elements of this name: enough of XML for what clients send.
fn texts(document: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner = document.split(&open).skip(1).filter_map(|rest| rest.split(&close).next());
    let plain = |text: &str| {
        let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
        entities.iter().fold(text.to_owned(), |text, (entity, letter)| text.replace(entity, letter))
    };
    inner.map(plain).collect()
}

fn no_queue(_: NoQueue) -> ApiError {
    ApiError::new(404, "QueueNotExist", "The queue you provided is not exist.")
}

fn not_allowed() -> ApiError {
    let message = "The OwnerId that your Access Key Id associated to is forbidden for this operation.";
    ApiError::new(403, "AccessDenied", message)
}

/// What a request that is not believed is told.
fn refusal(doubt: Doubt) -> ApiError {
    let (status, code, message) = match doubt {
        Doubt::Malformed => {
            (400, "InvalidAuthorizationHeader", "The Authorization header format is invalid.")
        }
        Doubt::Expired => (400, "TimeExpired", "The http request you sent is expired."),
        Doubt::UnknownKey => (403, "InvalidAccessKeyId", "The AccessKey Id you provided is not exist."),
        Doubt::Token => (403, "InvalidSecurityToken", "The security token you provided is invalid."),
        Doubt::Signature => (
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        ),
    };
    ApiError::new(status, code, message)
}

fn fault(kind: FaultKind) -> Option<ApiError> {
    match kind {
        FaultKind::Throttle => {
            Some(ApiError::new(503, "ServiceUnavailable", "The service is busy: slow down, please."))
        }
        FaultKind::Error500Before | FaultKind::Error500After => {
            Some(ApiError::new(500, "InternalError", "Internal error."))
        }
        _ => None,
    }
}

fn refused(error: &ApiError, request_id: &str, host: &str) -> Response<Body> {
    let mut document = format!("{DECLARATION}<Error {NAMESPACE}>");
    let host = format!("http://{host}");
    for (name, value) in
        [("Code", &*error.code), ("Message", &error.message), ("RequestId", request_id), ("HostId", &host)]
    {
        element(&mut document, name, value);
    }
    respond(error.status, "text/xml;charset=utf-8", document + "</Error>")
}

/// The request as it is recorded. Bodies are not: `queues` shows them.
fn asked(read: &Result<Ask, ApiError>) -> Asked {
    let (action, params) = match read {
        Ok(ask) => (ask.verb.action(), json!({ "QueueName": ask.queue, "Messages": ask.count() })),
        Err(_) => ("Unknown", json!({})),
    };
    Asked::of_resource(Product::Mns, "2015-06-06", action, &params)
}

impl Ask {
    fn count(&self) -> usize {
        match &self.verb {
            Verb::Receive { max, .. } => *max,
            Verb::Delete { handles, .. } => handles.len(),
            Verb::Send { .. } => 1,
        }
    }
}

//! The protocol of Alibaba's message queues (MNS, now SMQ), as far as a consumer needs it: take a batch, delete it. Leaves when to
//! ask to `poll`, signing to `sign::alibaba_mns`, and what a message says to `event`. Tested below.
//!
//! Source: aliyun-mns-sdk 1.3.0 `mns_xml_handler.py`; SMQ's pages `BatchReceiveMessage`, `BatchDeleteMessage`.

use super::poll::LONG_POLL;
use super::{AnswerError, Request};
use crate::sign::encoding::encode;
use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesRef, Event};

/// Most messages in one batch: the vendor's limit.
pub const BATCH_MAX: usize = 16;
/// Deepest nesting of elements in an answer; the documented ones have three.
const DEPTH_MAX: usize = 8;
/// What an empty queue is answered with, under status 404.
const EMPTY: &str = "MessageNotExist";

/// One message as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The queue's name for it: the same at every delivery.
    pub id: String,
    /// What deletes this delivery of it: another one each time.
    pub handle: String,
    /// As the producer wrote it, often in base64.
    pub body: Body,
    /// How often it has been received.
    pub dequeued: u32,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Text.
    Text(String),
    /// What is no text of XML, as it stands in the answer.
    Unreadable {
        /// Its bytes.
        bytes: Vec<u8>,
        /// What is amiss.
        problem: String,
    },
}

impl Default for Body {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// Takes what is there, or waits for it.
pub fn receive(queue: &str) -> Request {
    let wait = LONG_POLL.as_secs();
    let target = format!("/queues/{}/messages?numOfMessages={BATCH_MAX}&waitseconds={wait}", encode(queue));
    Request { method: "GET", target, body: String::new() }
}

/// Deletes what was received under these handles.
pub fn delete<'a>(queue: &str, handles: impl IntoIterator<Item = &'a str>) -> Request {
    let mut body = String::from("<ReceiptHandles xmlns=\"http://mns.aliyuncs.com/doc/v1/\">");
    for handle in handles {
        body.push_str("<ReceiptHandle>");
        body.push_str(&escape(handle));
        body.push_str("</ReceiptHandle>");
    }
    body.push_str("</ReceiptHandles>");
    Request { method: "DELETE", target: format!("/queues/{}/messages", encode(queue)), body }
}

/// The messages in an answer; none where the queue is empty.
///
/// # Errors
/// Where the cloud refuses, or says something that is not documented.
pub fn read_received(status: u16, body: &[u8]) -> Result<Vec<Message>, AnswerError> {
    if status != 200 {
        return match refused(status, body) {
            AnswerError::Refused { code, .. } if code == EMPTY => Ok(Vec::new()),
            refusal => Err(refusal),
        };
    }
    let messages = messages(body).or_else(|problem| apart(body).ok_or(problem));
    messages.map_err(|problem| AnswerError::Unreadable { status, problem })
}

fn messages(document: &[u8]) -> Result<Vec<Message>, String> {
    let mut messages: Vec<Message> = Vec::new();
    let mut current: Option<Message> = None;
    for_each_element(document, |step| match (step, &mut current) {
        (Step::Begin("Message"), _) => current = Some(Message::default()),
        (Step::End("Message", _), _) => messages.extend(current.take()),
        (Step::End("MessageId", text), Some(message)) => message.id = text,
        (Step::End("ReceiptHandle", text), Some(message)) => message.handle = text,
        (Step::End("MessageBody", text), Some(message)) => message.body = Body::Text(text),
        (Step::End("DequeueCount", text), Some(message)) => message.dequeued = text.parse().unwrap_or(0),
        _ => {}
    })?;
    if messages.is_empty() {
        return Err("there is no `Message`".to_owned());
    }
    match messages.iter().any(|one| one.id.is_empty() || one.handle.is_empty()) {
        true => Err("a message lacks `MessageId` or `ReceiptHandle`".to_owned()),
        false => Ok(messages),
    }
}

/// The messages of an answer in which a body is no text of XML: such a body is cut out, unread, so that it refuses itself alone and can be
/// deleted. `None` where something else is amiss; one that is cut short among it.
fn apart(document: &[u8]) -> Option<Vec<Message>> {
    let inner = between(document, b"<Messages", b"</Messages>")?;
    let mut starts: Vec<usize> =
        inner.windows(MESSAGE.len()).enumerate().filter(|(_, at)| *at == MESSAGE).map(|(at, _)| at).collect();
    if starts.is_empty() {
        return None;
    }
    starts.push(inner.len());
    let each = starts.windows(2).map(|ends| &inner[ends[0]..ends[1]]);
    each.map(|part| messages(part).ok().and_then(|mut one| one.pop()).or_else(|| without_body(part)))
        .collect()
}

const MESSAGE: &[u8] = b"<Message>";

/// A message whose body is cut out.
fn without_body(part: &[u8]) -> Option<Message> {
    let body = between(part, b"<MessageBody>", b"</MessageBody>")?;
    let problem = match for_each_element(body, |_| ()) {
        Err(problem) => problem,
        Ok(()) => "it has elements".to_owned(),
    };
    let begins = body.as_ptr().addr() - part.as_ptr().addr();
    let rest = [&part[..begins], &part[begins + body.len()..]].concat();
    let message = messages(&rest).ok()?.pop()?;
    Some(Message { body: Body::Unreadable { bytes: body.to_vec(), problem }, ..message })
}

/// What is between the first `start` and the last `end`.
fn between<'a>(bytes: &'a [u8], start: &[u8], end: &[u8]) -> Option<&'a [u8]> {
    let from = bytes.windows(start.len()).position(|at| at == start)? + start.len();
    let to = bytes.windows(end.len()).rposition(|at| at == end)?;
    bytes.get(from..to)
}

/// Whether everything was deleted.
///
/// # Errors
/// Where not: a handle that has lapsed belongs to a message that comes again.
pub fn read_deleted(status: u16, body: &[u8]) -> Result<(), AnswerError> {
    if (200..300).contains(&status) { Ok(()) } else { Err(refused(status, body)) }
}

/// What a refusal says: of several handles the first that was refused.
fn refused(status: u16, body: &[u8]) -> AnswerError {
    let (mut code, mut message) = (String::new(), String::new());
    let read = for_each_element(body, |step| match step {
        Step::End("Code" | "ErrorCode", text) if code.is_empty() => code = text,
        Step::End("Message" | "ErrorMessage", text) if message.is_empty() => message = text,
        _ => {}
    });
    match read {
        Ok(()) if !code.is_empty() => AnswerError::Refused { status, code, message },
        Ok(()) => AnswerError::Unreadable { status, problem: "there is no `Code`".to_owned() },
        Err(problem) => AnswerError::Unreadable { status, problem },
    }
}

/// An element that begins, or one that ends with its own text.
enum Step<'a> {
    Begin(&'a str),
    End(&'a str, String),
}

/// Reads a document element by element. Text around inner elements is left out, as are attributes and namespaces; entities that
/// a document defines itself are refused, so that a small one never becomes a large one.
fn for_each_element(document: &[u8], mut step: impl FnMut(Step<'_>)) -> Result<(), String> {
    let document = std::str::from_utf8(document).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(document);
    let (mut depth, mut text) = (0_usize, String::new());
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        match event {
            Event::Start(start) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
                }
                text.clear();
                step(Step::Begin(start.local_name().as_ref()));
            }
            Event::Empty(empty) => {
                step(Step::Begin(empty.local_name().as_ref()));
                step(Step::End(empty.local_name().as_ref(), String::new()));
            }
            Event::End(end) => {
                depth = depth.saturating_sub(1);
                step(Step::End(end.local_name().as_ref(), std::mem::take(&mut text)));
            }
            Event::Text(part) => text.push_str(&part),
            Event::CData(part) => text.push_str(&part),
            Event::GeneralRef(entity) => text.push_str(&resolved(&entity)?),
            Event::DocType(_) => return Err("it defines a document type".to_owned()),
            Event::Eof if depth > 0 => return Err("it ends within an element".to_owned()),
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn resolved(entity: &BytesRef<'_>) -> Result<String, String> {
    if let Some(letter) = entity.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(letter.to_string());
    }
    let known = resolve_predefined_entity(entity).map(str::to_owned);
    known.ok_or_else(|| "it has an entity that is not predefined".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(inner: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Messages xmlns=\"http://mns.aliyuncs.com/doc/v1/\">\
             <Message><MessageId>m1</MessageId><ReceiptHandle>h1</ReceiptHandle>{inner}</Message></Messages>"
        )
    }

    #[test]
    fn one_message_and_many_are_read() {
        let body = message(
            "<MessageBody>a&lt;b &amp;&#x41;<![CDATA[<c>]]></MessageBody><DequeueCount>3</DequeueCount>",
        );
        let read = read_received(200, body.as_bytes()).expect("readable");
        let expected = Message {
            id: "m1".into(),
            handle: "h1".into(),
            body: Body::Text("a<b &A<c>".into()),
            dequeued: 3,
        };
        assert_eq!(read, [expected]);
        let single = "<Message xmlns=\"x\"><ReceiptHandle>1-a==</ReceiptHandle><MessageId>m</MessageId>\
                      <MessageBody/></Message>";
        let read = read_received(200, single.as_bytes()).expect("readable");
        assert_eq!((read[0].handle.as_str(), &read[0].body), ("1-a==", &Body::default()));
        let both = "<Messages><Message><MessageId>1</MessageId><ReceiptHandle>a</ReceiptHandle></Message>\
                    <Message><MessageId>2</MessageId><ReceiptHandle>b</ReceiptHandle></Message></Messages>";
        assert_eq!(read_received(200, both.as_bytes()).map(|read| read.len()), Ok(2));
    }

    #[test]
    fn a_body_that_is_no_text_refuses_itself_alone() {
        let one = |nth: u8, body: &[u8]| {
            let head = format!(
                "<Message><MessageId>m{nth}</MessageId><ReceiptHandle>h{nth}</ReceiptHandle><MessageBody>"
            );
            [head.as_bytes(), body, b"</MessageBody><DequeueCount>2</DequeueCount></Message>"].concat()
        };
        for (odd, wanted) in [
            (&b"caf\xe9"[..], "not UTF-8"),
            (b"a & b", "not closed"),
            (b"a < b", ""),
            (b"&bomb;", "not predefined"),
            (b"<a><b>", "ends within"),
            (b"</Message>", ""),
            (b"<b/>&x;", "not predefined"),
        ] {
            let inner = [one(1, b"first"), one(2, odd), one(3, b"a&lt;b")].concat();
            let batch = [b"<Messages xmlns=\"x\">".as_slice(), &inner, b"</Messages>\n"].concat();
            let read = read_received(200, &batch).unwrap_or_else(|error| panic!("{odd:?}: {error}"));
            let ids = read
                .iter()
                .map(|one| (one.id.as_str(), one.handle.as_str(), one.dequeued))
                .collect::<Vec<_>>();
            assert_eq!(ids, [("m1", "h1", 2), ("m2", "h2", 2), ("m3", "h3", 2)]);
            assert_eq!(
                (&read[0].body, &read[2].body),
                (&Body::Text("first".to_owned()), &Body::Text("a<b".to_owned()))
            );
            let Body::Unreadable { bytes, problem } = &read[1].body else { panic!("{odd:?}: {:?}", read[1]) };
            assert_eq!(bytes, odd);
            assert!(problem.contains(wanted), "{odd:?}: {problem}");
            let cut = &batch[..batch.len() - 20];
            assert!(read_received(200, cut).is_err(), "what is cut short is received again");
        }
    }

    #[test]
    fn an_empty_queue_is_no_refusal_and_another_404_is_one() {
        let error = |code: &str| {
            format!(
                "<Error xmlns=\"http://mns.aliyuncs.com/doc/v1/\"><Code>{code}</Code><Message>m</Message></Error>"
            )
        };
        assert_eq!(read_received(404, error("MessageNotExist").as_bytes()), Ok(Vec::new()));
        let refused = AnswerError::Refused { status: 404, code: "QueueNotExist".into(), message: "m".into() };
        assert_eq!(read_received(404, error("QueueNotExist").as_bytes()), Err(refused));
        assert_eq!(read_deleted(204, b""), Ok(()));
        let lapsed = "<Errors><Error><ErrorCode>ReceiptHandleError</ErrorCode><ErrorMessage>lapsed</ErrorMessage>\
                      <ReceiptHandle>h</ReceiptHandle></Error></Errors>";
        let refused = read_deleted(404, lapsed.as_bytes()).expect_err("refused").to_string();
        assert_eq!(refused, "ReceiptHandleError (status 404): lapsed");
    }

    #[test]
    fn what_is_not_documented_is_told_and_never_taken_for_an_empty_queue() {
        let deep = "<a>".repeat(DEPTH_MAX + 1);
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\">]><Messages>&b;</Messages>";
        for (body, problem) in [
            ("", "there is no `Message`"),
            ("<html><body>502</body></html>", "there is no `Message`"),
            ("<Messages><Message><MessageId>1</MessageId></Message></Messages>", "lacks"),
            ("<Messages><Message>", "it ends within an element"),
            ("<Messages></Message>", "expected `</Messages>`"),
            ("<Messages>&b;</Messages>", "entity that is not predefined"),
            (bomb, "document type"),
            (deep.as_str(), "nested deeper"),
        ] {
            let error = read_received(200, body.as_bytes()).expect_err(body).to_string();
            assert!(error.contains(problem), "{body}: {error}");
        }
        assert!(read_received(200, b"\xff").is_err());
        assert!(matches!(
            read_received(502, b"<html></html>"),
            Err(AnswerError::Unreadable { status: 502, .. })
        ));
    }

    #[test]
    fn requests_have_the_documented_form() {
        assert_eq!(
            receive("cms-events").target,
            "/queues/cms-events/messages?numOfMessages=16&waitseconds=30"
        );
        let delete = delete("cms-events", ["1-a==", "b&c"]);
        assert_eq!((delete.method, delete.target.as_str()), ("DELETE", "/queues/cms-events/messages"));
        assert!(
            delete
                .body
                .contains("<ReceiptHandle>1-a==</ReceiptHandle><ReceiptHandle>b&amp;c</ReceiptHandle>")
        );
    }
}

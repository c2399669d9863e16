//! The client against loopback servers that answer, refuse, break off or stay silent; `hostile` has the worse ones.

mod hostile;

use super::*;
use crate::broker::Stamp;
use crate::clock::ManualClock;
use opsward_core::answer::Remedy;
use opsward_core::secret::Secret;
use opsward_core::sign::{Received, claimed, verify};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const NOW: Timestamp = Timestamp::from_seconds(1_528_421_137);
const CALL: OutboundCall<'_> = OutboundCall {
    service: "ecs",
    version: "2014-05-26",
    action: "CreateSnapshot",
    region: "cn-hangzhou",
    params: r#"{"DiskId":"d-secret"}"#,
    token: Some(("ClientToken", "token-1")),
    dry_run: None,
};

/// A server that reads one request a connection and answers with canned bytes, or holds the connection open.
struct Server {
    endpoint: Endpoint,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request with `reply`; `None` stays silent.
    async fn start(reply: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let requests: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                let request = read_request(&mut connection).await;
                seen.lock().expect("lock").push(request);
                match &reply {
                    // The client hangs up on an answer that is too long.
                    Some(reply) => drop(connection.write_all(reply.as_bytes()).await),
                    None => silent.push(connection),
                }
            }
        });
        let endpoint = Endpoint::parse(&format!("http://{address}")).expect("loopback");
        Self { endpoint, requests, task }
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        self.requests.lock().expect("lock").clone()
    }
}

async fn read_request(connection: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if body.len() >= length.and_then(|digits| digits.parse().ok()).unwrap_or(0) {
                return request;
            }
        }
        if connection.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return request;
        }
    }
}

fn reply(status: &str, headers: &str, body: &str) -> Option<String> {
    Some(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    ))
}

fn client(endpoint: Option<Endpoint>, scheme: Scheme) -> (CloudClient, AccountName) {
    let name: AccountName = "prod".parse().expect("a name");
    let account = Account {
        name: name.clone(),
        provider: scheme.provider(),
        endpoint,
        scheme,
        region: "cn-hangzhou".into(),
        credentials: CredentialSource::Keys(Issued {
            credential: Credential {
                key_id: "test-id".into(),
                key_secret: Secret::new("hunter2".into()),
                session_token: Some(Secret::new("hunter3".into())),
            },
            expires: None,
        }),
    };
    (CloudClient::new(vec![account], HashMap::new(), Arc::new(ManualClock::at(NOW))).expect("client"), name)
}

/// Takes a received request apart, and tells what it claims and whether it is genuine.
fn check(raw: &[u8]) -> (opsward_core::sign::Claimed, bool) {
    let text = String::from_utf8(raw.to_vec()).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
    let mut lines = head.lines();
    let mut first = lines.next().expect("request line").split(' ');
    let (method, target) = (first.next().expect("method"), first.next().expect("target"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let request = Received { method, path, query, headers: &headers, body: body.as_bytes() };
    let claims = claimed(&request).expect("signed");
    let is_genuine = verify(&request, &claims, "hunter2").expect("complete");
    (claims, is_genuine)
}

#[tokio::test]
async fn what_is_sent_is_what_was_signed() {
    for (scheme, body) in [
        (Scheme::AlibabaAcs3, r#"{"RequestId":"r-1"}"#),
        (Scheme::AlibabaRpcV1, r#"{"RequestId":"r-1"}"#),
        (Scheme::TencentTc3, r#"{"Response":{"RequestId":"r-1"}}"#),
    ] {
        let server = Server::start(reply("200 OK", "", body)).await;
        let (client, account) = client(Some(server.endpoint.clone()), scheme);
        for _ in 0..2 {
            let verdict = client.send(Caller::of(&account), &CALL, None).await;
            assert!(
                matches!(&verdict, Verdict::Answered(Ok(done)) if done.request_id == "r-1"),
                "{verdict:?}"
            );
        }
        let checked: Vec<_> = server.requests().iter().map(|raw| check(raw)).collect();
        assert!(checked.len() == 2 && checked.iter().all(|(_, is_genuine)| *is_genuine), "{scheme:?}");
        let nonces = [&checked[0].0.nonce, &checked[1].0.nonce];
        assert!(scheme == Scheme::TencentTc3 || nonces[0] != nonces[1], "each sending has its own nonce");
    }
}

#[tokio::test]
async fn each_answer_gets_its_verdict_after_exactly_one_request() {
    let cut = Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"RequestId\"".to_owned());
    let throttled = reply("400 Bad Request", "x-acs-retry-after: 250\r\n", r#"{"Code":"Throttling.User"}"#);
    let huge = reply("200 OK", "", &" ".repeat(RESPONSE_BYTES_MAX + 1));
    let moved = reply("307 Temporary Redirect", "location: http://127.0.0.1:9/\r\n", "");
    for (what, answer, expected) in [
        ("done", reply("200 OK", "", r#"{"SnapshotId":"s-1"}"#), ""),
        ("refused", reply("403 Forbidden", "", r#"{"Code":"Forbidden.RAM"}"#), "Forbidden.RAM"),
        ("not-executed", throttled, "Throttling.User"),
        ("unclear", reply("500 Oops", "", r#"{"Code":"InternalError"}"#), "InternalError"),
        ("unclear", reply("502 Bad Gateway", "", "<html>"), "opsward.unreadable-answer"),
        ("unclear", moved, "opsward.unreadable-answer"),
        ("unclear", cut, "opsward.answer-cut"),
        ("unclear", huge, "opsward.answer-too-large"),
        ("unclear", Some(String::new()), "opsward.no-answer"),
        ("unclear", None, "opsward.timeout"),
    ] {
        let timeout = answer.is_none().then_some(Duration::from_millis(50));
        let server = Server::start(answer).await;
        let (client, account) = client(Some(server.endpoint.clone()), Scheme::AlibabaAcs3);
        let verdict = client.send(Caller::of(&account), &CALL, timeout).await;
        let (word, code) = match &verdict {
            Verdict::Answered(Ok(_)) => ("done", ""),
            Verdict::Answered(Err(error)) => ("refused", error.code.as_str()),
            Verdict::NotExecuted { error, remedy: Remedy::Wait, retry_after } => {
                assert_eq!(*retry_after, Some(Duration::from_millis(250)));
                ("not-executed", error.code.as_str())
            }
            Verdict::NotExecuted { remedy, .. } => panic!("unexpected remedy {remedy:?}"),
            Verdict::Unclear { error } => ("unclear", error.code.as_str()),
        };
        assert_eq!((word, code), (what, expected));
        assert_eq!(server.requests().len(), 1, "{expected}");
        let shown = format!("{verdict:?}");
        assert!(!shown.contains("hunter") && !shown.contains("d-secret"), "{shown}");
    }
}

#[tokio::test]
async fn a_call_that_finds_no_connection_was_not_executed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let endpoint = Endpoint::parse(&format!("http://{address}")).expect("loopback");
    let (client, account) = client(Some(endpoint), Scheme::AlibabaAcs3);
    let Verdict::NotExecuted { error, remedy, .. } = client.send(Caller::of(&account), &CALL, None).await
    else {
        panic!("nothing was sent")
    };
    assert_eq!((error.code.as_str(), remedy), ("opsward.no-connection", Remedy::Wait));
    assert!(error.message.contains(&address.to_string()) && !error.message.contains("d-secret"), "{error}");
}

#[tokio::test]
async fn a_call_that_can_never_be_sent_is_refused_here() {
    let (client, account) = client(None, Scheme::AlibabaAcs3);
    let nobody: AccountName = "nobody".parse().expect("a name");
    for (account, call, code) in [
        (&nobody, CALL, "opsward.unknown-account"),
        (&account, OutboundCall { service: "nosuch", ..CALL }, "opsward.no-endpoint"),
        (&account, OutboundCall { region: "cn-x.evil.example", ..CALL }, "opsward.no-endpoint"),
        (&account, OutboundCall { params: "[]", ..CALL }, "opsward.invalid-params"),
        (&account, OutboundCall { action: "A\nB", ..CALL }, "opsward.invalid-params"),
    ] {
        let Verdict::Answered(Err(error)) = client.send(Caller::of(account), &call, None).await else {
            panic!("sent: {code}")
        };
        assert_eq!((error.code.as_str(), error.kind), (code, ErrorKind::Invalid));
    }
}

#[tokio::test]
async fn the_clouds_clock_is_signed_with_once_it_is_known() {
    let body = r#"{"Code":"InvalidTimeStamp.Expired"}"#;
    let server =
        Server::start(reply("400 Bad Request", "date: Fri, 08 Jun 2018 02:25:37 GMT\r\n", body)).await;
    let (client, account) = client(Some(server.endpoint.clone()), Scheme::AlibabaAcs3);
    for _ in 0..2 {
        let verdict = client.send(Caller::of(&account), &CALL, None).await;
        assert!(matches!(verdict, Verdict::NotExecuted { remedy: Remedy::Resign, .. }), "{verdict:?}");
    }
    let times: Vec<_> = server.requests().iter().map(|raw| check(raw).0.timestamp).collect();
    assert_eq!(times, [Some(NOW), Some(NOW + Duration::from_secs(3600))]);
}

#[tokio::test]
async fn the_broker_gives_a_request_and_the_catalog_version_and_token_field() {
    use crate::broker::Sender;
    let server = Server::start(reply("200 OK", "", r#"{"RequestId":"r-1"}"#)).await;
    let (client, account) = client(Some(server.endpoint.clone()), Scheme::AlibabaAcs3);
    let request = |service: &str, action: &str| opsward_core::call::CallRequest {
        service: service.into(),
        action: action.into(),
        region: String::new(),
        params: r#"{"DiskId":"d-1"}"#.into(),
        once: None,
    };
    let known = request("ecs", "CreateSnapshot");
    assert!(matches!(
        Sender::send(&client, Caller::of(&account), &known, Stamp::Token("t-1")).await,
        Verdict::Answered(Ok(_))
    ));
    let sent = String::from_utf8(server.requests().remove(0)).expect("text");
    assert!(sent.starts_with("POST /?ClientToken=t-1&DiskId=d-1&RegionId=cn-hangzhou HTTP/1.1"), "{sent}");
    assert!(sent.contains("x-acs-version: 2014-05-26"), "{sent}");
    for (request, stamp, code) in [
        (request("ecs", "RebootInstance"), Stamp::Token("t-1"), "opsward.no-token"),
        (request("nosuch", "CreateSnapshot"), Stamp::Plain, "opsward.unknown-service"),
    ] {
        let Verdict::Answered(Err(error)) =
            Sender::send(&client, Caller::of(&account), &request, stamp).await
        else {
            panic!("sent: {code}")
        };
        assert_eq!(error.code, code);
    }
    assert_eq!(server.requests().len(), 1);
}

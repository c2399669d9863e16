//! The webhooks over a loopback socket, with a real store and no policies.

use super::*;
use crate::clock::ManualClock;
use crate::policy::Policies;
use crate::store::sqlite::SqliteStore;
use crate::store::{EventFilter, Store as _};
use opsward_core::event::BODY_BYTES_MAX;
use opsward_core::time::Timestamp;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);
const EVENT: &str = r#"{"id":"1","name":"Instance:SystemFailure.Reboot:Executed","content":{}}"#;

struct World {
    address: SocketAddr,
    store: Arc<SqliteStore>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn start(limits: HookLimits) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = SqliteStore::open(&dir.path().join("opsward.db")).expect("a store");
        let accept = Accept {
            store: store.clone(),
            policies: Arc::new(Policies::default()),
            clock: Arc::new(ManualClock::at(Timestamp::from_seconds(1_700_000_000))),
            work: Arc::new(Notify::new()),
            seen: Arc::default(),
        };
        let source = |name: &str, kind| HookSource {
            name: name.parse().expect("a name"),
            kind,
            map: None,
            token: Secret::new("t0ken".to_owned()),
            proof: Proof::None,
            addresses: Vec::new(),
            rate: 1000,
            is_mixed: false,
        };
        let sources =
            vec![source("cms", SourceKind::AlibabaCloudmonitor), source("ce", SourceKind::Cloudevents)];
        let accept = Arc::new(accept);
        let receiving = Receiving { accept, certificates: None, proxies: Vec::new(), limits };
        let router = router(sources, receiving);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let router_for = |from| router.clone().layer(Extension(Peer(from)));
            let stopped = async { stopped.await.expect("the test stops it") };
            serve(listener, router_for, limits, Vec::new(), stopped).await;
        });
        Self { address, store, stop, served, _dir: dir }
    }

    /// Sends `request` as it is and reads until the host hangs up.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(request).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        String::from_utf8(answer).expect("text")
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        self.raw(
            format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
            )
            .as_bytes(),
        )
        .await
    }

    async fn post(&self, path: &str, body: &str) -> String {
        self.send("POST", path, "", body).await
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn body(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn an_event_is_on_disk_when_it_is_answered_and_a_second_delivery_is_a_duplicate() {
    let world = World::start(HookLimits::default()).await;
    let first = world.post("/hooks/cms/t0ken", EVENT).await;
    assert_eq!((status(&first), body(&first)), (200, json!({"accepted": 1, "duplicates": 0, "runs": 0})));
    let events = world.store.list_events(EventFilter::latest(10)).await.expect("a list");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event.kind, "Instance:SystemFailure.Reboot:Executed");
    let second = world.post("/hooks/cms/t0ken", EVENT).await;
    assert_eq!((status(&second), body(&second)), (200, json!({"accepted": 0, "duplicates": 1, "runs": 0})));
}

#[tokio::test]
async fn a_batch_is_counted_by_event() {
    let world = World::start(HookLimits::default()).await;
    let event = |id: u8| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#);
    let batch = format!("[{},{},{}]", event(1), event(2), event(1));
    let headers = "content-type: application/cloudevents-batch+json\r\n";
    let answer = world.send("POST", "/hooks/ce/t0ken", headers, &batch).await;
    assert_eq!(body(&answer), json!({"accepted": 2, "duplicates": 1, "runs": 0}));
}

#[tokio::test]
async fn what_cannot_be_recorded_is_refused_with_its_reason() {
    let world = World::start(HookLimits::default()).await;
    let large = " ".repeat(BODY_BYTES_MAX + 1);
    let deep = "[".repeat(33);
    for (method, path, sent, wanted, reason) in [
        ("POST", "/hooks/cms/wrong", EVENT, 404, "not found"),
        ("POST", "/hooks/cms/", EVENT, 404, "not found"),
        ("POST", "/hooks/cms/%ff", EVENT, 404, "not found"),
        ("POST", "/hooks/nobody/t0ken", EVENT, 404, "not found"),
        ("POST", "/hooks/nobody/", EVENT, 404, "not found"),
        ("POST", "/", EVENT, 404, "not found"),
        ("POST", "/hooks/cms/t0ken", "{\"name\":\n}", 400, "malformed JSON at line 2, column 1"),
        ("POST", "/hooks/cms/t0ken", deep.as_str(), 400, "nested deeper than 32 levels"),
        ("POST", "/hooks/cms/t0ken", "", 400, "the body is empty"),
        ("POST", "/hooks/cms/t0ken", large.as_str(), 413, "larger than 262144 bytes"),
        ("POST", "/hooks/ce/t0ken", "{}", 400, "`specversion` is missing"),
    ] {
        let answer = world.send(method, path, "", sent).await;
        assert_eq!(status(&answer), wanted, "{path}: {answer}");
        assert!(body(&answer)["error"].as_str().expect("a reason").contains(reason), "{path}: {answer}");
    }
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(status(&world.send(method, "/hooks/cms/t0ken", "", "").await), 405, "{method}");
    }
    let malformed = body(&world.post("/hooks/cms/t0ken", "{\"name\":\n}").await);
    assert_eq!((&malformed["line"], &malformed["column"]), (&json!(2), &json!(1)));
    assert!(world.store.list_events(EventFilter::latest(10)).await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_body_at_the_limit_is_taken_and_a_larger_one_is_refused_before_it_is_sent() {
    let world = World::start(HookLimits::default()).await;
    let padded = format!("{EVENT}{}", " ".repeat(BODY_BYTES_MAX - EVENT.len()));
    assert_eq!(status(&world.post("/hooks/cms/t0ken", &padded).await), 200);
    let asks = "POST /hooks/cms/t0ken HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9999999\r\n\
                expect: 100-continue\r\n\r\n";
    assert_eq!(status(&world.raw(asks.as_bytes()).await), 413);
}

#[tokio::test]
async fn a_store_that_cannot_record_is_a_503_and_the_sender_is_asked_to_come_again() {
    let world = World::start(HookLimits::default()).await;
    world.store.limit_pages(1).await.expect("limited");
    let answer = world
        .post("/hooks/cms/t0ken", &EVENT.replace("{}", &format!("{{\"a\":\"{}\"}}", "x".repeat(99_999))))
        .await;
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("retry-after: 2"), "{answer}");
    assert!(body(&answer)["error"].as_str().expect("a reason").contains("disk is full"), "{answer}");
    world.store.limit_pages(0).await.expect("lifted");
    assert_eq!(status(&world.post("/hooks/cms/t0ken", EVENT).await), 200);
}

#[tokio::test]
async fn requests_over_the_bound_are_a_503() {
    let world =
        World::start(HookLimits { requests_max: 0, turn_timeout: Duration::ZERO, ..HookLimits::default() })
            .await;
    let answer = world.post("/hooks/cms/t0ken", EVENT).await;
    assert_eq!(status(&answer), 503, "{answer}");
    assert_eq!(status(&world.post("/hooks/cms/wrong", EVENT).await), 404, "the bound is for those who may");
}

#[tokio::test]
async fn a_sender_that_stalls_is_cut_off() {
    let limits = HookLimits { read_timeout: Duration::from_millis(50), ..HookLimits::default() };
    let world = World::start(limits).await;
    let stalled_body = "POST /hooks/cms/t0ken HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{";
    assert_eq!(status(&world.raw(stalled_body.as_bytes()).await), 408);
    let stalled_head = world.raw(b"POST /hooks/cms/t0ken HTTP/1.1\r\nhost").await;
    assert!(matches!(status(&stalled_head), 0 | 408), "{stalled_head}");
    assert_eq!(world.raw(b"").await, "", "an idle connection is closed");
}

#[tokio::test]
async fn a_peer_that_reads_no_answer_is_cut_off() {
    let limits = HookLimits { write_timeout: Duration::from_millis(50), ..HookLimits::default() };
    let world = World::start(limits).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    // Little fits between the two, so that the host soon waits for the peer.
    socket.set_recv_buffer_size(4096).expect("set");
    let mut stream = socket.connect(world.address).await.expect("a connection");
    let asks = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let cut_off = async { while stream.write_all(&asks).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, cut_off).await.expect("the host hangs up");
    // Nor does it keep the host from ending.
    world.stop.send(()).expect("still serving");
    tokio::time::timeout(PATIENCE, world.served).await.expect("in time").expect("it returned");
}

#[tokio::test]
async fn shutting_down_finishes_the_request_begun() {
    let world = World::start(HookLimits::default()).await;
    let mut stream = TcpStream::connect(world.address).await.expect("a connection");
    let length = EVENT.len();
    let head = format!(
        "POST /hooks/cms/t0ken HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // The interim answer shows that the request is being worked on.
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.expect("an interim answer");
    world.stop.send(()).expect("still serving");
    stream.write_all(EVENT.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert_eq!(status(&answer), 200, "{answer}");
    world.served.await.expect("it returned");
    assert!(TcpStream::connect(world.address).await.is_err());
}

#[tokio::test]
async fn a_sender_of_cloudevents_may_ask_whether_it_may_post() {
    let world = World::start(HookLimits::default()).await;
    let origin = "webhook-request-origin: eventemitter.example.com\r\n";
    let answer = world.send("OPTIONS", "/hooks/ce/t0ken", origin, "").await;
    assert_eq!(status(&answer), 200);
    assert!(answer.contains("webhook-allowed-origin: eventemitter.example.com"), "{answer}");
    assert_eq!(status(&world.send("OPTIONS", "/hooks/ce/wrong", origin, "").await), 404);
}

//! The admin listener over real connections: what it shows and takes. Who may ask is in `access`.

mod access;

use super::*;
use crate::clock::ManualClock;
use crate::store::sqlite::SqliteStore;
use crate::store::{Decision, Firing, NewEvent, NewFiring, NewRun, Standing};
use metrics_exporter_prometheus::PrometheusBuilder;
use opsward_core::config::AdminSettings;
use opsward_core::event::{Event, Wants};
use opsward_core::grant::Grants;
use opsward_core::guardrail::Guardrails;
use opsward_core::id::RunId;
use opsward_core::retry::RetrySettings;
use opsward_core::run::{Entry, LogLevel, Mode, Record};
use opsward_core::schedule::{Schedule, ScheduleEntry};
use opsward_core::sender::Trust;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

const NOW: Timestamp = Timestamp::from_seconds(1_763_903_642);

/// An admin listener over a store with a few runs.
struct Desk {
    socket: PathBuf,
    address: std::net::SocketAddr,
    clock: Arc<ManualClock>,
    ready: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    dir: tempfile::TempDir,
}

impl Desk {
    async fn open() -> Self {
        let listen = Some("127.0.0.1:0".parse().expect("an address"));
        Self::with(AdminSettings { listen, ..AdminSettings::default() }).await
    }

    async fn with(settings: AdminSettings) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("opsward.db");
        let store = SqliteStore::open(&file).expect("opened");
        fill(&*store).await;
        let (ready, ready_seen) = watch::channel(false);
        let (stop, stopping) = watch::channel(false);
        let refused = vec![
            RefusedFile { file: "broken.wasm".into(), policy: None, reason: "not a component".into() },
            RefusedFile {
                file: "broken.toml".into(),
                policy: Some("broken".parse().expect("a name")),
                reason: "unreadable".into(),
            },
        ];
        let clock = Arc::new(ManualClock::at(NOW));
        let admin = Admin {
            gate: Arc::new(Gate::new(&settings, &file, clock.clone()).expect("a user")),
            store,
            seen: Arc::default(),
            policies: Arc::default(),
            clock: clock.clone(),
            refused: Arc::new(move || refused.clone()),
            work: Arc::default(),
            approval_key: Arc::new([7; 32]),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            ready: ready_seen,
        };
        let listeners = Listeners::bind(&settings, dir.path(), &file).await.expect("bound");
        let (socket, address) = (listeners.path().to_owned(), listeners.address().expect("an address"));
        let served = tokio::spawn(listeners.serve(admin, stopping));
        Self { socket, address, clock, ready, stop, served, dir }
    }

    /// Sends a request at the socket and returns status and body.
    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        self.send(method, path, "", "").await
    }

    /// The same with more header lines, each ended, and a body.
    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let connection = UnixStream::connect(&self.socket).await.expect("connected");
        let (status, _, body) =
            exchange(connection, method, path, &format!("host: admin\r\n{headers}"), body).await;
        (status, body)
    }

    /// The same at the address, without any header but those; the head as well.
    async fn send_tcp(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let connection = TcpStream::connect(self.address).await.expect("connected");
        exchange(connection, method, path, headers, body).await
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask("GET", path).await;
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}")))
    }
}

async fn exchange(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String, String) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    connection.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_lowercase(), body.to_owned())
}

async fn fill(store: &dyn Store) {
    for (id, policy) in [("3f9a", "snapshots"), ("3f9b", "snapshots"), ("77", "resets")] {
        let event = Event {
            source: "hook".parse().expect("a name"),
            id: format!("event-{id}"),
            kind: "Reboot".into(),
            subject: None,
            time: NOW,
            data: "{}".into(),
            incident: None,
            account: None,
            region: None,
            level: None,
            transition: None,
        };
        let run = NewRun {
            id: RunId::from_text(format!("{id:0<24}")),
            policy: policy.parse().expect("a name"),
            digest: Digest::of(b"plugin"),
            wants: Wants::Progress,
        };
        let new = NewEvent { event, raw: Vec::new(), received: NOW, trust: Trust::Hint, runs: vec![run] };
        store.accept(vec![new]).await.expect("accepted");
    }
    let claim = store.claim(1, NOW).await.expect("claimed").remove(0).claim;
    let line = Entry::Log { level: LogLevel::Info, message: "hello".into() };
    store.finish(&claim, vec![Record::new(NOW, line)], Standing::Failed).await.expect("finished");
    let firing = Firing {
        policy: "resets".parse().expect("a name"),
        schedule: "unix:0 3 * * *@UTC".into(),
        fire_at: NOW,
        decision: Decision::SkippedLate,
        decided_at: NOW,
    };
    store.fire(vec![NewFiring { firing, event: None, overlaps: false, by: None }]).await.expect("recorded");
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["runs"].as_array().expect("runs").iter().filter_map(|run| run["id"].as_str()).collect()
}

#[tokio::test]
async fn it_is_alive_at_once_and_ready_when_told() {
    let desk = Desk::open().await;
    assert_eq!(desk.ask("GET", "/livez").await, (200, "ok\n".into()));
    assert_eq!(desk.ask("GET", "/readyz").await.0, 503);
    desk.ready.send(true).expect("heard");
    assert_eq!(desk.ask("GET", "/readyz").await, (200, "ok\n".into()));
    desk.stop.send(true).expect("heard");
    desk.served.await.expect("joined").expect("served");
    assert!(!desk.socket.exists());
}

#[tokio::test]
async fn runs_are_listed_filtered_and_found_by_the_beginning_of_their_id() {
    let desk = Desk::open().await;
    let (status, all) = desk.json("/api/v1/runs").await;
    assert_eq!(status, 200);
    let [a, b, c] = ["3f9a", "3f9b", "77"].map(|id| format!("{id:0<24}"));
    assert_eq!(ids(&all), [&c, &b, &a]);
    assert_eq!(ids(&desk.json("/api/v1/runs?policy=snapshots&limit=1").await.1), [&b]);
    assert_eq!(ids(&desk.json("/api/v1/runs?state=failed").await.1), [&a]);

    let (status, run) = desk.json("/api/v1/runs/3f9a").await;
    assert_eq!((status, &run["row"]["state"]), (200, &json!("failed")));
    assert_eq!(run["ledger"][0]["entry"]["message"], "hello");
    assert_eq!(run["event"]["type"], "Reboot");
    let (status, several) = desk.json("/api/v1/runs/3f9").await;
    assert_eq!((status, several["candidates"].as_array().map(Vec::len)), (409, Some(2)));
    assert_eq!(several["candidates"][1]["id"], json!(b));
    assert_eq!(desk.json("/api/v1/runs/ff").await.0, 404);
}

#[tokio::test]
async fn events_schedules_policies_and_metrics_are_shown() {
    let desk = Desk::open().await;
    let events = desk.json("/api/v1/events?limit=2").await.1;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(2));
    assert_eq!(events["events"][0]["event"]["id"], "event-77");
    assert_eq!(events["events"][0]["runs"], json!([format!("{:0<24}", "77")]));
    let schedules = desk.json("/api/v1/schedules").await.1;
    assert_eq!(schedules["firings"][0]["decision"], "skipped-late");
    assert_eq!(schedules["schedules"], json!([]));
    let policies = desk.json("/api/v1/policies").await.1;
    let refused = json!([
        { "file": "broken.wasm", "policy": null, "reason": "not a component" },
        { "file": "broken.toml", "policy": "broken", "reason": "unreadable" },
    ]);
    assert_eq!((&policies["policies"], &policies["refused"]), (&json!([]), &refused));
    assert_eq!(desk.ask("GET", "/metrics").await.0, 200);
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_is_told_why() {
    let desk = Desk::open().await;
    let table = [
        ("GET", "/api/v1/runs?state=odd", 400, "`odd` is not a state of a run"),
        ("GET", "/api/v1/runs?policy=A", 400, "`A` is not a valid policy name"),
        ("GET", "/api/v1/runs?limit=0", 400, "limit must be a number above 0, not `0`"),
        (
            "GET",
            "/api/v1/events?state=done",
            400,
            "unknown parameter `state`: use incident, source, type, limit",
        ),
        ("GET", "/api/v2/runs", 404, "no such page"),
        ("POST", "/api/v1/runs", 405, "this page is only read"),
    ];
    for (method, path, status, problem) in table {
        let (found, body) = desk.ask(method, path).await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(found, status, "{path}");
        assert!(body["error"].as_str().is_some_and(|text| text.contains(problem)), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_policy_that_nobody_knows_is_not_paused_and_one_without_a_good_file_is() {
    let desk = Desk::open().await;
    let json = "content-type: application/json\r\n";
    for (verb, policy, status, problem) in [
        ("pause", "nobody", 404, "no policy is called so"),
        ("resume", "nobody", 404, "no policy is called so"),
        ("resume", "broken", 200, r#"{"resumed":[]}"#),
        ("pause", "broken", 200, r#"{"paused":[{"policy":"broken","schedule":""}]}"#),
        ("resume", "broken", 200, r#"{"resumed":[{"policy":"broken","schedule":""}]}"#),
    ] {
        let (path, body) = (format!("/api/v1/schedules/{verb}"), format!(r#"{{"policy":"{policy}"}}"#));
        let (found, answer) = desk.send("POST", &path, json, &body).await;
        assert!(found == status && answer.contains(problem), "{verb} {policy}: {found} {answer}");
    }
}

#[tokio::test]
async fn a_decision_is_taken_as_json_from_no_web_page_on_a_run_that_waits_for_one() {
    let desk = Desk::open().await;
    let json = "content-type: application/json\r\n";
    let from_page = "content-type: application/json\r\norigin: http://admin\r\n";
    let retry = r#"{"decision": "retry", "by": "ops", "epoch": 1}"#;
    let abandon = r#"{"decision": {"resolve": "abandon"}, "by": "ops", "epoch": 1}"#;
    let (_, runs) = desk.json("/api/v1/runs").await;
    let id = runs["runs"][0]["id"].as_str().expect("a run");
    let failed = "3f9a00000000000000000000";
    let table = [
        (id, "content-type: text/plain\r\n", retry, 415, "application/json"),
        (id, from_page, retry, 403, "web page"),
        (id, json, "{}", 400, "missing field"),
        (id, json, r#"{"decision": "retry", "by": "ops"}"#, 400, "missing field `epoch`"),
        ("ffffffff", json, retry, 404, "no run has an id"),
        ("", json, retry, 404, "no run has an id"),
        (id, json, abandon, 409, "only a held one can be resolved"),
        (id, json, retry, 409, "only a dead or failed one"),
        (
            failed,
            json,
            r#"{"decision": "retry", "by": "ops", "epoch": 0}"#,
            409,
            "is failed anew since you looked",
        ),
        (failed, json, retry, 200, failed),
    ];
    for (id, headers, body, status, problem) in table {
        let (found, answer) = desk.send("POST", &format!("/api/v1/runs/{id}/decision"), headers, body).await;
        assert!(found == status && answer.contains(problem), "{id} {headers} {body}: {found} {answer}");
    }
}

#[test]
fn a_policy_is_shown_without_its_config() {
    let entry = ScheduleEntry {
        cron: Some("0 0 3 * * * *".into()),
        dialect: Some(opsward_core::schedule::Dialect::Scf),
        zone: Some("Asia/Shanghai".into()),
        ..ScheduleEntry::default()
    };
    let settings = PolicySettings {
        session: None,
        name: "nightly-reset".parse().expect("a name"),
        plugin: "nightly-reset.wasm".into(),
        digest: None,
        account: None,
        mode: Mode::DryRun,
        patterns: None,
        schedules: vec![Schedule::parse(&entry).expect("a schedule")],
        grants: Grants::default(),
        config: r#"{"password":"hidden"}"#.into(),
        warnings: Vec::new(),
        secrets: Vec::new(),
        retry: RetrySettings::default(),
        approvers: None,
        guardrails: Guardrails::default(),
    };
    let told = Description {
        name: "nightly-reset".into(),
        version: "0.1.0".into(),
        summary: "Resets".into(),
        triggers: Vec::new(),
        permissions: Vec::new(),
        config_schema: None,
    };
    let shown = policy_json(&settings, Digest::of(b"plugin"), &told, NOW);
    assert_eq!((&shown["mode"], &shown["plugin"]["version"]), (&json!("dry-run"), &json!("0.1.0")));
    assert_eq!(shown["schedules"][0]["next"][0], "2025-11-24 03:00:00 +08:00");
    assert!(!shown.to_string().contains("hidden"));
}

//! The broker's bounds and locks, driven as a guest drives it, with a cloud that answers from memory.

use crate::harness::compiler;
use opsward::broker::{ANSWER_BYTES_MAX, AccountFacts, Broker, Caller, Sender, Session, Stamp};
use opsward::clock::ManualClock;
use opsward::plugin::GuestCalls as _;
use opsward::plugin::engine::{Engine, Limits, Revision};
use opsward::policy::LivePolicy;
use opsward::store::sqlite::SqliteStore;
use opsward::store::{NewEvent, NewRun, Standing, Store as _};
use opsward_core::answer::Verdict;
use opsward_core::call::{CallReply, CallRequest, CallResponse, ErrorKind};
use opsward_core::catalog::Provider;
use opsward_core::config::{load_host, load_policy};
use opsward_core::event::{Event, Wants};
use opsward_core::guardrail::Halt;
use opsward_core::id::{AccountName, RunId};
use opsward_core::run::{Entry, HostReply, HostRequest, Mode, Record, Stop};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;

const HOSTILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-hostile.wasm"));
const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);
const HOST: &str = r#"
[accounts.lab]
provider = "tencent"
credentials = { secret-id = { env = "ID" }, secret-key = { env = "KEY" } }
region = "ap-shanghai"
"#;
const POLICY: &str = r#"
plugin = "hostile.wasm"
account = "lab"
mode = "enforce"
[[allow]]
action = "cbs:DescribeDisks"
[[allow]]
action = "cvm:ResetInstance"
resource = ["ins-1", "ins-2"]
[guardrails]
cool-down = "none"
"#;

#[tokio::test]
async fn answers_that_no_guest_could_hold_are_no_longer_asked_for() {
    const BODY_BYTES: usize = 4 << 20;
    let lab =
        Lab::new(Cloud { body: format!("\"{}\"", "x".repeat(BODY_BYTES - 2)), ..Cloud::default() }).await;
    let mut session = lab.session("reader").await;
    let wanted = ANSWER_BYTES_MAX / BODY_BYTES + 3;
    let read = call("cbs:DescribeDisks", "{}");
    let request = HostRequest::CallAll { requests: vec![read; wanted], max_concurrency: 1 };
    let Ok(HostReply::CallAll(replies)) = session.perform(request).await else { panic!("answers") };
    let refused: Vec<&str> =
        replies.iter().filter_map(|reply| reply.as_ref().err()).map(|error| error.code.as_str()).collect();
    assert_eq!(refused, ["opsward.AnswersTooLarge"; 3]);
    assert_eq!(lab.cloud.sent("DescribeDisks"), wanted - 3);
}

#[tokio::test]
async fn answers_of_earlier_tries_count() {
    const BODY_BYTES: usize = 4 << 20;
    let lab =
        Lab::new(Cloud { body: format!("\"{}\"", "x".repeat(BODY_BYTES - 2)), ..Cloud::default() }).await;
    let of_first = ANSWER_BYTES_MAX / BODY_BYTES / 2;
    let of_second = ANSWER_BYTES_MAX / BODY_BYTES - of_first;
    let ask = async |session: &mut Session, count| {
        let read = call("cbs:DescribeDisks", "{}");
        let request = HostRequest::CallAll { requests: vec![read; count], max_concurrency: 1 };
        let Ok(HostReply::CallAll(replies)) = session.perform(request).await else { panic!("answers") };
        replies.iter().filter(|reply| reply.is_ok()).count()
    };
    let mut session = lab.session("reader").await;
    assert_eq!(ask(&mut session, of_first).await, of_first);
    let (claim, mut records) = session.into_claim();
    records.push(Record::new(NOW, Entry::Retried { why: "it may pass".to_owned(), by: None }));
    lab.store.finish(&claim, records, Standing::Wake { at: NOW, faulted: false }).await.expect("finished");

    let mut session = lab.claimed().await;
    assert_eq!(ask(&mut session, of_second + 2).await, of_second);
    assert_eq!(lab.cloud.sent("DescribeDisks"), of_first + of_second);
    let (claim, records) = session.into_claim();
    lab.store.finish(&claim, records, Standing::Wake { at: NOW, faulted: false }).await.expect("finished");

    let mut session = lab.claimed().await;
    assert_eq!(ask(&mut session, of_second + 2).await, of_second, "what was answered is answered again");
    assert_eq!(lab.cloud.sent("DescribeDisks"), of_first + of_second);
}

#[tokio::test]
async fn one_effect_of_class_once_at_a_time_is_under_way_on_a_resource() {
    let body = r#"{"InstanceSet":[{"InstanceId":"ins-1","InstanceState":"RUNNING"},
        {"InstanceId":"ins-2","InstanceState":"RUNNING"}]}"#;
    let lab = Lab::new(Cloud { body: body.to_owned(), ..Cloud::default() }).await;
    let reset =
        |id: &str| HostRequest::Call(call("cvm:ResetInstance", &format!(r#"{{"InstanceId":"{id}"}}"#)));
    let (mut first, mut second, mut other) =
        (lab.session("first").await, lab.session("second").await, lab.session("other").await);
    let under_way = tokio::spawn(async move { first.perform(reset("ins-1")).await });
    while lab.cloud.sent("ResetInstance") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let waits = second.perform(reset("ins-1")).await;
    assert!(matches!(waits, Err(Stop::WaitUntil { .. })), "{waits:?}");
    lab.cloud.gate.add_permits(3);
    assert!(matches!(other.perform(reset("ins-2")).await, Ok(HostReply::Call(Ok(_)))), "another resource");
    assert!(matches!(under_way.await.expect("no panic"), Ok(HostReply::Call(Ok(_)))));
    assert!(matches!(second.perform(reset("ins-1")).await, Ok(HostReply::Call(Ok(_)))), "its turn");
    assert_eq!(lab.cloud.sent("ResetInstance"), 3);
}

#[tokio::test]
async fn an_effect_whose_policy_is_halted_at_the_last_moment_is_made_when_it_is_resumed() {
    let body = r#"{"InstanceSet":[{"InstanceId":"ins-1","InstanceState":"RUNNING"}]}"#;
    let lab = Lab::new(Cloud { body: body.to_owned(), gated: "DescribeInstances", ..Cloud::default() }).await;
    let reset = || HostRequest::Call(call("cvm:ResetInstance", r#"{"InstanceId":"ins-1"}"#));
    let mut session = lab.session("first").await;
    let under_way = tokio::spawn(async move {
        let ended = session.perform(reset()).await;
        (ended, session.into_claim())
    });
    while lab.cloud.sent("DescribeInstances") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let halt = Halt { policy: None, by: "ops".to_owned(), why: "wrong machines".to_owned(), at: NOW };
    lab.store.halt(halt).await.expect("halted");
    lab.broker.halted.look(lab.store.as_ref()).await;
    lab.cloud.gate.add_permits(1);
    let (ended, (claim, records)) = under_way.await.expect("no panic");
    assert!(matches!(ended, Err(Stop::WaitUntil { .. })), "{ended:?}");
    assert_eq!(lab.cloud.sent("ResetInstance"), 0);
    lab.store.finish(&claim, records, Standing::Wake { at: NOW, faulted: false }).await.expect("finished");

    assert!(lab.store.resume(None, "ops".to_owned(), Timestamp::from_ms(1)).await.expect("resumed"));
    lab.broker.halted.look(lab.store.as_ref()).await;
    lab.cloud.gate.add_permits(9);
    let made = lab.claimed().await.perform(reset()).await;
    assert!(matches!(made, Ok(HostReply::Call(Ok(_)))), "{made:?}");
    assert_eq!(lab.cloud.sent("ResetInstance"), 1);
}

#[tokio::test]
async fn no_effect_rests_on_one_that_was_only_simulated() {
    let body = r#"{"InstanceSet":[{"InstanceId":"ins-1","InstanceState":"RUNNING"}]}"#;
    let lab = Lab::new(Cloud { body: body.to_owned(), ..Cloud::default() }).await;
    lab.cloud.gate.add_permits(9);
    let reset =
        |id: &str| HostRequest::Call(call("cvm:ResetInstance", &format!(r#"{{"InstanceId":"{id}"}}"#)));
    lab.accept("first").await;
    // As where the policy's file says `dry-run` for a while.
    let mut session = lab.claimed_in(Mode::DryRun).await;
    let simulated = session.perform(reset("ins-1")).await;
    assert!(matches!(&simulated, Ok(HostReply::Call(Ok(reply))) if reply.simulated), "{simulated:?}");
    let (claim, records) = session.into_claim();
    lab.store.finish(&claim, records, Standing::Wake { at: NOW, faulted: false }).await.expect("finished");

    let mut session = lab.claimed().await;
    let replayed = session.perform(reset("ins-1")).await;
    assert!(matches!(&replayed, Ok(HostReply::Call(Ok(reply))) if reply.simulated), "{replayed:?}");
    let stopped = session.perform(reset("ins-2")).await;
    assert!(matches!(stopped, Err(Stop::Unapproved { .. })), "{stopped:?}");
    assert_eq!(lab.cloud.sent("ResetInstance"), 0);
}

#[tokio::test]
async fn calls_wait_for_their_turn_at_the_actions_rate() {
    let lab = Lab::new(Cloud::default()).await;
    let mut session = lab.session("reader").await;
    let read = || call("cbs:DescribeDisks", "{}");
    // 100 a second, the first hundred at once.
    let begun = std::time::Instant::now();
    let request = HostRequest::CallAll { requests: (0..220).map(|_| read()).collect(), max_concurrency: 16 };
    let Ok(HostReply::CallAll(replies)) = session.perform(request).await else { panic!("answers") };
    assert!(replies.iter().all(Result::is_ok));
    assert!(begun.elapsed() >= Duration::from_millis(1_150), "220 calls within {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_call_that_the_host_has_no_client_for_is_refused_before_it_is_begun() {
    let lab = Lab::new(Cloud { provider: Provider::Alibaba, ..Cloud::default() }).await;
    let mut session = lab.session("sender").await;
    let send = HostRequest::Call(call("mns:SendMessage", r#"{"QueueName":"q-1"}"#));
    let Ok(HostReply::Call(Err(error))) = session.perform(send).await else { panic!("no refusal") };
    assert_eq!((error.code.as_str(), error.kind), ("opsward.ProtocolNotSpoken", ErrorKind::Invalid));
    assert!(error.message.contains("no client for it yet"), "{error}");
    assert_eq!(lab.cloud.sent("SendMessage"), 0);
    // An intent would be on disk by the time of the answer.
    let runs = lab.store.find_runs("", 10).await.expect("read");
    assert!(runs.len() == 1 && runs[0].ledger.iter().all(|r| !matches!(r.entry, Entry::Intent { .. })));
}

fn call(action: &str, params: &str) -> CallRequest {
    let (service, action) = action.split_once(':').expect("service:Action");
    let (service, action, params) = (service.to_owned(), action.to_owned(), params.to_owned());
    CallRequest { service, action, region: String::new(), params, once: None }
}

/// Answers every call with the same body; calls of one action wait at the gate.
struct Cloud {
    provider: Provider,
    body: String,
    gate: Semaphore,
    gated: &'static str,
    asked: Mutex<Vec<String>>,
}

impl Default for Cloud {
    fn default() -> Self {
        let (gate, asked) = (Semaphore::new(0), Mutex::default());
        Self { provider: Provider::Tencent, body: "{}".to_owned(), gate, gated: "ResetInstance", asked }
    }
}

impl Cloud {
    fn sent(&self, action: &str) -> usize {
        self.asked.lock().expect("lock").iter().filter(|asked| *asked == action).count()
    }
}

impl Sender for Cloud {
    fn account(&self, _: &AccountName) -> Option<AccountFacts> {
        Some(AccountFacts { provider: self.provider, region: Some("ap-shanghai".to_owned()) })
    }

    fn send<'a>(
        &'a self,
        _: Caller<'a>,
        request: &'a CallRequest,
        _: Stamp<'a>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(async move {
            self.asked.lock().expect("lock").push(request.action.clone());
            if request.action == self.gated {
                self.gate.acquire().await.expect("open").forget();
            }
            let reply: CallReply =
                Ok(CallResponse { request_id: "r".into(), body: self.body.clone(), simulated: false });
            Verdict::Answered(reply)
        })
    }

    fn spread(&self) -> u8 {
        0
    }
}

/// A broker with a store of its own.
struct Lab {
    broker: Broker,
    cloud: Arc<Cloud>,
    store: Arc<SqliteStore>,
    policy: Arc<LivePolicy>,
    _dir: TempDir,
}

impl Lab {
    async fn new(cloud: Cloud) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(&dir.path().join("opsward.db")).expect("a store");
        let cloud = Arc::new(cloud);
        let broker = Broker::new(store.clone(), cloud.clone(), Arc::new(ManualClock::at(NOW)));
        let host = load_host("opsward.toml", HOST).expect("settings");
        let settings = load_policy("lab.toml", "lab", POLICY, &host).expect("a policy");
        let policy = Arc::new(LivePolicy { settings, revision: revision().await });
        Self { broker, cloud, store, policy, _dir: dir }
    }

    /// The broker's side of a run on an event of its own.
    async fn session(&self, event: &str) -> Session {
        self.accept(event).await;
        self.claimed().await
    }

    /// Has an event that wakes the policy.
    async fn accept(&self, event: &str) {
        let (source, name) = ("hook".parse().expect("a name"), self.policy.settings.name.clone());
        let id = RunId::derive(&source, event, &name);
        let event = Event {
            source,
            id: event.to_owned(),
            kind: "test".to_owned(),
            subject: None,
            time: NOW,
            data: "{}".to_owned(),
            incident: None,
            account: None,
            region: None,
            level: None,
            transition: None,
        };
        let digest = self.policy.revision.digest;
        let run = NewRun { id, policy: name, digest, wants: Wants::Progress };
        let new = NewEvent { event, raw: Vec::new(), received: NOW, trust: Trust::Proved, runs: vec![run] };
        self.store.accept(vec![new]).await.expect("accepted");
    }

    /// The same of a run that is ready.
    async fn claimed(&self) -> Session {
        self.claimed_in(Mode::Enforce).await
    }

    async fn claimed_in(&self, mode: Mode) -> Session {
        let claimed = self.store.claim(1, NOW).await.expect("claimed").remove(0);
        let work = self.store.take_up(claimed).await.expect("taken up");
        self.broker.session(work, self.policy.clone(), mode)
    }
}

async fn revision() -> Arc<Revision> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-guests");
    let engine = Engine::new(Limits::default(), &cache, compiler()).expect("an engine");
    Arc::new(engine.compile(HOSTILE.to_vec()).await.expect("taken"))
}

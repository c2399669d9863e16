//! What `opsward run` prints, letter by letter.

use super::*;
use crate::store::{NewEvent, NewRun, Standing, Store as _, sqlite::SqliteStore};
use opsward_core::call::{CallError, CallRequest, CallResponse, ErrorKind};
use opsward_core::catalog::Class;
use opsward_core::event::{Event, Wants};
use opsward_core::id::{Digest, RunId};
use opsward_core::run::{Answered, Fault, FaultKind, LogLevel, Mode, Outcome, Record, StateOp, StateReply};
use opsward_core::sender::Trust;
use std::path::Path;

const BEGUN: i64 = 1_763_903_642_123;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(BEGUN + ms)
}

fn call(action: &str, params: &str) -> CallRequest {
    CallRequest {
        service: "ecs".into(),
        action: action.into(),
        region: "cn-hangzhou".into(),
        params: params.into(),
        once: None,
    }
}

fn ok(body: &str) -> Result<CallResponse, CallError> {
    Ok(CallResponse { request_id: "R-1".into(), body: body.into(), simulated: false })
}

fn intent(position: u32, class: Class, request: CallRequest) -> Entry {
    let token = (class == Class::Token).then(|| "3fa91b02c4d5e6f7".to_owned());
    Entry::Intent { position, request, class, token, baseline: None }
}

/// A run with a step of each sort.
fn ledger() -> Vec<Record> {
    let started = |attempt| Entry::Started {
        attempt,
        digest: Digest::of(b"plugin"),
        mode: Mode::Enforce,
        account: None,
    };
    let throttled = CallError {
        kind: ErrorKind::Throttled,
        code: "Throttling.User".into(),
        message: "slow down".into(),
        request_id: None,
        retryable: true,
    };
    let entries = [
        (2, started(1)),
        (
            43,
            Entry::Call {
                position: 0,
                request: call("DescribeDisks", r#"{"InstanceId":"i-bp1","PageSize":100}"#),
                reply: ok(r#"{"RequestId":"R-1","TotalCount":2,"Disks":{"Disk":[]}}"#),
                answered: Answered::Cloud,
            },
        ),
        (
            50,
            intent(
                1,
                Class::Token,
                call("CreateSnapshot", r#"{"DiskId":"d-1","SnapshotName":"reboot_abcdef"}"#),
            ),
        ),
        (50, intent(2, Class::Token, call("CreateSnapshot", r#"{"DiskId":"d-2"}"#))),
        (
            262,
            Entry::Result {
                position: 1,
                reply: ok(r#"{"RequestId":"R-2","SnapshotId":"s-1"}"#),
                answered: Answered::Cloud,
                sends: 2,
            },
        ),
        (270, Entry::Result { position: 2, reply: Err(throttled), answered: Answered::Cloud, sends: 1 }),
        (300, Entry::Log { level: LogLevel::Warn, message: "one disk\nis left".into() }),
        (
            305,
            Entry::Call {
                position: 6,
                request: call("CreateSnapshot", r#"{"DiskId":"d-3"}"#),
                reply: ok(r#"{"SnapshotId":"s-3"}"#),
                answered: Answered::Once { run: RunId::from_text("3f9a0000000000000000abcd") },
            },
        ),
        (
            310,
            Entry::State {
                position: 3,
                op: StateOp::Set { key: "seen".into(), value: b"12".to_vec() },
                reply: StateReply::Written(Ok(1)),
            },
        ),
        (320, Entry::Slept { position: 4, ms: 1000, until: at(1320) }),
        (1330, started(2)),
        (1400, intent(5, Class::Once, call("RebootInstance", r#"{"InstanceId":"i-bp1"}"#))),
        (2000, Entry::Held { position: 5, reason: "was the instance rebooted?".into() }),
    ];
    entries.into_iter().map(|(ms, entry)| Record::new(at(ms), entry)).collect()
}

/// A store with a run per way to stand, closed again. The newest is the one with all of `ledger()`.
async fn store_at(path: &Path) {
    let store = SqliteStore::open(path).expect("opened");
    let outcome = Outcome { summary: "2 snapshots of i-bp1".into(), details: String::new() };
    let fault = Fault { kind: FaultKind::Memory, message: "64 MiB used up".into() };
    let table = [
        ("3f9a", Some((vec![Record::new(at(1840), Entry::Done { outcome })], Standing::Done))),
        ("3f9b", Some((vec![], Standing::Wake { at: at(300_000), faulted: false }))),
        ("77", Some((vec![Record::new(at(9), Entry::Faulted { fault })], Standing::Dead))),
        ("a0", None),
        ("b1", Some((ledger(), Standing::Held))),
    ];
    for (id, finish) in table {
        let run = NewRun {
            id: RunId::from_text(format!("{id:0<24}")),
            policy: "snapshot-on-reboot".parse().expect("a name"),
            digest: Digest::of(b"plugin"),
            wants: Wants::Progress,
        };
        let event = Event {
            source: "cloudmonitor".parse().expect("a name"),
            id: format!("event-{id}"),
            kind: "Instance:SystemFailure.Reboot:Executed".into(),
            subject: Some("i-bp1".into()),
            time: at(0),
            data: "{}".into(),
            incident: None,
            account: None,
            region: None,
            level: None,
            transition: None,
        };
        let new = NewEvent { event, raw: Vec::new(), received: at(0), trust: Trust::Hint, runs: vec![run] };
        store.accept(vec![new]).await.expect("accepted");
        let claim = store.claim(1, at(1)).await.expect("claimed").remove(0).claim;
        if let Some((records, standing)) = finish {
            store.finish(&claim, records, standing).await.expect("finished");
        }
    }
    store.close().await.expect("closed");
}

fn listed(store: &Reader, policy: Option<&str>, state: Option<RunState>, output: Output) -> String {
    let policy = policy.map(|name| name.parse().expect("a name"));
    let mut out = Vec::new();
    list(store, &ListArgs { policy, state, held: false, limit: 20, output }, at(60_000), &mut out)
        .expect("listed");
    String::from_utf8(out).expect("text")
}

fn shown(store: &Reader, id: &str, output: Output) -> Result<String, ShowRunsError> {
    let mut out = Vec::new();
    show(store, &ShowArgs { id: id.to_owned(), output }, at(60_000), &mut out)?;
    Ok(String::from_utf8(out).expect("text"))
}

#[tokio::test]
async fn a_list_has_a_line_per_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("opsward.db");
    store_at(&path).await;
    let store = Reader::open(&path).expect("opened");
    assert_eq!(listed(&store, None, None, Output::Table), LIST);
    assert_eq!(listed(&store, Some("another"), None, Output::Table), "no such runs\n");
    let json = listed(&store, None, Some(RunState::Done), Output::Json);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["runs"][0]["id"], "3f9a00000000000000000000");
    assert_eq!(json["runs"][0]["note"], "2 snapshots of i-bp1");
}

#[tokio::test]
async fn a_run_is_shown_step_by_step() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("opsward.db");
    store_at(&path).await;
    let store = Reader::open(&path).expect("opened");
    assert_eq!(shown(&store, "b1", Output::Table).expect("shown"), SHOWN);
    assert_eq!(shown(&store, "3f9b", Output::Table).expect("shown"), SLEEPING);
    let json: serde_json::Value =
        serde_json::from_str(&shown(&store, "3f9a", Output::Json).expect("shown")).expect("JSON");
    assert_eq!(json["row"]["state"], "done");
    assert_eq!(json["ledger"][0]["entry"]["kind"], "done");
}

#[tokio::test]
async fn an_id_that_fits_no_run_or_several_is_explained() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("opsward.db");
    store_at(&path).await;
    let store = Reader::open(&path).expect("opened");
    let none = shown(&store, "ff", Output::Table).expect_err("no such run");
    assert_eq!(none.to_string(), "no run begins with `ff`; `opsward run ls` lists them");
    let several = shown(&store, "3f9", Output::Table).expect_err("two runs");
    assert_eq!(several.to_string(), SEVERAL);
}

const SHOWN: &str = "\
run b10000000000000000000000  held for 58.0s: settle it with `opsward run resolve --epoch 1`
  policy    snapshot-on-reboot, plugin 5e689e2b0167, enforce
  event     Instance:SystemFailure.Reboot:Executed
  from      cloudmonitor, id event-b1
  subject   i-bp1
  received  2025-11-23 13:14:02.123 UTC
  unknown   was the instance rebooted?

    AT   TOOK  ├────────────────────┤
0.002s         │·                   │  started  try 1, plugin 5e689e2b0167
0.043s  +41ms  │·                   │  read     ecs:DescribeDisks   cn-hangzhou  i-bp1  ok TotalCount=2
0.050s  212ms  │██                  │  token    ecs:CreateSnapshot  cn-hangzhou  d-1    ok SnapshotId=s-1, sent 2 times              token 3fa91b02c4d5
0.050s  220ms  │██                  │  token    ecs:CreateSnapshot  cn-hangzhou  d-2    Throttling.User: slow down                   token 3fa91b02c4d5
0.300s         │   ·                │  log      warn: one disk is left
0.305s   +5ms  │   ·                │  repeat   ecs:CreateSnapshot  cn-hangzhou  d-3    ok, same as run 3f9a00000000 SnapshotId=s-3
0.310s         │   ·                │  state    set seen, 2 bytes: version 1
0.320s  1.00s  │   ██████████       │  slept    until 2025-11-23 13:14:03.443 UTC
1.330s         │             ·      │  started  try 2, plugin 5e689e2b0167
1.400s      ?  │              ?     │  once     ecs:RebootInstance  cn-hangzhou  i-bp1  no answer recorded
2.000s         │                   ·│  held     call 5: was the instance rebooted?
";

const LIST: &str = "\
RUN           STATE    POLICY              EVENT                                     AGE   TOOK  NOTE
b10000000000  held     snapshot-on-reboot  Instance:SystemFailure.Reboot:Executed  1m00s         was the instance rebooted?
a00000000000  running  snapshot-on-reboot  Instance:SystemFailure.Reboot:Executed  1m00s
770000000000  dead     snapshot-on-reboot  Instance:SystemFailure.Reboot:Executed  1m00s    9ms  64 MiB used up
3f9b00000000  ready    snapshot-on-reboot  Instance:SystemFailure.Reboot:Executed  1m00s         wakes in 4m00s
3f9a00000000  done     snapshot-on-reboot  Instance:SystemFailure.Reboot:Executed  1m00s  1.84s  2 snapshots of i-bp1
";

const SEVERAL: &str = "\
`3f9` fits more than one run; type more of it:
  3f9a00000000000000000000  snapshot-on-reboot  done
  3f9b00000000000000000000  snapshot-on-reboot  ready";

const SLEEPING: &str = "\
run 3f9b00000000000000000000  sleeps until 2025-11-23 13:19:02.123 UTC, 4m00s from now
  policy    snapshot-on-reboot, plugin 5e689e2b0167
  event     Instance:SystemFailure.Reboot:Executed
  from      cloudmonitor, id event-3f9b
  subject   i-bp1
  received  2025-11-23 13:14:02.123 UTC
";

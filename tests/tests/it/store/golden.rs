//! Files of the formats that there were, as a release wrote them, in `tests/stores`: every later release opens each of them
//! with all that is in it. Before the format is raised, `OPSWARD_WRITE_STORE=1 cargo test -p opsward-tests golden` writes the
//! file of the present one, which is committed and never written again.

use super::once::{done, intent, key};
use super::*;
use opsward::store::sqlite::check;
use opsward::store::{Decision, Firing, Once, RunFilter};
use opsward_core::id::AccountName;
use opsward_core::run::{
    Answered, Failure, Fault, FaultKind, Mode, Outcome, RunState, StateEntry, StateOp, StateReply,
};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// The first format of which there is a file; `file.rs` makes those before by SQL.
const FIRST: i64 = 5;
/// Events that each wake a run, and where that run stands.
const RUNS: [(&str, RunState); 7] = [
    ("done", RunState::Done),
    ("held", RunState::Held),
    ("asleep", RunState::Ready),
    ("failed", RunState::Failed),
    ("dead", RunState::Dead),
    ("running", RunState::Running),
    ("new", RunState::Ready),
];
const WAKES: i64 = 7 * 24 * 3600 * 1000;

fn file_of(format: i64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("stores/format-{format}.db"))
}

fn format_of(path: &Path) -> i64 {
    let conn = Connection::open(path).expect("opens");
    conn.pragma_query_value(None, "user_version", |row| row.get(0)).expect("read")
}

#[tokio::test]
async fn a_golden_file_of_each_format_opens_with_all_that_is_in_it() {
    let lab = <Sqlite>::new();
    fill(&lab.open_sqlite()).await;
    let present = format_of(&lab.path());
    if std::env::var_os("OPSWARD_WRITE_STORE").is_some() && !file_of(present).exists() {
        std::fs::copy(lab.path(), file_of(present)).expect("written");
    }
    let before: Vec<PathBuf> = (FIRST..present).map(file_of).collect();
    assert!(before.iter().all(|file| file.exists()), "a format was raised without its file: {before:?}");
    for file in before.into_iter().chain(Some(file_of(present)).filter(|file| file.exists())) {
        println!("{}", file.display());
        let copy = <Sqlite>::new();
        std::fs::copy(&file, copy.path()).expect("copied");
        let report = check(&copy.path()).expect("checked");
        assert_eq!(report.findings, Vec::<String>::new(), "as it is");
        holds_all(&copy).await;
        assert_eq!(format_of(&copy.path()), present, "brought up to date");
        assert_eq!(check(&copy.path()).expect("checked").findings, Vec::<String>::new());
    }
}

/// Writes a run of each sort, and closes the store.
async fn fill(store: &SqliteStore) {
    for (id, _) in &RUNS[..6] {
        store.accept(vec![event(id, NOW, &["a"])]).await.expect("accepted");
    }
    let claims = store.claim(6, NOW).await.expect("claimed");
    store.accept(vec![event("new", NOW, &["a"])]).await.expect("accepted");
    for Claimed { claim, event, .. } in claims {
        let name = event.id.as_str();
        match name {
            "done" => {
                for record in [intent(0), done(0, "s-1")] {
                    let first =
                        store.append_effect(&claim, Some(key("answered")), vec![], Some(record)).await;
                    assert_eq!(first.expect("appended"), Once::First);
                }
            }
            "held" => {
                assert_eq!(store.lock(&claim, 0, machine()).await.expect("locked"), None);
                let first =
                    store.append_effect(&claim, Some(key("unanswered")), vec![], Some(intent(0))).await;
                assert_eq!(first.expect("appended"), Once::First);
            }
            "asleep" => {
                let set = StateOp::Set { key: "seen".into(), value: b"12".to_vec() };
                store.state(&claim, &policy("a"), 0, set, NOW).await.expect("written");
            }
            _ => {}
        }
        let to = match name {
            "done" => Standing::Done,
            "held" => Standing::Held,
            "asleep" => Standing::Wake { at: after(WAKES), faulted: true },
            "failed" => Standing::Failed,
            "dead" => Standing::Dead,
            _ => {
                store.append(&claim, last_of(name)).await.expect("appended");
                continue;
            }
        };
        store.finish(&claim, last_of(name), to).await.expect("finished");
    }
    assert_eq!(fire(store, firing(), None).await, Recorded::First);
    store.close().await.expect("closed");
}

/// What a run's ledger ends with: together, each sort of record there is, but those that `fill` writes with a verb of their own.
fn last_of(name: &str) -> Vec<Record> {
    let fault = Fault { kind: FaultKind::Memory, message: "64 MiB used up".into() };
    let started =
        Entry::Started { attempt: 1, digest: Digest::of(b"plugin"), mode: Mode::Enforce, account: None };
    let Entry::Intent { request, .. } = intent(1).entry else { unreachable!("it is one") };
    let Entry::Result { reply, .. } = done(1, "s-2").entry else { unreachable!("it is one") };
    let entries = match name {
        "done" => {
            let outcome = Outcome { summary: "a snapshot".into(), details: "{}".into() };
            vec![
                started,
                Entry::Call { position: 1, request, reply, answered: Answered::ReadBack },
                Entry::NotExecuted { position: 2, why: String::new(), by: Some("ops".into()) },
                Entry::Waited { why: "its turn".into() },
                Entry::Done { outcome },
            ]
        }
        "held" => vec![Entry::Held { position: 0, reason: "was it made?".into() }],
        "asleep" => vec![Entry::Slept { position: 1, ms: WAKES.unsigned_abs(), until: after(WAKES) }],
        "failed" => {
            let (code, message) = ("no".to_owned(), "it did not work".to_owned());
            let failure = Failure { code, message, retryable: false, details: String::new() };
            vec![Entry::Retried { why: String::new(), by: Some("ops".into()) }, Entry::Failed { failure }]
        }
        "dead" => {
            vec![Entry::Faulted { fault }, Entry::Abandoned { position: Some(0), by: "ops".into() }]
        }
        "running" => vec![started, line("begun").entry],
        _ => vec![],
    };
    entries.into_iter().map(|entry| Record::new(NOW, entry)).collect()
}

fn machine() -> Vec<(AccountName, String)> {
    vec![("lab".parse().expect("a name"), "ins-1".to_owned())]
}

fn firing() -> Firing {
    Firing {
        policy: policy("a"),
        schedule: "daily".to_owned(),
        fire_at: NOW,
        decision: Decision::SkippedLate,
        decided_at: NOW,
    }
}

/// Opens the store and looks for what `fill` wrote.
async fn holds_all(lab: &Sqlite) {
    let store = lab.open_sqlite();
    let rows = store.list_runs(RunFilter::default()).await.expect("listed");
    let stand: Vec<_> = rows.iter().rev().map(|row| (row.event_id.as_str(), row.state)).collect();
    // The host that had it is dead.
    let as_opened = |(id, state)| (id, if state == RunState::Running { RunState::Ready } else { state });
    assert_eq!(stand, RUNS.map(as_opened));
    for (row, (name, _)) in rows.iter().rev().zip(RUNS) {
        let run = store.find_runs(row.id.as_str(), 1).await.expect("found").remove(0);
        assert_eq!(run.event, event(name, NOW, &[]).event);
        let ledger = run.whole_ledger().expect("readable");
        let last = last_of(name);
        assert_eq!(ledger[ledger.len() - last.len()..], last, "{name}");
        let first: &[Record] = match name {
            "done" => &[intent(0), done(0, "s-1")],
            "held" => &[intent(0)],
            _ => &[],
        };
        assert!(ledger.starts_with(first), "{name}: {ledger:?}");
    }
    assert_eq!(state_of(&*store, "daily").await.last_fire, Some(NOW));
    assert_eq!(fire(&*store, firing(), None).await, Recorded::Before, "it was decided on");
    let again = store.accept(vec![event("done", NOW, &["a"])]).await.expect("asked");
    assert_eq!(again, [opsward::store::Acceptance::Duplicate]);

    let held = &rows.iter().find(|row| row.event_id == "held").expect("listed").id;
    let made = &rows.iter().find(|row| row.event_id == "done").expect("listed").id;
    let claims = store.claim(9, after(WAKES)).await.expect("claimed");
    let facts: Vec<_> =
        claims.iter().map(|run| (run.event.id.as_str(), run.claim.epoch, run.faults, run.crashes)).collect();
    assert_eq!(facts, [("running", 2, 0, 1), ("new", 1, 0, 0), ("asleep", 2, 1, 0)]);
    let claim = &claims[1].claim;
    assert_eq!(store.lock(claim, 0, machine()).await.expect("asked").as_ref(), Some(held));
    let Entry::Result { reply: Ok(reply), .. } = done(0, "s-1").entry else { unreachable!("it is one") };
    for (name, run, reply) in [("answered", made, Some(reply)), ("unanswered", held, None)] {
        let known = store.append_effect(claim, Some(key(name)), vec![], None).await.expect("asked");
        assert_eq!(known, Once::Later { run: run.clone(), reply }, "{name}");
    }
    let get = StateOp::Get { key: "seen".into() };
    let kept = store.state(claim, &policy("a"), 0, get, NOW).await.expect("asked");
    assert_eq!(kept, StateReply::Value(Some(StateEntry { value: b"12".to_vec(), version: 1 })));
    store.close().await.expect("closed");
}

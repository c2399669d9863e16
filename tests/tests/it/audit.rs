//! The audit chain: what is written into it, that whatever was changed behind the host's back is found and named, and that what was
//! not is not. Whole hosts under fire hold their chains against the clouds' books in `chaos` and `deliveries`.

mod host;
mod tamper;

use crate::harness::{seed, times};
use crate::store::{SINCE_6, SINCE_7, SINCE_8, event};
use opsward::store::sqlite::{AuditReport, Expected, SqliteStore, backup, verify_audit};
use opsward::store::{Claim, Standing, Store as _};
use opsward_core::audit::{Entry as Row, Kind};
use opsward_core::call::{CallError, CallRequest, CallResponse, ErrorKind};
use opsward_core::catalog::Class;
use opsward_core::guardrail::Halt;
use opsward_core::id::{Digest, RunId};
use opsward_core::run::{Answered, Entry, Mode, Record};
use opsward_core::time::Timestamp;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use tamper::{Expect, tamper};

/// Ways to spoil a store that are tried.
const TAMPERINGS: usize = 1000;
const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// A store with a chain, in a directory of its own.
struct Lab(tempfile::TempDir);

/// What is beside the file of a store, and belongs to its chain.
const FILES: [&str; 3] = ["opsward.db", "opsward.db.checkpoints", "opsward.db.audit-key"];

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join(FILES[0])
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self) -> std::sync::Arc<SqliteStore> {
        SqliteStore::open(&self.path()).expect("the store opens")
    }

    /// The files of a store that is closed, elsewhere.
    fn copied(&self) -> Self {
        let copy = Self::new();
        for name in FILES {
            std::fs::copy(self.beside(name), copy.beside(name)).expect("copied");
        }
        copy
    }

    fn verify(&self) -> AuditReport {
        verify(&self.path())
    }

    fn rows(&self) -> Vec<Row> {
        rows(&self.path())
    }
}

fn verify(path: &Path) -> AuditReport {
    verify_audit(path, &Expected::default()).expect("looked at")
}

fn is_good(report: &AuditReport) {
    assert!(report.is_good(), "{report:#?}");
}

/// What the rows of a file say.
fn rows(path: &Path) -> Vec<Row> {
    let conn = Connection::open(path).expect("opens");
    let mut statement = conn.prepare("SELECT entry FROM audit ORDER BY seq").expect("prepared");
    let texts = statement.query_map([], |row| row.get::<_, String>(0)).expect("asked");
    texts.map(|text| serde_json::from_str(&text.expect("text")).expect("an entry")).collect()
}

fn request(disk: &str) -> CallRequest {
    CallRequest {
        service: "ecs".into(),
        action: "CreateSnapshot".into(),
        region: "cn-hangzhou".into(),
        params: format!(r#"{{"DiskId":"{disk}"}}"#),
        once: None,
    }
}

fn intent(position: u32) -> Entry {
    let request = request(&format!("d-{position}"));
    Entry::Intent { position, request, class: Class::Token, token: None, baseline: None }
}

fn result(position: u32, ok: bool) -> Entry {
    let reply = match ok {
        true => Ok(CallResponse { request_id: "r-1".into(), body: "{}".into(), simulated: false }),
        false => Err(error("IncorrectDiskStatus")),
    };
    Entry::Result { position, reply, answered: Answered::Cloud, sends: 1 }
}

fn error(code: &str) -> CallError {
    let kind = ErrorKind::Conflict;
    CallError {
        kind,
        code: code.into(),
        message: String::new(),
        request_id: Some("r-2".into()),
        retryable: false,
    }
}

async fn begun(store: &SqliteStore, id: &str) -> Claim {
    store.accept(vec![event(id, NOW, &["a"])]).await.expect("accepted");
    let claim = store.claim(1, NOW).await.expect("claimed").pop().expect("a run").claim;
    let account = Some("prod".parse().expect("a name"));
    let started = Entry::Started { attempt: 1, digest: Digest::of(b"a"), mode: Mode::Enforce, account };
    store.append_later(&claim, vec![Record::new(NOW, started)]).expect("queued");
    claim
}

async fn effect(store: &SqliteStore, claim: &Claim, entry: Entry) {
    let record = Some(Record::new(NOW, entry));
    store.append_effect(claim, None, vec![], record).await.expect("appended");
}

/// Runs with effects of each sort, and a halt, under several hosts one after the other.
async fn fill(lab: &Lab, hosts: usize) {
    for host in 0..hosts {
        let store = lab.open();
        let claim = begun(&store, &format!("e-{host}")).await;
        for position in 0..3 {
            effect(&store, &claim, intent(position)).await;
            effect(&store, &claim, result(position, position != 1)).await;
        }
        let over = Entry::Call {
            position: 3,
            request: request("d-3"),
            reply: Err(error("opsward.OverGuardrail")),
            answered: Answered::Host,
        };
        store.append_later(&claim, vec![Record::new(NOW, over)]).expect("queued");
        effect(&store, &claim, intent(4)).await;
        let disproved = Entry::NotExecuted { position: 4, why: "read back".into(), by: None };
        effect(&store, &claim, disproved).await;
        let halt = Halt { policy: None, by: "ann".into(), why: "look".into(), at: NOW };
        store.halt(halt).await.expect("halted");
        store.resume(None, "bob".into(), NOW).await.expect("resumed");
        store.finish(&claim, vec![], Standing::Done).await.expect("finished");
        store.close().await.expect("closed");
    }
}

#[tokio::test]
async fn each_record_of_an_effect_and_each_change_has_its_row() {
    let lab = Lab::new();
    fill(&lab, 1).await;
    let rows = lab.rows();
    let kinds: Vec<Kind> = rows.iter().map(|row| row.kind).collect();
    use Kind::{Begun, Change, Intent, NotExecuted, Refused, Result};
    let effects = [Intent, Result, Intent, Result, Intent, Result, Refused, Intent, NotExecuted];
    assert_eq!(kinds, [&[Begun][..], &effects, &[Change, Change]].concat());

    let (intent, failed) = (&rows[1], &rows[4]);
    let run = RunId::derive(&"hook".parse().expect("a name"), "e-0", &"a".parse().expect("a name"));
    assert_eq!(intent.run.as_ref(), Some(&run));
    assert_eq!(intent.policy.as_ref().map(|policy| policy.as_str()), Some("a"));
    assert_eq!(intent.plugin, Some(Digest::of(b"a")));
    assert_eq!(intent.account.as_ref().map(|account| account.as_str()), Some("prod"));
    assert_eq!(intent.action.as_deref(), Some("ecs:CreateSnapshot"));
    assert_eq!((intent.region.as_deref(), intent.class), (Some("cn-hangzhou"), Some(Class::Token)));
    assert_eq!((intent.resources.as_slice(), intent.position), (&["d-0".to_owned()][..], Some(0)));
    assert_eq!(intent.params, Some(Digest::of(br#"{"DiskId":"d-0"}"#)));
    assert_eq!(failed.outcome.as_deref(), Some("IncorrectDiskStatus"));
    assert_eq!((failed.request_id.as_deref(), failed.sends), (Some("r-2"), Some(1)));
    let changes: Vec<_> = rows[10..]
        .iter()
        .map(|row| [&row.by, &row.outcome, &row.target].map(|t| t.as_deref().unwrap()))
        .collect();
    assert_eq!(changes, [["ann", "halt", "all policies"], ["bob", "resume", "all policies"]]);
    is_good(&lab.verify());
}

#[tokio::test]
async fn what_is_not_written_has_no_row_and_leaves_no_gap() {
    let lab = Lab::new();
    let store = lab.open();
    let claim = begun(&store, "e").await;
    effect(&store, &claim, intent(0)).await;
    let past = Claim { epoch: claim.epoch + 1, ..claim.clone() };
    let record = |entry| Some(Record::new(NOW, entry));
    store.append_effect(&past, None, vec![], record(result(0, true))).await.expect_err("lost");
    // One transaction that fails for one of its operations is done again, one by one.
    let pages: u32 = Connection::open(lab.path())
        .and_then(|conn| conn.pragma_query_value(None, "page_count", |row| row.get(0)))
        .expect("counted");
    store.limit_pages(pages + 2).await.expect("limited");
    let large = |n: u32| {
        let Entry::Intent { mut request, class, .. } = intent(n) else { unreachable!("it is one") };
        request.params =
            format!(r#"{{"DiskId":"d-{n}","Description":"{}"}}"#, "x".repeat(40_000 * n as usize));
        Entry::Intent { position: n, request, class, token: None, baseline: None }
    };
    let asked = (0..8).map(|n| store.append_effect(&claim, None, vec![], record(large(n))));
    let written = futures::future::join_all(asked).await.iter().filter(|one| one.is_ok()).count();
    store.limit_pages(0).await.expect("lifted");
    store.close().await.expect("closed");
    let report = lab.verify();
    is_good(&report);
    assert_eq!(report.effects, 1 + written as u64);
}

#[tokio::test]
async fn a_thousand_ways_to_change_a_store_are_found_and_the_first_bad_row_is_named() {
    let mut random = seed("a_thousand_ways_to_change_a_store");
    let lab = Lab::new();
    fill(&lab, 5).await;
    is_good(&lab.verify());
    let mut ways = std::collections::BTreeMap::<&str, usize>::new();
    for n in 0..times(TAMPERINGS, TAMPERINGS * 10, TAMPERINGS * 100) {
        let copy = lab.copied();
        if n % 50 == 0 {
            is_good(&copy.verify());
        }
        let (way, expect) = tamper(&copy, &mut random);
        *ways.entry(way).or_default() += 1;
        let report = copy.verify();
        let found = report.first_bad.as_ref().map(|bad| bad.row);
        match expect {
            Expect::Row(row) => assert_eq!(found, Some(row), "{way}: {report:#?}"),
            Expect::Finding => assert!(!report.is_good(), "{way}: {report:#?}"),
        }
    }
    println!("{ways:?}");
}

#[tokio::test]
async fn a_chain_is_good_beside_a_host_after_a_kill_and_in_a_copy() {
    let lab = Lab::new();
    fill(&lab, 2).await;
    let store = lab.open();
    let claim = begun(&store, "e").await;
    effect(&store, &claim, intent(0)).await;
    is_good(&lab.verify());
    let killed = Lab::new();
    for name in ["opsward.db-wal"].iter().chain(&FILES) {
        std::fs::copy(lab.beside(name), killed.beside(name)).expect("copied");
    }
    is_good(&killed.verify());
    let reopened = killed.open();
    is_good(&killed.verify());
    reopened.close().await.expect("closed");
    is_good(&killed.verify());

    backup(&lab.path(), &lab.beside("copy.db"), NOW).expect("copied");
    let copy = verify(&lab.beside("copy.db"));
    is_good(&copy);
    assert_eq!((copy.unseen.len(), copy.entries), (1, lab.verify().entries));
    // What is cut off a copy shows in a hash that was kept.
    let head = copy.head.expect("known");
    let conn = Connection::open(lab.beside("copy.db")).expect("opens");
    conn.execute("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)", []).expect("cut");
    conn.execute("DELETE FROM ledger WHERE seq = (SELECT max(seq) FROM ledger)", []).expect("cut");
    is_good(&verify(&lab.beside("copy.db")));
    let kept = Expected { hashes: vec![head], ..Expected::default() };
    let report = verify_audit(&lab.beside("copy.db"), &kept).expect("looked at");
    assert!(report.findings[0].contains(&head.to_string()), "{report:#?}");
}

#[tokio::test]
async fn a_restored_copy_goes_on_with_a_row_that_says_so() {
    let lab = Lab::new();
    fill(&lab, 2).await;
    backup(&lab.path(), &lab.beside("copy.db"), NOW).expect("copied");
    fill_on(&lab, "lost").await;
    // The copy in the place of the store, beside the checkpoints of what is lost.
    std::fs::rename(lab.beside("copy.db"), lab.path()).expect("restored");
    fill_on(&lab, "after").await;
    let report = lab.verify();
    is_good(&report);
    assert_eq!(report.restored.len(), 1);
    let rows = lab.rows();
    let restored = rows.iter().find(|row| row.kind == Kind::Restored).expect("noted");
    assert_eq!(restored.target.as_deref(), Some("copy of 2023-11-14T22:13:20.000Z"));

    // An older file without the mark of a copy is none: rows are missing.
    let older = lab.copied();
    fill_on(&lab, "more").await;
    for name in &FILES[1..] {
        std::fs::copy(lab.beside(name), older.beside(name)).expect("copied");
    }
    assert!(!older.verify().is_good());
    fill_on(&older, "instead").await;
    assert!(!older.verify().is_good(), "nor after it was gone on with");
}

async fn fill_on(lab: &Lab, id: &str) {
    let store = lab.open();
    let claim = begun(&store, id).await;
    effect(&store, &claim, intent(0)).await;
    effect(&store, &claim, result(0, true)).await;
    store.finish(&claim, vec![], Standing::Done).await.expect("finished");
    store.close().await.expect("closed");
}

#[tokio::test]
async fn a_store_from_before_the_chain_begins_one_and_its_old_effects_need_no_row() {
    let lab = Lab::new();
    fill(&lab, 2).await;
    let conn = Connection::open(lab.path()).expect("opens");
    conn.execute_batch(&format!("{SINCE_8} {SINCE_7} {SINCE_6} PRAGMA user_version = 6")).expect("set back");
    drop(conn);
    for name in &FILES[1..] {
        std::fs::remove_file(lab.beside(name)).expect("removed");
    }
    let before = lab.verify();
    assert!(before.findings[0].contains("from before the audit chain"), "{before:#?}");
    fill_on(&lab, "after").await;
    let report = lab.verify();
    is_good(&report);
    assert_eq!((report.entries, report.effects), (3, 2));
}

#[tokio::test]
async fn runs_that_were_kept_long_enough_leave_their_rows() {
    let lab = Lab::new();
    fill(&lab, 3).await;
    let store = lab.open();
    let far = Timestamp::from_ms(i64::MAX);
    let gone = store.retain(far, opsward::store::RetainedUpTo::default()).await.expect("deleted");
    assert!(gone.runs > 0);
    store.close().await.expect("closed");
    let report = lab.verify();
    is_good(&report);
    assert!(report.entries > report.effects + gone.runs, "{report:#?}");
}

//! What is particular to the store in a file: who may open it, what it does without space or with a damaged record.

use super::*;
use opsward::store::{Acceptance, Once, OnceKey, RunFilter, Standing, StoreError};
use opsward_core::run::RunState;
use rusqlite::Connection;
use std::path::Path;
use std::task::Poll;

#[tokio::test]
async fn a_second_host_is_refused_and_told_which_file() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    let refused = SqliteStore::open(&lab.path()).err().expect("refused");
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains("opsward.db"), "{refused}");
    drop(store);
    lab.open_sqlite();
}

#[tokio::test]
async fn a_file_that_is_no_store_of_this_release_is_refused_and_left_alone() {
    let later = <Sqlite>::new();
    later.open_sqlite().close().await.expect("closed");
    let newest = format_of(&later.path());
    Connection::open(later.path())
        .and_then(|c| c.pragma_update(None, "user_version", newest + 1))
        .expect("written");
    let too_new = format!("has format {}; this release knows up to {newest}", newest + 1);
    let other = <Sqlite>::new();
    Connection::open(other.path()).and_then(|c| c.execute_batch("CREATE TABLE t (x)")).expect("written");
    let text = <Sqlite>::new();
    std::fs::write(
        text.path(),
        "not a database at all, but long enough to have a header of its own".repeat(20),
    )
    .expect("written");
    let table =
        [(&later, too_new.as_str()), (&other, "is not an opsward store"), (&text, "is not an opsward store")];
    for (lab, expected) in table {
        let before = std::fs::read(lab.path()).expect("read");
        for refused in [SqliteStore::open(&lab.path()).err(), SqliteStore::open_read_only(&lab.path()).err()]
        {
            let message = refused.expect("refused").to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(before == std::fs::read(lab.path()).expect("read"), "untouched");
    }
    let absent = SqliteStore::open(&<Sqlite>::new().path().join("no/such/dir.db")).err().expect("refused");
    assert!(matches!(absent, StoreError::Open { .. }), "{absent}");
}

/// To the kernel, closing any descriptor of a file gives up all the process's locks on it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_question_leaves_the_writers_lock_on_the_file() {
    use std::os::unix::fs::MetadataExt as _;
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    let inode = lab.path().metadata().expect("metadata").ino();
    let (pid, file) = (format!(" {} ", std::process::id()), format!(":{inode} "));
    let locked = || {
        let locks = std::fs::read_to_string("/proc/locks").expect("readable");
        locks.lines().any(|line| line.contains("POSIX") && line.contains(&pid) && line.contains(&file))
    };
    assert!(locked(), "the writer marks the file as in use");
    store.list_runs(RunFilter::default()).await.expect("listed");
    assert!(locked(), "and it stays so when a reader has been opened");
}

#[tokio::test]
async fn a_reader_needs_no_host_and_disturbs_none() {
    let lab = <Sqlite>::new();
    assert!(SqliteStore::open_read_only(&lab.path()).is_err(), "there is nothing to read");
    let store = lab.open_sqlite();
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    let reader = SqliteStore::open_read_only(&lab.path()).expect("beside a host");
    let count = |reader: &opsward::store::sqlite::Reader| {
        reader.list_runs(&RunFilter::default()).expect("listed").len()
    };
    assert_eq!(count(&reader), 1);
    store.accept(vec![event("e2", NOW, &["a"])]).await.expect("accepted");
    assert_eq!(count(&reader), 2);
    drop(reader);
    store.close().await.expect("closed");
    assert_eq!(count(&SqliteStore::open_read_only(&lab.path()).expect("without a host")), 2);
    lab.open_sqlite();
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_lets_reads_through() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept(vec![event("small", NOW, &["a"])]).await.expect("accepted");
    store.limit_pages(1).await.expect("set");
    let mut large = event("large", NOW, &["a"]);
    large.event.data = format!("\"{}\"", "x".repeat(100_000));
    for _ in 0..2 {
        let refused = store.accept(vec![event("also", NOW, &["a"]), large.clone()]).await;
        assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    }
    assert_eq!(
        store.list_events(EventFilter::latest(0)).await.expect("listed").len(),
        1,
        "nothing of it was written"
    );
    assert_eq!(store.next_wake().await.expect("asked"), Some(NOW));

    store.limit_pages(0).await.expect("lifted");
    store.accept(vec![large]).await.expect("accepted");
    let rows = store.list_runs(RunFilter::default()).await.expect("listed");
    assert_eq!(rows.iter().map(|row| row.event_id.as_str()).collect::<Vec<_>>(), ["large", "small"]);
}

#[tokio::test]
async fn a_claim_whose_records_did_not_fit_is_over_and_its_run_ready_again() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept(vec![event("e1", NOW, &["a"]), event("e2", NOW, &["a"])]).await.expect("accepted");
    let claimed = store.claim(2, NOW).await.expect("claimed");
    let [first, second] = [&claimed[0].claim, &claimed[1].claim];
    store.limit_pages(1).await.expect("set");
    store.append_later(first, vec![line(&"x".repeat(100_000))]).expect("queued");
    let lost = store.append(first, vec![line("after the gap")]).await;
    assert!(matches!(lost, Err(StoreError::Lost(_))), "{lost:?}");
    let refused = store.finish(second, vec![line(&"x".repeat(100_000))], Standing::Done).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");

    store.limit_pages(0).await.expect("lifted");
    let again = store.claim(10, NOW).await.expect("claimed");
    assert_eq!(again.iter().map(|c| c.event.id.as_str()).collect::<Vec<_>>(), ["e1", "e2"]);
    for claimed in again {
        assert_eq!(claimed.claim.epoch, 2);
        assert!(store.take_up(claimed).await.expect("taken up").ledger.is_empty());
    }
}

#[tokio::test]
async fn runs_claimed_for_somebody_who_has_left_are_for_the_next() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    // After a host that died a claim waits for the disk, and can be left meanwhile.
    let killed = lab.killed();
    let store = killed.open_sqlite();
    let mut left = store.claim(1, NOW);
    // Polled once it is with the writer; nobody takes the answer.
    let pending = std::future::poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_pending())).await;
    assert!(pending);
    drop(left);
    let mut claimed = Vec::new();
    for _ in 0..1000 {
        claimed = store.claim(1, NOW).await.expect("claimed");
        if !claimed.is_empty() {
            break;
        }
    }
    assert_eq!(claimed.len(), 1);
}

#[tokio::test]
async fn a_run_with_an_unreadable_ledger_is_held_and_the_others_go_on() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept(vec![event("bad", NOW, &["a"]), event("good", NOW, &["a"])]).await.expect("accepted");
    for run in store.claim(2, NOW).await.expect("claimed") {
        store.append(&run.claim, vec![line("x")]).await.expect("appended");
    }
    store.close().await.expect("closed");
    drop(store);
    let damage = "UPDATE ledger SET records = '{\"v\":1' WHERE seq = (SELECT min(seq) FROM ledger)";
    Connection::open(lab.path()).and_then(|c| c.execute(damage, [])).expect("damaged");
    let store = lab.open_sqlite();
    for run in store.claim(10, NOW).await.expect("claimed") {
        let event = run.event.id.clone();
        match store.take_up(run).await {
            Ok(work) => assert_eq!((event.as_str(), work.ledger.len()), ("good", 1)),
            Err(error) => {
                assert!(event == "bad" && matches!(error, StoreError::Unreadable { .. }), "{error}")
            }
        }
    }
    let held = RunFilter { state: Some(RunState::Held), ..RunFilter::default() };
    let rows = store.list_runs(held).await.expect("listed");
    assert_eq!(rows.len(), 1);
    assert!(rows[0].note.as_deref().is_some_and(|note| note.contains("unreadable record")), "{rows:?}");
}

#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = <Sqlite>::new();
    let _store = lab.open_sqlite();
    for entry in std::fs::read_dir(lab.0.path()).expect("read") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("its mode").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn events_and_runs_stay_known_while_they_move_into_the_indices() {
    let lab = Sqlite::<5>::new();
    let all: Vec<NewEvent> = (0..40).map(|n| event(&format!("e{n}"), NOW, &["a"])).collect();
    let mut store = lab.open_sqlite();
    for (n, new) in all.iter().enumerate() {
        store.accept(vec![new.clone()]).await.expect("accepted");
        if n % 7 == 6 {
            drop(store);
            store = lab.open_sqlite();
        }
        for old in &all[..=n] {
            let again = store.accept(vec![old.clone()]).await.expect("accepted");
            assert_eq!(again, [Acceptance::Duplicate], "{}", old.event.id);
        }
        for old in &all[..=n] {
            let found = store.find_runs(old.runs[0].id.as_str(), 9).await.expect("found");
            assert_eq!(found.iter().map(|run| &run.event.id).collect::<Vec<_>>(), [&old.event.id]);
        }
    }
    assert_eq!(store.find_runs("", 100).await.expect("found").len(), 40);
    let indexed: i64 = Connection::open(lab.path())
        .and_then(|c| c.query_row("SELECT count(*) FROM run_ids", [], |row| row.get(0)))
        .expect("counted");
    assert!(indexed > 20, "{indexed} are in the index");
}

#[tokio::test]
async fn a_file_of_a_format_before_is_brought_up_to_date() {
    let since_3 = "DROP INDEX runs_suspect; ALTER TABLE runs DROP COLUMN crashes;";
    let since_2 = "DROP TABLE locks;";
    let since_1 = "DROP TABLE once_keys;";
    let steps = [since_1, since_2, since_3, SINCE_4, SINCE_5, SINCE_6, SINCE_7, SINCE_8];
    for before in 1..=steps.len() {
        let lab = <Sqlite>::new();
        let store = lab.open_sqlite();
        store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
        let claim = claim_one(&*store).await.claim;
        store.append(&claim, vec![line("of the format before")]).await.expect("appended");
        store.close().await.expect("closed");
        drop(store);
        let undone: String = steps[before - 1..].iter().rev().copied().collect();
        let alarm = "INSERT INTO incidents (incident, policy, transitions, heard, event) VALUES (x'01', '', 128, 5, 1), (x'01', 'a', 128, NULL, NULL);";
        let alarm = if before == 8 { alarm } else { "" };
        let older = format!("{undone} {alarm} PRAGMA user_version = {before}");
        Connection::open(lab.path()).and_then(|c| c.execute_batch(&older)).expect("written");
        let reader = SqliteStore::open_read_only(&lab.path()).expect("a reader takes it as it is");
        let found = reader.find_runs("", 9).expect("found");
        assert_eq!(messages(&found[0].ledger), ["of the format before"]);

        let store = lab.open_sqlite();
        let claimed = work_on_one(&*store).await;
        assert_eq!(messages(&claimed.ledger), ["of the format before"]);
        let key = OnceKey { policy: policy("a"), action: "ecs:CreateSnapshot".into(), key: "k".into() };
        let asked =
            store.append_effect(&claimed.claim, Some(key), vec![], Some(line("x"))).await.expect("asked");
        assert_eq!(asked, Once::First);
        let conn = Connection::open(lab.path()).expect("opens");
        let unsummed = "SELECT count(*) FILTER (WHERE sum IS NULL), count(sum) FROM ledger";
        let rows: [i64; 2] =
            conn.query_row(unsummed, [], |row| Ok([row.get(0)?, row.get(1)?])).expect("read");
        let expected = if before < 5 { [1, 1] } else { [0, 2] };
        assert_eq!((format_of(&lab.path()), rows), (steps.len() as i64 + 1, expected));
        let kept = "SELECT count(*) FROM incidents WHERE gravity = 255 AND since IS heard";
        let kept: i64 = conn.query_row(kept, [], |row| row.get(0)).expect("read");
        assert_eq!(kept, if before == 8 { 2 } else { 0 }, "an alarm that goes on is not graver");
    }
}

/// The format of the file at `path`.
fn format_of(path: &Path) -> i64 {
    let conn = Connection::open(path).expect("opens");
    conn.pragma_query_value(None, "user_version", |row| row.get(0)).expect("read")
}

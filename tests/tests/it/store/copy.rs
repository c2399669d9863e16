//! Copies of a store in a file: whole although it is written meanwhile, marked, and known for what they are once opened.

use super::*;
use opsward::store::sqlite::{BackupError, Bounds, backup, check, compact};
use opsward::store::{Acceptance, Restored, StoreError};
use rusqlite::Connection;
use std::path::PathBuf;

impl<const INDEXING_AT: usize> Sqlite<INDEXING_AT> {
    /// A place beside the store.
    fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_under_writes_is_whole_and_has_what_was_answered() {
    let lab = Sqlite::<50>::new();
    let store = lab.open_sqlite();
    for n in 0..200 {
        store.accept(vec![event(&format!("before-{n}"), NOW, &["a"])]).await.expect("accepted");
    }
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let accepted = store.accept(vec![event(&format!("meanwhile-{n}"), NOW, &["a", "b"])]).await;
                if accepted.is_err() {
                    return n;
                }
                for run in store.claim(2, NOW).await.unwrap_or_default() {
                    store.append(&run.claim, vec![line("meanwhile")]).await.ok();
                }
            }
            0
        })
    };
    let (path, to) = (lab.path(), lab.beside("copy.db"));
    let report = tokio::task::spawn_blocking(move || backup(&path, &to, after(5))).await.expect("joined");
    let report = report.expect("copied");
    store.close().await.expect("closed");
    assert!(writing.await.expect("joined") > 0, "there were writes meanwhile");
    assert_eq!(report.findings, Vec::<String>::new());
    assert_eq!(report.copy.expect("marked").taken_at, after(5));

    let bounds = Bounds { indexed_at: 50, ..Bounds::default() };
    let copy = SqliteStore::open_within(&lab.beside("copy.db"), bounds).expect("opens");
    for n in 0..200 {
        let again = copy.accept(vec![event(&format!("before-{n}"), NOW, &["a"])]).await.expect("accepted");
        assert_eq!(again, [Acceptance::Duplicate], "{n}");
    }
}

#[tokio::test]
async fn a_copy_is_for_its_owner_only_and_written_over_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = <Sqlite>::new();
    let _store = lab.open_sqlite();
    let to = lab.beside("copy.db");
    backup(&lab.path(), &to, NOW).expect("copied");
    assert_eq!(to.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&to).expect("read");
    let refused = backup(&lab.path(), &to, NOW).expect_err("refused");
    assert!(matches!(refused, BackupError::Exists(_)), "{refused}");
    assert!(before == std::fs::read(&to).expect("read"), "untouched");
    let nowhere = backup(&lab.path(), &lab.beside("no/such/copy.db"), NOW).expect_err("refused");
    assert!(matches!(nowhere, BackupError::Write { .. }), "{nowhere}");
    let nothing = backup(&lab.beside("none.db"), &lab.beside("copy-2.db"), NOW).expect_err("refused");
    assert!(matches!(nothing, BackupError::Store(StoreError::Open { .. })), "{nothing}");
    let names = std::fs::read_dir(lab.0.path()).expect("listed").map(|e| e.expect("an entry").file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains("backup")).collect();
    assert!(left.is_empty(), "nothing half done is left: {left:?}");
}

#[tokio::test]
async fn a_damaged_store_gives_no_copy_that_passes_for_whole() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    store.close().await.expect("closed");
    super::damage::ruin_page_of(&lab.path(), "ledger");
    let refused = backup(&lab.path(), &lab.beside("copy.db"), NOW).expect_err("refused");
    assert!(matches!(refused, BackupError::Store(StoreError::Damaged { .. })), "{refused}");
    assert!(!lab.beside("copy.db").exists());
}

#[tokio::test]
async fn a_copy_that_a_host_opens_is_a_restored_store_from_then_on() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    assert_eq!(store.restored(), None);
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    let [first, second] = ["copy.db", "copy-2.db"].map(|name| lab.beside(name));
    backup(&lab.path(), &first, after(5)).expect("copied");
    store.close().await.expect("closed");
    drop(store);
    assert_eq!(lab.open_sqlite().restored(), None, "the store itself is none");

    // A copy of a copy is as old as the first; neither looking nor shrinking is restoring.
    backup(&first, &second, after(9)).expect("copied");
    let sizes = compact(&second).expect("left as it is");
    assert_eq!(sizes.before, sizes.after);
    let looked_at = check(&second).expect("checked");
    let mark = looked_at.copy.expect("still marked");
    assert_eq!((mark.taken_at, mark.backup_of), (after(5), lab.path().display().to_string()));
    assert_eq!(looked_at.restored, None);

    let restored = |path: &std::path::Path| SqliteStore::open(path).expect("opens").restored();
    let Restored { taken_at, opened_at } = restored(&second).expect("restored");
    assert_eq!(taken_at, after(5));
    assert!(opened_at > taken_at);
    assert_eq!(restored(&second), Some(Restored { taken_at, opened_at }), "it stays so");
    assert_eq!(check(&second).expect("checked").copy, None);

    // A copy of it that is restored again tells of the later time.
    let third = lab.beside("copy-3.db");
    backup(&second, &third, opened_at).expect("copied");
    let again = restored(&third).expect("restored");
    assert_eq!(again.taken_at, opened_at);
}

/// Whoever puts a copy into a lost store's place may forget what a killed host left beside it.
#[tokio::test]
async fn a_copy_beside_the_wal_of_another_file_is_refused_and_not_ruined() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    backup(&lab.path(), &lab.beside("copy.db"), NOW).expect("copied");
    store.accept(vec![event("e2", NOW, &["a"])]).await.expect("accepted");
    let killed = lab.killed();
    std::fs::copy(lab.beside("copy.db"), killed.path()).expect("restored");
    let before = std::fs::read(killed.path()).expect("read");
    let refused = SqliteStore::open(&killed.path()).err().expect("refused");
    assert!(matches!(refused, StoreError::ForeignWal { .. }), "{refused}");
    assert!(refused.to_string().contains("opsward.db-wal` belongs to the file that was there before"));
    assert!(before == std::fs::read(killed.path()).expect("read"), "untouched");
    std::fs::remove_file(killed.beside("opsward.db-wal")).expect("removed");
    let restored = killed.open_sqlite();
    assert!(restored.restored().is_some());
    assert_eq!(restored.list_events(EventFilter::latest(0)).await.expect("listed").len(), 1);
    // Killed once more, it has a WAL of its own.
    restored.accept(vec![event("e3", NOW, &["a"])]).await.expect("accepted");
    assert_eq!(
        killed.killed().open_sqlite().list_events(EventFilter::latest(0)).await.expect("listed").len(),
        2
    );
}

#[tokio::test]
async fn a_copy_of_a_file_of_a_format_before_is_marked_and_brought_up_to_date() {
    let lab = <Sqlite>::new();
    lab.open_sqlite().close().await.expect("closed");
    let older = format!("{SINCE_8} {SINCE_7} {SINCE_6} {SINCE_5} {SINCE_4} PRAGMA user_version = 4");
    Connection::open(lab.path()).and_then(|c| c.execute_batch(&older)).expect("written");
    let report = backup(&lab.path(), &lab.beside("copy.db"), after(5)).expect("copied");
    assert_eq!((report.format, report.findings.len()), (Some(4), 0));
    let restored = SqliteStore::open(&lab.beside("copy.db")).expect("opens").restored();
    assert_eq!(restored.map(|restored| restored.taken_at), Some(after(5)));
}

#[tokio::test]
async fn a_compacted_store_is_smaller_and_knows_what_it_knew() {
    let lab = Sqlite::<5>::new();
    let store = lab.open_sqlite();
    for n in 0..40 {
        let mut new = event(&format!("e{n}"), NOW, &["a"]);
        new.event.data = format!("\"{}\"", "x".repeat(20_000));
        store.accept(vec![new]).await.expect("accepted");
    }
    let refused = compact(&lab.path()).expect_err("refused");
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    store.close().await.expect("closed");
    drop(store);
    let shrink = "UPDATE events SET data = '1', raw = NULL WHERE seq <= 30";
    Connection::open(lab.path()).and_then(|c| c.execute(shrink, [])).expect("written");
    let sizes = compact(&lab.path()).expect("shrunk");
    assert!(sizes.after * 2 < sizes.before, "{sizes:?}");
    assert_eq!(lab.path().metadata().expect("there").len(), sizes.after);
    assert!(matches!(compact(&lab.beside("none.db")), Err(StoreError::Open { .. })));
    assert!(!lab.beside("none.db").exists());
    let store = lab.open_sqlite();
    for n in 0..40 {
        let known = store.accept(vec![event(&format!("e{n}"), NOW, &["a"])]).await.expect("accepted");
        assert_eq!(known, [Acceptance::Duplicate]);
    }
    assert_eq!(check(&lab.path()).expect("checked").findings, Vec::<String>::new());
}

//! What a store in a file does when a disk or a hand has changed it: a record holds its run, a page refuses the start, and
//! every refusal says what to do next.

use super::*;
use opsward::store::sqlite::{Bounds, check};
use opsward::store::{Decision, Firing, RunFilter, StoreError};

use opsward_core::run::RunState;
use rusqlite::Connection;
use std::path::Path;

/// Two runs, each with a record and an event that can be found in the file by their text.
async fn two_runs() -> Sqlite {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept(vec![event("event-1", NOW, &["a"]), event("event-2", NOW, &["a"])]).await.expect("accepted");
    for run in store.claim(2, NOW).await.expect("claimed") {
        let text = format!("record of {}", run.event.id);
        store.append(&run.claim, vec![line(&text)]).await.expect("appended");
    }
    store.close().await.expect("closed");
    lab
}

/// Changes bits of the first byte of `text`, wherever the file has it.
pub(crate) fn flip(file: &Path, text: &str, bits: u8) {
    let mut bytes = std::fs::read(file).expect("read");
    let places: Vec<usize> = bytes
        .windows(text.len())
        .enumerate()
        .filter(|(_, w)| *w == text.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "the file has `{text}`");
    for at in places {
        bytes[at] ^= bits;
    }
    std::fs::write(file, bytes).expect("written");
}

/// Overwrites the first page of `table`.
pub(crate) fn ruin_page_of(file: &Path, table: &str) {
    let conn = Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opens");
    let sql = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = ?1";
    let [page, size] =
        conn.query_row(sql, [table], |row| Ok([row.get::<_, i64>(0)?, row.get(1)?])).expect("found");
    drop(conn);
    let [page, size] = [page, size].map(|n| usize::try_from(n).expect("positive"));
    let mut bytes = std::fs::read(file).expect("read");
    bytes[(page - 1) * size..page * size].fill(0xff);
    std::fs::write(file, bytes).expect("written");
}

/// The runs that are handed out and the notes of those that are held.
async fn claimed_and_held(lab: &Sqlite) -> (Vec<String>, Vec<String>) {
    let store = lab.open_sqlite();
    let mut claimed = Vec::new();
    for run in store.claim(10, NOW).await.expect("claimed") {
        match store.take_up(run).await {
            Ok(work) => claimed.push(work),
            Err(error) => assert!(matches!(error, StoreError::Unreadable { .. }), "{error}"),
        }
    }
    let held = Connection::open(lab.path()).expect("opens");
    let mut held = held.prepare("SELECT note FROM runs WHERE state = 2").expect("prepared");
    let notes = held.query_map([], |row| row.get(0)).and_then(Iterator::collect).expect("read");
    (claimed.into_iter().map(|work| work.run.event.id).collect(), notes)
}

#[tokio::test]
async fn a_changed_bit_in_a_record_holds_that_run_and_the_others_go_on() {
    // The first leaves good JSON behind, the second no text at all.
    for (bits, problem) in [(0x01, "its checksum is wrong"), (0x80, "its checksum is wrong")] {
        let lab = two_runs().await;
        flip(&lab.path(), "record of event-1", bits);
        let (claimed, held) = claimed_and_held(&lab).await;
        assert_eq!(claimed, ["event-2"], "{bits:#x}");
        assert!(held.len() == 1 && held[0].contains("unreadable record of run"), "{held:?}");
        assert!(held[0].contains(problem), "{held:?}");
    }
}

#[tokio::test]
async fn a_changed_bit_in_an_event_or_a_name_holds_its_run_and_the_others_go_on() {
    let run = event("event-1", NOW, &["a"]).runs[0].id.clone();
    for text in ["{\"n\":\"event-1\"}", "event-1", run.as_str()] {
        let lab = two_runs().await;
        flip(&lab.path(), text, 0x80);
        let (claimed, held) = claimed_and_held(&lab).await;
        assert_eq!(claimed, ["event-2"], "{text}");
        assert!(held.len() == 1 && held[0].contains("unreadable record"), "{text}: {held:?}");
        assert!(!check(&lab.path()).expect("checked").findings.is_empty(), "{text}");
    }
}

#[tokio::test]
async fn a_damaged_page_met_when_a_run_is_taken_up_ends_the_store_and_is_checked_for_at_the_next_start() {
    let lab = two_runs().await;
    let store = lab.open_sqlite();
    let run = store.claim(1, NOW).await.expect("claimed").remove(0);
    ruin_page_of(&lab.path(), "ledger");
    let error = store.take_up(run).await.expect_err("damaged");
    assert!(matches!(error, StoreError::Sqlite(_)), "{error}");
    assert!(matches!(store.ended().await, StoreError::Closed(_)));
    drop(store);
    let conn = Connection::open(lab.path()).expect("opens");
    let clean = conn.query_row("SELECT clean FROM shutdown", [], |row| row.get::<_, bool>(0)).expect("read");
    assert!(!clean, "it does not count as closed");
    drop(conn);
    assert!(matches!(SqliteStore::open(&lab.path()).map(drop), Err(StoreError::Damaged { .. })));
}

#[tokio::test]
async fn a_record_does_not_pass_for_one_of_another_run() {
    let lab = two_runs().await;
    let swap = "UPDATE ledger SET run = 3 - run WHERE run IN (1, 2)";
    Connection::open(lab.path()).and_then(|c| c.execute(swap, [])).expect("written");
    let (claimed, held) = claimed_and_held(&lab).await;
    assert_eq!((claimed.len(), held.len()), (0, 2));
}

#[tokio::test]
async fn a_run_is_shown_without_the_record_that_was_changed_and_with_what_is_wrong() {
    let lab = two_runs().await;
    flip(&lab.path(), "record of event-1", 0x01);
    let reader = SqliteStore::open_read_only(&lab.path()).expect("opens");
    let rows = reader.list_runs(&RunFilter::default()).expect("listed");
    let shown = |event: &str| {
        let row = rows.iter().find(|row| row.event_id == event).expect("listed");
        assert_eq!(row.state, RunState::Running);
        reader.find_runs(row.id.as_str(), 1).expect("found").pop().expect("one")
    };
    let damaged = shown("event-1");
    assert_eq!(messages(&damaged.ledger), [""; 0]);
    assert!(matches!(damaged.whole_ledger(), Err(StoreError::Unreadable { .. })));
    assert_eq!(damaged.damage, ["row 1 of its ledger: its checksum is wrong: it is not what was written"]);
    let whole = shown("event-2");
    assert_eq!(messages(whole.whole_ledger().expect("readable")), ["record of event-2"]);
}

#[tokio::test]
async fn a_run_whose_event_was_changed_is_listed_and_shown_as_far_as_it_can_be_read() {
    let run = event("event-1", NOW, &["a"]).runs[0].id.clone();
    for text in ["{\"n\":\"event-1\"}", "event-1", "hook"] {
        let lab = two_runs().await;
        flip(&lab.path(), text, 0x80);
        let reader = SqliteStore::open_read_only(&lab.path()).expect("opens");
        assert_eq!(reader.list_runs(&RunFilter::default()).expect("listed").len(), 2, "{text}");
        assert_eq!(reader.list_events(&EventFilter::latest(9)).expect("listed").len(), 2, "{text}");
        let shown = reader.find_runs(run.as_str(), 1).expect("found").pop().expect("one");
        assert_eq!(shown.event.kind, "Disk:Stalled");
        assert!(shown.damage.iter().any(|problem| problem.starts_with("its event: ")), "{:?}", shown.damage);
        assert!(shown.whole_ledger().is_err(), "{text}: nothing is decided on a part of it");
    }
}

#[tokio::test]
async fn a_damaged_page_refuses_the_start() {
    for table in ["ledger", "events", "firings", "once_keys"] {
        let lab = two_runs().await;
        ruin_page_of(&lab.path(), table);
        let before = std::fs::read(lab.path()).expect("read");
        let refused = SqliteStore::open(&lab.path()).err().expect("refused");
        assert!(matches!(refused, StoreError::Damaged { .. }), "{table}: {refused}");
        let told = refused.to_string();
        assert!(told.contains("is damaged (Tree ") && !told.contains('\n'), "{table}: {told}");
        assert!(before == std::fs::read(lab.path()).expect("read"), "{table}: untouched");
    }
}

#[tokio::test]
async fn a_large_file_is_checked_only_if_it_was_not_closed() {
    let large = Bounds { checked_bytes: 0, ..Bounds::default() };
    let lab = two_runs().await;
    let store = lab.open_sqlite();
    let killed = lab.killed();
    drop(store);
    for lab in [&lab, &killed] {
        ruin_page_of(&lab.path(), "firings");
    }
    SqliteStore::open_within(&lab.path(), large).expect("closed well, and taken at its word");
    let refused = SqliteStore::open_within(&killed.path(), large).err().expect("refused");
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

#[tokio::test]
async fn every_refusal_says_which_file_and_what_to_do_next() {
    let [used, damaged, later, other] =
        [two_runs().await, two_runs().await, two_runs().await, <Sqlite>::new()];
    let _host = used.open_sqlite();
    ruin_page_of(&damaged.path(), "ledger");
    Connection::open(later.path()).and_then(|c| c.pragma_update(None, "user_version", 99)).expect("written");
    Connection::open(other.path()).and_then(|c| c.execute_batch("CREATE TABLE t (x)")).expect("written");
    let locked = two_runs().await;
    let by_hand = Connection::open(locked.path()).expect("opens");
    by_hand.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let table = [
        (used.path(), "stop it first"),
        (locked.path(), "stop it first"),
        (damaged.path(), "`opsward db check` lists what is; then restore the latest backup"),
        (later.path(), "use the newer opsward that wrote it"),
        (other.path(), "name another file in `[store] url`"),
        (other.path().join("no/such/dir.db"), "its directory must exist"),
    ];
    for (path, next) in table {
        let refused = SqliteStore::open(&path).err().expect("refused").to_string();
        assert!(refused.contains(next), "{refused}");
        assert!(refused.contains(path.to_str().expect("a path")), "{refused}");
    }
}

#[tokio::test]
async fn a_check_finds_whatever_does_not_fit_together() {
    let lab = Sqlite::<3>::new();
    let store = lab.open_sqlite();
    for n in 0..9 {
        a_run_that_ended(&*store, &format!("e{n}"), NOW).await;
    }
    store.accept(vec![event("last", NOW, &["a"])]).await.expect("accepted");
    let claim = claim_one(&*store).await.claim;
    store.append_effect(&claim, Some(once::key("k")), vec![], Some(once::intent(1))).await.expect("appended");
    let firing = Firing {
        policy: policy("a"),
        schedule: "daily".to_owned(),
        fire_at: NOW,
        decision: Decision::SkippedLate,
        decided_at: NOW,
    };
    assert_eq!(fire(&*store, firing, None).await, Recorded::First);
    store.close().await.expect("closed");
    let sound = check(&lab.path()).expect("checked");
    assert_eq!((sound.findings, sound.unsummed), (Vec::new(), 0));

    for (tampering, finding) in [
        ("DELETE FROM event_keys", "event 1: its key is missing"),
        ("INSERT INTO event_keys VALUES (x'00')", "1 keys belong to no event"),
        ("DELETE FROM run_ids", "it is missing in the index of ids"),
        ("UPDATE run_ids SET run = run + 1", "the index of ids leads to another row or none"),
        ("UPDATE tally SET runs = 5 WHERE state = 3", "9 runs are done, and 5 are counted as such"),
        ("DELETE FROM events WHERE seq = 1", "its event is missing"),
        ("DELETE FROM runs WHERE seq = 1", "row 1 of the ledger belongs to no run"),
        ("UPDATE runs SET state = 9 WHERE seq = 1", "run "),
        ("UPDATE events SET source = 'No Name' WHERE seq = 1", "event 1: "),
        ("UPDATE firings SET decision = 9", "decision 1 on a schedule: "),
        (
            "INSERT INTO incidents (incident, policy, transitions) VALUES (x'00', 'a', 512)",
            "1 rows cannot be read",
        ),
        ("UPDATE once_keys SET reply = '{'", "natural key k of a: "),
        (
            "INSERT INTO locks VALUES ('a', 'i-1', 'no-run', 0)",
            "lock on i-1: run no-run has ended or is gone",
        ),
        ("UPDATE ledger SET records = '{', sum = NULL WHERE seq = 1", "row 1 of its ledger: "),
    ] {
        let copy = Sqlite::<3>::new();
        std::fs::copy(lab.path(), copy.path()).expect("copied");
        Connection::open(copy.path()).and_then(|c| c.execute_batch(tampering)).expect("written");
        let report = check(&copy.path()).expect("checked");
        assert!(report.whole, "{tampering}: {:?}", report.findings);
        assert!(report.findings.iter().any(|f| f.contains(finding)), "{tampering}: {:?}", report.findings);
    }
}

#[tokio::test]
async fn a_check_names_a_hundred_findings_and_counts_the_others() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept((0..150).map(|n| event(&format!("e{n}"), NOW, &[])).collect()).await.expect("accepted");
    store.close().await.expect("closed");
    Connection::open(lab.path())
        .and_then(|c| c.execute("UPDATE events SET source = ''", []))
        .expect("written");
    let report = check(&lab.path()).expect("checked");
    assert_eq!((report.findings.len(), report.more_findings), (100, 50));
}

#[tokio::test]
async fn a_damaged_row_of_an_incident_keeps_no_notice_out_and_is_put_right_by_the_next() {
    use super::incidents::{notice, woken};
    use opsward_core::event::Transition::{Executed, Executing, Firing};
    let executed = |nth: u32| notice(&format!("hook/{nth}"), "i", Executed, &["a"]);
    let fires = |nth: u32| notice(&format!("hook/f{nth}"), "alarm", Firing, &["a"]);
    // Where the incident stands is unknown: what has woken whom still counts. What that was is: then it wakes once more.
    for (row, of_repeated) in [("policy = ''", ""), ("policy = 'a'", "a"), ("true", "a")] {
        for damage in ["transitions = 70000", "transitions = -1", "transitions = 512"] {
            let lab = <Sqlite>::new();
            let store = lab.open_sqlite();
            assert_eq!(woken(&*store, vec![executed(1), fires(1)]).await, ["a", "a"]);
            store.close().await.expect("closed");
            drop(store);
            let sql = format!("UPDATE incidents SET {damage} WHERE {row}");
            Connection::open(lab.path()).and_then(|c| c.execute_batch(&sql)).expect("written");
            let store = lab.open_sqlite();
            let late = notice("hook/late", "i", Executing, &["a"]);
            let then = woken(&*store, vec![executed(2), executed(3), late]).await;
            assert_eq!(then, [of_repeated, "", ""], "{sql}");
            // An alarm may have begun anew, and nobody can know any more whether it has.
            assert_eq!(woken(&*store, vec![fires(2), fires(3)]).await, ["a", ""], "{sql}");
            store.close().await.expect("closed");
            assert_eq!(check(&lab.path()).expect("checked").findings, Vec::<String>::new(), "{sql}");
        }
    }
}

//! The promises of `Store` about cursors, each against any store; and the one in a file at a full disk.

use super::*;
use opsward::store::{Acceptance, Cursor, StoreError};
use opsward_core::id::SourceName;

fn source() -> SourceName {
    "hook".parse().expect("a source name")
}

fn at(key: &str, value: &str) -> Option<Cursor> {
    Some(Cursor { source: source(), key: key.to_owned(), value: value.to_owned() })
}

async fn stands(store: &dyn Store, key: &str) -> Option<String> {
    store.cursor(&source(), key).await.expect("asked")
}

pub(super) async fn a_cursor_moves_with_the_events_before_it_and_through_a_kill<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    assert_eq!(stands(&*store, "shard-0").await, None);
    let first = vec![event("e1", NOW, &["a"])];
    let accepted = store.accept_at(first.clone(), at("shard-0", "10")).await.expect("accepted");
    assert_eq!(accepted, [Acceptance::New { runs: 1 }]);
    let again = [first, vec![event("e2", NOW, &[])]].concat();
    let accepted = store.accept_at(again, at("shard-0", "20")).await.expect("accepted");
    assert_eq!(accepted, [Acceptance::Duplicate, Acceptance::New { runs: 0 }]);
    store.accept(vec![event("e3", NOW, &[])]).await.expect("accepted");

    let killed = lab.killed();
    assert_eq!(stands(&*killed.open(), "shard-0").await.as_deref(), Some("20"));
    store.accept_at(vec![], at("shard-0", "15")).await.expect("accepted");
    assert_eq!(stands(&*store, "shard-0").await.as_deref(), Some("15"), "who reads says where, back as well");
}

pub(super) async fn cursors_are_told_by_source_and_key<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    store.accept_at(vec![], at("shard-0", "10")).await.expect("accepted");
    store.accept_at(vec![], at("shard-1", "7")).await.expect("accepted");
    let other = Cursor {
        source: "other".parse().expect("a source name"),
        key: "shard-0".to_owned(),
        value: "99".to_owned(),
    };
    store.accept_at(vec![], Some(other.clone())).await.expect("accepted");
    store.close().await.expect("closed");
    let store = lab.open();
    assert_eq!(stands(&*store, "shard-0").await.as_deref(), Some("10"));
    assert_eq!(stands(&*store, "shard-1").await.as_deref(), Some("7"));
    assert_eq!(store.cursor(&other.source, &other.key).await.expect("asked"), Some(other.value));
}

#[tokio::test]
async fn a_cursor_stays_where_its_events_find_no_room() {
    let lab = <Sqlite>::new();
    let store = lab.open_sqlite();
    store.accept_at(vec![event("e1", NOW, &[])], at("shard-0", "1")).await.expect("accepted");
    store.limit_pages(1).await.expect("limited");
    let large = |id: String| {
        let mut new = event(&id, NOW, &[]);
        new.raw = vec![b'x'; 64 * 1024];
        new
    };
    let mut refused = None;
    for n in 0..64 {
        let moved = at("shard-0", &format!("full-{n}"));
        match store.accept_at(vec![large(format!("full-{n}"))], moved).await {
            Ok(_) => {}
            Err(error) => refused = Some((n, error)),
        }
        if refused.is_some() {
            break;
        }
    }
    let (n, error) = refused.expect("the disk is full at some time");
    assert!(matches!(error, StoreError::Full), "{error}");
    let before = if n == 0 { "1".to_owned() } else { format!("full-{}", n - 1) };
    assert_eq!(stands(&*store, "shard-0").await, Some(before));
    store.limit_pages(0).await.expect("lifted");
    let accepted = store.accept_at(vec![large(format!("full-{n}"))], at("shard-0", "on")).await;
    assert_eq!(accepted.expect("accepted"), [Acceptance::New { runs: 0 }]);
    assert_eq!(stands(&*store, "shard-0").await.as_deref(), Some("on"));
}

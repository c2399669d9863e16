//! What `opsward event ls` and `show` print, letter by letter.

use super::*;
use crate::store::{NewEvent, NewRun, Store as _};
use opsward_core::event::{Event, Wants};
use opsward_core::id::{Digest, RunId};
use opsward_core::sender::Trust;
use std::path::PathBuf;

const BEGUN: i64 = 1_763_903_642_123;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(BEGUN + ms)
}

/// A store with four notices of an incident, of which the last two are late and repeated, and one event of its own; closed again.
async fn store_at(path: &std::path::Path) {
    let store = SqliteStore::open(path).expect("opened");
    let incident = Some("alibaba:e-1");
    let reboot = "Instance:SystemFailure.Reboot";
    let table = [
        ("n-1", "cloudmonitor", format!("{reboot}:Scheduled"), incident, Some(Transition::Scheduled)),
        ("n-2", "cloudmonitor", format!("{reboot}:Executed"), incident, Some(Transition::Executed)),
        ("n-3", "cloudmonitor", format!("{reboot}:Executing"), incident, Some(Transition::Executing)),
        ("n-2", "bus", format!("ecs:{reboot}"), incident, Some(Transition::Executed)),
        ("d-1\u{1b}[2J", "bus", "Disk:Stalled".to_owned(), None, None),
    ];
    for (nth, (id, source, kind, incident, transition)) in (0..).zip(table) {
        let source: SourceName = source.parse().expect("a name");
        let policy = "snapshot-on-reboot".parse().expect("a name");
        let run = NewRun {
            id: RunId::derive(&source, id, &policy),
            policy,
            digest: Digest::of(b"plugin"),
            wants: Wants::Progress,
        };
        let event = Event {
            source,
            id: id.into(),
            kind,
            subject: Some("acs:ecs:cn-hangzhou:123:instance/i-1".into()),
            time: at(nth * 60_000 - 500),
            data: r#"{"content":{"eventId":"e-1"}}"#.into(),
            incident: incident.map(str::to_owned),
            account: Some("123".into()),
            region: Some("cn-hangzhou".into()),
            level: Some("CRITICAL".into()),
            transition,
        };
        let new = NewEvent {
            event,
            raw: Vec::new(),
            received: at(nth * 60_000),
            trust: Trust::Proved,
            runs: vec![run],
        };
        store.accept(vec![new]).await.expect("accepted");
    }
    store.close().await.expect("closed");
}

async fn lab() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("opsward.db");
    store_at(&path).await;
    (directory, path)
}

fn listed(path: &std::path::Path, args: &ListArgs) -> String {
    let store = SqliteStore::open_read_only(path).expect("opened");
    let mut out = Vec::new();
    list_at(&store, args, at(300_000), &mut out).expect("printed");
    String::from_utf8(out).expect("text")
}

fn shown(path: &std::path::Path, id: &str, source: Option<&str>, output: Output) -> Result<String, String> {
    let store = SqliteStore::open_read_only(path).expect("opened");
    let source = source.map(|name| name.parse().expect("a name"));
    let mut out = Vec::new();
    let shown = show_at(&store, &ShowArgs { id: id.to_owned(), source, output }, at(300_000), &mut out);
    shown.map_err(|problem| problem.to_string())?;
    Ok(String::from_utf8(out).expect("text"))
}

#[tokio::test]
async fn events_are_listed_with_how_far_their_incident_had_come() {
    let (_directory, path) = lab().await;
    let all = ListArgs { limit: 20, ..ListArgs::default() };
    assert_eq!(
        listed(&path, &all),
        "\
ID       SOURCE        TYPE                                     AT         SUBJECT         AGE  RUNS
d-1 [2J  bus           Disk:Stalled                                        instance/i-1  1m00s     1
n-2      bus           ecs:Instance:SystemFailure.Reboot        executed   instance/i-1  2m00s     0
n-3      cloudmonitor  Instance:SystemFailure.Reboot:Executing  executing  instance/i-1  3m00s     0
n-2      cloudmonitor  Instance:SystemFailure.Reboot:Executed   executed   instance/i-1  4m00s     1
n-1      cloudmonitor  Instance:SystemFailure.Reboot:Scheduled  scheduled  instance/i-1  5m00s     1
"
    );
    let some = ListArgs {
        incident: Some("alibaba:e-1".into()),
        kind: Some("instance:*".into()),
        source: Some("cloudmonitor".parse().expect("a name")),
        ..all.clone()
    };
    assert_eq!(listed(&path, &some).lines().count(), 4);
    let none = ListArgs { incident: Some("other".into()), ..all.clone() };
    assert_eq!(listed(&path, &none), "no such events\n");
    let json = listed(&path, &ListArgs { output: Output::Json, ..all });
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["events"][1]["event"]["transition"], "executed");
}

#[tokio::test]
async fn an_event_is_shown_with_what_else_came_of_its_incident() {
    let (_directory, path) = lab().await;
    let run = RunId::derive(
        &"cloudmonitor".parse().expect("a name"),
        "n-2",
        &"snapshot-on-reboot".parse().expect("a name"),
    );
    let expected = format!(
        "\
event n-2
  type      Instance:SystemFailure.Reboot:Executed
  from      cloudmonitor
  subject   acs:ecs:cn-hangzhou:123:instance/i-1
  level     CRITICAL
  account   123
  region    cn-hangzhou
  time      2025-11-23 13:15:01.623 UTC
  received  2025-11-23 13:15:02.123 UTC, 4m00s ago
  incident  alibaba:e-1
  at        executed
  run       {run}  snapshot-on-reboot  ready

   RECEIVED                     AT         NEWS      SOURCE        ID   RUNS
   2025-11-23 13:14:02.123 UTC  scheduled  new       cloudmonitor  n-1     1
>  2025-11-23 13:15:02.123 UTC  executed   moves on  cloudmonitor  n-2     1
   2025-11-23 13:16:02.123 UTC  executing  late      cloudmonitor  n-3     0
   2025-11-23 13:17:02.123 UTC  executed   repeated  bus           n-2     0

{{
  \"content\": {{
    \"eventId\": \"e-1\"
  }}
}}
"
    );
    let text = shown(&path, "n-2", Some("cloudmonitor"), Output::Table).expect("shown");
    assert_eq!(text, expected);
    let alone = shown(&path, "d-1", None, Output::Table).expect("shown");
    assert!(!alone.contains("NEWS") && !alone.contains('\u{1b}'), "{alone}");
    let json: Value =
        serde_json::from_str(&shown(&path, "n-3", None, Output::Json).expect("shown")).expect("JSON");
    assert_eq!(
        (json["incident"].as_array().map(Vec::len), &json["event"]["event"]["id"]),
        (Some(4), &"n-3".into())
    );
}

#[tokio::test]
async fn an_id_that_fits_none_or_several_says_what_to_type() {
    let (_directory, path) = lab().await;
    let several = shown(&path, "n-2", None, Output::Table).expect_err("two sources have it");
    assert!(several.contains("--source") && several.contains("n-2  bus"), "{several}");
    let several = shown(&path, "n-…", None, Output::Table).expect_err("four begin so");
    assert!(several.contains("n-1  cloudmonitor"), "{several}");
    let none = shown(&path, "x", None, Output::Table).expect_err("none");
    assert!(none.contains("opsward event ls"), "{none}");
}

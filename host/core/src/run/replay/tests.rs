//! Replay by tables of records: what is answered from the ledger, what is live, what diverges, and what a new try keeps.

use super::*;
use crate::run::LogLevel;

fn t(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn request(action: &str) -> CallRequest {
    CallRequest {
        service: "ecs".into(),
        action: action.into(),
        region: "cn-hangzhou".into(),
        params: "{}".into(),
        once: None,
    }
}

fn reply(id: &str) -> CallReply {
    Ok(CallResponse { request_id: id.into(), body: "{}".into(), simulated: false })
}

fn intent(position: u32, action: &str) -> Entry {
    Entry::Intent {
        position,
        request: request(action),
        class: Class::Token,
        token: Some("t".into()),
        baseline: None,
    }
}

fn ledger() -> Vec<Record> {
    let read = Entry::Call {
        position: 0,
        request: request("DescribeDisks"),
        reply: reply("r0"),
        answered: Answered::Cloud,
    };
    let result = Entry::Result { position: 1, reply: reply("r1"), answered: Answered::Cloud, sends: 1 };
    vec![
        Record::new(t(10), read),
        Record::new(t(11), intent(1, "CreateSnapshot")),
        Record::new(t(12), intent(2, "CreateSnapshot")),
        Record::new(t(15), result),
        Record::new(t(16), Entry::Log { level: LogLevel::Info, message: "x".into() }),
    ]
}

#[test]
fn answers_of_all_tries_are_counted() {
    let mut both = ledger();
    both.push(Record::new(t(20), Entry::Retried { why: "x".into(), by: None }));
    both.extend(ledger());
    let counted = [&[][..], &ledger(), &both].map(crate::run::answer_bytes);
    assert_eq!(counted, [0, 2 * "{}".len(), 4 * "{}".len()]);
}

#[test]
fn recorded_calls_answer_as_before_and_the_first_unrecorded_one_is_live() {
    let mut replay = Replay::new(&ledger(), t(9));
    assert_eq!(replay.now(), t(9));
    assert_eq!(replay.call(&request("DescribeDisks")), Next::Recorded(reply("r0")));
    assert_eq!(replay.now(), t(10));
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Recorded(reply("r1")));
    assert_eq!(replay.now(), t(15));
    let Next::Open(2, open) = replay.call(&request("CreateSnapshot")) else { panic!("not open") };
    assert_eq!((open.class, open.token.as_deref(), open.since), (Class::Token, Some("t"), t(12)));
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Live(3));
}

#[test]
fn an_effect_that_did_not_take_place_is_live_again_and_counted() {
    let mut ledger = ledger();
    ledger.push(Record::new(t(17), Entry::NotExecuted { position: 2, why: "unchanged".into(), by: None }));
    let mut replay = Replay::new(&ledger, t(9));
    assert_eq!(replay.open(), None);
    for action in ["DescribeDisks", "CreateSnapshot"] {
        replay.call(&request(action));
    }
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Live(2));
    ledger.push(Record::new(t(18), intent(2, "CreateSnapshot")));
    let replay = Replay::new(&ledger, t(9));
    assert_eq!(
        replay.open().map(|(position, open)| (position, open.since, open.disproofs)),
        Some((2, t(18), 1))
    );
}

#[test]
fn nothing_is_sent_after_the_run_was_begun_again() {
    let started = |at| {
        let digest = crate::id::Digest::of(b"plugin");
        Record::new(
            t(at),
            Entry::Started { attempt: 1, digest, mode: crate::run::Mode::Enforce, account: None },
        )
    };
    let mut ledger = vec![started(5), Record::new(t(11), intent(0, "CreateSnapshot"))];
    let sent_by = |ledger: &[Record]| Replay::new(ledger, t(1)).open().and_then(|(_, open)| open.sent_by);
    assert_eq!(sent_by(&ledger), None);
    ledger.extend([started(30), started(60)]);
    assert_eq!(sent_by(&ledger), Some(t(30)));
}

#[test]
fn a_new_try_reads_again_and_makes_no_effect_twice() {
    let mut ledger = ledger();
    let result = Entry::Result { position: 2, reply: reply("r2"), answered: Answered::Cloud, sends: 1 };
    ledger.push(Record::new(t(17), result));
    ledger.push(Record::new(t(20), Entry::Retried { why: "a failure that may pass".into(), by: None }));
    let mut replay = Replay::new(&ledger, t(9));
    assert_eq!((replay.now(), replay.unreached()), (t(20), None));
    assert!(replay.is_new_log_line());
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Made(0, reply("r1")));
    assert_eq!(replay.call(&request("DescribeDisks")), Next::Live(1));
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Made(2, reply("r2")));
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Live(3), "it made two, and no more");

    // What the new try took is taken for a replay of it, and still made for a third.
    let again = Entry::Call {
        position: 0,
        request: request("CreateSnapshot"),
        reply: reply("r1"),
        answered: Answered::EarlierTry,
    };
    ledger.push(Record::new(t(21), again));
    let mut replay = Replay::new(&ledger, t(9));
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Recorded(reply("r1")));
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Made(1, reply("r2")));
    ledger.push(Record::new(t(30), Entry::Retried { why: "again".into(), by: None }));
    let mut replay = Replay::new(&ledger, t(9));
    let made: Vec<_> = (0..3).map(|_| replay.call(&request("CreateSnapshot"))).collect();
    let live = made.iter().filter(|next| matches!(next, Next::Live(_))).count();
    assert_eq!(live, 1, "{made:?}");
}

#[test]
fn an_effect_like_one_that_an_earlier_try_made_has_a_token_of_its_own() {
    let (source, policy) = ("s".parse().expect("name"), "p".parse().expect("name"));
    let input = |position| {
        let (event_id, action, params) = ("e", "ecs:CreateSnapshot@cn-hangzhou", "{}");
        TokenInput { source: &source, event_id, policy: &policy, position, nth: 0, action, params }
    };
    let intent_at = |position, token: &str| match intent(position, "CreateSnapshot") {
        Entry::Intent { request, class, baseline, .. } => {
            Entry::Intent { position, request, class, token: Some(token.to_owned()), baseline }
        }
        other => other,
    };
    let result = |position, reply| Entry::Result { position, reply, answered: Answered::Cloud, sends: 1 };
    let refused = || Err(crate::retry::refusal(crate::call::ErrorKind::Conflict, "Busy", String::new()));
    let fresh = Replay::new(&[], t(9));
    let tokens: Vec<String> = (0..3).map(|position| fresh.token(input(position))).collect();
    // A read comes first, an effect that is made, one that is not; the next try has no read.
    let mut ledger = vec![
        Record::new(t(11), intent_at(1, &tokens[1])),
        Record::new(t(12), result(1, reply("r1"))),
        Record::new(t(13), intent_at(2, &tokens[2])),
        Record::new(t(14), result(2, refused())),
        Record::new(t(20), Entry::Retried { why: "again".into(), by: None }),
    ];
    let mut replay = Replay::new(&ledger, t(9));
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Made(0, reply("r1")));
    assert_eq!(replay.call(&request("CreateSnapshot")), Next::Live(1));
    let second = replay.token(input(1));
    assert_ne!(second, tokens[1], "the cloud would answer it with the first");
    assert_eq!(replay.token(input(2)), tokens[2], "nothing was made with that one");
    // Whatever became of the host since: until there is a result, it is the same.
    ledger.push(Record::new(t(21), intent_at(1, &second)));
    assert_eq!(Replay::new(&ledger, t(9)).token(input(1)), second);
    ledger.push(Record::new(t(22), result(1, reply("r2"))));
    let third = Replay::new(&ledger, t(9)).token(input(1));
    assert!(third != second && third != tokens[1]);
}

#[test]
fn an_effect_that_failed_is_made_in_a_new_try() {
    let error = crate::retry::refusal(crate::call::ErrorKind::Conflict, "Busy", String::new());
    let failed = Entry::Result { position: 0, reply: Err(error), answered: Answered::Cloud, sends: 1 };
    let ledger = [
        Record::new(t(11), intent(0, "CreateSnapshot")),
        Record::new(t(12), failed),
        Record::new(t(20), Entry::Retried { why: "again".into(), by: None }),
    ];
    assert_eq!(Replay::new(&ledger, t(9)).call(&request("CreateSnapshot")), Next::Live(0));
}

#[test]
fn an_end_before_a_recorded_call_and_an_open_effect_are_noticed() {
    let mut replay = Replay::new(&ledger(), t(9));
    assert_eq!(replay.unreached(), Some(2));
    assert_eq!(replay.open().map(|(position, open)| (position, open.since)), Some((2, t(12))));
    for action in ["DescribeDisks", "CreateSnapshot", "CreateSnapshot"] {
        replay.call(&request(action));
    }
    assert_eq!(replay.unreached(), None);
    assert_eq!(Replay::new(&ledger()[..1], t(9)).open(), None);
}

#[test]
fn another_request_at_a_recorded_position_is_a_divergence() {
    for other in
        [request("DescribeInstances"), CallRequest { params: "{\"a\":1}".into(), ..request("DescribeDisks") }]
    {
        assert!(matches!(Replay::new(&ledger(), t(9)).call(&other), Next::Diverged(_)), "{other:?}");
    }
    let long = CallRequest { params: "é".repeat(100_000), ..request("DescribeDisks") };
    let Next::Diverged(message) = Replay::new(&ledger(), t(9)).call(&long) else { panic!("diverged") };
    assert!(message.len() < 1000, "{} bytes", message.len());
    assert!(matches!(Replay::new(&ledger(), t(9)).sleep(5), Next::Diverged(_)));
    let get = StateOp::Get { key: "k".into() };
    assert!(matches!(Replay::new(&ledger(), t(9)).state(&get), Next::Diverged(_)));
}

#[test]
fn a_sleep_is_recorded_by_its_end_and_moves_the_runs_time() {
    let slept = Record::new(t(20), Entry::Slept { position: 0, ms: 1000, until: t(1020) });
    let mut replay = Replay::new(&[slept], t(9));
    assert_eq!(replay.sleep(1000), Next::Recorded(t(1020)));
    assert_eq!(replay.now(), t(1020));
    assert_eq!(replay.sleep(1000), Next::Live(1));
}

#[test]
fn log_lines_of_a_replayed_stretch_are_not_new() {
    let mut replay = Replay::new(&ledger(), t(9));
    assert!(!replay.is_new_log_line());
    assert!(replay.is_new_log_line());
}

#[test]
fn the_runs_time_never_goes_back() {
    let mut replay = Replay::new(&ledger(), t(100));
    replay.call(&request("DescribeDisks"));
    assert_eq!(replay.now(), t(100));
}

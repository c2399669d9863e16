//! Tables for plans, their hash, the comparison with what is done, and who may decide.

use super::*;
use crate::call::{CallError, CallReply, CallResponse, ErrorKind};
use crate::catalog::Class;
use crate::run::{Entry, Record, RunState};

fn t(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
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

fn effect(action: &str, params: &str, answer: &str) -> PlannedCall {
    PlannedCall { request: call(action, params), fate: Fate::Effect, answer: answer.into() }
}

const SIMULATED: &str = r#"{"RequestId":"dry-run-0","SnapshotId":"s-dryrun0001"}"#;

/// A snapshot, and an image of it.
fn plan() -> Plan {
    let calls = vec![
        effect("CreateSnapshot", r#"{"DiskId":"d-1"}"#, SIMULATED),
        effect("CreateImage", r#"{"SnapshotId":"s-dryrun0001"}"#, r#"{"RequestId":"dry-run-1"}"#),
    ];
    Plan { calls, cut: String::new() }
}

fn names(names: &[&str]) -> Vec<ApproverName> {
    names.iter().map(|name| name.parse().expect("a name")).collect()
}

fn asked(minimum: u32) -> Asked {
    Asked {
        nth: 1,
        hash: Digest::of(b"plan"),
        facts: Digest::of(b"facts"),
        plan: plan(),
        approvers: names(&["alice", "bob", "carol"]),
        minimum,
        expires: t(1000),
        changed: String::new(),
    }
}

fn at(ms: i64, entry: Entry) -> Record {
    Record::new(t(ms), entry)
}

fn approved(by: &str, enough: bool) -> Record {
    at(20, Entry::Approved { nth: 1, by: by.parse().expect("a name"), enough })
}

fn waits(minimum: u32) -> Vec<Record> {
    vec![at(10, Entry::Asked { asked: Box::new(asked(minimum)) })]
}

fn choice(by: &str, verdict: Verdict) -> Choice {
    Choice { nth: 1, hash: Digest::of(b"plan").to_string(), verdict, by: by.parse().expect("a name") }
}

#[test]
fn the_hash_changes_with_everything_that_is_approved_and_with_nothing_else() {
    let [policy, other]: [PolicyName; 2] = ["p", "q"].map(|name| name.parse().expect("a name"));
    let account: AccountName = "prod".parse().expect("a name");
    let [run, another] = ["01", "02"].map(RunId::from_text);
    let plan = plan();
    let digest = Digest::of(b"wasm");
    let base = Terms {
        digest,
        policy: &policy,
        run: &run,
        account: Some(&account),
        file: digest,
        facts: digest,
        plan: &plan,
    };
    let changed = |change: fn(&mut Plan)| {
        let mut changed = plan.clone();
        change(&mut changed);
        changed
    };
    let plans = [
        changed(|plan| plan.calls[0].request.params = r#"{"DiskId":"d-2"}"#.into()),
        changed(|plan| plan.calls[0].request.region = "cn-beijing".into()),
        changed(|plan| plan.calls[0].request.action = "DeleteSnapshot".into()),
        changed(|plan| plan.calls[0].request.once = Some("key".into())),
        changed(|plan| plan.calls[0].fate = Fate::Made),
        changed(|plan| plan.calls[0].fate = Fate::Refused { code: "opsward.NotGranted".into() }),
        changed(|plan| plan.calls.reverse()),
        changed(|plan| plan.calls.truncate(1)),
        changed(|plan| plan.calls.extend(plan.calls.clone())),
        // What only an effect can tell becomes a fixed value.
        changed(|plan| plan.calls[1].request.params = r#"{"SnapshotId":"s-somethingelse"}"#.into()),
    ];
    let others = plans.iter().map(|plan| Terms { plan, ..base });
    let others = others.chain([
        Terms { digest: Digest::of(b"other"), ..base },
        Terms { policy: &other, ..base },
        Terms { run: &another, ..base },
        Terms { account: None, ..base },
        Terms { file: Digest::of(b"other"), ..base },
        Terms { facts: Digest::of(b"other"), ..base },
    ]);
    let mut hashes: Vec<Digest> = others.map(|terms| terms.hash()).collect();
    hashes.push(base.hash());
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);

    // The simulated id is made up: another one in its place means the same.
    let renamed = changed(|plan| {
        plan.calls[0].answer = SIMULATED.replace("s-dryrun0001", "s-dryrun0777");
        plan.calls[1].request.params = r#"{"SnapshotId":"s-dryrun0777"}"#.into();
    });
    assert_eq!(Terms { plan: &renamed, ..base }.hash(), base.hash());
}

#[test]
fn only_the_approved_bytes_pass_in_the_approved_order_and_nothing_after_another() {
    let [snapshot, image] = plan().calls.map_requests();
    let real = call("CreateImage", r#"{"SnapshotId":"s-real00001"}"#);
    let answer = r#"{"RequestId":"R","SnapshotId":"s-real00001"}"#;
    // The calls that the policy makes, and which of them pass.
    let cases: [(&str, Vec<CallRequest>, &str); 9] = [
        ("as approved", vec![snapshot.clone(), real.clone()], "++"),
        ("the simulated id itself", vec![snapshot.clone(), image.clone()], "+-"),
        ("another id", vec![snapshot.clone(), call("CreateImage", r#"{"SnapshotId":"s-other00001"}"#)], "+-"),
        ("altered", vec![call("CreateSnapshot", r#"{"DiskId":"d-2"}"#), real.clone()], "--"),
        ("in another region", vec![CallRequest { region: "cn-beijing".into(), ..snapshot.clone() }], "-"),
        ("with a key", vec![CallRequest { once: Some("k".into()), ..snapshot.clone() }], "-"),
        ("one left out", vec![real.clone()], "-"),
        ("one more", vec![snapshot.clone(), real.clone(), snapshot.clone()], "++-"),
        ("one between", vec![snapshot.clone(), call("Other", "{}"), real.clone()], "+--"),
    ];
    for (what, calls, expected) in cases {
        let mut follow = Follow::new(&plan());
        let passed: String = calls
            .iter()
            .map(|request| {
                let step = follow.next(request);
                follow.answered(step.at, answer);
                if step.approved { '+' } else { '-' }
            })
            .collect();
        assert_eq!(passed, expected, "{what}");
    }
}

trait MapRequests {
    fn map_requests(self) -> [CallRequest; 2];
}

impl MapRequests for Vec<PlannedCall> {
    fn map_requests(self) -> [CallRequest; 2] {
        let requests: Vec<CallRequest> = self.into_iter().map(|call| call.request).collect();
        requests.try_into().expect("two calls")
    }
}

#[test]
fn what_is_refused_or_made_in_the_plan_is_never_sent_on_its_word() {
    for fate in [Fate::Made, Fate::Refused { code: "opsward.NotGranted".into() }] {
        let mut changed = plan();
        changed.calls[0].fate = fate;
        let mut follow = Follow::new(&changed);
        let [snapshot, _] = plan().calls.map_requests();
        assert!(!follow.next(&snapshot).approved);
    }
}

#[test]
fn without_the_real_answer_a_call_that_depends_on_it_does_not_pass() {
    let answers = ["", "{}", r#"{"SnapshotId":7}"#, r#"{"SnapshotId":""}"#, r#"{"SnapshotId":"a\"b"}"#];
    for answer in answers {
        let mut follow = Follow::new(&plan());
        let [snapshot, _] = plan().calls.map_requests();
        let step = follow.next(&snapshot);
        follow.answered(step.at, answer);
        assert!(!follow.next(&call("CreateImage", r#"{"SnapshotId":""}"#)).approved, "{answer}");
    }
}

#[test]
fn a_placeholder_is_a_whole_id_that_the_request_does_not_have_itself() {
    let answer = r#"{"DiskId":"d-12345678","Ids":["new-12345678"],"Status":"OK"}"#;
    let placeholders = Placeholders::of(&[effect("X", r#"{"DiskId":"d-12345678"}"#, answer)]);
    let cases = [
        (r#"{"A":"d-12345678"}"#, r#"{"A":"d-12345678"}"#),
        (r#"{"A":"new-12345678"}"#, r#"{"A":"<Ids.0 of 1>"}"#),
        (r#"{"A":"[\"new-12345678\"]"}"#, r#"{"A":"[\"<Ids.0 of 1>\"]"}"#),
        (r#"{"A":"new-123456789"}"#, r#"{"A":"new-123456789"}"#),
        (r#"{"A":"OK"}"#, r#"{"A":"OK"}"#),
    ];
    for (params, shown) in cases {
        assert_eq!(placeholders.named(params), shown);
    }
}

#[test]
fn what_would_not_be_seen_is_written_out() {
    assert_eq!(visible("{\"a\":\"快照 é\"}"), "{\"a\":\"快照 é\"}");
    let hostile = "a\u{1b}[2Jb\u{9b}c\u{202e}d\u{200b}e\r\nf\u{7f}";
    assert_eq!(visible(hostile), r"a\u{1b}[2Jb\u{9b}c\u{202e}d\u{200b}e\u{d}\u{a}f\u{7f}");
}

#[test]
fn facts_are_what_lasts_of_the_answers() {
    let answer =
        |body: &str| Ok(CallResponse { request_id: "R".into(), body: body.to_owned(), simulated: false });
    let digest = |reads: &[(&str, CallReply)]| {
        let mut facts = Facts::default();
        for (action, reply) in reads {
            facts.add(&call(action, "{}"), reply);
        }
        facts.digest()
    };
    let first = digest(&[("DescribeDisks", answer(r#"{"RequestId":"1","Disks":[{"A":1,"B":2}]}"#))]);
    let same = digest(&[("DescribeDisks", answer(r#"{"Disks":[{"B":2,"A":1}],"RequestId":"2"}"#))]);
    assert_eq!(first, same);
    let failed = CallError {
        kind: ErrorKind::NotFound,
        code: "X".into(),
        message: "m".into(),
        request_id: None,
        retryable: false,
    };
    for reads in [
        vec![("DescribeDisks", answer(r#"{"Disks":[{"A":1,"B":3}]}"#))],
        vec![("DescribeImages", answer(r#"{"Disks":[{"A":1,"B":2}]}"#))],
        vec![("DescribeDisks", answer(r#"{"Disks":[{"A":1,"B":2}]}"#)); 2],
        vec![("DescribeDisks", Err(failed))],
        vec![],
    ] {
        assert_ne!(digest(&reads), first, "{reads:?}");
    }
}

#[test]
fn who_may_decide_on_what_and_until_when() {
    let ready = RunState::Ready;
    let one = waits(1);
    let good = decide(ready, Some(&one), &choice("alice", Verdict::Approve), t(999)).expect("taken");
    assert_eq!(
        good.record,
        at(999, Entry::Approved { nth: 1, by: "alice".parse().expect("a name"), enough: true })
    );
    assert_eq!(good.to, Then::GoesOn);
    let good = decide(ready, Some(&one), &choice("bob", Verdict::Deny), t(999)).expect("taken");
    assert_eq!(good.to, Then::Ends);

    let refused = |ledger: &[Record], choice: &Choice, now| {
        decide(ready, Some(ledger), choice, now).expect_err("refused").to_string()
    };
    let alice = choice("alice", Verdict::Approve);
    let hash = |hash: &str| Choice { hash: hash.into(), ..alice.clone() };
    let late = refused(&one, &alice, t(1000));
    assert!(late.starts_with("the time to decide was over"), "{late}");
    let stranger = refused(&one, &choice("mallory", Verdict::Approve), t(11));
    assert!(stranger.contains("`mallory` is not an approver") && stranger.contains("alice, bob, carol"));
    assert!(refused(&one, &hash(&Digest::of(b"other").to_string()), t(11)).contains("not what the run asks"));
    assert!(refused(&one, &Choice { nth: 2, ..alice.clone() }, t(11)).contains("not what the run asks"));
    assert!(refused(&one, &hash(&alice.hash[..8]), t(11)).contains("at least 16 digits"));
    assert!(decide(ready, Some(&one), &hash(&alice.hash[..16]), t(11)).is_ok());
    assert!(refused(&[], &alice, t(11)).contains("does not wait"));
    assert_eq!(decide(ready, None, &alice, t(11)), Err(DecideApprovalError::Unreadable));
    for state in RunState::ALL.into_iter().filter(|state| *state != ready) {
        assert!(decide(state, Some(&one), &alice, t(11)).is_err(), "{state:?}");
    }
    for over in [approved("bob", true), at(20, Entry::Void { why: "x".into() })] {
        let ledger = [one.clone(), vec![over]].concat();
        assert!(refused(&ledger, &alice, t(21)).contains("does not wait"));
    }
}

#[test]
fn two_approvals_are_of_two_people() {
    let mut ledger = waits(2);
    let alice = choice("alice", Verdict::Approve);
    let first = decide(RunState::Ready, Some(&ledger), &alice, t(11)).expect("taken");
    assert_eq!(first.to, Then::Waits(t(1000)));
    ledger.push(first.record);
    let again = decide(RunState::Ready, Some(&ledger), &alice, t(12)).expect_err("the same person");
    assert_eq!(again, DecideApprovalError::Already("alice".parse().expect("a name")));
    // A record that should not be there counts for nothing.
    ledger.push(approved("alice", false));
    assert_eq!(pending(&ledger).expect("waits").by, names(&["alice"]));
    let second =
        decide(RunState::Ready, Some(&ledger), &choice("bob", Verdict::Approve), t(13)).expect("taken");
    assert_eq!(second.to, Then::GoesOn);
    assert!(decide(RunState::Ready, Some(&ledger), &choice("alice", Verdict::Deny), t(13)).is_ok());
}

#[test]
fn where_a_run_stands_is_told_by_its_ledger() {
    let approvers =
        |who: &[&str], minimum| Approvers { names: names(who), minimum, expires: EXPIRES_DEFAULT };
    let intent = Entry::Intent {
        position: 1,
        request: call("X", "{}"),
        class: Class::Once,
        token: None,
        baseline: None,
    };
    let confirmed = at(30, Entry::Confirmed { nth: 1 });
    let of = |records: Vec<Record>| [waits(1), records].concat();
    let alice = approvers(&["alice"], 1);
    let stopped = Entry::NotExecuted { position: 0, why: "halted".into(), by: None };
    let cases = [
        ("nothing asked", vec![], &alice, 11, "plan"),
        ("asked", of(vec![]), &alice, 11, "wait"),
        ("nobody came", of(vec![]), &alice, 1000, "expired"),
        ("approved", of(vec![approved("alice", true)]), &alice, 21, "compare"),
        ("approved by one who may no more", of(vec![approved("bob", true)]), &alice, 21, "plan"),
        (
            "two are needed by now",
            of(vec![approved("alice", true)]),
            &approvers(&["alice", "bob"], 2),
            21,
            "plan",
        ),
        ("approved, and not begun in time", of(vec![approved("alice", true)]), &alice, 1000, "expired"),
        ("confirmed", of(vec![approved("alice", true), confirmed.clone()]), &alice, 31, "follow"),
        (
            "confirmed, and late",
            of(vec![approved("alice", true), confirmed.clone()]),
            &alice,
            1000,
            "expired",
        ),
        (
            "begun, and late",
            of(vec![approved("alice", true), confirmed.clone(), at(40, intent.clone())]),
            &alice,
            1000,
            "follow",
        ),
        (
            "stopped before the first was sent, and late",
            of(vec![
                approved("alice", true),
                confirmed.clone(),
                at(40, intent.clone()),
                at(41, stopped.clone()),
            ]),
            &alice,
            1000,
            "expired",
        ),
        (
            "one of two was stopped, and late",
            of(vec![
                approved("alice", true),
                confirmed.clone(),
                at(40, intent.clone()),
                at(40, intent.clone()),
                at(41, stopped),
            ]),
            &alice,
            1000,
            "follow",
        ),
        ("an effect of when nobody had to be asked", of(vec![at(20, intent.clone())]), &alice, 1000, "plan"),
        ("confirmed without an approval", of(vec![confirmed.clone()]), &alice, 31, "wait"),
        (
            "another try",
            of(vec![
                approved("alice", true),
                confirmed,
                at(40, Entry::Retried { why: "x".into(), by: None }),
            ]),
            &alice,
            41,
            "plan",
        ),
        (
            "void",
            of(vec![approved("alice", true), at(40, Entry::Void { why: "x".into() })]),
            &alice,
            41,
            "plan",
        ),
    ];
    for (what, ledger, approvers, now, expected) in cases {
        let station = match station(&ledger, Some(approvers), t(now)) {
            Station::Plan(None) => "plan",
            Station::Plan(Some(_)) => "compare",
            Station::Wait(until) if until == t(1000) => "wait",
            Station::Wait(_) => "wait for what",
            Station::Expired(_) => "expired",
            Station::Follow(_) => "follow",
        };
        assert_eq!(station, expected, "{what}");
    }
    assert!(matches!(station(&of(vec![approved("alice", true)]), None, t(21)), Station::Plan(None)));
}

#[test]
fn a_link_says_what_it_was_made_for_and_any_change_of_it_is_seen() {
    let link = Link {
        run: RunId::from_text("0123456789abcdef01234567"),
        nth: 1,
        hash: Digest::of(b"plan"),
        by: "alice".parse().expect("a name"),
        verdict: Verdict::Approve,
        expires: t(1000),
    };
    let token = link.token(b"key");
    assert_eq!(Link::parse(&token, b"key"), Ok(link.clone()));
    assert_eq!(Link::parse(&token, b"other key"), Err(InvalidLink));
    for (from, to) in [(".alice.", ".bob."), (".approve.", ".deny."), (".1.", ".2."), (".1000.", ".9000.")] {
        assert_eq!(Link::parse(&token.replace(from, to), b"key"), Err(InvalidLink), "{to}");
    }
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        let forged = String::from_utf8(bytes).expect("ASCII");
        assert_eq!(Link::parse(&forged, b"key"), Err(InvalidLink), "{at}");
        assert_eq!(Link::parse(&token[..at], b"key"), Err(InvalidLink), "{at}");
    }
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'), "{token}");
    assert_eq!(Link::parse(&"x.".repeat(1000), b"key"), Err(InvalidLink));
}

#[test]
fn what_was_made_before_takes_no_room_in_a_plan() {
    let call = |fate| PlannedCall {
        request: CallRequest {
            service: "ecs".into(),
            action: "StopInstance".into(),
            region: "r".into(),
            params: "{}".into(),
            once: None,
        },
        fate,
        answer: String::new(),
    };
    let mut plan = Plan { calls: vec![call(Fate::Made); PLAN_CALLS_MAX], cut: String::new() };
    assert!(!plan.is_full());
    plan.calls.extend(vec![call(Fate::Effect); PLAN_CALLS_MAX - 1]);
    assert!(!plan.is_full());
    plan.calls.push(call(Fate::Made));
    assert!(plan.is_full());
}

//! The policy against the SDK's fake host.

use cloud_setup::CloudSetup;
use opsward_policy::testing::{FakeHost, event};
use opsward_policy::{CallError, ErrorKind, Event, Failure, Mode, Outcome, Value, json};

const EXECUTED: &str = "Instance:SystemFailure.Reboot:Executed";

fn asks(kind: &str, data: Value) -> Event {
    Event { source: "manual".into(), ..event(kind, data) }
}

fn setup(names: &[&str]) -> Event {
    let data = json!({
        "rule": "opsward-events", "region": "cn-hangzhou", "product": "ECS", "names": names,
        "queue": { "name": "cms-events", "region": "cn-shanghai" },
    });
    asks("opsward.source.setup", data)
}

/// A cloud that takes everything.
fn host() -> FakeHost {
    FakeHost::new()
        .on("cms:PutEventRule", |_| json!({ "Code": "200", "Success": true, "Data": "1" }))
        .on("cms:PutEventRuleTargets", |_| json!({ "Code": "200", "Success": true }))
        .on("cms:SendDryRunSystemEvent", |_| json!({ "Code": "200", "Success": "true" }))
}

fn handle(host: &FakeHost, event: &Event) -> Result<Outcome, Failure> {
    host.handle::<CloudSetup>(event)
}

#[test]
fn a_rule_is_made_and_sends_to_the_queue() {
    let host = host();
    let outcome = handle(&host, &setup(&[EXECUTED])).expect("done");
    assert_eq!(outcome.summary, "made the rule opsward-events for 1 event; its target: the queue cms-events");
    let put = &host.calls_of("cms:PutEventRule")[0];
    assert_eq!((put.region.as_str(), &put.params["RuleName"]), ("cn-hangzhou", &json!("opsward-events")));
    assert_eq!(put.params["EventPattern"], json!([{ "Product": "ECS", "NameList": [EXECUTED] }]));
    let targets = &host.calls_of("cms:PutEventRuleTargets")[0].params;
    let queue = json!([{ "Id": "opsward-events", "Queue": "cms-events", "Region": "cn-shanghai" }]);
    assert_eq!(targets["MnsParameters"], queue);
}

#[test]
fn asked_again_the_target_is_put_again_and_none_is_read() {
    let host = host();
    for _ in 0..2 {
        handle(&host, &setup(&[EXECUTED])).expect("done");
    }
    assert_eq!(host.calls_of("cms:PutEventRuleTargets").len(), 2);
    assert_eq!(host.calls().len(), 4);
}

#[test]
fn more_names_than_a_pattern_takes_are_left_out_so_that_the_rule_takes_all() {
    let host = host();
    let outcome = handle(&host, &setup(&[EXECUTED; 51])).expect("done");
    assert!(outcome.summary.contains("for all events"), "{}", outcome.summary);
    assert_eq!(host.calls_of("cms:PutEventRule")[0].params["EventPattern"], json!([{ "Product": "ECS" }]));
}

#[test]
fn only_a_person_may_ask() {
    for source in ["cloudevents", "schedule", ""] {
        let host = host();
        let failure = handle(&host, &Event { source: source.into(), ..setup(&[EXECUTED]) }).expect_err("no");
        assert_eq!(failure.code, "opsward.NotAPerson");
        assert!(host.calls().is_empty());
    }
}

#[test]
fn rules_of_others_are_left_alone() {
    let mut event = setup(&[EXECUTED]);
    event.data = event.data.replace("opsward-events", "theirs");
    let host = host();
    assert_eq!(handle(&host, &event).expect_err("no").code, "opsward.ForeignRule");
    assert!(host.calls().is_empty());
}

#[test]
fn a_queue_that_the_cloud_does_not_take_fails_the_run() {
    for answer in [
        json!({ "Code": "200", "Success": true, "FailedParameterCount": "1" }),
        json!({ "Code": "200", "FailedParameterCount": 1 }),
        json!({ "FailedMnsParameters": { "MnsParameter": [{ "Id": "opsward-events" }] } }),
    ] {
        let host = host().on("cms:PutEventRuleTargets", move |_| answer.clone());
        let failure = handle(&host, &setup(&[EXECUTED])).expect_err("no");
        assert_eq!(failure.code, "opsward.TargetRefused", "{failure}");
    }
}

#[test]
fn a_dry_run_says_what_it_would_do_and_a_refusal_says_during_what() {
    let outcome = handle(&host().mode(Mode::DryRun), &setup(&[EXECUTED])).expect("done");
    assert!(outcome.summary.starts_with("would make the rule opsward-events"), "{}", outcome.summary);
    let denied = CallError::new(ErrorKind::Unauthorized, "Forbidden.RAM", "not allowed");
    let host = self::host().fail("cms:PutEventRuleTargets", denied);
    let failure = handle(&host, &setup(&[EXECUTED])).expect_err("no");
    let doing = "having the rule opsward-events send to the queue cms-events";
    assert_eq!(failure.message, format!("{doing}: not allowed"));
}

#[test]
fn a_drill_sends_the_event_as_it_is_given() {
    let content =
        json!({ "product": "ECS", "name": EXECUTED, "content": { "instanceId": "i-opsward-drill" } });
    let data = json!({ "region": "cn-hangzhou", "product": "ECS", "name": EXECUTED, "content": content });
    let host = host();
    let outcome = handle(&host, &asks("opsward.source.drill", data)).expect("done");
    assert_eq!(outcome.summary, format!("sent a test of {EXECUTED} through the rules"));
    let params = &host.calls_of("cms:SendDryRunSystemEvent")[0].params;
    assert_eq!((&params["EventName"], &params["Product"]), (&json!(EXECUTED), &json!("ECS")));
    let sent: Value = serde_json::from_str(params["EventContent"].as_str().expect("text")).expect("JSON");
    assert_eq!(sent, content);
}

#[test]
fn what_is_not_asked_so_is_told() {
    let outcome = handle(&host(), &asks("opsward.other", json!({}))).expect("nothing to do");
    assert!(outcome.summary.starts_with("nothing to do: opsward.other is neither"), "{}", outcome.summary);
    let failure = handle(&host(), &asks("opsward.source.setup", json!({ "rule": 1 }))).expect_err("no");
    assert_eq!(failure.code, "opsward.InvalidEvent");
}

//! The policy against the SDK's fake host.

use nightly_reset::NightlyReset;
use opsward_policy::testing::{FakeHost, event};
use opsward_policy::{CallError, ErrorKind, Event, Failure, Mode, Outcome, Value, json};
use std::time::Duration;

fn config() -> Value {
    json!({ "instance-id": "ins-1", "image-id": "img-1", "region": "ap-shanghai" })
}

fn fired() -> Event {
    Event { id: "nightly@2026-01-01T19:00:00Z".into(), ..event("opsward.schedule.fired", json!({})) }
}

/// A machine as DescribeInstances shows it: its state, and its latest operation with its state and request.
type Seen = (&'static str, Option<(&'static str, &'static str, &'static str)>);

/// A host whose cloud takes the reset as request `r-1` and then shows the machine so, the last for ever.
fn host(seen: &'static [Seen]) -> FakeHost {
    let mut look = 0;
    FakeHost::new().config(config()).on("cvm:ResetInstance", |_| json!({ "RequestId": "r-1" })).on(
        "cvm:DescribeInstances",
        move |params| {
            assert_eq!(params, &json!({ "InstanceIds": ["ins-1"] }));
            let (state, operation) = seen[look.min(seen.len() - 1)];
            look += 1;
            let (name, progress, request) = match operation {
                Some((name, progress, request)) => (json!(name), json!(progress), json!(request)),
                None => (Value::Null, Value::Null, Value::Null),
            };
            json!({ "TotalCount": 1, "InstanceSet": [{
                "InstanceId": "ins-1",
                "InstanceState": state,
                "LatestOperation": name,
                "LatestOperationState": progress,
                "LatestOperationRequestId": request,
                "LatestOperationErrorMsg": if progress == "FAILED" { json!("no such image") } else { Value::Null },
            }] })
        },
    )
}

fn handle(host: &FakeHost) -> Result<Outcome, Failure> {
    host.handle::<NightlyReset>(&fired())
}

#[test]
fn the_run_is_done_when_the_machine_has_settled_not_when_the_call_returned() {
    let host = host(&[
        ("RUNNING", None),
        // Last night's reset, then ours still working, then ours done while the machine is on its way.
        ("RUNNING", Some(("ResetInstance", "SUCCESS", "r-0"))),
        ("STOPPING", Some(("ResetInstance", "OPERATING", "r-1"))),
        ("STOPPING", Some(("ResetInstance", "SUCCESS", "r-1"))),
        ("STARTING", Some(("ResetInstance", "SUCCESS", "r-1"))),
        ("RUNNING", Some(("ResetInstance", "OPERATING", "r-1"))),
        ("RUNNING", Some(("ResetInstance", "SUCCESS", "r-1"))),
    ]);
    let outcome = handle(&host).expect("done");
    assert_eq!(outcome.summary, "reset ins-1 from img-1; it is RUNNING");
    assert_eq!(host.sleeps(), [2, 6, 10, 14, 18, 22, 26].map(Duration::from_secs));

    let calls = host.calls_of("cvm:ResetInstance");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].params, json!({ "InstanceId": "ins-1", "ImageId": "img-1" }));
    assert_eq!(calls[0].region, "ap-shanghai");
    assert_eq!(calls[0].once.as_deref(), Some("nightly@2026-01-01T19:00:00Z/ins-1"));
    let details: Value = serde_json::from_str(&outcome.details).expect("details are JSON");
    assert_eq!((&details["request"], &details["state"]), (&json!("r-1"), &json!("RUNNING")));
}

#[test]
fn a_machine_that_was_stopped_settles_stopped() {
    let outcome = handle(&host(&[("STOPPED", Some(("ResetInstance", "SUCCESS", "r-1")))])).expect("done");
    assert_eq!(outcome.summary, "reset ins-1 from img-1; it is STOPPED");
}

#[test]
fn a_reset_that_fails_fails_the_run() {
    let failure =
        handle(&host(&[("STOPPED", Some(("ResetInstance", "FAILED", "r-1")))])).expect_err("failed");
    assert_eq!(failure.code, "opsward.ResetFailed");
    assert_eq!(failure.message, "resetting ins-1: no such image");
}

#[test]
fn a_machine_that_does_not_settle_is_given_up_after_an_hour() {
    let host = host(&[("RUNNING", Some(("StopInstances", "SUCCESS", "r-9")))]);
    let failure = handle(&host).expect_err("not settled");
    assert_eq!(failure.code, "opsward.NotSettled");
    assert_eq!(
        failure.message,
        "ins-1 has not settled in 60 min: last seen RUNNING, latest operation StopInstances SUCCESS (request r-9)"
    );
    let slept: Duration = host.sleeps().iter().sum();
    assert!((3600..3660).contains(&slept.as_secs()), "{slept:?}");
    assert!(host.calls().len() < 200, "well within the host's calls for one run");
}

#[test]
fn the_vendors_error_fails_the_run_with_its_code() {
    let cases = [
        (ErrorKind::Conflict, "MutexOperation.TaskRunning", true),
        (ErrorKind::Invalid, "InvalidParameterValue.KeepImageLogin", false),
    ];
    for (kind, code, retryable) in cases {
        let host =
            FakeHost::new().config(config()).fail("cvm:ResetInstance", CallError::new(kind, code, "no"));
        let failure = handle(&host).expect_err("refused");
        assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable));
        assert_eq!(failure.message, "resetting ins-1: no");
        assert!(host.sleeps().is_empty());
    }
}

#[test]
fn a_look_that_may_work_later_is_taken_again() {
    let mut looks = 0;
    let host = host(&[("RUNNING", None)]).on("cvm:DescribeInstances", move |_| {
        looks += 1;
        match looks {
            1 => Err(CallError::new(ErrorKind::Throttled, "RequestLimitExceeded", "slow down")),
            _ => Ok(json!({ "InstanceSet": [{
                "InstanceId": "ins-1", "InstanceState": "RUNNING", "LatestOperation": "ResetInstance",
                "LatestOperationState": "SUCCESS", "LatestOperationRequestId": "r-1" }] })),
        }
    });
    handle(&host).expect("done");
    assert_eq!(host.logs().len(), 1);

    let denied = CallError::new(ErrorKind::Unauthorized, "UnauthorizedOperation", "not allowed");
    let host = self::host(&[("RUNNING", None)]).fail("cvm:DescribeInstances", denied);
    let failure = handle(&host).expect_err("cannot be watched");
    assert_eq!(failure.code, "UnauthorizedOperation");
    assert_eq!(failure.message, "ins-1 is being reset, but cannot be watched: not allowed");

    let host = self::host(&[("RUNNING", None)]).on("cvm:DescribeInstances", |_| json!({ "InstanceSet": [] }));
    assert_eq!(handle(&host).expect_err("gone").code, "opsward.InstanceGone");
}

#[test]
fn exactly_one_login_is_passed_on_as_the_vendor_wants_it() {
    let only = "config.login: takes exactly one of key-ids, password, keep-image-login";
    let cases = [
        (json!({ "key-ids": ["skey-1"] }), Ok(json!({ "KeyIds": ["skey-1"] }))),
        (json!({ "password": { "secret": "lab" } }), Ok(json!({ "Password": { "$secret": "lab" } }))),
        (json!({ "keep-image-login": true }), Ok(json!({ "KeepImageLogin": "TRUE" }))),
        (json!({}), Err(only)),
        (json!({ "key-ids": ["skey-1"], "keep-image-login": true }), Err(only)),
        (json!({ "key-ids": ["skey-1"], "password": { "secret": "lab" } }), Err(only)),
        (json!({ "key-ids": [] }), Err("config.login.key-ids: name at least one key, or leave out login")),
        (
            json!({ "keep-image-login": false }),
            Err("config.login.keep-image-login: write true, or leave out login"),
        ),
        (
            json!({ "password": "hunter2" }),
            Err("config.login.password: write { secret = \"name\" }, never the password itself"),
        ),
    ];
    for (login, expected) in cases {
        let mut config = config();
        config["login"] = login.clone();
        let host = host(&[("RUNNING", Some(("ResetInstance", "SUCCESS", "r-1")))]).config(config);
        match (handle(&host), expected) {
            (Ok(_), Ok(settings)) => assert_eq!(host.calls()[0].params["LoginSettings"], settings),
            (Err(failure), Err(message)) => {
                assert_eq!(
                    (failure.code.as_str(), failure.message.as_str()),
                    ("opsward.InvalidConfig", message)
                );
                assert!(host.calls().is_empty());
            }
            (ended, expected) => panic!("{login}: {ended:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn machine_image_and_region_are_required() {
    for key in ["instance-id", "image-id", "region"] {
        for wrong in [None, Some("")] {
            let mut config = config();
            match wrong {
                None => drop(config.as_object_mut().expect("a table").remove(key)),
                Some(value) => config[key] = json!(value),
            }
            let host = FakeHost::new().config(config);
            let failure = handle(&host).expect_err("refused");
            assert_eq!(failure.code, "opsward.InvalidConfig");
            assert!(failure.message.contains(key), "{}", failure.message);
        }
    }
}

#[test]
fn a_dry_run_resets_nothing_and_waits_for_what_the_host_shows_of_it() {
    // As a host shows a simulated reset: over, by the request that the fake host gives simulated replies.
    let host = host(&[("RUNNING", Some(("ResetInstance", "SUCCESS", "simulated")))]).mode(Mode::DryRun);
    assert_eq!(handle(&host).expect("done").summary, "would reset ins-1 from img-1; it is RUNNING");
    assert!(host.calls_of("cvm:ResetInstance").is_empty());
    assert_eq!(host.sleeps().len(), 1);
}

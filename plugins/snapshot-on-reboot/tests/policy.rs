//! The policy against the SDK's fake host, on the event samples of `tests/events`.

use opsward_policy::testing::{FakeHost, event};
use opsward_policy::{CallError, ErrorKind, Event, Failure, Mode, Outcome, Value, json};
use snapshot_on_reboot::SnapshotOnReboot;

const INSTANCE: &str = "i-bp18l0uopocfc98xxxx";

/// The article's event, a minute after the reboot: CloudMonitor's older form.
fn executed() -> Event {
    cloudmonitor(include_str!("../../../tests/events/aliyun-cms-ecs-reboot-executed.json"))
}

/// A CloudMonitor sample as the host normalises it.
fn cloudmonitor(sample: &str) -> Event {
    let body: Value = serde_json::from_str(sample).expect("a sample is JSON");
    let mut event = event(body["name"].as_str().expect("a sample has a name"), body.clone());
    event.region = body["regionId"].as_str().map(String::from);
    event.subject = body["resourceId"].as_str().map(String::from);
    event.incident = Some("e-1".into());
    event
}

/// A host whose cloud knows an instance with this many disks, ten a page, and snapshots whatever it is told to.
fn host(disks: usize) -> FakeHost {
    let list = move |params: &Value| {
        assert_eq!(params["InstanceId"], INSTANCE, "never unfiltered");
        assert_eq!((&params["RegionId"], &params["MaxResults"]), (&json!("cn-hangzhou"), &json!(100)));
        let start: usize = params["NextToken"].as_str().map_or(0, |token| token.parse().expect("our token"));
        let stop = disks.min(start + 10);
        let page: Vec<Value> =
            (start..stop).map(|n| json!({ "DiskId": format!("d-{n}"), "InstanceId": INSTANCE })).collect();
        let next = if stop < disks { stop.to_string() } else { String::new() };
        json!({ "Disks": { "Disk": page }, "NextToken": next, "TotalCount": disks })
    };
    FakeHost::new().on("ecs:DescribeDisks", list).on("ecs:CreateSnapshot", |params| {
        let disk = params["DiskId"].as_str().expect("a disk");
        json!({ "SnapshotId": format!("s-{disk}"), "RequestId": format!("r-{disk}") })
    })
}

fn handle(host: &FakeHost, event: &Event) -> Result<Outcome, Failure> {
    host.handle::<SnapshotOnReboot>(event)
}

#[test]
fn every_disk_of_the_rebooted_instance_gets_one_snapshot() {
    let host = host(123).config(json!({ "retention-days": 7 }));
    let outcome = handle(&host, &executed()).expect("done");
    assert_eq!(outcome.summary, format!("made 123 snapshots, one for each disk of {INSTANCE}"));
    assert_eq!(host.calls_of("ecs:DescribeDisks").len(), 13);

    let snapshots = host.calls_of("ecs:CreateSnapshot");
    let disks: Vec<&str> =
        snapshots.iter().map(|call| call.params["DiskId"].as_str().expect("a disk")).collect();
    assert_eq!(disks, (0..123).map(|n| format!("d-{n}")).collect::<Vec<_>>());
    let first = &snapshots[0];
    assert_eq!((first.region.as_str(), first.once.as_deref()), ("cn-hangzhou", Some("e-1/d-0")));
    assert_eq!(first.params["RetentionDays"], 7);
    assert_eq!(
        first.params["Tag"],
        json!([{ "Key": "opsward:incident", "Value": "e-1" }, { "Key": "opsward:run", "Value": "run-1" }])
    );
    let description = first.params["Description"].as_str().expect("a description");
    assert!(description.contains(INSTANCE) && description.contains("e-1"), "{description}");

    let details: Value = serde_json::from_str(&outcome.details).expect("details are JSON");
    assert_eq!(
        details["created"][122],
        json!({ "disk": "d-122", "snapshot": "s-d-122", "request": "r-d-122" })
    );
}

#[test]
fn a_snapshot_name_can_be_derived_again_from_incident_and_disk() {
    let names = |incident: &str| -> Vec<String> {
        let host = host(50);
        handle(&host, &Event { incident: Some(incident.into()), ..executed() }).expect("done");
        let calls = host.calls_of("ecs:CreateSnapshot");
        calls.iter().map(|call| call.params["SnapshotName"].as_str().expect("a name").to_owned()).collect()
    };
    let first = names("e-1");
    assert_eq!(first, names("e-1"));
    // By hand: FNV-1a 64 of "e-1/d-0", six digits to the base of 26, the lowest first.
    assert_eq!(first[0], "reboot_cjgmcz");
    let mut all = [first, names("e-2")].concat();
    for name in &all {
        let letters = name.strip_prefix("reboot_").expect("the prefix");
        assert!(letters.len() == 6 && letters.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 100);
}

#[test]
fn both_reboots_are_handled_from_every_form_of_the_event() {
    let newstyle =
        cloudmonitor(include_str!("../../../tests/events/aliyun-cms-ecs-reboot-executed-newstyle.json"));
    let eventbridge: Value = serde_json::from_str(include_str!(
        "../../../tests/events/aliyun-eventbridge-ecs-reboot-executed.json"
    ))
    .expect("a sample is JSON");
    let mut bridged = event("ecs:Instance:SystemFailure.Reboot", eventbridge["data"].clone());
    bridged.subject = eventbridge["subject"].as_str().map(String::from);
    let mut text_content = executed();
    let mut body: Value = text_content.data().expect("JSON");
    body["content"] = Value::String(body["content"].to_string());
    text_content.data = body.to_string();
    let arn = format!("acs:ecs:cn-hangzhou:1:instance/{INSTANCE}");

    let cases = [
        ("older content", executed()),
        ("newer content", newstyle),
        ("EventBridge, region from the subject", bridged),
        ("content as text", text_content),
        ("another case", Event { kind: "instance:SYSTEMFAILURE.reboot:EXECUTED".into(), ..executed() }),
        ("guest failure", Event { kind: "Instance:InstanceFailure.Reboot:Executed".into(), ..executed() }),
        (
            "EventBridge, guest failure",
            Event {
                subject: Some(arn.clone()),
                ..event("ecs:Instance:InstanceFailure.Reboot", json!({ "eventStatus": "executed" }))
            },
        ),
        (
            "no region but the ARN's",
            Event {
                data: json!({ "resourceId": arn, "content": {} }).to_string(),
                region: None,
                subject: None,
                ..executed()
            },
        ),
    ];
    for (form, event) in cases {
        let host = host(2);
        let outcome = handle(&host, &event).unwrap_or_else(|failure| panic!("{form}: {failure}"));
        assert_eq!(outcome.summary, format!("made 2 snapshots, one for each disk of {INSTANCE}"), "{form}");
        assert_eq!(host.calls()[0].region, "cn-hangzhou", "{form}");
    }
}

#[test]
fn another_status_or_event_leads_to_no_call_and_says_why() {
    let executing = cloudmonitor(include_str!("../../../tests/events/aliyun-cms-ecs-reboot-executing.json"));
    let named = |kind: &str| Event { kind: kind.into(), ..executed() };
    let cases = [
        (executing, "the reboot's status is executing"),
        (named("Instance:InstanceFailure.Reboot:Scheduled"), "the reboot's status is scheduled"),
        (
            event("ecs:Instance:SystemFailure.Reboot", json!({ "eventStatus": "Executing" })),
            "status is Executing",
        ),
        (event("ecs:Instance:SystemFailure.Reboot", json!({})), "the reboot's status is not given"),
        (named("Instance:SystemFailure.RebootTwice:Executed"), "is not a failure's reboot"),
        (named("Instance:StateChange"), "Instance:StateChange is not a failure's reboot"),
    ];
    for (event, reason) in cases {
        let host = FakeHost::new();
        let outcome = handle(&host, &event).expect("nothing to do is no failure");
        assert!(outcome.summary.starts_with("nothing to do: "), "{}", outcome.summary);
        assert!(outcome.summary.contains(reason), "{}", outcome.summary);
        assert!(host.calls().is_empty());
    }
}

#[test]
fn without_an_instance_no_disk_is_listed() {
    let bodies = [
        json!({ "content": {} }),
        json!({ "content": { "instanceId": null } }),
        json!({ "content": { "instanceId": "", "ecsInstanceId": "" } }),
        json!({ "content": { "instanceId": "None" } }),
        json!({ "content": { "instanceId": "i-" } }),
        json!({ "content": { "instanceId": "i-1&InstanceId=" } }),
        json!({ "content": {}, "resourceId": "acs:ecs:cn-hangzhou:1:disk/d-1" }),
        json!([]),
    ];
    for body in bodies {
        let host = FakeHost::new();
        let event = Event { data: body.to_string(), subject: None, ..executed() };
        let failure = handle(&host, &event).expect_err("refused");
        assert_eq!((failure.code.as_str(), failure.retryable), ("opsward.NoInstanceId", false), "{body}");
        assert!(host.calls().is_empty());
    }
}

#[test]
fn a_failing_disk_does_not_stop_the_others_and_is_named() {
    let failing = |errors: &'static [(&'static str, ErrorKind, &'static str)]| {
        host(12).on("ecs:CreateSnapshot", move |params| {
            match errors.iter().find(|(disk, ..)| params["DiskId"] == *disk) {
                Some((_, kind, code)) => Err(CallError::new(*kind, *code, "no")),
                None => Ok(json!({ "SnapshotId": "s-1" })),
            }
        })
    };
    let quota = ("d-3", ErrorKind::Failed, "QuotaExceed.Snapshot");

    let host = failing(&[("d-3", ErrorKind::Failed, "QuotaExceed.Snapshot")]);
    let failure = handle(&host, &executed()).expect_err("one disk fails");
    assert_eq!((failure.code.as_str(), failure.retryable), (quota.2, false));
    assert_eq!(
        failure.message,
        format!("1 of 12 disks of {INSTANCE} have no snapshot: d-3 (QuotaExceed.Snapshot)")
    );
    assert_eq!(host.calls_of("ecs:CreateSnapshot").len(), 12);
    let details: Value = serde_json::from_str(&failure.details).expect("details are JSON");
    assert_eq!(details["created"].as_array().map(Vec::len), Some(11));
    assert_eq!(
        details["failed"],
        json!([{ "disk": "d-3", "code": "QuotaExceed.Snapshot", "message": "no", "request": null }])
    );

    let host = failing(&[
        ("d-3", ErrorKind::Failed, "QuotaExceed.Snapshot"),
        ("d-7", ErrorKind::Throttled, "Throttling.User"),
    ]);
    let failure = handle(&host, &executed()).expect_err("two disks fail");
    assert_eq!((failure.code.as_str(), failure.retryable), ("opsward.SnapshotsFailed", true));

    let again = handle(&host, &executed()).expect_err("two disks fail again");
    assert_eq!(again.message, failure.message);
    assert_eq!(
        host.calls_of("ecs:CreateSnapshot").len(),
        12 + 2,
        "only the missing ones are asked for again"
    );
}

#[test]
fn a_list_that_fails_fails_the_run_with_the_vendors_code() {
    let error = CallError::new(ErrorKind::Unauthorized, "Forbidden.RAM", "not allowed");
    let host = FakeHost::new().fail("ecs:DescribeDisks", error);
    let failure = handle(&host, &executed()).expect_err("no list");
    assert_eq!(failure.code, "Forbidden.RAM");
    assert_eq!(failure.message, format!("listing the disks of {INSTANCE}: not allowed"));
}

#[test]
fn only_disks_of_the_instance_are_touched() {
    let host = host(0).on("ecs:DescribeDisks", |_| {
        json!({ "Disks": { "Disk": [
            { "DiskId": "d-ours", "InstanceId": INSTANCE },
            { "DiskId": "d-theirs", "InstanceId": "i-another" },
            { "DiskId": "d-free", "InstanceId": "" },
            { "DiskId": "d-shared", "InstanceId": null,
              "Attachments": { "Attachment": [{ "InstanceId": "i-another" }, { "InstanceId": INSTANCE }] } },
            { "DiskId": "d-ours", "InstanceId": INSTANCE },
        ] } })
    });
    handle(&host, &executed()).expect("done");
    let calls = host.calls_of("ecs:CreateSnapshot");
    let disks: Vec<&Value> = calls.iter().map(|call| &call.params["DiskId"]).collect();
    assert_eq!(disks, ["d-ours", "d-shared"]);
    let logs = host.logs();
    assert!(logs[0].1.starts_with("left out 2 that the cloud listed, but that are no disk of"), "{logs:?}");
}

#[test]
fn an_instance_without_disks_is_nothing_to_do() {
    let outcome = handle(&host(0), &executed()).expect("done");
    assert_eq!(outcome.summary, format!("nothing to do: the cloud shows no disk of {INSTANCE}"));
}

/// Whoever knows the path may name any machine, and a cloud that ignores a filter shows the disks of all.
#[test]
fn what_the_cloud_does_not_show_of_an_event_is_left_alone() {
    let host = host(0).on(
        "ecs:DescribeDisks",
        |_| json!({ "Disks": { "Disk": [{ "DiskId": "d-theirs", "InstanceId": "i-another" }] } }),
    );
    let outcome = handle(&host, &executed()).expect("nothing to do is no failure");
    let said = format!("nothing to do: the cloud shows no disk of {INSTANCE}, but 1 that are not it");
    assert_eq!(outcome.summary, said);
    assert!(host.calls_of("ecs:CreateSnapshot").is_empty());
}

#[test]
fn a_dry_run_says_what_it_would_do() {
    let host = host(3).mode(Mode::DryRun);
    let outcome = handle(&host, &executed()).expect("done");
    assert_eq!(outcome.summary, format!("would make 3 snapshots, one for each disk of {INSTANCE}"));
    assert!(host.calls_of("ecs:CreateSnapshot").is_empty());
}

#[test]
fn a_retention_the_cloud_would_refuse_is_refused_before_any_call() {
    for days in [0, 65_537] {
        let host = FakeHost::new().config(json!({ "retention-days": days }));
        let failure = handle(&host, &executed()).expect_err("refused");
        assert_eq!(failure.message, format!("config.retention-days: {days} is not within 1 to 65536"));
    }
}

#[test]
fn a_long_incident_stays_within_the_clouds_limits() {
    let host = host(1);
    handle(&host, &Event { incident: Some("事".repeat(400)), ..executed() }).expect("done");
    let params = &host.calls_of("ecs:CreateSnapshot")[0].params;
    let chars = |value: &Value| value.as_str().map(|text| text.chars().count());
    assert_eq!((chars(&params["Description"]), chars(&params["Tag"][0]["Value"])), (Some(256), Some(128)));
}

//! What reads show after simulated effects, in tables over answers as both vendors give them.

use super::*;
use crate::catalog::Provider::{Alibaba, Tencent};
use crate::id::RunId;
use crate::run::Answered;
use serde_json::json;

fn request(action: &str, params: Value) -> CallRequest {
    let (service, action) = action.split_once(':').expect("service:Action");
    let Value::Object(params) = params else { panic!("an object") };
    CallRequest {
        service: service.into(),
        action: action.into(),
        region: "r-1".into(),
        params: canonical_params(&params),
        once: None,
    }
}

/// An overlay after these effects, at the positions from 0.
fn after(provider: Provider, effects: &[(&str, Value)]) -> Overlay {
    let run = RunId::from_text("3fa2");
    let mut overlay = Overlay::default();
    for (position, (action, params)) in (0..).zip(effects) {
        let request = request(action, params.clone());
        let response = reply(&run, provider, position, &request);
        overlay.add(position, request, response, Timestamp::from_seconds(1_767_578_850));
    }
    overlay
}

/// What a read after all effects shows of `real`.
fn shown(overlay: &Overlay, provider: Provider, action: &str, params: Value, real: &Value) -> Value {
    let body = overlay.shown(provider, 99, &request(action, params), &real.to_string());
    body.map_or(Value::Null, |body| serde_json::from_str(&body).expect("JSON"))
}

fn made(overlay: &Overlay, nth: usize) -> Value {
    serde_json::from_str(&overlay.effects()[nth].response.body).expect("JSON")
}

/// One page as ECS answers DescribeSnapshots.
fn snapshots(ids: &[&str]) -> Value {
    let items: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({ "SnapshotId": id, "SnapshotName": "old", "Status": "accomplished", "Progress": "100%",
                    "SourceDiskId": "d-1", "Tags": { "Tag": [{ "TagKey": "env", "TagValue": "lab" }] } })
        })
        .collect();
    json!({ "RequestId": "r", "TotalCount": ids.len(), "PageSize": 10, "NextToken": "",
            "Snapshots": { "Snapshot": items } })
}

fn instance(id: &str, status: &str) -> Value {
    json!({ "InstanceId": id, "InstanceName": "web", "Status": status, "StartTime": "2025-12-01T00:00Z" })
}

#[test]
fn a_reply_is_the_same_for_the_same_call_of_a_run_and_has_the_fields_that_are_asked_for() {
    let run = RunId::from_text("3fa2");
    let snapshot = request("ecs:CreateSnapshot", json!({ "DiskId": "d-1" }));
    let first = reply(&run, Alibaba, 4, &snapshot);
    assert_eq!(first, reply(&run, Alibaba, 4, &snapshot));
    assert!(first.simulated && first.request_id.ends_with("-4"), "{first:?}");
    let id = |response: &CallResponse, place: &str| {
        let body: Value = serde_json::from_str(&response.body).expect("JSON");
        assert_eq!(body["RequestId"], response.request_id);
        body.pointer(place).cloned().unwrap_or_default()
    };
    let text = |value: Value| value.as_str().expect("a text").to_owned();
    assert!(text(id(&first, "/SnapshotId")).starts_with("s-dryrun"));
    assert_ne!(id(&first, "/SnapshotId"), id(&reply(&run, Alibaba, 5, &snapshot), "/SnapshotId"));
    let other = RunId::from_text("3fa3");
    assert_ne!(id(&first, "/SnapshotId"), id(&reply(&other, Alibaba, 4, &snapshot), "/SnapshotId"));
    let two = request("ecs:RunInstances", json!({ "Amount": 2 }));
    let ids = id(&reply(&run, Alibaba, 0, &two), "/InstanceIdSets/InstanceIdSet");
    assert_eq!(ids.as_array().map(Vec::len), Some(2));
    assert_ne!(ids[0], ids[1]);
    let one = request("cvm:RunInstances", json!({}));
    assert!(text(id(&reply(&run, Tencent, 0, &one), "/InstanceIdSet/0")).starts_with("ins-dryrun"));
    let command = request("ecs:RunCommand", json!({}));
    assert!(text(id(&reply(&run, Alibaba, 0, &command), "/InvokeId")).starts_with("t-dryrun"));
}

#[test]
fn a_reply_says_where_no_later_read_shows_the_effect() {
    let run = RunId::from_text("3fa2");
    for (provider, action, is_said) in [
        (Alibaba, "ecs:CreateSnapshot", false),
        (Alibaba, "ecs:StopInstance", false),
        (Alibaba, "ecs:RunCommand", true),
        (Alibaba, "ecs:RenewInstance", true),
        (Alibaba, "ecs:PurgeThings", true),
        (Tencent, "cvm:ResetInstance", false),
        (Tencent, "cbs:CopySnapshotCrossRegions", true),
    ] {
        let body = reply(&run, provider, 0, &request(action, json!({}))).body;
        assert_eq!(body.contains(NOT_SHOWN), is_said, "{action}: {body}");
    }
}

#[test]
fn a_new_snapshot_is_listed_as_it_was_asked_for_and_accomplished() {
    let tag = json!([{ "Key": "env", "Value": "lab" }]);
    let overlay = after(
        Alibaba,
        &[(
            "ecs:CreateSnapshot",
            json!({ "DiskId": "d-1", "SnapshotName": "new", "RetentionDays": 7, "Tag": tag }),
        )],
    );
    let id = made(&overlay, 0)["SnapshotId"].clone();
    let page =
        shown(&overlay, Alibaba, "ecs:DescribeSnapshots", json!({ "RegionId": "r-1" }), &snapshots(&["s-1"]));
    assert_eq!(
        (&page["TotalCount"], page["Snapshots"]["Snapshot"].as_array().map(Vec::len)),
        (&json!(2), Some(2))
    );
    let new = &page["Snapshots"]["Snapshot"][0];
    assert_eq!(
        (&new["SnapshotId"], &new["Status"], &new["Progress"]),
        (&id, &json!("accomplished"), &json!("100%"))
    );
    assert_eq!((&new["SourceDiskId"], &new["RetentionDays"]), (&json!("d-1"), &json!(7)));
    assert_eq!(new["CreationTime"], "2026-01-05T02:07:30Z");
    assert_eq!(new["Tags"], json!({ "Tag": [{ "TagKey": "env", "TagValue": "lab" }] }));
    assert_eq!(new.get("Description"), None, "not asked for");

    let is_listed = |params: Value| {
        let page = shown(&overlay, Alibaba, "ecs:DescribeSnapshots", params, &snapshots(&[]));
        page["Snapshots"]["Snapshot"].as_array().is_some_and(|items| !items.is_empty())
    };
    for (params, listed) in [
        (json!({ "DiskId": "d-1", "Status": "all", "PageSize": 50 }), true),
        (json!({ "DiskId": "d-2" }), false),
        (json!({ "Status": "accomplished" }), true),
        (json!({ "Status": "progressing" }), false),
        (json!({ "SnapshotName": "new" }), true),
        (json!({ "SnapshotName": "n*" }), false),
        (json!({ "Tag": [{ "Key": "env" }] }), true),
        (json!({ "Tag": [{ "Key": "env", "Value": "prod" }] }), false),
        (json!({ "SnapshotIds": [id] }), true),
        (json!({ "SnapshotIds": json!([id]).to_string() }), true),
        (json!({ "SnapshotIds": ["s-9"] }), false),
        (json!({ "InstanceId": "i-1" }), false),
        (json!({ "PageNumber": 1 }), true),
        (json!({ "PageNumber": 2 }), false),
        (json!({ "NextToken": "t" }), false),
    ] {
        assert_eq!(is_listed(params.clone()), listed, "{params}");
    }
}

#[test]
fn what_is_changed_shows_it_and_what_is_gone_is_not_there() {
    let real = json!({ "TotalCount": 3, "Instances": { "Instance": [
        instance("i-1", "Running"), instance("i-2", "Running"), instance("i-3", "Running"),
    ] } });
    let overlay = after(
        Alibaba,
        &[
            ("ecs:StopInstance", json!({ "InstanceId": "i-1" })),
            ("ecs:DeleteInstance", json!({ "InstanceId": "i-2" })),
            ("ecs:RebootInstance", json!({ "InstanceId": "i-3" })),
            ("ecs:ModifyInstanceAttribute", json!({ "InstanceId": "i-3", "InstanceName": "db" })),
        ],
    );
    let page = shown(&overlay, Alibaba, "ecs:DescribeInstances", json!({}), &real);
    let expected = json!({ "TotalCount": 2, "Instances": { "Instance": [
        instance("i-1", "Stopped"),
        { "InstanceId": "i-3", "InstanceName": "db", "Status": "Running", "StartTime": "2026-01-05T02:07Z" },
    ] } });
    assert_eq!(page, expected);

    // What the change took out of what is asked for is left out as well.
    let running = shown(&overlay, Alibaba, "ecs:DescribeInstances", json!({ "Status": "Running" }), &real);
    assert_eq!(
        (&running["TotalCount"], &running["Instances"]["Instance"][0]["InstanceId"]),
        (&json!(1), &json!("i-3"))
    );
    let fuzzy = shown(&overlay, Alibaba, "ecs:DescribeInstances", json!({ "InstanceName": "w*" }), &real);
    assert_eq!(fuzzy["TotalCount"], 2, "a wildcard is left to the cloud");
}

#[test]
fn later_effects_show_on_what_earlier_ones_made() {
    let first = after(Alibaba, &[("ecs:CreateSnapshot", json!({ "DiskId": "d-1" }))]);
    let id = made(&first, 0)["SnapshotId"].as_str().expect("a text").to_owned();
    let create = ("ecs:CreateSnapshot", json!({ "DiskId": "d-1" }));
    let tag = (
        "ecs:TagResources",
        json!({ "ResourceType": "snapshot", "ResourceId": [id, "s-1"], "Tag": [{ "Key": "env", "Value": "prod" }] }),
    );
    let list = |effects: &[(&str, Value)]| {
        let overlay = after(Alibaba, effects);
        shown(&overlay, Alibaba, "ecs:DescribeSnapshots", json!({}), &snapshots(&["s-1"]))
    };
    let page = list(&[create.clone(), tag.clone()]);
    for item in page["Snapshots"]["Snapshot"].as_array().expect("a list") {
        assert_eq!(item["Tags"]["Tag"], json!([{ "TagKey": "env", "TagValue": "prod" }]), "{item}");
    }
    let untag = ("ecs:UntagResources", json!({ "ResourceId": ["s-1"], "TagKey": ["env"] }));
    let page = list(&[create.clone(), tag, untag]);
    assert_eq!(page["Snapshots"]["Snapshot"][1]["Tags"]["Tag"], json!([]));
    let page = list(&[create, ("ecs:DeleteSnapshot", json!({ "SnapshotId": id }))]);
    assert_eq!(page, Value::Null, "nothing is left of it");
}

#[test]
fn tencents_answers_show_the_operation_and_what_it_led_to() {
    let real = json!({ "TotalCount": 1, "InstanceSet": [{
        "InstanceId": "ins-1", "InstanceState": "RUNNING", "LatestOperation": null, "LatestOperationState": null,
        "LatestOperationRequestId": null, "ImageId": "img-0",
    }], "RequestId": "r" });
    let overlay =
        after(Tencent, &[("cvm:ResetInstance", json!({ "InstanceId": "ins-1", "ImageId": "img-1" }))]);
    let page = shown(&overlay, Tencent, "cvm:DescribeInstances", json!({ "InstanceIds": ["ins-1"] }), &real);
    let expected = json!({
        "InstanceId": "ins-1", "InstanceState": "RUNNING", "LatestOperation": "ResetInstance",
        "LatestOperationState": "SUCCESS", "LatestOperationRequestId": overlay.effects()[0].response.request_id,
        "ImageId": "img-1",
    });
    assert_eq!(page["InstanceSet"][0], expected);

    let overlay = after(
        Tencent,
        &[
            ("cbs:CreateSnapshot", json!({ "DiskId": "disk-1", "Tags": [{ "Key": "env", "Value": "lab" }] })),
            ("cvm:StopInstances", json!({ "InstanceIds": ["ins-1", "ins-2"] })),
        ],
    );
    let filters = json!({ "Filters": [{ "Name": "disk-id", "Values": ["disk-1"] }, { "Name": "tag:env", "Values": ["lab"] }] });
    for none in [json!(null), json!([])] {
        let real = json!({ "TotalCount": 0, "SnapshotSet": none, "RequestId": "r" });
        let page = shown(&overlay, Tencent, "cbs:DescribeSnapshots", filters.clone(), &real);
        let new = &page["SnapshotSet"][0];
        assert_eq!(
            (&page["TotalCount"], &new["SnapshotState"], &new["Percent"]),
            (&json!(1), &json!("NORMAL"), &json!(100))
        );
        assert_eq!(new["CreateTime"], "2026-01-05 10:07:30");
        let other = json!({ "Filters": [{ "Name": "disk-id", "Values": ["disk-2"] }] });
        assert_eq!(shown(&overlay, Tencent, "cbs:DescribeSnapshots", other, &real), Value::Null);
    }
    let states = shown(&overlay, Tencent, "cvm:DescribeInstances", json!({}), &real);
    assert_eq!(states["InstanceSet"][0]["InstanceState"], "STOPPED");
}

#[test]
fn a_read_of_another_region_service_or_time_shows_nothing_of_it() {
    let overlay = after(Alibaba, &[("ecs:CreateSnapshot", json!({ "DiskId": "d-1" }))]);
    let real = snapshots(&["s-1"]).to_string();
    let here = request("ecs:DescribeSnapshots", json!({}));
    assert!(overlay.shown(Alibaba, 1, &here, &real).is_some());
    assert_eq!(overlay.shown(Alibaba, 0, &here, &real), None, "it comes before");
    let elsewhere = CallRequest { region: "r-2".into(), ..here.clone() };
    assert_eq!(overlay.shown(Alibaba, 1, &elsewhere, &real), None);
    assert_eq!(overlay.shown(Alibaba, 1, &request("ecs:DescribeDisks", json!({})), &real), None);
    for odd in ["", "{", "[]", "null", r#"{"Snapshots":"none"}"#, r#"{"Snapshots":{"Snapshot":7}}"#] {
        assert_eq!(
            overlay.shown(Alibaba, 1, &here, odd).filter(|shown| !shown.contains("s-dryrun")),
            None,
            "{odd}"
        );
    }
}

#[test]
fn the_cloud_is_not_asked_for_what_was_made_up() {
    let overlay = after(Alibaba, &[("ecs:CreateSnapshot", json!({ "DiskId": "d-1" }))]);
    let id = made(&overlay, 0)["SnapshotId"].as_str().expect("a text").to_owned();
    let ask = |action: &str, params: Value| overlay.ask(Alibaba, 9, &request(action, params));
    let instead = |params: Value| Ask::Instead(request("ecs:DescribeSnapshots", params));
    assert_eq!(ask("ecs:DescribeSnapshots", json!({ "SnapshotIds": ["s-1"] })), Ask::AsItIs);
    assert_eq!(ask("ecs:DescribeSnapshots", json!({})), Ask::AsItIs);
    assert_eq!(
        ask("ecs:DescribeSnapshots", json!({ "SnapshotIds": ["s-1", id] })),
        instead(json!({ "SnapshotIds": ["s-1"] }))
    );
    assert_eq!(
        ask("ecs:DescribeSnapshots", json!({ "SnapshotIds": json!(["s-1", id]).to_string() })),
        instead(json!({ "SnapshotIds": json!(["s-1"]).to_string() }))
    );
    let empty = Ask::Nobody(
        json!({ "RequestId": "dryrun", "TotalCount": 0, "Snapshots": { "Snapshot": [] } }).to_string(),
    );
    assert_eq!(ask("ecs:DescribeSnapshots", json!({ "SnapshotIds": [id] })), empty);
    assert!(matches!(ask("ecs:DescribeImages", json!({ "SnapshotId": id })), Ask::Nobody(_)));
    assert_eq!(
        overlay.ask(Alibaba, 0, &request("ecs:DescribeImages", json!({ "SnapshotId": id }))),
        Ask::AsItIs
    );

    assert!(overlay.bears_on(Alibaba, 9, &json!({ "SnapshotId": id })), "made up");
    assert!(overlay.bears_on(Alibaba, 9, &json!({ "DiskId": "d-1" })), "named before");
    assert!(!overlay.bears_on(Alibaba, 9, &json!({ "DiskId": "d-2" })));
    assert!(!overlay.bears_on(Alibaba, 0, &json!({ "DiskId": "d-1" })), "named later");
}

#[test]
fn the_ledger_gives_back_what_was_simulated_in_the_latest_try() {
    let overlay = after(
        Alibaba,
        &[
            ("ecs:StopInstance", json!({ "InstanceId": "i-1" })),
            ("ecs:StopInstance", json!({ "InstanceId": "i-2" })),
        ],
    );
    let record = |known: &Simulated, answered: Answered| {
        let Simulated { position, request, response, at } = known.clone();
        Record::new(at, Entry::Call { position, request, reply: Ok(response), answered })
    };
    let [first, second] = overlay.effects() else { panic!("two") };
    // Out of order, as calls that are made together may be recorded.
    let ledger = [
        record(second, Answered::CloudDryRun),
        record(first, Answered::Simulated),
        record(first, Answered::Overlaid),
    ];
    assert_eq!(Overlay::of(&ledger).effects(), overlay.effects());
    let again = Record::new(Timestamp::from_seconds(0), Entry::Retried { why: String::new(), by: None });
    let void = Record::new(Timestamp::from_seconds(0), Entry::Void { why: String::new() });
    for begun_afresh in [again, void] {
        let ledger = [record(first, Answered::Simulated), begun_afresh, record(second, Answered::Simulated)];
        assert_eq!(Overlay::of(&ledger).effects(), std::slice::from_ref(second));
    }
}

#[test]
fn the_same_natural_key_has_the_same_answer() {
    let mut overlay = Overlay::default();
    let asked = |action: &str, once: Option<&str>| CallRequest {
        once: once.map(str::to_owned),
        ..request(action, json!({ "DiskId": "d-1" }))
    };
    let first = asked("ecs:CreateSnapshot", Some("e-1/d-1"));
    let response = reply(&RunId::from_text("3fa2"), Alibaba, 0, &first);
    overlay.add(0, first.clone(), response.clone(), Timestamp::from_seconds(0));
    assert_eq!(overlay.same_key(&first), Some(&response));
    for other in [
        asked("ecs:CreateSnapshot", Some("e-1/d-2")),
        asked("ecs:CreateSnapshot", None),
        asked("ecs:CreateDisk", Some("e-1/d-1")),
    ] {
        assert_eq!(overlay.same_key(&other), None, "{other:?}");
    }
}

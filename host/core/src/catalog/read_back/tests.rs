//! Reading back by tables: the read to make, what its answer shows, and what two readings say of an effect between them.

use super::*;
use crate::catalog::{Provider, find};
use serde_json::json;

fn action(service: &str, name: &str) -> &'static Action {
    let provider = if service == "ecs" { Provider::Alibaba } else { Provider::Tencent };
    find(provider, service, name).expect("in the catalog")
}

fn read_back(service: &str, name: &str) -> &'static ReadBack {
    action(service, name).read_back.as_ref().expect("has a read-back")
}

#[test]
fn the_read_names_the_resource_in_the_vendors_form() {
    let request = read_back("cvm", "ResetInstance").request("ins-1", "ap-shanghai");
    assert_eq!((request.service.as_str(), request.action.as_str()), ("cvm", "DescribeInstances"));
    assert_eq!(request.region, "ap-shanghai");
    assert_eq!(request.params, r#"{"InstanceIds":["ins-1"]}"#);
    let request = read_back("ecs", "StopInstance").request("i-1", "cn-hangzhou");
    let params: Value = serde_json::from_str(&request.params).expect("JSON");
    assert_eq!(params, json!({"InstanceIds": "[\"i-1\"]", "RegionId": "cn-hangzhou"}));
}

#[test]
fn a_baseline_is_that_of_the_asked_resource_only() {
    let recipe = read_back("cvm", "ResetInstance");
    let body = json!({"TotalCount": 2, "InstanceSet": [
        {"InstanceId": "ins-2", "InstanceState": "STOPPED"},
        {"InstanceId": "ins-1", "InstanceState": "RUNNING", "LatestOperation": "StartInstances",
         "LatestOperationState": "SUCCESS", "LatestOperationRequestId": "r-1"},
    ]});
    let old = reading("RUNNING", Some(("StartInstances", "SUCCESS", "r-1")));
    assert_eq!(recipe.sight("ins-1", &body.to_string()), Sight::Shown(old));
    assert_eq!(recipe.sight("ins-3", &body.to_string()), Sight::NotShown);
    for unreadable in ["{\"InstanceSet\":", "{}", r#"{"InstanceSet": null}"#] {
        assert_eq!(recipe.sight("ins-1", unreadable), Sight::Unreadable, "{unreadable}");
    }
    let fresh = json!({"InstanceSet": [{"InstanceId": "ins-1", "InstanceState": "RUNNING",
        "LatestOperation": null, "LatestOperationRequestId": ""}]});
    assert_eq!(recipe.sight("ins-1", &fresh.to_string()), Sight::Shown(reading("RUNNING", None)));
    let ecs = json!({"Instances": {"Instance": [
        {"InstanceId": "i-1", "Status": "Stopping", "StartTime": "2026-01-05T02:07Z"},
    ]}});
    let ecs = read_back("ecs", "StopInstance").sight("i-1", &ecs.to_string());
    assert_eq!(ecs, Sight::Shown(started("Stopping", "2026-01-05T02:07Z")));
}

#[test]
fn judgements() {
    let done = |id: &str| Judgement::Done { request_id: Some(id.to_owned()) };
    let reset = action("cvm", "ResetInstance");
    let old = Some(("StartInstances", "SUCCESS", "r-1"));
    let cases = [
        (
            reset,
            reading("RUNNING", old),
            reading("RUNNING", Some(("ResetInstance", "OPERATING", "r-2"))),
            done("r-2"),
        ),
        (
            reset,
            reading("RUNNING", None),
            reading("RUNNING", Some(("ResetInstance", "SUCCESS", "r-2"))),
            done("r-2"),
        ),
        (reset, reading("RUNNING", old), reading("RUNNING", old), Judgement::Unchanged),
        (reset, reading("RUNNING", None), reading("RUNNING", None), Judgement::Unchanged),
        (reset, reading("RUNNING", old), reading("STOPPED", old), Judgement::Unknown),
        (reset, reading("RUNNING", old), reading("STOPPING", old), Judgement::NotYet),
        (
            reset,
            reading("RUNNING", old),
            reading("STOPPED", Some(("StopInstances", "SUCCESS", "r-2"))),
            Judgement::Unknown,
        ),
        // The same request seen before is not ours.
        (
            reset,
            reading("RUNNING", Some(("ResetInstance", "OPERATING", "r-1"))),
            reading("RUNNING", Some(("ResetInstance", "SUCCESS", "r-1"))),
            Judgement::Unknown,
        ),
        (action("cvm", "StopInstances"), reading("RUNNING", old), reading("RUNNING", old), Judgement::Unmet),
        // `SUCCESS` alone is not finished: the state may still be on its way.
        (
            action("cvm", "StopInstances"),
            reading("RUNNING", old),
            reading("STOPPING", old),
            Judgement::NotYet,
        ),
        (
            action("cvm", "StopInstances"),
            reading("RUNNING", old),
            reading("STOPPED", old),
            Judgement::Reached,
        ),
        (
            action("ecs", "StartInstance"),
            reading("Stopped", None),
            reading("Starting", None),
            Judgement::NotYet,
        ),
        (
            action("ecs", "StartInstance"),
            reading("Stopped", None),
            reading("Stopped", None),
            Judgement::Unmet,
        ),
        (
            action("ecs", "StartInstance"),
            reading("Stopped", None),
            reading("Running", None),
            Judgement::Reached,
        ),
        (action("ecs", "StartInstance"), reading("Stopped", None), Baseline::default(), Judgement::Unknown),
    ];
    for (action, before, after, expected) in cases {
        let judged = judge(&before, Some(&after), Timestamp::default(), action);
        assert_eq!(judged, expected, "{} {before:?} {after:?}", action.name);
    }
}

#[test]
fn what_keeps_no_record_is_judged_by_what_an_action_leads_to_and_never_found_undone() {
    let done = || Judgement::Done { request_id: None };
    let (reboot, reinit) = (action("ecs", "RebootInstance"), action("ecs", "ReInitDisk"));
    let delete = action("ecs", "DeleteSnapshot");
    let running = || started("Running", "2026-01-05T02:07Z");
    let again = |state| started(state, "2026-01-05T02:09Z");
    let shown = |state| Some(reading(state, None));
    let cases = [
        (reboot, running(), Some(running()), Judgement::Unproved),
        (reboot, running(), Some(again("Running")), Judgement::Reached),
        (reboot, running(), Some(again("Starting")), Judgement::NotYet),
        // It may be somebody's stop.
        (reboot, running(), Some(started("Stopping", "2026-01-05T02:07Z")), Judgement::NotYet),
        (reboot, running(), Some(started("Starting", "2026-01-05T02:07Z")), Judgement::NotYet),
        (reboot, running(), Some(started("Stopped", "2026-01-05T02:07Z")), Judgement::Unproved),
        // A baseline that lagged behind shows neither the start before the intent nor the one before that.
        (
            reboot,
            started("Running", "2026-01-01T00:00Z"),
            Some(started("Running", "2026-01-05T02:07Z")),
            Judgement::Unproved,
        ),
        (reboot, reading("Running", None), shown("Running"), Judgement::Unproved),
        (reboot, running(), None, Judgement::Unknown),
        (reinit, reading("In_use", None), shown("ReIniting"), done()),
        (reinit, reading("In_use", None), shown("In_use"), Judgement::Unproved),
        (reinit, reading("ReIniting", None), shown("ReIniting"), Judgement::NotYet),
        (reinit, reading("In_use", None), None, Judgement::Unknown),
        (delete, reading("accomplished", None), None, Judgement::Reached),
        (delete, reading("accomplished", None), shown("accomplished"), Judgement::Unproved),
        (action("ecs", "ResetDisk"), reading("In_use", None), shown("In_use"), Judgement::Unknown),
        (action("cvm", "ResetInstance"), reading("RUNNING", None), None, Judgement::Unknown),
    ];
    let since = Timestamp::parse_rfc3339("2026-01-05T02:08:30Z").expect("a time");
    for (action, before, after, expected) in cases {
        let judged = judge(&before, after.as_ref(), since, action);
        assert_eq!(judged, expected, "{} {before:?} {after:?}", action.name);
    }
}

fn started(state: &str, at: &str) -> Baseline {
    Baseline { started: Some(at.to_owned()), ..reading(state, None) }
}

fn reading(state: &str, operation: Option<(&str, &str, &str)>) -> Baseline {
    Baseline {
        state: Some(state.to_owned()),
        operation: operation.map(|o| o.0.to_owned()),
        operation_state: operation.map(|o| o.1.to_owned()),
        operation_request_id: operation.map(|o| o.2.to_owned()),
        started: None,
    }
}

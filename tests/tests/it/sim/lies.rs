//! The ways in which the simulated clouds lie, one by one: what the client sees, and what has really happened.

use super::lab::{Lab, Signed};
use super::{DISK, INSTANCE, SCHEMES, change};
use crate::harness::eventually;
use opsward_core::catalog::Provider;
use opsward_core::sign::Scheme;
use serde_json::{Value, json};
use std::time::Duration;

/// An effect on a machine of each vendor, and the read that shows the machine.
const STOPS: [(Scheme, &str, &str, &str); 2] = [
    (Scheme::AlibabaAcs3, "ecs", "StopInstance", INSTANCE),
    (Scheme::TencentTc3, "cvm", "StopInstances", "ins-1"),
];

fn stop_params(scheme: Scheme, machine: &str) -> Value {
    match scheme {
        Scheme::TencentTc3 => json!({ "InstanceIds": [machine] }),
        _ => json!({ "InstanceId": machine }),
    }
}

/// The state a read shows of a machine.
async fn shown(lab: &Lab, scheme: Scheme, service: &'static str, machine: &str) -> Value {
    let ids = match scheme {
        Scheme::TencentTc3 => json!([machine]),
        _ => json!(json!([machine]).to_string()),
    };
    let read = lab.call(scheme, service, "DescribeInstances", json!({ "InstanceIds": ids }));
    let fields = read.await.expect("an answer").fields();
    match scheme {
        Scheme::TencentTc3 => fields["InstanceSet"][0].clone(),
        _ => fields["Instances"]["Instance"][0].clone(),
    }
}

async fn effects(lab: &Lab) -> Vec<Value> {
    lab.get("effects").await.as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_connection_that_stays_open_ends_without_a_byte_and_tells_nothing_of_the_change() {
    for scheme in SCHEMES {
        for (kind, made) in [("timeout-before", 0), ("timeout-after", 1)] {
            let lab = Lab::start().await;
            let (service, action, params) = change(scheme);
            lab.post("faults", json!({ "action": action, "kind": kind, "delay_ms": 30 })).await;
            let bytes = lab.signed(scheme, service, action, params).bytes(&lab);
            assert_eq!(lab.exchange(&bytes).await, b"", "{scheme:?} {kind}");
            assert_eq!(effects(&lab).await.len(), made, "{scheme:?} {kind}");
            assert_eq!(lab.get("requests").await[0]["fault"], kind);
        }
    }
}

#[tokio::test]
async fn a_proxys_page_hides_a_change_that_took_place() {
    for scheme in SCHEMES {
        let lab = Lab::start().await;
        let (service, action, params) = change(scheme);
        lab.post("faults", json!({ "action": action, "kind": "garbage" })).await;
        let answer = lab.call(scheme, service, action, params).await.expect("an answer");
        assert_eq!(answer.status, 502, "{scheme:?}");
        assert!(answer.body.as_str().is_some_and(|page| page.starts_with("<html>")), "{}", answer.body);
        assert_eq!(effects(&lab).await.len(), 1, "{scheme:?}");
    }
}

#[tokio::test]
async fn a_late_change_takes_place_while_its_signature_is_believed_and_not_after() {
    for (scheme, life_seconds) in
        [(Scheme::AlibabaAcs3, 900), (Scheme::AlibabaRpcV1, 900), (Scheme::TencentTc3, 300)]
    {
        for (late_seconds, made) in [(life_seconds - 60, 1), (life_seconds + 60, 0)] {
            let lab = Lab::start().await;
            let (service, action, params) = change(scheme);
            let fault = json!({ "action": action, "kind": "late", "delay_ms": late_seconds * 1000 });
            lab.post("faults", fault).await;
            let bytes = lab.signed(scheme, service, action, params).bytes(&lab);
            assert_eq!(lab.exchange(&bytes).await, b"", "{scheme:?}");
            assert_eq!(effects(&lab).await.len(), 0, "{scheme:?}");
            let pending = async || lab.get("counts").await["late"].as_array().map(Vec::len);
            assert_eq!(pending().await, Some(1), "{scheme:?}");
            lab.put("state", json!({ "clock_offset_ms": (late_seconds + 1) * 1000 })).await;
            eventually("the late change", async || (pending().await == Some(0)).then_some(())).await;
            let found = effects(&lab).await;
            assert_eq!(found.len(), made, "{scheme:?} {late_seconds} s late");
            let asked = &lab.get("requests").await[0]["request_id"];
            assert!(found.iter().all(|effect| effect["request_id"] == *asked), "{found:?}");
        }
    }
}

#[tokio::test]
async fn a_stale_read_shows_what_was_before_the_last_change_and_no_other_read_does() {
    for (scheme, service, action, machine) in STOPS {
        let lab = Lab::start().await;
        let state = if scheme == Scheme::TencentTc3 { "InstanceState" } else { "Status" };
        lab.post("faults", json!({ "action": "DescribeInstances", "kind": "stale", "times": 2 })).await;
        let before = shown(&lab, scheme, service, machine).await;
        lab.call(scheme, service, action, stop_params(scheme, machine)).await.expect("an answer");
        for _ in 0..2 {
            assert_eq!(shown(&lab, scheme, service, machine).await, before, "{scheme:?}");
        }
        let after = shown(&lab, scheme, service, machine).await;
        assert!(["Stopping", "STOPPING"].contains(&after[state].as_str().expect("a state")), "{after}");
        assert_eq!(lab.get("faults").await, json!([]), "the read before the change met nothing");
    }
}

#[tokio::test]
async fn a_stale_read_ends_with_its_time() {
    for (scheme, service, action, machine) in STOPS {
        let lab = Lab::start().await;
        let fault = json!({ "action": "*", "kind": "stale", "times": 9, "delay_ms": 100_000 });
        lab.post("faults", fault).await;
        let before = shown(&lab, scheme, service, machine).await;
        lab.call(scheme, service, action, stop_params(scheme, machine)).await.expect("an answer");
        assert_eq!(shown(&lab, scheme, service, machine).await, before, "{scheme:?}");
        lab.put("state", json!({ "clock_offset_ms": 200_000 })).await;
        assert_ne!(shown(&lab, scheme, service, machine).await, before, "{scheme:?}");
        assert_eq!(lab.get("faults").await[0]["times"], 8, "{scheme:?}");
    }
}

#[tokio::test]
async fn a_snapshot_just_made_is_not_there_for_a_stale_read() {
    let lab = Lab::start().await;
    let acs3 = Scheme::AlibabaAcs3;
    lab.call(acs3, "ecs", "CreateSnapshot", json!({ "DiskId": DISK })).await.expect("an answer");
    lab.post("faults", json!({ "action": "DescribeSnapshots", "kind": "stale" })).await;
    for total in [0, 1] {
        let read = lab.call(acs3, "ecs", "DescribeSnapshots", json!({ "DiskId": DISK })).await;
        let listed = read.expect("an answer").fields()["Snapshots"]["Snapshot"].clone();
        assert_eq!(listed.as_array().map(Vec::len), Some(total));
    }
}

#[tokio::test]
async fn another_operator_comes_first_and_leaves_an_operation_of_its_own() {
    let lab = Lab::start().await;
    let tc3 = Scheme::TencentTc3;
    lab.put("state", json!({ "settle": { "reboot_ms": 0 } })).await;
    lab.post("faults", json!({ "action": "StopInstances", "kind": "operator" })).await;
    lab.post("faults", json!({ "action": "StopInstances", "kind": "drop-before" })).await;
    let lost = lab.call(tc3, "cvm", "StopInstances", stop_params(tc3, "ins-1")).await;
    assert!(lost.is_err());
    let requests = lab.get("requests").await;
    assert_eq!(requests[0]["fault"], "operator+drop-before");
    let machine = shown(&lab, tc3, "cvm", "ins-1").await;
    assert_eq!(
        (&machine["LatestOperation"], &machine["InstanceState"]),
        (&json!("RebootInstances"), &json!("RUNNING"))
    );
    assert_ne!(machine["LatestOperationRequestId"], requests[0]["request_id"]);

    let acs3 = Scheme::AlibabaAcs3;
    lab.post("faults", json!({ "action": "StopInstance", "kind": "operator" })).await;
    let answer = lab.call(acs3, "ecs", "StopInstance", stop_params(acs3, INSTANCE)).await.expect("an answer");
    assert_eq!(answer.code(), None);
    let made: Vec<_> =
        effects(&lab).await.iter().map(|e| (e["action"].clone(), e["caller"].clone())).collect();
    let named = |action: &str, caller: &str| (json!(action), json!(caller));
    assert_eq!(
        made,
        [
            named("RebootInstances", "operator"),
            named("RebootInstance", "operator"),
            named("StopInstance", "opsward"),
        ]
    );
}

#[tokio::test]
async fn a_used_nonce_is_said_of_a_call_that_was_carried_out_where_calls_have_nonces() {
    for scheme in SCHEMES {
        let lab = Lab::start().await;
        let (service, action, params) = change(scheme);
        lab.post("faults", json!({ "action": action, "kind": "nonce-used" })).await;
        let answer = lab.call(scheme, service, action, params).await.expect("an answer");
        let expected = (scheme.provider() == Provider::Alibaba).then_some("SignatureNonceUsed");
        assert_eq!(answer.code().as_deref(), expected, "{scheme:?}");
        assert_eq!(effects(&lab).await.len(), 1, "{scheme:?}");
    }
}

#[tokio::test]
async fn a_skewed_clock_refuses_who_does_not_know_it_and_tells_the_time_it_goes_by() {
    let skew = json!({ "action": "*", "kind": "clock-skew", "times": 2, "delay_ms": 20 * 60 * 1000 });
    for (scheme, code) in [
        (Scheme::AlibabaAcs3, "InvalidTimeStamp.Expired"),
        (Scheme::AlibabaRpcV1, "InvalidTimeStamp.Expired"),
        (Scheme::TencentTc3, "AuthFailure.SignatureExpire"),
    ] {
        let lab = Lab::start().await;
        let (service, action, params) = change(scheme);
        lab.post("faults", skew.clone()).await;
        let refused = lab.call(scheme, service, action, params.clone()).await.expect("an answer");
        assert_eq!(refused.code().as_deref(), Some(code), "{scheme:?}");
        // A client that has learnt the skew, seen from the other side: the cloud's own clock is as far behind.
        lab.put("state", json!({ "clock_offset_ms": -20 * 60 * 1000 })).await;
        let bytes = lab.signed(scheme, service, action, params.clone()).bytes(&lab);
        let answered = String::from_utf8(lab.exchange(&bytes).await).expect("text");
        assert!(answered.contains("SnapshotId"), "{scheme:?}: {answered}");
        let behind = lab.call(scheme, service, action, params).await.expect("an answer");
        assert_eq!(behind.code().as_deref(), Some(code), "{scheme:?}: the skew is over");
        let requests = lab.get("requests").await;
        let faults: Vec<_> = (0..3).map(|nth| requests[nth]["fault"].clone()).collect();
        assert_eq!(faults, [json!("clock-skew"), json!("clock-skew"), Value::Null]);
    }
}

#[tokio::test]
async fn the_date_of_an_answer_is_the_skewed_one() {
    let lab = Lab::start().await;
    let read = || lab.signed(Scheme::TencentTc3, "cvm", "DescribeInstances", json!({}));
    let date = async |signed: Signed| {
        let answered = String::from_utf8(lab.exchange(&signed.bytes(&lab)).await).expect("text");
        let line = answered.lines().find_map(|line| line.strip_prefix("date: ").map(str::to_owned));
        opsward_core::time::Timestamp::parse_http_date(&line.expect("a date")).expect("well-formed")
    };
    let honest = date(read()).await;
    let two_days = 2 * 24 * 3600;
    lab.post("faults", json!({ "action": "*", "kind": "clock-skew", "delay_ms": two_days * 1000 })).await;
    let skewed = date(read()).await;
    assert!(skewed.since(honest) >= Duration::from_secs(two_days - 1), "{honest} and {skewed}");
}

#[tokio::test]
async fn random_faults_meet_calls_until_they_are_used_up() {
    let lab = Lab::start().await;
    let fault =
        json!({ "action": "*", "kind": "random", "seed": 3, "share": 1.0, "times": 6, "delay_ms": 5 });
    lab.post("faults", fault).await;
    for nth in 0..12 {
        let params = json!({ "DiskId": "disk-lab11", "SnapshotName": format!("s-{nth}") });
        // Whatever becomes of it.
        drop(lab.call(Scheme::TencentTc3, "cbs", "CreateSnapshot", params).await);
    }
    let requests = lab.get("requests").await;
    let met = requests.as_array().expect("a list").iter().filter(|r| !r["fault"].is_null()).count();
    // A drawn skew is met by the calls that come after it, twice.
    assert!((5..=12).contains(&met), "{met} calls met one");
    assert!(
        lab.get("faults").await.as_array().is_some_and(|left| left.iter().all(|f| f["kind"] != "random"))
    );
}

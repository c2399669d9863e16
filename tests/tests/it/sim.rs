//! The simulated clouds are honest: what real clouds refuse is refused, what a client cannot see has happened all the
//! same, and nothing takes effect that was refused. Requests are written to sockets by hand, so that what arrives is
//! exactly what is meant. The vendors' SDKs as clients are in `tests/peers`.

pub(crate) mod lab;
mod lies;
mod mns;

use lab::{Lab, Signed};
use opsward_core::sign::Scheme;
use serde_json::{Value, json};
use std::time::Duration;

const SCHEMES: [Scheme; 3] = [Scheme::AlibabaAcs3, Scheme::AlibabaRpcV1, Scheme::TencentTc3];
const INSTANCE: &str = "i-bp18l0uopocfc98xxxx";
const DISK: &str = "d-bp18l0uopocfc98x0001";

/// A call that changes something, one for each vendor.
fn change(scheme: Scheme) -> (&'static str, &'static str, Value) {
    match scheme {
        Scheme::TencentTc3 => ("cbs", "CreateSnapshot", json!({ "DiskId": "disk-lab11" })),
        _ => ("ecs", "CreateSnapshot", json!({ "DiskId": DISK, "SnapshotName": "reboot_abcdef" })),
    }
}

#[tokio::test]
async fn a_right_signature_is_served_and_its_effect_recorded() {
    for scheme in SCHEMES {
        let lab = Lab::start().await;
        let (service, action, params) = change(scheme);
        let answer = lab.call(scheme, service, action, params).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_deref()), (200, None), "{scheme:?}: {}", answer.body);
        let effects = lab.get("effects").await;
        assert_eq!(effects[0]["resource"], answer.fields()["SnapshotId"], "{scheme:?}");
        assert_eq!(effects[0]["request_id"], answer.fields()["RequestId"], "{scheme:?}");
        assert_eq!(lab.get("requests").await[0]["signature"], "ok", "{scheme:?}");
    }
}

#[tokio::test]
async fn what_a_real_cloud_refuses_is_refused_with_its_code_and_changes_nothing() {
    type Spoil = fn(&Lab, Signed) -> Signed;
    let wrong_secret: Spoil = |_, signed| Signed { secret: "wrong".into(), ..signed };
    let unknown_key: Spoil = |_, signed| Signed { key_id: "LTAInobody".into(), ..signed };
    let old: Spoil = |_, signed| Signed { age: Duration::from_secs(16 * 60), ..signed };
    let token_of_nobody: Spoil = |_, signed| Signed { token: Some("CAISother".into()), ..signed };
    let without_its_token: Spoil = |lab, signed| Signed { token: None, ..lab.temporary(&signed) };
    let changed: Spoil = |_, signed| Signed { replace: Some(("000", "001")), ..signed };
    let (acs3, rpc, tc3) = (Scheme::AlibabaAcs3, Scheme::AlibabaRpcV1, Scheme::TencentTc3);
    for (scheme, spoil, status, code) in [
        (acs3, wrong_secret, 400, "SignatureDoesNotMatch"),
        (rpc, wrong_secret, 400, "SignatureDoesNotMatch"),
        (tc3, wrong_secret, 200, "AuthFailure.SignatureFailure"),
        (acs3, unknown_key, 404, "InvalidAccessKeyId.NotFound"),
        (rpc, unknown_key, 404, "InvalidAccessKeyId.NotFound"),
        (tc3, unknown_key, 200, "AuthFailure.SecretIdNotFound"),
        (acs3, old, 400, "InvalidTimeStamp.Expired"),
        (rpc, old, 400, "InvalidTimeStamp.Expired"),
        (tc3, old, 200, "AuthFailure.SignatureExpire"),
        (acs3, token_of_nobody, 400, "InvalidSecurityToken.MismatchWithAccessKey"),
        (rpc, token_of_nobody, 400, "InvalidSecurityToken.MismatchWithAccessKey"),
        (tc3, token_of_nobody, 200, "AuthFailure.TokenFailure"),
        (acs3, without_its_token, 400, "MissingSecurityToken"),
        (rpc, without_its_token, 400, "MissingSecurityToken"),
        (tc3, without_its_token, 200, "AuthFailure.TokenFailure"),
        (acs3, changed, 400, "SignatureDoesNotMatch"),
        (rpc, changed, 400, "SignatureDoesNotMatch"),
        (tc3, changed, 200, "AuthFailure.SignatureFailure"),
    ] {
        let lab = Lab::start().await;
        let (service, action, mut params) = change(scheme);
        params[if scheme == tc3 { "SnapshotName" } else { "Description" }] = "at 000".into();
        let signed = spoil(&lab, lab.signed(scheme, service, action, params));
        let answer = lab.send(&signed).await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_deref()), (status, Some(code)), "{scheme:?}");
        assert_eq!(lab.get("effects").await, json!([]), "{scheme:?} {code}");
        assert_eq!(lab.get("requests").await[0]["signature"], code, "{scheme:?}");
    }
}

#[tokio::test]
async fn a_replayed_nonce_is_refused_where_the_scheme_has_one() {
    for (scheme, second) in [
        (Scheme::AlibabaAcs3, Some("SignatureNonceUsed")),
        (Scheme::AlibabaRpcV1, Some("SignatureNonceUsed")),
        (Scheme::TencentTc3, None),
    ] {
        let lab = Lab::start().await;
        let (service, action) = if scheme == Scheme::TencentTc3 {
            ("cvm", "DescribeInstances")
        } else {
            ("ecs", "DescribeInstances")
        };
        let bytes = lab.signed(scheme, service, action, json!({})).bytes(&lab);
        for expected in [None, second] {
            let answer = lab.send_bytes(&bytes).await.expect("an answer");
            assert_eq!(answer.code().as_deref(), expected, "{scheme:?}");
        }
    }
}

#[tokio::test]
async fn a_client_token_stands_for_its_first_answer_and_no_other_parameters() {
    let lab = Lab::start().await;
    let signed = |name: &str| Signed {
        client_token: Some("run-1"),
        ..lab.signed(
            Scheme::AlibabaAcs3,
            "ecs",
            "CreateSnapshot",
            json!({ "DiskId": DISK, "SnapshotName": name }),
        )
    };
    let first = lab.send(&signed("reboot_abcdef")).await.expect("an answer");
    let again = lab.send(&signed("reboot_abcdef")).await.expect("an answer");
    assert_eq!(again.fields()["SnapshotId"], first.fields()["SnapshotId"]);
    assert_ne!(again.fields()["RequestId"], first.fields()["RequestId"]);
    let other = lab.send(&signed("reboot_ghijkl")).await.expect("an answer");
    assert_eq!(other.code().as_deref(), Some("IdempotentParameterMismatch"));
    let effects = lab.get("effects").await;
    assert_eq!((effects.as_array().map(Vec::len), &effects[0]["client_token"]), (Some(1), &json!("run-1")));
}

#[tokio::test]
async fn a_fault_after_the_change_leaves_it_and_one_before_leaves_none() {
    for scheme in SCHEMES {
        for (kind, answered, effects) in [
            ("throttle", true, 0),
            ("error-500-before", true, 0),
            ("drop-before", false, 0),
            ("error-500-after", true, 1),
            ("drop-after", false, 1),
            ("truncated", false, 1),
            ("slow", true, 1),
        ] {
            let lab = Lab::start().await;
            let (service, action, params) = change(scheme);
            let delay_ms = if kind == "slow" { 30 } else { 0 };
            lab.post("faults", json!({ "action": action, "kind": kind, "delay_ms": delay_ms })).await;
            let answer = lab.call(scheme, service, action, params).await;
            assert_eq!(answer.is_ok(), answered, "{scheme:?} {kind}: {answer:?}");
            let failed = answer.is_ok_and(|answer| answer.code().is_some());
            assert_eq!(failed, answered && kind != "slow", "{scheme:?} {kind}");
            let made = lab.get("effects").await;
            assert_eq!(made.as_array().map(Vec::len), Some(effects), "{scheme:?} {kind}");
            assert_eq!(lab.get("requests").await[0]["fault"], kind);
            assert_eq!(lab.get("faults").await, json!([]), "a fault is used up");
        }
    }
}

#[tokio::test]
async fn a_dropped_connection_carries_no_byte_and_a_truncated_answer_only_some() {
    let lab = Lab::start().await;
    let read = || lab.signed(Scheme::AlibabaAcs3, "ecs", "DescribeDisks", json!({})).bytes(&lab);
    lab.post("faults", json!({ "action": "DescribeDisks", "kind": "drop-after" })).await;
    assert_eq!(lab.exchange(&read()).await, b"");
    lab.post("faults", json!({ "action": "*", "kind": "truncated" })).await;
    let cut = lab.exchange(&read()).await;
    let whole = lab.exchange(&read()).await;
    assert!(cut.starts_with(b"HTTP/1.1 200") && cut.len() < whole.len(), "{} of {}", cut.len(), whole.len());
}

#[tokio::test]
async fn a_reinstallation_reports_success_before_the_instance_runs() {
    let lab = Lab::start().await;
    let tc3 = Scheme::TencentTc3;
    let reset =
        json!({ "InstanceId": "ins-1", "ImageId": "img-1", "LoginSettings": { "KeepImageLogin": "TRUE" } });
    let answer = lab.call(tc3, "cvm", "ResetInstance", reset.clone()).await.expect("an answer");
    let busy = lab.call(tc3, "cvm", "ResetInstance", reset).await.expect("an answer");
    assert_eq!(busy.code().as_deref(), Some("OperationDenied.InstanceOperationInProgress"));
    for (offset_ms, operation, state) in
        [(0, "OPERATING", "STOPPING"), (42_000, "SUCCESS", "STOPPING"), (70_000, "SUCCESS", "RUNNING")]
    {
        lab.put("state", json!({ "clock_offset_ms": offset_ms })).await;
        let asked = json!({ "InstanceIds": ["ins-1"] });
        let shown = lab.call(tc3, "cvm", "DescribeInstances", asked).await.expect("an answer").fields();
        let instance = &shown["InstanceSet"][0];
        assert_eq!(instance["LatestOperationState"], operation, "{offset_ms}");
        assert_eq!(instance["InstanceState"], state, "{offset_ms}");
        assert_eq!(instance["LatestOperationRequestId"], answer.fields()["RequestId"]);
    }
    assert_eq!(lab.get("effects").await.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_restart_fails_the_snapshots_in_progress() {
    let lab = Lab::start().await;
    let acs3 = Scheme::AlibabaAcs3;
    lab.call(acs3, "ecs", "CreateSnapshot", json!({ "DiskId": DISK })).await.expect("an answer");
    lab.call(acs3, "ecs", "RebootInstance", json!({ "InstanceId": INSTANCE })).await.expect("an answer");
    let early = lab.call(acs3, "ecs", "CreateSnapshot", json!({ "DiskId": DISK })).await.expect("an answer");
    assert_eq!(early.code().as_deref(), Some("IncorrectInstanceStatus"));
    lab.put("state", json!({ "clock_offset_ms": 120_000 })).await;
    let shown = lab.call(acs3, "ecs", "DescribeSnapshots", json!({})).await.expect("an answer").fields();
    assert_eq!(shown["Snapshots"]["Snapshot"][0]["Status"], "failed");
}

#[tokio::test]
async fn an_incident_is_told_in_several_notifications_and_restarts_the_instance() {
    let lab = Lab::start().await;
    lab.put("state", json!({ "settle": { "reboot_ms": 20 } })).await;
    let hook = lab::Hook::start(&[500, 200, 200]).await;
    lab.post("subscribe", json!({ "url": hook.url, "form": "url-callback" })).await;
    let emitted = lab.post("emit", json!({ "instance": INSTANCE, "event": "SystemFailure.Reboot" })).await;
    let told = hook.received().await;
    let names: Vec<&str> = told.iter().filter_map(|body| body["name"].as_str()).collect();
    let (executing, executed) =
        ("Instance:SystemFailure.Reboot:Executing", "Instance:SystemFailure.Reboot:Executed");
    assert_eq!(names, [executing, executing, executed], "the first push failed and was repeated");
    assert_eq!((told[0]["id"] == told[1]["id"], told[1]["id"] == told[2]["id"]), (true, false));
    for body in &told {
        let content: Value = serde_json::from_str(body["content"].as_str().expect("text")).expect("JSON");
        assert_eq!(content["eventId"], emitted["incident"]);
        assert_eq!(content["instanceId"], INSTANCE);
    }
    assert_eq!(emitted["posted"][0]["answers"], json!([500, 200]));
    let instances = json!({ "InstanceIds": json!([INSTANCE]).to_string() });
    let shown =
        lab.call(Scheme::AlibabaAcs3, "ecs", "DescribeInstances", instances).await.expect("an answer");
    let instance = &shown.fields()["Instances"]["Instance"][0];
    assert_eq!(instance["Status"], "Running");
    assert_ne!(instance["StartTime"], instance["CreationTime"]);
}

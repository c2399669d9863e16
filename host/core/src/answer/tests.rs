//! Tables: what each vendor's answer means.

use super::*;
use ErrorKind::{Conflict, Failed, Invalid, NotFound, Throttled, Unauthorized, Unavailable};

/// To a call of `service`, whose action has no codes of its own.
fn answer_of<'a>(service: &'a str, status: u16, body: &'a str) -> Answer<'a> {
    Answer {
        service,
        action: "SomeAction",
        status,
        body: body.as_bytes(),
        request_id: None,
        retry_after_ms: None,
        string_to_sign: "",
    }
}

fn answer(status: u16, body: &str) -> Answer<'_> {
    answer_of("ecs", status, body)
}

/// A verdict in a word, with the error's kind.
fn gist(verdict: &Verdict) -> (&'static str, Option<ErrorKind>) {
    match verdict {
        Verdict::Answered(Ok(_)) => ("done", None),
        Verdict::Answered(Err(error)) => ("refused", Some(error.kind)),
        Verdict::Unclear { error } => ("unclear", Some(error.kind)),
        Verdict::NotExecuted { error, remedy, .. } => {
            let word = match remedy {
                Remedy::Wait => "wait",
                Remedy::Resign => "resign",
                Remedy::RepeatToken => "repeat",
                Remedy::RefreshCredentials => "refresh",
            };
            (word, Some(error.kind))
        }
    }
}

#[test]
fn alibaba_codes_mean_what_the_vendor_documents() {
    for (status, code, word, kind) in [
        (400, "Throttling", "wait", Throttled),
        (400, "Throttling.User", "wait", Throttled),
        (429, "Throttling.Else", "wait", Throttled),
        (400, "ThrottlingElse", "refused", Failed),
        (503, "Throttling.Api", "wait", Throttled),
        (403, "Throttling.QuotaExceeded", "wait", Throttled),
        (500, "InternalError", "unclear", Unavailable),
        (500, "InternalError.Else", "unclear", Unavailable),
        (400, "UnknownError", "unclear", Unavailable),
        (503, "ServiceUnavailable", "unclear", Unavailable),
        (502, "Whatever", "unclear", Unavailable),
        (500, "Forbidden.RAM", "unclear", Unavailable),
        (500, "IncorrectInstanceStatus", "unclear", Unavailable),
        (500, "InvalidDiskId.NotFound", "unclear", Unavailable),
        (500, "LastTokenProcessing", "repeat", Conflict),
        (500, "InvalidSecurityToken.Expired", "refresh", Unauthorized),
        (400, "SignatureNonceUsed", "unclear", Unavailable),
        (400, "InvalidTimeStamp.Expired", "resign", Unauthorized),
        (400, "IllegalTimestamp", "resign", Unauthorized),
        (400, "InvalidSecurityToken.Expired", "refresh", Unauthorized),
        (400, "InvalidSecurityToken.MismatchWithAccessKey", "refresh", Unauthorized),
        (400, "InvalidSecurityToken.Malformed", "refresh", Unauthorized),
        (400, "MissingSecurityToken", "refresh", Unauthorized),
        (400, "InvalidAccessKeySecret", "refresh", Unauthorized),
        (400, "InvalidCredentials", "refresh", Unauthorized),
        (404, "InvalidAccessKeyId.NotFound", "refresh", Unauthorized),
        (400, "InvalidAccessKeyId.Inactive", "refresh", Unauthorized),
        (400, "SignatureDoesNotMatch", "refresh", Unauthorized),
        (400, "IncompleteSignature", "refresh", Unauthorized),
        (403, "Forbidden.RAM", "refused", Unauthorized),
        (403, "NoPermission", "refused", Unauthorized),
        (403, "Forbidden", "refused", Unauthorized),
        (403, "NotAuthorized", "refused", Unauthorized),
        (403, "AccessDenied", "refused", Unauthorized),
        (400, "IdempotentParameterMismatch", "refused", Conflict),
        (403, "LastTokenProcessing", "repeat", Conflict),
        (403, "IdempotentProcessing", "repeat", Conflict),
        (403, "IncorrectInstanceStatus", "refused", Conflict),
        (403, "IncorrectDiskStatus.CreatingSnapshot", "refused", Conflict),
        (409, "OperationConflict", "refused", Conflict),
        (403, "IncorrectSnapshotStatus", "refused", Conflict),
        (403, "IncorrectImageStatus", "refused", Conflict),
        (403, "IncorrectStatus", "refused", Conflict),
        (403, "InstanceNotReady", "refused", Conflict),
        (403, "DiskCreatingSnapshot", "refused", Conflict),
        (400, "DependencyViolation.Else", "refused", Conflict),
        (400, "ResourceInUse", "refused", Conflict),
        (403, "OperationDenied.Something", "refused", Conflict),
        (403, "InstanceLockedForSecurity", "refused", Conflict),
        (404, "InvalidDiskId.NotFound", "refused", NotFound),
        (404, "InvalidInstanceId.NotFound", "refused", NotFound),
        (404, "EntityNotExist.Role", "refused", NotFound),
        (404, "QueueNotExist", "refused", NotFound),
        (400, "InvalidSnapshotName.Malformed", "refused", Invalid),
        (400, "InvalidAccountStatus.SnapshotServiceUnavailable", "refused", Invalid),
        (400, "IllegalParameter", "refused", Invalid),
        (400, "UnsupportedParameter", "refused", Invalid),
        (400, "MissingParameter", "refused", Invalid),
        (403, "QuotaExceed.Snapshot", "refused", Failed),
        (403, "QuotaExceeded.Else", "refused", Failed),
        (403, "DiskInArrears", "refused", Failed),
        (403, "SomethingNew", "refused", Failed),
    ] {
        let body = format!(r#"{{"RequestId":"r-1","HostId":"h","Code":"{code}","Message":"m"}}"#);
        let verdict = judge(Provider::Alibaba, &answer(status, &body));
        assert_eq!(gist(&verdict), (word, Some(kind)), "{status} {code}");
        if let Verdict::Answered(Err(error))
        | Verdict::Unclear { error }
        | Verdict::NotExecuted { error, .. } = verdict
        {
            assert_eq!((error.code.as_str(), error.message.as_str()), (code, "m"));
            assert_eq!(error.request_id.as_deref(), Some("r-1"));
        }
    }
}

#[test]
fn tencent_codes_mean_what_the_vendor_documents() {
    for (code, word, kind) in [
        ("RequestLimitExceeded", "wait", Throttled),
        ("RequestLimitExceeded.UinLimitExceeded", "wait", Throttled),
        ("RequestLimitExceeded.GlobalRegionUinLimitExceeded", "wait", Throttled),
        ("RequestLimitExceeded.IPLimitExceeded", "wait", Throttled),
        ("InternalError.Else", "unclear", Unavailable),
        ("InternalError", "unclear", Unavailable),
        ("InternalServerError", "unclear", Unavailable),
        ("ServiceUnavailable", "unclear", Unavailable),
        ("AuthFailure.SignatureExpire", "resign", Unauthorized),
        ("AuthFailure.TokenFailure", "refresh", Unauthorized),
        ("AuthFailure.SecretIdNotFound", "refresh", Unauthorized),
        ("AuthFailure.SignatureFailure", "refresh", Unauthorized),
        ("AuthFailure.MFAFailure", "refresh", Unauthorized),
        ("AuthFailure.InvalidSecretId", "refresh", Unauthorized),
        ("AuthFailure.InvalidAuthorization", "refresh", Unauthorized),
        ("AuthFailure.UnauthorizedOperation", "refused", Unauthorized),
        ("UnauthorizedOperation", "refused", Unauthorized),
        ("UnauthorizedOperation.CamNoAuth", "refused", Unauthorized),
        ("UnsupportedOperation.InstanceStateRunning", "refused", Conflict),
        ("UnsupportedOperation.InstanceChargeType", "refused", Invalid),
        ("MutexOperation.TaskRunning", "refused", Conflict),
        ("OperationDenied.InstanceOperationInProgress", "refused", Conflict),
        ("ResourceUnavailable.SnapshotCreating", "refused", Conflict),
        ("ResourceUnavailable.TooManyCreatingSnapshot", "refused", Conflict),
        ("ResourceBusy", "refused", Conflict),
        ("ResourceInUse", "refused", Conflict),
        ("ResourceInsufficient", "refused", Failed),
        ("LimitExceeded", "refused", Failed),
        ("InvalidInstanceId.NotFound", "refused", NotFound),
        ("ResourceNotFound.InvalidImage", "refused", NotFound),
        ("InvalidParameter.RoleNotExist", "refused", NotFound),
        ("NoSuchVersion", "refused", Invalid),
        ("MissingParameter", "refused", Invalid),
        ("InvalidParameterValue.InvalidPassword", "refused", Invalid),
        ("UnknownParameter", "refused", Invalid),
        ("ActionOffline", "refused", Invalid),
        ("RequestSizeLimitExceeded", "refused", Invalid),
        ("IpInBlacklist", "refused", Unauthorized),
        ("IpNotInWhitelist", "refused", Unauthorized),
        ("FailedOperation", "unclear", Unavailable),
        ("FailedOperation.Something", "unclear", Unavailable),
        ("ResponseSizeLimitExceeded", "unclear", Unavailable),
        ("UnknownError", "unclear", Unavailable),
        ("AuthFailure.SomethingNew", "unclear", Unavailable),
        ("SomethingNew", "unclear", Unavailable),
    ] {
        let body =
            format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"m"}},"RequestId":"r-1"}}}}"#);
        let verdict = judge(Provider::Tencent, &answer(200, &body));
        assert_eq!(gist(&verdict), (word, Some(kind)), "{code}");
    }
}

#[test]
fn an_answer_is_judged_by_its_content() {
    use Provider::{Alibaba, Tencent};
    for (provider, status, body, expected) in [
        (Alibaba, 200, r#"{"RequestId":"r","SnapshotId":"s-1"}"#, ("done", None)),
        (Alibaba, 200, r#"{"RequestId":"r","Success":true,"Code":"200"}"#, ("done", None)),
        (Alibaba, 200, r#"{"Success":false}"#, ("unclear", Some(Unavailable))),
        (Alibaba, 400, r#"{"Code":"DryRunOperation","Message":"m"}"#, ("done", None)),
        (Alibaba, 200, r#"{"RequestId":"r","Snaps"#, ("unclear", Some(Unavailable))),
        (Alibaba, 200, "", ("unclear", Some(Unavailable))),
        (Alibaba, 200, "[]", ("unclear", Some(Unavailable))),
        (Alibaba, 403, "<html>blocked</html>", ("unclear", Some(Unavailable))),
        (Alibaba, 429, "slow down", ("wait", Some(Throttled))),
        (Alibaba, 302, "", ("unclear", Some(Unavailable))),
        (Tencent, 200, r#"{"Response":{"RequestId":"r","TotalCount":0}}"#, ("done", None)),
        (
            Tencent,
            200,
            r#"{"Response":{"Error":{"Code":"DryRunOperation"},"RequestId":"r"}}"#,
            ("done", None),
        ),
        (Tencent, 200, r#"{"Response":{"RequestId":"r""#, ("unclear", Some(Unavailable))),
        (Tencent, 200, r#"{"Response":null}"#, ("unclear", Some(Unavailable))),
        (Tencent, 200, r#"{"RequestId":"r"}"#, ("unclear", Some(Unavailable))),
        (Tencent, 502, "<html>bad gateway</html>", ("unclear", Some(Unavailable))),
        (
            Tencent,
            504,
            r#"{"Response":{"Error":{"Code":"GatewayTimeout"},"RequestId":"r"}}"#,
            ("unclear", Some(Unavailable)),
        ),
        (Tencent, 502, r#"{"Response":{"RequestId":"r"}}"#, ("unclear", Some(Unavailable))),
    ] {
        assert_eq!(gist(&judge(provider, &answer(status, body))), expected, "{provider:?} {status} {body}");
    }
}

#[test]
fn a_code_is_judged_by_the_service_that_gave_it() {
    for (service, status, body, expected) in [
        ("cms", 200, r#"{"Success":false,"Code":"404","Message":"m"}"#, ("refused", Some(NotFound))),
        ("cms", 200, r#"{"Success":"false","Code":400,"Message":"m"}"#, ("refused", Some(Invalid))),
        ("cms", 200, r#"{"Success":false,"Code":"403"}"#, ("refused", Some(Unauthorized))),
        ("cms", 200, r#"{"Success":false,"Code":"409"}"#, ("refused", Some(Conflict))),
        ("cms", 200, r#"{"Success":false,"Code":"500"}"#, ("unclear", Some(Unavailable))),
        ("ess", 400, r#"{"Code":"ScalingActivityInProgress"}"#, ("refused", Some(Conflict))),
        ("ess", 400, r#"{"Code":"IncorrectScalingGroupStatus"}"#, ("refused", Some(Conflict))),
        ("ess", 400, r#"{"Code":"IncorrectCapacity.NoChange"}"#, ("refused", Some(Conflict))),
        ("ecs", 400, r#"{"Code":"IncorrectCapacity.NoChange"}"#, ("refused", Some(Failed))),
        ("ess", 400, r#"{"Code":"Throttling"}"#, ("wait", Some(Throttled))),
    ] {
        assert_eq!(
            gist(&judge(Provider::Alibaba, &answer_of(service, status, body))),
            expected,
            "{service} {status} {body}"
        );
    }
}

#[test]
fn a_tencent_body_is_the_inside_of_its_envelope_untouched() {
    let verdict = judge(
        Provider::Tencent,
        &answer(200, r#"{"Response": {"RequestId":"r", "Big": 18446744073709551615} }"#),
    );
    let body = r#"{"RequestId":"r", "Big": 18446744073709551615}"#.to_owned();
    assert_eq!(
        verdict,
        Verdict::Answered(Ok(CallResponse { request_id: "r".into(), body, simulated: false }))
    );
}

#[test]
fn the_servers_string_to_sign_goes_no_further() {
    let message = |verdict| match verdict {
        Verdict::NotExecuted { error, .. } => error.message,
        other => panic!("unexpected {other:?}"),
    };
    let body = r#"{"Code":"SignatureDoesNotMatch","Message":"Specified signature is not matched with our calculation. server string to sign is:POST&%2F&SecurityToken%3Dhunter2"}"#;
    let wrong_signature = judge(Provider::Alibaba, &answer(400, body));
    assert_eq!(message(wrong_signature), "Specified signature is not matched with our calculation.");
    let ours = Answer { string_to_sign: "POST&%2F&SecurityToken%3Dhunter2", ..answer(400, body) };
    assert_eq!(
        message(judge(Provider::Alibaba, &ours)),
        "the access key secret does not belong to the access key id"
    );
}

#[test]
fn the_wait_a_vendor_asks_for_is_kept_within_bounds() {
    for (asked, expected) in [(None, None), (Some(250), Some(250)), (Some(3_600_000), Some(60_000))] {
        let throttled = answer(429, r#"{"Code":"Throttling.User"}"#);
        let verdict = judge(Provider::Alibaba, &Answer { retry_after_ms: asked, ..throttled });
        let Verdict::NotExecuted { retry_after, .. } = verdict else { panic!("unexpected {verdict:?}") };
        assert_eq!(retry_after, expected.map(Duration::from_millis));
    }
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let body = format!(r#"{{"Code":"Other","Message":"a{}"}}"#, "重".repeat(MESSAGE_BYTES_MAX));
    let Verdict::Answered(Err(error)) = judge(Provider::Alibaba, &answer(400, &body)) else {
        panic!("refused")
    };
    assert!(error.message.len() <= MESSAGE_BYTES_MAX && error.message.ends_with('重'));
}

#[test]
fn a_secret_that_a_vendor_repeats_goes_no_further() {
    let secrets = [Secret::new("pa\"ss".into()), Secret::new("hunter2".into())];
    let body = r#"{"Response":{"Error":{"Code":"InvalidPassword","Message":"`pa\"ss` and hunter2"},"RequestId":"r"}}"#;
    let concealed = judge(Provider::Tencent, &answer(200, body)).concealing(secrets.iter());
    let Verdict::Answered(Err(error)) = concealed else { panic!("{concealed:?}") };
    assert_eq!(error.message, "`[secret]` and [secret]");

    let body = r#"{"Response":{"Echo":"pa\"ss","RequestId":"r"}}"#;
    let concealed = judge(Provider::Tencent, &answer(200, body)).concealing(secrets.iter());
    let Verdict::Answered(Ok(response)) = concealed else { panic!("{concealed:?}") };
    assert_eq!(response.body, r#"{"Echo":"[secret]","RequestId":"r"}"#);
}

#[test]
fn an_answer_nests_no_deeper_than_its_bound() {
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let brackets = format!(r#"{{"a":"{}"}}"#, "[".repeat(1000));
    for (body, alibaba) in [
        (nested(RESPONSE_DEPTH_MAX), "done"),
        (nested(RESPONSE_DEPTH_MAX + 1), "unclear"),
        (nested(100_000), "unclear"),
        (brackets, "done"),
    ] {
        assert_eq!(gist(&judge(Provider::Alibaba, &answer(200, &body))).0, alibaba);
    }
    let of_tencent = format!(r#"{{"Response":{}}}"#, nested(RESPONSE_DEPTH_MAX));
    assert_eq!(gist(&judge(Provider::Tencent, &answer(200, &of_tencent))).0, "unclear");
}

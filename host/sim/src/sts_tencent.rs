//! Tencent's STS 2018-08-13: who a key belongs to, and temporary keys that are accepted afterwards. Any role of any account
//! may be assumed: trust policies are not simulated. Tested by `tests/tests/it/credentials.rs`.

use crate::answer::{ApiError, Outcome, object};
use crate::cloud::{Call, Cloud};
use crate::json_params::{self as json_args, Params};
use crate::keys::{Caller, Keyring, allowed_by, is_simulated_token};
use opsward_core::sign::encoding::split;
use serde_json::json;
use std::time::Duration;

/// The API version.
pub(crate) const VERSION: &str = "2018-08-13";
/// The action that is proved by a token instead of a signature.
pub(crate) const WITH_TOKEN: &str = "AssumeRoleWithWebIdentity";

/// Carries an action out; `None` where there is none of this name.
pub(crate) fn answer(cloud: &Cloud, keys: &Keyring, call: &Call<'_>, params: &Params) -> Option<Outcome> {
    Some(match call.action {
        "GetCallerIdentity" => caller_identity(cloud, call, params),
        "AssumeRole" => assume_role(keys, call, params),
        WITH_TOKEN => with_token(keys, call, params),
        _ => return None,
    })
}

fn caller_identity(cloud: &Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    json_args::known(params, &[])?;
    let uin = &cloud.world.tencent.uin;
    Ok(object(match call.caller {
        Caller::User { .. } => json!({
            "Type": "CAMUser", "AccountId": uin, "UserId": uin, "PrincipalId": uin,
            "Arn": format!("qcs::cam:{uin}:uin/{uin}"),
        }),
        Caller::Role { name, session, role_id } => json!({
            "Type": "CAMRole", "AccountId": uin, "UserId": format!("{role_id}:{session}"), "PrincipalId": uin,
            "Arn": format!("qcs::sts:{uin}:assumed-role/{name}"),
        }),
    }))
}

fn assume_role(keys: &Keyring, call: &Call<'_>, params: &Params) -> Outcome {
    let names = ["RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "ExternalId"];
    json_args::known(params, &names)?;
    issue(keys, call, params)
}

fn with_token(keys: &Keyring, call: &Call<'_>, params: &Params) -> Outcome {
    let names = ["RoleArn", "RoleSessionName", "DurationSeconds", "ProviderId", "WebIdentityToken"];
    json_args::known(params, &names)?;
    json_args::required_text(params, "ProviderId")?;
    if !is_simulated_token(json_args::required_text(params, "WebIdentityToken")?) {
        return Err(invalid("InvalidParameter.WebIdentityTokenError", "The token is wrong."));
    }
    issue(keys, call, params)
}

fn issue(keys: &Keyring, call: &Call<'_>, params: &Params) -> Outcome {
    if call.region.is_none() {
        return Err(invalid("MissingParameter", "The request is missing the required parameter `Region`."));
    }
    let arn = json_args::required_text(params, "RoleArn")?;
    let session = json_args::required_text(params, "RoleSessionName")?;
    let role = arn.strip_prefix("qcs::cam::uin/").and_then(|rest| rest.split_once(":roleName/"));
    let Some((_, role)) = role.filter(|(_, role)| !role.is_empty()) else {
        return Err(invalid("InvalidParameter.RoleNotExist", "The role does not exist."));
    };
    let seconds =
        params.get("DurationSeconds").map_or(Some(DURATION_SECONDS_DEFAULT), |value| value.as_u64());
    let Some(seconds) = seconds.filter(|seconds| (1..=DURATION_SECONDS_MAX).contains(seconds)) else {
        return Err(invalid("InvalidParameter.OverTimeError", "The duration is out of range."));
    };
    let policy = params.get("Policy").and_then(|policy| policy.as_str());
    let allows = policy.and_then(|policy| allowed_by(&url_decoded(policy)?));
    if policy.is_some() && allows.is_none() {
        return Err(invalid("InvalidParameter.StrategyFormatError", "The policy is wrongly formed."));
    }
    let expires = call.now + Duration::from_secs(seconds);
    let key = keys.assume_tencent(call.ids, role, session, expires, allows);
    Ok(object(json!({
        "Credentials": { "Token": key.token, "TmpSecretId": key.secret_id, "TmpSecretKey": key.secret_key },
        "ExpiredTime": expires.seconds(),
        "Expiration": expires.to_iso_seconds(),
    })))
}

/// The policy is encoded as in a URL, inside the JSON.
fn url_decoded(text: &str) -> Option<String> {
    let pairs = split(format!("policy={text}").as_bytes())?;
    pairs.into_iter().next().map(|(_, value)| value)
}

const DURATION_SECONDS_DEFAULT: u64 = 7200;
const DURATION_SECONDS_MAX: u64 = 43_200;

fn invalid(code: &'static str, message: &str) -> ApiError {
    ApiError::new(200, code, message)
}

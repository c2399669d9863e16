//! STS 2015-04-01: who a key belongs to, and temporary keys that are accepted afterwards. Any role of any account may
//! be assumed: trust policies are not simulated. Tested by `tests/tests/it/sim.rs` and `tests/peers`.

use crate::answer::{ApiError, Outcome, object};
use crate::cloud::{Call, Cloud};
use crate::flat::{self, Params};
use crate::keys::{Caller, Keyring, allowed_by, is_simulated_token};
use serde_json::json;
use std::time::Duration;

/// The API version.
pub(crate) const VERSION: &str = "2015-04-01";

/// The action that is proved by a token instead of a signature.
pub(crate) const WITH_TOKEN: &str = "AssumeRoleWithOIDC";

/// Carries an action out; `None` where there is none of this name.
pub(crate) fn answer(cloud: &Cloud, keys: &Keyring, call: &Call<'_>, params: &Params) -> Option<Outcome> {
    Some(match call.action {
        "GetCallerIdentity" => caller_identity(cloud, call),
        "AssumeRole" => assume_role(keys, call, params),
        WITH_TOKEN => with_token(keys, call, params),
        _ => return None,
    })
}

fn caller_identity(cloud: &Cloud, call: &Call<'_>) -> Outcome {
    let account = &cloud.world.alibaba.account_id;
    Ok(object(match call.caller {
        Caller::User { name, user_id } => json!({
            "AccountId": account,
            "Arn": format!("acs:ram::{account}:user/{name}"),
            "IdentityType": "RAMUser",
            "PrincipalId": user_id,
            "UserId": user_id,
        }),
        Caller::Role { name, session, role_id } => json!({
            "AccountId": account,
            "Arn": format!("acs:ram::{account}:assumed-role/{name}/{session}"),
            "IdentityType": "AssumedRoleUser",
            "PrincipalId": format!("{role_id}:{session}"),
            "RoleId": role_id,
        }),
    }))
}

fn with_token(keys: &Keyring, call: &Call<'_>, params: &Params) -> Outcome {
    flat::required(params, "OIDCProviderArn")?;
    if !is_simulated_token(flat::required(params, "OIDCToken")?) {
        return Err(ApiError::new(400, "AuthenticationFail.OIDCToken.Invalid", "The OIDC token is invalid."));
    }
    assume_role(keys, call, params)
}

fn assume_role(keys: &Keyring, call: &Call<'_>, params: &Params) -> Outcome {
    let arn = flat::required(params, "RoleArn")?;
    let session = flat::required(params, "RoleSessionName")?;
    let (account, role) =
        role_of(arn).ok_or_else(|| invalid("RoleArn", "The parameter RoleArn is wrongly formed."))?;
    if !is_session_name(session) {
        return Err(invalid("RoleSessionName", "The parameter RoleSessionName is wrongly formed."));
    }
    let seconds: u64 = match flat::optional(params, "DurationSeconds") {
        None => DURATION_SECONDS_DEFAULT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| (DURATION_SECONDS_MIN..=DURATION_SECONDS_MAX).contains(seconds))
            .ok_or_else(|| {
                invalid("DurationSeconds", "The Min/Max value of DurationSeconds is 15min/1hr.")
            })?,
    };
    let policy = flat::optional(params, "Policy");
    let allows = policy.filter(|policy| policy.chars().count() <= POLICY_CHARS_MAX).and_then(allowed_by);
    if policy.is_some() && allows.is_none() {
        return Err(invalid("PolicyGrammar", "The parameter Policy has not passed grammar check."));
    }
    let expires = call.now + Duration::from_secs(seconds);
    let (key, caller) = keys.assume(call.ids, role, session, Some(expires), allows);
    let Caller::Role { role_id, .. } = caller else { unreachable!("assuming a role gives a role") };
    Ok(object(json!({
        "Credentials": {
            "AccessKeyId": key.access_key_id,
            "AccessKeySecret": key.access_key_secret,
            "SecurityToken": key.security_token,
            "Expiration": expires.to_iso_seconds(),
        },
        "AssumedRoleUser": {
            "Arn": format!("acs:ram::{account}:assumed-role/{role}/{session}"),
            "AssumedRoleId": format!("{role_id}:{session}"),
        },
    })))
}

const DURATION_SECONDS_MIN: u64 = 900;
/// The longest `MaxSessionDuration` a role can have.
const DURATION_SECONDS_MAX: u64 = 43_200;
const DURATION_SECONDS_DEFAULT: u64 = 3600;
/// Longest session policy, characters.
const POLICY_CHARS_MAX: usize = 2048;

/// Account and name out of `acs:ram::<account>:role/<name>`.
fn role_of(arn: &str) -> Option<(&str, &str)> {
    let (account, role) = arn.strip_prefix("acs:ram::")?.split_once(":role/")?;
    let digits = !account.is_empty() && account.bytes().all(|b| b.is_ascii_digit());
    (digits && !role.is_empty()).then_some((account, role))
}

fn is_session_name(name: &str) -> bool {
    (2..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".@-_".contains(&b))
}

fn invalid(name: &str, message: &str) -> ApiError {
    ApiError::new(400, format!("InvalidParameter.{name}"), message)
}

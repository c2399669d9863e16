//! Requests to the vendors' token services for a role, and what they and the metadata services issue. Leaves sending to the
//! host. Tested below.
//!
//! Source: FACTS 9 and 10; Alibaba STS 2015-04-01, Tencent STS 2018-08-13.

use super::session::PolicySession;
use super::{Issued, Oidc, RoleSession};
use crate::catalog::Provider;
use crate::secret::{Credential, Secret};
use crate::sign::OutboundCall;
use crate::sign::encoding::encode;
use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::json;

/// Where Tencent's token service is asked where the account names no region: it is the same in all, but a region must be named.
pub const TENCENT_REGION_DEFAULT: &str = "ap-guangzhou";
const SERVICE: &str = "sts";

/// A call of the token service.
#[derive(Debug)]
pub struct StsCall {
    provider: Provider,
    action: &'static str,
    /// May hold a token.
    params: Secret,
}

/// Who a credential is, by the cloud's own word.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Identity {
    /// The account's number.
    pub account_id: String,
    /// The user or the role.
    pub arn: String,
}

impl StsCall {
    /// Asks for a role with a credential, for one policy alone where a session is given.
    pub fn assume_role(provider: Provider, role: &RoleSession, session: Option<&PolicySession>) -> Self {
        let mut params = role_params(provider, role, session);
        if let Some(external_id) = &role.external_id {
            params["ExternalId"] = json!(external_id);
        }
        Self { provider, action: "AssumeRole", params: Secret::new(params.to_string()) }
    }

    /// Asks for a role with a token, unsigned.
    pub fn with_token(
        provider: Provider,
        oidc: &Oidc,
        token: &Secret,
        session: Option<&PolicySession>,
    ) -> Self {
        let (action, provider_field, token_field) = match provider {
            Provider::Alibaba => ("AssumeRoleWithOIDC", "OIDCProviderArn", "OIDCToken"),
            Provider::Tencent => ("AssumeRoleWithWebIdentity", "ProviderId", "WebIdentityToken"),
        };
        let mut params = role_params(provider, &oidc.role, session);
        params[provider_field] = json!(oidc.provider);
        // Put in last, and as text, so that no copy of it is left in a JSON value.
        let quoted = Secret::new(serde_json::to_string(token.expose()).unwrap_or_default());
        let without = params.to_string();
        let params = format!("{},\"{token_field}\":{}}}", &without[..without.len() - 1], quoted.expose());
        Self { provider, action, params: Secret::new(params) }
    }

    /// Asks who the credential is.
    pub fn identity(provider: Provider) -> Self {
        Self { provider, action: "GetCallerIdentity", params: Secret::new("{}".to_owned()) }
    }

    /// The call for an account of this region, which may be empty.
    pub fn outbound<'a>(&'a self, region: &'a str) -> OutboundCall<'a> {
        let (version, region) = match self.provider {
            Provider::Alibaba => ("2015-04-01", region),
            Provider::Tencent if region.is_empty() => ("2018-08-13", TENCENT_REGION_DEFAULT),
            Provider::Tencent => ("2018-08-13", region),
        };
        let params = self.params.expose();
        OutboundCall {
            service: SERVICE,
            version,
            action: self.action,
            region,
            params,
            token: None,
            dry_run: None,
        }
    }
}

fn role_params(provider: Provider, role: &RoleSession, session: Option<&PolicySession>) -> serde_json::Value {
    let name = session.map_or_else(|| role.session_name.clone(), |session| session.name(&role.session_name));
    let mut params = json!({
        "RoleArn": role.arn,
        "RoleSessionName": name,
        "DurationSeconds": role.duration.as_secs(),
    });
    if let Some(session) = session {
        // Tencent wants it encoded as in a URL, inside the JSON.
        params["Policy"] = match provider {
            Provider::Alibaba => json!(session.document),
            Provider::Tencent => json!(encode(&session.document)),
        };
    }
    params
}

/// What a token service or a metadata service issues, by both vendors' names.
#[derive(Deserialize)]
struct Answer {
    /// Metadata services say `Success`.
    #[serde(rename = "Code")]
    code: Option<String>,
    /// Where the token services put the keys.
    #[serde(rename = "Credentials")]
    nested: Option<Box<Answer>>,
    #[serde(alias = "AccessKeyId", alias = "TmpSecretId")]
    key_id: Option<String>,
    #[serde(alias = "AccessKeySecret", alias = "TmpSecretKey")]
    key_secret: Option<Secret>,
    #[serde(alias = "SecurityToken", alias = "Token")]
    session_token: Option<Secret>,
    /// RFC 3339; Tencent gives it as well.
    #[serde(rename = "Expiration")]
    expiration: Option<String>,
    /// Seconds since 1970.
    #[serde(rename = "ExpiredTime")]
    expired_time: Option<i64>,
}

/// What was issued is not in the form that the vendor describes. Shows nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadIssuedError {
    /// Not the vendor's JSON.
    #[error("the answer is not in the form that the vendor describes")]
    Form,
    /// A metadata service's refusal.
    #[error("the answer says `{0}` instead of `Success`")]
    Refused(String),
    /// A part is missing.
    #[error("the answer has no `{0}`")]
    Missing(&'static str),
}

/// Reads what was issued.
///
/// # Errors
/// Where it is not whole: a key without its token or its end would only fail later.
pub fn read_issued(body: &[u8]) -> Result<Issued, ReadIssuedError> {
    let mut answer: Answer = serde_json::from_slice(body).map_err(|_| ReadIssuedError::Form)?;
    if let Some(code) = answer.code.take().filter(|code| code != "Success") {
        return Err(ReadIssuedError::Refused(code.chars().take(CODE_CHARS_MAX).collect()));
    }
    // Tencent's token service gives the time beside the keys, Alibaba's among them.
    let (seconds, beside) = (answer.expired_time, answer.expiration.take());
    let mut keys = match answer.nested.take() {
        Some(inner) => *inner,
        None => answer,
    };
    let text = keys.expiration.take().or(beside);
    let expires = seconds.map(Timestamp::from_seconds);
    let expires = expires.or_else(|| Timestamp::parse_rfc3339(text.as_deref()?));
    let credential = Credential {
        key_id: keys.key_id.ok_or(ReadIssuedError::Missing("key id"))?,
        key_secret: keys.key_secret.ok_or(ReadIssuedError::Missing("secret"))?,
        session_token: Some(keys.session_token.ok_or(ReadIssuedError::Missing("token"))?),
    };
    Ok(Issued { credential, expires: Some(expires.ok_or(ReadIssuedError::Missing("time of expiry"))?) })
}

/// Longest code shown, in characters; the longest known has a third of it.
const CODE_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_issued_is_read_in_all_its_forms() {
        let expires = Timestamp::from_seconds(1_543_914_376);
        let whole = [
            r#"{"RequestId":"1","Credentials":{"AccessKeyId":"STS.1","AccessKeySecret":"hunter2","SecurityToken":"hunter3","Expiration":"2018-12-04T09:06:16Z"}}"#,
            r#"{"Code":"Success","AccessKeyId":"STS.1","AccessKeySecret":"hunter2","SecurityToken":"hunter3","Expiration":"2018-12-04T09:06:16Z","LastUpdated":"2018-12-04T03:06:16Z"}"#,
            r#"{"Credentials":{"Token":"hunter3","TmpSecretId":"STS.1","TmpSecretKey":"hunter2"},"ExpiredTime":1543914376,"Expiration":"2018-12-04T09:06:16Z"}"#,
            r#"{"TmpSecretId":"STS.1","TmpSecretKey":"hunter2","Token":"hunter3","ExpiredTime":1543914376,"Expiration":"2018-12-04T09:06:16Z","Code":"Success"}"#,
        ];
        for text in whole {
            let issued = read_issued(text.as_bytes()).expect(text);
            assert_eq!(issued.expires, Some(expires), "{text}");
            assert_eq!(issued.credential.key_id, "STS.1");
            assert!(issued.credential.key_secret.matches("hunter2"), "{text}");
            assert!(issued.credential.session_token.as_ref().is_some_and(|token| token.matches("hunter3")));
            assert!(!format!("{issued:?}").contains("hunter"));
        }
        let broken = [
            (
                r#"{"Code":"Failed","AccessKeySecret":"hunter2"}"#,
                "the answer says `Failed` instead of `Success`",
            ),
            (r#"{"TmpSecretId":"A","TmpSecretKey":"hunter2","ExpiredTime":1}"#, "the answer has no `token`"),
            (
                r#"{"TmpSecretId":"A","TmpSecretKey":"hunter2","Token":"hunter3"}"#,
                "the answer has no `time of expiry`",
            ),
            (r#"{"AccessKeySecret":["hunter2"]}"#, "the answer is not in the form that the vendor describes"),
            ("<html>", "the answer is not in the form that the vendor describes"),
        ];
        for (text, expected) in broken {
            assert_eq!(read_issued(text.as_bytes()).expect_err(text).to_string(), expected);
        }
    }

    #[test]
    fn a_role_is_asked_for_as_the_vendor_wants_it() {
        let role = RoleSession {
            arn: "acs:ram::1:role/ops".into(),
            session_name: "host-1".into(),
            external_id: Some("x-1".into()),
            duration: Duration::from_secs(900),
            is_narrowed: true,
        };
        let call = StsCall::assume_role(Provider::Alibaba, &role, None);
        let outbound = call.outbound("cn-hangzhou");
        assert_eq!((outbound.version, outbound.action), ("2015-04-01", "AssumeRole"));
        let params: serde_json::Value = serde_json::from_str(outbound.params).expect("JSON");
        let expected = json!({
            "RoleArn": "acs:ram::1:role/ops", "RoleSessionName": "host-1", "DurationSeconds": 900, "ExternalId": "x-1",
        });
        assert_eq!(params, expected);

        let actions = ["cvm:ResetInstance".to_owned()].into();
        for (provider, document) in [
            (Provider::Alibaba, r#"{"Statement":[{"Action":["cvm:ResetInstance"],"#),
            (Provider::Tencent, "%7B%22statement%22%3A%5B%7B%22action%22%3A%5B%22cvm%3AResetInstance%22%5D"),
        ] {
            let policy = "nightly".parse().expect("a name");
            let session = PolicySession::new(provider, policy, &actions).expect("short");
            let call = StsCall::assume_role(provider, &role, Some(&session));
            let params: serde_json::Value = serde_json::from_str(call.params.expose()).expect("JSON");
            assert_eq!(params["RoleSessionName"], "host-1@nightly");
            assert!(params["Policy"].as_str().is_some_and(|text| text.starts_with(document)), "{params}");
        }

        let oidc = Oidc { role, provider: "idp".into(), token_file: "token".into() };
        let token = Secret::new("hun\"ter2".into());
        for (provider, action, names) in [
            (Provider::Alibaba, "AssumeRoleWithOIDC", ["OIDCProviderArn", "OIDCToken"]),
            (Provider::Tencent, "AssumeRoleWithWebIdentity", ["ProviderId", "WebIdentityToken"]),
        ] {
            let call = StsCall::with_token(provider, &oidc, &token, None);
            assert!(!format!("{call:?}").contains("ter2"));
            let outbound = call.outbound("");
            let params: serde_json::Value = serde_json::from_str(outbound.params).expect("JSON");
            assert_eq!(outbound.action, action);
            assert_eq!((&params[names[0]], &params[names[1]]), (&json!("idp"), &json!("hun\"ter2")));
        }
        assert_eq!(StsCall::identity(Provider::Tencent).outbound("").region, TENCENT_REGION_DEFAULT);
    }
}

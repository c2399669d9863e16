//! A session of one policy: what its account's role may do, narrowed to what the policy was granted, so that the cloud
//! enforces the grant as well. Actions only: resources and regions are the host's to check. Leaves asking for it to `sts`.
//! Tested below.
//!
//! Source: FACTS 9 (the token has the intersection of role and session policy) and 10.

use crate::catalog::Provider;
use crate::id::PolicyName;
use serde_json::json;
use std::collections::BTreeSet;

/// Longest policy of a session, in characters: Alibaba's bound. Tencent names none.
pub const DOCUMENT_CHARS_MAX: usize = 2048;
/// Longest name of a session, in characters, at Alibaba; Tencent takes twice as long ones.
const NAME_CHARS_MAX: usize = 64;

/// What narrows a role for one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySession {
    /// Whose it is: a part of the session's name, so that the cloud's own records tell policies apart.
    pub policy: PolicyName,
    /// What it may do, in the vendor's language of policies.
    pub document: String,
}

/// The actions do not fit in what the vendor takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session for {actions} actions takes {chars} characters, and {DOCUMENT_CHARS_MAX} are allowed")]
pub struct SessionTooLong {
    /// How many.
    pub actions: usize,
    /// How long.
    pub chars: usize,
}

impl PolicySession {
    /// The session in which `policy` may call `actions`, each `service:Action` or with a `*` at its end.
    ///
    /// # Errors
    /// Where that is more than the vendor takes.
    pub fn new(
        provider: Provider,
        policy: PolicyName,
        actions: &BTreeSet<String>,
    ) -> Result<Self, SessionTooLong> {
        let document = match provider {
            Provider::Alibaba => json!({
                "Version": "1",
                "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }],
            }),
            Provider::Tencent => json!({
                "version": "2.0",
                "statement": [{ "effect": "allow", "action": actions, "resource": ["*"] }],
            }),
        };
        let document = document.to_string();
        let chars = document.chars().count();
        match chars > DOCUMENT_CHARS_MAX {
            true => Err(SessionTooLong { actions: actions.len(), chars }),
            false => Ok(Self { policy, document }),
        }
    }

    /// The session's name, `opsward@snapshot-on-reboot`, cut to what the vendors take.
    pub fn name(&self, of_role: &str) -> String {
        format!("{of_role}@{}", self.policy).chars().take(NAME_CHARS_MAX).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(provider: Provider, actions: &[&str]) -> Result<PolicySession, SessionTooLong> {
        let actions = actions.iter().map(|&action| action.to_owned()).collect();
        PolicySession::new(provider, "nightly".parse().expect("a name"), &actions)
    }

    #[test]
    fn a_session_may_do_what_the_policy_was_granted_in_the_vendors_words() {
        let alibaba = session(Provider::Alibaba, &["ecs:DescribeDisks", "ecs:CreateSnapshot"]);
        assert_eq!(
            alibaba.expect("short").document,
            r#"{"Statement":[{"Action":["ecs:CreateSnapshot","ecs:DescribeDisks"],"Effect":"Allow","Resource":"*"}],"Version":"1"}"#
        );
        let tencent = session(Provider::Tencent, &["cvm:Describe*"]).expect("short");
        assert_eq!(
            tencent.document,
            r#"{"statement":[{"action":["cvm:Describe*"],"effect":"allow","resource":["*"]}],"version":"2.0"}"#
        );
        assert_eq!(tencent.name("opsward"), "opsward@nightly");
        assert_eq!(tencent.name(&"x".repeat(60)).len(), NAME_CHARS_MAX);
    }

    #[test]
    fn what_no_vendor_takes_is_refused() {
        let actions: Vec<String> = (0..100).map(|n| format!("ecs:DescribeSomethingOfNumber{n}")).collect();
        let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
        let error = session(Provider::Alibaba, &actions).expect_err("too long");
        assert_eq!(error.actions, 100);
        assert!(error.chars > DOCUMENT_CHARS_MAX, "{error}");
    }
}

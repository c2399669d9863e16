//! `credentials` of an account: which of the sources it names, and whether all is there that this one needs. Leaves reading
//! any of it to the host. Tested in `tests`.

use super::finding::ConfigError;
use super::source::{Source, Step, place};
use super::typed;
use crate::catalog::Provider;
use crate::credential::{
    AssumeRole, CHAIN_MAX, CredentialSource, DURATION_DEFAULT, Oidc, RoleSession, SESSION_NAME_DEFAULT,
};
use crate::schedule::interval;
use crate::secret::SecretRef;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Where the keys of an account are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRefs {
    /// Alibaba `access-key-id`, Tencent `secret-id`.
    pub key_id: SecretRef,
    /// Alibaba `access-key-secret`, Tencent `secret-key`.
    pub key_secret: SecretRef,
    /// Alibaba `security-token`, Tencent `token`: for temporary keys.
    pub session_token: Option<SecretRef>,
}

impl CredentialRefs {
    /// All of them, with what each is called.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &SecretRef)> {
        let token = self.session_token.as_ref().map(|token| ("the session token", token));
        [("the key's id", &self.key_id), ("the key's secret", &self.key_secret)].into_iter().chain(token)
    }
}

/// Keys whose values are no secrets and may be written out.
pub(super) const OPEN_KEYS: [&str; 4] = ["profile", "instance-role", "assume-role", "oidc"];
/// How long a role may be taken on: Alibaba from 900 s, both vendors up to 43,200 s.
const DURATIONS: RangeInclusive<Duration> = Duration::from_secs(900)..=Duration::from_secs(43_200);
/// Lengths of a session's name.
const SESSION_NAME_BYTES: RangeInclusive<usize> = 2..=64;
/// Lengths of an external id.
const EXTERNAL_ID_BYTES: RangeInclusive<usize> = 2..=1224;

/// Resolves the `credentials` of the account at `account`.
pub(super) fn resolve(
    source: &Source<'_>,
    account: &[Step<'_>],
    provider: Provider,
    typed: typed::Credentials,
    errors: &mut Vec<ConfigError>,
) -> Option<CredentialSource<CredentialRefs>> {
    let before = errors.len();
    let at = [account, place!["credentials"]].concat();
    let resolved = Resolve { source, provider, errors: &mut *errors }.source(&at, typed, CHAIN_MAX);
    resolved.filter(|_| errors.len() == before)
}

struct Resolve<'a, 't> {
    source: &'a Source<'t>,
    provider: Provider,
    errors: &'a mut Vec<ConfigError>,
}

impl Resolve<'_, '_> {
    fn source(
        &mut self,
        at: &[Step<'_>],
        mut typed: typed::Credentials,
        roles_left: usize,
    ) -> Option<CredentialSource<CredentialRefs>> {
        let named = [
            ("profile", typed.profile.is_some()),
            ("instance-role", typed.instance_role.is_some()),
            ("assume-role", typed.assume_role.is_some()),
            ("oidc", typed.oidc.is_some()),
        ];
        let named: Vec<&str> =
            named.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key).collect();
        let beside = self.source.keys(at).into_iter().find(|key| Some(key) != named.first());
        if let (Some(first), Some(beside)) = (named.first(), beside) {
            let message = format!("`{beside}` beside `{first}`: a credential comes from one place");
            let place = [at, place![beside]].concat();
            self.errors.push(self.source.key_error(&place, message, "leave one of them out"));
            return None;
        }
        if let Some(name) = typed.profile.take() {
            self.name(at, "profile", &name);
            return Some(CredentialSource::Profile(name));
        }
        if let Some(name) = typed.instance_role.take() {
            self.name(at, "instance-role", &name);
            return Some(CredentialSource::InstanceRole(Some(name)));
        }
        if let Some(oidc) = typed.oidc.take() {
            return self.oidc(&[at, place!["oidc"]].concat(), oidc).map(CredentialSource::Oidc);
        }
        let Some(assumed) = typed.assume_role.take() else { return self.keys(at, typed) };
        let at = [at, place!["assume-role"]].concat();
        let Some(roles_left) = roles_left.checked_sub(1) else {
            let message = format!("more than {CHAIN_MAX} roles one after the other");
            self.errors.push(self.source.key_error(&at, message, "let a role trust an earlier one of them"));
            return None;
        };
        let typed::AssumeRole { arn, session_name, external_id, duration, narrow, from } = *assumed;
        if let Some(id) = external_id.as_ref().filter(|id| !EXTERNAL_ID_BYTES.contains(&id.len())) {
            let message = format!("an external id of {} characters", id.len());
            self.wrong(&at, "external-id", message, "write 2 to 1224 characters");
        }
        let role = self.role(&at, arn, session_name, duration);
        let from = self.source(&[at.as_slice(), place!["from"]].concat(), from, roles_left)?;
        if from.is_narrowed() {
            let message = "this role only serves to take on another".to_owned();
            let place = [at.as_slice(), place!["from"]].concat();
            self.errors.push(self.source.key_error(
                &place,
                message,
                "write `narrow` beside the last role alone",
            ));
        }
        let role = RoleSession { external_id, is_narrowed: narrow, ..role };
        Some(CredentialSource::AssumeRole(Box::new(AssumeRole { role, from })))
    }

    fn oidc(&mut self, at: &[Step<'_>], typed: typed::Oidc) -> Option<Oidc> {
        for (key, value) in [("provider", &typed.provider), ("token-file", &typed.token_file)] {
            if value.is_empty() {
                self.wrong(at, key, format!("`{key}` is empty"), "write it, or leave `oidc` out");
            }
        }
        let role = self.role(at, typed.arn, typed.session_name, typed.duration);
        if typed.narrow && self.provider == Provider::Tencent {
            let message = "Tencent's exchange of a token takes no session policy".to_owned();
            self.wrong(at, "narrow", message, "put an `assume-role` around it, and `narrow` there");
        }
        let role = RoleSession { is_narrowed: typed.narrow, ..role };
        Some(Oidc { role, provider: typed.provider, token_file: typed.token_file.into() })
    }

    fn role(
        &mut self,
        at: &[Step<'_>],
        arn: String,
        session_name: Option<String>,
        duration: Option<String>,
    ) -> RoleSession {
        let (prefix, infix, example) = match self.provider {
            Provider::Alibaba => ("acs:ram::", ":role/", "acs:ram::<account>:role/<name>"),
            Provider::Tencent => ("qcs::cam::uin/", ":role", "qcs::cam::uin/<account>:roleName/<name>"),
        };
        if !arn.strip_prefix(prefix).is_some_and(|rest| rest.contains(infix)) {
            let message = format!("`{arn}` is not a role of {}", self.provider.as_str());
            self.wrong(at, "arn", message, &format!("write it as `{example}`"));
        }
        let session_name = session_name.unwrap_or_else(|| SESSION_NAME_DEFAULT.to_owned());
        let is_name = |c: char| c.is_ascii_alphanumeric() || ".@-_".contains(c);
        if !SESSION_NAME_BYTES.contains(&session_name.len()) || !session_name.chars().all(is_name) {
            let message = format!("`{session_name}` is not the name of a session");
            self.wrong(at, "session-name", message, "use 2 to 64 letters, digits, `.`, `@`, `-` and `_`");
        }
        let duration = match duration.as_deref().map(interval::parse) {
            None => DURATION_DEFAULT,
            Some(Ok(duration)) => {
                if !DURATIONS.contains(&duration) {
                    let message = "no role lasts that long or short".to_owned();
                    self.wrong(
                        at,
                        "duration",
                        message,
                        "write `15m` to `12h`, and no more than the role allows",
                    );
                }
                duration
            }
            Some(Err(problem)) => {
                self.wrong(at, "duration", problem, "");
                DURATION_DEFAULT
            }
        };
        RoleSession { arn, session_name, external_id: None, duration, is_narrowed: false }
    }

    /// A name that becomes part of a path.
    fn name(&mut self, at: &[Step<'_>], key: &str, name: &str) {
        let is_usual = |c: char| c.is_ascii_alphanumeric() || ".@-_".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_usual) {
            let message = format!("`{name}` cannot be the name of `{key}`");
            self.wrong(at, key, message, "use letters, digits, `.`, `@`, `-` and `_`");
        }
    }

    fn wrong(&mut self, at: &[Step<'_>], key: &str, message: String, fix: &str) {
        self.errors.push(self.source.error(&[at, place![key]].concat(), message, fix));
    }

    fn keys(
        &mut self,
        at: &[Step<'_>],
        typed: typed::Credentials,
    ) -> Option<CredentialSource<CredentialRefs>> {
        let alibaba = [
            ("access-key-id", typed.access_key_id),
            ("access-key-secret", typed.access_key_secret),
            ("security-token", typed.security_token),
        ];
        let tencent =
            [("secret-id", typed.secret_id), ("secret-key", typed.secret_key), ("token", typed.token)];
        let (own, foreign) = match self.provider {
            Provider::Alibaba => (alibaba, tencent),
            Provider::Tencent => (tencent, alibaba),
        };
        let names = own.each_ref().map(|(key, _)| *key);
        let before = self.errors.len();
        for (key, _) in foreign.into_iter().filter(|(_, value)| value.is_some()) {
            let message = format!("`{key}` is no credential of {}", self.provider.as_str());
            let fix = format!("it has `{}`, and `{}` for temporary keys", names[..2].join("`, `"), names[2]);
            self.errors.push(self.source.key_error(&[at, place![key]].concat(), message, fix));
        }
        for (key, reference) in &own {
            if reference.as_ref().is_some_and(|reference| reference.name().is_empty()) {
                self.wrong(at, key, format!("`{key}` refers to nothing"), "name a variable or a file");
            }
        }
        let [(_, key_id), (_, key_secret), (_, session_token)] = own;
        if self.errors.len() == before {
            for (key, value) in [(names[0], &key_id), (names[1], &key_secret)] {
                if value.is_none() {
                    let fix = format!("add `{key} = {{ env = \"NAME\" }}`");
                    self.errors.push(self.source.missing(at, key, fix));
                }
            }
        }
        let refs = CredentialRefs { key_id: key_id?, key_secret: key_secret?, session_token };
        Some(CredentialSource::Keys(refs))
    }
}

#[cfg(test)]
mod tests;

//! The simulated accounts' keys: those handed out at the start, and those `AssumeRole` makes. They open nothing but
//! this simulator, so they are printed in its ready line. Leaves checking a request with them to `verify`.

use crate::ids::Ids;
use opsward_core::catalog::Provider;
use opsward_core::secret::Secret;
use opsward_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The keys handed out at the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keys {
    /// A RAM user's key pair.
    pub alibaba: AlibabaKey,
    /// A role's temporary key.
    pub alibaba_sts: AlibabaStsKey,
    /// A sub-account's key pair.
    pub tencent: TencentKey,
    /// A role's temporary key.
    pub tencent_sts: TencentStsKey,
}

/// An Alibaba key pair.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlibabaKey {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub access_key_secret: String,
}

/// A temporary Alibaba key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AlibabaStsKey {
    /// The public half; begins with `STS.`.
    pub access_key_id: String,
    /// The secret half.
    pub access_key_secret: String,
    /// Goes with every request.
    pub security_token: String,
}

/// A Tencent key pair.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TencentKey {
    /// The public half.
    pub secret_id: String,
    /// The secret half.
    pub secret_key: String,
}

/// A temporary Tencent key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TencentStsKey {
    /// The public half.
    pub secret_id: String,
    /// The secret half.
    pub secret_key: String,
    /// Goes with every request.
    pub token: String,
}

/// Who a key belongs to, as `GetCallerIdentity` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    User { name: String, user_id: String },
    Role { name: String, session: String, role_id: String },
}

impl Caller {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::User { name, .. } | Self::Role { name, .. } => name,
        }
    }
}

/// A key the simulator accepts.
pub(crate) struct Key {
    pub(crate) provider: Provider,
    pub(crate) secret: Secret,
    pub(crate) token: Option<Secret>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) caller: Caller,
    /// The actions that its session policy leaves; all where there is none.
    pub(crate) allows: Option<Vec<String>>,
}

impl Key {
    /// Whether its session policy allows `service:Action`.
    pub(crate) fn may(&self, action: &str) -> bool {
        self.allows.as_ref().is_none_or(|allowed| {
            allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => action.starts_with(beginning),
                None => action == pattern,
            })
        })
    }
}

/// What a session policy's statements allow, in either vendor's spelling; conditions and resources are not simulated.
pub(crate) fn allowed_by(policy: &str) -> Option<Vec<String>> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    let of =
        |value: &serde_json::Value, names: [&str; 2]| names.iter().find_map(|name| value.get(name).cloned());
    let statements = of(&policy, ["Statement", "statement"])?;
    let actions = |statement: &serde_json::Value| -> Option<Vec<String>> {
        serde_json::from_value(of(statement, ["Action", "action"])?).ok()
    };
    Some(statements.as_array()?.iter().filter_map(actions).flatten().collect())
}

/// All accepted keys by id.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: RwLock<HashMap<String, Arc<Key>>>,
}

impl Keyring {
    pub(crate) fn find(&self, key_id: &str) -> Option<Arc<Key>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(key_id).cloned()
    }

    pub(crate) fn add(&self, key_id: String, key: Key) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(key_id, Arc::new(key));
    }

    /// The secret parts of all keys.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let parts =
            keys.values().flat_map(|key| [Some(&key.secret), key.token.as_ref()].into_iter().flatten());
        parts.map(|part| part.expose().to_owned()).collect()
    }

    /// Has all temporary keys end now; how many.
    pub(crate) fn revoke_temporary(&self, now: Timestamp) -> usize {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let temporary = keys.values_mut().filter(|key| key.token.is_some());
        temporary
            .map(|key| {
                let Key { provider, secret, token, caller, allows, .. } = &**key;
                let (secret, token, caller, allows) =
                    (secret.clone(), token.clone(), caller.clone(), allows.clone());
                let provider = *provider;
                *key = Arc::new(Key { provider, secret, token, expires: Some(now), caller, allows });
            })
            .count()
    }

    /// Makes a role's temporary Alibaba key.
    pub(crate) fn assume(
        &self,
        ids: &Ids,
        role: &str,
        session: &str,
        expires: Option<Timestamp>,
        allows: Option<Vec<String>>,
    ) -> (AlibabaStsKey, Caller) {
        let key = AlibabaStsKey {
            access_key_id: format!("STS.N{}", ids.word(24)),
            access_key_secret: ids.word(44),
            security_token: format!("CAIS{}==", ids.word(256)),
        };
        let caller = Caller::Role { name: role.into(), session: session.into(), role_id: ROLE_ID.into() };
        let accepted = Key {
            provider: Provider::Alibaba,
            secret: Secret::new(key.access_key_secret.clone()),
            token: Some(Secret::new(key.security_token.clone())),
            expires,
            caller: caller.clone(),
            allows,
        };
        self.add(key.access_key_id.clone(), accepted);
        (key, caller)
    }

    /// Makes a role's temporary Tencent key.
    pub(crate) fn assume_tencent(
        &self,
        ids: &Ids,
        role: &str,
        session: &str,
        expires: Timestamp,
        allows: Option<Vec<String>>,
    ) -> TencentStsKey {
        let key = TencentStsKey {
            secret_id: format!("AKID{}", ids.word(60)),
            secret_key: ids.word(44),
            token: ids.word(240),
        };
        let accepted = Key {
            provider: Provider::Tencent,
            secret: Secret::new(key.secret_key.clone()),
            token: Some(Secret::new(key.token.clone())),
            expires: Some(expires),
            caller: Caller::Role { name: role.into(), session: session.into(), role_id: ROLE_ID.into() },
            allows,
        };
        self.add(key.secret_id.clone(), accepted);
        key
    }

    /// Who asks without a signature, for an action that is proved by a token.
    pub(crate) fn bearer(provider: Provider) -> Arc<Key> {
        let caller = Caller::User { name: "bearer".into(), user_id: String::new() };
        let (secret, token, expires, allows) = (Secret::new(String::new()), None, None, None);
        Arc::new(Key { provider, secret, token, expires, caller, allows })
    }

    /// Makes the keys handed out at the start.
    pub(crate) fn first_keys(&self, ids: &Ids) -> Keys {
        let user = || Caller::User { name: "opsward".into(), user_id: USER_ID.into() };
        let alibaba =
            AlibabaKey { access_key_id: format!("LTAI5t{}", ids.word(18)), access_key_secret: ids.word(30) };
        let tencent = TencentKey { secret_id: format!("AKID{}", ids.word(32)), secret_key: ids.word(32) };
        let tencent_sts = TencentStsKey {
            secret_id: format!("AKID{}", ids.word(60)),
            secret_key: ids.word(44),
            token: ids.word(240),
        };
        let static_key = |provider, secret: &str| Key {
            provider,
            secret: Secret::new(secret.to_owned()),
            token: None,
            expires: None,
            caller: user(),
            allows: None,
        };
        self.add(alibaba.access_key_id.clone(), static_key(Provider::Alibaba, &alibaba.access_key_secret));
        self.add(tencent.secret_id.clone(), static_key(Provider::Tencent, &tencent.secret_key));
        let temporary = Key {
            token: Some(Secret::new(tencent_sts.token.clone())),
            ..static_key(Provider::Tencent, &tencent_sts.secret_key)
        };
        self.add(tencent_sts.secret_id.clone(), temporary);
        let (alibaba_sts, _) = self.assume(ids, "opsward", "sim", None, None);
        Keys { alibaba, alibaba_sts, tencent, tencent_sts }
    }
}

/// Whether the simulated identity provider has made this token: it signs none, they just begin alike.
pub(crate) fn is_simulated_token(token: &str) -> bool {
    token.starts_with("sim-oidc-")
}

const USER_ID: &str = "216959339000654321";
const ROLE_ID: &str = "344584339364951186";

//! Everything secret that the configuration refers to: read once at start, then taken out of the environment. Leaves the
//! reading of one reference to `cloud`.

use super::hide;
use crate::cloud::{self, Account};
use crate::trigger::http::HookSource;
use anyhow::Context as _;
use opsward_core::config::{AccountSettings, HostSettings};
use opsward_core::secret::{Credential, Secret, SecretRef};
use std::collections::HashMap;
use std::path::Path;

/// Everything secret that the configuration refers to.
pub(super) struct Secrets {
    pub(super) accounts: Vec<Account>,
    pub(super) sources: Vec<HookSource>,
    /// What calls may refer to by name.
    pub(super) named: HashMap<String, Secret>,
}

impl Secrets {
    /// To be called while the process has one thread: the environment changes.
    pub(super) fn read(settings: &HostSettings, base: &Path) -> anyhow::Result<Self> {
        let of = |reference, whose: String| cloud::resolve(reference, base).context(whose);
        let accounts = settings
            .accounts
            .values()
            .map(|account| read_account(account, base))
            .collect::<Result<_, _>>()?;
        let mut sources = Vec::new();
        for (name, source) in &settings.sources {
            let token = of(&source.token, format!("source {name}"))?;
            sources.push(HookSource { name: name.clone(), kind: source.kind, token });
        }
        let mut named = HashMap::new();
        for (name, reference) in &settings.secrets {
            named.insert(name.clone(), of(reference, format!("secret {name}"))?);
        }
        forget_variables(settings);
        Ok(Self { accounts, sources, named })
    }
}

fn read_account(account: &AccountSettings, base: &Path) -> anyhow::Result<Account> {
    let of = |reference| cloud::resolve(reference, base).with_context(|| format!("account {}", account.name));
    let refs = &account.credentials;
    let credential = Credential {
        key_id: of(&refs.key_id)?.expose().to_owned(),
        key_secret: of(&refs.key_secret)?,
        session_token: refs.session_token.as_ref().map(of).transpose()?,
    };
    Ok(Account {
        name: account.name.clone(),
        provider: account.provider,
        endpoint: account.endpoint.clone(),
        scheme: account.scheme,
        region: account.region.clone().unwrap_or_default(),
        credential,
    })
}

/// Takes the variables that held secrets out of the environment, so that no child and no core dump of it shows them.
fn forget_variables(settings: &HostSettings) {
    let accounts = settings.accounts.values().flat_map(|account| {
        let refs = &account.credentials;
        [Some(&refs.key_id), Some(&refs.key_secret), refs.session_token.as_ref()].into_iter().flatten()
    });
    let tokens = settings.sources.values().map(|source| &source.token);
    for reference in accounts.chain(tokens).chain(settings.secrets.values()) {
        if let SecretRef::Env(name) = reference {
            // SAFETY: called from `serve` before the runtime and any other thread exists.
            unsafe { hide::forget_variable(name) };
        }
    }
}

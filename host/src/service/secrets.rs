//! Everything secret that the configuration refers to: read once at start, then taken out of the environment. Leaves the
//! reading of one reference to `cloud`.

use super::hide;
use crate::cloud::{self, Account};
use crate::trigger::http::HookSource;
use anyhow::Context as _;
use opsward_core::config::{AccountSettings, Comes, HostSettings, PostedSettings, SourceSettings};
use opsward_core::credential::Issued;
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
            match &source.comes {
                Comes::Posted(posted) => {
                    sources
                        .push(hook_source(source, posted, base).with_context(|| format!("source {name}"))?);
                }
                Comes::File(_) | Comes::Queue(_) | Comes::LogStore(_) => {}
            }
        }
        let mut named = HashMap::new();
        for (name, reference) in &settings.secrets {
            named.insert(name.clone(), of(reference, format!("secret {name}"))?);
        }
        forget_variables(settings);
        Ok(Self { accounts, sources, named })
    }
}

/// A source that events are posted to, with what proves its senders.
fn hook_source(source: &SourceSettings, posted: &PostedSettings, base: &Path) -> anyhow::Result<HookSource> {
    let proof = posted.proof.try_map(|reference| cloud::resolve(reference, base))?;
    proof.usable()?;
    Ok(HookSource {
        name: source.name.clone(),
        kind: source.kind,
        map: source.map.clone(),
        token: cloud::resolve(&posted.token, base)?,
        proof,
        addresses: posted.addresses.clone(),
        rate: posted.rate,
        is_mixed: source.is_mixed(),
    })
}

/// An account with what its credential begins with.
pub(crate) fn read_account(settings: &AccountSettings, base: &Path) -> anyhow::Result<Account> {
    let whose = || format!("account {}", settings.name);
    let of = |reference: &SecretRef| cloud::resolve(reference, base).with_context(whose);
    let credentials = settings.credentials.with_keys(|refs| {
        let credential = Credential {
            key_id: of(&refs.key_id)?.expose().to_owned(),
            key_secret: of(&refs.key_secret)?,
            session_token: refs.session_token.as_ref().map(of).transpose()?,
        };
        anyhow::Ok(Issued { credential, expires: None })
    })?;
    cloud::try_profile(settings.provider, &credentials).with_context(whose)?;
    Ok(Account {
        name: settings.name.clone(),
        provider: settings.provider,
        endpoint: settings.endpoint.clone(),
        scheme: settings.scheme,
        region: settings.region.clone().unwrap_or_default(),
        credentials: credentials.with_paths_from(base),
    })
}

/// Takes the variables that held secrets out of the environment, so that no child and no core dump of it shows them.
fn forget_variables(settings: &HostSettings) {
    let keys = settings.accounts.values().filter_map(|account| account.credentials.keys());
    let accounts = keys.flat_map(|refs| refs.all().map(|(_, reference)| reference));
    let of_sources =
        settings.sources.values().flat_map(SourceSettings::secrets).map(|(_, reference)| reference);
    for reference in accounts.chain(of_sources).chain(settings.secrets.values()) {
        if let SecretRef::Env(name) = reference {
            // SAFETY: called from `serve` before the runtime and any other thread exists.
            unsafe { hide::forget_variable(name) };
        }
    }
}

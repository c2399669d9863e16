//! How the plugins directory stands, for `opsward check` and the admin API.

use super::kept::Kept;
use super::live::Bound;
use super::waits::Waits;
use crate::plugin::engine::{Permission, Revision};
use opsward_core::config::PolicySettings;
use opsward_core::grant::{GrantRow, MatrixRow};
use opsward_core::id::{AccountName, Digest};
use opsward_core::run::Mode;
use serde::Serialize;
use std::sync::Arc;

/// Every plugin and policy file of the directory, by file name.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RegistryStatus {
    /// Files that end in `.wasm`.
    pub plugins: Vec<PluginStatus>,
    /// Files that end in `.toml`.
    pub policies: Vec<PolicyStatus>,
}

impl RegistryStatus {
    /// Whether a plugin or a policy is refused.
    pub fn has_refusals(&self) -> bool {
        self.plugins.iter().any(|p| p.refused.is_some()) || self.policies.iter().any(|p| p.refused.is_some())
    }
}

/// One plugin. What it says of itself is that of the serving revision.
#[derive(Debug, Clone, Serialize)]
pub struct PluginStatus {
    /// The file's name.
    pub file: String,
    /// Of the file as it is; absent where it cannot be read.
    pub digest: Option<Digest>,
    /// Why the file as it is was refused.
    pub refused: Option<String>,
    /// The last good revision.
    pub serving: Option<Digest>,
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it is for.
    pub summary: Option<String>,
    /// The interfaces it uses.
    pub imports: Vec<String>,
    /// What it asks to be allowed.
    pub permissions: Vec<Permission>,
}

impl PluginStatus {
    pub(super) fn of(file: &str, kept: &Kept<Arc<Revision>>) -> Self {
        let good = kept.good().map(|(_, revision)| revision);
        let told = good.map(|revision| &revision.description);
        Self {
            file: file.to_owned(),
            digest: kept.digest(),
            refused: kept.refused().map(str::to_owned),
            serving: good.map(|revision| revision.digest),
            name: told.map(|d| d.name.clone()),
            version: told.map(|d| d.version.clone()),
            summary: told.map(|d| d.summary.clone()),
            imports: good.map(|revision| revision.imports.clone()).unwrap_or_default(),
            permissions: told.map(|d| d.permissions.clone()).unwrap_or_default(),
        }
    }
}

/// One policy. Its settings are those of the last good version of its file.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyStatus {
    /// The file's name.
    pub file: String,
    /// Why the file as it is was refused, or why the policy is not live; of several lines where it quotes the file.
    pub refused: Option<String>,
    /// Whether it is woken by events and schedules.
    pub live: bool,
    /// The plugin revision that serves it.
    pub serving: Option<Digest>,
    /// The plugin's last good revision, where another serves.
    pub waits: Option<Waits>,
    /// The plugin's file name.
    pub plugin: Option<String>,
    /// Where its calls go.
    pub account: Option<AccountName>,
    /// How its effects are treated.
    pub mode: Option<Mode>,
    /// What it may call: granted and asked for.
    pub allowed: Vec<GrantRow>,
    /// All that its plugin asks for beside all that is granted.
    pub matrix: Vec<MatrixRow>,
    /// What its plugin asks for and is not granted.
    pub asked_not_granted: Vec<String>,
    /// What is granted though its plugin does not ask for it.
    pub granted_not_asked: Vec<String>,
    /// What looks wrong in its file but works.
    pub warnings: Vec<String>,
}

impl PolicyStatus {
    pub(super) fn of(file: &str, kept: &Kept<PolicySettings>, bound: Option<&Result<Bound, String>>) -> Self {
        let settings = kept.good().map(|(_, settings)| settings);
        let live = bound.and_then(|b| b.as_ref().ok());
        let unbound = bound.and_then(|b| b.as_ref().err());
        let asked = live.map(|b| b.policy.revision.description.actions()).unwrap_or_default();
        let grants = settings.map(|s| &s.grants);
        let owned = |missing: Vec<&str>| missing.into_iter().map(str::to_owned).collect();
        Self {
            file: file.to_owned(),
            refused: kept.refused().map(str::to_owned).or_else(|| unbound.cloned()),
            live: live.is_some_and(|b| b.policy.settings.mode != Mode::Off),
            serving: live.map(|b| b.policy.revision.digest),
            waits: live.and_then(|b| b.waits.clone()),
            plugin: settings.map(|s| s.plugin.clone()),
            account: settings.and_then(|s| s.account.clone()),
            mode: settings.map(|s| s.mode),
            allowed: live.map(|b| b.policy.settings.grants.rows()).unwrap_or_default(),
            matrix: grants.filter(|_| live.is_some()).map(|g| g.matrix(&asked)).unwrap_or_default(),
            asked_not_granted: grants.map(|g| owned(g.asked_not_granted(&asked))).unwrap_or_default(),
            granted_not_asked: grants
                .filter(|_| live.is_some())
                .map(|g| g.granted_not_asked(&asked))
                .unwrap_or_default(),
            warnings: settings
                .map(|s| s.warnings.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
        }
    }
}

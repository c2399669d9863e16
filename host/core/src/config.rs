//! The operator's files, `opsward.toml` and one `<policy>.toml` per policy: as typed, then resolved. Errors name file,
//! line, key and the fix. Leaves reading files and environment to the host.
// Skeleton: the names below are relied on elsewhere.

use crate::grant::Grants;
use crate::id::{AccountName, PolicyName};
use crate::pattern::Patterns;
use crate::run::Mode;
use crate::schedule::Schedule;
use std::sync::Arc;

/// A policy file, resolved: everything checked that can be checked without its plugin.
#[derive(Debug, Clone)]
pub struct PolicySettings {
    /// The stem of the file.
    pub name: PolicyName,
    /// File name of the plugin in the same directory.
    pub plugin: String,
    /// The account its calls go to.
    pub account: Option<AccountName>,
    /// How its effects are treated.
    pub mode: Mode,
    /// Its `on` entries; `None` where the file has neither `on` nor `schedule`: the plugin's own triggers apply.
    pub patterns: Option<Patterns>,
    /// Its schedules.
    pub schedules: Vec<Schedule>,
    /// What it may call.
    pub grants: Grants,
    /// Its `config` table as JSON text.
    pub config: Arc<str>,
}

//! The operator's files, `opsward.toml` and one `<policy>.toml` per policy: as typed, then resolved. Errors name file,
//! line, key and the fix. Leaves reading files and environment, and the paths of files, to the host: every relative path
//! begins at the directory of `opsward.toml`.
//!
//! `source` knows where in the text each key stands, `finding` is what is said about it, `typed` decodes, `host`,
//! `admin`, `credentials`, `keep`, `policy`, `guardrails` and `protected` resolve. Tested in `tests` by the text an operator sees.

mod admin;
mod approval;
mod credentials;
pub mod draft;
mod fetched;
mod finding;
mod guardrails;
mod host;
mod keep;
mod log_file;
mod mapping;
mod policy;
mod posted;
mod protected;
mod retry;
mod source;
mod sources;
mod typed;

pub use admin::AdminSettings;
pub use credentials::CredentialRefs;
pub use fetched::{CatchUp, LogStoreSettings, QueueSettings};
pub use finding::{ConfigError, Severity};
pub use host::{AccountSettings, HostSettings, PluginSettings, StoreSettings};
pub use log_file::{FileSettings, StartAt};
pub use posted::PostedSettings;
pub use sources::{Comes, SourceSettings};

use crate::approval::Approvers;
use crate::credential::session::PolicySession;
use crate::grant::Grants;
use crate::guardrail::Guardrails;
use crate::id::{AccountName, Digest, PolicyName};
use crate::pattern::Patterns;
use crate::retry::RetrySettings;
use crate::run::Mode;
use crate::schedule::Schedule;
use std::sync::Arc;

/// Largest file read, in bytes: ten thousand grants fit, and a mistaken file name is refused quickly.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Values where the operator's file is silent.
pub mod defaults {
    /// `[server] listen`: loopback, so that nothing is reachable from outside unless somebody says so.
    pub const SERVER_LISTEN: &str = "127.0.0.1:7070";
    /// `[store] url`.
    pub const STORE_URL: &str = "sqlite:opsward.db";
    /// `[store] keep`: a quarter, which is how long an incident is asked about.
    pub const STORE_KEEP: &str = "90d";
    /// `[plugins] dir`.
    pub const PLUGINS_DIR: &str = "plugins.d";
    /// `rate` of a source, in deliveries a second: more than any cloud has told one host, and a fraction of what one records, so that
    /// a flood leaves room for the others.
    pub const SOURCE_RATE: u32 = 1000;
    /// `mode` of a policy: nothing is changed until the operator says so.
    pub const MODE: crate::run::Mode = crate::run::Mode::DryRun;
}

/// A policy file, resolved: everything checked that can be checked without its plugin.
#[derive(Debug, Clone)]
pub struct PolicySettings {
    /// The stem of the file.
    pub name: PolicyName,
    /// File name of the plugin in the same directory.
    pub plugin: String,
    /// The one revision of it that may run; any good one where absent.
    pub digest: Option<Digest>,
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
    /// Names of the secrets its calls may refer to.
    pub secrets: Vec<String>,
    /// How its runs are tried again after a failure that may pass.
    pub retry: RetrySettings,
    /// What limits its effects.
    pub guardrails: Guardrails,
    /// Who must approve its effects, where `mode` is `approve`.
    pub approvers: Option<Approvers>,
    /// What its calls are signed in, where its account gives each policy a session.
    pub session: Option<Arc<PolicySession>>,
    /// What looks wrong but works.
    pub warnings: Vec<ConfigError>,
}

/// Reads `opsward.toml`; `file` is the name shown in errors.
pub fn load_host(file: &str, text: &str) -> Result<HostSettings, Vec<ConfigError>> {
    let mut source = source::Source::parse(file, text)?;
    host::refuse_literal_secrets(&mut source)?;
    source.decode().and_then(|typed| host::resolve(&source, typed)).map_err(in_order)
}

/// Reads the file of the policy that is called `stem`; `file` is the name shown in errors.
pub fn load_policy(
    file: &str,
    stem: &str,
    text: &str,
    host: &HostSettings,
) -> Result<PolicySettings, Vec<ConfigError>> {
    let source = source::Source::parse(file, text)?;
    source.decode().and_then(|typed| policy::resolve(&source, stem, typed, host)).map_err(in_order)
}

fn in_order(mut findings: Vec<ConfigError>) -> Vec<ConfigError> {
    findings.sort_by_key(|finding| finding.at);
    findings
}

#[cfg(test)]
mod tests;

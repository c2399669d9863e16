//! The files as the operator types them. Leaves what the values mean to `host` and `policy`.

use super::log_file::StartAt;
use crate::catalog::Provider;
use crate::event::MappingText;
use crate::grant::{AllowEntry, ResourceEntry, WindowEntry};
use crate::pattern::OnEntry;
use crate::run::Mode;
use crate::schedule::ScheduleEntry;
use crate::secret::SecretRef;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `opsward.toml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct HostFile {
    #[serde(default)]
    pub(super) server: Listener,
    #[serde(default)]
    pub(super) admin: Admin,
    #[serde(default)]
    pub(super) store: Store,
    #[serde(default)]
    pub(super) plugins: Plugins,
    #[serde(default)]
    pub(super) accounts: BTreeMap<String, Account>,
    #[serde(default)]
    pub(super) sources: BTreeMap<String, EventSource>,
    #[serde(default)]
    pub(super) secrets: BTreeMap<String, SecretRef>,
    #[serde(default)]
    pub(super) protected: Vec<Protected>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Protected {
    pub(super) resource: Vec<ResourceEntry>,
    pub(super) account: Option<String>,
    pub(super) region: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) listen: Option<String>,
    pub(super) behind_proxy: Option<Vec<String>>,
    pub(super) connections_per_address: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) listen: Option<String>,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) open_metrics: bool,
    #[serde(default)]
    pub(super) tls_in_front: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Store {
    pub(super) url: Option<String>,
    pub(super) keep: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Plugins {
    pub(super) dir: Option<String>,
    pub(super) cache_dir: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Account {
    pub(super) provider: Provider,
    pub(super) credentials: Credentials,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) signature: Option<Signature>,
    #[serde(default)]
    pub(super) budgets: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) windows: Vec<WindowEntry>,
}

/// The names of all vendors and sources: which of them belong together is checked afterwards, with a better message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Credentials {
    pub(super) access_key_id: Option<SecretRef>,
    pub(super) access_key_secret: Option<SecretRef>,
    pub(super) security_token: Option<SecretRef>,
    pub(super) secret_id: Option<SecretRef>,
    pub(super) secret_key: Option<SecretRef>,
    pub(super) token: Option<SecretRef>,
    pub(super) profile: Option<String>,
    pub(super) instance_role: Option<String>,
    pub(super) assume_role: Option<Box<AssumeRole>>,
    pub(super) oidc: Option<Oidc>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct AssumeRole {
    pub(super) arn: String,
    pub(super) session_name: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) duration: Option<String>,
    #[serde(default)]
    pub(super) narrow: bool,
    pub(super) from: Credentials,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Oidc {
    pub(super) arn: String,
    pub(super) provider: String,
    pub(super) token_file: String,
    pub(super) session_name: Option<String>,
    pub(super) duration: Option<String>,
    #[serde(default)]
    pub(super) narrow: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Signature {
    Acs3,
    RpcV1,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct EventSource {
    pub(super) kind: String,
    pub(super) account: Option<String>,
    pub(super) token: Option<SecretRef>,
    pub(super) signature: Option<SourceSignature>,
    pub(super) basic_auth: Option<BasicAuth>,
    pub(super) addresses: Option<Vec<String>>,
    pub(super) rate: Option<String>,
    pub(super) map: Option<MappingText>,
    pub(super) file: Option<LogFile>,
    pub(super) queue: Option<Queue>,
    pub(super) log_store: Option<LogStore>,
    #[serde(default)]
    pub(super) catch_up: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) pattern: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) zone: Option<String>,
    #[serde(default)]
    pub(super) from: StartAt,
    pub(super) events_per_second: Option<u32>,
}

/// The keys of all schemes: which of them belong together is checked afterwards, with a better message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SourceSignature {
    pub(super) scheme: String,
    pub(super) secret: Option<SecretRef>,
    pub(super) old_secret: Option<SecretRef>,
    pub(super) header: Option<String>,
    pub(super) algorithm: Option<String>,
    pub(super) encoding: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) url: Option<String>,
    pub(super) region: Option<String>,
    pub(super) token: Option<SecretRef>,
    pub(super) certificates: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct BasicAuth {
    pub(super) user: String,
    pub(super) secret: SecretRef,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) owner: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LogStore {
    pub(super) project: Option<String>,
    pub(super) name: String,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) query: Option<String>,
    pub(super) since: Option<String>,
}

/// `<policy>.toml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PolicyFile {
    pub(super) plugin: String,
    pub(super) digest: Option<String>,
    pub(super) account: Option<String>,
    pub(super) mode: Option<Mode>,
    pub(super) on: Option<Vec<OnEntry>>,
    #[serde(default)]
    pub(super) schedule: Vec<ScheduleEntry>,
    #[serde(default)]
    pub(super) config: toml::Table,
    #[serde(default)]
    pub(super) secrets: Vec<String>,
    #[serde(default)]
    pub(super) retry: Retry,
    #[serde(default)]
    pub(super) guardrails: Guardrails,
    pub(super) approval: Option<Approval>,
    #[serde(default)]
    pub(super) allow: Vec<AllowEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Approval {
    pub(super) approvers: Vec<String>,
    pub(super) minimum: Option<usize>,
    pub(super) expires: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Guardrails {
    pub(super) effects: Option<String>,
    pub(super) once_effects: Option<String>,
    pub(super) cool_down: Option<String>,
    pub(super) resources: Option<String>,
    pub(super) max_percent: Option<String>,
    pub(super) ramp_up: Option<String>,
    pub(super) circuit: Option<String>,
    #[serde(default)]
    pub(super) windows: Vec<WindowEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) attempts: Option<u32>,
    pub(super) base: Option<String>,
    pub(super) factor: Option<f64>,
    pub(super) ceiling: Option<String>,
}

//! Gathers what `opsward check` shows. The plugins directory is read and judged by the service's own registry, so that both
//! say the same. Leaves printing to the parent.

use crate::admin::schedules::NEXT_SHOWN;
use crate::cloud::is_readable_by_others;
use crate::plugin::compiler::{Compiler, THIS_PROGRAM};
use crate::plugin::engine::{Engine, Limits, Permission, StartEngineError};
use crate::plugin::guests::Guests;
use crate::plugin::registry::{PluginStatus, PolicyStatus, Registry, RegistryStatus};
use crate::policy::{Policies, PolicySet};
use crate::runner::Runner;
use opsward_core::config::{ConfigError, HostSettings, Severity, load_host, load_policy};
use opsward_core::grant::{GrantRow, MatrixRow};
use opsward_core::line::one_line;
use opsward_core::schedule::Words;
use opsward_core::secret::SecretRef;
use opsward_core::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Everything `opsward check` tells.
#[derive(Debug, Default, Serialize)]
pub struct CheckReport {
    /// The file that was checked.
    pub config: String,
    /// Every `.wasm` in the plugins directory.
    pub plugins: Vec<PluginReport>,
    /// Every policy file that can be used.
    pub policies: Vec<PolicyReport>,
    /// What no policy may change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protected: Vec<ProtectedReport>,
    /// What is wrong or looks wrong, errors and warnings.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }
}

/// A `.wasm` in the plugins directory.
#[derive(Debug, Serialize)]
pub struct PluginReport {
    /// Its file name.
    pub file: String,
    /// Its own version.
    pub version: Option<String>,
    /// The beginning of its digest.
    pub digest: Option<String>,
    /// Why it is refused.
    pub refused: Option<String>,
    /// The policy files that name it.
    pub policies: Vec<String>,
}

/// A policy file that can be used.
#[derive(Debug, Serialize)]
pub struct PolicyReport {
    /// Its name.
    pub name: String,
    /// The plugin's file.
    pub plugin: String,
    /// How effects are treated.
    pub mode: String,
    /// Where calls go.
    pub account: Option<String>,
    /// What limits its effects, by the keys of `guardrails`.
    pub guardrails: BTreeMap<&'static str, String>,
    /// What it may effectively call: granted, and asked for by the plugin where that is known.
    pub may_call: Vec<GrantRow>,
    /// All that its plugin asks for beside all that is granted.
    pub grants: Vec<MatrixRow>,
    /// What its plugin asks for, and why.
    pub asks: Vec<Permission>,
    /// Its schedules.
    pub schedules: Vec<ScheduleReport>,
}

/// An entry of `[[protected]]`.
#[derive(Debug, Serialize)]
pub struct ProtectedReport {
    /// Its resources, and the regions where it names any.
    pub resources: String,
    /// The account; any where absent.
    pub account: Option<String>,
}

/// A schedule.
#[derive(Debug, Serialize)]
pub struct ScheduleReport {
    /// Dialect, line and zone.
    pub schedule: String,
    /// The next fire time, local with offset.
    pub next: Option<String>,
    /// The zone it is meant in.
    pub zone: String,
    /// What it says, for people.
    pub reads: Words,
    /// The next fire times, local with offset.
    pub upcoming: Vec<String>,
}

/// Something wrong, or looking wrong.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The file it is about.
    pub file: String,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
    /// The whole text for people, the line with a caret included.
    #[serde(skip)]
    pub text: String,
}

impl Finding {
    /// Whether something cannot be used because of it.
    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }
}

impl From<ConfigError> for Finding {
    fn from(error: ConfigError) -> Self {
        let severity = match error.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let text = error.to_string();
        let (line, column) = error.at.unzip();
        Self { severity, file: error.file, line, column, message: error.message, fix: error.fix, text }
    }
}

/// What looks at plugins, each in a process of its own, with compiled ones kept in `cache`.
pub fn guests(cache: &Path) -> Result<Guests, StartEngineError> {
    let limits = Limits { instances: 1, ..Limits::default() };
    let engine = Engine::without_ticks(limits, cache, Compiler::in_this_program())?;
    Ok(Runner::for_judging(engine, THIS_PROGRAM.into()).into())
}

/// Reads and judges everything that `config`, whose content is `text`, names.
pub async fn inspect(
    config: &Path,
    text: &str,
    now: Timestamp,
    guests: impl Into<Guests>,
) -> anyhow::Result<CheckReport> {
    let guests = guests.into();
    let mut report = CheckReport { config: config.display().to_string(), ..CheckReport::default() };
    let host = match load_host(&report.config, text) {
        Ok(host) => host,
        Err(errors) => {
            report.findings.extend(errors.into_iter().map(Finding::from));
            return Ok(report);
        }
    };
    let base = config.parent().unwrap_or(Path::new(""));
    check_secrets(&host, base, &mut report);
    take_over_pinned(&guests, &host, base, &mut report);
    report.protected.extend(host.protected.iter().map(|protected| ProtectedReport {
        resources: protected.to_string(),
        account: protected.account.as_ref().map(ToString::to_string),
    }));
    let policies = Arc::new(Policies::default());
    let opened =
        Registry::open(guests, base.to_owned(), host.clone(), policies.clone(), Arc::default()).await;
    let registry = match opened {
        Ok(registry) => registry,
        Err(problem) => {
            let cause = problem.source.to_string();
            report.findings.push(ConfigError::about_file(&report.config, problem.to_string(), cause).into());
            return Ok(report);
        }
    };
    let status = registry.status();
    for plugin in &status.plugins {
        tell_plugin(plugin, &status, &host, &mut report);
    }
    let set = policies.load();
    for policy in &status.policies {
        tell_policy(policy, &set, &host, base, now, &mut report);
    }
    Ok(report)
}

/// The policies as `serve` would have them, and the names of the files that are refused.
pub(crate) async fn live_policies(
    settings: &HostSettings,
    base: &Path,
    guests: impl Into<Guests>,
) -> anyhow::Result<(Arc<PolicySet>, Vec<String>)> {
    let guests = guests.into();
    // What it finds is for `opsward check` to tell.
    take_over_pinned(&guests, settings, base, &mut CheckReport::default());
    let policies = Arc::new(Policies::default());
    let registry =
        Registry::open(guests, base.to_owned(), settings.clone(), policies.clone(), Arc::default()).await?;
    let status = registry.status();
    let refused = status.policies.iter().filter(|policy| policy.refused.is_some());
    let refused = refused.map(|policy| policy.file.clone()).collect();
    Ok((policies.load(), refused))
}

/// Takes over the revisions that policy files pin from where the host keeps them: the plugins directory may hold others by now.
fn take_over_pinned(guests: &Guests, host: &HostSettings, base: &Path, report: &mut CheckReport) {
    // A directory that cannot be read is reported with the plugins.
    for file in std::fs::read_dir(base.join(&host.plugins.dir)).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file.path()).ok().filter(|_| name.ends_with(".toml"));
        let settings = text.and_then(|text| load_policy(&name, stem(&name), &text, host).ok());
        let Some(pin) = settings.and_then(|settings| settings.digest) else { continue };
        let kept = base.join(host.cache_dir());
        if let Err(problem) = guests.take_over(&kept, &pin) {
            let message = format!(
                "cannot see whether the host has sha256:{}: {}: {problem}",
                pin.short(),
                kept.display()
            );
            report.findings.push(warning(
                &shown(host, &name),
                message,
                "run this as the service's user".into(),
            ));
        }
    }
}

/// Whether what the secrets are referred to is there. This shell's environment need not be the service's: a warning.
fn check_secrets(host: &HostSettings, base: &Path, report: &mut CheckReport) {
    let mut references: BTreeMap<String, &SecretRef> = BTreeMap::new();
    for (name, account) in &host.accounts {
        let refs = account.credentials.keys().into_iter().flat_map(|refs| refs.all());
        references.extend(refs.map(|(what, reference)| (format!("accounts.{name}: {what}"), reference)));
    }
    for (name, source) in &host.sources {
        let refs = source.secrets().into_iter();
        references.extend(refs.map(|(what, reference)| (format!("sources.{name}: {what}"), reference)));
    }
    references.extend(host.secrets.iter().map(|(name, reference)| (format!("secrets.{name}"), reference)));
    for (what, reference) in references {
        let (missing, fix) = match reference {
            SecretRef::Env(name) if std::env::var_os(name).is_none() => {
                (format!("the variable {name}, which is not set here"), "set it where the service runs")
            }
            SecretRef::File(path) if !base.join(path).is_file() => {
                (format!("the file {}, which does not exist", base.join(path).display()), "create it")
            }
            SecretRef::File(path) if is_readable_by_others(&base.join(path)).unwrap_or(false) => {
                let file = base.join(path);
                (
                    format!("the file {}, which others than its owner may read", file.display()),
                    "`chmod 600` it",
                )
            }
            _ => continue,
        };
        report.findings.push(warning(&report.config, format!("{what} is in {missing}"), fix.to_owned()));
    }
}

fn tell_plugin(
    plugin: &PluginStatus,
    status: &RegistryStatus,
    host: &HostSettings,
    report: &mut CheckReport,
) {
    if let Some(reason) = &plugin.refused {
        let file = shown(host, &plugin.file);
        let finding =
            ConfigError::about_file(&file, format!("the plugin is refused: {}", one_line(reason)), "");
        report.findings.push(finding.into());
    }
    let users = status.policies.iter().filter(|policy| policy.plugin.as_ref() == Some(&plugin.file));
    report.plugins.push(PluginReport {
        file: plugin.file.clone(),
        version: plugin.version.clone(),
        digest: plugin.digest.map(|digest| digest.short()),
        refused: plugin.refused.clone(),
        policies: users.map(|policy| stem(&policy.file).to_owned()).collect(),
    });
}

fn tell_policy(
    policy: &PolicyStatus,
    set: &PolicySet,
    host: &HostSettings,
    base: &Path,
    now: Timestamp,
    report: &mut CheckReport,
) {
    let file = shown(host, &policy.file);
    if let Some(reason) = &policy.refused {
        let path = base.join(&host.plugins.dir).join(&policy.file);
        report.findings.extend(refusals(&path, &file, stem(&policy.file), reason, host));
        return;
    }
    let Some(live) = set.policies.iter().find(|live| live.settings.name.as_str() == stem(&policy.file))
    else {
        return;
    };
    let settings = &live.settings;
    report.findings.extend(settings.warnings.iter().cloned().map(Finding::from));
    if let Some(waits) = &policy.waits {
        let fix = format!("see it with `opsward enable {} --update`", settings.name);
        let mut finding = warning(&file, waits.to_string(), fix);
        finding.text.extend(waits.difference().iter().map(|line| format!("\n    {line}")));
        report.findings.push(finding);
    }
    for action in &policy.asked_not_granted {
        let message = format!("the plugin asks for `{action}`, which is not granted");
        let fix = format!("add `[[allow]]` with `action = \"{action}\"` if it should be");
        report.findings.push(warning(&file, message, fix));
    }
    for action in &policy.granted_not_asked {
        let message = format!("`{action}` is granted, but the plugin does not ask for it");
        report.findings.push(warning(&file, message, "remove the entry".into()));
    }
    let schedules = settings.schedules.iter().map(|schedule| ScheduleReport {
        schedule: schedule.text().to_owned(),
        next: schedule.display_next(1, now).pop(),
        zone: schedule.zone().to_owned(),
        reads: schedule.words(),
        upcoming: schedule.display_next(NEXT_SHOWN, now),
    });
    report.policies.push(PolicyReport {
        name: settings.name.to_string(),
        plugin: settings.plugin.clone(),
        mode: settings.mode.as_str().to_owned(),
        account: settings.account.as_ref().map(ToString::to_string),
        guardrails: settings.guardrails.shown().into_iter().collect(),
        may_call: policy.allowed.clone(),
        grants: policy.matrix.clone(),
        asks: live.revision.description.permissions.clone(),
        schedules: schedules.collect(),
    });
}

/// Why a policy is refused: each fault of its file at its place, or what else the registry says.
fn refusals(path: &Path, file: &str, stem: &str, reason: &str, host: &HostSettings) -> Vec<Finding> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    match load_policy(file, stem, &text, host) {
        Err(errors) => errors.into_iter().map(Finding::from).collect(),
        Ok(_) => vec![
            ConfigError::about_file(file, format!("the policy is refused: {}", one_line(reason)), "").into(),
        ],
    }
}

fn warning(file: &str, message: String, fix: String) -> Finding {
    let mut finding = ConfigError::about_file(file, message, fix);
    finding.severity = Severity::Warning;
    finding.into()
}

fn shown(host: &HostSettings, file: &str) -> String {
    host.plugins.dir.join(file).display().to_string()
}

fn stem(file: &str) -> &str {
    file.strip_suffix(".toml").unwrap_or(file)
}

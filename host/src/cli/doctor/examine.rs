//! Gathers what `opsward doctor` prints. Each finding says what to do. Leaves printing to `super`.

use crate::clock::SystemClock;
use crate::cloud::{self, Account, CloudClient};
use crate::service::read_account;
use crate::store::sqlite::in_use;
use opsward_core::call::CallError;
use opsward_core::config::{AccountSettings, HostSettings, SourceSettings, StoreSettings};
use opsward_core::endpoint::Endpoint;
use serde::Serialize;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

/// A clock that is off by more, in milliseconds, is a finding: the host signs with the cloud's time, but schedules fire and
/// records are dated by this machine's.
const CLOCK_OFF_MS_MAX: u64 = 60_000;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct DoctorReport {
    /// The configuration.
    pub config: String,
    /// One for each account.
    pub accounts: Vec<AccountReport>,
    /// What the service needs on this machine.
    pub places: Vec<PlaceReport>,
    /// What is wrong, and what to do.
    pub findings: Vec<String>,
}

/// One account.
#[derive(Debug, Serialize)]
pub struct AccountReport {
    /// Its name.
    pub account: String,
    /// Whose cloud.
    pub provider: &'static str,
    /// Where its credential comes from.
    pub credential: String,
    /// The account's number, by the cloud's own word.
    pub account_id: Option<String>,
    /// The user or role, by the cloud's own word.
    pub arn: Option<String>,
    /// When the credential lapses, where it does.
    pub expires: Option<String>,
    /// How far the cloud's clock is ahead of this machine's, in milliseconds; small differences count as none.
    pub clock_ahead_ms: Option<i64>,
    /// Where it was asked.
    pub endpoint: String,
    /// Whether an answer came; absent where there was no credential to ask with.
    pub is_reachable: Option<bool>,
}

/// One thing that the service needs on this machine.
#[derive(Debug, Serialize)]
pub struct PlaceReport {
    /// What it is for.
    pub what: String,
    /// Its path or address.
    pub at: String,
    /// How it is.
    pub state: String,
    /// Whether the service could start with it.
    pub is_fine: bool,
}

/// Examines everything.
pub(super) async fn examine(
    config: &str,
    settings: &HostSettings,
    base: &Path,
) -> anyhow::Result<DoctorReport> {
    let mut report = DoctorReport {
        config: config.to_owned(),
        accounts: Vec::new(),
        places: Vec::new(),
        findings: Vec::new(),
    };
    let mut accounts = Vec::new();
    for account in settings.accounts.values() {
        match read_account(account, base) {
            Ok(account) => accounts.push(account),
            Err(problem) => report.findings.push(format!("{problem:#}")),
        }
    }
    let named: Vec<Account> = accounts.clone();
    let cloud = CloudClient::new(accounts, HashMap::new(), Arc::new(SystemClock))?;
    let asked = settings.accounts.values().map(|account| {
        let is_ready = named.iter().any(|ready| ready.name == account.name);
        ask(&cloud, account, is_ready)
    });
    for (account, findings) in futures::future::join_all(asked).await {
        report.accounts.push(account);
        report.findings.extend(findings);
    }
    let of_source = |source: &'_ SourceSettings| format!("source {}", source.name);
    let of_sources = settings.sources.values().flat_map(|source| {
        source.secrets().into_iter().map(move |(_, reference)| (of_source(source), reference))
    });
    let secrets = settings.secrets.iter().map(|(name, reference)| (format!("secret {name}"), reference));
    for (whose, reference) in of_sources.chain(secrets) {
        if let Err(problem) = cloud::resolve(reference, base) {
            report.findings.push(format!("{whose}: {:#}", anyhow::Error::new(problem)));
        }
    }
    let host = look_at_store(settings, base, &mut report);
    look_at_plugins(settings, base, &mut report);
    let addresses = [("webhooks", Some(settings.server_listen)), ("admin", settings.admin.listen)];
    for (what, address) in addresses {
        if let Some(address) = address {
            look_at_listener(what, address, host.clone(), &mut report);
        }
    }
    Ok(report)
}

/// Asks the account's cloud who the credential is.
async fn ask(
    cloud: &CloudClient,
    settings: &AccountSettings,
    is_ready: bool,
) -> (AccountReport, Vec<String>) {
    let region = settings.region.as_deref().unwrap_or_default();
    let endpoint =
        settings.endpoint.clone().map_or_else(|| Endpoint::of(settings.provider, "sts", region), Ok);
    let mut account = AccountReport {
        account: settings.name.to_string(),
        provider: settings.provider.as_str(),
        credential: settings.credentials.to_string(),
        account_id: None,
        arn: None,
        expires: None,
        clock_ahead_ms: None,
        endpoint: endpoint.map_or_else(|error| error.to_string(), |endpoint| endpoint.authority().to_owned()),
        is_reachable: None,
    };
    let mut findings = Vec::new();
    if !is_ready {
        return (account, findings);
    }
    match cloud.identify(&settings.name).await {
        Ok(identity) => {
            account.is_reachable = Some(true);
            account.account_id = Some(identity.account_id);
            account.arn = Some(identity.arn);
        }
        Err(error) => {
            account.is_reachable = match error.code.as_str() {
                "opsward.no-credential" => None,
                code => Some(!code.starts_with("opsward.")),
            };
            findings.push(format!("account {}: {}{}", settings.name, told(&error), fix(&error)));
        }
    }
    if let Some((ahead_ms, expires)) = cloud.learnt(&settings.name) {
        account.expires = expires.map(opsward_core::time::Timestamp::to_iso_seconds);
        account.clock_ahead_ms = account.is_reachable.filter(|reachable| *reachable).map(|_| ahead_ms);
        if ahead_ms.unsigned_abs() > CLOCK_OFF_MS_MAX {
            let (seconds, way) = (ahead_ms.abs() / 1000, if ahead_ms > 0 { "behind" } else { "ahead" });
            findings.push(format!(
                "account {}: this machine's clock is {seconds} s {way}: set it by NTP (`timedatectl set-ntp true`)",
                settings.name
            ));
        }
    }
    (account, findings)
}

fn told(error: &CallError) -> String {
    match error.code.strip_prefix("opsward.") {
        Some(_) => error.message.clone(),
        None => format!("the cloud answers {}: {}", error.code, error.message),
    }
}

/// What to do about a refusal.
fn fix(error: &CallError) -> &'static str {
    const FIXES: [(&str, &str); 10] = [
        ("opsward.no-connection", "; see to name resolution and firewall of this machine"),
        ("InvalidAccessKeyId", "; make a new key, and set both halves"),
        ("AuthFailure.SecretIdNotFound", "; make a new key, and set both halves"),
        ("SignatureDoesNotMatch", "; the secret does not belong to the key: set both halves anew"),
        ("AuthFailure.SignatureFailure", "; the secret does not belong to the key: set both halves anew"),
        ("MissingSecurityToken", "; these are temporary keys: give their token as well"),
        (
            "InvalidSecurityToken",
            "; temporary keys have lapsed: use a source that is renewed, such as a role",
        ),
        (
            "AuthFailure.TokenFailure",
            "; temporary keys have lapsed: use a source that is renewed, such as a role",
        ),
        ("InvalidTimeStamp", "; set this machine's clock by NTP"),
        ("AuthFailure.SignatureExpire", "; set this machine's clock by NTP"),
    ];
    FIXES.iter().find(|(code, _)| error.code.starts_with(code)).map_or("", |(_, fix)| fix)
}

/// Whether the store could be opened; the admin listener of the host that has it open, if one has.
fn look_at_store(settings: &HostSettings, base: &Path, report: &mut DoctorReport) -> Option<String> {
    let StoreSettings::Sqlite { path } = &settings.store;
    let file = base.join(path);
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let is_in_use = in_use::is_in_use(&file).unwrap_or(false);
    let open = || match file.exists() {
        true => std::fs::OpenOptions::new().read(true).write(true).open(&file).map(drop),
        false => Ok(()),
    };
    // Other files come to stand beside it.
    let (state, problem) = match tempfile::tempfile_in(directory).map(drop).and_then(|()| open()) {
        Err(error) => {
            let fix = "make the directory, and both it and the file the service user's (`chown`)";
            ("not writable".to_owned(), Some(format!("store {}: {error}: {fix}", file.display())))
        }
        Ok(()) if is_in_use => ("in use by a running host".to_owned(), None),
        Ok(()) if file.exists() => ("writable, not in use".to_owned(), None),
        Ok(()) => ("will be made".to_owned(), None),
    };
    let admin =
        in_use::admin_of(&file).map_or_else(|| "unknown".to_owned(), |admin| admin.display().to_string());
    add(report, "store", file.display().to_string(), state, problem);
    is_in_use.then_some(admin)
}

fn look_at_plugins(settings: &HostSettings, base: &Path, report: &mut DoctorReport) {
    let dir = base.join(&settings.plugins.dir);
    let (state, problem) = match std::fs::read_dir(&dir) {
        Ok(files) => (format!("readable, {} files", files.count()), None),
        Err(error) => {
            let fix = format!("`mkdir -p {0}`, and let the service user read it", dir.display());
            ("not readable".to_owned(), Some(format!("plugins directory {}: {error}: {fix}", dir.display())))
        }
    };
    add(report, "plugins", dir.display().to_string(), state, problem);
}

fn look_at_listener(what: &str, address: SocketAddr, host: Option<String>, report: &mut DoctorReport) {
    let (state, problem) = match (host, TcpListener::bind(address)) {
        (Some(admin), _) => (format!("a host is running, admin at {admin}"), None),
        (None, Ok(_)) => ("free".to_owned(), None),
        (None, Err(error)) => {
            let fix = "stop what listens there, or choose another address";
            ("not free".to_owned(), Some(format!("{what} listener {address}: {error}: {fix}")))
        }
    };
    add(report, what, address.to_string(), state, problem);
}

fn add(report: &mut DoctorReport, what: &str, at: String, state: String, problem: Option<String>) {
    report.places.push(PlaceReport { what: what.to_owned(), at, state, is_fine: problem.is_none() });
    report.findings.extend(problem);
}

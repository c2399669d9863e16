//! `opsward.toml`, resolved: listeners, store, plugins directory, accounts and sources. Leaves opening any of it to the
//! host. Tested in `super::tests`.

use super::finding::ConfigError;
use super::source::{Source, Step, did_you_mean, place};
use super::typed::{Account, HostFile, Listener, Signature};
use super::{
    AdminSettings, CredentialRefs, SourceSettings, admin, credentials, defaults, guardrails, keep, posted,
    protected, sources,
};
use crate::catalog::Provider;
use crate::credential::CredentialSource;
use crate::endpoint::{Endpoint, is_region};
use crate::grant::Window;
use crate::guardrail::{Protected, Quota};
use crate::id::{AccountName, SourceName};
use crate::secret::SecretRef;
use crate::sender::addresses::AddressRange;
use crate::sign::Scheme;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// `opsward.toml`, resolved. Relative paths begin at its directory.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Where webhooks are received.
    pub server_listen: SocketAddr,
    /// The proxies in front of it, whose word on who asks is believed.
    pub server_proxies: Vec<AddressRange>,
    /// Most connections from one address; the host's own default where absent.
    pub server_connections_per_address: Option<usize>,
    /// Where operators and monitoring ask.
    pub admin: AdminSettings,
    /// Where the ledger is kept.
    pub store: StoreSettings,
    /// How long what has ended is kept there.
    pub store_keep: Duration,
    /// Where plugins and policies are.
    pub plugins: PluginSettings,
    /// Cloud accounts by name.
    pub accounts: BTreeMap<AccountName, AccountSettings>,
    /// Sources of events by name.
    pub sources: BTreeMap<SourceName, SourceSettings>,
    /// Secrets that policies may refer to in a call, by name.
    pub secrets: BTreeMap<String, SecretRef>,
    /// What no policy may change.
    pub protected: Vec<Protected>,
}

impl HostSettings {
    /// Where compiled plugins are kept: beside the store where the operator names no place.
    pub fn cache_dir(&self) -> PathBuf {
        let StoreSettings::Sqlite { path } = &self.store;
        self.plugins.cache_dir.clone().unwrap_or_else(|| path.with_extension("cache"))
    }
}

/// Where the ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// `sqlite:<path>`.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
}

/// Where plugins and policies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// The directory that is watched.
    pub dir: PathBuf,
    /// Where compiled plugins are kept, as the operator named it.
    pub cache_dir: Option<PathBuf>,
}

/// One cloud account.
#[derive(Debug, Clone)]
pub struct AccountSettings {
    /// Its name.
    pub name: AccountName,
    /// Whose cloud it is.
    pub provider: Provider,
    /// Where its credential comes from.
    pub credentials: CredentialSource<CredentialRefs>,
    /// What all its calls go to, in place of the computed endpoint.
    pub endpoint: Option<Endpoint>,
    /// The region of calls that name none.
    pub region: Option<String>,
    /// How its calls are signed.
    pub scheme: Scheme,
    /// Most effects of the actions of a pattern that all its policies make together.
    pub budgets: Vec<(String, Quota)>,
    /// When effects may be made; always where there are none.
    pub windows: Vec<Window>,
}

/// Refuses keys written out in the file, before anything could repeat them in another message.
pub(super) fn refuse_literal_secrets(source: &mut Source<'_>) -> Result<(), Vec<ConfigError>> {
    let owned = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let mut places: Vec<Vec<String>> = Vec::new();
    for account in owned(source.keys(place!["accounts"])) {
        let mut table = vec!["accounts".to_owned(), account, "credentials".to_owned()];
        loop {
            let steps: Vec<Step<'_>> = table.iter().map(Step::from).collect();
            let keys = owned(source.keys(&steps));
            let is_chain = keys.iter().any(|key| key == "assume-role");
            let secrets = keys.into_iter().filter(|key| !credentials::OPEN_KEYS.contains(&key.as_str()));
            places.extend(secrets.map(|key| [table.clone(), vec![key]].concat()));
            places.push(table.clone());
            if !is_chain {
                break;
            }
            table.extend(["assume-role", "from"].map(str::to_owned));
        }
    }
    for name in owned(source.keys(place!["sources"])) {
        places.extend(sources::secret_places(&name));
    }
    for name in owned(source.keys(place!["secrets"])) {
        places.push(vec!["secrets".to_owned(), name]);
    }
    let mut literal = Vec::new();
    for place in places {
        let steps: Vec<Step<'_>> = place.iter().map(Step::from).collect();
        let variable = source.value(&[steps.as_slice(), place!["env"]].concat()).and_then(DeValue::as_str);
        if source.value(&steps).is_some_and(|value| value.as_table().is_none()) {
            literal.push((place, "is written out: secrets by reference only"));
        } else if variable.is_some_and(|name| !is_variable_name(name)) {
            literal.push((place, "does not name an environment variable"));
        }
    }
    for (place, _) in &literal {
        let steps: Vec<Step<'_>> = place.iter().map(Step::from).collect();
        source.hide(&[steps.as_slice(), place!["env"]].concat());
    }
    let found: Vec<ConfigError> = literal
        .iter()
        .map(|(place, problem)| {
            let steps: Vec<Step<'_>> = place.iter().map(Step::from).collect();
            let key = place.last().map_or("", String::as_str);
            let fix = "write `{ env = \"NAME\" }` or `{ file = \"path\" }`";
            source.key_error(&steps, format!("`{key}` {problem}"), fix)
        })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

pub(super) fn resolve(source: &Source<'_>, file: HostFile) -> Result<HostSettings, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let server_listen = server_listen(source, &file.server, &mut errors);
    let proxies = file.server.behind_proxy.as_deref();
    let server_proxies = posted::ranges(source, place!["server", "behind-proxy"], proxies, &mut errors);
    let server_connections_per_address = file.server.connections_per_address;
    if server_connections_per_address == Some(0) {
        let place = place!["server", "connections-per-address"];
        errors.push(source.error(place, "0 lets nobody in", "write a number above 0, such as `64`"));
    }
    let admin = admin::resolve(source, file.admin, &mut errors);
    if let Some(server) = server_listen.filter(|server| server.port() != 0 && admin.listen == Some(*server)) {
        let message = format!("`[server]` and `[admin]` both listen on {server}");
        errors.push(source.error(place!["admin", "listen"], message, "give each its own port"));
    }
    let store = store(source, file.store.url.as_deref().unwrap_or(defaults::STORE_URL), &mut errors);
    let store_keep = keep::resolve(source, file.store.keep.as_deref(), &mut errors);
    let dir = file.plugins.dir.unwrap_or_else(|| defaults::PLUGINS_DIR.to_owned());
    for (key, path) in [("dir", Some(&dir)), ("cache-dir", file.plugins.cache_dir.as_ref())] {
        if path.is_some_and(String::is_empty) {
            errors.push(source.error(
                place!["plugins", key],
                format!("`{key}` is empty"),
                "name a directory",
            ));
        }
    }
    let plugins = PluginSettings { dir: dir.into(), cache_dir: file.plugins.cache_dir.map(Into::into) };

    let protected = protected::resolve(source, file.protected, &mut errors);
    let mut accounts = BTreeMap::new();
    for (name, typed) in file.accounts {
        if let Some(account) = account(source, &name, typed, &mut errors) {
            accounts.insert(account.name.clone(), account);
        }
    }
    let mut sources = BTreeMap::new();
    for (name, typed) in file.sources {
        if let Some(resolved) = sources::resolve(source, &name, typed, &accounts, &mut errors) {
            sources.insert(resolved.name.clone(), resolved);
        }
    }
    match (server_listen, store) {
        (Some(server_listen), Some(store)) if errors.is_empty() => Ok(HostSettings {
            server_listen,
            server_proxies,
            server_connections_per_address,
            admin,
            store,
            store_keep,
            plugins,
            accounts,
            sources,
            secrets: file.secrets,
            protected,
        }),
        _ => Err(errors),
    }
}

fn server_listen(source: &Source<'_>, typed: &Listener, errors: &mut Vec<ConfigError>) -> Option<SocketAddr> {
    let text = typed.listen.as_deref().unwrap_or(defaults::SERVER_LISTEN);
    let parsed = text.parse();
    if parsed.is_err() {
        let fix = format!("write `\"{}\"`", defaults::SERVER_LISTEN);
        let message = format!("`{text}` is not an address and port");
        errors.push(source.error(place!["server", "listen"], message, fix));
    }
    parsed.ok()
}

fn store(source: &Source<'_>, url: &str, errors: &mut Vec<ConfigError>) -> Option<StoreSettings> {
    match url.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => Some(StoreSettings::Sqlite { path: path.into() }),
        _ => {
            let fix = format!("write `\"{}\"`", defaults::STORE_URL);
            errors.push(source.error(place!["store", "url"], "not the URL of a store", fix));
            None
        }
    }
}

fn account(
    source: &Source<'_>,
    name: &str,
    typed: Account,
    errors: &mut Vec<ConfigError>,
) -> Option<AccountSettings> {
    let at = place!["accounts", name];
    let before = errors.len();
    let parsed = name.parse::<AccountName>();
    if let Err(error) = &parsed {
        errors.push(source.key_error(at, error.to_string(), ""));
    }
    let credentials = credentials::resolve(source, at, typed.provider, typed.credentials, errors);
    let endpoint = typed.endpoint.as_deref().map(Endpoint::parse).transpose();
    if let Err(error) = &endpoint {
        errors.push(source.error(place!["accounts", name, "endpoint"], error.to_string(), ""));
    }
    if let Some(region) = typed.region.as_deref().filter(|region| !is_region(region)) {
        let message = format!("`{region}` is not a region");
        errors.push(source.error(
            place!["accounts", name, "region"],
            message,
            "write it as in `cn-hangzhou`",
        ));
    }
    let scheme = match typed.signature {
        None => Scheme::default_for(typed.provider),
        Some(Signature::Acs3) => Scheme::AlibabaAcs3,
        Some(Signature::RpcV1) => Scheme::AlibabaRpcV1,
    };
    if scheme.provider() != typed.provider {
        let message = format!("a {} account has no other signature than its own", typed.provider.as_str());
        errors.push(source.error(place!["accounts", name, "signature"], message, "leave `signature` out"));
    }
    let budgets = guardrails::budgets(source, name, &typed.budgets, errors);
    let windows = guardrails::windows(source, place!["accounts", name, "windows"], &typed.windows, errors);
    let (Ok(name), Some(credentials), Ok(endpoint)) = (parsed, credentials, endpoint) else { return None };
    let settings = AccountSettings {
        name,
        provider: typed.provider,
        credentials,
        endpoint,
        region: typed.region,
        scheme,
        budgets,
        windows,
    };
    (errors.len() == before).then_some(settings)
}

/// The name of an account that the file of the host has.
pub(super) fn find_account(
    source: &Source<'_>,
    place: &[Step<'_>],
    name: &str,
    known: &[&str],
    errors: &mut Vec<ConfigError>,
) -> Option<AccountName> {
    if !known.contains(&name) {
        let fix = match known {
            [] => "`opsward.toml` has no `[accounts]`".to_owned(),
            _ => did_you_mean(name, known, "accounts"),
        };
        errors.push(source.error(place, format!("unknown account `{name}`"), fix));
        return None;
    }
    // A name that breaks the rule is reported where the account is.
    name.parse().ok()
}

/// Whether `text` is usual as the name of a variable. Keys of either vendor are told apart from it by their length.
fn is_variable_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && !bytes[0].is_ascii_digit()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

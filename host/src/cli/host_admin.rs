//! Where a command's change goes: into the store, or, where a host has that open, to the host's admin socket. Leaves what is
//! changed to the command.

use crate::store::StoreError;
use crate::store::sqlite::{SqliteStore, in_use};
use anyhow::{Context as _, bail};
use opsward_core::config::{HostSettings, StoreSettings};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who takes a change.
pub(super) enum Taker {
    /// No host runs: it is written here.
    Store(Arc<SqliteStore>),
    /// A host has the store open; it listens at this socket.
    Host(PathBuf),
}

impl Taker {
    /// Finds out who takes changes of the store at `path`, which must be there.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        match SqliteStore::open(path) {
            Ok(store) => Ok(Self::Store(store)),
            Err(StoreError::InUse { .. }) => {
                let admin = in_use::admin_of(path);
                Ok(Self::Host(admin.context("a host has the store open, but is not ready yet: try again")?))
            }
            Err(other) => Err(other.into()),
        }
    }
}

/// The store's file, which must be there: a command that looked at another would make one.
pub(super) fn store_of(config: &Path, settings: &HostSettings) -> anyhow::Result<PathBuf> {
    let StoreSettings::Sqlite { path } = &settings.store;
    let path = config.parent().unwrap_or(Path::new("")).join(path);
    path.metadata().with_context(|| format!("no store at `{}`", path.display()))?;
    Ok(path)
}

/// Has the host that listens at `socket` take `body`; returns its answer.
pub(super) async fn post(socket: PathBuf, page: &str, body: &impl Serialize) -> anyhow::Result<Value> {
    let shown = socket.display().to_string();
    let request = client(socket)?.post(url(page)).header("content-type", "application/json");
    answered(request.body(serde_json::to_string(body)?), &shown).await
}

/// What the host that listens at `socket` shows on `page`.
pub(super) async fn get(socket: PathBuf, page: &str) -> anyhow::Result<Value> {
    let shown = socket.display().to_string();
    answered(client(socket)?.get(url(page)), &shown).await
}

fn client(socket: PathBuf) -> anyhow::Result<reqwest::Client> {
    Ok(crate::cloud::to_own_host().unix_socket(socket).timeout(ADMIN_PATIENCE).build()?)
}

/// The name is in no message: a socket has none.
fn url(page: &str) -> String {
    format!("http://opsward{page}")
}

async fn answered(request: reqwest::RequestBuilder, shown: &str) -> anyhow::Result<Value> {
    let answer = request.send().await.map_err(reqwest::Error::without_url);
    let answer = answer.with_context(|| {
        format!("a host has the store open, but does not answer at `{shown}`; only root and its own user may ask there")
    })?;
    let good = answer.status().is_success();
    let told: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
    match told["error"].as_str() {
        Some(problem) => bail!("{problem}"),
        None if good && told.is_object() => Ok(told),
        None => bail!("{shown} answered what no opsward host answers"),
    }
}

/// How long the host may take: it waits for its disk.
const ADMIN_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Who runs this command, as the system names them; behind sudo whoever called it.
pub(super) fn caller() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| "somebody at the command line".to_owned())
}

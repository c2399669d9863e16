//! The plugins directory: what lies in it, what of it is good, and the set of live policies made of that. A change takes
//! effect within two seconds, a new plugin once it is compiled, which nothing else waits for; what is bad is refused with
//! its reason, and the last good version stays. Leaves reading files to `files`, judging plugins to `compile`, and judging
//! policy files to `opsward_core::config`.
//!
//! A plugin without a policy file is looked at and listed, never run. Tested in `tests/`, by changing a directory.

mod files;
mod kept;
mod live;
mod status;

pub use status::{PluginStatus, PolicyStatus, RegistryStatus};

use self::files::Stamp;
use self::kept::{Kept, Update};
use super::engine::Revision;
use super::guests::Guests;
use crate::policy::{Policies, PolicySet};
use opsward_core::config::{FILE_BYTES_MAX, HostSettings, PolicySettings, load_policy};
use opsward_core::id::Digest;
use opsward_core::pattern::{Index, Patterns};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;

/// How often the directory is read though nothing was heard of it: network file systems tell nothing.
const RESCAN: Duration = Duration::from_secs(1);
/// How long after a change the directory is read: a copy of several files is then taken in one go.
const SETTLE: Duration = Duration::from_millis(100);

/// What is known of the plugins directory.
pub struct Registry {
    guests: Guests,
    dir: PathBuf,
    settings: HostSettings,
    policies: Arc<Policies>,
    /// Told after each change of the set.
    changed: Arc<Notify>,
    /// Held for the whole of a scan.
    books: Mutex<Books>,
    status: RwLock<Arc<RegistryStatus>>,
    revisions: RwLock<Revisions>,
}

/// The plugins directory cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the plugins directory `{path}`; create it, or set `dir` under `[plugins]`")]
pub struct OpenRegistryError {
    /// The directory.
    pub path: PathBuf,
    /// What failed.
    #[source]
    pub source: io::Error,
}

/// What was found, by file name.
#[derive(Default)]
struct Books {
    plugins: BTreeMap<String, Kept<Arc<Revision>>>,
    policies: BTreeMap<String, Kept<PolicySettings>>,
    /// What the present set was made of.
    live: Vec<Ingredients>,
}

/// A policy's name, the digest of its file and that of its plugin.
type Ingredients = (String, Digest, Digest);

/// A plugin whose bytes have been read and no more.
struct Unjudged {
    name: String,
    digest: Digest,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Revisions {
    loaded: HashMap<Digest, Arc<Revision>>,
    /// Live at some time since the last call of `prune`: a run may be pinned to it that the caller has not seen.
    lately_live: HashSet<Digest>,
}

impl Registry {
    /// Reads the directory named in `settings` below `base`, makes the first set of policies and stores it in `policies`.
    /// `changed` is told of each later change.
    pub async fn open(
        guests: impl Into<Guests>,
        base: PathBuf,
        settings: HostSettings,
        policies: Arc<Policies>,
        changed: Arc<Notify>,
    ) -> Result<Arc<Self>, OpenRegistryError> {
        let dir = base.join(&settings.plugins.dir);
        let registry = Self {
            guests: guests.into(),
            dir,
            settings,
            policies,
            changed,
            books: Mutex::default(),
            status: RwLock::default(),
            revisions: RwLock::default(),
        };
        registry.scan().await.map_err(|source| OpenRegistryError { path: registry.dir.clone(), source })?;
        Ok(Arc::new(registry))
    }

    /// Keeps the set in step with the directory until `stopping` turns true.
    pub async fn watch(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let touched = Arc::new(Notify::new());
        let watcher = files::listen(&self.dir, touched.clone());
        if let Err(problem) = &watcher {
            tracing::warn!(%problem, "cannot watch the plugins directory; it is read every second instead");
        }
        let mut readable = true;
        // A large plugin compiles for a minute, and an operator who switches a policy off must not wait for that.
        let mut judging = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = judging.join_next() => continue,
                () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
                () = touched.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(RESCAN) => {}
            }
            let looked = self.look().await;
            if let (Err(problem), true) = (&looked, readable) {
                tracing::error!(path = %self.dir.display(), %problem, "cannot read the plugins directory; policies stay as they are");
            }
            readable = looked.is_ok();
            for plugin in looked.unwrap_or_default() {
                let registry = self.clone();
                judging.spawn(async move { registry.judge(plugin).await });
            }
        }
    }

    /// Reads the directory once and brings the set in step, new plugins included.
    pub async fn scan(&self) -> io::Result<()> {
        for plugin in self.look().await? {
            self.judge(plugin).await;
        }
        Ok(())
    }

    /// Reads the directory once, brings the set in step but for new plugins, and gives these.
    async fn look(&self) -> io::Result<Vec<Unjudged>> {
        let mut unjudged = Vec::new();
        let mut books = self.books.lock().await;
        let dir = self.dir.clone();
        let found =
            tokio::task::spawn_blocking(move || files::list(&dir)).await.map_err(io::Error::other)??;
        books.plugins.retain(|name, _| found.contains_key(name));
        books.policies.retain(|name, _| found.contains_key(name));
        for (name, stamp) in found {
            if name.ends_with(files::PLUGIN) {
                unjudged.extend(self.look_at_plugin(&mut books, name, stamp).await?);
            } else {
                self.look_at_policy(&mut books, name, stamp).await?;
            }
        }
        self.publish(&mut books);
        Ok(unjudged)
    }

    /// Compiles a plugin and takes it into the set, or refuses it.
    async fn judge(&self, plugin: Unjudged) {
        let Unjudged { name, digest, bytes } = plugin;
        let judged = self.guests.compile(bytes).await.map(|revision| self.remember(revision));
        let mut books = self.books.lock().await;
        // Other content may have come meanwhile, and is judged by itself.
        if let Some(kept) = books.plugins.get_mut(&name).filter(|kept| kept.digest() == Some(digest)) {
            kept.judge(digest, judged.map_err(|refused| refused.to_string()));
            tell(&name, kept);
            self.publish(&mut books);
        }
    }

    /// What is in the directory and what of it is live.
    pub fn status(&self) -> Arc<RegistryStatus> {
        self.status.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The revision with that digest: live, still in memory, or kept on disk from when it was live.
    pub async fn revision(&self, digest: &Digest) -> Option<Arc<Revision>> {
        let in_memory = self.read_revisions(|revisions| revisions.loaded.get(digest).cloned());
        if in_memory.is_some() {
            return in_memory;
        }
        match self.guests.load_pinned(*digest).await {
            Ok(loaded) => loaded.map(|revision| self.remember(revision)),
            Err(problem) => {
                tracing::error!(%digest, %problem, "a plugin revision that runs are pinned to cannot be loaded");
                None
            }
        }
    }

    /// Forgets revisions that are neither in the directory nor in `pinned`, in memory and on disk. `pinned` is what
    /// unfinished runs need; what was live since the last call is kept as well.
    pub async fn prune(&self, pinned: &[Digest]) -> io::Result<usize> {
        let books = self.books.lock().await;
        let present: HashSet<Digest> = books
            .plugins
            .values()
            .flat_map(|kept| [kept.good().map(|(good, _)| *good), kept.digest()])
            .flatten()
            .collect();
        let live: HashSet<Digest> = books.live.iter().map(|(_, _, plugin)| *plugin).collect();
        let keep = self.write_revisions(|revisions| {
            let lately_live = std::mem::replace(&mut revisions.lately_live, live);
            let keep: HashSet<Digest> = pinned.iter().copied().chain(present).chain(lately_live).collect();
            revisions.loaded.retain(|digest, _| keep.contains(digest));
            keep
        });
        let guests = self.guests.clone();
        tokio::task::spawn_blocking(move || guests.prune_cache(&keep)).await.map_err(io::Error::other)?
    }

    async fn look_at_plugin(
        &self,
        books: &mut Books,
        name: String,
        stamp: Stamp,
    ) -> io::Result<Option<Unjudged>> {
        let kept = books.plugins.entry(name.clone()).or_insert_with(|| Kept::new(stamp));
        if kept.is_settled(&stamp) {
            return Ok(None);
        }
        let read = self.read(&name, self.guests.limits().plugin_bytes).await?;
        match kept.update(stamp, read) {
            Update::Same => {}
            Update::Unreadable => tell(&name, kept),
            Update::New(digest, bytes) => match self.loaded(&digest) {
                Some(revision) => {
                    kept.judge(digest, Ok(revision));
                    tell(&name, kept);
                }
                None => return Ok(Some(Unjudged { name, digest, bytes })),
            },
        }
        Ok(None)
    }

    async fn look_at_policy(&self, books: &mut Books, name: String, stamp: Stamp) -> io::Result<()> {
        let kept = books.policies.entry(name.clone()).or_insert_with(|| Kept::new(stamp));
        if kept.is_settled(&stamp) {
            return Ok(());
        }
        let read = self.read(&name, FILE_BYTES_MAX).await?;
        let news = match kept.update(stamp, read) {
            Update::Same => false,
            Update::Unreadable => true,
            Update::New(digest, bytes) => {
                kept.judge(digest, self.judge_policy(&name, bytes));
                true
            }
        };
        if let (Some(problem), true) = (kept.refused(), news) {
            tracing::warn!(file = name, problem, serving = kept.good().is_some(), "policy file refused");
        }
        Ok(())
    }

    fn judge_policy(&self, name: &str, bytes: Vec<u8>) -> Result<PolicySettings, String> {
        let text = String::from_utf8(bytes).map_err(|e| format!("it is not UTF-8 text: {e}"))?;
        let stem = name.strip_suffix(files::POLICY).unwrap_or(name);
        let shown = self.settings.plugins.dir.join(name).display().to_string();
        load_policy(&shown, stem, &text, &self.settings)
            .map_err(|findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    async fn read(&self, name: &str, max: usize) -> io::Result<Result<Vec<u8>, String>> {
        let path = self.dir.join(name);
        tokio::task::spawn_blocking(move || files::read(&path, max)).await.map_err(io::Error::other)
    }

    /// Makes the set of what is good, swaps it in where it differs, and notes down how everything stands.
    fn publish(&self, books: &mut Books) {
        let before = self.policies.load();
        let mut set = Vec::new();
        let mut ingredients = Vec::new();
        let mut policies = Vec::new();
        for (file, kept) in &books.policies {
            let bound = kept.good().map(|(_, settings)| live::bind(settings, &books.plugins, &before));
            policies.push(PolicyStatus::of(file, kept, bound.as_ref()));
            if let (Some(Ok(bound)), Some((text, settings))) = (bound, kept.good()) {
                ingredients.push((settings.name.to_string(), *text, bound.policy.revision.digest));
                set.push(Arc::new(bound.policy));
            }
        }
        let plugins = books.plugins.iter().map(|(file, kept)| PluginStatus::of(file, kept)).collect();
        *self.status.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(RegistryStatus { plugins, policies });
        if ingredients == books.live {
            return;
        }
        set.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
        live::tell_changes(&before, &set);
        self.write_revisions(|r| r.lately_live.extend(ingredients.iter().map(|(_, _, plugin)| *plugin)));
        books.live = ingredients;
        let none = Patterns::default();
        let index = Index::build(set.iter().map(|policy| policy.settings.patterns.as_ref().unwrap_or(&none)));
        self.policies.store(PolicySet { policies: set, index });
        self.changed.notify_one();
    }

    fn loaded(&self, digest: &Digest) -> Option<Arc<Revision>> {
        self.read_revisions(|revisions| revisions.loaded.get(digest).cloned())
    }

    fn remember(&self, revision: Revision) -> Arc<Revision> {
        self.write_revisions(|r| {
            r.loaded.entry(revision.digest).or_insert_with(|| Arc::new(revision)).clone()
        })
    }

    fn read_revisions<R>(&self, look: impl FnOnce(&Revisions) -> R) -> R {
        look(&self.revisions.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_revisions<R>(&self, change: impl FnOnce(&mut Revisions) -> R) -> R {
        change(&mut self.revisions.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Logs how a plugin's file stands.
fn tell(file: &str, kept: &Kept<Arc<Revision>>) {
    let good = kept.good().map(|(digest, revision)| (digest.short(), &revision.description.version));
    match (kept.refused(), good) {
        (Some(problem), serving) => {
            let serving = serving.map(|(digest, _)| digest);
            tracing::warn!(file, problem, serving, "plugin refused");
        }
        (None, Some((digest, version))) => tracing::info!(file, digest, version, "plugin loaded"),
        (None, None) => {}
    }
}

//! The plugins directory while it changes: what is good goes live, what is bad is refused and leaves the last good version
//! serving.

use crate::harness::compiler;
use crate::hostile_pack::bomb;
use opsward::plugin::compiler::{CompileLimits, Compiler};
use opsward::plugin::engine::{Engine, Limits};
use opsward::plugin::registry::{PluginStatus, PolicyStatus, Registry, RegistryStatus};
use opsward::policy::Policies;
use opsward_core::config::load_host;
use opsward_core::event::Event;
use opsward_core::id::Digest;
use opsward_core::run::Mode;
use opsward_core::time::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

const HOSTILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-hostile.wasm"));
/// Far beyond the two seconds that are promised, for a busy machine with an unoptimised compiler.
const PATIENCE: Duration = Duration::from_secs(60);

const HOST: &str = r#"
[accounts.prod]
provider = "alibaba"
credentials = { access-key-id = { env = "AK" }, access-key-secret = { env = "SK" } }
"#;
const POLICY: &str = r#"
plugin = "hostile.wasm"
account = "prod"
mode = "enforce"
config = { key = "value" }
[[allow]]
action = "ecs:DescribeDisks"
[[allow]]
action = "ecs:DescribeInstances"
"#;

#[tokio::test]
async fn a_plugin_goes_live_with_its_policy_file_and_not_without() {
    let place = Place::new();
    place.put("hostile.wasm", HOSTILE);
    let registry = place.open().await;
    let status = registry.status();
    let plugin = plugin(&status, "hostile.wasm");
    assert_eq!((plugin.name.as_deref(), plugin.serving), (Some("hostile"), Some(Digest::of(HOSTILE))));
    assert!(place.policies.load().policies.is_empty(), "looked at and listed, never run");

    place.put("guard.toml", POLICY.as_bytes());
    registry.scan().await.expect("scanned");
    let set = place.policies.load();
    let policy = set.find(&"guard".parse().expect("a name")).expect("live");
    assert_eq!((policy.settings.mode, &*policy.settings.config), (Mode::Enforce, r#"{"key":"value"}"#));
    assert_eq!(policy.revision.digest, Digest::of(HOSTILE));
    let woken = set.index.matches(&event("hostile.loop"));
    assert_eq!(woken.iter().map(|one| one.policy).collect::<Vec<_>>(), [0], "its own triggers apply");
    assert!(set.index.matches(&event("peaceful")).is_empty());

    let status = registry.status();
    let policy = self::policy(&status, "guard.toml");
    let allowed: Vec<&str> = policy.allowed.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(allowed, ["ecs:DescribeDisks"], "granted and asked for");
    assert_eq!(policy.granted_not_asked, ["ecs:DescribeInstances"]);
}

#[tokio::test]
async fn a_bad_plugin_is_refused_and_the_last_good_one_goes_on_serving() {
    let place = Place::new();
    place.put("hostile.wasm", HOSTILE);
    place.put("guard.toml", POLICY.as_bytes());
    let registry = place.open().await;

    place.put("hostile.wasm", b"garbage");
    registry.scan().await.expect("scanned");
    let status = registry.status();
    let plugin = plugin(&status, "hostile.wasm");
    assert!(plugin.refused.as_ref().is_some_and(|reason| reason.contains("not WebAssembly")), "{plugin:?}");
    assert_eq!((plugin.digest, plugin.serving), (Some(Digest::of(b"garbage")), Some(Digest::of(HOSTILE))));
    assert_eq!(place.live(), ["guard"]);
    assert!(status.has_refusals());

    place.put("hostile.wasm", HOSTILE);
    registry.scan().await.expect("scanned");
    assert!(!registry.status().has_refusals());
}

#[tokio::test]
async fn a_plugin_that_costs_the_compiler_too_much_is_refused_and_the_last_good_one_goes_on_serving() {
    let place = Place::new();
    place.put("hostile.wasm", HOSTILE);
    place.put("guard.toml", POLICY.as_bytes());
    let cache = tempfile::tempdir().expect("a directory");
    let memory_bytes = 192 << 20;
    let bounded = compiler().bounded(CompileLimits { memory_bytes, ..CompileLimits::default() });
    let registry = place.open_bounded(cache.path(), bounded).await;

    place.put("hostile.wasm", &bomb());
    registry.scan().await.expect("scanned");
    let status = registry.status();
    let plugin = plugin(&status, "hostile.wasm");
    let reason = plugin.refused.as_ref().expect("refused");
    assert!(reason.contains("more than 192 MiB of memory"), "{reason}");
    assert_eq!(plugin.serving, Some(Digest::of(HOSTILE)));
    assert_eq!(place.live(), ["guard"]);
}

#[tokio::test]
async fn a_bad_policy_file_is_refused_and_the_last_good_one_stays() {
    let place = Place::new();
    place.put("hostile.wasm", HOSTILE);
    place.put("guard.toml", POLICY.as_bytes());
    let registry = place.open().await;

    place.put("guard.toml", POLICY.replace("mode =", "mood =").as_bytes());
    registry.scan().await.expect("scanned");
    let status = registry.status();
    let policy = policy(&status, "guard.toml");
    let reason = policy.refused.as_ref().expect("refused");
    assert!(reason.contains("guard.toml") && reason.contains("mood"), "{reason}");
    assert!(policy.live);
    assert_eq!(place.live(), ["guard"]);
}

#[tokio::test]
async fn what_is_removed_is_gone_and_what_is_missing_is_told() {
    let place = Place::new();
    place.put("hostile.wasm", HOSTILE);
    place.put("guard.toml", POLICY.as_bytes());
    place.put("other.toml", POLICY.replace("hostile.wasm", "absent.wasm").as_bytes());
    let registry = place.open().await;
    assert_eq!(place.live(), ["guard"]);
    let status = registry.status();
    let reason = policy(&status, "other.toml").refused.as_ref().expect("refused");
    assert!(reason.contains("`absent.wasm` is not in the directory"), "{reason}");

    fs::remove_file(place.plugins().join("hostile.wasm")).expect("removed");
    registry.scan().await.expect("scanned");
    assert!(place.live().is_empty());
    assert!(registry.status().plugins.is_empty());
    let pinned = registry.revision(&Digest::of(HOSTILE)).await.expect("a run that is pinned to it goes on");
    assert_eq!(pinned.digest, Digest::of(HOSTILE));
}

#[tokio::test]
async fn only_regular_files_of_bearable_size_are_read() {
    let place = Place::new();
    let outside = place.dir.path().join("outside.wasm");
    fs::write(&outside, HOSTILE).expect("written");
    std::os::unix::fs::symlink(&outside, place.plugins().join("link.wasm")).expect("linked");
    fs::create_dir(place.plugins().join("folder.wasm")).expect("made");
    let huge = fs::File::create(place.plugins().join("huge.wasm")).expect("made");
    huge.set_len(1 << 30).expect("sparse");
    place.put(".hidden.wasm", HOSTILE);
    place.put("notes.txt", b"not ours");
    place.put("native.cwasm", HOSTILE);
    place.put("native.wasm.cwasm", HOSTILE);
    let pipe = std::process::Command::new("mkfifo").arg(place.plugins().join("pipe.wasm")).status();
    assert!(pipe.expect("mkfifo").success());
    let registry = place.open().await;
    let status = registry.status();
    for (file, words) in [
        ("link.wasm", "symbolic link"),
        ("folder.wasm", "regular file"),
        ("pipe.wasm", "regular file"),
        ("huge.wasm", "limit"),
    ] {
        let reason = plugin(&status, file).refused.as_ref().expect("refused");
        assert!(reason.contains(words), "{file}: {reason}");
    }
    assert_eq!(status.plugins.len(), 4);
}

#[tokio::test]
async fn a_change_of_the_directory_takes_effect_by_itself() {
    let place = Place::new();
    let registry = place.open().await;
    let (stop, stopping) = watch::channel(false);
    let watching = tokio::spawn(registry.clone().watch(stopping));

    place.put("hostile.wasm", HOSTILE);
    place.put("guard.toml", POLICY.as_bytes());
    place.changed().await;
    assert_eq!(place.live(), ["guard"]);
    fs::remove_file(place.plugins().join("guard.toml")).expect("removed");
    place.changed().await;
    assert!(place.live().is_empty());

    stop.send_replace(true);
    tokio::time::timeout(PATIENCE, watching).await.expect("ends").expect("without a panic");
}

#[tokio::test]
async fn a_policy_is_switched_off_while_plugins_are_being_compiled() {
    let place = Place::new();
    place.put("hostile.wasm", HOSTILE);
    place.put("guard.toml", POLICY.as_bytes());
    let cache = tempfile::tempdir().expect("a directory");
    let registry = place.open_with(cache.path()).await;
    let (_stop, stopping) = watch::channel(false);
    let watching = tokio::spawn(registry.clone().watch(stopping));

    for nth in 0..20 {
        place.put(&format!("new-{nth}.wasm"), &never_compiled(nth));
    }
    let waiting = || {
        let status = registry.status();
        status.plugins.iter().filter(|p| p.refused.is_none() && p.serving.is_none()).count()
    };
    let in_time = tokio::time::timeout(PATIENCE, async {
        while waiting() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        place.put("guard.toml", POLICY.replace("enforce", "off").as_bytes());
        while place.policies.load().policies[0].settings.mode != Mode::Off {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    in_time.await.expect("off");
    assert!(waiting() > 0, "the compiler is still at work");
    watching.abort();
}

#[tokio::test]
async fn a_revision_that_asks_for_more_than_is_granted_waits() {
    let place = Place::new();
    place.put("hostile.wasm", HOSTILE);
    place.put("guard.toml", POLICY.as_bytes());
    let registry = place.open().await;

    let greedy = replaced(HOSTILE, "ecs:DescribeDisks", "ecs:DeleteSnapsho");
    place.put("hostile.wasm", &greedy);
    registry.scan().await.expect("scanned");
    let status = registry.status();
    let waiting = policy(&status, "guard.toml");
    assert_eq!(waiting.serving, Some(Digest::of(HOSTILE)));
    let waits = waiting.waits.as_ref().expect("it asks for more");
    assert_eq!((waits.revision, waits.pinned), (Digest::of(&greedy), false));
    assert_eq!(waits.difference(), ["+ ecs:DeleteSnapsho  to ask too often", "- ecs:DescribeDisks"]);

    let grant = format!("{POLICY}\n[[allow]]\naction = \"ecs:DeleteSnapsho\"\nresource = [\"s-1\"]\n");
    place.put("guard.toml", grant.as_bytes());
    registry.scan().await.expect("scanned");
    let status = registry.status();
    let served = policy(&status, "guard.toml");
    assert_eq!((served.serving, &served.waits), (Some(Digest::of(&greedy)), &None), "{served:?}");
}

#[tokio::test]
async fn old_revisions_are_kept_while_runs_are_pinned_to_them() {
    let place = Place::new();
    place.put("hostile.wasm", HOSTILE);
    place.put("guard.toml", POLICY.as_bytes());
    let cache = tempfile::tempdir().expect("a directory");
    let registry = place.open_with(cache.path()).await;
    fs::remove_file(place.plugins().join("hostile.wasm")).expect("removed");
    registry.scan().await.expect("scanned");

    let digest = Digest::of(HOSTILE);
    assert_eq!(registry.prune(&[]).await.expect("pruned"), 0, "live since the last pruning");
    assert_eq!(registry.prune(&[digest]).await.expect("pruned"), 0, "pinned");
    assert!(registry.revision(&digest).await.is_some());
    assert_eq!(registry.prune(&[]).await.expect("pruned"), 2);
    assert!(registry.revision(&digest).await.is_none());
}

/// A directory of a host, with an empty plugins directory.
struct Place {
    dir: TempDir,
    policies: Arc<Policies>,
    changed: Arc<Notify>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("plugins.d")).expect("a directory");
        Self { dir, policies: Arc::default(), changed: Arc::default() }
    }

    fn plugins(&self) -> PathBuf {
        self.dir.path().join("plugins.d")
    }

    /// Writes beside and renames, as a careful copy does.
    fn put(&self, name: &str, bytes: &[u8]) {
        let beside = self.plugins().join(".new");
        fs::write(&beside, bytes).expect("written");
        fs::rename(beside, self.plugins().join(name)).expect("renamed");
    }

    async fn open(&self) -> Arc<Registry> {
        // Kept between test runs: compiling with an unoptimised compiler takes seconds.
        self.open_with(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-guests")).await
    }

    async fn open_with(&self, cache: &Path) -> Arc<Registry> {
        self.open_bounded(cache, compiler()).await
    }

    async fn open_bounded(&self, cache: &Path, compiler: Compiler) -> Arc<Registry> {
        let settings = load_host("opsward.toml", HOST).expect("settings");
        let engine = Engine::new(Limits::default(), cache, compiler).expect("an engine");
        let base = self.dir.path().to_owned();
        let registry =
            Registry::open(engine, base, settings, self.policies.clone(), self.changed.clone()).await;
        // The first set is a change like any other; whoever waits for one waits for the next.
        tokio::select! { biased; () = self.changed.notified() => {}, () = std::future::ready(()) => {} }
        registry.expect("opened")
    }

    async fn changed(&self) {
        tokio::time::timeout(PATIENCE, self.changed.notified()).await.expect("a change");
    }

    fn live(&self) -> Vec<String> {
        self.policies.load().policies.iter().map(|p| p.settings.name.to_string()).collect()
    }
}

fn plugin<'a>(status: &'a RegistryStatus, file: &str) -> &'a PluginStatus {
    status.plugins.iter().find(|p| p.file == file).unwrap_or_else(|| panic!("{file} is not listed"))
}

fn policy<'a>(status: &'a RegistryStatus, file: &str) -> &'a PolicyStatus {
    status.policies.iter().find(|p| p.file == file).unwrap_or_else(|| panic!("{file} is not listed"))
}

fn event(kind: &str) -> Event {
    Event {
        source: "manual".parse().expect("a name"),
        id: "e-1".to_owned(),
        kind: kind.to_owned(),
        subject: None,
        time: Timestamp::from_ms(0),
        data: "{}".to_owned(),
        incident: None,
        account: None,
        region: None,
        level: None,
        transition: None,
    }
}

/// The hostile guest with a custom section, so that no cache knows it.
fn never_compiled(nth: u8) -> Vec<u8> {
    use std::hash::{BuildHasher as _, RandomState};
    let salt = RandomState::new().hash_one(nth).to_le_bytes();
    // Section 0, its size, the length of its empty name, and anything.
    [HOSTILE, &[0, 9, 0], salt.as_slice()].concat()
}

/// `bytes` with every mention of one text replaced by another of the same length.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes());
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "{from}");
    let mut bytes = bytes.to_vec();
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

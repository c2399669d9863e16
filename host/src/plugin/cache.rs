//! Compiled plugins on disk, mapped instead of compiled again, and the bytes they came from, so that a run pinned to an
//! older revision can go on after a restart. Leaves what may be removed to the caller.
//!
//! Files are `<digest>.wasm` and `<digest>-<configuration>.cwasm`, where the configuration is a hash of the engine's
//! settings, version and processor. Tested below.

use opsward_core::id::Digest;
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use wasmtime::component::Component;

/// A hash of what compiled code depends on beside the plugin.
pub(super) fn configuration(wasm: &wasmtime::Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    wasm.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// The directory of compiled plugins.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    configuration: String,
}

impl Cache {
    /// Opens the directory for compiled code that fits `wasm`, and closes it to everybody else.
    pub(super) fn open(dir: &Path, wasm: &wasmtime::Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let named = fs::symlink_metadata(dir)?;
        if !named.is_dir() {
            let what = "it is no directory of its own but a link, which others may turn: name the directory";
            return Err(io::Error::other(what));
        }
        if named.uid() == own_user() {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        }
        check_own(&fs::symlink_metadata(dir)?)?;
        Ok(Self { dir: dir.to_owned(), configuration: format!("{:016x}", configuration(wasm)) })
    }

    /// The compiled plugin, where it is there and fits.
    pub(super) fn load(&self, wasm: &wasmtime::Engine, digest: &Digest) -> Option<Component> {
        let path = self.compiled(digest);
        let own = match fs::symlink_metadata(&path) {
            Ok(found) => check_own(&found),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => Err(e),
        };
        // SAFETY: mapping runs whatever machine code the file holds, and the file must not change while it is mapped. The
        // directory is this user's alone (`open`), and so is the file; files in it are written nowhere but in `write`, whole and
        // by rename, and are never written again; wasmtime itself checks version, settings and processor. Who can write here
        // all the same can replace this program as well.
        let mapped = own
            .map_err(wasmtime::Error::from)
            .and_then(|()| unsafe { Component::deserialize_file(wasm, &path) });
        match mapped {
            Ok(component) => Some(component),
            Err(problem) => {
                tracing::warn!(path = %path.display(), %problem, "compiled plugin unusable; compiling again");
                None
            }
        }
    }

    /// Keeps a plugin's bytes and its compiled code, and maps that from the file, so that the kernel can drop its pages; where the
    /// disk fails, from memory.
    pub(super) fn keep(
        &self,
        wasm: &wasmtime::Engine,
        digest: &Digest,
        bytes: &[u8],
        code: &[u8],
    ) -> wasmtime::Result<Component> {
        match self.keep_code(digest, bytes, code) {
            Ok(()) => {
                if let Some(component) = self.load(wasm, digest) {
                    return Ok(component);
                }
            }
            Err(problem) => {
                tracing::warn!(dir = %self.dir.display(), %problem, "compiled plugin not kept; the next start compiles again");
            }
        }
        // SAFETY: it is what this program's compiler has just made.
        unsafe { Component::deserialize(wasm, code) }
    }

    /// Keeps a plugin's bytes and its compiled code.
    pub(super) fn keep_code(&self, digest: &Digest, bytes: &[u8], code: &[u8]) -> io::Result<()> {
        self.write(&self.source(digest), bytes)?;
        self.write(&self.compiled(digest), code)
    }

    /// The compiled code of the plugin with that digest, as it lies there; nothing of it is mapped.
    pub(super) fn code(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let path = self.compiled(digest);
        check_own(&fs::symlink_metadata(&path)?)?;
        fs::read(path)
    }

    /// Whether there is compiled code of the plugin with that digest.
    pub(super) fn has_code(&self, digest: &Digest) -> bool {
        fs::symlink_metadata(self.compiled(digest)).is_ok_and(|found| check_own(&found).is_ok())
    }

    /// The bytes of the plugin with that digest, where they were kept and are whole.
    pub(super) fn bytes(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.source(digest)) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes)),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Removes everything of plugins that are not in `keep`, and what was compiled for other settings. Gives the number
    /// of files removed.
    pub(super) fn prune(&self, keep: &HashSet<Digest>) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let kept = name.to_str().and_then(|n| n.split_once(['-', '.'])).is_some_and(|(digest, rest)| {
                let known = Digest::try_from(digest.to_owned()).is_ok_and(|d| keep.contains(&d));
                known && (rest == "wasm" || rest.strip_suffix(".cwasm") == Some(&self.configuration))
            });
            if !kept && entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn source(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}.wasm"))
    }

    fn compiled(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{}.cwasm", self.configuration))
    }

    /// Writes a file whole and durably, or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Whether a file or directory is no link, belongs to this program's user, and is written by nobody else.
fn check_own(found: &Metadata) -> io::Result<()> {
    let problem = if found.is_symlink() {
        "it is a link"
    } else if found.uid() != own_user() {
        "it belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "others than its owner may write it"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn code(wasm: &wasmtime::Engine) -> Vec<u8> {
        wasm.precompile_component(EMPTY).expect("a component")
    }

    #[test]
    fn a_compiled_plugin_is_found_again_until_it_is_pruned() {
        let dir = tempfile::tempdir().expect("a directory");
        let wasm = wasmtime::Engine::default();
        let cache = Cache::open(&dir.path().join("compiled"), &wasm).expect("a cache");
        let digest = Digest::of(EMPTY);
        assert!(cache.load(&wasm, &digest).is_none());

        cache.keep(&wasm, &digest, EMPTY, &code(&wasm)).expect("mapped");
        assert!(cache.load(&wasm, &digest).is_some());
        assert_eq!(cache.bytes(&digest).expect("readable").as_deref(), Some(EMPTY));

        assert_eq!(cache.prune(&HashSet::from([digest])).expect("pruned"), 0);
        assert_eq!(cache.prune(&HashSet::new()).expect("pruned"), 2);
        assert!(cache.load(&wasm, &digest).is_none());
        assert_eq!(cache.bytes(&digest).expect("readable"), None);
    }

    #[test]
    fn a_damaged_file_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let wasm = wasmtime::Engine::default();
        let cache = Cache::open(dir.path(), &wasm).expect("a cache");
        let digest = Digest::of(EMPTY);
        fs::write(cache.compiled(&digest), b"not compiled code").expect("written");
        fs::write(cache.source(&digest), b"other bytes").expect("written");
        assert!(cache.load(&wasm, &digest).is_none());
        assert_eq!(cache.bytes(&digest).expect("readable"), None);
    }

    #[test]
    fn code_that_another_could_have_put_there_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let wasm = wasmtime::Engine::default();
        let cache = Cache::open(dir.path(), &wasm).expect("a cache");
        let digest = Digest::of(EMPTY);
        cache.keep(&wasm, &digest, EMPTY, &code(&wasm)).expect("mapped");
        let file = cache.compiled(&digest);

        fs::set_permissions(&file, Permissions::from_mode(0o620)).expect("set");
        assert!(cache.load(&wasm, &digest).is_none(), "others may write it");

        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("set");
        assert!(cache.load(&wasm, &digest).is_some());

        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&file, &elsewhere).expect("moved");
        std::os::unix::fs::symlink(&elsewhere, &file).expect("linked");
        assert!(cache.load(&wasm, &digest).is_none(), "a link");
    }

    #[test]
    fn a_directory_is_closed_to_others_and_is_no_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let wasm = wasmtime::Engine::default();
        let (open, link) = (dir.path().join("open"), dir.path().join("link"));
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("set");
        Cache::open(&open, &wasm).expect("a cache");
        assert_eq!(fs::metadata(&open).expect("there").mode() & 0o777, 0o700);

        std::os::unix::fs::symlink(&open, &link).expect("linked");
        let refused = Cache::open(&link, &wasm).expect_err("a link");
        assert!(refused.to_string().contains("name the directory"), "{refused}");
    }

    #[test]
    fn other_settings_find_none_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let wasm = wasmtime::Engine::default();
        let digest = Digest::of(EMPTY);
        let cache = Cache::open(dir.path(), &wasm).expect("a cache");
        cache.keep(&wasm, &digest, EMPTY, &code(&wasm)).expect("mapped");

        let other =
            wasmtime::Engine::new(wasmtime::Config::new().epoch_interruption(true)).expect("an engine");
        let cache = Cache::open(dir.path(), &other).expect("a cache");
        assert!(cache.load(&other, &digest).is_none());
        assert_eq!(
            cache.prune(&HashSet::from([digest])).expect("pruned"),
            1,
            "the code of the other settings"
        );
    }
}

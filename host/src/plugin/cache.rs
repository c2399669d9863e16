//! Compiled plugins on disk, mapped instead of compiled again, and the bytes they came from, so that a run pinned to an
//! older revision can go on after a restart. Leaves what may be removed to the caller.
//!
//! Files are `<digest>.wasm` and `<digest>-<configuration>.cwasm`, where the configuration is a hash of the engine's
//! settings, version and processor. Tested below.

use opsward_core::id::Digest;
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use wasmtime::component::Component;

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
        // Only its owner may change a directory's mode: this fails where it is somebody else's.
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        let mut hasher = DefaultHasher::new();
        wasm.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { dir: dir.to_owned(), configuration: format!("{:016x}", hasher.finish()) })
    }

    /// The compiled plugin, where it is there and fits.
    pub(super) fn load(&self, wasm: &wasmtime::Engine, digest: &Digest) -> Option<Component> {
        let path = self.compiled(digest);
        if !path.exists() {
            return None;
        }
        // SAFETY: mapping runs whatever machine code the file holds, and the file must not change while it is mapped. The
        // directory is this user's alone (`open`), files in it are written nowhere but in `write`, whole and by rename, and are
        // never written again; wasmtime itself checks version, settings and processor. Who can write here all the same
        // can replace this program as well.
        match unsafe { Component::deserialize_file(wasm, &path) } {
            Ok(component) => Some(component),
            Err(problem) => {
                tracing::warn!(path = %path.display(), %problem, "compiled plugin unusable; compiling again");
                None
            }
        }
    }

    /// Keeps a plugin's bytes and its compiled code. Gives back the mapped code, whose pages the kernel can drop; where the disk
    /// fails, the code as it was given.
    pub(super) fn keep(
        &self,
        wasm: &wasmtime::Engine,
        digest: &Digest,
        bytes: &[u8],
        component: Component,
    ) -> Component {
        let kept = component.serialize().map_err(|e| io::Error::other(format!("{e:#}"))).and_then(|code| {
            self.write(&self.source(digest), bytes)?;
            self.write(&self.compiled(digest), &code)
        });
        match kept {
            Ok(()) => self.load(wasm, digest).unwrap_or(component),
            Err(problem) => {
                tracing::warn!(dir = %self.dir.display(), %problem, "compiled plugin not kept; the next start compiles again");
                component
            }
        }
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

    /// Takes over from another cache the bytes of the plugin with that digest, where they are there and whole.
    pub(super) fn take_over(&self, from: &Path, digest: &Digest) -> io::Result<()> {
        let there = Self { dir: from.to_owned(), configuration: String::new() };
        match there.bytes(digest)? {
            Some(bytes) => self.write(&self.source(digest), &bytes),
            None => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An empty component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_compiled_plugin_is_found_again_until_it_is_pruned() {
        let dir = tempfile::tempdir().expect("a directory");
        let wasm = wasmtime::Engine::default();
        let cache = Cache::open(&dir.path().join("compiled"), &wasm).expect("a cache");
        let digest = Digest::of(EMPTY);
        assert!(cache.load(&wasm, &digest).is_none());

        let component = Component::from_binary(&wasm, EMPTY).expect("a component");
        cache.keep(&wasm, &digest, EMPTY, component);
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
    fn other_settings_find_none_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let wasm = wasmtime::Engine::default();
        let digest = Digest::of(EMPTY);
        let cache = Cache::open(dir.path(), &wasm).expect("a cache");
        cache.keep(&wasm, &digest, EMPTY, Component::from_binary(&wasm, EMPTY).expect("a component"));

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

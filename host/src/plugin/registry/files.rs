//! The files of the plugins directory: which there are, whether they changed, and their bytes. Only regular files are
//! opened, no link is followed, and no more is read than is allowed. Leaves what the bytes mean to others.

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;

/// How the names of plugins end.
pub(super) const PLUGIN: &str = ".wasm";
/// How the names of policy files end.
pub(super) const POLICY: &str = ".toml";

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            bytes: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Plugins and policy files by name. Hidden files are passed over: editors and copies in progress use such names.
pub(super) fn list(dir: &Path) -> io::Result<BTreeMap<String, Stamp>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || !(name.ends_with(PLUGIN) || name.ends_with(POLICY)) {
            continue;
        }
        match entry.metadata() {
            Ok(meta) => found.insert(name, Stamp::of(&meta)),
            // Removed since it was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
    }
    Ok(found)
}

/// The bytes of a regular file of at most `max` bytes, or why there are none.
pub(crate) fn read(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    let unreadable = |e: io::Error| format!("it cannot be read: {e}");
    let named = fs::symlink_metadata(path).map_err(unreadable)?;
    if named.is_symlink() {
        return Err("it is a symbolic link, and links are not followed here: copy the file".to_owned());
    }
    if !named.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    // What it was may be something else by the time it is opened: a link is not followed, and a pipe is not waited for.
    let no_surprise = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(no_surprise).open(path).map_err(unreadable)?;
    let opened = file.metadata().map_err(unreadable)?;
    // Replaced, perhaps by a link, between the look and the opening: the next scan looks again.
    if !opened.is_file() || (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err("it was replaced while it was read".to_owned());
    }
    let too_large = |bytes: u64| format!("it has {bytes} bytes; the limit is {max}");
    let limit = u64::try_from(max).unwrap_or(u64::MAX);
    if opened.len() > limit {
        return Err(too_large(opened.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(opened.len()).unwrap_or(0) + 1);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > max {
        return Err(too_large(limit + 1));
    }
    Ok(bytes)
}

/// Tells `touched` of changes in `dir` while the watcher lives.
pub(super) fn listen(dir: &Path, touched: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the directory is itself an event of this kind.
        let is_change = !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
        if is_change {
            touched.notify_one();
        }
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

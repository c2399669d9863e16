//! `<store>.lock`: locked by the host that has the store open, and naming where that host's admin socket is, so that
//! commands find it. Leaves the store's own file to `schema`. Tested with the store's file and by whole hosts.

use super::schema::{cannot_open, open_private};
use crate::store::StoreError;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Takes the lock, which lasts as long as the returned file.
pub(super) fn lock_out_other_hosts(path: &Path) -> Result<File, StoreError> {
    let lock_path = lock_path(path);
    let lock = open_private(&lock_path).map_err(|source| cannot_open(&lock_path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.display().to_string() }),
        Err(TryLockError::Error(source)) => Err(cannot_open(&lock_path, source)),
    }
}

/// Names the admin socket of this host, which has the store at `path` open.
pub fn name_admin(path: &Path, socket: &Path) -> std::io::Result<()> {
    std::fs::write(lock_path(path), [socket.as_os_str().as_bytes(), b"\n"].concat())
}

/// The admin socket of the host that has the store at `path` open, where it is ready.
pub fn admin_of(path: &Path) -> Option<PathBuf> {
    let named = std::fs::read(lock_path(path)).ok()?;
    let socket = Path::new(OsStr::from_bytes(named.strip_suffix(b"\n")?));
    // Earlier releases named an address.
    socket.is_absolute().then(|| socket.to_owned())
}

/// Whether a host has the store at `path` open. Makes no file.
pub fn is_in_use(path: &Path) -> std::io::Result<bool> {
    let lock = match File::open(lock_path(path)) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    PathBuf::from(lock_path)
}

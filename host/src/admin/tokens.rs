//! The file of tokens, beside the store: `<store>.tokens`, 0600, the service's own. Commands change it whole, the running host
//! reads it again when it has changed. Leaves what is in it to `opsward_core::access`. Tested in `admin/tests/access.rs`.

use opsward_core::access::{ParseTokensError, TokenError, Tokens};
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Largest file read, in bytes: five times what as many tokens take as there may be.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The bits of a file's mode that let others than its owner read or write it.
const OPEN_TO_OTHERS: u32 = 0o077;
/// The superuser's id.
const ROOT: u32 = 0;

/// Why the tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// Not readable, not writable.
    #[error("cannot use `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// Others could have put their own token in.
    #[error(
        "`{path}` is open to others than its owner: look at it with `opsward token ls`, then `chmod 600` it"
    )]
    Mode {
        /// The file.
        path: PathBuf,
    },
    /// Not what the command writes.
    #[error("`{path}`: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        problem: ParseTokensError,
    },
    /// Not a change that can be made.
    #[error(transparent)]
    Change(#[from] TokenError),
}

/// Where the tokens of the host are whose store is at `store`.
pub fn path_of(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".tokens");
    path.into()
}

/// Reads all; none where there is no file.
pub fn read(path: &Path) -> Result<Tokens, TokensError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Tokens::default()),
        Err(source) => return Err(TokensError::Io { path: path.to_owned(), source }),
    };
    let unreadable = |source| TokensError::Io { path: path.to_owned(), source };
    if file.metadata().map_err(unreadable)?.mode() & OPEN_TO_OTHERS != 0 {
        return Err(TokensError::Mode { path: path.to_owned() });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Tokens::parse(&text).map_err(|problem| TokensError::Content { path: path.to_owned(), problem })
}

/// Makes a change and replaces the file whole, so that a reader sees all of it or nothing. Two changes at once are made one after
/// the other.
pub fn change<R>(
    path: &Path,
    make: impl FnOnce(&mut Tokens) -> Result<R, TokenError>,
) -> Result<R, TokensError> {
    let unwritable = |source| TokensError::Io { path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let held = File::open(directory).map_err(unwritable)?;
    held.lock().map_err(unwritable)?;
    let mut tokens = read(path)?;
    let made = make(&mut tokens)?;
    // A temporary file is its maker's alone from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(unwritable)?;
    file.write_all(tokens.to_toml().as_bytes()).map_err(unwritable)?;
    let (maker, owner) =
        (file.as_file().metadata().map_err(unwritable)?, held.metadata().map_err(unwritable)?);
    if maker.uid() == ROOT && owner.uid() != ROOT {
        // The service could not read root's.
        std::os::unix::fs::chown(file.path(), Some(owner.uid()), Some(owner.gid())).map_err(unwritable)?;
    }
    file.as_file().sync_all().map_err(unwritable)?;
    file.persist(path).map_err(|error| unwritable(error.error))?;
    held.sync_all().map_err(unwritable)?;
    Ok(made)
}

/// The tokens as they are in the file at each moment.
pub(super) struct Known {
    path: PathBuf,
    last: Mutex<Last>,
}

/// What was read last, and of which file.
#[derive(Default)]
struct Last {
    stamp: Option<Stamp>,
    tokens: Arc<Tokens>,
}

type Stamp = (u64, u64, i64, i64);

impl Known {
    pub(super) fn in_file(path: PathBuf) -> Self {
        Self { path, last: Mutex::default() }
    }

    /// All that are good. None where the file cannot be used: a token is not let in on a guess.
    pub(super) fn all(&self) -> Arc<Tokens> {
        let stamp = std::fs::metadata(&self.path).ok().as_ref().map(stamp);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.stamp != stamp {
            last.stamp = stamp;
            last.tokens = read(&self.path).map(Arc::new).unwrap_or_else(|problem| {
                tracing::error!(
                    problem = &problem as &dyn std::error::Error,
                    "no token is good until this is mended"
                );
                Arc::default()
            });
        }
        last.tokens.clone()
    }
}

/// Changes whenever the file does: it is replaced, never written in place, and `chmod` changes the last.
fn stamp(file: &Metadata) -> Stamp {
    (file.dev(), file.ino(), file.ctime(), file.ctime_nsec())
}

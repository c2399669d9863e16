//! Reads secrets from where the configuration says they are, once, at start. Leaves removing environment variables
//! afterwards to `service`, which runs before there are threads. Tested below.

use opsward_core::secret::{Secret, SecretRef};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest secret, in bytes: a session token has about 1,000.
pub const SECRET_BYTES_MAX: usize = 16 << 10;

/// Where systemd says the credentials are that it hands to the service.
const SYSTEMD_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// The bits of a file's mode that let others than its owner read it.
const READABLE_BY_OTHERS: u32 = 0o044;

/// Why a secret cannot be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum ReadSecretError {
    /// The variable is absent.
    #[error("environment variable `{0}` is not set: set it where the service runs")]
    NoVariable(String),
    /// Not started by systemd, or without any credential.
    #[error(
        "there is no systemd credential `{0}`: add `LoadCredential={0}:/path` to the unit and start the service with it"
    )]
    NoSystemd(String),
    /// A name that would leave the directory.
    #[error("`{0}` is not the name of a systemd credential")]
    SystemdName(String),
    /// Others may read it.
    #[error("{place} may be read by others than its owner: `chmod 600 {}`", path.display())]
    Mode {
        /// What it is.
        place: String,
        /// Which.
        path: PathBuf,
    },
    /// The variable or file holds nothing.
    #[error("{0} is empty")]
    Empty(String),
    /// Binary data is no secret's form.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// Not a secret's size.
    #[error("{0} is longer than {SECRET_BYTES_MAX} bytes")]
    TooLong(String),
    /// The file cannot be read.
    #[error("cannot read {place}")]
    File {
        /// Which.
        place: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Reads the secret. A relative file path starts at `base_dir`. Line breaks at the end are not part of a secret: editors
/// and `echo` add them.
///
/// # Errors
/// See [`ReadSecretError`]; an empty secret is one, since it would only fail later and less clearly.
pub fn resolve(reference: &SecretRef, base_dir: &Path) -> Result<Secret, ReadSecretError> {
    let (place, text) = match reference {
        SecretRef::Env(name) => {
            let place = format!("environment variable `{name}`");
            let value = std::env::var_os(name).ok_or_else(|| ReadSecretError::NoVariable(name.clone()))?;
            let text = value.into_string().map_err(|_| ReadSecretError::NotText(place.clone()))?;
            (place, Zeroizing::new(text))
        }
        SecretRef::File(path) => {
            let path = base_dir.join(path);
            let place = format!("secret file `{}`", path.display());
            let text = read_private(&path, &place)?;
            (place, text)
        }
        SecretRef::Systemd(name) => read_systemd(name)?,
    };
    let secret = text.trim_end_matches(['\r', '\n']);
    match secret.len() {
        0 => Err(ReadSecretError::Empty(place)),
        1..=SECRET_BYTES_MAX => Ok(Secret::new(secret.to_owned())),
        _ => Err(ReadSecretError::TooLong(place)),
    }
}

/// Reads what systemd hands over. Modes are systemd's: it gives the service's user access in several ways.
fn read_systemd(name: &str) -> Result<(String, Zeroizing<String>), ReadSecretError> {
    if name.contains('/') || name.starts_with('.') {
        return Err(ReadSecretError::SystemdName(name.to_owned()));
    }
    let directory =
        std::env::var_os(SYSTEMD_DIRECTORY).ok_or_else(|| ReadSecretError::NoSystemd(name.to_owned()))?;
    let path = Path::new(&directory).join(name);
    if !path.exists() {
        return Err(ReadSecretError::NoSystemd(name.to_owned()));
    }
    let place = format!("systemd credential `{name}`");
    let text = read_text(&path, &place, SECRET_BYTES_MAX)?;
    Ok((place, text))
}

/// Reads a file that nobody but its owner may read.
fn read_private(path: &Path, place: &str) -> Result<Zeroizing<String>, ReadSecretError> {
    refuse_readable_by_others(path, place)?;
    read_text(path, place, SECRET_BYTES_MAX)
}

/// Refuses a file that others than its owner may read.
pub(super) fn refuse_readable_by_others(path: &Path, place: &str) -> Result<(), ReadSecretError> {
    match is_readable_by_others(path) {
        Ok(false) => Ok(()),
        Ok(true) => Err(ReadSecretError::Mode { place: place.to_owned(), path: path.to_owned() }),
        Err(cause) => Err(ReadSecretError::File { place: place.to_owned(), cause }),
    }
}

/// Whether others than its owner may read the file.
pub fn is_readable_by_others(path: &Path) -> std::io::Result<bool> {
    Ok(std::fs::metadata(path)?.permissions().mode() & READABLE_BY_OTHERS != 0)
}

/// Reads a text of at most `bytes_max`, give or take a line break, and leaves no copy of it behind.
pub(super) fn read_text(
    path: &Path,
    place: &str,
    bytes_max: usize,
) -> Result<Zeroizing<String>, ReadSecretError> {
    let failed = |cause| ReadSecretError::File { place: place.to_owned(), cause };
    let file = std::fs::File::open(path).map_err(failed)?;
    // With room for all of it from the start, so that growing leaves no copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 3));
    file.take(bytes_max as u64 + 3).read_to_end(&mut bytes).map_err(failed)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(ReadSecretError::NotText(place.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_private(path: &Path, content: &[u8]) {
        std::fs::write(path, content).expect("write");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_what_to_type() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("key");
        write_private(&path, b"hunter2");
        for (mode, is_private) in
            [(0o400, true), (0o600, true), (0o610, true), (0o640, false), (0o604, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
            let read = resolve(&SecretRef::File("key".into()), folder.path());
            assert_eq!(read.is_ok(), is_private, "{mode:o}");
            if let Err(refused) = read {
                assert!(
                    refused.to_string().ends_with(&format!("`chmod 600 {}`", path.display())),
                    "{refused}"
                );
            }
        }
    }

    #[test]
    fn a_systemd_credential_is_one_of_its_directory() {
        for (name, expected) in [
            ("../key", "`../key` is not the name of a systemd credential"),
            ("key", "there is no systemd credential `key`"),
        ] {
            let refused = resolve(&SecretRef::Systemd(name.into()), Path::new("/")).expect_err(name);
            assert!(refused.to_string().starts_with(expected), "{refused}");
        }
    }

    #[test]
    fn a_secret_file_is_read_from_the_configurations_folder_without_its_line_break() {
        let folder = tempfile::tempdir().expect("folder");
        write_private(&folder.path().join("key"), b"hunter2\r\n");
        let secret = resolve(&SecretRef::File("key".into()), folder.path()).expect("readable");
        assert!(secret.matches("hunter2"));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().expect("folder");
        let long = "x".repeat(SECRET_BYTES_MAX + 1);
        for (name, content) in
            [("empty", b"\n".as_slice()), ("binary", b"hunter\xff2"), ("long", long.as_bytes())]
        {
            write_private(&folder.path().join(name), content);
            let error = resolve(&SecretRef::File(name.into()), folder.path()).expect_err(name);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(name) && !shown.contains("hunter") && !shown.contains("xxx"), "{shown}");
        }
        let missing = resolve(&SecretRef::File("missing".into()), folder.path()).expect_err("missing");
        assert!(matches!(missing, ReadSecretError::File { .. }));
        let unset = resolve(&SecretRef::Env("OPSWARD_TEST_UNSET".into()), folder.path()).expect_err("unset");
        assert_eq!(
            unset.to_string(),
            "environment variable `OPSWARD_TEST_UNSET` is not set: set it where the service runs"
        );
    }

    #[test]
    fn a_variable_holds_a_secret() {
        let path = std::env::var("PATH").expect("PATH");
        let secret = resolve(&SecretRef::Env("PATH".into()), Path::new("/")).expect("set");
        assert!(secret.matches(&path));
    }
}

//! Reads secrets from where the configuration says they are, once, at start. Leaves removing environment variables
//! afterwards to `service`, which runs before there are threads. Tested below.

use opsward_core::secret::{Secret, SecretRef};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest secret, in bytes: a session token has about 1,000.
pub const SECRET_BYTES_MAX: usize = 16 << 10;

/// Why a secret cannot be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The variable is absent.
    #[error("environment variable `{0}` is not set")]
    NoVariable(String),
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
    #[error("cannot read secret file `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

/// Reads the secret. A relative file path starts at `base_dir`. Line breaks at the end are not part of a secret: editors
/// and `echo` add them.
///
/// # Errors
/// See [`CredentialError`]; an empty secret is one, since it would only fail later and less clearly.
pub fn resolve(reference: &SecretRef, base_dir: &Path) -> Result<Secret, CredentialError> {
    let (place, text) = match reference {
        SecretRef::Env(name) => {
            let place = format!("environment variable `{name}`");
            let value = std::env::var_os(name).ok_or_else(|| CredentialError::NoVariable(name.clone()))?;
            let text = value.into_string().map_err(|_| CredentialError::NotText(place.clone()))?;
            (place, Zeroizing::new(text))
        }
        SecretRef::File(path) => read_file(&base_dir.join(path))?,
    };
    let secret = text.trim_end_matches(['\r', '\n']);
    match secret.len() {
        0 => Err(CredentialError::Empty(place)),
        1..=SECRET_BYTES_MAX => Ok(Secret::new(secret.to_owned())),
        _ => Err(CredentialError::TooLong(place)),
    }
}

fn read_file(path: &Path) -> Result<(String, Zeroizing<String>), CredentialError> {
    let failed = |cause| CredentialError::File { path: path.to_owned(), cause };
    let place = format!("secret file `{}`", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    // With room for all of it from the start, so that growing leaves no copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 3));
    file.take(SECRET_BYTES_MAX as u64 + 3).read_to_end(&mut bytes).map_err(failed)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok((place, Zeroizing::new(text.to_owned()))),
        Err(_) => Err(CredentialError::NotText(place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_read_from_the_configurations_folder_without_its_line_break() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("key"), "hunter2\r\n").expect("write");
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
            std::fs::write(folder.path().join(name), content).expect("write");
            let error = resolve(&SecretRef::File(name.into()), folder.path()).expect_err(name);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(name) && !shown.contains("hunter") && !shown.contains("xxx"), "{shown}");
        }
        let missing = resolve(&SecretRef::File("missing".into()), folder.path()).expect_err("missing");
        assert!(matches!(missing, CredentialError::File { .. }));
        let unset = resolve(&SecretRef::Env("OPSWARD_TEST_UNSET".into()), folder.path()).expect_err("unset");
        assert_eq!(unset.to_string(), "environment variable `OPSWARD_TEST_UNSET` is not set");
    }

    #[test]
    fn a_variable_holds_a_secret() {
        let path = std::env::var("PATH").expect("PATH");
        let secret = resolve(&SecretRef::Env("PATH".into()), Path::new("/")).expect("set");
        assert!(secret.matches(&path));
    }
}

//! Reads profiles of the vendors' command lines, anew each time: the command line may have logged in again. Leaves what a
//! profile says to `opsward_core::credential::profile`. Tested by `tests/tests/it/credentials.rs`.

use super::FetchError;
use super::keys::{read_text, refuse_readable_by_others};
use opsward_core::catalog::Provider;
use opsward_core::credential::{CredentialSource, Issued, profile};
use std::path::PathBuf;

/// Longest file read, in bytes: a hundred profiles with their tokens.
const PROFILES_BYTES_MAX: usize = 256 << 10;

/// What the profile says.
pub(super) fn read(provider: Provider, name: &str) -> Result<CredentialSource<Issued>, FetchError> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or(FetchError::NoHome)?;
    let path = match provider {
        Provider::Alibaba => PathBuf::from(home).join(".aliyun/config.json"),
        Provider::Tencent => PathBuf::from(home).join(format!(".tccli/{name}.credential")),
    };
    let place = format!("profile file `{}`", path.display());
    refuse_readable_by_others(&path, &place)?;
    let text = read_text(&path, &place, PROFILES_BYTES_MAX)?;
    let understood = match provider {
        Provider::Alibaba => profile::aliyun(text.as_bytes(), name),
        Provider::Tencent => profile::tccli(text.as_bytes(), name),
    };
    understood.map_err(|cause| FetchError::Profile { place, cause })
}

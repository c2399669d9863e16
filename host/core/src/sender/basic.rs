//! BasicAuth: user and secret in the `authorization` header (RFC 7617). Tested in `super::tests`.

use super::{Delivered, Unproved};
use crate::secret::Secret;
use crate::sign::keyed_hash::{from_base64, same, sha256_hex};

pub(super) const AUTHORIZATION: &str = "authorization";

pub(super) fn check(user: &str, secret: &Secret, delivered: &Delivered<'_>) -> Result<(), Unproved> {
    let malformed = || Unproved::Missing(AUTHORIZATION.to_owned());
    let (scheme, given) = delivered.header(AUTHORIZATION)?.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let given = from_base64(given).ok_or_else(malformed)?;
    let wanted = format!("{user}:{}", secret.expose());
    // By digest, so that not even the length shows in the time.
    let fits = same(&sha256_hex(&given), &sha256_hex(wanted.as_bytes()));
    if fits { Ok(()) } else { Err(Unproved::WrongSecret) }
}

//! The way to the clouds: accounts with their credentials, and the client that makes one attempt of one call. Nothing of
//! a credential leaves this module but signatures. Leaves repeating, and whether to call at all, to `broker`.

mod certificates;
mod client;
mod credentials;
mod egress;
mod pull;
mod sender;
mod wire;

pub use certificates::{CertificateError, Certificates};
pub use client::{Account, BuildClientError, CloudClient, TIMEOUT_DEFAULT, install_tls};
pub use credentials::{
    FetchError, NoCredential, ReadSecretError, SECRET_BYTES_MAX, is_readable_by_others, resolve, try_profile,
};
pub(crate) use egress::to_own_host;
pub use pull::{Pull, Pulled};

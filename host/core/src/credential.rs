//! Where the credential of an account comes from, and what was issued. `refresh` decides when to fetch, `profile` reads the
//! files of the vendors' command lines, `sts` writes requests for roles and reads what is issued, `session`
//! narrows a role for one policy. Leaves reading files,
//! asking the network and the clock to the host. Tested in these files.

pub mod profile;
pub mod refresh;
pub mod session;
pub mod sts;

use crate::config::CredentialRefs;
use crate::secret::{Credential, SecretRef};
use crate::time::Timestamp;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most roles assumed one after the other; vendors' examples have two.
pub const CHAIN_MAX: usize = 5;
/// How long a role's credential lasts where nobody says: Alibaba's own default, which every role allows.
pub const DURATION_DEFAULT: Duration = Duration::from_secs(3600);
/// The session's name where nobody says: it stands in the cloud's own records of who did what.
pub const SESSION_NAME_DEFAULT: &str = "opsward";

/// Where a credential comes from. `K` is what is known of keys: where they are, or the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource<K> {
    /// Keys that somebody made.
    Keys(K),
    /// A profile of the vendor's command line, by name.
    Profile(String),
    /// The role of the machine, from its metadata service; its only role where no name is given.
    InstanceRole(Option<String>),
    /// A role that another credential may take on.
    AssumeRole(Box<AssumeRole<K>>),
    /// A role that the bearer of a token may take on.
    Oidc(Oidc),
}

/// A role, and who takes it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumeRole<K> {
    /// The role.
    pub role: RoleSession,
    /// Who.
    pub from: CredentialSource<K>,
}

/// A role as the token service is asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSession {
    /// Alibaba `acs:ram::<account>:role/<name>`, Tencent `qcs::cam::uin/<account>:roleName/<name>`.
    pub arn: String,
    /// What the cloud's own records call this.
    pub session_name: String,
    /// What the owner of another account asks for; no secret.
    pub external_id: Option<String>,
    /// How long it is to last.
    pub duration: Duration,
    /// Whether each policy takes it on by itself, in a session that may do no more than the policy.
    pub is_narrowed: bool,
}

/// A role for the bearer of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// The role.
    pub role: RoleSession,
    /// Alibaba the identity provider's ARN, Tencent its id.
    pub provider: String,
    /// Where the token is; read anew each time, since others renew it.
    pub token_file: PathBuf,
}

/// A credential as it was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// What signs.
    pub credential: Credential,
    /// When it lapses; keys that somebody made do not.
    pub expires: Option<Timestamp>,
}

impl<K> CredentialSource<K> {
    /// What the chain of roles begins with.
    pub fn beginning(&self) -> &Self {
        match self {
            Self::AssumeRole(assumed) => assumed.from.beginning(),
            other => other,
        }
    }

    /// Whether each policy has a session of its own.
    pub fn is_narrowed(&self) -> bool {
        match self {
            Self::AssumeRole(assumed) => assumed.role.is_narrowed,
            Self::Oidc(oidc) => oidc.role.is_narrowed,
            Self::Keys(_) | Self::Profile(_) | Self::InstanceRole(_) => false,
        }
    }

    /// The keys that the chain begins with.
    pub fn keys(&self) -> Option<&K> {
        if let Self::Keys(keys) = self.beginning() { Some(keys) } else { None }
    }

    /// The same with paths that begin at `directory` where they are relative.
    pub fn with_paths_from(mut self, directory: &Path) -> Self {
        let mut source = &mut self;
        loop {
            match source {
                Self::AssumeRole(assumed) => source = &mut assumed.from,
                Self::Oidc(oidc) => {
                    oidc.token_file = directory.join(&oidc.token_file);
                    return self;
                }
                Self::Keys(_) | Self::Profile(_) | Self::InstanceRole(_) => return self,
            }
        }
    }

    /// The same with other keys.
    ///
    /// # Errors
    /// Those of `other`.
    pub fn with_keys<J, E>(&self, other: impl FnOnce(&K) -> Result<J, E>) -> Result<CredentialSource<J>, E> {
        Ok(match self {
            Self::Keys(keys) => CredentialSource::Keys(other(keys)?),
            Self::Profile(name) => CredentialSource::Profile(name.clone()),
            Self::InstanceRole(name) => CredentialSource::InstanceRole(name.clone()),
            Self::AssumeRole(assumed) => {
                let from = assumed.from.with_keys(other)?;
                CredentialSource::AssumeRole(Box::new(AssumeRole { role: assumed.role.clone(), from }))
            }
            Self::Oidc(oidc) => CredentialSource::Oidc(oidc.clone()),
        })
    }
}

/// Where it comes from, in the words of the operator's file.
impl fmt::Display for CredentialSource<CredentialRefs> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(refs) => match &refs.key_secret {
                SecretRef::Env(name) => write!(f, "env {name}"),
                SecretRef::File(path) => write!(f, "file {path}"),
                SecretRef::Systemd(name) => write!(f, "systemd {name}"),
            },
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::InstanceRole(Some(name)) => write!(f, "instance role {name}"),
            Self::InstanceRole(None) => f.write_str("instance role"),
            Self::AssumeRole(assumed) => write!(f, "role {} by {}", name_of(&assumed.role.arn), assumed.from),
            Self::Oidc(oidc) => write!(f, "role {} by token", name_of(&oidc.role.arn)),
        }
    }
}

/// A role's name at the end of its ARN.
fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

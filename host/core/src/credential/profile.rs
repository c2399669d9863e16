//! The files in which the vendors' command lines keep profiles: Alibaba `~/.aliyun/config.json`, Tencent
//! `~/.tccli/<profile>.credential`. Leaves reading them to the host. Shows nothing of a file but names. Tested below.
//!
//! Source: FACTS 9 (aliyun-cli `config/profile.go`) and 10 (tencentcloud-cli README).

use super::{
    AssumeRole, CHAIN_MAX, CredentialSource, DURATION_DEFAULT, Issued, Oidc, RoleSession,
    SESSION_NAME_DEFAULT,
};
use crate::secret::{Credential, Secret};
use crate::time::Timestamp;
use serde::Deserialize;
use std::time::Duration;

/// Why a profile cannot be used. Shows nothing of the file but names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not the file that the command line writes.
    #[error("line {0} is not what the command line writes")]
    Form(usize),
    /// No such profile.
    #[error("it has no profile `{name}`; it has: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A key that the mode needs.
    #[error("profile `{name}` of mode {mode} has no `{key}`: configure it anew")]
    Missing {
        /// Which profile.
        name: String,
        /// Its mode.
        mode: String,
        /// What is missing.
        key: &'static str,
    },
    /// A mode that a host does not carry out.
    #[error(
        "profile `{name}` has mode {mode}, which {why}; use one of AK, StsToken, RamRoleArn, EcsRamRole, ChainableRamRoleArn, OIDC"
    )]
    Mode {
        /// Which profile.
        name: String,
        /// Its mode.
        mode: String,
        /// Why not.
        why: &'static str,
    },
    /// Profiles name each other as sources in a circle, or nearly so.
    #[error("profile `{0}` names a source, which names a source ..., more than {CHAIN_MAX} times")]
    Chain(String),
}

/// The file of Alibaba's command line.
#[derive(Deserialize)]
struct AliyunFile {
    #[serde(default)]
    profiles: Vec<AliyunProfile>,
}

/// Of its many keys those that credentials need.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct AliyunProfile {
    name: String,
    mode: String,
    access_key_id: String,
    access_key_secret: Option<Secret>,
    sts_token: Option<Secret>,
    /// Seconds since 1970.
    sts_expiration: i64,
    ram_role_name: String,
    ram_role_arn: String,
    /// The command line's name of it.
    ram_session_name: String,
    /// The Python library's name of it.
    role_session_name: String,
    external_id: String,
    source_profile: String,
    expired_seconds: u64,
    oidc_provider_arn: String,
    oidc_token_file: String,
}

/// The file of Tencent's command line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TccliFile {
    secret_id: Option<String>,
    secret_key: Option<Secret>,
    token: Option<Secret>,
}

/// Reads a profile of `~/.aliyun/config.json`.
pub fn aliyun(text: &[u8], name: &str) -> Result<CredentialSource<Issued>, ProfileError> {
    let file: AliyunFile = serde_json::from_slice(text).map_err(|error| ProfileError::Form(error.line()))?;
    aliyun_source(&file, name, CHAIN_MAX)
}

/// Reads `~/.tccli/<name>.credential`.
pub fn tccli(text: &[u8], name: &str) -> Result<CredentialSource<Issued>, ProfileError> {
    let file: TccliFile = serde_json::from_slice(text).map_err(|error| ProfileError::Form(error.line()))?;
    let missing = |key| ProfileError::Missing { name: name.to_owned(), mode: "keys".to_owned(), key };
    let credential = Credential {
        key_id: file.secret_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("secretId"))?,
        key_secret: filled(&file.secret_key).ok_or_else(|| missing("secretKey"))?,
        session_token: filled(&file.token),
    };
    Ok(CredentialSource::Keys(Issued { credential, expires: None }))
}

fn aliyun_source(
    file: &AliyunFile,
    name: &str,
    depth: usize,
) -> Result<CredentialSource<Issued>, ProfileError> {
    let Some(profile) = file.profiles.iter().find(|profile| profile.name == name) else {
        let known: Vec<&str> = file.profiles.iter().map(|profile| profile.name.as_str()).collect();
        return Err(ProfileError::Unknown { name: name.to_owned(), known: known.join(", ") });
    };
    let refused = |why| ProfileError::Mode { name: name.to_owned(), mode: profile.mode.clone(), why };
    // The command line compares modes without regard to case.
    Ok(match profile.mode.to_ascii_lowercase().as_str() {
        "ak" => CredentialSource::Keys(profile.keys(None)?),
        "ststoken" => CredentialSource::Keys(profile.keys(Some(profile.token()?))?),
        "cloudsso" | "oauth" => {
            // The command line has logged in, and keeps what it was given.
            let keys = profile.keys(Some(profile.token()?))?;
            let expires =
                (profile.sts_expiration > 0).then(|| Timestamp::from_seconds(profile.sts_expiration));
            CredentialSource::Keys(Issued { expires, ..keys })
        }
        "ramrolearn" => {
            let from = CredentialSource::Keys(profile.keys(filled(&profile.sts_token))?);
            CredentialSource::AssumeRole(Box::new(AssumeRole { role: profile.role()?, from }))
        }
        "chainableramrolearn" => {
            let source = profile.needed("source_profile", &profile.source_profile)?;
            let depth = depth.checked_sub(1).ok_or_else(|| ProfileError::Chain(name.to_owned()))?;
            let from = aliyun_source(file, source, depth)?;
            CredentialSource::AssumeRole(Box::new(AssumeRole { role: profile.role()?, from }))
        }
        "ecsramrole" => {
            let name = &profile.ram_role_name;
            CredentialSource::InstanceRole((!name.is_empty()).then(|| name.clone()))
        }
        "oidc" => CredentialSource::Oidc(Oidc {
            role: profile.role()?,
            provider: profile.needed("oidc_provider_arn", &profile.oidc_provider_arn)?.to_owned(),
            token_file: profile.needed("oidc_token_file", &profile.oidc_token_file)?.into(),
        }),
        "external" => return Err(refused("runs a command that the file names")),
        "credentialsuri" => return Err(refused("asks an address that the file names")),
        "ramrolearnwithrolename" | "rsakeypair" => return Err(refused("is deprecated by the vendor")),
        _ => return Err(refused("has no key that signs")),
    })
}

impl AliyunProfile {
    fn needed<'a>(&self, key: &'static str, value: &'a str) -> Result<&'a str, ProfileError> {
        if value.is_empty() { Err(self.missing(key)) } else { Ok(value) }
    }

    fn missing(&self, key: &'static str) -> ProfileError {
        ProfileError::Missing { name: self.name.clone(), mode: self.mode.clone(), key }
    }

    fn token(&self) -> Result<Secret, ProfileError> {
        filled(&self.sts_token).ok_or_else(|| self.missing("sts_token"))
    }

    fn keys(&self, session_token: Option<Secret>) -> Result<Issued, ProfileError> {
        let key_id = self.needed("access_key_id", &self.access_key_id)?.to_owned();
        let key_secret = filled(&self.access_key_secret).ok_or_else(|| self.missing("access_key_secret"))?;
        Ok(Issued { credential: Credential { key_id, key_secret, session_token }, expires: None })
    }

    fn role(&self) -> Result<RoleSession, ProfileError> {
        let names = [&self.ram_session_name, &self.role_session_name];
        let session_name = names.into_iter().find(|name| !name.is_empty());
        Ok(RoleSession {
            is_narrowed: false,
            arn: self.needed("ram_role_arn", &self.ram_role_arn)?.to_owned(),
            session_name: session_name.map_or_else(|| SESSION_NAME_DEFAULT.to_owned(), String::clone),
            external_id: (!self.external_id.is_empty()).then(|| self.external_id.clone()),
            duration: match self.expired_seconds {
                0 => DURATION_DEFAULT,
                seconds => Duration::from_secs(seconds),
            },
        })
    }
}

fn filled(secret: &Option<Secret>) -> Option<Secret> {
    secret.as_ref().filter(|secret| !secret.expose().is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"current":"ak","meta_path":"","profiles":[
{"name":"ak","mode":"AK","access_key_id":"LTAI1","access_key_secret":"hunter2","sts_token":"","region_id":"cn-hangzhou","retry_count":0},
{"name":"sts","mode":"StsToken","access_key_id":"STS.1","access_key_secret":"hunter2","sts_token":"hunter3"},
{"name":"role","mode":"RamRoleArn","access_key_id":"LTAI1","access_key_secret":"hunter2","ram_role_arn":"acs:ram::1:role/ops","ram_session_name":"s1","expired_seconds":900,"external_id":"x"},
{"name":"chain","mode":"ChainableRamRoleArn","source_profile":"role","ram_role_arn":"acs:ram::2:role/far"},
{"name":"ecs","mode":"ecsramrole","ram_role_name":"host"},
{"name":"any","mode":"EcsRamRole"},
{"name":"oidc","mode":"OIDC","oidc_provider_arn":"acs:ram::1:oidc-provider/k","oidc_token_file":"/t","ram_role_arn":"acs:ram::1:role/pod","role_session_name":"s2"},
{"name":"sso","mode":"CloudSSO","access_key_id":"STS.2","access_key_secret":"hunter2","sts_token":"hunter3","sts_expiration":1543914376},
{"name":"ext","mode":"External","process_command":"cat /hunter2"},
{"name":"uri","mode":"CredentialsURI","credentials_uri":"http://hunter2"},
{"name":"bearer","mode":"BearerToken","bearer_token":"hunter2"},
{"name":"empty","mode":"AK","access_key_id":"LTAI1","access_key_secret":""},
{"name":"loop","mode":"ChainableRamRoleArn","source_profile":"loop","ram_role_arn":"acs:ram::2:role/far"}
]}"#;

    /// A source in short.
    fn brief(source: &CredentialSource<Issued>) -> String {
        match source {
            CredentialSource::Keys(issued) => {
                let token = issued.credential.session_token.as_ref().map_or("", |_| "+token");
                let ends = issued.expires.map_or(String::new(), |at| format!(" until {}", at.seconds()));
                format!("{}{token}{ends}", issued.credential.key_id)
            }
            CredentialSource::Profile(name) => name.clone(),
            CredentialSource::InstanceRole(name) => format!("machine's {name:?}"),
            CredentialSource::AssumeRole(assumed) => {
                let AssumeRole { role, from } = &**assumed;
                let seconds = role.duration.as_secs();
                format!(
                    "{} as {} {seconds}s {:?} by {}",
                    role.arn,
                    role.session_name,
                    role.external_id,
                    brief(from)
                )
            }
            CredentialSource::Oidc(oidc) => {
                format!("{} as {} for {:?}", oidc.role.arn, oidc.role.session_name, oidc.token_file)
            }
        }
    }

    #[test]
    fn each_mode_of_the_command_line_is_understood_or_refused_with_the_reason() {
        let table = [
            ("ak", "LTAI1"),
            ("sts", "STS.1+token"),
            ("role", "acs:ram::1:role/ops as s1 900s Some(\"x\") by LTAI1"),
            (
                "chain",
                "acs:ram::2:role/far as opsward 3600s None by acs:ram::1:role/ops as s1 900s Some(\"x\") by LTAI1",
            ),
            ("ecs", "machine's Some(\"host\")"),
            ("any", "machine's None"),
            ("oidc", "acs:ram::1:role/pod as s2 for \"/t\""),
            ("sso", "STS.2+token until 1543914376"),
        ];
        for (name, expected) in table {
            let source = aliyun(FILE.as_bytes(), name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(brief(&source), expected, "{name}");
        }
        let refused = [
            ("ext", "mode External, which runs a command"),
            ("uri", "mode CredentialsURI, which asks an address"),
            ("bearer", "mode BearerToken, which has no key that signs"),
            ("empty", "profile `empty` of mode AK has no `access_key_secret`"),
            ("loop", "profile `loop` names a source"),
            ("none", "it has no profile `none`; it has: ak, sts, role"),
        ];
        for (name, expected) in refused {
            let error = aliyun(FILE.as_bytes(), name).expect_err(name).to_string();
            assert!(error.contains(expected) && !error.contains("hunter"), "{name}: {error}");
        }
        let broken = "{\n\"profiles\": [{\"name\": \"ak\", \"access_key_secret\": {\"hunter2\": 1}}]}";
        let error = aliyun(broken.as_bytes(), "ak").expect_err("broken").to_string();
        assert_eq!(error, "line 2 is not what the command line writes");
    }

    #[test]
    fn a_profile_of_tencents_command_line_is_a_key_with_or_without_a_token() {
        let table = [
            (r#"{"secretId":"AKID1","secretKey":"hunter2","token":null}"#, "AKID1"),
            (r#"{"secretId":"AKID1","secretKey":"hunter2","token":""}"#, "AKID1"),
            (r#"{"secretId":"AKID1","secretKey":"hunter2","token":"hunter3"}"#, "AKID1+token"),
        ];
        for (text, expected) in table {
            assert_eq!(brief(&tccli(text.as_bytes(), "default").expect(text)), expected);
        }
        let error = tccli(br#"{"secretId":"AKID1"}"#, "p").expect_err("no key").to_string();
        assert_eq!(error, "profile `p` of mode keys has no `secretKey`: configure it anew");
    }
}

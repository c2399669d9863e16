//! From bytes to a revision: look at the first bytes, compile or map, check what it imports and exports, and have it
//! describe itself within the bounds of a run. Whatever is wrong is refused with its reason and what to do about it.
//! Leaves finding files to `registry`. Tested by the hostile guests in `tests/` and the table below.

use super::bindings::exports::opsward::policy::handler;
use super::bindings::{Policy, PolicyPre};
use super::engine::{Description, Engine, Permission, Revision};
use super::guest::Guest;
use super::{Ended, GuestCalls, RunContext, wasi};
use opsward_core::id::{Digest, InvalidName, PolicyName, RunId};
use opsward_core::pattern::Patterns;
use opsward_core::run::{FaultKind, HostReply, HostRequest, Mode, Stop};
use opsward_core::time::Timestamp;
use std::collections::HashSet;
use std::io;
use wasmtime::component::Component;

/// The interface a plugin exports, up to its patch version.
const HANDLER: &str = "opsward:policy/handler@0.1.";
/// The interfaces a plugin may import beside WASI, up to their patch version.
const INTERFACES: &[&str] = &["events", "cloud", "context", "clock", "log", "state"];
/// First bytes of any WebAssembly, of a core module, and of a component.
const MAGIC: &[u8] = b"\0asm";
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// What is kept of the log of a failed self-test, in lines.
const SELF_TEST_LINES_MAX: usize = 5;

/// Why a plugin was refused, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RefusedPlugin {
    /// Larger than the limit.
    #[error("it has {bytes} bytes; the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not WebAssembly.
    #[error(
        "it is not WebAssembly: a plugin is a component built for the `policy` world of `opsward:policy`"
    )]
    NotWasm,
    /// WebAssembly, but no component.
    #[error(
        "it is a core module, not a component: build it with the linker `wasm-component-ld`, or turn it into a \
         component with `wasm-tools component new`"
    )]
    CoreModule,
    /// A later or earlier binary format.
    #[error(
        "its binary format is not that of components as this release knows them: rebuild it with a current toolchain"
    )]
    OtherFormat,
    /// wasmtime does not take it.
    #[error("it is damaged or uses features this host does not have: {problem}")]
    Malformed {
        /// What wasmtime says.
        problem: String,
    },
    /// Compiling it takes more memory than it may.
    #[error(
        "compiling it needs more than {mebibytes} MiB of memory, which is the limit: split its largest functions, or build \
         it with `opt-level = \"s\"`"
    )]
    CompilingTooLarge {
        /// The limit.
        mebibytes: u64,
    },
    /// Compiling it takes more computing time than it may.
    #[error(
        "compiling it takes more than {seconds} s of computing, which is the limit: split its largest functions, or build it \
         with `opt-level = \"s\"`"
    )]
    CompilingTooLong {
        /// The limit.
        seconds: u64,
    },
    /// Compiling it did not end in time.
    #[error(
        "compiling it was given up after {seconds} s: where this machine was busy, restart the host to have it tried again"
    )]
    CompilerLate {
        /// The limit.
        seconds: u64,
    },
    /// Its code is larger than it may be.
    #[error(
        "its compiled code has more than {mebibytes} MiB, which is the limit: build it with `opt-level = \"s\"`"
    )]
    CodeTooLarge {
        /// The limit.
        mebibytes: u64,
    },
    /// The compiler died.
    #[error(
        "the compiler died of it ({how}): build it with another release of its toolchain, and report it as a fault of opsward"
    )]
    CompilerCrashed {
        /// How, and what it said.
        how: String,
    },
    /// It asks for something that is not offered.
    #[error("it imports `{import}`, which is not granted to plugins: {advice}")]
    Import {
        /// The import.
        import: String,
        /// What to do.
        advice: &'static str,
    },
    /// It is made for another world.
    #[error(
        "it does not export `opsward:policy/handler@0.1` but {exports}: build it for the `policy` world, with the \
         `opsward-policy` crate or from `wit/policy.wit`"
    )]
    NoHandler {
        /// What it exports.
        exports: String,
    },
    /// Names fit, types do not.
    #[error("its interface does not fit: {problem}; rebuild it against this release's `wit/policy.wit`")]
    Mismatch {
        /// What wasmtime says.
        problem: String,
    },
    /// `describe` did not return.
    #[error("its self-test failed: `describe` ended with: {problem}")]
    SelfTest {
        /// The fault, and what it logged.
        problem: String,
    },
    /// `describe` returned something unusable.
    #[error("its description is unusable: {problem}")]
    Description {
        /// What, and what to write instead.
        problem: String,
    },
    /// The host could not do its part.
    #[error("it could not be compiled: {problem}")]
    Host {
        /// Why.
        problem: String,
    },
}

impl Engine {
    /// Makes a revision of a plugin's bytes. Compiles in another process, one plugin at a time.
    pub async fn compile(&self, bytes: Vec<u8>) -> Result<Revision, RefusedPlugin> {
        check_bytes(&bytes, self.limits().plugin_bytes)?;
        let one_at_a_time = self.compiling().acquire().await;
        let host = |problem: String| RefusedPlugin::Host { problem };
        let _permit = one_at_a_time.map_err(|e| host(e.to_string()))?;
        let engine = self.clone();
        let prepared = tokio::task::spawn_blocking(move || engine.prepare(&bytes)).await;
        let (digest, imports, pre) = prepared.map_err(|e| host(e.to_string()))??;
        let description = self.describe(&pre).await?;
        Ok(Revision { digest, description, imports, pre })
    }

    /// The revision with that digest as it was kept when it was compiled first; `None` where it was not, or is not
    /// whole.
    pub async fn load_pinned(&self, digest: Digest) -> Result<Option<Revision>, RefusedPlugin> {
        let engine = self.clone();
        let bytes = tokio::task::spawn_blocking(move || engine.cache().bytes(&digest)).await;
        match bytes.map_err(io::Error::other) {
            Ok(Ok(Some(bytes))) => self.compile(bytes).await.map(Some),
            Ok(Ok(None)) => Ok(None),
            Ok(Err(e)) | Err(e) => Err(RefusedPlugin::Host { problem: e.to_string() }),
        }
    }

    /// Removes from the cache what belongs to none of `keep`. Gives the number of files removed.
    pub fn prune_cache(&self, keep: &HashSet<Digest>) -> io::Result<usize> {
        self.cache().prune(keep)
    }

    fn prepare(&self, bytes: &[u8]) -> Result<(Digest, Vec<String>, PolicyPre<Guest>), RefusedPlugin> {
        let digest = Digest::of(bytes);
        let component = match self.cache().load(self.wasm(), &digest) {
            Some(component) => component,
            None => {
                let code = self.compile_code(bytes)?;
                let kept = self.cache().keep(self.wasm(), &digest, bytes, &code);
                kept.map_err(|e| RefusedPlugin::Host { problem: format!("{e:#}") })?
            }
        };
        check_exports(self.wasm(), &component)?;
        let imports: Vec<String> =
            component.component_type().imports(self.wasm()).map(|(name, _)| name.to_owned()).collect();
        imports.iter().try_for_each(|import| check_import(import))?;
        let mismatch = |e: wasmtime::Error| RefusedPlugin::Mismatch { problem: format!("{e:#}") };
        let pre = self.linker().instantiate_pre(&component).map_err(mismatch)?;
        Ok((digest, imports, PolicyPre::new(pre).map_err(mismatch)?))
    }

    async fn describe(&self, pre: &PolicyPre<Guest>) -> Result<Description, RefusedPlugin> {
        let name = |e: InvalidName| RefusedPlugin::Host { problem: e.to_string() };
        let context = RunContext {
            run: RunId::from_text("describe"),
            policy: "describe".parse::<PolicyName>().map_err(name)?,
            attempt: 1,
            mode: Mode::DryRun,
            config: "{}".into(),
        };
        let mut store = self.store(SelfTest::default(), context);
        let described = async {
            let policy: Policy = pre.instantiate_async(&mut store).await?;
            policy.opsward_policy_handler().call_describe(&mut store).await
        }
        .await;
        match described {
            Ok(description) => check_description(description),
            Err(error) => {
                let ended = store.data_mut().name_end(&error, FaultKind::Instantiate);
                let log = store.into_data().into_calls::<SelfTest>().lines;
                Err(RefusedPlugin::SelfTest { problem: explain(&ended, &log) })
            }
        }
    }
}

/// The broker's side of a self-test: `describe` must not depend on any import.
#[derive(Default)]
struct SelfTest {
    lines: Vec<String>,
}

impl GuestCalls for SelfTest {
    async fn perform(&mut self, request: HostRequest) -> Result<HostReply, Stop> {
        match request {
            HostRequest::Log { message, .. } => {
                if self.lines.len() < SELF_TEST_LINES_MAX {
                    self.lines.push(message);
                }
                Ok(HostReply::Unit)
            }
            _ => Err(Stop::Abandoned { reason: "`describe` must not call the host".to_owned() }),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_ms(0)
    }
}

fn explain(ended: &Ended, log: &[String]) -> String {
    let end = match ended {
        Ended::Faulted(fault) => fault.message.clone(),
        Ended::Stopped(Stop::Abandoned { reason }) => reason.clone(),
        other => format!("{other:?}"),
    };
    let mut parts = vec![end];
    parts.extend_from_slice(log);
    parts.join("; ")
}

fn check_bytes(bytes: &[u8], max: usize) -> Result<(), RefusedPlugin> {
    if bytes.len() > max {
        return Err(RefusedPlugin::TooLarge { bytes: bytes.len(), max });
    }
    match bytes.get(..COMPONENT.len()) {
        Some(head) if head == COMPONENT => Ok(()),
        Some(head) if head == CORE_MODULE => Err(RefusedPlugin::CoreModule),
        Some(head) if head.starts_with(MAGIC) => Err(RefusedPlugin::OtherFormat),
        _ => Err(RefusedPlugin::NotWasm),
    }
}

fn check_exports(wasm: &wasmtime::Engine, component: &Component) -> Result<(), RefusedPlugin> {
    let ty = component.component_type();
    let names: Vec<&str> = ty.exports(wasm).map(|(name, _)| name).collect();
    if names.iter().any(|name| name.starts_with(HANDLER)) {
        return Ok(());
    }
    let exports = match &names[..] {
        [] => "nothing".to_owned(),
        names => names.iter().take(5).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
    };
    Err(RefusedPlugin::NoHandler { exports })
}

fn check_import(import: &str) -> Result<(), RefusedPlugin> {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    let own = interface.strip_prefix("opsward:policy/");
    let advice = match own {
        Some(name) if INTERFACES.contains(&name) && version.starts_with("0.1.") => return Ok(()),
        Some(name) if INTERFACES.contains(&name) => {
            "this host offers version 0.1 of it; build the plugin against that, or use a newer opsward"
        }
        Some(_) => "this host does not know the interface; use a newer opsward",
        None if wasi::OFFERED.contains(&interface) && version.starts_with("0.2.") => return Ok(()),
        None if wasi::OFFERED.contains(&interface) => "this host offers WASI 0.2; build the plugin for that",
        None if interface.starts_with("wasi:sockets/") || interface.starts_with("wasi:http/") => {
            "a plugin has no network; it makes cloud calls through `opsward:policy/cloud`"
        }
        None => {
            "a plugin may import `opsward:policy` and the parts of WASI 0.2 that touch nothing outside; remove what needs more"
        }
    };
    Err(RefusedPlugin::Import { import: import.to_owned(), advice })
}

fn check_description(told: handler::Description) -> Result<Description, RefusedPlugin> {
    let refuse = |problem: String| Err(RefusedPlugin::Description { problem });
    if told.name.parse::<PolicyName>().is_err() {
        let shown: String = told.name.chars().take(80).collect();
        return refuse(format!("name `{shown}`: use 1 to 63 lower-case letters, digits and hyphens"));
    }
    let numbers = told.version.split(['-', '+']).next().unwrap_or_default().split('.');
    if numbers.clone().count() != 3 || !numbers.into_iter().all(|n| n.parse::<u32>().is_ok()) {
        let shown: String = told.version.chars().take(80).collect();
        return refuse(format!("version `{shown}`: use a semantic version such as 1.2.3"));
    }
    for permission in &told.permissions {
        let well_formed = permission
            .action
            .split_once(':')
            .is_some_and(|(service, action)| is_word(service) && is_word(action));
        if !well_formed {
            let shown: String = permission.action.chars().take(80).collect();
            return refuse(format!(
                "permission `{shown}`: use `service:Action`, such as `ecs:CreateSnapshot`"
            ));
        }
    }
    if !told.config_schema.is_empty()
        && let Err(problem) = serde_json::from_str::<serde_json::Map<_, _>>(&told.config_schema)
    {
        return refuse(format!("config-schema is not a JSON object: {problem}"));
    }
    let triggers: Vec<Vec<String>> = told.triggers.into_iter().map(|trigger| trigger.types).collect();
    if let Err(problem) = Patterns::from_types(&triggers) {
        return refuse(format!("triggers: {problem}"));
    }
    Ok(Description {
        name: told.name,
        version: told.version,
        summary: told.summary,
        triggers,
        permissions: told
            .permissions
            .into_iter()
            .map(|p| Permission { action: p.action, reason: p.reason })
            .collect(),
        config_schema: (!told.config_schema.is_empty()).then_some(told.config_schema),
    })
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_component_are_told_apart() {
        for (bytes, refusal) in [
            (&b""[..], "not WebAssembly"),
            (b"#!/bin/sh\n", "not WebAssembly"),
            (b"\0asm", "not WebAssembly"),
            (b"\0asm\x01\0\0\0", "core module"),
            (b"\0asm\x0c\0\x01\0", "binary format"),
            (&[0; 65], "65 bytes"),
        ] {
            let problem = check_bytes(bytes, 64).expect_err("refused").to_string();
            assert!(problem.contains(refusal), "{bytes:?}: {problem}");
        }
        assert!(check_bytes(COMPONENT, 64).is_ok());
    }

    #[test]
    fn imports_are_taken_or_refused_by_name_and_version() {
        for good in ["opsward:policy/cloud@0.1.0", "opsward:policy/log@0.1.7", "wasi:cli/stderr@0.2.6"] {
            assert!(check_import(good).is_ok(), "{good}");
        }
        for (bad, advice) in [
            ("opsward:policy/cloud@0.2.0", "offers version 0.1"),
            ("opsward:policy/shell@0.1.0", "newer opsward"),
            ("wasi:sockets/tcp@0.2.6", "no network"),
            ("wasi:http/outgoing-handler@0.2.0", "no network"),
            ("wasi:cli/stderr@0.3.0", "WASI 0.2"),
            ("wasi:keyvalue/store@0.2.0", "may import"),
            ("env:host/secrets", "may import"),
        ] {
            let problem = check_import(bad).expect_err("refused").to_string();
            assert!(problem.contains(bad) && problem.contains(advice), "{bad}: {problem}");
        }
    }
}

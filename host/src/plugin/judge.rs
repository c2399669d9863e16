//! What a plugin must be to be taken: its first bytes, what it imports and exports, what it says of itself. Whatever is wrong is
//! refused with its reason and what to do about it. Pure; leaves compiling and asking it to `compile`. Tested below.

use super::engine::Description;
use super::wasi;
use opsward_core::id::PolicyName;
use opsward_core::pattern::Patterns;
use serde::{Deserialize, Serialize};

/// The interface a plugin exports, up to its patch version.
const HANDLER: &str = "opsward:policy/handler@0.1.";
/// The interfaces a plugin may import beside WASI, up to their patch version.
const INTERFACES: &[&str] = &["events", "cloud", "context", "clock", "log", "state"];
/// First bytes of any WebAssembly, of a core module, and of a component.
const MAGIC: &[u8] = b"\0asm";
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
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

/// What compiled code says of itself before any of it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Interfaces {
    /// Every interface it imports.
    pub(crate) imports: Vec<String>,
    /// Every interface it exports.
    pub(crate) exports: Vec<String>,
}

/// Whether the bytes may be offered to the compiler.
pub(super) fn check_bytes(bytes: &[u8], max: usize) -> Result<(), RefusedPlugin> {
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

/// Whether it is made for the world of policies, and asks for nothing that is not offered.
pub(crate) fn check_interfaces(interfaces: &Interfaces) -> Result<(), RefusedPlugin> {
    let names = &interfaces.exports;
    if !names.iter().any(|name| name.starts_with(HANDLER)) {
        let exports = match &names[..] {
            [] => "nothing".to_owned(),
            names => names.iter().take(5).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "),
        };
        return Err(RefusedPlugin::NoHandler { exports });
    }
    interfaces.imports.iter().try_for_each(|import| check_import(import))
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

/// Whether a description can be used.
pub(crate) fn check_description(told: &Description) -> Result<(), RefusedPlugin> {
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
    if let Some(schema) = &told.config_schema
        && let Err(problem) = serde_json::from_str::<serde_json::Map<_, _>>(schema)
    {
        return refuse(format!("config-schema is not a JSON object: {problem}"));
    }
    match Patterns::from_types(&told.triggers) {
        Ok(_) => Ok(()),
        Err(problem) => refuse(format!("triggers: {problem}")),
    }
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

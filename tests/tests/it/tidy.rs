//! The house rules that a machine can check: who may depend on whom, how long a file may be, what a file begins with.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest source file, in lines.
const FILE_LINES_MAX: usize = 500;
/// Longest policy: what a person reads before trusting it with a machine.
const POLICY_LINES_MAX: usize = 300;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

fn metadata() -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--offline", "--no-deps"]).current_dir(root());
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn workspace_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |v: &Value| v["name"].as_str().expect("name").to_owned();
    let members: BTreeSet<String> = packages.iter().map(name).collect();
    let dependencies = |package: &Value| {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        all.filter(|d| d["kind"].is_null()).map(name).filter(|n| members.contains(n)).collect()
    };
    packages.iter().map(|package| (name(package), dependencies(package))).collect()
}

#[test]
fn dependencies_point_one_way() {
    let may: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("opsward-core", &[] as &[&str]),
        ("opsward-sim", &["opsward-core"]),
        ("opsward-policy", &[]),
        ("opsward-bundle", &[]),
        ("opsward", &["opsward-core", "opsward-sim", "opsward-bundle"]),
    ]);
    for (package, dependencies) in workspace_dependencies() {
        let allowed: BTreeSet<String> = match may.get(package.as_str()) {
            Some(allowed) => allowed.iter().map(|&a| a.to_owned()).collect(),
            // Anything else is a policy or a guest, which sees the SDK alone, or the tests, which see all.
            None if package == "opsward-tests" => continue,
            None => BTreeSet::from(["opsward-policy".to_owned()]),
        };
        let extra: Vec<_> = dependencies.difference(&allowed).collect();
        assert!(extra.is_empty(), "{package} may not depend on {extra:?}");
    }
}

#[test]
fn the_core_has_no_io_among_its_dependencies() {
    let metadata = metadata();
    let core =
        metadata["packages"].as_array().expect("packages").iter().find(|p| p["name"] == "opsward-core");
    let dependencies = core.expect("core")["dependencies"].as_array().expect("dependencies");
    for banned in ["tokio", "wasmtime", "reqwest", "hyper", "axum", "rusqlite", "rand", "getrandom"] {
        assert!(dependencies.iter().all(|d| d["name"] != banned), "opsward-core depends on {banned}");
    }
}

#[test]
fn there_is_one_tls_stack_and_no_banned_crate() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock");
    for banned in ["openssl-sys", "native-tls", "aws-lc-sys", "aws-lc-rs", "sqlx", "libz-sys", "zstd-sys"] {
        assert!(!lock.contains(&format!("name = \"{banned}\"")), "{banned} is banned by deny.toml");
    }
}

#[test]
fn the_host_never_names_a_policy() {
    let policies: Vec<String> = workspace_dependencies()
        .into_iter()
        .filter(|(name, dependencies)| {
            dependencies.contains("opsward-policy") && !name.starts_with("opsward")
        })
        .map(|(name, _)| name)
        .collect();
    assert!(policies.len() >= 2, "found {policies:?}");
    for file in sources("host") {
        // Tests may name what they like; the demonstration shows the two flagship policies at work.
        let excepted = |part: std::path::Component<'_>| {
            ["demo", "demo.rs", "tests.rs", "tests"].iter().any(|e| part.as_os_str() == *e)
        };
        if file.components().any(excepted) {
            continue;
        }
        let text = code_of(&file);
        for policy in &policies {
            assert!(!text.contains(policy.as_str()), "{} names {policy}", file.display());
        }
    }
}

/// The file without comments and without its unit tests, where an example may name what it likes.
fn code_of(file: &Path) -> String {
    let text = std::fs::read_to_string(file).expect("readable");
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// What opens a connection, asks a name server, or makes what does; and the files of the host that may.
const EGRESS: [(&str, &[&str]); 14] = [
    // Calls, with every name looked up and judged there; metadata services, with what is looked up judged in the same place.
    ("Client::builder", &["cloud/egress.rs", "cloud/credentials/metadata.rs"]),
    ("use reqwest::{Client", &["cloud/egress.rs", "cloud/credentials/metadata.rs"]),
    ("use reqwest::Client", &[]),
    ("reqwest::Client::new", &[]),
    ("ClientBuilder::new", &[]),
    ("reqwest::get", &[]),
    ("reqwest::blocking", &[]),
    ("lookup_host", &["cloud/egress.rs"]),
    ("to_socket_addrs", &[]),
    ("TcpStream::connect", &[]),
    ("TcpSocket", &[]),
    ("UdpSocket", &[]),
    // Words to systemd, to the socket that it names.
    ("UnixDatagram", &["notify.rs"]),
    // Whether a host that was killed has left a socket behind.
    ("UnixStream::connect", &["admin/listen.rs"]),
];

#[test]
fn one_file_opens_connections_to_clouds() {
    for file in sources("host/src") {
        let is_test =
            |part: std::path::Component<'_>| ["tests", "tests.rs"].iter().any(|e| part.as_os_str() == *e);
        if file.components().any(is_test) {
            continue;
        }
        let code = code_of(&file);
        for (what, excepted) in EGRESS {
            if excepted.iter().any(|name| file.ends_with(name)) {
                continue;
            }
            assert!(!code.contains(what), "{}: `{what}` goes around cloud/egress.rs", file.display());
        }
    }
}

#[test]
fn every_source_file_is_short_and_says_what_it_does() {
    for file in ["host", "plugins", "tests"].iter().flat_map(|dir| sources(dir)) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let shown = file.display();
        assert!(text.starts_with("//!"), "{shown} does not begin with //!");
        assert!(!text.contains(concat!("To be ", "written")), "{shown} is a stub");
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{shown} has {lines} lines; split it by concept");
        let name = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let empty_words = ["mod", "util", "utils", "common", "helper", "helpers", "misc", "types", "errors"];
        assert!(!empty_words.contains(&name), "{shown}: the name says nothing");
    }
}

#[test]
fn a_policy_fits_on_a_few_pages() {
    for dir in std::fs::read_dir(root().join("plugins")).expect("plugins/") {
        let dir = dir.expect("entry").path();
        if ["sdk", "bundle"].iter().any(|n| dir.ends_with(n)) || !dir.is_dir() {
            continue;
        }
        let lines = std::fs::read_to_string(dir.join("src/lib.rs")).expect("src/lib.rs").lines().count();
        assert!(lines <= POLICY_LINES_MAX, "{} has {lines} lines", dir.display());
        assert!(dir.join("README.md").is_file(), "{} has no README.md", dir.display());
    }
}

fn sources(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("readable directory") {
            let path = entry.expect("entry").path();
            let skipped = ["target", ".venv"].iter().any(|name| path.ends_with(name));
            if path.is_dir() && !skipped {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}

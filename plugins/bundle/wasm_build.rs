//! Builds packages of this workspace as WebAssembly components from inside a build script, by a second cargo: one cargo
//! call on stable builds for one target only. Included by path into the build scripts that need components; leaves what
//! is built, and what becomes of the bytes, to them. Tested by being used in every build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The target of components without any WASI import.
pub(crate) const BARE: &str = "wasm32-unknown-unknown";

/// Builds `packages` of the workspace at `root` for `target` in the profile `plugin`, and copies the components into this
/// build script's `OUT_DIR` as `<package>.wasm`. Returns their paths in the order of the packages.
///
/// Watching the sources is left to the caller; see [`watch`].
pub(crate) fn build(root: &Path, packages: &[String], target: &str) -> Result<Vec<PathBuf>, String> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for build scripts")?);
    // `<target dir>/<profile>/build/<package>-<hash>/out`: a folder of its own beside the profiles. The outer cargo holds
    // the lock of its profile's folder while it waits for this script, so sharing that one would wait for ever.
    let target_dir = out_dir.ancestors().nth(4).ok_or("OUT_DIR is not where cargo puts it")?.join("plugins");
    fs::create_dir_all(&target_dir).map_err(|error| format!("{}: {error}", target_dir.display()))?;
    add_target(target, &target_dir)?;

    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["build", "--quiet", "--profile", "plugin", "--target", target]);
    cargo.arg("--target-dir").arg(&target_dir);
    for package in packages {
        cargo.args(["--package", package]);
    }
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_the_outer_build) {
            cargo.env_remove(name);
        }
    }
    // As in .cargo/config.toml, which a build from another working directory would not see.
    cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-component-ld");
    let status = cargo.status().map_err(|error| format!("cannot start cargo: {error}"))?;
    if !status.success() {
        return Err(format!("building {} for {target} failed, see above", packages.join(", ")));
    }

    let built_dir = target_dir.join(target).join("plugin");
    packages.iter().map(|package| copy_component(package, &built_dir, &out_dir)).collect()
}

/// The workspace, which lies `up` from the package of this build script. Asked for as it runs: one that was compiled in another
/// checkout would look there.
pub(crate) fn workspace(up: &str) -> Result<PathBuf, String> {
    let package =
        env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR for build scripts")?;
    let root = Path::new(&package).join(up);
    root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))
}

/// Tells cargo to run the build script again when one of `paths` below `root` changes.
pub(crate) fn watch(root: &Path, paths: &[&str]) {
    for path in paths {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
}

/// Ends the build script with one readable line.
pub(crate) fn fail(problem: &str) -> ! {
    println!("cargo::error={problem}");
    std::process::exit(1)
}

fn copy_component(package: &str, built_dir: &Path, out_dir: &Path) -> Result<PathBuf, String> {
    let built = built_dir.join(format!("{}.wasm", package.replace('-', "_")));
    let copy = out_dir.join(format!("{package}.wasm"));
    fs::copy(&built, &copy).map_err(|error| {
        format!("{}: {error}; a plugin's crate-type must contain \"cdylib\"", built.display())
    })?;
    Ok(copy)
}

/// Installs the standard library for `target` where rustup's toolchain lacks it. `targets` in rust-toolchain.toml does the
/// same on most machines, but is ignored where RUSTUP_AUTO_INSTALL=0 is set.
fn add_target(target: &str, target_dir: &Path) -> Result<(), String> {
    // Two build scripts of one build must not run rustup at the same time.
    let lock_path = target_dir.join(".add-target.lock");
    let lock = fs::File::create(&lock_path).and_then(|file| file.lock().map(|()| file));
    let _held_to_the_end = lock.map_err(|error| format!("{}: {error}", lock_path.display()))?;
    if has_target(target)? {
        return Ok(());
    }
    println!("cargo::warning=adding the missing Rust target {target}");
    match Command::new("rustup").args(["target", "add", target]).status() {
        Ok(status) if status.success() && has_target(target)? => Ok(()),
        Ok(_) => Err(format!("the Rust target {target} is missing; run: rustup target add {target}")),
        Err(_) => Err(format!(
            "the Rust target {target} is missing and there is no rustup on the PATH; \
             install the target's standard library with whatever installed Rust"
        )),
    }
}

fn has_target(target: &str) -> Result<bool, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .map_err(|error| format!("cannot start rustc: {error}"))?;
    Ok(output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// Variables that shape the outer build, or describe this script's package, and would leak into the inner one.
fn belongs_to_the_outer_build(variable: &str) -> bool {
    const NAMES: [&str; 12] = [
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_MAKEFLAGS",
        "CARGO_TARGET_DIR",
        "MAKEFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ];
    const PREFIXES: [&str; 6] =
        ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_TARGET_WASM32_", "DEP_"];
    NAMES.contains(&variable) || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

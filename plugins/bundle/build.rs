//! Builds every policy of the workspace as a component and writes the table of them for `src/lib.rs`.

use std::path::Path;
use std::{fs, io};

#[path = "wasm_build.rs"]
mod wasm_build;

fn main() {
    if let Err(problem) = bundle() {
        wasm_build::fail(&problem);
    }
}

fn bundle() -> Result<(), String> {
    let root = wasm_build::workspace("../..")?;
    let mut policies = packages_in(&root.join("plugins"))?;
    policies.retain(|package| !NOT_POLICIES.contains(&package.as_str()));

    // A new policy's folder shows in Cargo.lock. Watching all of `plugins` would rebuild the host for a changed README.
    wasm_build::watch(
        &root,
        &["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "rust-toolchain.toml", "wit"],
    );
    wasm_build::watch(&root, &["plugins/sdk/src", "plugins/sdk/Cargo.toml", "plugins/bundle/wasm_build.rs"]);
    for policy in &policies {
        let folder = format!("plugins/{policy}");
        wasm_build::watch(&root, &[&format!("{folder}/src"), &format!("{folder}/Cargo.toml")]);
    }

    let components = wasm_build::build(&root, &policies, wasm_build::BARE)?;
    let mut table = String::from("&[\n");
    for (policy, component) in policies.iter().zip(&components) {
        table += &format!("    Plugin {{ name: {policy:?}, bytes: include_bytes!({component:?}) }},\n");
    }
    table += "]\n";
    let out_dir = components.first().and_then(|component| component.parent()).ok_or("there is no policy")?;
    fs::write(out_dir.join("plugins.rs"), table).map_err(|error| format!("plugins.rs: {error}"))
}

/// Folders of `plugins` that hold no policy.
const NOT_POLICIES: [&str; 2] = ["bundle", "sdk"];

/// The packages in the sub-folders of `dir`, by folder name, which is the package's name; sorted.
fn packages_in(dir: &Path) -> Result<Vec<String>, String> {
    let list = || -> io::Result<Vec<String>> {
        let mut packages = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.path().join("Cargo.toml").is_file() {
                packages.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        packages.sort();
        Ok(packages)
    };
    list().map_err(|error| format!("{}: {error}", dir.display()))
}

//! Builds the guests of `guests/` as components, for `tests/it` and `benches`.

#[path = "../plugins/bundle/wasm_build.rs"]
mod wasm_build;

/// The guests and what each is built for: without WASI, and with it as other toolchains do.
const GUESTS: [(&str, &str); 4] = [
    ("opsward-guest-bench", wasm_build::BARE),
    ("opsward-guest-calls", wasm_build::BARE),
    ("opsward-guest-hostile", wasm_build::BARE),
    ("opsward-guest-wasi", "wasm32-wasip2"),
];

fn main() {
    if let Err(problem) = build_guests() {
        wasm_build::fail(&problem);
    }
}

fn build_guests() -> Result<(), String> {
    let root = wasm_build::workspace("..")?;
    let watched = ["Cargo.toml", ".cargo/config.toml", "wit", "tests/build.rs", "tests/guests"];
    wasm_build::watch(&root, &watched);
    wasm_build::watch(&root, &["plugins/sdk/src", "plugins/sdk/Cargo.toml", "plugins/bundle/wasm_build.rs"]);
    for (package, target) in GUESTS {
        wasm_build::build(&root, &[package.to_owned()], target)?;
    }
    Ok(())
}

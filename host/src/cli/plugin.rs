//! `opsward plugin ls|extract`: the policies that this binary carries. Leaves what they do to their own READMEs.

use anyhow::Context as _;
use opsward_core::id::Digest;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with the bundled plugins.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// List them
    Ls,
    /// Write one into a directory
    Extract {
        /// Its name, as `ls` lists it
        name: String,
        /// The directory
        #[arg(long, default_value = "plugins.d")]
        to: PathBuf,
    },
}

/// Does it.
pub fn run(command: Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ls => {
            for plugin in opsward_bundle::PLUGINS {
                let (size, digest) = (plugin.bytes.len().div_ceil(1024), Digest::of(plugin.bytes).short());
                writeln!(out, "{:<24} {size:>5} KiB  sha256:{digest}", plugin.name)?;
            }
        }
        Command::Extract { name, to } => {
            let known = || opsward_bundle::PLUGINS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
            let plugin = opsward_bundle::PLUGINS.iter().find(|p| p.name == name);
            let plugin = plugin
                .with_context(|| format!("no bundled plugin is called `{name}`; there are {}", known()))?;
            let path = to.join(format!("{name}.wasm"));
            std::fs::write(&path, plugin.bytes)
                .with_context(|| format!("cannot write {}", path.display()))?;
            writeln!(out, "wrote {}", path.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

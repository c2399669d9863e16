//! A host that has nothing to do: memory with 2 and with 100 plugins, and how long it takes to be ready with 100, without
//! and with their compiled code kept from before.

use crate::machine::resident;
use crate::measure::Report;
use crate::processes::{Clouds, Host, lay_out};
use crate::scene;
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Builder;

/// How long a ready host is left alone before its memory is read: what it still does after a start is over by then.
const REST: Duration = Duration::from_secs(3);
/// Starts with kept code: they are short, so their median is taken.
const WARM_STARTS: usize = 5;

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    Builder::new_multi_thread().enable_all().build()?.block_on(measure(report))
}

async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let clouds = Clouds::start().await?;
    for plugins in [2, 100] {
        let dir = scene::directory()?;
        put_plugins(&lay_out(dir.path(), &clouds)?, plugins)?;
        let cold = Host::start(dir.path(), &clouds).await?;
        ensure_live(&cold, plugins).await?;
        report.figure(
            format!("idle: start to ready, {plugins} plugins, nothing compiled"),
            cold.ready_after.as_secs_f64() * 1e3,
            "ms",
        );
        cold.stop().await?;

        let mut starts = Vec::new();
        for _ in 0..WARM_STARTS {
            let warm = Host::start(dir.path(), &clouds).await?;
            starts.push(warm.ready_after.as_secs_f64() * 1e3);
            ensure_live(&warm, plugins).await?;
            warm.stop().await?;
        }
        let start = crate::measure::median(&starts);
        report.figure(format!("idle: start to ready, {plugins} plugins, compiled before"), start, "ms");

        let host = Host::start(dir.path(), &clouds).await?;
        tokio::time::sleep(REST).await;
        let memory = resident(host.pid)?;
        report.figure(format!("idle: resident, {plugins} plugins"), memory.total_mib, "MiB");
        report.figure(format!("idle: of that anonymous, {plugins} plugins"), memory.anonymous_mib, "MiB");
        host.stop().await?;
    }
    Ok(())
}

/// Copies of a real plugin that differ in a section nobody reads, each with a policy.
fn put_plugins(dir: &Path, plugins: usize) -> anyhow::Result<()> {
    let original = opsward_bundle::plugin("snapshot-on-reboot").context("the bundle has no such plugin")?;
    for nth in 0..plugins {
        let name = format!("copy-{nth:03}");
        let mut bytes = original.bytes.to_vec();
        bytes.extend(custom_section(&name));
        std::fs::write(dir.join(format!("{name}.wasm")), bytes)?;
        let policy = include_str!("snapshot-on-reboot.toml").replace("{plugin}", &name);
        std::fs::write(dir.join(format!("{name}.toml")), policy)?;
    }
    Ok(())
}

/// Section 0, its length, the length of its name, its name: all lengths fit one byte.
fn custom_section(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("a short name");
    [&[0, length + 1, length], name.as_bytes()].concat()
}

async fn ensure_live(host: &Host, plugins: usize) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().unix_socket(host.socket.as_path()).build()?;
    let answer = client.get("http://opsward/api/v1/policies").send().await?;
    let policies: Value = serde_json::from_slice(&answer.bytes().await?)?;
    let list = policies.as_array().or_else(|| policies["policies"].as_array());
    let count = list.map_or(0, Vec::len);
    ensure!(count == plugins, "{count} policies are live instead of {plugins}");
    Ok(())
}

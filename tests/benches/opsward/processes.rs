//! Child processes: a host and simulated clouds, each on a free loopback port, killed when dropped. The host is
//! `opsward` as the tests build it: failpoints are compiled in and not armed, which costs a load and a branch each.

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// How long a child may take to be ready: 100 plugins are compiled by then, even unoptimised.
const START_MAX: Duration = Duration::from_secs(300);
/// The path token of the source.
const TOKEN: &str = "t0ken-of-the-bench";

/// Simulated clouds.
pub(crate) struct Clouds {
    _child: Child,
    pub(crate) url: String,
    key_id: String,
    key_secret: String,
}

/// A running host.
pub(crate) struct Host {
    child: Child,
    pub(crate) pid: u32,
    /// Where its source takes events.
    pub(crate) hook: String,
    /// Where commands on this machine ask it.
    pub(crate) socket: PathBuf,
    /// From the start of the process to its saying that it is ready.
    pub(crate) ready_after: Duration,
}

impl Clouds {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut command = opsward();
        command.args(["sim", "--listen", "127.0.0.1:0", "--snapshot-ms", "0"]).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the simulated clouds")?;
        let output = child.stdout.take().context("the clouds have no output")?;
        let ready = first_line(output, |line| line["url"].is_string()).await.context("simulated clouds")?;
        let text = |at: &str| ready.pointer(at).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            _child: child,
            url: text("/url").context("no url")?,
            key_id: text("/keys/alibaba/access_key_id").context("no key id")?,
            key_secret: text("/keys/alibaba/access_key_secret").context("no key secret")?,
        })
    }
}

impl Host {
    /// Starts `opsward serve` in a directory that `lay_out` has made.
    pub(crate) async fn start(dir: &Path, clouds: &Clouds) -> anyhow::Result<Self> {
        let mut command = opsward();
        command
            .args(["serve", "--config", "opsward.toml"])
            .current_dir(dir)
            .env("BENCH_ALIBABA_AK", &clouds.key_id)
            .env("BENCH_ALIBABA_SK", &clouds.key_secret)
            .env("BENCH_TOKEN", TOKEN)
            .stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().context("cannot start the host")?;
        let log = child.stderr.take().context("the host has no log")?;
        let ready = first_line(log, |line| line["message"] == "ready").await.context("the host")?;
        let ready_after = begun.elapsed();
        let address = |of: &str| ready[of].as_str().map(|address| format!("http://{address}"));
        Ok(Self {
            pid: child.id().context("the host has ended")?,
            child,
            hook: format!("{}/hooks/cloudmonitor/{TOKEN}", address("listen").context("no address")?),
            socket: ready["socket"].as_str().context("no admin socket")?.into(),
            ready_after,
        })
    }

    /// Ends it as an operator would, and waits for that.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .context("no such process")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let ended = self.child.wait().await?;
        anyhow::ensure!(ended.success(), "the host ended with {ended}");
        Ok(())
    }
}

/// The files of a host whose Alibaba account is simulated. `listen` is on free ports.
pub(crate) fn lay_out(dir: &Path, clouds: &Clouds) -> anyhow::Result<PathBuf> {
    let plugins = dir.join("plugins.d");
    std::fs::create_dir(&plugins)?;
    std::fs::write(dir.join("opsward.toml"), include_str!("serve.toml").replace("{url}", &clouds.url))?;
    Ok(plugins)
}

fn opsward() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opsward-under-test"));
    command.kill_on_drop(true).env_remove("OPSWARD_LOG").env_remove("OPSWARD_FAILPOINT");
    command
}

/// The first line of JSON that is `wanted`. What comes after it is read and thrown away, so that the child can go on writing.
async fn first_line(
    output: impl AsyncRead + Unpin + Send + 'static,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let mut lines = BufReader::new(output).lines();
    let mut seen = Vec::new();
    let found = tokio::time::timeout(START_MAX, async {
        while let Some(line) = lines.next_line().await? {
            let read: Value = serde_json::from_str(&line).unwrap_or_default();
            if wanted(&read) {
                return Ok(read);
            }
            seen.push(line);
        }
        bail!("ended before it was ready:\n{}", seen.join("\n"))
    });
    let found = found.await.context("not ready in time")??;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(found)
}

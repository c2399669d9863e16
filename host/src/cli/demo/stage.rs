//! The demonstration's stage: simulated clouds in this process, the host as a child in a temporary directory, and the
//! questions the acts ask of both. Leaves the story to `demo` and the printing to `tell`.

use super::tell::Teller;
use super::wait_for;
use crate::cli::runs::{self, ShowArgs};
use crate::clock::{Clock as _, SystemClock};
use crate::store::sqlite::SqliteStore;
use crate::store::{RunDetail, RunFilter};
use anyhow::{Context as _, ensure};
use opsward_sim::{Sim, SimOptions};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const HOOK_TOKEN: &str = "demo-token-that-nobody-can-guess";
/// How far ahead the nightly reset is scheduled when its file is dropped in: longer than the host takes to notice.
const RESET_IN: Duration = Duration::from_secs(3);

pub(super) struct Stage<'a> {
    teller: &'a Teller,
    dir: tempfile::TempDir,
    sim: Sim,
    http: reqwest::Client,
    host: Option<Host>,
}

struct Host {
    child: Child,
}

/// A simulated machine.
pub(super) struct Machine {
    pub(super) id: String,
    pub(super) disks: Vec<String>,
}

/// A change that took place in a simulated cloud.
pub(super) struct Effect {
    pub(super) action: String,
    pub(super) resource: String,
}

impl<'a> Stage<'a> {
    /// Starts clouds and host.
    pub(super) async fn set(teller: &'a Teller) -> anyhow::Result<Self> {
        let sim = Sim::start(TcpListener::bind("127.0.0.1:0").await?, SimOptions::default())?;
        teller.line("clouds", &format!("Alibaba and Tencent simulated on {}", sim.url));
        let dir = tempfile::Builder::new().prefix("opsward-demo-").tempdir()?;
        write_files(dir.path(), &sim)?;
        let mut stage = Self { teller, dir, sim, http: crate::cloud::to_own_host().build()?, host: None };
        stage.start_host().await?;
        Ok(stage)
    }

    /// Starts the host and points the simulated CloudMonitor at it.
    pub(super) async fn start_host(&mut self) -> anyhow::Result<()> {
        let keys = &self.sim.keys;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--config", "opsward.toml"])
            .current_dir(self.dir.path())
            .env("DEMO_ALIBABA_AK", &keys.alibaba.access_key_id)
            .env("DEMO_ALIBABA_SK", &keys.alibaba.access_key_secret)
            .env("DEMO_TENCENT_ID", &keys.tencent.secret_id)
            .env("DEMO_TENCENT_KEY", &keys.tencent.secret_key)
            .env("DEMO_HOOK_TOKEN", HOOK_TOKEN)
            .env("OPSWARD_LOG", "opsward=info")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the host")?;
        let listen = listening_on(&mut child).await?;
        let hook = format!("http://{listen}/hooks/cloudmonitor/{HOOK_TOKEN}");
        self.forget("subscribe").await?;
        self.control("subscribe", &json!({ "url": hook, "form": "cloudmonitor" })).await?;
        let pid = child.id().unwrap_or_default();
        self.teller.line("host", &format!("ready (pid {pid})"));
        self.host = Some(Host { child });
        Ok(())
    }

    /// Drops the reset's policy file into the running host's plugins directory, with a schedule that strikes soon.
    pub(super) fn drop_in_nightly_reset(&self) -> anyhow::Result<()> {
        let file = include_str!("nightly-reset.toml").replace("{cron}", &cron_line_in(RESET_IN));
        std::fs::write(self.dir.path().join("plugins.d/nightly-reset.toml"), file)?;
        self.teller.line(
            "operator",
            &format!("drops nightly-reset.toml into plugins.d; it is due in {} s", RESET_IN.as_secs()),
        );
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone.
    pub(super) async fn kill_host(&mut self) -> anyhow::Result<()> {
        let mut host = self.host.take().context("the host is not running")?;
        host.child.kill().await.context("cannot kill the host")
    }

    /// Asks the host to end and waits for it.
    pub(super) async fn stop_host(&mut self) -> anyhow::Result<()> {
        let mut host = self.host.take().context("the host is not running")?;
        let pid = host.child.id().context("the host has ended")?;
        let asked = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        ensure!(asked.success(), "cannot signal the host");
        let status = tokio::time::timeout(super::PATIENCE, host.child.wait())
            .await
            .map_err(|_| super::gave_up("the host to drain"))??;
        ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }

    /// A simulated Alibaba instance with that many disks.
    pub(super) async fn instance_with_disks(&self, count: usize) -> anyhow::Result<Machine> {
        let state = self.look("state").await?;
        let disks = state["alibaba"]["disks"].as_object().context("the clouds list no disks")?;
        let instances = state["alibaba"]["instances"].as_object().context("the clouds list no instances")?;
        let machines = instances.keys().map(|id| {
            let attached =
                disks.iter().filter(|(_, disk)| disk["instance_id"] == **id).map(|(id, _)| id.clone());
            Machine { disks: attached.collect(), id: id.clone() }
        });
        machines
            .into_iter()
            .find(|m| m.disks.len() == count)
            .with_context(|| format!("no instance has {count} disks"))
    }

    /// The cloud reboots the machine and tells its subscribers.
    pub(super) async fn reboot(&self, instance: &str) -> anyhow::Result<()> {
        self.teller.line(
            "cloud",
            &format!("{instance} fails and reboots; CloudMonitor posts Executing, then Executed"),
        );
        self.control("emit", &json!({ "instance": instance, "event": "Instance:SystemFailure.Reboot" }))
            .await
            .map(drop)
    }

    pub(super) async fn hold_back_answers(&self, action: &str, ms: u64) -> anyhow::Result<()> {
        self.teller.line("cloud", &format!("will hold back its answer to {action}"));
        self.control("faults", &json!({ "action": action, "kind": "slow", "times": 100, "delay_ms": ms }))
            .await
            .map(drop)
    }

    pub(super) async fn answer_promptly(&self) -> anyhow::Result<()> {
        self.forget("faults").await
    }

    pub(super) async fn effects(&self) -> anyhow::Result<Vec<Effect>> {
        let effects = self.look("effects").await?;
        let all = effects.as_array().context("the clouds list no effects")?;
        Ok(all.iter().map(Effect::read).collect())
    }

    /// Waits until `action` took place at least `count` times on these resources; gives all of them.
    pub(super) async fn wait_for_effects(
        &self,
        action: &str,
        on: &[String],
        count: usize,
    ) -> anyhow::Result<Vec<Effect>> {
        wait_for(&format!("{count} x {action}"), async || {
            let mut effects = self.effects().await?;
            effects.retain(|effect| effect.action == action && on.contains(&effect.resource));
            Ok((effects.len() >= count).then_some(effects))
        })
        .await
    }

    /// Waits until the policy's run that made calls on `resource` has ended, and prints its ledger.
    pub(super) async fn show_run(&self, policy: &str, resource: &str) -> anyhow::Result<()> {
        let store = SqliteStore::open_read_only(&self.dir.path().join("opsward.db"))?;
        let filter = RunFilter { policy: Some(policy.parse()?), ..RunFilter::default() };
        let run = wait_for(&format!("a run of {policy} to end"), async || {
            for row in store.list_runs(&filter)?.into_iter().filter(|row| row.state.is_final()) {
                let found = store.find_runs(row.id.as_str(), 1)?.pop();
                let calls_on_it = |run: &RunDetail| {
                    serde_json::to_string(&run.ledger).is_ok_and(|text| text.contains(resource))
                };
                if found.is_some_and(|run| calls_on_it(&run)) {
                    return Ok(Some(row.id));
                }
            }
            Ok(None)
        })
        .await?;
        let mut text = Vec::new();
        let args = ShowArgs { id: run.to_string(), output: runs::Output::Table };
        runs::show(&store, &args, SystemClock.now(), &mut text)?;
        self.teller.block(&String::from_utf8_lossy(&text));
        Ok(())
    }

    async fn control(&self, verb: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}/_sim/{verb}", self.sim.url)).body(body.to_string());
        let answer = request.header("content-type", "application/json").send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    async fn forget(&self, what: &str) -> anyhow::Result<()> {
        self.http.delete(format!("{}/_sim/{what}", self.sim.url)).send().await?.error_for_status()?;
        Ok(())
    }

    async fn look(&self, what: &str) -> anyhow::Result<Value> {
        let answer =
            self.http.get(format!("{}/_sim/{what}", self.sim.url)).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}

impl Effect {
    fn read(value: &Value) -> Self {
        let params = &value["params"];
        let resource =
            ["DiskId", "InstanceId"].iter().find_map(|name| params[name].as_str()).unwrap_or_default();
        Self {
            action: value["action"].as_str().unwrap_or_default().to_owned(),
            resource: resource.to_owned(),
        }
    }
}

/// Reads the child's log until it says where it listens; goes on reading so that the child never blocks.
async fn listening_on(child: &mut Child) -> anyhow::Result<String> {
    let stderr = child.stderr.take().context("the host has no stderr")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut log = Vec::new();
    let ready = tokio::time::timeout(super::PATIENCE, async {
        while let Some(line) = lines.next_line().await? {
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if let (Some("ready"), Some(listen)) = (entry["message"].as_str(), entry["listen"].as_str()) {
                return anyhow::Ok(Some(listen.to_owned()));
            }
            log.push(line);
        }
        Ok(None)
    });
    let ready = ready.await.map_err(|_| super::gave_up("the host to be ready"))??;
    let listen = ready.with_context(|| format!("the host ended at once:\n{}", log.join("\n")))?;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(listen)
}

fn write_files(dir: &Path, sim: &Sim) -> anyhow::Result<()> {
    let plugins = dir.join("plugins.d");
    std::fs::create_dir(&plugins)?;
    for plugin in opsward_bundle::PLUGINS {
        std::fs::write(plugins.join(format!("{}.wasm", plugin.name)), plugin.bytes)?;
    }
    let url = &sim.url;
    std::fs::write(dir.join("opsward.toml"), include_str!("opsward.toml").replace("{url}", url))?;
    std::fs::write(plugins.join("snapshot-on-reboot.toml"), include_str!("snapshot-on-reboot.toml"))?;
    Ok(())
}

/// A cron line in SCF's dialect that strikes once a day, next in about `ahead`.
fn cron_line_in(ahead: Duration) -> String {
    // SCF's clock is UTC+8 the year round.
    let local = SystemClock.now() + ahead + Duration::from_secs(8 * 3600);
    let of_day = local.seconds().rem_euclid(24 * 3600);
    format!("{} {} {} * * * *", of_day % 60, of_day / 60 % 60, of_day / 3600)
}

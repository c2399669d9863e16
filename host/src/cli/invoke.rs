//! `opsward invoke`: runs one policy once on one event. With `--dry-run` here, from the configuration, on a ledger that is thrown
//! away, whether or not a host runs; without it in the running host, as if the event had come from outside. Leaves running to the
//! same worker and broker as `serve` has, and printing to `runs`. Tested in `tests/tests/it/invoke.rs`.

use super::ServeArgs;
use super::host_admin::{self, Taker};
use super::runs::{self, Output};
use crate::broker::Broker;
use crate::clock::{Clock, SystemClock};
use crate::cloud::{CloudClient, resolve};
use crate::plugin::guests::Guests;
use crate::plugin::registry::Registry;
use crate::policy::{LivePolicy, Policies, PolicySet};
use crate::service::{guests, read_account, read_settings};
use crate::store::sqlite::SqliteStore;
use crate::store::{RunDetail, Store as _};
use crate::trigger::accept::Accept;
use crate::worker::Worker;
use anyhow::{Context as _, bail};
use opsward_core::config::HostSettings;
use opsward_core::event::{BODY_BYTES_MAX, Event, given, manual_source};
use opsward_core::id::{PolicyName, RunId};
use opsward_core::run::{Entry, Mode, RunState};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What `opsward invoke` was told.
#[derive(Debug, Clone, clap::Args)]
pub struct InvokeArgs {
    /// The policy, whatever events it is woken by
    policy: PolicyName,
    /// The event: a CloudEvent as JSON, or a notification as CloudMonitor posts it; `-` reads it from standard input
    #[arg(long, value_name = "FILE", required_unless_present = "event_id")]
    event: Option<PathBuf>,
    /// An event that the store has, by its id
    #[arg(long, value_name = "ID", conflicts_with = "event")]
    event_id: Option<String>,
    /// Make no effect: show what the policy would do
    #[arg(long)]
    dry_run: bool,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// How long a dry run may take: it waits for nothing that it has simulated, and what else a policy waits for takes hours.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Carries it out. Exit code 1 where the policy did not end as it wanted.
pub(super) async fn run(config: &Path, args: InvokeArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let settings = read_settings(config)?;
    if !args.dry_run {
        return through_the_host(config, &settings, &args, out).await;
    }
    let event = match (&args.event_id, &args.event) {
        (Some(id), _) => stored(&host_admin::store_of(config, &settings)?, id)?,
        (None, file) => read_event(file.as_deref())?,
    };
    let base = config.parent().map(Path::to_owned).unwrap_or_default();
    let run = dry_run(settings, base, &args.policy, event).await?;
    runs::print_one(&run, args.output, SystemClock.now(), out)?;
    if let Output::Table = args.output {
        writeln!(out, "\n{}", summed_up(&run))?;
    }
    Ok(ExitCode::from(u8::from(run.row.state != RunState::Done)))
}

/// What a dry run comes to, in one line.
fn summed_up(run: &RunDetail) -> String {
    let (mut made, mut refused) = (0, 0);
    for record in &run.ledger {
        match &record.entry {
            Entry::Call { answered, reply: Ok(_), .. } if answered.is_simulated() => made += 1,
            Entry::Call { reply: Err(_), .. } => refused += 1,
            Entry::Retried { .. } => (made, refused) = (0, 0),
            _ => {}
        }
    }
    let plural = |count: u32, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let refused = match refused {
        0 => String::new(),
        count => format!(", {} refused", plural(count, "call")),
    };
    let end = match run.row.state {
        state if state.is_final() || state == RunState::Held => String::new(),
        _ => format!("; it has not ended within {} s", PATIENCE.as_secs()),
    };
    format!("dry run: {} would be made{refused}, nothing was changed{end}", plural(made, "effect"))
}

fn read_event(file: Option<&Path>) -> anyhow::Result<Event> {
    let path = file.unwrap_or(Path::new("-"));
    let shown = path.display();
    let source: Box<dyn std::io::Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).with_context(|| format!("cannot read {shown}"))?),
    };
    let mut text = String::new();
    let limit = BODY_BYTES_MAX as u64 + 1;
    source.take(limit).read_to_string(&mut text).with_context(|| format!("cannot read {shown}"))?;
    given(&text, SystemClock.now()).with_context(|| {
        format!("{shown} is neither a CloudEvent nor a notification as CloudMonitor posts it")
    })
}

fn stored(store: &Path, id: &str) -> anyhow::Result<Event> {
    let found = SqliteStore::open_read_only(store)?.find_event(id)?;
    found.with_context(|| format!("the store has no event with the id `{id}`"))
}

/// Runs the policy here, in dry run, on a store of its own.
async fn dry_run(
    settings: HostSettings,
    base: PathBuf,
    name: &PolicyName,
    event: Event,
) -> anyhow::Result<RunDetail> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let opsward_core::config::StoreSettings::Sqlite { path } = &settings.store;
    let cache = settings.plugins.cache_dir.clone().unwrap_or_else(|| path.with_extension("cache"));
    let guests = guests(&base.join(cache), ServeArgs { single_process: false }).await?;
    let found = Arc::new(Policies::default());
    let host = settings.clone();
    let registry =
        Registry::open(guests.clone(), base.clone(), settings, found.clone(), Arc::default()).await?;
    let policy = in_dry_run(&registry, &found, &host, name)?;
    let cloud = Arc::new(cloud_of(&host, &base, &policy, clock.clone())?);

    let directory = tempfile::Builder::new().prefix("opsward-invoke-").tempdir()?;
    let store = SqliteStore::open(&directory.path().join("opsward.db"))?;
    let (work, policies) = (Arc::new(Notify::new()), policies_of(policy.clone()));
    let accept = Accept {
        store: store.clone(),
        policies: policies.clone(),
        clock: clock.clone(),
        work: work.clone(),
        seen: Arc::default(),
    };
    let (run, _) = accept.invoke(event, &policy).await?;
    let worker = worker_of(guests, registry, policies, Broker::new(store.clone(), cloud, clock), work);
    let ended = work_on(worker, &store, &run).await;
    store.close().await?;
    ended
}

/// The policy as it is to run here.
fn in_dry_run(
    registry: &Registry,
    found: &Policies,
    host: &HostSettings,
    name: &PolicyName,
) -> anyhow::Result<Arc<LivePolicy>> {
    if let Some(live) = found.load().find(name) {
        let mut settings = live.settings.clone();
        settings.mode = Mode::DryRun;
        // Asked once: a person sees a failure, and asks again.
        settings.retry.attempts = 1;
        return Ok(Arc::new(LivePolicy { settings, revision: live.revision.clone() }));
    }
    let file = format!("{name}.toml");
    let status = registry.status();
    let refused =
        status.policies.iter().find(|known| known.file == file).and_then(|known| known.refused.as_ref());
    match refused {
        Some(reason) => bail!("{file} is refused: {reason}"),
        None => bail!("no policy is called `{name}` in `{}`", host.plugins.dir.display()),
    }
}

/// The way to the one account that the policy has, with the secrets that its file lists.
fn cloud_of(
    host: &HostSettings,
    base: &Path,
    policy: &LivePolicy,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<CloudClient> {
    let account = policy.settings.account.as_ref().and_then(|name| host.accounts.get(name));
    let accounts = account.map(|settings| read_account(settings, base)).transpose()?;
    let mut secrets = HashMap::new();
    for (name, reference) in host.secrets.iter().filter(|(name, _)| policy.settings.secrets.contains(name)) {
        secrets.insert(name.clone(), resolve(reference, base).with_context(|| format!("secret {name}"))?);
    }
    Ok(CloudClient::new(accounts.into_iter().collect(), secrets, clock)?)
}

fn policies_of(policy: Arc<LivePolicy>) -> Arc<Policies> {
    let policies = Arc::new(Policies::default());
    policies.store(PolicySet { policies: vec![policy], ..PolicySet::default() });
    policies
}

fn worker_of(
    guests: Guests,
    registry: Arc<Registry>,
    policies: Arc<Policies>,
    broker: Broker,
    work: Arc<Notify>,
) -> Arc<Worker> {
    let next_wake = AtomicI64::new(0);
    Arc::new(Worker { guests, registry, policies, broker, runs_max: 1, work, next_wake })
}

/// Lets the worker work until the run has ended, or for as long as anybody waits.
async fn work_on(worker: Arc<Worker>, store: &SqliteStore, run: &RunId) -> anyhow::Result<RunDetail> {
    let (stop, stopping) = watch::channel(false);
    let working = tokio::spawn(worker.run(stopping));
    let look = async || {
        let found = store.find_runs(run.as_str(), 1).await?.pop();
        found.context("the run is not in its own store")
    };
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            let run = look().await?;
            if run.row.state.is_final() || run.row.state == RunState::Held {
                return anyhow::Ok(run);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
    let ended = ended.await;
    stop.send_replace(true);
    working.await.context("the worker failed")?;
    match ended {
        Ok(ended) => ended,
        Err(_) => look().await,
    }
}

/// Has the running host take the event for the policy.
async fn through_the_host(
    config: &Path,
    settings: &HostSettings,
    args: &InvokeArgs,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let file = host_admin::store_of(config, settings)?;
    let event = match &args.event_id {
        Some(id) => Event { source: manual_source(), ..stored(&file, id)? },
        None => read_event(args.event.as_deref())?,
    };
    let host = match Taker::of(&file)? {
        Taker::Host(host) => host,
        Taker::Store(store) => {
            store.close().await?;
            bail!("no host runs that could do it: start `opsward serve`, or look with --dry-run");
        }
    };
    let page = format!("/api/v1/policies/{}/invoke", args.policy);
    let told: Value = host_admin::post(host, &page, &json!({ "event": event })).await?;
    let (run, is_new) = (told["run"].as_str().unwrap_or_default(), told["new"] == true);
    match args.output {
        Output::Json => writeln!(out, "{told}")?,
        Output::Table if is_new => writeln!(out, "run {run} is begun: opsward run show {run}")?,
        Output::Table => writeln!(out, "nothing is begun: run {run} has this event already")?,
    }
    Ok(ExitCode::from(u8::from(!is_new)))
}

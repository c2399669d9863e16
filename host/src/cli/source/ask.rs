//! Asks the policy that may change the cloud's side of a source: the running host takes an event for it, as from `opsward invoke`, and
//! the command waits for the run. There is no other way to the cloud than a run, so that what is done is granted, limited, recorded
//! and halted like all else. Leaves what is asked to `apply` and `drill`. Tested by `tests/tests/it/setup.rs`.

use super::steps::Lang;
use crate::cli::ServeArgs;
use crate::cli::host_admin;
use crate::clock::{Clock as _, SystemClock};
use crate::plugin::registry::Registry;
use crate::policy::{LivePolicy, Policies, PolicySet};
use crate::service::guests;
use crate::store::RunDetail;
use crate::store::sqlite::SqliteStore;
use anyhow::Context as _;
use opsward_core::config::{HostSettings, SourceSettings};
use opsward_core::event::{Event, manual_source};
use opsward_core::id::PolicyName;
use opsward_core::run::{Entry, Mode, RunState};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The event that asks for a rule which sends to the source. A plugin that names this type can do it.
pub(super) const SETUP: &str = "opsward.source.setup";
/// The event that asks for a test event.
pub(super) const DRILL: &str = "opsward.source.drill";
/// How long somebody at the terminal waits for a run: it is a few calls, with all their repetitions.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The policies as the service would have them.
pub(super) async fn live(settings: HostSettings, base: &Path) -> anyhow::Result<Arc<PolicySet>> {
    let found = Arc::new(Policies::default());
    let guests = guests(&base.join(settings.cache_dir()), ServeArgs { single_process: false }).await?;
    let _registry = Registry::open(guests, base.to_owned(), settings, found.clone(), Arc::default()).await?;
    Ok(found.load())
}

/// The policy of the source's account whose plugin takes events of the type `asked`.
///
/// # Errors
/// Why there is none, for a person.
pub(super) fn policy_for<'l>(
    live: &'l PolicySet,
    source: &SourceSettings,
    asked: &str,
    lang: Lang,
) -> Result<&'l LivePolicy, String> {
    let Some(account) = &source.account else {
        let name = &source.name;
        return Err(lang.of(
            format!("the source `{name}` has no `account` whose cloud could be asked"),
            format!("来源 `{name}` 没有可以请求云的 `account`"),
        ));
    };
    let takes = |policy: &&Arc<LivePolicy>| {
        policy.settings.mode != Mode::Off
            && policy.settings.account.as_ref() == Some(account)
            && policy.revision.description.triggers.iter().flatten().any(|kind| kind == asked)
    };
    let able: Vec<_> = live.policies.iter().filter(takes).collect();
    match able.as_slice() {
        [] => Err(lang.of(
            format!("no policy of the account `{account}` takes `{asked}`: docs/sources.md, \"Having it done\", shows the file of one"),
            format!("账号 `{account}` 没有接收 `{asked}` 的策略:docs/sources.md 的 \"Having it done\" 一节有示例文件"),
        )),
        [one] => Ok(one),
        several => {
            let names: Vec<&str> = several.iter().map(|policy| policy.settings.name.as_str()).collect();
            let names = names.join(", ");
            Err(lang.of(
                format!("more than one policy takes `{asked}`: {names}; switch off all but one"),
                format!("不止一个策略接收 `{asked}`:{names};只保留一个,停用其余的"),
            ))
        }
    }
}

/// Has the host that listens at `socket` give the event to the policy; the run's id.
pub(super) async fn begin(
    socket: PathBuf,
    policy: &PolicyName,
    source: &SourceSettings,
    asked: &str,
    data: &Value,
) -> anyhow::Result<String> {
    let now = SystemClock.now();
    let event = Event {
        source: manual_source(),
        // Each time somebody asks is a time of its own.
        id: format!("{asked} {} {now}", source.name),
        kind: asked.to_owned(),
        subject: None,
        time: now,
        data: data.to_string(),
        incident: None,
        account: None,
        region: None,
        level: None,
        transition: None,
    };
    let page = format!("/api/v1/policies/{policy}/invoke");
    let told = host_admin::post(socket, &page, &json!({ "event": event })).await?;
    Ok(told["run"].as_str().context("the host names no run")?.to_owned())
}

/// The mode that the host ran it in, which is not always that of the policy's file by now; `None` where it has not begun.
pub(super) fn mode_of(run: &RunDetail) -> Option<Mode> {
    run.ledger.iter().rev().find_map(|record| match record.entry {
        Entry::Started { mode, .. } => Some(mode),
        _ => None,
    })
}

/// Whether it is done, and the cloud has taken something from it: a dry run is done as well.
pub(super) fn is_made(run: &RunDetail) -> bool {
    let taken = |entry: &Entry| matches!(entry, Entry::Result { reply: Ok(_), .. });
    run.row.state == RunState::Done && run.ledger.iter().any(|record| taken(&record.entry))
}

/// The run once it has ended or is held; as it stands where that takes longer than `patience`.
pub(super) async fn ended(store: &Path, run: &str, patience: Duration) -> anyhow::Result<RunDetail> {
    let store = SqliteStore::open_read_only(store)?;
    let begun = Instant::now();
    loop {
        let found = store.find_runs(run, 1)?.pop().context("the run is not in the store")?;
        let state = found.row.state;
        if state.is_final() || state == RunState::Held || begun.elapsed() >= patience {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

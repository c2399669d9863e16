//! `opsward source setup --apply`: has the calls made that hold no secret, by the policy that may make them. The target of a rule that
//! posts here would hold the path token, which an effect's record must not: that is said, and nothing is sent. Leaves what the calls
//! are to `setup` and to the policy's plugin. Tested by `tests/tests/it/setup.rs`.

use super::ask;
use super::setup::{Wanted, rule_of};
use super::steps::Lang;
use crate::cli::enable::confirmed;
use crate::cli::host_admin::Taker;
use crate::cli::text::cut;
use crate::policy::PolicySet;
use crate::store::{RunDetail, Store as _};
use anyhow::{Context as _, bail};
use opsward_core::config::{Comes, SourceSettings};
use opsward_core::event::SourceKind;
use opsward_core::line::one_line;
use opsward_core::run::{Mode, RunState};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Digits of a run's id that people are shown.
pub(super) const ID_CHARS: usize = 12;

/// Why the calls of a source are not made for a person, where they are not.
pub(super) fn not_made(source: &SourceSettings, lang: Lang) -> Option<&'static str> {
    match (source.kind, &source.comes) {
        (SourceKind::AlibabaMns, Comes::Queue(_)) => None,
        (SourceKind::AlibabaCloudmonitor, _) => Some(lang.of(
            "the target of this rule holds the path token, which would stand in the ledger and in the audit chain: enter the calls above \
             yourself, or have the events put into a queue (kind `alibaba-mns`), whose target holds no secret",
            "该规则的目标含有路径令牌,它会留在账本和审计链中:请自行执行上面的调用,或让事件进入队列(类型 `alibaba-mns`),其目标不含密钥",
        )),
        _ => Some(lang.of(
            "no call points a cloud at this kind of source: the steps above do",
            "没有调用能让云指向这类来源:请按上面的步骤操作",
        )),
    }
}

const APPROVAL_ZH: &str = "尚未结束:`opsward approval ls` 列出等待人批准的变更";

/// What came of asking.
pub(super) struct Applied {
    pub(super) run: RunDetail,
    /// The one that it ran in, or is to run in.
    mode: Mode,
}

impl Applied {
    pub(super) fn is_made(&self) -> bool {
        ask::is_made(&self.run)
    }
}

/// Has the running host make the rule and its target; the run, unless the person says no.
pub(super) async fn apply(
    source: &SourceSettings,
    wanted: &Wanted,
    region: Option<&str>,
    live: &PolicySet,
    store: &Path,
    (yes, lang): (bool, Lang),
) -> anyhow::Result<Option<Applied>> {
    let Comes::Queue(queue) = &source.comes else { bail!("the source reads from no queue") };
    if wanted.names.is_empty() {
        bail!("no enabled policy wants events of ECS from `{}`: nothing was sent", source.name);
    }
    let fix = format!(
        "say where the queue is: add `region = \"cn-hangzhou\"` to `queue` of `[sources.{}]`",
        source.name
    );
    let of_queue = queue.region.as_deref().context(fix)?;
    let policy = ask::policy_for(live, source, ask::SETUP, lang).map_err(anyhow::Error::msg)?;
    let (name, mode) = (&policy.settings.name, policy.settings.mode);
    let socket = match Taker::of(store)? {
        Taker::Host(socket) => socket,
        Taker::Store(store) => {
            store.close().await?;
            bail!("no host runs that could do it: start `opsward serve` first");
        }
    };
    let as_mode = mode.as_str();
    let question = lang.of(
        format!("have the policy `{name}` (mode {as_mode}) make these calls?"),
        format!("让策略 `{name}`(模式 {as_mode})执行这些调用?"),
    );
    if !confirmed(yes, &question)? {
        return Ok(None);
    }
    let data = json!({
        "rule": rule_of(&source.name), "region": region.unwrap_or(of_queue), "product": "ECS", "names": wanted.names,
        "queue": { "name": queue.name, "region": of_queue },
    });
    let run = ask::begin(socket, name, source, ask::SETUP, &data).await?;
    // A person takes longer than anybody waits at the terminal.
    let patience = if mode == Mode::Approve { Duration::ZERO } else { ask::PATIENCE };
    let run = ask::ended(store, &run, patience).await?;
    let mode = ask::mode_of(&run).unwrap_or(mode);
    Ok(Some(Applied { run, mode }))
}

/// Says how the run ended, and what is next.
pub(super) fn tell(
    applied: &Applied,
    source: &SourceSettings,
    lang: Lang,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let Applied { run, mode } = applied;
    let id = cut(run.row.id.as_str(), ID_CHARS);
    let state = run.row.state;
    let note = run.row.note.as_deref().map(one_line).unwrap_or_default();
    match state.is_final() || state == RunState::Held {
        true => writeln!(out, "{}: {note}", state.as_str())?,
        false if *mode == Mode::Approve => {
            let what = lang.of("not ended: `opsward approval ls` shows what waits for a person", APPROVAL_ZH);
            writeln!(out, "{what}")?
        }
        false => {
            let note = if note.is_empty() { String::new() } else { format!(": {note}") };
            let state = state.as_str();
            let what = lang.of(
                format!("not ended ({state}){note}: `opsward halt --list` shows what is halted"),
                format!("尚未结束({state}){note}:`opsward halt --list` 列出被叫停的策略"),
            );
            writeln!(out, "{what}")?
        }
    }
    writeln!(out, "  {} {id}: `opsward run show {id}`", lang.of("run", "运行"))?;
    if applied.is_made() {
        let name = &source.name;
        let what = lang.of(
            format!("`opsward source drill {name}` has a test event sent through it"),
            format!("`opsward source drill {name}` 可经由它发送一个测试事件"),
        );
        writeln!(out, "  {what}")?;
    }
    Ok(())
}

/// Says so where the run is done and the cloud is as it was.
pub(super) fn tell_not_made(applied: &Applied, lang: Lang) -> std::io::Result<()> {
    if applied.run.row.state != RunState::Done || applied.is_made() {
        return Ok(());
    }
    let why = match applied.mode {
        Mode::DryRun => lang.of(
            "the policy is in dry-run; write mode = \"enforce\"",
            "策略处于 dry-run;请写 mode = \"enforce\"",
        ),
        _ => lang.of("the policy made no call that changes anything", "策略没有执行任何变更调用"),
    };
    writeln!(std::io::stderr(), "opsward: {}{why}", lang.of("nothing was made: ", "没有做任何变更:"))
}

/// What programs are told of the run.
pub(super) fn shown(applied: Option<&Applied>) -> Value {
    applied.map_or(
        Value::Null,
        |Applied { run, .. }| json!({ "id": run.row.id, "state": run.row.state.as_str(), "note": run.row.note }),
    )
}

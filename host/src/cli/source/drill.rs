//! `opsward source drill`: has the cloud send a test event, or says how to, and waits until it has come all the way: through the cloud,
//! its rule, the network, the host and into the store. Leaves how each kind is asked for one to `steps`, and sending to the policy that
//! may. Tested by `tests/tests/it/setup.rs` and `sources.rs`.

use super::apply::ID_CHARS;
use super::steps::{self, Lang};
use super::{ask, find, setup};
use crate::cli::Config;
use crate::cli::enable::confirmed;
use crate::cli::host_admin::{self, Taker};
use crate::cli::runs::Output;
use crate::cli::text::{cut, print_json, span};
use crate::clock::{Clock as _, SystemClock};
use crate::service::read_settings;
use crate::store::Store as _;
use crate::store::sqlite::{Reader, SqliteStore};
use anyhow::bail;
use opsward_core::config::{Comes, HostSettings, SourceSettings};
use opsward_core::event::Event;
use opsward_core::id::{PolicyName, SourceName};
use opsward_core::line::one_line;
use opsward_core::run::{Mode, RunState, has_acted};
use opsward_core::source::UNDECODABLE;
use opsward_core::time::Timestamp;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What `opsward source drill` was told.
#[derive(clap::Args)]
pub struct DrillArgs {
    #[command(flatten)]
    config: Config,
    /// The source
    name: SourceName,
    /// How many seconds to wait for the event
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: u64,
    /// The name of the event that is sent: one that the rule takes
    #[arg(long, value_name = "NAME", default_value = "Instance:SystemFailure.Reboot:Executed")]
    event: String,
    /// Send nothing: say how to, and wait for any event of the source
    #[arg(long)]
    by_hand: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// The language of what is printed, if not that of the terminal
    #[arg(long, value_enum)]
    lang: Option<Lang>,
    /// How to print what arrived
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl DrillArgs {
    fn lang(&self) -> Lang {
        self.lang.unwrap_or_else(Lang::of_terminal)
    }
}

/// Between two looks whether it has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Exit code 0: the event came; 1: it did not.
pub(super) async fn drill(args: &DrillArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let settings = read_settings(&args.config.config)?;
    let source = find(&settings, &args.name)?;
    let path = host_admin::store_of(&args.config.config, &settings)?;
    let host = match Taker::of(&path)? {
        Taker::Host(host) => host,
        Taker::Store(store) => {
            store.close().await?;
            bail!("no host runs that could receive it: start `opsward serve` first");
        }
    };
    let store = SqliteStore::open_read_only(&path)?;
    let before = store.latest_event()?;
    let is_table = args.output == Output::Table;
    let lang = args.lang();
    let sender = sender(args, &settings, source).await?;
    let sent = match &sender {
        Ok(policy) => Some(send(args, source, &settings, policy, (host, &path), out).await?),
        Err(why) if is_table => {
            let id = format!("opsward-drill-{}", SystemClock.now().ms());
            let event = steps::test_event(
                &args.event,
                setup::region_of(&settings, source).unwrap_or("cn-hangzhou"),
                &id,
            );
            let url = setup::hook_url(source, None);
            writeln!(out, "{}\n", steps::drill(source.kind, lang, &url, (&args.event, &event)))?;
            if let Some(why) = why {
                writeln!(out, "{}{why}", lang.of("nothing is sent from here: ", "这里不会发送:"))?;
            }
            None
        }
        Err(_) => None,
    };
    if let Some(Sent::Not) = sent {
        return Ok(ExitCode::FAILURE);
    }
    let id = sent.as_ref().and_then(|sent| match sent {
        Sent::As(id) => Some(id.as_str()),
        Sent::Not => None,
    });
    if is_table {
        let (wait, name) = (args.wait, &source.name);
        let (en, zh) = match id {
            Some(_) => ("it to come from", "收到它"),
            None => ("any event of the source", "的任一事件"),
        };
        let waiting = lang.of(
            format!("waiting {wait} s for {en} {name} ..."),
            format!("等待 {wait} 秒:来源 {name} {zh} ..."),
        );
        writeln!(out, "{waiting}")?;
        out.flush()?;
    }
    let begun = Instant::now();
    let Some((event, received)) = arrival(args, &store, before, id).await? else {
        tell_missing(args, source, id.is_some())?;
        return Ok(ExitCode::FAILURE);
    };
    tell_arrived(args, &event, received, begun.elapsed(), out)?;
    Ok(ExitCode::SUCCESS)
}

/// Which policy sends it; otherwise why none does, if that is worth saying.
async fn sender(
    args: &DrillArgs,
    settings: &HostSettings,
    source: &SourceSettings,
) -> anyhow::Result<Result<PolicyName, Option<String>>> {
    if args.by_hand || !steps::has_test_event(source.kind) {
        return Ok(Err(None));
    }
    let base = args.config.config.parent().unwrap_or(Path::new(""));
    let live = ask::live(settings.clone(), base).await?;
    Ok(match ask::policy_for(&live, source, ask::DRILL, args.lang()) {
        Ok(policy) if policy.settings.mode == Mode::Enforce => Ok(policy.settings.name.clone()),
        Ok(policy) => {
            let (name, mode) = (&policy.settings.name, policy.settings.mode.as_str());
            Err(Some(args.lang().of(
                format!("the policy `{name}` that could is in mode {mode}"),
                format!("可以发送的策略 `{name}` 处于模式 {mode}"),
            )))
        }
        Err(why) => Err(Some(why)),
    })
}

enum Sent {
    /// With this id.
    As(String),
    Not,
}

/// Has the policy send it, and says so. Each has an id of its own: one that came before would be taken for it.
async fn send(
    args: &DrillArgs,
    source: &SourceSettings,
    settings: &HostSettings,
    policy: &PolicyName,
    (host, store): (PathBuf, &Path),
    out: &mut dyn Write,
) -> anyhow::Result<Sent> {
    let Some(region) = setup::region_of(settings, source) else {
        bail!(
            "say where to ask: add `region = \"cn-hangzhou\"` to the account of the source `{}`",
            source.name
        );
    };
    let (lang, event) = (args.lang(), &args.event);
    let question = lang.of(
        format!("have the policy `{policy}` send a test event through every rule of the account that takes {event}?"),
        format!("让策略 `{policy}` 发送测试事件,经过账号下所有匹配 {event} 的规则?"),
    );
    if !confirmed(args.yes, &question)? {
        return Ok(Sent::Not);
    }
    let id = format!("opsward-drill-{}", SystemClock.now().ms());
    let content = steps::test_event(&args.event, region, &id);
    let data = json!({ "region": region, "product": "ECS", "name": args.event, "content": content });
    let run = ask::begin(host, policy, source, ask::DRILL, &data).await?;
    let run = ask::ended(store, &run, ask::PATIENCE).await?;
    let note = run.row.note.as_deref().map(one_line).unwrap_or_default();
    let shown = cut(run.row.id.as_str(), ID_CHARS);
    if !ask::is_made(&run) {
        let may_be = has_acted(&run.ledger);
        let why = unsent(run.row.state, ask::mode_of(&run), may_be, policy, &note, lang);
        let shows = lang.of("shows why", "显示原因");
        writeln!(std::io::stderr(), "opsward: {why}\n  `opsward run show {shown}` {shows}")?;
        return Ok(Sent::Not);
    }
    if args.output == Output::Table {
        writeln!(out, "{note}{}{id}: `opsward run show {shown}`", lang.of(", as ", ",事件 id 为 "))?;
    }
    Ok(Sent::As(id))
}

/// What is known of a test event that is not known to be sent. Never that it was not, where it may have been.
fn unsent(
    state: RunState,
    mode: Option<Mode>,
    has_acted: bool,
    policy: &PolicyName,
    note: &str,
    lang: Lang,
) -> String {
    let name = state.as_str();
    let (en, zh) = if state == RunState::Done {
        let (en, zh) = mode.map_or(("no mode", "未知"), |mode| (mode.as_str(), mode.as_str()));
        (
            format!("the host ran it in {en}: nothing was sent ({note})"),
            format!("宿主以 {zh} 模式运行:没有发送({note})"),
        )
    } else if state == RunState::Held || (mode != Some(Mode::DryRun) && has_acted) {
        (
            format!("it may have been sent by the policy `{policy}` ({name}): {note}"),
            format!("策略 `{policy}` 可能已经发送({name}):{note}"),
        )
    } else if state.is_final() {
        (
            format!("the policy `{policy}` has not sent it ({name}): {note}"),
            format!("策略 `{policy}` 没有发送({name}):{note}"),
        )
    } else {
        (
            format!(
                "the run has not ended ({name}): it sends the event when it goes on; `opsward halt --policy {policy}` keeps it from that"
            ),
            format!("运行尚未结束({name}):继续时会发送该事件;`opsward halt --policy {policy}` 可阻止它"),
        )
    };
    lang.of(en, zh)
}

/// Whether it is the event that is waited for: the one with that id, or any where there is none. Of what cannot be read nobody knows.
fn is_awaited(event: &Event, id: Option<&str>) -> bool {
    event.kind != UNDECODABLE && id.is_none_or(|id| event.data.contains(id))
}

/// The event with that id among those that come, or any where there is none; `None` where it is not there in time.
async fn arrival(
    args: &DrillArgs,
    store: &Reader,
    before: i64,
    id: Option<&str>,
) -> anyhow::Result<Option<(Event, Timestamp)>> {
    let begun = Instant::now();
    let mut after = before;
    loop {
        while let Some((seq, event, received)) = store.next_event(&args.name, after)? {
            if is_awaited(&event, id) {
                return Ok(Some((event, received)));
            }
            after = seq;
        }
        if begun.elapsed() >= Duration::from_secs(args.wait) {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tell_missing(args: &DrillArgs, source: &SourceSettings, was_sent: bool) -> std::io::Result<()> {
    let DrillArgs { wait, name, event, .. } = args;
    let lang = args.lang();
    let mut error = std::io::stderr();
    let nothing = lang.of(
        format!("nothing came within {wait} s: `opsward source status {name}` shows what was refused"),
        format!("{wait} 秒内没有收到事件:`opsward source status {name}` 显示被拒绝的内容"),
    );
    writeln!(error, "opsward: {nothing}")?;
    if was_sent {
        let rule = setup::rule_of(name);
        let lost = lang.of(
            format!(
                "the cloud has taken it, so that it was lost behind it: does the rule `{rule}`, or yours, take {event}, and is this source its target?\n  \
                 `opsward source setup {name}` prints both"
            ),
            format!(
                "云已接收该事件,它丢在了云之后:规则 `{rule}`(或您自己的规则)是否匹配 {event},目标是否为此来源?\n  \
                 `opsward source setup {name}` 会打印两者"
            ),
        );
        writeln!(error, "  {lost}")?;
        if matches!(source.comes, Comes::Posted(_)) {
            let reached = lang.of(
                "and does the internet reach this host at the URL that the target has?",
                "另外,公网能否通过目标中的 URL 访问到此宿主?",
            );
            writeln!(error, "  {reached}")?;
        }
    }
    Ok(())
}

fn tell_arrived(
    args: &DrillArgs,
    event: &Event,
    received: Timestamp,
    took: Duration,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    if args.output == Output::Json {
        let told = json!({ "event": event, "received": received, "waited_ms": took.as_millis() as u64 });
        return print_json(&told, out);
    }
    let (took, age) = (span(took), span(SystemClock.now().since(event.time)));
    let (kind, id) = (one_line(&event.kind), one_line(&event.id));
    let (subject, time) = (one_line(event.subject.as_deref().unwrap_or("-")), event.time);
    let arrived = args.lang().of(
        format!("arrived after {took}: {kind} {id}\n  subject {subject}, of {time} ({age} ago)"),
        format!("{took} 后收到:{kind} {id}\n  对象 {subject},时间 {time}({age} 之前)"),
    );
    writeln!(out, "{arrived}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_event_is_not_the_one_that_was_sent_and_what_cannot_be_read_is_none() {
        let event = |kind: &str, data: &str| Event {
            source: "in".parse().expect("a name"),
            id: "1".to_owned(),
            kind: kind.to_owned(),
            subject: None,
            time: Timestamp::from_seconds(0),
            data: data.to_owned(),
            incident: None,
            account: None,
            region: None,
            level: None,
            transition: None,
        };
        let ours = Some("opsward-drill-1");
        for (kind, data, id, is) in [
            ("a", r#"{"id":"opsward-drill-1"}"#, ours, true),
            ("a", r#"{"id":"opsward-drill-2"}"#, ours, false),
            ("a", "{}", None, true),
            (UNDECODABLE, "opsward-drill-1", ours, false),
            (UNDECODABLE, "{}", None, false),
        ] {
            assert_eq!(is_awaited(&event(kind, data), id), is, "{kind} {data} {id:?}");
        }
    }

    #[test]
    fn what_may_have_been_sent_is_never_said_to_be_unsent() {
        let policy: PolicyName = "cloud-setup".parse().expect("a name");
        for (state, mode, has_acted, said) in [
            (RunState::Done, Mode::DryRun, true, "the host ran it in dry-run: nothing was sent (why)"),
            (
                RunState::Held,
                Mode::Enforce,
                false,
                "it may have been sent by the policy `cloud-setup` (held): why",
            ),
            (
                RunState::Failed,
                Mode::Enforce,
                true,
                "it may have been sent by the policy `cloud-setup` (failed): why",
            ),
            (
                RunState::Running,
                Mode::Enforce,
                true,
                "it may have been sent by the policy `cloud-setup` (running): why",
            ),
            (RunState::Failed, Mode::DryRun, true, "the policy `cloud-setup` has not sent it (failed): why"),
            (RunState::Dead, Mode::Enforce, false, "the policy `cloud-setup` has not sent it (dead): why"),
            (
                RunState::Ready,
                Mode::Enforce,
                false,
                "the run has not ended (ready): it sends the event when it goes on; `opsward halt --policy cloud-setup` keeps it from that",
            ),
        ] {
            assert_eq!(unsent(state, Some(mode), has_acted, &policy, "why", Lang::En), said);
        }
    }
}

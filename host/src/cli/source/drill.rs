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
    let sender = sender(args, &settings, source).await?;
    let sent = match &sender {
        Ok(policy) => Some(send(args, source, &settings, policy, (host, &path), out).await?),
        Err(why) if is_table => {
            let lang = args.lang.unwrap_or_else(Lang::of_terminal);
            let id = format!("opsward-drill-{}", SystemClock.now().ms());
            let event = steps::test_event(
                &args.event,
                setup::region_of(&settings, source).unwrap_or("cn-hangzhou"),
                &id,
            );
            let url = setup::hook_url(source, None);
            writeln!(out, "{}\n", steps::drill(source.kind, lang, &url, (&args.event, &event)))?;
            if let Some(why) = why {
                writeln!(out, "nothing is sent from here: {why}")?;
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
        let what = if id.is_some() { "it to come from" } else { "any event of the source" };
        writeln!(out, "waiting {} s for {what} {} ...", args.wait, source.name)?;
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
    Ok(match ask::policy_for(&live, source, ask::DRILL) {
        Ok(policy) if policy.settings.mode == Mode::Enforce => Ok(policy.settings.name.clone()),
        Ok(policy) => {
            let (name, mode) = (&policy.settings.name, policy.settings.mode.as_str());
            Err(Some(format!("the policy `{name}` that could is in mode {mode}")))
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
    let question = format!(
        "have the policy `{policy}` send a test event through every rule of the account that takes {}?",
        args.event
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
        let why = unsent(run.row.state, ask::mode_of(&run), may_be, policy, &note);
        writeln!(std::io::stderr(), "opsward: {why}\n  `opsward run show {shown}` shows why")?;
        return Ok(Sent::Not);
    }
    if args.output == Output::Table {
        writeln!(out, "{note}, as {id}: `opsward run show {shown}`")?;
    }
    Ok(Sent::As(id))
}

/// What is known of a test event that is not known to be sent. Never that it was not, where it may have been.
fn unsent(state: RunState, mode: Option<Mode>, has_acted: bool, policy: &PolicyName, note: &str) -> String {
    let name = state.as_str();
    if state == RunState::Done {
        let mode = mode.map_or("no mode", Mode::as_str);
        return format!("the host ran it in {mode}: nothing was sent ({note})");
    }
    if state == RunState::Held || (mode != Some(Mode::DryRun) && has_acted) {
        return format!("it may have been sent by the policy `{policy}` ({name}): {note}");
    }
    if state.is_final() {
        return format!("the policy `{policy}` has not sent it ({name}): {note}");
    }
    format!(
        "the run has not ended ({name}): it sends the event when it goes on; `opsward halt --policy {policy}` keeps it from that"
    )
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
    let (wait, name) = (args.wait, &args.name);
    let mut error = std::io::stderr();
    writeln!(
        error,
        "opsward: nothing came within {wait} s: `opsward source status {name}` shows what was refused"
    )?;
    if was_sent {
        let rule = setup::rule_of(name);
        writeln!(
            error,
            "  the cloud has taken it, so that it was lost behind it: does the rule `{rule}`, or yours, take {}, and is this source its target?\n  \
             `opsward source setup {name}` prints both",
            args.event
        )?;
        if matches!(source.comes, Comes::Posted(_)) {
            writeln!(error, "  and does the internet reach this host at the URL that the target has?")?;
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
    let age = span(SystemClock.now().since(event.time));
    writeln!(out, "arrived after {}: {} {}", span(took), one_line(&event.kind), one_line(&event.id))?;
    let subject = event.subject.as_deref().unwrap_or("-");
    writeln!(out, "  subject {}, of {} ({age} ago)", one_line(subject), event.time)
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
            assert_eq!(unsent(state, Some(mode), has_acted, &policy, "why"), said);
        }
    }
}

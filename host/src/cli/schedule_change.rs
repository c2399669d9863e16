//! `opsward schedule pause|resume|fire`: a person's word on schedules. Leaves keeping it to the store, obeying to every host on
//! that, and where a command's change goes to `host_admin`. Tested in `tests/tests/it/schedules.rs`.

use super::host_admin::{self, Taker};
use super::runs::Output;
use super::schedule::read_policies;
use crate::admin::schedules::ALL_PAUSED;
use crate::clock::{Clock as _, SystemClock};
use crate::store::{Pause, ScheduleKey, Store as _};
use anyhow::{Context as _, bail, ensure};
use opsward_core::id::PolicyName;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Which schedules, and who says so.
#[derive(Debug, Clone, clap::Args)]
pub struct ChangeArgs {
    /// Whose schedules
    policy: PolicyName,
    /// One of them: its text as `opsward schedule ls` shows it, or a part that no other has. Without it `pause` and `resume` mean all that the policy has or comes to have
    schedule: Option<String>,
    /// Who says so
    #[arg(long, value_name = "NAME", default_value_t = host_admin::caller())]
    by: String,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Carries out `opsward schedule pause`.
pub(super) async fn pause(
    config: &Path,
    args: ChangeArgs,
    why: String,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let key = one_or_all(config, &args)?;
    if key.is_all() {
        must_have_a_file(config, &args.policy)?;
    }
    match taker(config)? {
        Taker::Store(store) => {
            let pause = Pause { by: args.by.clone(), why, at: SystemClock.now(), until: None };
            store.pause_schedule(key.clone(), pause).await?;
            store.close().await?;
        }
        Taker::Host(admin) => {
            let mut body = asked(&key, &args);
            body["why"] = json!(why);
            host_admin::post(admin, "/api/v1/schedules/pause", &body).await?;
        }
    }
    tell(&args, &json!({ "paused": [key] }), out, || match key.is_all() {
        true => format!(
            "{0}: all its schedules, whatever they are or become, are paused until `opsward schedule resume {0}`",
            key.policy
        ),
        false => format!(
            "{}: paused until `opsward schedule resume {} \"{0}\"`, or until its text is changed",
            key.schedule, key.policy
        ),
    })
}

/// Carries out `opsward schedule resume`.
pub(super) async fn resume(
    config: &Path,
    args: ChangeArgs,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let key = one_or_all(config, &args)?;
    let resumed = match taker(config)? {
        Taker::Store(store) => {
            if !key.is_all() {
                let of_all = vec![ScheduleKey::all_of(key.policy.clone())];
                let states = store.schedule_states(of_all, SystemClock.now()).await?;
                ensure!(states.iter().all(|state| state.paused().is_none()), ALL_PAUSED);
            }
            let resumed = store.resume_schedule(key.clone(), args.by.clone(), SystemClock.now()).await?;
            store.close().await?;
            resumed
        }
        Taker::Host(admin) => {
            let told = host_admin::post(admin, "/api/v1/schedules/resume", &asked(&key, &args)).await?;
            told["resumed"].as_array().is_some_and(|list| !list.is_empty())
        }
    };
    if !resumed && key.is_all() {
        must_have_a_file(config, &args.policy)?;
    }
    let ended = if resumed { vec![&key] } else { Vec::new() };
    tell(&args, &json!({ "resumed": ended }), out, || {
        let what = if key.is_all() { key.policy.as_str() } else { &key.schedule };
        match (resumed, key.is_all()) {
            (false, _) => format!("{what}: was not paused"),
            (true, true) => {
                format!("{what}: its schedules fire again; what came during the pause stays skipped")
            }
            (true, false) => format!("{what}: fires again; what came during the pause stays skipped"),
        }
    })
}

/// Carries out `opsward schedule fire`.
pub(super) async fn fire(config: &Path, args: ChangeArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let keys = meant(config, &args)?;
    let [key] = keys.as_slice() else {
        bail!("the policy has {} schedules: name one of {}", keys.len(), shown(&keys));
    };
    let Taker::Host(admin) = taker(config)? else {
        bail!("no host runs, and only a host can run a policy: start `opsward serve`; nothing was fired");
    };
    let told = host_admin::post(admin, "/api/v1/schedules/fire", &asked(key, &args)).await?;
    tell(&args, &told, out, || {
        let run = told["run"].as_str().unwrap_or_default();
        format!("{}: fired; see `opsward run show {run}`", key.schedule)
    })
}

/// What a host is asked about `key`; a policy without a schedule is all of its schedules.
fn asked(key: &ScheduleKey, args: &ChangeArgs) -> Value {
    let mut body = json!({ "policy": key.policy, "by": args.by });
    if !key.is_all() {
        body["schedule"] = json!(key.schedule);
    }
    body
}

fn taker(config: &Path) -> anyhow::Result<Taker> {
    let settings = crate::service::read_settings(config)?;
    Taker::of(&host_admin::store_of(config, &settings)?)
}

/// The one schedule that is named, by the policy's file; all that the policy has or comes to have where none is, for which no good
/// file is needed.
fn one_or_all(config: &Path, args: &ChangeArgs) -> anyhow::Result<ScheduleKey> {
    if args.schedule.is_none() {
        return Ok(ScheduleKey::all_of(args.policy.clone()));
    }
    let fitting = meant(config, args)?.into_iter().next();
    fitting.context("no such schedule")
}

/// A pause of a policy that does not exist would be a slip of the pen.
fn must_have_a_file(config: &Path, policy: &PolicyName) -> anyhow::Result<()> {
    let settings = crate::service::read_settings(config)?;
    let file =
        config.parent().unwrap_or(Path::new("")).join(&settings.plugins.dir).join(format!("{policy}.toml"));
    ensure!(
        file.exists(),
        "no policy is called `{policy}`: there is no `{}`; nothing was changed",
        file.display()
    );
    Ok(())
}

/// The schedules that are meant, by the policy's file.
fn meant(config: &Path, args: &ChangeArgs) -> anyhow::Result<Vec<ScheduleKey>> {
    let settings = crate::service::read_settings(config)?;
    let (policies, problems) = read_policies(config.parent().unwrap_or(Path::new("")), &settings)?;
    let policy = policies.iter().find(|policy| policy.name == args.policy);
    let policy = policy.with_context(|| match problems.is_empty() {
        true => format!("no policy is called `{}`: nothing was changed", args.policy),
        false => format!(
            "no good policy file is called `{}.toml`: `opsward check` says why; without a schedule named, `pause` and `resume` need none",
            args.policy
        ),
    })?;
    let key = |text| ScheduleKey { policy: policy.name.clone(), schedule: text };
    let all: Vec<ScheduleKey> = policy.schedules.iter().map(|one| key(one.shared_text())).collect();
    let Some(part) = &args.schedule else {
        return if all.is_empty() { bail!("policy `{}` has no schedule", args.policy) } else { Ok(all) };
    };
    let exact = all.iter().find(|key| *key.schedule == **part);
    let fitting: Vec<_> = all.iter().filter(|key| key.schedule.contains(part.as_str())).collect();
    match (exact, fitting.as_slice()) {
        (Some(key), _) => Ok(vec![key.clone()]),
        (None, [key]) => Ok(vec![(*key).clone()]),
        (None, []) => bail!("`{part}` is in no schedule of the policy; it has {}", shown(&all)),
        (None, _) => bail!("`{part}` is in more than one schedule of the policy; it has {}", shown(&all)),
    }
}

fn shown(keys: &[ScheduleKey]) -> String {
    let texts: Vec<_> = keys.iter().map(|key| format!("`{}`", key.schedule)).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn tell(
    args: &ChangeArgs,
    answer: &Value,
    out: &mut impl Write,
    line: impl FnOnce() -> String,
) -> anyhow::Result<ExitCode> {
    match args.output {
        Output::Json => writeln!(out, "{answer}")?,
        Output::Table => writeln!(out, "{}", line())?,
    }
    Ok(ExitCode::SUCCESS)
}

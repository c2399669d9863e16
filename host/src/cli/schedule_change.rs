//! `opsward schedule pause|resume|fire`: a person's word on schedules. Leaves keeping it to the store, obeying to every host on
//! that, and where a command's change goes to `host_admin`. Tested in `tests/tests/it/schedules.rs`.

use super::host_admin::{self, Taker};
use super::runs::Output;
use super::schedule::read_policies;
use crate::clock::{Clock as _, SystemClock};
use crate::store::{Pause, ScheduleKey, Store as _};
use anyhow::{Context as _, bail};
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
    /// One of them: its text as `opsward schedule ls` shows it, or a part that no other has; all where it is not given
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
    let keys = meant(config, &args)?;
    match taker(config)? {
        Taker::Store(store) => {
            for key in &keys {
                let pause =
                    Pause { by: args.by.clone(), why: why.clone(), at: SystemClock.now(), until: None };
                store.pause_schedule(key.clone(), pause).await?;
            }
            store.close().await?;
        }
        Taker::Host(admin) => {
            for key in &keys {
                let body =
                    json!({ "policy": key.policy, "schedule": key.schedule, "by": args.by, "why": why });
                host_admin::post(admin.clone(), "/api/v1/schedules/pause", &body).await?;
            }
        }
    }
    tell(&args, &json!({ "paused": keys }), out, || {
        let resume = format!("opsward schedule resume {}", args.policy);
        keys.iter().map(|key| format!("{}: paused until `{resume}`", key.schedule)).collect()
    })
}

/// Carries out `opsward schedule resume`.
pub(super) async fn resume(
    config: &Path,
    args: ChangeArgs,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let keys = meant(config, &args)?;
    let mut resumed = Vec::new();
    match taker(config)? {
        Taker::Store(store) => {
            for key in &keys {
                if store.resume_schedule(key.clone(), args.by.clone(), SystemClock.now()).await? {
                    resumed.push(key);
                }
            }
            store.close().await?;
        }
        Taker::Host(admin) => {
            for key in &keys {
                let body = json!({ "policy": key.policy, "schedule": key.schedule, "by": args.by });
                let told = host_admin::post(admin.clone(), "/api/v1/schedules/resume", &body).await?;
                resumed
                    .extend(told["resumed"].as_array().is_some_and(|list| !list.is_empty()).then_some(key));
            }
        }
    }
    tell(&args, &json!({ "resumed": resumed }), out, || {
        let line = |key: &ScheduleKey| match resumed.contains(&key) {
            true => format!("{}: fires again; what came during the pause stays skipped", key.schedule),
            false => format!("{}: was not paused", key.schedule),
        };
        keys.iter().map(line).collect()
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
    let body = json!({ "policy": key.policy, "schedule": key.schedule, "by": args.by });
    let told = host_admin::post(admin, "/api/v1/schedules/fire", &body).await?;
    tell(&args, &told, out, || {
        let run = told["run"].as_str().unwrap_or_default();
        vec![format!("{}: fired; see `opsward run show {run}`", key.schedule)]
    })
}

fn taker(config: &Path) -> anyhow::Result<Taker> {
    let settings = crate::service::read_settings(config)?;
    Taker::of(&host_admin::store_of(config, &settings)?)
}

/// The schedules that are meant, by the policy's file.
fn meant(config: &Path, args: &ChangeArgs) -> anyhow::Result<Vec<ScheduleKey>> {
    let settings = crate::service::read_settings(config)?;
    let (policies, problems) = read_policies(config.parent().unwrap_or(Path::new("")), &settings)?;
    let policy = policies.iter().find(|policy| policy.name == args.policy);
    let policy = policy.with_context(|| match problems.is_empty() {
        true => format!("no policy is called `{}`: nothing was changed", args.policy),
        false => format!("no good policy file is called `{}.toml`: `opsward check` says why", args.policy),
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
    lines: impl FnOnce() -> Vec<String>,
) -> anyhow::Result<ExitCode> {
    match args.output {
        Output::Json => writeln!(out, "{answer}")?,
        Output::Table => {
            lines().iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `opsward schedule next|ls|pause|resume|fire`: what schedules say and when they fire, and a person's word on them. This file has
//! what needs no host but the files; what changes something is in `schedule_change`. Tested in `tests/tests/it/schedules.rs`.

use super::runs::Output;
use super::schedule_change::{self, ChangeArgs};
use super::text::{Align, aligned, print_json, span};
use super::{Config, EXIT_CONFIG};
use crate::admin::schedules::{add_state, schedule_json};
use crate::clock::{Clock as _, SystemClock};
use crate::store::sqlite::SqliteStore;
use crate::store::{Pause, ScheduleKey, ScheduleState};
use anyhow::Context as _;
use opsward_core::config::{HostSettings, PolicySettings, StoreSettings, load_policy};
use opsward_core::schedule::{CLOCK_JUMP_MAX, Dialect, Schedule, ScheduleEntry};
use opsward_core::time::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What to do with schedules.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Show what a cron line says and when it fires next; needs no host
    Next(NextArgs),
    /// List the schedules of all policies: what they say, when they fire next, what was decided last, what is paused
    Ls {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// How to print them
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Have a policy's schedules, or one of them, fire no more until `resume`; what comes meanwhile is skipped
    Pause {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// Which schedules, and who says so
        #[command(flatten)]
        change: ChangeArgs,
        /// Why; shown wherever the pause is
        #[arg(long, value_name = "TEXT", default_value = "")]
        why: String,
    },
    /// End a pause
    Resume {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// Which schedules, and who says so
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Have a schedule fire now, once, as if its time had come
    Fire {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// Which schedules, and who says so
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// What `opsward schedule next` was asked.
#[derive(Debug, Clone, clap::Args)]
pub struct NextArgs {
    /// The cron line, as one argument
    #[arg(required_unless_present = "every", conflicts_with = "every")]
    cron: Option<String>,
    /// An interval, in place of a cron line
    #[arg(long, value_name = "PERIOD")]
    every: Option<String>,
    /// Who the line was written for: unix, scf, fc or quartz
    #[arg(long, value_parser = dialect)]
    dialect: Option<Dialect>,
    /// The IANA zone it is meant in, such as Asia/Shanghai
    #[arg(long)]
    zone: Option<String>,
    /// How many fire times
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// From when on, in RFC 3339; from now where it is not given
    #[arg(long, value_name = "TIME", value_parser = instant)]
    from: Option<Timestamp>,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Does it.
pub(super) async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Next(args) => next(&args, SystemClock.now(), out),
        Command::Ls { config, output } => list(&config.config, SystemClock.now(), output, out),
        Command::Pause { config, change, why } => {
            schedule_change::pause(&config.config, change, why, out).await
        }
        Command::Resume { config, change } => schedule_change::resume(&config.config, change, out).await,
        Command::Fire { config, change } => schedule_change::fire(&config.config, change, out).await,
    }
}

fn dialect(text: &str) -> Result<Dialect, String> {
    let found = Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == text);
    found.ok_or_else(|| "a dialect is unix, scf, fc or quartz".to_owned())
}

fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "write a time such as 2026-10-01T00:00:00Z".to_owned())
}

/// Carries out `opsward schedule next`. Exit code 2: it is no schedule.
fn next(args: &NextArgs, now: Timestamp, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    const EXIT_USAGE: u8 = 2;
    let entry = ScheduleEntry {
        cron: args.cron.clone(),
        every: args.every.clone(),
        dialect: args.dialect,
        zone: args.zone.clone(),
        ..ScheduleEntry::default()
    };
    let schedule = match Schedule::parse(&entry) {
        Ok(schedule) => schedule,
        Err(problem) => {
            writeln!(std::io::stderr(), "error: {problem}")?;
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let (from, count) = (args.from.unwrap_or(now), usize::from(args.count));
    let times = schedule.display_next(count, from);
    match args.output {
        Output::Json => {
            let mut shown = schedule_json(&schedule, from);
            shown["next_at"] = json!(schedule.upcoming(from).take(count).collect::<Vec<_>>());
            shown["next"] = json!(times);
            print_json(&shown, out)?;
        }
        Output::Table => {
            let words = schedule.words();
            writeln!(out, "{}\n{}\n", words.en, words.zh)?;
            let until = schedule
                .upcoming(from)
                .map(|at| if at > now { format!("in {}", span(at.since(now))) } else { String::new() });
            let rows: Vec<_> = times.into_iter().zip(until).map(|(at, until)| [at, until]).collect();
            for line in aligned(&rows, [Align::Left, Align::Right]) {
                writeln!(out, "{line}")?;
            }
            if rows.is_empty() {
                writeln!(out, "never again")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Carries out `opsward schedule ls`. Exit code 78: a policy file cannot be read as one; the others are shown.
fn list(config: &Path, now: Timestamp, output: Output, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = crate::service::read_settings(config)?;
    let base = config.parent().unwrap_or(Path::new(""));
    let (policies, problems) = read_policies(base, &settings)?;
    let all: Vec<(&PolicySettings, &Schedule)> =
        policies.iter().flat_map(|policy| policy.schedules.iter().map(move |one| (policy, one))).collect();
    let keys: Vec<ScheduleKey> = all
        .iter()
        .map(|(policy, one)| ScheduleKey { policy: policy.name.clone(), schedule: one.shared_text() })
        .collect();
    let StoreSettings::Sqlite { path } = &settings.store;
    let path = base.join(path);
    // Before the first start there is no store, and nothing is recorded.
    let (states, pauses) = match path.exists() {
        true => {
            let reader = SqliteStore::open_read_only(&path)?;
            (reader.schedule_states(&keys, now + CLOCK_JUMP_MAX)?, reader.lasting_pauses()?)
        }
        false => (vec![ScheduleState::default(); keys.len()], Vec::new()),
    };
    // Of a policy without a good file, or of a text that has been changed.
    let shown =
        |key: &ScheduleKey| keys.iter().any(|one| key == one || key.is_all() && key.policy == one.policy);
    let unseen: Vec<_> = pauses.into_iter().filter(|(key, _)| !shown(key)).collect();
    match output {
        Output::Json => {
            let entries = all.iter().zip(&states).map(|((policy, schedule), state)| {
                let mut entry = schedule_json(schedule, now);
                entry["policy"] = json!(policy.name);
                add_state(&mut entry, state);
                entry
            });
            let unseen = unseen.iter().map(
                |(key, pause)| json!({ "policy": key.policy, "schedule": key.schedule, "paused": pause }),
            );
            let (schedules, unseen): (Vec<Value>, Vec<Value>) = (entries.collect(), unseen.collect());
            print_json(&json!({ "schedules": schedules, "other_pauses": unseen }), out)?;
        }
        Output::Table => {
            let head = ["POLICY", "SCHEDULE", "FIRES NEXT", "LAST DECISION", ""].map(str::to_owned);
            let rows =
                all.iter().zip(&states).flat_map(|((policy, one), state)| rows(policy, one, state, now));
            let table: Vec<_> = std::iter::once(head).chain(rows).collect();
            match table.len() {
                1 => writeln!(out, "no policy has a schedule")?,
                _ => aligned(&table, [Align::Left; 5]).iter().try_for_each(|line| writeln!(out, "{line}"))?,
            }
            for (key, pause) in &unseen {
                let what = match key.is_all() {
                    true if policies.iter().any(|policy| policy.name == key.policy) => {
                        "all its schedules, of which it has none now".to_owned()
                    }
                    true => "all its schedules, of which none can be read now".to_owned(),
                    false => format!("`{}`, which is not in its file", key.schedule),
                };
                writeln!(out, "{}: {what}: {}", key.policy, paused(pause))?;
            }
        }
    }
    for problem in &problems {
        writeln!(std::io::stderr(), "{problem}")?;
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CONFIG) })
}

/// The policies of the plugins directory, and what is wrong in files that are none.
pub(super) fn read_policies(
    base: &Path,
    settings: &HostSettings,
) -> anyhow::Result<(Vec<PolicySettings>, Vec<String>)> {
    let dir = base.join(&settings.plugins.dir);
    let shown = dir.display().to_string();
    let (mut policies, mut problems) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {shown}"))? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.extension().is_none_or(|ending| ending != "toml") || stem.starts_with('.') {
            continue;
        }
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        match load_policy(&path.display().to_string(), stem, &text, settings) {
            Ok(policy) => policies.push(policy),
            Err(findings) => problems.extend(findings.iter().map(ToString::to_string)),
        }
    }
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((policies, problems))
}

fn paused(pause: &Pause) -> String {
    let why = if pause.why.is_empty() { String::new() } else { format!(": {}", pause.why) };
    format!("paused by {}{why}", pause.by)
}

/// The schedule, and below it what it says.
fn rows(
    policy: &PolicySettings,
    schedule: &Schedule,
    state: &ScheduleState,
    now: Timestamp,
) -> [[String; 5]; 3] {
    let next = schedule.display_next(1, now).pop().unwrap_or_else(|| "never again".to_owned());
    let latest = state
        .latest
        .as_ref()
        .map(|latest| format!("{} {} ago", latest.decision.as_str(), span(now.since(latest.decided_at))));
    let note = match (state.paused(), state.waiting, state.unfinished) {
        (Some(pause), ..) => paused(pause),
        (None, Some(_), _) => "one waits for the last run to end".to_owned(),
        (None, None, true) => "its last run has not ended".to_owned(),
        (None, None, false) => String::new(),
    };
    let words = schedule.words();
    let [empty, en, zh] = ["", &words.en, &words.zh].map(str::to_owned);
    let below = |words: String| [empty.clone(), words, empty.clone(), empty.clone(), empty.clone()];
    let first = [
        policy.name.to_string(),
        schedule.text().to_owned(),
        next,
        latest.unwrap_or_else(|| "none yet".to_owned()),
        note,
    ];
    [first, below(en), below(zh)]
}

//! `opsward enable <plugin>`: shows what a plugin asks for and why, and writes the policy's file with the least of it, in dry-run and
//! pinned to the plugin's digest. Never writes over a file. `update` shows what a new revision changes, and moves the pin. Leaves
//! the text to `opsward_core::config::draft`. Tested in `tests/tests/it/enable.rs`.

mod update;

use super::check::{guests, table};
use super::{Config, EXIT_CANT_CREATE};
use crate::plugin::engine::{Permission, Revision};
use crate::plugin::registry::read_file;
use anyhow::{Context as _, bail};
use opsward_core::catalog::Provider;
use opsward_core::config::draft::{self, Draft};
use opsward_core::config::{HostSettings, load_policy};
use opsward_core::id::{AccountName, PolicyName};
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `opsward enable` was told.
#[derive(Debug, Clone, clap::Args)]
pub struct EnableArgs {
    /// The plugin: its file in the plugins directory, with or without `.wasm`; with --update the policy
    plugin: String,
    /// The policy's name, where it is not the plugin's
    #[arg(long, value_name = "NAME")]
    policy: Option<PolicyName>,
    /// The account its calls go to, where there are several
    #[arg(long, value_name = "NAME")]
    account: Option<AccountName>,
    /// Show what a new revision of its plugin changes, and let that serve from now on
    #[arg(long, conflicts_with = "account")]
    update: bool,
    /// With --update and --yes: grant what it asks for in addition as well
    #[arg(long, requires = "update")]
    grant: bool,
    /// Only show what would be written
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    #[command(flatten)]
    config: Config,
}

/// Carries out `opsward enable`. Exit code 0: done, or shown; 1: not confirmed; 73: there is such a policy.
pub(super) async fn run(args: EnableArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let host = crate::service::read_settings(&args.config.config)?;
    let place = Place::of(&args, &host)?;
    if args.update {
        return update::run(&args, &host, &place, out).await;
    }
    let policy = place.policy.to_string();
    if place.file.symlink_metadata().is_ok() {
        let there = place.file.display();
        writeln!(
            std::io::stderr(),
            "opsward: `{there}` is there and stays as it is: `opsward enable {policy} --update` shows what a new revision changes, \
             and `--policy NAME` makes another policy of the plugin"
        )?;
        return Ok(ExitCode::from(EXIT_CANT_CREATE));
    }
    let revision = place.compile(&format!("{}.wasm", place.plugin)).await?;
    let told = &revision.description;
    let asks: Vec<(&str, &str)> =
        told.permissions.iter().map(|asked| (asked.action.as_str(), asked.reason.as_str())).collect();
    let plugin = format!("{}.wasm", place.plugin);
    let draft = Draft {
        plugin: &plugin,
        digest: revision.digest,
        policy: &policy,
        version: &told.version,
        summary: &told.summary,
        asks: &asks,
        triggers: &told.triggers,
        config_schema: told.config_schema.as_deref(),
    };
    if let Some(unknown) = args.account.as_ref().filter(|name| !host.accounts.contains_key(*name)) {
        bail!("`{}` has no account `{unknown}`", args.config.config.display());
    }
    let account = args.account.clone().or_else(|| draft.account(&host));
    let provider = account.as_ref().and_then(|name| host.accounts.get(name)).map(|account| account.provider);
    writeln!(
        out,
        "{} {}: {}",
        told.name,
        draft::on_one_line(&told.version),
        draft::on_one_line(&told.summary)
    )?;
    writeln!(out, "sha256:{}\n", revision.digest)?;
    write!(out, "{}", asked(&told.permissions, provider))?;
    let text = draft.to_toml(account.as_ref(), &host);
    writeln!(out, "\n{}:\n\n{text}", place.file.display())?;
    if args.dry_run || !confirmed(args.yes, &format!("write `{}`?", place.file.display()))? {
        return Ok(if args.dry_run { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let file = std::fs::File::create_new(&place.file);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.with_context(|| format!("cannot write `{}`", place.file.display()))?;
    writeln!(out, "wrote `{}`, in dry-run", place.file.display())?;
    tell_left(&place, &text, &host, out)?;
    Ok(ExitCode::SUCCESS)
}

/// Where plugin and policy are.
struct Place {
    dir: PathBuf,
    /// Without `.wasm`.
    plugin: String,
    policy: PolicyName,
    file: PathBuf,
}

impl Place {
    fn of(args: &EnableArgs, host: &HostSettings) -> anyhow::Result<Self> {
        let plugin = args.plugin.strip_suffix(".wasm").unwrap_or(&args.plugin).to_owned();
        if plugin.contains('/') {
            bail!("`{plugin}` is a path: name a plugin of `{}`", host.plugins.dir.display());
        }
        let policy = match &args.policy {
            Some(named) => named.clone(),
            None => plugin.parse().with_context(|| "say `--policy NAME`".to_owned())?,
        };
        let dir = args.config.config.parent().unwrap_or(Path::new("")).join(&host.plugins.dir);
        let file = dir.join(format!("{policy}.toml"));
        Ok(Self { dir, plugin, policy, file })
    }

    /// The plugin as it lies in the directory, judged as the service would.
    async fn compile(&self, file: &str) -> anyhow::Result<Revision> {
        let path = self.dir.join(file);
        let stem = file.strip_suffix(".wasm").unwrap_or(file);
        if !path.exists() {
            let is_bundled = opsward_bundle::PLUGINS.iter().any(|bundled| bundled.name == stem);
            let dir = self.dir.display();
            match is_bundled {
                true => {
                    bail!("no `{file}` in `{dir}`: `opsward plugin extract {stem} --to {dir}` puts it there")
                }
                false => bail!("no `{file}` in `{dir}`: copy the plugin there first"),
            }
        }
        // Thrown away afterwards, as `opsward check` does.
        let cache = tempfile::tempdir().context("cannot create a temporary directory")?;
        let guests = guests(cache.path())?;
        let refused = |problem: String| anyhow::anyhow!("`{}` is refused: {problem}", path.display());
        let bytes = read_file(&path, guests.limits().plugin_bytes).map_err(refused)?;
        guests.compile(bytes).await.map_err(|problem| refused(problem.to_string()))
    }
}

/// What is asked for, a line each.
fn asked(permissions: &[Permission], provider: Option<Provider>) -> String {
    let row = |asked: &Permission| {
        [asked.action.clone(), draft::risk(&asked.action, provider), draft::on_one_line(&asked.reason)]
    };
    let rows = table(["IT ASKS FOR", "WHICH", "WHY, IN ITS WORDS"], permissions.iter().map(row).collect());
    rows.unwrap_or_else(|| "It asks for nothing.\n".to_owned())
}

/// What the operator still has to write, in the words of `opsward check`.
fn tell_left(place: &Place, text: &str, host: &HostSettings, out: &mut dyn Write) -> anyhow::Result<()> {
    let shown = host.plugins.dir.join(format!("{}.toml", place.policy)).display().to_string();
    match load_policy(&shown, place.policy.as_str(), text, host) {
        Ok(_) => writeln!(out, "`opsward policy show {}` shows what it may do", place.policy)?,
        Err(findings) => {
            writeln!(out, "it does not run until this is filled in:")?;
            for finding in findings {
                writeln!(out, "{finding}")?;
            }
        }
    }
    Ok(())
}

/// Asks the person at the terminal, unless they have said yes already.
pub(super) fn confirmed(yes: bool, question: &str) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        bail!("nobody is there to be asked: say `--yes`");
    }
    write!(std::io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("no answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

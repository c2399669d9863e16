//! `opsward enable <policy> --update`: what the plugin in the directory changes against the revision that the policy's file pins, and, where a
//! person agrees, the pin moved to it, with or without grants for what it asks in addition. Leaves everything else in the file as
//! it is.

use super::{EnableArgs, Place, asked, confirmed, tell_left};
use crate::cli::check::guests;
use crate::plugin::engine::{Permission, Revision};
use anyhow::{Context as _, bail};
use opsward_core::config::{HostSettings, draft, load_policy};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub(super) async fn run(
    args: &EnableArgs,
    host: &HostSettings,
    place: &Place,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let shown = place.file.display().to_string();
    let text = std::fs::read_to_string(&place.file)
        .with_context(|| format!("no policy file `{shown}`: `opsward enable {}` makes one", place.plugin))?;
    let settings = match load_policy(&shown, place.policy.as_str(), &text, host) {
        Ok(settings) => settings,
        Err(findings) => {
            let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            bail!("set the file right first:\n{}", findings.join("\n"));
        }
    };
    let newest = place.compile(&settings.plugin).await?;
    if settings.digest == Some(newest.digest) {
        writeln!(out, "`{shown}` pins sha256:{}, which is what lies there", newest.digest.short())?;
        return Ok(ExitCode::SUCCESS);
    }
    let pinned = match settings.digest {
        Some(_) => kept(args, host, &settings.digest.map(|pin| pin.to_string()).unwrap_or_default()).await,
        None => None,
    };
    let provider =
        settings.account.as_ref().and_then(|name| host.accounts.get(name)).map(|account| account.provider);
    tell_revisions(settings.digest.map(|pin| pin.short()), pinned.as_ref(), &newest, out)?;
    let actions = newest.description.actions();
    let missing = settings.grants.asked_not_granted(&actions);
    let is_missing = |asked: &&Permission| missing.contains(&asked.action.as_str());
    let adds: Vec<Permission> = newest.description.permissions.iter().filter(is_missing).cloned().collect();
    for line in difference(&adds, pinned.as_ref(), &newest, &settings.grants.granted_not_asked(&actions)) {
        writeln!(out, "{line}")?;
    }
    let mut changed = draft::move_pin(&text, newest.digest).context("its pin cannot be found")?;
    if args.dry_run {
        writeln!(out, "`{shown}` stays as it is")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !confirmed(args.yes, &format!("let sha256:{} serve `{}`?", newest.digest.short(), place.policy))? {
        return Ok(ExitCode::FAILURE);
    }
    if !adds.is_empty() && is_granted(args, &adds, provider, out)? {
        let entries = adds.iter().map(|added| draft::grant(&added.action, &added.reason, provider));
        let extended = format!("{}\n{}", changed.trim_end(), entries.collect::<String>());
        if load_policy(&shown, place.policy.as_str(), &extended, host)
            .is_err_and(|findings| findings.iter().any(|finding| finding.message.contains("not well-formed")))
        {
            bail!(
                "`allow` in `{shown}` is a list in brackets: write its entries as `[[allow]]` tables, then try again"
            );
        }
        changed = extended;
    }
    replace(&place.file, &changed).with_context(|| format!("cannot write `{shown}`"))?;
    writeln!(out, "`{shown}` pins sha256:{} now", newest.digest.short())?;
    tell_left(place, &changed, host, out)?;
    Ok(ExitCode::SUCCESS)
}

/// The pinned revision, from where the host keeps those that serve.
async fn kept(args: &EnableArgs, host: &HostSettings, pin: &str) -> Option<Revision> {
    let base = args.config.config.parent().unwrap_or(Path::new(""));
    let bytes = std::fs::read(base.join(host.cache_dir()).join(format!("{pin}.wasm"))).ok()?;
    let cache = tempfile::tempdir().ok()?;
    guests(cache.path()).ok()?.compile(bytes).await.ok().filter(|revision| revision.digest.to_string() == pin)
}

fn tell_revisions(
    pin: Option<String>,
    pinned: Option<&Revision>,
    newest: &Revision,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let named = |revision: &Revision| {
        format!(
            "sha256:{}, version {}",
            revision.digest.short(),
            draft::on_one_line(&revision.description.version)
        )
    };
    let before = match (pinned, pin) {
        (Some(pinned), _) => named(pinned),
        (None, Some(pin)) => format!("sha256:{pin}, which the host does not have any more"),
        (None, None) => "any revision: the file has no `digest`".to_owned(),
    };
    writeln!(out, "pinned: {before}\nnew:    {}", named(newest))
}

/// What the new revision asks for and is not granted, what it no longer asks for, and which interfaces it uses anew.
fn difference(
    adds: &[Permission],
    pinned: Option<&Revision>,
    newest: &Revision,
    granted_not_asked: &[String],
) -> Vec<String> {
    let mut lines: Vec<String> = adds
        .iter()
        .map(|added| format!("+ {}  {}", added.action, draft::on_one_line(&added.reason)))
        .collect();
    lines.extend(
        granted_not_asked
            .iter()
            .map(|action| format!("- {action}  is no longer asked for: remove its grant")),
    );
    if let Some(pinned) = pinned {
        let new_imports = newest.imports.iter().filter(|import| !pinned.imports.contains(import));
        lines.extend(new_imports.map(|import| format!("+ uses {import}")));
    }
    if lines.is_empty() {
        lines.push("it asks for nothing that is not granted".to_owned());
    }
    lines
}

fn is_granted(
    args: &EnableArgs,
    adds: &[Permission],
    provider: Option<opsward_core::catalog::Provider>,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    write!(out, "\n{}", asked(adds, provider))?;
    if args.yes {
        if !args.grant {
            writeln!(out, "not granted: say `--grant` as well, or add `[[allow]]` by hand")?;
        }
        return Ok(args.grant);
    }
    confirmed(args.yes, "grant this as well?")
}

/// Replaces the file whole, with the rights that it had.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let old = std::fs::metadata(path)?;
    // Hidden, so that the host does not take it for a policy.
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".").suffix(".new").tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(old.permissions())?;
    let made = file.as_file().metadata()?;
    if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
        std::os::unix::fs::chown(file.path(), Some(old.uid()), Some(old.gid()))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

//! Binds a policy file to its plugin: which revision serves it, which events wake it, what it may effectively call. Leaves
//! judging either of them to the registry.

use super::kept::Kept;
use super::waits::Waits;
use crate::failpoint::wrong;
use crate::plugin::engine::Revision;
use crate::policy::{LivePolicy, PolicySet};
use opsward_core::config::PolicySettings;
use opsward_core::id::Digest;
use opsward_core::pattern::Patterns;
use opsward_core::run::Mode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A policy that can be live.
pub(super) struct Bound {
    /// With the patterns and grants that are in effect.
    pub(super) policy: LivePolicy,
    /// The plugin's last good revision, where another serves.
    pub(super) waits: Option<Waits>,
}

/// Binds a policy file to its plugin, or says why it cannot be. `before` is the set so far, `kept` the revision that the file
/// pins, where the host has it.
pub(super) fn bind(
    settings: &PolicySettings,
    plugins: &BTreeMap<String, Kept<Arc<Revision>>>,
    before: &PolicySet,
    kept: Option<Arc<Revision>>,
) -> Result<Bound, String> {
    let file = &settings.plugin;
    let Some(plugin) = plugins.get(file) else {
        return Err(format!(
            "its plugin `{file}` is not in the directory: copy it there, or correct `plugin`"
        ));
    };
    let newest = plugin.good().map(|(_, newest)| newest);
    let serving = before.find(&settings.name).filter(|p| p.settings.plugin == *file).map(|p| &p.revision);
    let revision = match (settings.digest.filter(|_| !wrong("no-pin")), newest) {
        (Some(pin), _) => pinned(settings, pin, plugin, kept.as_ref(), serving)?,
        (None, Some(newest)) => {
            let asks_more =
                |serving: &&Arc<Revision>| !Waits::between(settings, serving, newest).adds.is_empty();
            serving.filter(asks_more).unwrap_or(newest)
        }
        (None, None) => return Err(no_revision(file, plugin)),
    };
    let revision = revision.clone();
    let waits = newest.filter(|newest| newest.digest != revision.digest);
    let waits = waits.map(|newest| Waits::between(settings, &revision, newest));
    let mut settings = settings.clone();
    if !wrong("unasked-calls") {
        settings.grants = settings.grants.asked_by(&revision.description.actions());
    }
    let own = Patterns::from_types(&revision.description.triggers)
        .map_err(|e| format!("the triggers of `{file}` are unusable: {e}"))?;
    settings.patterns = Some(match settings.patterns.take() {
        _ if settings.mode == Mode::Off => Patterns::default(),
        Some(patterns) => patterns.with_default_types(&own),
        None => own,
    });
    Ok(Bound { policy: LivePolicy { settings, revision }, waits })
}

/// The one revision that may serve a policy whose file pins `pin`. While that is compiled, the one that serves so far goes on.
fn pinned<'a>(
    settings: &PolicySettings,
    pin: Digest,
    plugin: &Kept<Arc<Revision>>,
    known: Option<&'a Arc<Revision>>,
    serving: Option<&'a Arc<Revision>>,
) -> Result<&'a Arc<Revision>, String> {
    if let Some(known) = known.filter(|known| known.digest == pin) {
        return Ok(known);
    }
    let file = &settings.plugin;
    match plugin.digest() {
        Some(there) if there == pin => match (plugin.refused(), serving) {
            (None, Some(serving)) => Ok(serving),
            _ => Err(no_revision(file, plugin)),
        },
        there => {
            let there =
                there.map_or_else(|| "not readable".to_owned(), |there| format!("sha256:{}", there.short()));
            Err(format!(
                "its file pins sha256:{}, which the host does not have, and `{file}` is {there}: put the pinned one back, or see \
                 what the other changes with `opsward enable {} --update`",
                pin.short(),
                settings.name
            ))
        }
    }
}

fn no_revision(file: &str, plugin: &Kept<Arc<Revision>>) -> String {
    match plugin.refused() {
        Some(problem) => format!("its plugin `{file}` is refused: {problem}"),
        None => format!("its plugin `{file}` is still being compiled"),
    }
}

/// Logs what a new set changes, with what each policy may do.
pub(super) fn tell_changes(before: &PolicySet, after: &[Arc<LivePolicy>]) {
    for gone in before.policies.iter().filter(|p| !after.iter().any(|q| q.settings.name == p.settings.name)) {
        tracing::info!(policy = %gone.settings.name, "policy is gone");
    }
    for policy in after {
        let allowed: Vec<String> = policy.settings.grants.rows().into_iter().map(|row| row.action).collect();
        tracing::info!(
            policy = %policy.settings.name,
            mode = ?policy.settings.mode,
            plugin = policy.settings.plugin,
            digest = %policy.revision.digest.short(),
            allowed = allowed.join(" "),
            "policy is live"
        );
    }
}

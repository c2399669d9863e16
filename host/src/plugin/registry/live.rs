//! Binds a policy file to its plugin: which revision serves it, which events wake it, what it may effectively call. Leaves
//! judging either of them to the registry.

use super::kept::Kept;
use crate::plugin::engine::Revision;
use crate::policy::{LivePolicy, PolicySet};
use opsward_core::config::PolicySettings;
use opsward_core::pattern::Patterns;
use opsward_core::run::Mode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A policy that can be live.
pub(super) struct Bound {
    /// With the patterns and grants that are in effect.
    pub(super) policy: LivePolicy,
    /// Why it is served by an older revision than the plugin's last good one.
    pub(super) waits: Option<String>,
}

/// Binds a policy file to its plugin, or says why it cannot be. `before` is the set so far.
pub(super) fn bind(
    settings: &PolicySettings,
    plugins: &BTreeMap<String, Kept<Arc<Revision>>>,
    before: &PolicySet,
) -> Result<Bound, String> {
    let file = &settings.plugin;
    let Some(plugin) = plugins.get(file) else {
        return Err(format!(
            "its plugin `{file}` is not in the directory: copy it there, or correct `plugin`"
        ));
    };
    let Some((_, newest)) = plugin.good() else {
        return Err(match plugin.refused() {
            Some(problem) => format!("its plugin `{file}` is refused: {problem}"),
            None => format!("its plugin `{file}` is still being compiled"),
        });
    };
    let serving = before.find(&settings.name).filter(|p| p.settings.plugin == *file).map(|p| &p.revision);
    let (revision, waits) = match serving.map(|serving| (serving, newly_asked(settings, serving, newest))) {
        Some((serving, more)) if !more.is_empty() => {
            let waits = format!(
                "revision {} asks for {} more than revision {}, which goes on serving: grant it with `[[allow]]`",
                newest.digest.short(),
                more.join(", "),
                serving.digest.short()
            );
            (serving.clone(), Some(waits))
        }
        _ => (newest.clone(), None),
    };
    let mut settings = settings.clone();
    settings.grants = settings.grants.asked_by(&revision.description.actions());
    let own = Patterns::from_types(&revision.description.triggers)
        .map_err(|e| format!("the triggers of `{file}` are unusable: {e}"))?;
    settings.patterns = Some(match settings.patterns.take() {
        _ if settings.mode == Mode::Off => Patterns::default(),
        Some(patterns) => patterns.with_default_types(&own),
        None => own,
    });
    Ok(Bound { policy: LivePolicy { settings, revision }, waits })
}

/// What the newest revision asks for and is not granted, and the serving one did not ask for.
fn newly_asked(settings: &PolicySettings, serving: &Revision, newest: &Revision) -> Vec<String> {
    if serving.digest == newest.digest {
        return Vec::new();
    }
    let known = serving.description.actions();
    let asked = newest.description.actions();
    let missing = settings.grants.asked_not_granted(&asked);
    missing.into_iter().filter(|action| !known.iter().any(|k| k == action)).map(str::to_owned).collect()
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

//! What a denied call is told: what is missing, and how to grant it. Leaves deciding to the parent. Tested by `tests`.

use super::window::Window;
use super::{Denied, Question, Rule};
use crate::catalog::{self, Class};

pub(super) fn credentials(question: &Question<'_>) -> Denied {
    let Question { service, action, .. } = question;
    let reason = format!("`{service}:{action}` answers with credentials, which never enter a policy");
    Denied { code: "opsward.Credentials", reason }
}

pub(super) fn not_asked(question: &Question<'_>) -> Denied {
    let Question { service, action, .. } = question;
    let reason = format!(
        "the plugin does not ask for `{service}:{action}`: add it to the permissions of its `describe` and build it again"
    );
    Denied { code: "opsward.NotAsked", reason }
}

pub(super) fn action(question: &Question<'_>) -> Denied {
    let &Question { provider, service, action, region, resources, class, .. } = question;
    let mut lines = format!("`action = \"{service}:{action}\"`");
    if class != Class::Read && !region.is_empty() {
        lines += &format!(", `region = [\"{region}\"]`");
    }
    if catalog::is_strict(provider, service, action) {
        lines += &format!(", `resource = [{}]`", quoted(resources));
    }
    let reason =
        format!("`{service}:{action}` is not granted: add `[[allow]]` with {lines} to the policy's file");
    Denied { code: "opsward.NotGranted", reason }
}

pub(super) fn region(question: &Question<'_>, rules: &[&Rule]) -> Denied {
    let Question { service, action, region, elsewhere, .. } = question;
    let granted = listed(rules.iter().filter_map(|rule| rule.regions.as_ref()));
    let mut all = std::iter::once(*region).chain(elsewhere.iter().map(String::as_str));
    let missing = all.find(|region| !rules.iter().any(|rule| rule.holds_in(region)));
    let region = missing.unwrap_or(region);
    let reason = if missing.is_none() {
        format!(
            "`{service}:{action}` changes something in `{region}` and `{}`: one entry's `region` must name all of them",
            elsewhere.join("`, `")
        )
    } else if region.is_empty() {
        format!("`{service}:{action}` is granted for {granted} only, and the call names no region")
    } else {
        format!(
            "`{service}:{action}` is granted for {granted}, not for `{region}`: add \"{region}\" to its `region` in the policy's file"
        )
    };
    Denied { code: "opsward.RegionNotGranted", reason }
}

pub(super) fn unnamed(question: &Question<'_>, rules: &[&Rule]) -> Denied {
    let Question { service, action, .. } = question;
    let granted = listed(rules.iter().filter_map(|rule| rule.resources.as_ref()));
    let reason =
        format!("`{service}:{action}` is granted for {granted} only, and the call names no resource");
    Denied { code: "opsward.ResourceNotGranted", reason }
}

pub(super) fn resource(question: &Question<'_>, id: &str, rules: &[&Rule]) -> Denied {
    let Question { service, action, .. } = question;
    let granted = listed(rules.iter().filter_map(|rule| rule.resources.as_ref()));
    let shown = match rules.iter().any(|rule| rule.has_selectors()) {
        true => ", nor by what a read shows of it",
        false => "",
    };
    let reason = format!(
        "`{service}:{action}` is granted for {granted}, not for `{id}`{shown}: add \"{id}\" to its `resource` in the policy's file"
    );
    Denied { code: "opsward.ResourceNotGranted", reason }
}

pub(super) fn window<'a>(question: &Question<'_>, closed: impl Iterator<Item = &'a Window>) -> Denied {
    let &Question { service, action, now, .. } = question;
    let opens = closed.filter_map(|window| Some((window.opens(now)?, window))).min_by_key(|(at, _)| *at);
    let when = match opens {
        Some((at, window)) => format!("its window, {window}, opens at {}", window.local(at)),
        None => "its window does not open again".to_owned(),
    };
    Denied {
        code: "opsward.OutsideWindow",
        reason: format!("`{service}:{action}` is not granted now: {when}"),
    }
}

/// Names for a sentence: each once, and no more than a reader takes in.
fn listed<'a, T: ToString + 'a>(lists: impl Iterator<Item = &'a Vec<T>>) -> String {
    const SHOWN_MAX: usize = 8;
    let mut names: Vec<String> = lists.flatten().map(ToString::to_string).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(SHOWN_MAX);
    names.truncate(SHOWN_MAX);
    let shown = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn quoted(ids: &[String]) -> String {
    ids.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(", ")
}

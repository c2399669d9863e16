//! `[approval]` of a policy's file: who must approve its effects, and how long they have. Leaves approving to `crate::approval`.
//! Tested in `super::tests::approval`.

use super::finding::ConfigError;
use super::source::{Source, place};
use super::typed;
use crate::approval::{Approvers, EXPIRES_DEFAULT, EXPIRES_MAX};
use crate::id::ApproverName;
use crate::schedule::interval;

/// Reads the table. `itself` are the names of the policy and its account: what is approved is theirs.
pub(super) fn resolve(
    source: &Source<'_>,
    typed: Option<&typed::Approval>,
    itself: [&str; 2],
    errors: &mut Vec<ConfigError>,
) -> Option<Approvers> {
    let typed = typed?;
    let mut names: Vec<ApproverName> = Vec::new();
    for (at, text) in typed.approvers.iter().enumerate() {
        let mut refuse = |problem: String, fix: &str| {
            errors.push(source.error(place!["approval", "approvers", at], problem, fix));
        };
        match text.parse::<ApproverName>() {
            Err(error) => refuse(error.to_string(), ""),
            Ok(name) if names.contains(&name) => {
                refuse(format!("`{name}` is in the list already"), "name each person once");
            }
            Ok(name) if itself.contains(&name.as_str()) => {
                let problem = format!("`{name}` is the policy itself, or its account");
                refuse(problem, "name people: nobody approves what is their own");
            }
            Ok(name) => names.push(name),
        }
    }
    let mut refuse = |key: &str, problem: String, fix: &str| {
        errors.push(source.error(place!["approval", key], problem, fix));
    };
    if typed.approvers.is_empty() {
        refuse("approvers", "nobody is named who may approve".to_owned(), "name people, as in [\"alice\"]");
    }
    let minimum = typed.minimum.unwrap_or(1);
    if minimum == 0 || minimum > typed.approvers.len() {
        let problem = format!("{minimum} of {} approvers", typed.approvers.len());
        refuse("minimum", problem, "write a number from 1 to as many as are named");
    }
    let expires = match typed.expires.as_deref().map(interval::parse) {
        None => EXPIRES_DEFAULT,
        Some(Ok(span)) if span <= EXPIRES_MAX => span,
        Some(Ok(_)) => {
            refuse("expires", "longer than 7 days".to_owned(), "write at most `168h`");
            EXPIRES_DEFAULT
        }
        Some(Err(problem)) => {
            refuse("expires", problem, "");
            EXPIRES_DEFAULT
        }
    };
    Some(Approvers { names, minimum, expires })
}

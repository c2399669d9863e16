//! What a plugin asks for beside what the operator grants: what is granted and how, what is not, what is granted for nothing.
//! Leaves showing it to the command line. Tested in `tests`.

use super::action::ActionPattern;
use super::{GrantRow, Grants, Rule, parse_permissions};
use serde::Serialize;

/// How asking and granting meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Asked for and granted.
    Granted,
    /// Asked for and not granted.
    NotGranted,
    /// Granted and not asked for: it has no effect.
    Unused,
}

/// A line of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatrixRow {
    /// `service:Action`, narrowed to what is both asked for and granted.
    pub action: String,
    /// How they meet.
    pub standing: Standing,
    /// How it is granted; absent where it is not.
    pub grant: Option<GrantRow>,
}

impl Grants {
    /// All that a plugin's `permissions` ask for and all that is granted: what is granted in the operator's order, then what is
    /// not, then what nobody asked for.
    pub fn matrix(&self, permissions: &[String]) -> Vec<MatrixRow> {
        let row = |standing, grant: GrantRow| MatrixRow {
            action: grant.action.clone(),
            standing,
            grant: Some(grant),
        };
        let granted =
            self.asked_by(permissions).rows().into_iter().map(|grant| row(Standing::Granted, grant));
        let missing = self.asked_not_granted(permissions).into_iter().map(|action| MatrixRow {
            action: action.to_owned(),
            standing: Standing::NotGranted,
            grant: None,
        });
        let unused = self.unused(permissions).map(|rule| row(Standing::Unused, rule.row(&rule.action)));
        granted.chain(missing).chain(unused).collect()
    }

    /// Which of a plugin's `permissions` nothing is granted for.
    pub fn asked_not_granted<'a>(&self, permissions: &'a [String]) -> Vec<&'a str> {
        let effective = self.asked_by(permissions);
        let granted =
            |asked: &ActionPattern| effective.rules.iter().any(|r| r.action.intersection(asked).is_some());
        permissions
            .iter()
            .map(String::as_str)
            .filter(|text| !ActionPattern::parse(text).is_some_and(|asked| granted(&asked)))
            .collect()
    }

    /// Which actions the operator grants though the plugin's `permissions` do not ask for them.
    pub fn granted_not_asked(&self, permissions: &[String]) -> Vec<String> {
        self.unused(permissions).map(|rule| rule.action.to_string()).collect()
    }

    fn unused(&self, permissions: &[String]) -> impl Iterator<Item = &Rule> {
        let asked = parse_permissions(permissions);
        let wanted = move |rule: &&Rule| asked.iter().any(|asked| asked.intersection(&rule.action).is_some());
        self.rules.iter().filter(move |rule| rule.implied_by.is_empty() && !wanted(rule))
    }
}

//! What a vendor's error codes say of a call. Data in `host/core/catalog/*-codes.toml`, compiled in and read once. Leaves what no
//! code tells, such as an HTTP status or a body that is not the vendor's, to `answer`. Tested below, and by the tables of `answer`.
//!
//! A row is a code and its meaning. `Code` stands for itself, `Code.*` for itself and its members such as `Code.User`, `Code*` for
//! what begins so, `*Code` for what ends so. Rows of an action come before those of its service, and these before those of the
//! vendor; among them the order is the one above, and the longest comes first.

use super::entry::Action;
use super::{Class, Provider};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::iter::successors;
use std::sync::LazyLock;

/// What an error code says of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// Not carried out, the rate limit is met: wait.
    Wait,
    /// Not carried out, an earlier sending with the same token is at work: wait, and send with that token.
    RepeatToken,
    /// Not carried out, the time that was signed is not taken: sign with the vendor's.
    Resign,
    /// Not carried out, the credentials are not taken: get fresh ones.
    RefreshCredentials,
    /// It may or may not have been carried out.
    Unclear,
    /// A dry run that found nothing to object to.
    DryRunPassed,
    /// Refused: the resource's state does not allow it.
    Conflict,
    /// Refused: no such resource.
    NotFound,
    /// Refused: the request is wrong.
    Invalid,
    /// Refused: a permission is missing.
    Unauthorized,
    /// Refused for another reason.
    Failed,
}

impl Meaning {
    /// Whether the vendor certainly did nothing and would take the same call after a remedy.
    pub fn is_not_executed(self) -> bool {
        matches!(self, Self::Wait | Self::RepeatToken | Self::Resign | Self::RefreshCredentials)
    }

    /// Whether the vendor decided against the call.
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Conflict | Self::NotFound | Self::Invalid | Self::Unauthorized | Self::Failed)
    }

    /// Whether the same call may succeed later, so that a policy is told to try again. Fixed credentials stay what they are.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Wait | Self::RepeatToken | Self::Resign | Self::Unclear | Self::Conflict)
    }
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The code or codes, as written: `Throttling.*`.
    pub code: String,
    /// Whose it is: `alibaba`, `ess`, `ecs:CreateSnapshot`.
    pub scope: String,
    /// What it says.
    pub means: Meaning,
    /// What settled the meaning.
    pub source: String,
}

/// What `code` says as an answer to a call of an action; `None` where nothing is known of it.
pub fn meaning(provider: Provider, service: &str, action: &str, code: &str) -> Option<Meaning> {
    codes_of(provider).scopes(service, action).find_map(|scope| scope.find(code))
}

/// The rows that hold for an action, its own first. What is about a token does not hold for an action that takes none.
pub fn codes(action: &Action) -> impl Iterator<Item = &'static Code> {
    let takes_token = action.class == Class::Token;
    codes_of(action.provider)
        .scopes(&action.service, &action.name)
        .flat_map(|scope| &scope.rows)
        .filter(move |row| takes_token || row.means != Meaning::RepeatToken)
}

/// One vendor's codes.
#[derive(Debug)]
struct Codes {
    vendor: Scope,
    services: HashMap<String, ServiceCodes>,
}

#[derive(Debug)]
struct ServiceCodes {
    own: Scope,
    actions: HashMap<String, Scope>,
}

impl Codes {
    /// The narrowest first.
    fn scopes(&self, service: &str, action: &str) -> impl Iterator<Item = &Scope> {
        let service = self.services.get(service);
        let action = service.and_then(|service| service.actions.get(action));
        [action, service.map(|service| &service.own), Some(&self.vendor)].into_iter().flatten()
    }
}

/// The rows of one scope, and where to find them by a code.
#[derive(Debug, Default)]
struct Scope {
    rows: Vec<Code>,
    exact: HashMap<String, Meaning>,
    families: HashMap<String, Meaning>,
    /// The longest first, as are `beginnings`.
    endings: Vec<(String, Meaning)>,
    beginnings: Vec<(String, Meaning)>,
}

impl Scope {
    fn find(&self, code: &str) -> Option<Meaning> {
        let mut families = successors(Some(code), |inner| inner.rsplit_once('.').map(|(family, _)| family));
        let ending = || self.endings.iter().find(|(end, _)| code.ends_with(end.as_str()));
        let beginning = || self.beginnings.iter().find(|(begin, _)| code.starts_with(begin.as_str()));
        self.exact
            .get(code)
            .or_else(|| families.find_map(|family| self.families.get(family)))
            .or_else(|| ending().or_else(beginning).map(|(_, means)| means))
            .copied()
    }
}

fn codes_of(provider: Provider) -> &'static Codes {
    static ALIBABA: LazyLock<Codes> =
        LazyLock::new(|| load(Provider::Alibaba, include_str!("../../catalog/alibaba-codes.toml")));
    static TENCENT: LazyLock<Codes> =
        LazyLock::new(|| load(Provider::Tencent, include_str!("../../catalog/tencent-codes.toml")));
    match provider {
        Provider::Alibaba => &ALIBABA,
        Provider::Tencent => &TENCENT,
    }
}

fn load(provider: Provider, text: &str) -> Codes {
    parse(provider, text).expect("the codes are compiled in, and a test reads all of them")
}

/// Why a file of codes cannot be read.
#[derive(Debug, thiserror::Error)]
enum CodesError {
    #[error("not a file of codes")]
    Toml(#[from] toml::de::Error),
    #[error("`{code}` of `{scope}` is none of `Code`, `Code.*`, `Code*`, `*Code`")]
    Form { scope: String, code: String },
    #[error("`{code}` of `{scope}` is there twice: as itself and with its members")]
    Twice { scope: String, code: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedCodes {
    codes: TypedScope,
    #[serde(default)]
    services: BTreeMap<String, TypedService>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedService {
    #[serde(default)]
    codes: TypedScope,
    #[serde(default)]
    actions: BTreeMap<String, TypedScope>,
}

type TypedScope = BTreeMap<String, TypedCode>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedCode {
    means: Meaning,
    source: String,
}

fn parse(provider: Provider, text: &str) -> Result<Codes, CodesError> {
    let typed: TypedCodes = toml::from_str(text)?;
    let mut services = HashMap::new();
    for (service, rows) in typed.services {
        let mut actions = HashMap::new();
        for (action, rows) in rows.actions {
            let scope = resolve(&format!("{service}:{action}"), rows)?;
            actions.insert(action, scope);
        }
        let own = resolve(&service, rows.codes)?;
        services.insert(service, ServiceCodes { own, actions });
    }
    Ok(Codes { vendor: resolve(provider.as_str(), typed.codes)?, services })
}

fn resolve(name: &str, typed: TypedScope) -> Result<Scope, CodesError> {
    let mut scope = Scope::default();
    for (code, TypedCode { means, source }) in typed {
        match Form::of(&code) {
            Some(Form::Exact(text)) => {
                scope.exact.insert(text.to_owned(), means);
            }
            Some(Form::Family(text)) => {
                scope.families.insert(text.to_owned(), means);
            }
            Some(Form::Beginning(text)) => scope.beginnings.push((text.to_owned(), means)),
            Some(Form::Ending(text)) => scope.endings.push((text.to_owned(), means)),
            None => return Err(CodesError::Form { scope: name.to_owned(), code }),
        }
        scope.rows.push(Code { code, scope: name.to_owned(), means, source });
    }
    if let Some(code) = scope.exact.keys().find(|code| scope.families.contains_key(*code)) {
        return Err(CodesError::Twice { scope: name.to_owned(), code: code.clone() });
    }
    for open in [&mut scope.beginnings, &mut scope.endings] {
        open.sort_by_key(|(text, _)| Reverse(text.len()));
    }
    Ok(scope)
}

/// Which codes a row is about.
enum Form<'a> {
    Exact(&'a str),
    Family(&'a str),
    Beginning(&'a str),
    Ending(&'a str),
}

impl<'a> Form<'a> {
    fn of(code: &'a str) -> Option<Self> {
        let (form, text) = if let Some(family) = code.strip_suffix(".*") {
            (Self::Family(family), family)
        } else if let Some(beginning) = code.strip_suffix('*') {
            (Self::Beginning(beginning), beginning)
        } else if let Some(ending) = code.strip_prefix('*') {
            (Self::Ending(ending), ending)
        } else {
            (Self::Exact(code), code)
        };
        let is_code = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
        is_code.then_some(form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{PROVIDERS, find, version_of};

    fn everything(provider: Provider) -> impl Iterator<Item = &'static Code> {
        let Codes { vendor, services } = codes_of(provider);
        let own = services.values().flat_map(|s| std::iter::once(&s.own).chain(s.actions.values()));
        std::iter::once(vendor).chain(own).flat_map(|scope| &scope.rows)
    }

    #[test]
    fn every_code_has_a_source_and_a_scope_that_the_catalog_knows() {
        let mut count = 0;
        for provider in PROVIDERS {
            for row in everything(provider) {
                count += 1;
                let at = format!("{} {}", row.scope, row.code);
                assert!(row.source.starts_with("FACTS ") || row.source.starts_with("doc"), "{at}: no source");
                let is_argued = row.source.starts_with("FACTS ") || row.source.starts_with("doc: ");
                assert!(
                    is_argued || !row.means.is_not_executed(),
                    "{at}: why is it sure that nothing was done?"
                );
                let is_known = match row.scope.split_once(':') {
                    Some((service, action)) => find(provider, service, action).is_some(),
                    None => row.scope == provider.as_str() || version_of(provider, &row.scope).is_some(),
                };
                assert!(is_known, "{at}: no such service or action");
                // An open row would take in codes that nobody has looked at, and repeat effects on them.
                let is_open = matches!(Form::of(&row.code), Some(Form::Beginning(_) | Form::Ending(_)));
                assert!(!is_open || row.means.is_refusal(), "{at}: an open row is a refusal");
            }
        }
        assert_eq!(count, 94, "the number of codes changed: adjust the count");
    }

    #[test]
    fn the_narrowest_row_holds() {
        use Meaning::{Conflict, Failed, Invalid, NotFound, RefreshCredentials, Unauthorized};
        use Provider::{Alibaba, Tencent};
        for (provider, service, action, code, means) in [
            (Alibaba, "cms", "DescribeMetricLast", "404", Some(NotFound)),
            (Alibaba, "ecs", "DescribeDisks", "404", None),
            (Alibaba, "ess", "ExecuteScalingRule", "ScalingActivityInProgress", Some(Conflict)),
            (Alibaba, "ess", "ExecuteScalingRule", "IncorrectCapacity.MaxSize", Some(Conflict)),
            (Alibaba, "ess", "ExecuteScalingRule", "InvalidScalingRuleAri.NotFound", Some(NotFound)),
            (Alibaba, "ecs", "CreateSnapshot", "DiskInArrears", Some(Failed)),
            (Alibaba, "mns", "ReceiveMessage", "MessageNotExist", Some(NotFound)),
            (Alibaba, "mns", "DeleteMessage", "ReceiptHandleError", Some(Invalid)),
            (Alibaba, "mns", "SendMessage", "TimeExpired", Some(Unauthorized)),
            (Alibaba, "ecs", "CreateSnapshot", "DryRunOperation.Else", None),
            (Alibaba, "ecs", "CreateSnapshot", "ThrottlingElse", None),
            (Tencent, "cbs", "CreateSnapshot", "ResourceUnavailable.NotSupportSnapshot", Some(Failed)),
            (Tencent, "cbs", "CreateSnapshot", "ResourceUnavailable.SnapshotCreating", Some(Conflict)),
            (Tencent, "cvm", "ResetInstance", "ResourceUnavailable.NotSupportSnapshot", Some(Conflict)),
            (Tencent, "cvm", "ResetInstance", "AuthFailure.UnauthorizedOperation", Some(Unauthorized)),
            (Tencent, "cvm", "ResetInstance", "AuthFailure.TokenFailure", Some(RefreshCredentials)),
            (Tencent, "cvm", "ResetInstance", "AuthFailure.Else", None),
            (Tencent, "cvm", "ResetInstance", "UnsupportedOperation.InstanceStateStopping", Some(Conflict)),
            (Tencent, "cvm", "ResetInstance", "", None),
        ] {
            assert_eq!(meaning(provider, service, action, code), means, "{service}:{action} {code}");
        }
    }

    #[test]
    fn the_codes_of_an_action_are_its_own_and_those_of_its_service_and_vendor() {
        let listed = |service: &str, action: &str| -> Vec<(&str, &str)> {
            let action = find(Provider::Alibaba, service, action).expect("in the catalog");
            codes(action).map(|row| (row.scope.as_str(), row.code.as_str())).collect()
        };
        let create = listed("ecs", "CreateSnapshot");
        assert_eq!(create[0], ("ecs:CreateSnapshot", "DiskInArrears.*"));
        assert!(create.contains(&("alibaba", "Throttling.*")));
        assert!(create.contains(&("alibaba", "LastTokenProcessing.*")));
        let reboot = listed("ecs", "RebootInstance");
        assert!(reboot.contains(&("alibaba", "Throttling.*")));
        assert!(!reboot.contains(&("alibaba", "LastTokenProcessing.*")), "it takes no token");
        assert!(listed("ess", "ExecuteScalingRule").contains(&("ess", "IncorrectCapacity.*")));
    }

    #[test]
    fn a_bad_file_is_refused() {
        let row = "{ means = \"wait\", source = \"FACTS 12\" }";
        for (text, expected) in [
            (format!("[codes]\nA = {row}\nA = {row}"), "duplicate key"),
            (format!("[codes]\nA = {row}\n\"A.*\" = {row}"), "`A` of `alibaba` is there twice"),
            (format!("[codes]\n\"*\" = {row}"), "`*` of `alibaba` is none of"),
            (format!("[codes]\n\"A*B\" = {row}"), "`A*B` of `alibaba` is none of"),
            (format!("[codes]\n[services.ecs.actions.B]\n\"\" = {row}"), "`` of `ecs:B` is none of"),
            (format!("[codes]\n[service.ecs.codes]\nA = {row}"), "unknown field `service`"),
            (format!("[codes]\n[services.ecs]\ncode = {{ A = {row} }}"), "unknown field `code`"),
            ("[codes]\nA = { means = \"wait\" }".to_owned(), "missing field `source`"),
            (
                "[codes]\nA = { means = \"later\", source = \"FACTS 12\" }".to_owned(),
                "unknown variant `later`",
            ),
            (
                "[codes]\nA = { means = \"wait\", source = \"x\", kind = 1 }".to_owned(),
                "unknown field `kind`",
            ),
        ] {
            let error = parse(Provider::Alibaba, &text).expect_err(expected);
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert!(format!("{error}: {cause}").contains(expected), "{error}: {cause}");
        }
    }
}

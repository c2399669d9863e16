//! One action of the catalog, and how the catalog's files of actions are read. Leaves the files' content to
//! `host/core/catalog`, error codes to `codes`, and looking an action up to the parent. Tested by the parent's test of every entry.

use super::facts::FactsRecipe;
use super::makes::{Kind, Makes, kinds_of};
use super::read_back::{IdsForm, Proof, ReadBack};
use super::{Class, Provider};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What is known of one cloud action.
#[derive(Debug, Clone)]
pub struct Action {
    /// Whose action it is.
    pub provider: Provider,
    /// Product code in lower case: `ecs`.
    pub service: String,
    /// The API version of the service: `2014-05-26`.
    pub version: String,
    /// The vendor's name: `CreateSnapshot`.
    pub name: String,
    /// Where its parameters go.
    pub params_in: ParamsIn,
    /// Method and target of a REST call: `DELETE /queues/{QueueName}/messages?ReceiptHandle`. In braces and behind `?` are
    /// parameters; the listing actions have theirs in `x-mns-*` headers, and all others are elements of the XML body.
    pub rest: Option<String>,
    /// What repeating it may do.
    pub class: Class,
    /// The parameter that takes the idempotency token; present exactly for class `Token`.
    pub token_field: Option<String>,
    /// The parameter that repeats the endpoint's region, where the vendor wants one.
    pub region_field: Option<String>,
    /// Whether the call goes to a region; false for the few with a global endpoint.
    pub needs_region: bool,
    /// The parameter that makes the vendor only check the request.
    pub dry_run_field: Option<String>,
    /// Whether the answer holds credentials: no policy may call it.
    pub answers_with_credentials: bool,
    /// How often it may be called, where the vendor says so.
    pub rate: Option<Rate>,
    /// How a read's answer is turned over.
    pub paging: Option<Paging>,
    /// How to see whether it took place.
    pub read_back: Option<ReadBack>,
    /// What it leaves for later reads to show, where that is known.
    pub makes: Option<Makes>,
    /// What an effect of class token or convergent destroys, where it does: granted for named resources only, as class
    /// once always is.
    pub destructive: Option<String>,
    /// What settled the class.
    pub source: String,
    /// Paths of the parameters that name what it acts on; a list's path is that of its elements.
    pub(super) resource_paths: Vec<Vec<String>>,
    /// Those of them that are plain parameters, and whether each takes a list.
    plain_params: Vec<(String, bool)>,
}

impl Action {
    /// The parameters that name what it acts on: `DiskId`, `Tag.Key`.
    pub fn resource_params(&self) -> impl Iterator<Item = String> {
        self.resource_paths.iter().map(|path| path.join("."))
    }

    /// The plain parameters that name what it acts on, and whether each takes a list.
    pub fn plain_resource_params(&self) -> impl Iterator<Item = (&str, bool)> {
        self.plain_params.iter().map(|(name, is_list)| (name.as_str(), *is_list))
    }

    /// Whether any parameter names what the action acts on.
    pub fn names_resources(&self) -> bool {
        !self.resource_paths.is_empty()
    }

    /// `service:Action`, as grants name it.
    pub fn full_name(&self) -> String {
        format!("{}:{}", self.service, self.name)
    }
}

/// How often the vendor lets an account call an action in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    /// This many calls ...
    pub calls: u32,
    /// ... in this time.
    pub per: Duration,
}

impl TryFrom<String> for Rate {
    type Error = String;
    /// Reads `10/s` or `100/60s`.
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate: write `10/s` or `100/60s`");
        let (calls, per) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match per.strip_suffix('s').ok_or_else(wrong)? {
            "" => 1,
            seconds => seconds.parse().map_err(|_| wrong())?,
        };
        let calls = calls.parse().map_err(|_| wrong())?;
        if calls == 0 || seconds == 0 {
            Err(wrong())
        } else {
            Ok(Self { calls, per: Duration::from_secs(seconds) })
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_secs() {
            1 => write!(f, "{}/s", self.calls),
            seconds => write!(f, "{}/{seconds}s", self.calls),
        }
    }
}

/// Where the parameters of a service's calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParamsIn {
    /// The URL's query; under signature v1 the same text is sent as a form instead.
    Query,
    /// A JSON body.
    JsonBody,
    /// Path, query, headers and an XML body: the action's `rest` says which where.
    Rest,
}

/// How a read's answer is turned over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paging {
    /// `PageNumber` and `PageSize`.
    PageNumber,
    /// `NextToken`, and mostly `MaxResults`.
    NextToken,
    /// `Offset` and `Limit`.
    Offset,
    /// The answer's `NextMarker`, given back in a header.
    Marker,
}

/// A known service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) version: String,
    pub(super) params_in: ParamsIn,
    pub(super) actions: BTreeMap<String, Action>,
    pub(super) facts: Vec<FactsRecipe>,
    pub(super) kinds: Vec<Kind>,
}

/// Reads one vendor's file.
pub(super) fn parse(provider: Provider, text: &str) -> Result<BTreeMap<String, Service>, CatalogError> {
    let typed: BTreeMap<String, TypedService> = toml::from_str(text)?;
    typed.into_iter().map(|(name, service)| Ok((name.clone(), service.resolve(provider, &name)?))).collect()
}

/// Why a catalog file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CatalogError {
    #[error("not a catalog file")]
    Toml(#[from] toml::de::Error),
    #[error("`{action}` names the read-back `{read_back}`, which its service does not define")]
    ReadBack { action: String, read_back: String },
    #[error("`{table}` names `{action}`, which its service does not define")]
    Unknown { table: &'static str, action: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TypedService {
    version: String,
    params_in: ParamsIn,
    #[serde(default)]
    read_backs: BTreeMap<String, TypedReadBack>,
    #[serde(default)]
    facts: BTreeMap<String, FactsRecipe>,
    /// Actions that destroy something, and what.
    #[serde(default)]
    destructive: BTreeMap<String, String>,
    /// What effects leave, beside what their read-backs tell.
    #[serde(default)]
    makes: BTreeMap<String, Makes>,
    /// Of reads: the item's field that a parameter selects by.
    #[serde(default)]
    filters: BTreeMap<String, BTreeMap<String, String>>,
    actions: BTreeMap<String, TypedAction>,
}

impl TypedService {
    fn resolve(self, provider: Provider, service: &str) -> Result<Service, CatalogError> {
        let Self { version, params_in, read_backs, facts, destructive, makes, filters, actions } = self;
        let named =
            [("destructive", destructive.keys().collect::<Vec<_>>()), ("makes", makes.keys().collect())];
        for (table, names) in named {
            if let Some(action) = names.into_iter().find(|name| !actions.contains_key(*name)) {
                return Err(CatalogError::Unknown { table, action: action.clone() });
            }
        }
        let region_field = |action: &str| actions.get(action).and_then(|a| a.region.clone());
        let resolve_read_back = |name: &str, action: &TypedAction| match &action.read_back {
            None => Ok(None),
            Some(read_back) => match read_backs.get(read_back) {
                Some(typed) => Ok(Some(typed.resolve(service, region_field(&typed.action), action))),
                None => Err(CatalogError::ReadBack { action: name.to_owned(), read_back: read_back.clone() }),
            },
        };
        let mut resolved = BTreeMap::new();
        for (name, action) in &actions {
            let read_back = resolve_read_back(name, action)?;
            let kind = action.read_back.as_deref();
            let told =
                kind.and_then(|kind| Makes::of_read_back(kind, name, action.class, read_back.as_ref()?));
            let makes = match (makes.get(name).cloned(), told) {
                (Some(makes), Some(told)) => Some(makes.with(told)),
                (makes, told) => makes.or(told),
            };
            let entry = Action {
                makes,
                provider,
                service: service.to_owned(),
                version: version.clone(),
                name: name.clone(),
                params_in,
                rest: action.rest.clone(),
                class: action.class,
                token_field: action.token.clone(),
                region_field: action.region.clone(),
                needs_region: action.needs_region,
                dry_run_field: action.dry_run.clone(),
                answers_with_credentials: action.answers_with_credentials,
                rate: action.rate,
                paging: action.paging,
                read_back,
                destructive: destructive.get(name).cloned(),
                source: action.source.clone(),
                resource_paths: action.resources.iter().map(|path| path_of(path)).collect(),
                plain_params: action.resources.iter().filter_map(|path| plain(path)).collect(),
            };
            resolved.insert(name.clone(), entry);
        }
        let kinds =
            kinds_of(read_backs.iter().map(|(name, typed)| (name, typed.kind(name))), &facts, &filters);
        if let Some(read) = filters.keys().find(|read| kinds.iter().all(|kind| kind.action != **read)) {
            return Err(CatalogError::Unknown { table: "filters", action: read.clone() });
        }
        let facts = facts.into_values().collect();
        Ok(Service { version, params_in, actions: resolved, facts, kinds })
    }
}

/// Where something is in an answer.
pub(super) fn keys(place: &str) -> Vec<String> {
    place.split('.').map(str::to_owned).collect()
}

/// `EventInfo[].EventName` as segments; `[]` only tells the reader that there may be several.
fn path_of(text: &str) -> Vec<String> {
    text.split('.').map(|segment| segment.trim_end_matches("[]").to_owned()).collect()
}

/// `InstanceId[]` as a name and whether it is a list's; nothing for a path below one.
fn plain(text: &str) -> Option<(String, bool)> {
    let name = text.strip_suffix("[]");
    (!text.contains('.')).then(|| (name.unwrap_or(text).to_owned(), name.is_some()))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TypedAction {
    class: Class,
    rest: Option<String>,
    token: Option<String>,
    #[serde(default)]
    resources: Vec<String>,
    region: Option<String>,
    #[serde(default = "yes")]
    needs_region: bool,
    dry_run: Option<String>,
    #[serde(default)]
    answers_with_credentials: bool,
    rate: Option<Rate>,
    paging: Option<Paging>,
    read_back: Option<String>,
    /// The settled state that a convergent action leads to.
    goal: Option<String>,
    /// What shows that an action of class *once* took place, where the cloud keeps no record of operations.
    #[serde(default)]
    proof: Proof,
    source: String,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct TypedReadBack {
    action: String,
    ids: String,
    ids_form: IdsForm,
    /// Where the answer's list is: keys joined with dots.
    items: String,
    id: String,
    state: String,
    operation: Option<String>,
    operation_state: Option<String>,
    operation_request_id: Option<String>,
    /// When the resource was last started.
    started: Option<String>,
    settled: Vec<String>,
}

impl TypedReadBack {
    fn kind(&self, name: &str) -> Kind {
        Kind {
            name: name.to_owned(),
            action: self.action.clone(),
            ids: self.ids.clone(),
            items: keys(&self.items),
            id: self.id.clone(),
            tags: None,
            filters: BTreeMap::new(),
        }
    }

    fn resolve(&self, service: &str, region_field: Option<String>, of: &TypedAction) -> ReadBack {
        ReadBack {
            service: service.to_owned(),
            action: self.action.clone(),
            goal: of.goal.clone(),
            proof: of.proof.clone(),
            ids_field: self.ids.clone(),
            ids_form: self.ids_form,
            region_field,
            items: keys(&self.items),
            id_field: self.id.clone(),
            state_field: self.state.clone(),
            operation_field: self.operation.clone(),
            operation_state_field: self.operation_state.clone(),
            operation_request_id_field: self.operation_request_id.clone(),
            started_field: self.started.clone(),
            settled: self.settled.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_shown() {
        for (text, calls, seconds) in [("10/s", 10, 1), ("100/60s", 100, 60)] {
            let rate = Rate::try_from(text.to_owned()).expect("a rate");
            assert_eq!(
                (rate.calls, rate.per, rate.to_string().as_str()),
                (calls, Duration::from_secs(seconds), text)
            );
        }
        for text in ["", "10", "10/m", "0/s", "10/0s", "x/s", "10/-1s"] {
            assert!(Rate::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}

//! What a dry run has simulated, and how it shows: the reply to an effect that is not made, and the answers of later reads of the
//! same run with the effect patched into them. Pure, from the ledger alone, so that a replay shows the same; what effects leave is
//! the catalog's (`makes`). Leaves which effects are simulated, and asking the cloud, to the broker. Tested in `tests.rs`.

mod effect;
mod listing;
mod reply;

pub use reply::{NOT_SHOWN, gives_ids, nothing, reply};

use crate::call::{CallRequest, CallResponse};
use crate::catalog::{self, Kind, Provider};
use crate::run::{Entry, Record, canonical_params, parse_params};
use crate::time::Timestamp;
use effect::Effect;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The simulated effects of one try of a run.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// By position.
    effects: Vec<Simulated>,
}

/// An effect that was not made, and what it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// Where in the run.
    pub position: u32,
    /// In canonical form.
    pub request: CallRequest,
    /// The simulated reply.
    pub response: CallResponse,
    /// When.
    pub at: Timestamp,
}

/// Whom to ask what a read asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The cloud, as it stands.
    AsItIs,
    /// The cloud, without what it does not know: ids that were made up.
    Instead(CallRequest),
    /// Nobody: it asks for nothing that the cloud knows. Carries an answer that lists nothing.
    Nobody(String),
}

impl Overlay {
    /// The effects that the latest try of a run simulated.
    pub fn of(ledger: &[Record]) -> Self {
        let mut overlay = Self::default();
        for Record { at, entry, .. } in ledger {
            match entry {
                Entry::Call { position, request, reply: Ok(response), answered }
                    if answered.is_simulated() =>
                {
                    overlay.add(*position, request.clone(), response.clone(), *at);
                }
                Entry::Retried { .. } | Entry::Approved { enough: true, .. } | Entry::Void { .. } => {
                    overlay = Self::default();
                }
                _ => {}
            }
        }
        overlay
    }

    /// Takes one more effect.
    pub fn add(&mut self, position: u32, request: CallRequest, response: CallResponse, at: Timestamp) {
        let place = self.effects.partition_point(|known| known.position < position);
        self.effects.insert(place, Simulated { position, request, response, at });
    }

    /// The effects so far, by position.
    pub fn effects(&self) -> &[Simulated] {
        &self.effects
    }

    /// What an earlier effect of the same action with the same natural key was answered.
    pub fn same_key(&self, request: &CallRequest) -> Option<&CallResponse> {
        let key = request.once.as_ref()?;
        let is_same = |known: &&Simulated| {
            let CallRequest { service, action, once, .. } = &known.request;
            (service, action, once.as_ref()) == (&request.service, &request.action, Some(key))
        };
        self.effects.iter().find(is_same).map(|known| &known.response)
    }

    /// Whether the call at `position` names anything that an earlier effect has made or changed: then the cloud, which knows nothing
    /// of that, would judge it wrongly.
    pub fn bears_on(&self, provider: Provider, position: u32, params: &Value) -> bool {
        let before = self.before(position);
        let named = before.clone().flat_map(|known| {
            let CallRequest { service, action, params, .. } = &known.request;
            let params = parse_params(params).map(Value::Object).unwrap_or_default();
            catalog::resources(provider, service, action, &params)
        });
        let touched: BTreeSet<String> = named.chain(self.made(provider, position)).collect();
        names_any(params, &touched)
    }

    /// Whom to ask what the read `request` at `position` asks.
    pub fn ask(&self, provider: Provider, position: u32, request: &CallRequest) -> Ask {
        let made: BTreeSet<String> = self.made(provider, position).collect();
        let (Some(kind), false) = (kind_of(provider, request), made.is_empty()) else { return Ask::AsItIs };
        let Ok(mut params) = parse_params(&request.params) else { return Ask::AsItIs };
        let ids = params.remove(&kind.ids);
        if names_any(&Value::Object(params.clone()), &made) {
            return Ask::Nobody(listing::empty(kind));
        }
        let Some(ids) = ids else { return Ask::AsItIs };
        let named = listing::ids_in(&ids);
        let known: Vec<&String> = named.iter().filter(|id| !made.contains(*id)).collect();
        if known.len() == named.len() {
            return Ask::AsItIs;
        }
        if known.is_empty() {
            return Ask::Nobody(listing::empty(kind));
        }
        params.insert(kind.ids.clone(), listing::like(&ids, &known));
        Ask::Instead(CallRequest { params: canonical_params(&params), ..request.clone() })
    }

    /// The answer `body` of the read `request` at `position`, with the earlier effects in it; `None` where none shows.
    pub fn shown(
        &self,
        provider: Provider,
        position: u32,
        request: &CallRequest,
        body: &str,
    ) -> Option<String> {
        let kind = kind_of(provider, request)?;
        let of_here = |known: &&Simulated| {
            (&known.request.service, &known.request.region) == (&request.service, &request.region)
        };
        let effects: Vec<Effect<'_>> =
            self.before(position).filter(of_here).filter_map(|known| Effect::of(provider, known)).collect();
        if effects.is_empty() {
            return None;
        }
        let params = parse_params(&request.params).unwrap_or_else(|_| Map::new());
        let mut answer: Value = serde_json::from_str(body).ok()?;
        listing::patch(kind, &effects, &params, &mut answer).then(|| answer.to_string())
    }

    fn before(&self, position: u32) -> impl Iterator<Item = &Simulated> + Clone {
        self.effects.iter().take_while(move |known| known.position < position)
    }

    /// The ids that were made up before `position`.
    fn made(&self, provider: Provider, position: u32) -> impl Iterator<Item = String> {
        self.before(position)
            .filter_map(move |known| Effect::of(provider, known))
            .flat_map(|effect| effect.ids())
    }
}

fn kind_of(provider: Provider, request: &CallRequest) -> Option<&'static Kind> {
    catalog::kinds(provider, &request.service).iter().find(|kind| kind.action == request.action)
}

/// Whether any text within `value` is one of `ids`, or a list of which one is.
fn names_any(value: &Value, ids: &BTreeSet<String>) -> bool {
    match value {
        Value::Object(members) => members.values().any(|member| names_any(member, ids)),
        Value::Array(items) => items.iter().any(|item| names_any(item, ids)),
        Value::String(_) => listing::ids_in(value).iter().any(|id| ids.contains(id)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;

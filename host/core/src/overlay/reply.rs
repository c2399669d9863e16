//! The reply to an effect that is not made: what a policy needs of it, made up so that the same call of the same run is always
//! answered the same. Tested in `tests.rs`.

use super::effect::within;
use crate::call::{CallRequest, CallResponse};
use crate::catalog::{self, Action, Makes, Provider};
use crate::id::{RunId, hex};
use crate::run::parse_params;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The field of a simulated reply that says that no later read shows the effect.
pub const NOT_SHOWN: &str = "OpswardDryRun";
/// Most ids that one reply makes up: the longest list that either vendor makes at a time.
const IDS_MAX: u64 = 100;
/// Hex digits of a made-up id: no two of a run are alike, and it is no longer than a real one.
const ID_DIGITS: usize = 8;

/// The reply to the effect `request`, in canonical form, at `position` of `run`.
pub fn reply(run: &RunId, provider: Provider, position: u32, request: &CallRequest) -> CallResponse {
    let makes =
        catalog::find(provider, &request.service, &request.action).and_then(|action| action.makes.as_ref());
    let digits = |what: &str| {
        let digest = Sha256::digest(format!("{run}/{position}/{what}"));
        hex(&digest)[..ID_DIGITS].to_owned()
    };
    let request_id = format!("dryrun-{}-{position}", digits("request"));
    let mut body = Map::from_iter([("RequestId".to_owned(), Value::from(request_id.as_str()))]);
    if let Some((makes, place)) = makes.and_then(|makes| Some((makes, makes.id.as_deref()?))) {
        let id = |nth: u64| Value::from(format!("{}dryrun{}", makes.like, digits(&nth.to_string())));
        let ids = match place.strip_suffix("[]") {
            Some(_) => (0..count(makes, request)).map(id).collect(),
            None => id(0),
        };
        put(&mut body, place.trim_end_matches("[]"), ids);
    }
    if !makes.is_some_and(Makes::shows) {
        body.insert(NOT_SHOWN.to_owned(), "no later read of this run shows it".into());
    }
    CallResponse { request_id, body: Value::Object(body).to_string(), simulated: true }
}

/// The answer to a read that asks for nothing the cloud knows.
pub fn nothing(body: String) -> CallResponse {
    CallResponse { request_id: String::new(), body, simulated: false }
}

/// Whether `body` gives ids of what the action makes: then it was carried out.
pub fn gives_ids(action: &Action, body: &str) -> bool {
    let place = action.makes.as_ref().and_then(|makes| makes.id.as_deref());
    place.is_some_and(|place| !ids_at(place, body).is_empty())
}

/// The ids at a place of an answer.
pub(super) fn ids_at(place: &str, body: &str) -> Vec<String> {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    let found = within(&answer, &place.trim_end_matches("[]").split('.').collect::<Vec<_>>());
    let text = |value: &Value| value.as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    match found {
        Some(Value::Array(ids)) => ids.iter().filter_map(text).collect(),
        other => other.and_then(text).into_iter().collect(),
    }
}

fn count(makes: &Makes, request: &CallRequest) -> u64 {
    let params = parse_params(&request.params).unwrap_or_default();
    let given = makes.count.as_ref().and_then(|name| params.get(name));
    let number = given.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    number.unwrap_or(1).clamp(1, IDS_MAX)
}

fn put(body: &mut Map<String, Value>, place: &str, value: Value) {
    match place.split_once('.') {
        Some((outer, inner)) => {
            let mut below = Map::new();
            put(&mut below, inner, value);
            body.insert(outer.to_owned(), Value::Object(below));
        }
        None => {
            body.insert(place.to_owned(), value);
        }
    }
}

//! Reads a resource's state before an effect that carries no token, and after one whose result is unknown. The recipe is the
//! catalog's; judging the two states is `catalog::judge`.

use super::Session;
use super::known::Age;
use crate::failpoint::wrong;
use opsward_core::admit::Admitted;
use opsward_core::call::{CallError, CallReply, CallRequest, ErrorKind};
use opsward_core::catalog::{self, Action, Baseline, Class, Judgement, ReadBack, Sight};
use opsward_core::retry::refusal;
use opsward_core::run::{OpenEffect, Stop, parse_params};
use serde_json::Value;

impl Session {
    /// The state of the one resource the effect names, as JSON text; `None` where the catalog has no recipe. A state that
    /// cannot be read refuses the effect: without it nobody could tell later whether it took place.
    pub(super) async fn baseline(
        &self,
        position: u32,
        request: &CallRequest,
        params: &Value,
        admitted: &Admitted,
    ) -> Result<Result<Option<String>, CallError>, Stop> {
        if matches!(admitted.class, Class::Read | Class::Token) {
            return Ok(Ok(None));
        }
        let Some((recipe, resource)) = admitted.action.and_then(|action| recipe(action, params)) else {
            return Ok(Ok(None));
        };
        let (reply, _) = self.look(position, &recipe.request(&resource, &request.region)).await?;
        Ok(match reply.map(|response| seen(recipe, &resource, &response.body)) {
            Ok(Sight::Shown(baseline)) => {
                Ok(Some(serde_json::to_string(&baseline).expect("strings serialise")))
            }
            Ok(Sight::NotShown | Sight::Unreadable) => {
                let message = format!("{}:{} does not show {resource}", recipe.service, recipe.action);
                Err(refusal(ErrorKind::NotFound, "opsward.ResourceNotShown", message))
            }
            Err(error) => Err(error),
        })
    }

    /// Whether the effect took place, by the resource's state now.
    pub(super) async fn read_back(&self, open: &OpenEffect, params: &Value) -> Result<Judgement, Stop> {
        let request = &open.request;
        let action =
            self.account().and_then(|a| catalog::find(a.provider, &request.service, &request.action));
        let before = open.baseline.as_deref().and_then(|text| serde_json::from_str::<Baseline>(text).ok());
        let (Some(action), Some(before)) = (action, before) else { return Ok(Judgement::Unknown) };
        let Some((recipe, resource)) = recipe(action, params) else { return Ok(Judgement::Unknown) };
        // As the cloud has it: what was simulated proves nothing.
        let reply = self.ask(&recipe.request(&resource, &request.region)).await?;
        Ok(match reply.map(|response| seen(recipe, &resource, &response.body)) {
            Ok(Sight::Shown(after)) => match self.broker.known.age(&resource, &after, open.since) {
                Age::Behind => Judgement::NotYet,
                // Not the effect in question, even where a baseline that lagged behind did not show it.
                Age::Earlier => catalog::judge(&after, Some(&after), open.since, action),
                Age::Open => catalog::judge(&before, Some(&after), open.since, action),
            },
            Ok(Sight::NotShown) => catalog::judge(&before, None, open.since, action),
            // What broke the answer off, such as a lost network, mostly breaks this read as well: it says nothing yet.
            Err(error) if error.retryable => Judgement::NotYet,
            Ok(Sight::Unreadable) | Err(_) => Judgement::Unknown,
        })
    }

    /// Keeps the operation that an effect began, so that it is not taken for a later effect's.
    pub(super) fn remember(&self, request: &CallRequest, reply: &CallReply) {
        let action =
            self.account().and_then(|a| catalog::find(a.provider, &request.service, &request.action));
        let params = parse_params(&request.params).map(Value::Object).unwrap_or_default();
        if let (Some(action), Ok(response)) = (action, reply)
            && let Some((_, resource)) = recipe(action, &params)
        {
            self.broker.known.add(resource, &response.request_id, self.broker.clock.now());
        }
    }
}

fn seen(recipe: &ReadBack, resource: &str, body: &str) -> Sight {
    match recipe.sight(resource, body) {
        Sight::Shown(shown) if wrong("trusts-success") => Sight::Shown(trusting(shown, recipe)),
        sight => sight,
    }
}

/// The wrong variant `trusts-success`: an operation that says SUCCESS is taken to have reached its goal, wherever the resource is.
fn trusting(shown: Baseline, recipe: &ReadBack) -> Baseline {
    match (shown.operation_state.as_deref(), &recipe.goal) {
        (Some("SUCCESS"), Some(goal)) => Baseline { state: Some(goal.clone()), ..shown },
        _ => shown,
    }
}

/// The read that shows the one resource of an effect; none where the catalog knows none, or the effect names several.
fn recipe(action: &'static Action, params: &Value) -> Option<(&'static ReadBack, String)> {
    let recipe = action.read_back.as_ref()?;
    match action.resources(params).as_slice() {
        [resource] => Some((recipe, resource.clone())),
        _ => None,
    }
}

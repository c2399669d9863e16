//! Reading a resource back to see whether an effect took place whose answer was lost: the read to make, what to keep of
//! its answer, and the judgement of two such readings. Leaves making the read and what follows to the broker. Tested in
//! `read_back/tests.rs`.

use super::entry::Action;
use crate::call::CallRequest;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// How to see the state of a resource that an action acts on.
#[derive(Debug, Clone)]
pub struct ReadBack {
    /// The service of the read.
    pub service: String,
    /// The read.
    pub action: String,
    /// The settled state that a convergent action leads to.
    pub goal: Option<String>,
    /// What shows that an action of class *once* took place, where the cloud keeps no record of operations.
    pub proof: Proof,
    pub(super) ids_field: String,
    pub(super) ids_form: IdsForm,
    pub(super) region_field: Option<String>,
    pub(super) items: Vec<String>,
    pub(super) id_field: String,
    pub(super) state_field: String,
    pub(super) operation_field: Option<String>,
    pub(super) operation_state_field: Option<String>,
    pub(super) operation_request_id_field: Option<String>,
    pub(super) started_field: Option<String>,
    /// States in which nothing is under way.
    pub settled: Vec<String>,
}

/// What shows that an action took place. Whose doing it was it does not show: a machine that somebody else restarted in the same
/// moment has been restarted, a snapshot that somebody else deleted is gone. Nothing shows that an action did not take place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Proof {
    /// The resource is not shown any more.
    pub gone: bool,
    /// It was started since the intent.
    pub started: bool,
    /// A state that a settled resource comes to by this action only.
    pub state: Option<String>,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.as_ref().map(|state| format!("it is {state}"));
        let proofs = [
            self.gone.then(|| "it is gone".to_owned()),
            self.started.then(|| "it was started since".to_owned()),
            state,
        ];
        f.write_str(&proofs.into_iter().flatten().collect::<Vec<_>>().join(", or "))
    }
}

/// What an answer shows of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Where it stands.
    Shown(Baseline),
    /// A whole answer, without the resource.
    NotShown,
    /// No such answer as the read gives.
    Unreadable,
}

/// How the read wants its list of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IdsForm {
    List,
    JsonText,
}

/// The ids in the form that the read wants.
pub(super) fn ids_value(form: IdsForm, ids: &[&str]) -> Value {
    let list = Value::from(ids.to_vec());
    match form {
        IdsForm::List => list,
        IdsForm::JsonText => Value::from(list.to_string()),
    }
}

impl ReadBack {
    /// The read of one resource.
    pub fn request(&self, resource: &str, region: &str) -> CallRequest {
        let mut params = Map::from_iter([(self.ids_field.clone(), ids_value(self.ids_form, &[resource]))]);
        if let Some(field) = &self.region_field {
            params.insert(field.clone(), region.into());
        }
        CallRequest {
            service: self.service.clone(),
            action: self.action.clone(),
            region: region.to_owned(),
            params: Value::Object(params).to_string(),
            once: None,
        }
    }

    /// What an answer's body says of `resource`.
    pub fn sight(&self, resource: &str, body: &str) -> Sight {
        let Ok(body) = serde_json::from_str::<Value>(body) else { return Sight::Unreadable };
        let items = self.items.iter().try_fold(&body, |value, key| value.get(key)).and_then(Value::as_array);
        let Some(items) = items else { return Sight::Unreadable };
        let is_it = |item: &&Value| item.get(&self.id_field).and_then(Value::as_str) == Some(resource);
        let Some(item) = items.iter().find(is_it) else { return Sight::NotShown };
        let text = |field: &str| {
            item.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let optional = |field: &Option<String>| field.as_deref().and_then(text);
        Sight::Shown(Baseline {
            state: text(&self.state_field),
            operation: optional(&self.operation_field),
            operation_state: optional(&self.operation_state_field),
            operation_request_id: optional(&self.operation_request_id_field),
            started: optional(&self.started_field),
        })
    }

    fn settled(&self, reading: &Baseline) -> bool {
        const UNDER_WAY: &str = "OPERATING";
        let state_settled = reading.state.as_ref().is_some_and(|state| self.settled.contains(state));
        state_settled && reading.operation_state.as_deref() != Some(UNDER_WAY)
    }
}

/// One reading of a resource; journaled as JSON text with the intent of an effect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Baseline {
    /// Where the resource stands: `RUNNING`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The last operation on it: `ResetInstance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Where that operation stands: `SUCCESS`, `OPERATING`, `FAILED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_state: Option<String>,
    /// The request that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_request_id: Option<String>,
    /// When it was last started, as the cloud writes it: `2026-01-05T02:07Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
}

/// What two readings say of an effect sent between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It took place.
    Done {
        /// The request that did it, where the cloud keeps that.
        request_id: Option<String>,
    },
    /// What it leads to is there. A read that lags behind may show what was there before: look again.
    Reached,
    /// Something is under way on the resource, or what would prove the effect may show later: read again then.
    NotYet,
    /// Nothing is under way and the goal of a convergent action is not reached: it may be sent again.
    Unmet,
    /// Nothing is under way and the cloud's record of the last operation is what it was: the effect has not taken place so
    /// far. It still may, while the cloud would take the request.
    Unchanged,
    /// Nothing shows that it took place. What is not there proves nothing, but may come.
    Unproved,
    /// The readings do not tell.
    Unknown,
}

/// Judges whether `action`, whose intent was recorded at `since` after the reading `before`, had taken place at the reading
/// `after`; `None` where that did not show the resource any more.
///
/// A new request id with our operation proves it. A convergent action is judged by its goal besides. That the cloud's record of
/// operations is what it was proves that an action was not carried out so far; where there is no such record, only the action's
/// `Proof` proves something, and its absence nothing.
pub fn judge(before: &Baseline, after: Option<&Baseline>, since: Timestamp, action: &Action) -> Judgement {
    let Some(read_back) = &action.read_back else { return Judgement::Unknown };
    let Some(after) = after else {
        return if read_back.proof.gone { Judgement::Reached } else { Judgement::Unknown };
    };
    let is_new =
        after.operation_request_id.is_some() && after.operation_request_id != before.operation_request_id;
    if is_new && after.operation.as_deref() == Some(action.name.as_str()) {
        return Judgement::Done { request_id: after.operation_request_id.clone() };
    }
    let (Some(state), is_settled) = (&after.state, read_back.settled(after)) else {
        return Judgement::Unknown;
    };
    match &read_back.goal {
        Some(_) if !is_settled => Judgement::NotYet,
        Some(goal) if state == goal => Judgement::Reached,
        Some(_) => Judgement::Unmet,
        None if read_back.proof != Proof::default() => proved(before, after, since, read_back),
        // Without a record of operations, or with somebody else's in it, nothing is proved.
        None if read_back.operation_request_id_field.is_none() || is_new => Judgement::Unknown,
        None if !is_settled => Judgement::NotYet,
        None if after == before => Judgement::Unchanged,
        None => Judgement::Unknown,
    }
}

fn proved(before: &Baseline, after: &Baseline, since: Timestamp, read_back: &ReadBack) -> Judgement {
    let Proof { state, started, .. } = &read_back.proof;
    match (read_back.settled(before), read_back.settled(after)) {
        (true, false) if state.is_some() && after.state == *state => Judgement::Done { request_id: None },
        (_, false) => Judgement::NotYet,
        (_, true) if *started && after.started != before.started && is_started_since(after, since) => {
            Judgement::Reached
        }
        (_, true) => Judgement::Unproved,
    }
}

/// Whether the start that a reading shows is later than the minute before `since`: a baseline that lagged behind did not show
/// an earlier start, which is not the effect's.
fn is_started_since(after: &Baseline, since: Timestamp) -> bool {
    let minute = |text: &str| text.get(..MINUTE.len()).map(str::to_owned);
    let started = after.started.as_deref().and_then(minute);
    started.is_some() && started >= minute(&since.to_iso_seconds())
}

/// How far a time is compared: ECS writes the start of an instance to the minute.
const MINUTE: &str = "yyyy-MM-ddTHH:mm";

#[cfg(test)]
mod tests;

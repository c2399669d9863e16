//! Reading a resource back to see whether an effect took place whose answer was lost: the read to make, what to keep of
//! its answer, and the judgement of two such readings. Leaves making the read and what follows to the broker. Tested below.

use super::entry::Action;
use crate::call::CallRequest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How to see the state of a resource that an action acts on.
#[derive(Debug, Clone)]
pub struct ReadBack {
    /// The service of the read.
    pub service: String,
    /// The read.
    pub action: String,
    /// The settled state that a convergent action leads to.
    pub goal: Option<String>,
    pub(super) ids_field: String,
    pub(super) ids_form: IdsForm,
    pub(super) region_field: Option<String>,
    pub(super) items: Vec<String>,
    pub(super) id_field: String,
    pub(super) state_field: String,
    pub(super) operation_field: Option<String>,
    pub(super) operation_state_field: Option<String>,
    pub(super) operation_request_id_field: Option<String>,
    /// States in which nothing is under way.
    pub(super) settled: Vec<String>,
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

    /// What an answer's body says of `resource`; `None` where it is no such answer or does not list the resource.
    pub fn baseline(&self, resource: &str, body: &str) -> Option<Baseline> {
        let body: Value = serde_json::from_str(body).ok()?;
        let items = self.items.iter().try_fold(&body, |value, key| value.get(key))?.as_array()?;
        let item =
            items.iter().find(|item| item.get(&self.id_field).and_then(Value::as_str) == Some(resource))?;
        let text = |field: &str| {
            item.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let optional = |field: &Option<String>| field.as_deref().and_then(text);
        Some(Baseline {
            state: text(&self.state_field),
            operation: optional(&self.operation_field),
            operation_state: optional(&self.operation_state_field),
            operation_request_id: optional(&self.operation_request_id_field),
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
}

/// What two readings say of an effect sent between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It took place, or its goal is reached.
    Done {
        /// The request that did it, where the cloud keeps that.
        request_id: Option<String>,
    },
    /// Something is under way on the resource: read again later.
    NotYet,
    /// Nothing is under way and the goal of a convergent action is not reached: it may be sent again.
    Unmet,
    /// Nothing is under way and the cloud's record of the last operation is what it was: the effect has not taken place so
    /// far. It still may, while the cloud would take the request.
    Unchanged,
    /// The readings do not tell.
    Unknown,
}

/// Judges whether `action`, sent after the reading `before`, had taken place at the reading `after`.
///
/// A new request id with our operation proves it. A convergent action is judged by its goal besides. The state alone
/// proves nothing of an action that must not be repeated; that the cloud's record of operations is what it was does.
pub fn judge(before: &Baseline, after: &Baseline, action: &Action) -> Judgement {
    let is_new =
        after.operation_request_id.is_some() && after.operation_request_id != before.operation_request_id;
    if is_new && after.operation.as_deref() == Some(action.name.as_str()) {
        return Judgement::Done { request_id: after.operation_request_id.clone() };
    }
    let Some(read_back) = &action.read_back else { return Judgement::Unknown };
    let (Some(state), is_settled) = (&after.state, read_back.settled(after)) else {
        return Judgement::Unknown;
    };
    match &read_back.goal {
        Some(_) if !is_settled => Judgement::NotYet,
        Some(goal) if state == goal => Judgement::Done { request_id: None },
        Some(_) => Judgement::Unmet,
        // Without a record of operations, or with somebody else's in it, nothing is proved.
        None if read_back.operation_request_id_field.is_none() || is_new => Judgement::Unknown,
        None if !is_settled => Judgement::NotYet,
        None if after == before => Judgement::Unchanged,
        None => Judgement::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Provider, find};
    use serde_json::json;

    fn action(service: &str, name: &str) -> &'static Action {
        let provider = if service == "ecs" { Provider::Alibaba } else { Provider::Tencent };
        find(provider, service, name).expect("in the catalog")
    }

    fn read_back(service: &str, name: &str) -> &'static ReadBack {
        action(service, name).read_back.as_ref().expect("has a read-back")
    }

    #[test]
    fn the_read_names_the_resource_in_the_vendors_form() {
        let request = read_back("cvm", "ResetInstance").request("ins-1", "ap-shanghai");
        assert_eq!((request.service.as_str(), request.action.as_str()), ("cvm", "DescribeInstances"));
        assert_eq!(request.region, "ap-shanghai");
        assert_eq!(request.params, r#"{"InstanceIds":["ins-1"]}"#);
        let request = read_back("ecs", "StopInstance").request("i-1", "cn-hangzhou");
        let params: Value = serde_json::from_str(&request.params).expect("JSON");
        assert_eq!(params, json!({"InstanceIds": "[\"i-1\"]", "RegionId": "cn-hangzhou"}));
    }

    #[test]
    fn a_baseline_is_that_of_the_asked_resource_only() {
        let recipe = read_back("cvm", "ResetInstance");
        let body = json!({"TotalCount": 2, "InstanceSet": [
            {"InstanceId": "ins-2", "InstanceState": "STOPPED"},
            {"InstanceId": "ins-1", "InstanceState": "RUNNING", "LatestOperation": "StartInstances",
             "LatestOperationState": "SUCCESS", "LatestOperationRequestId": "r-1"},
        ]});
        let baseline = recipe.baseline("ins-1", &body.to_string()).expect("listed");
        assert_eq!(baseline, reading("RUNNING", Some(("StartInstances", "SUCCESS", "r-1"))));
        assert_eq!(recipe.baseline("ins-3", &body.to_string()), None);
        assert_eq!(recipe.baseline("ins-1", "{\"InstanceSet\":"), None);
        let fresh = json!({"InstanceSet": [{"InstanceId": "ins-1", "InstanceState": "RUNNING",
            "LatestOperation": null, "LatestOperationRequestId": ""}]});
        assert_eq!(recipe.baseline("ins-1", &fresh.to_string()), Some(reading("RUNNING", None)));
        let ecs = json!({"Instances": {"Instance": [{"InstanceId": "i-1", "Status": "Stopping"}]}});
        let ecs = read_back("ecs", "StopInstance").baseline("i-1", &ecs.to_string());
        assert_eq!(ecs, Some(reading("Stopping", None)));
    }

    #[test]
    fn judgements() {
        let done = |id: &str| Judgement::Done { request_id: Some(id.to_owned()) };
        let reset = action("cvm", "ResetInstance");
        let old = Some(("StartInstances", "SUCCESS", "r-1"));
        let cases = [
            (
                reset,
                reading("RUNNING", old),
                reading("RUNNING", Some(("ResetInstance", "OPERATING", "r-2"))),
                done("r-2"),
            ),
            (
                reset,
                reading("RUNNING", None),
                reading("RUNNING", Some(("ResetInstance", "SUCCESS", "r-2"))),
                done("r-2"),
            ),
            (reset, reading("RUNNING", old), reading("RUNNING", old), Judgement::Unchanged),
            (reset, reading("RUNNING", None), reading("RUNNING", None), Judgement::Unchanged),
            (reset, reading("RUNNING", old), reading("STOPPED", old), Judgement::Unknown),
            (reset, reading("RUNNING", old), reading("STOPPING", old), Judgement::NotYet),
            (
                reset,
                reading("RUNNING", old),
                reading("STOPPED", Some(("StopInstances", "SUCCESS", "r-2"))),
                Judgement::Unknown,
            ),
            // The same request seen before is not ours.
            (
                reset,
                reading("RUNNING", Some(("ResetInstance", "OPERATING", "r-1"))),
                reading("RUNNING", Some(("ResetInstance", "SUCCESS", "r-1"))),
                Judgement::Unknown,
            ),
            (
                action("ecs", "RebootInstance"),
                reading("Running", None),
                reading("Running", None),
                Judgement::Unknown,
            ),
            (
                action("cvm", "StopInstances"),
                reading("RUNNING", old),
                reading("RUNNING", old),
                Judgement::Unmet,
            ),
            // `SUCCESS` alone is not finished: the state may still be on its way.
            (
                action("cvm", "StopInstances"),
                reading("RUNNING", old),
                reading("STOPPING", old),
                Judgement::NotYet,
            ),
            (
                action("cvm", "StopInstances"),
                reading("RUNNING", old),
                reading("STOPPED", old),
                Judgement::Done { request_id: None },
            ),
            (
                action("ecs", "StartInstance"),
                reading("Stopped", None),
                reading("Starting", None),
                Judgement::NotYet,
            ),
            (
                action("ecs", "StartInstance"),
                reading("Stopped", None),
                reading("Stopped", None),
                Judgement::Unmet,
            ),
            (
                action("ecs", "StartInstance"),
                reading("Stopped", None),
                reading("Running", None),
                Judgement::Done { request_id: None },
            ),
            (
                action("ecs", "StartInstance"),
                reading("Stopped", None),
                Baseline::default(),
                Judgement::Unknown,
            ),
            (action("ecs", "DeleteSnapshot"), Baseline::default(), Baseline::default(), Judgement::Unknown),
        ];
        for (action, before, after, expected) in cases {
            assert_eq!(judge(&before, &after, action), expected, "{} {before:?} {after:?}", action.name);
        }
    }

    fn reading(state: &str, operation: Option<(&str, &str, &str)>) -> Baseline {
        Baseline {
            state: Some(state.to_owned()),
            operation: operation.map(|o| o.0.to_owned()),
            operation_state: operation.map(|o| o.1.to_owned()),
            operation_request_id: operation.map(|o| o.2.to_owned()),
        }
    }
}

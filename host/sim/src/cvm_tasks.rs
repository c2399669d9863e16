//! Maintenance tasks of CVM instances: `DescribeTaskInfo`. They are put there by `/_sim/state`. Tested by `tests/tests/it/caught_up.rs`.

use crate::answer::Outcome;
use crate::clock::china_seconds;
use crate::cloud::{Call, Cloud};
use crate::json_params::{self as json_args, Params};
use crate::state::RepairTask;
use serde_json::{Value, json};

const PARAMS: [&str; 11] = [
    "Product",
    "TaskStatus",
    "TaskTypeIds",
    "TaskIds",
    "InstanceIds",
    "Aliases",
    "StartDate",
    "EndDate",
    "OrderField",
    "Order",
    "Limit",
];

/// Tasks of all regions, the oldest first; without a first day those of today, in China's time.
pub(crate) fn describe(cloud: &Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    json_args::known(params, &[&PARAMS[..], &["Offset"]].concat())?;
    let now = china_seconds(call.now);
    let today = format!("{} 00:00:00", &now[..10]);
    let start = json_args::text(params, "StartDate")?.unwrap_or(&today);
    let end = json_args::text(params, "EndDate")?.unwrap_or(&now);
    let statuses = params.get("TaskStatus").and_then(Value::as_array);
    let is_asked = |task: &RepairTask| {
        let created = china_seconds(task.created);
        let has_status = |asked: &Vec<Value>| asked.iter().any(|status| *status == task.status);
        (start..=end).contains(&created.as_str()) && statuses.is_none_or(has_status)
    };
    let mut selected: Vec<(&String, &RepairTask)> =
        cloud.world.tencent.tasks.iter().filter(|(_, task)| is_asked(task)).collect();
    selected.sort_by_key(|(_, task)| task.created);
    json_args::paged(params, &selected, "RepairTaskInfoSet", |(id, task)| shown(id, task))
}

fn shown(id: &str, task: &RepairTask) -> Value {
    json!({
        "TaskId": id, "InstanceId": task.instance_id, "Alias": null, "TaskTypeId": task.kind, "TaskTypeName": "",
        "TaskStatus": task.status, "CreateTime": china_seconds(task.created), "AuthTime": null,
        "EndTime": task.ended.map(china_seconds), "TaskDetail": "", "Zone": null, "Region": task.region, "Product": "CVM",
    })
}

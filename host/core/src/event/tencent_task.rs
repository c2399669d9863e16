//! A maintenance task of CVM as `DescribeTaskInfo` shows it. The host reads it; nobody sends it. Leaves asking for it, and whether the task
//! is of the region that was asked, to `crate::source::history`. Tested below.
//!
//! A task has an id of its own, and shares none with the alarm of Cloud Monitor or the event of EventBridge about the same happening: it
//! is an event of its own type, so that nothing is taken for what it may not be.
//!
//! Source: the model of cvm 2017-03-12, `RepairTaskInfo`. Its times are those of UTC+8 and do not say so.

use super::json::{self, scalar};
use super::tencent_monitor::parse_local;
use super::{DecodeError, Event, Transition, id_at, incident_key};
use crate::id::SourceName;
use crate::time::Timestamp;

/// Reads one task of the account with the number `owner`, which was shown at `now`.
///
/// # Errors
/// Where it has no id or no type, or an attribute that is out of bounds.
pub fn repair_task(
    source: &SourceName,
    text: &str,
    owner: &str,
    region: &str,
    now: Timestamp,
) -> Result<Event, DecodeError> {
    let body = json::object(text)?;
    let needed =
        |key: &'static str| scalar(&body, key).ok_or_else(|| DecodeError::field(key, "a task has it"));
    let (task, kind) = (needed("TaskId")?, needed("TaskTypeId")?);
    let transition = scalar(&body, "TaskStatus").as_deref().and_then(transition);
    let time = |key: &str| scalar(&body, key).and_then(|text| parse_local(&text)).filter(|at| *at <= now);
    // Permission may be given for a time to come, and stands there while it is only asked for.
    let permitted = time("AuthTime").filter(|_| transition == Some(Transition::Executing));
    // When a time was agreed on is not told. It counts from when it is first seen: what lies ahead is told of however old the task is.
    let asked = time("CreateTime")
        .filter(|_| !matches!(transition, Some(Transition::Scheduled | Transition::Executing)));
    let event = Event {
        subject: scalar(&body, "InstanceId"),
        time: time("EndTime").or(permitted).or(asked).unwrap_or(now),
        incident: Some(incident_key("tencent", &["task", &task])),
        account: Some(owner.to_owned()),
        region: Some(region.to_owned()),
        transition,
        data: text.to_owned(),
        ..Event::bare(source, id_at(task, transition), format!("cvm:RepairTask:{kind}"))
    };
    event.check().map(|()| event)
}

/// What a `TaskStatus` says.
fn transition(status: &str) -> Option<Transition> {
    Some(match status {
        "1" => Transition::Inquiring,
        "4" => Transition::Scheduled,
        "2" => Transition::Executing,
        "3" => Transition::Executed,
        "5" => Transition::Canceled,
        "6" => Transition::Avoided,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(changes: Value) -> Result<Event, DecodeError> {
        let mut task = json!({
            "TaskId": "rep-1", "InstanceId": "ins-1", "TaskTypeId": 107, "TaskStatus": 1, "TaskTypeName": "实例维护升级",
            "CreateTime": "2023-03-08 12:00:00", "AuthTime": "2023-03-10 12:00:00", "EndTime": null,
        });
        for (key, value) in changes.as_object().expect("members") {
            task[key] = value.clone();
        }
        let now = Timestamp::parse_rfc3339("2023-03-10T05:00:00Z").expect("a time");
        repair_task(&"in".parse().expect("a name"), &task.to_string(), "100", "ap-guangzhou", now)
    }

    #[test]
    fn a_task_is_an_event_of_its_own_that_goes_forward_with_its_status() {
        for (status, transition, end, time) in [
            (1, Some(Transition::Inquiring), Value::Null, "2023-03-08T04:00:00Z"),
            (4, Some(Transition::Scheduled), Value::Null, "2023-03-10T05:00:00Z"),
            (2, Some(Transition::Executing), Value::Null, "2023-03-10T04:00:00Z"),
            (3, Some(Transition::Executed), json!("2023-03-10 12:30:00"), "2023-03-10T04:30:00Z"),
            (5, Some(Transition::Canceled), Value::Null, "2023-03-08T04:00:00Z"),
            (6, Some(Transition::Avoided), json!("2023-03-09 12:30:00"), "2023-03-09T04:30:00Z"),
            (9, None, Value::Null, "2023-03-08T04:00:00Z"),
        ] {
            let event = read(json!({ "TaskStatus": status, "EndTime": end })).expect("readable");
            assert_eq!(
                (event.transition, event.time.to_iso_seconds().as_str()),
                (transition, time),
                "{status}"
            );
        }
        let event = read(json!({})).expect("readable");
        assert_eq!((event.id.as_str(), event.kind.as_str()), ("rep-1 inquiring", "cvm:RepairTask:107"));
        assert_eq!(
            (event.incident.as_deref(), event.subject.as_deref()),
            (Some("tencent:task/rep-1"), Some("ins-1"))
        );
        // One of the vendor's samples has it as a text.
        assert_eq!(read(json!({ "TaskTypeId": "107" })).expect("readable").kind, "cvm:RepairTask:107");
    }

    #[test]
    fn what_tells_a_task_from_others_must_be_there() {
        for odd in [
            json!({ "TaskId": null }),
            json!({ "TaskId": "" }),
            json!({ "TaskTypeId": {} }),
            json!({ "TaskId": "x".repeat(5000) }),
            json!({ "InstanceId": "a\nb" }),
        ] {
            assert!(read(odd.clone()).is_err(), "{odd}");
        }
        let late = read(json!({ "TaskStatus": 2, "AuthTime": "2033-03-10 12:00:00", "CreateTime": "soon" }));
        assert_eq!(
            late.expect("readable").time.to_iso_seconds(),
            "2023-03-10T05:00:00Z",
            "when it was shown"
        );
    }
}

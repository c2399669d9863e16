//! What a cloud remembers of its own events: ECS's history of system events, read as the notifications that were sent of them. Leaves
//! asking to the host, and whether a notification has come already to the rules of incidents. Tested below.
//!
//! A read notification has the incident and the transition of the one that was pushed, so that it wakes nobody whom that one woke. It has
//! no level: the history does not tell it.
//!
//! Source: ECS's page `DescribeInstanceHistoryEvents` (2014-05-26).

use crate::id::Digest;
use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The action that is asked.
pub const ACTION: &str = "DescribeInstanceHistoryEvents";
/// How far back the cloud remembers, by the time an event was first announced.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Without them the cloud shows ended events alone.
const STATUSES: [&str; 7] =
    ["Inquiring", "Scheduled", "Executing", "Executed", "Avoided", "Canceled", "Failed"];
/// The most that one page shows.
const PAGE_SIZE: u32 = 100;

/// A notification that was sent, or should have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The incident's id and status.
    pub id: String,
    /// When the incident came there, as far as the cloud tells.
    pub at: Timestamp,
    /// As CloudMonitor would have sent it.
    pub body: String,
}

/// What a history has that is not as documented: it is told, and holds nothing else up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Odd {
    /// The same whenever it is read.
    pub id: String,
    /// What the cloud said.
    pub text: String,
    /// What is amiss.
    pub problem: String,
}

/// The parameters of the call for `region`, of its first page or of that which `token` names.
pub fn params(region: &str, now: Timestamp, token: Option<&str>) -> String {
    let start = (now - REMEMBERED).to_iso_seconds();
    let mut params = json!({
        "RegionId": region, "MaxResults": PAGE_SIZE, "InstanceEventCycleStatus": STATUSES,
        "EventPublishTime": { "Start": start },
    });
    if let Some(token) = token {
        params["NextToken"] = token.into();
    }
    params.to_string()
}

/// Reads an answer about `region` of the account with the number `owner`: what has happened, and the token of the next page.
///
/// # Errors
/// Where all of it is not as documented.
pub fn read(answer: &str, owner: &str, region: &str) -> Result<Page, String> {
    let answer: Answer = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    let events = answer.events.list.into_iter().map(|event| remembered(event, owner, region)).collect();
    Ok((events, answer.next_token.filter(|token| !token.is_empty())))
}

/// What one page tells, and the token of the next.
pub type Page = (Vec<Result<Past, Odd>>, Option<String>);

fn remembered(event: Value, owner: &str, region: &str) -> Result<Past, Odd> {
    let text = event.to_string();
    match serde_json::from_value::<Remembered>(event) {
        Ok(event) => Ok(event.past(owner, region)),
        Err(error) => {
            Err(Odd { id: Digest::of(text.as_bytes()).to_string(), problem: error.to_string(), text })
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(rename = "InstanceSystemEventSet")]
    events: Events,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Events {
    #[serde(rename = "InstanceSystemEventType")]
    list: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Remembered {
    event_id: String,
    instance_id: String,
    event_type: Named,
    event_cycle_status: Named,
    event_publish_time: Option<String>,
    not_before: Option<String>,
    event_finish_time: Option<String>,
    reason: Option<String>,
    extended_attribute: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

impl Remembered {
    fn past(self, owner: &str, region: &str) -> Past {
        let (kind, status) = (self.event_type.name, self.event_cycle_status.name);
        let time = |text: &Option<String>| text.as_deref().and_then(Timestamp::parse_rfc3339);
        let announced = time(&self.event_publish_time).unwrap_or_default();
        let at = match status.as_str() {
            "Scheduled" | "Inquiring" => announced,
            "Executing" => time(&self.not_before).unwrap_or(announced).max(announced),
            _ => time(&self.event_finish_time).unwrap_or(announced),
        };
        let mut content = json!({
            "eventId": self.event_id, "instanceId": self.instance_id, "eventType": kind, "eventStatus": status,
        });
        let known = [
            ("publishTime", self.event_publish_time.map(Value::from)),
            ("notBefore", self.not_before.map(Value::from)),
            ("executeFinishTime", self.event_finish_time.map(Value::from)),
            ("reason", self.reason.map(Value::from)),
            ("extendedAttribute", self.extended_attribute),
        ];
        for (key, value) in known.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            content[key] = value;
        }
        let body = json!({
            "ver": "1.0", "id": self.event_id, "product": "ECS", "name": format!("Instance:{kind}:{status}"),
            "status": status, "userId": owner, "regionId": region, "eventTime": at.to_iso_seconds(),
            "resourceId": format!("acs:ecs:{region}:{owner}:instance/{}", self.instance_id), "content": content,
        });
        Past { id: format!("{} {status}", self.event_id), at, body: body.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Delivery, SourceKind, Transition, decode};

    #[test]
    fn a_remembered_event_is_the_notification_that_was_pushed() {
        let answer = json!({ "NextToken": "t", "InstanceSystemEventSet": { "InstanceSystemEventType": [{
            "EventId": "e-1", "InstanceId": "i-1", "EventType": { "Code": 13, "Name": "SystemFailure.Reboot" },
            "EventCycleStatus": { "Code": 32, "Name": "Executed" }, "EventPublishTime": "2018-06-08T01:23:37Z",
            "NotBefore": "2018-06-08T01:23:37Z", "EventFinishTime": "2018-06-08T01:25:37Z", "Reason": "broken",
        }] } });
        let (events, next) = read(&answer.to_string(), "12345", "cn-hangzhou").expect("readable");
        let past: Vec<Past> = events.into_iter().map(|event| event.expect("documented")).collect();
        assert_eq!((past.len(), next.as_deref()), (1, Some("t")));
        assert_eq!(
            (past[0].id.as_str(), past[0].at.to_iso_seconds().as_str()),
            ("e-1 Executed", "2018-06-08T01:25:37Z")
        );
        let delivery = Delivery { headers: &[], body: past[0].body.as_bytes() };
        let source = "in".parse().expect("a name");
        let events = decode(SourceKind::AlibabaCloudmonitor, &source, &delivery, Timestamp::from_seconds(0));
        let event = events.expect("readable").remove(0);
        assert_eq!(event.kind, "Instance:SystemFailure.Reboot:Executed");
        assert_eq!(
            (event.incident.as_deref(), event.transition),
            (Some("alibaba:e-1"), Some(Transition::Executed))
        );
        assert_eq!(event.subject.as_deref(), Some("acs:ecs:cn-hangzhou:12345:instance/i-1"));
        assert_eq!((event.id.as_str(), event.time), ("e-1 executed", past[0].at));
    }

    #[test]
    fn one_that_is_not_documented_is_told_and_the_others_are_read() {
        let good = json!({ "EventId": "e-1", "InstanceId": "i-1", "EventType": { "Name": "SystemFailure.Reboot" },
            "EventCycleStatus": { "Name": "Executed" } });
        let mut odd = good.clone();
        odd["EventCycleStatus"] = json!("Executed");
        let answer = json!({ "InstanceSystemEventSet": { "InstanceSystemEventType": [odd, 7, good] } });
        let (events, _) = read(&answer.to_string(), "1", "cn-hangzhou").expect("readable");
        let [Err(first), Err(second), Ok(past)] = &events[..] else { panic!("{events:?}") };
        assert_eq!((past.id.as_str(), second.text.as_str()), ("e-1 Executed", "7"));
        assert!(
            first.problem.contains("invalid type: string \"Executed\"") && first.id != second.id,
            "{first:?}"
        );
        assert_eq!(read(&answer.to_string(), "1", "cn-hangzhou").map(|read| read.0), Ok(events));
    }

    #[test]
    fn all_states_are_asked_for_of_the_month_that_the_cloud_remembers() {
        let now = Timestamp::parse_rfc3339("2018-07-08T01:25:37Z").expect("a time");
        let asked: Value = serde_json::from_str(&params("cn-hangzhou", now, Some("t"))).expect("JSON");
        assert_eq!(asked["EventPublishTime"]["Start"], "2018-06-08T01:25:37Z");
        assert_eq!(asked["InstanceEventCycleStatus"].as_array().map(Vec::len), Some(7));
        assert_eq!(asked["NextToken"], "t");
        assert!(read("{}", "1", "cn-hangzhou").is_err());
    }
}

//! ECS's history of system events, read as the notifications that were sent of them. Tested below.
//!
//! A read notification has the incident and the transition of the one that was pushed, so that it wakes nobody whom that one woke. It has
//! no level: the history does not tell it.
//!
//! Source: ECS's page `DescribeInstanceHistoryEvents` (2014-05-26).

use super::{About, Page};
use crate::event::{Delivery, SourceKind, decode};
use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// The action that is asked.
pub(super) const ACTION: &str = "DescribeInstanceHistoryEvents";
/// Without them the cloud shows ended events alone.
const STATUSES: [&str; 7] =
    ["Inquiring", "Scheduled", "Executing", "Executed", "Avoided", "Canceled", "Failed"];
/// The most that one page shows.
const PAGE_SIZE: u32 = 100;

/// The parameters of the call for what was announced in `region` since then, of its first page or of that which `token` names.
pub(super) fn params(region: &str, since: Timestamp, token: Option<&str>) -> String {
    let start = since.to_iso_seconds();
    let mut params = json!({
        "RegionId": region, "MaxResults": PAGE_SIZE, "InstanceEventCycleStatus": STATUSES,
        "EventPublishTime": { "Start": start },
    });
    if let Some(token) = token {
        params["NextToken"] = token.into();
    }
    params.to_string()
}

pub(super) fn read(answer: &str, about: &About<'_>) -> Result<Page, String> {
    let answer: Answer = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    let mut page = Page { next: answer.next_token.filter(|token| !token.is_empty()), ..Page::default() };
    for event in answer.events.list {
        let text = event.to_string();
        let remembered = match serde_json::from_value::<Remembered>(event) {
            Ok(remembered) => remembered,
            Err(error) => {
                page.take(None, Err(error.to_string()), text);
                continue;
            }
        };
        let id = remembered.event_id.clone();
        let body = remembered.notification(about);
        let delivery = Delivery { headers: &[], body: body.as_bytes() };
        let events = decode(SourceKind::AlibabaCloudmonitor, about.source, &delivery, about.now);
        let event = events.map_err(|error| error.to_string());
        let event = event.and_then(|mut events| events.pop().ok_or_else(|| "it is no event".to_owned()));
        page.take(Some(&id), event, body);
    }
    Ok(page)
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
    /// As CloudMonitor would have sent it.
    fn notification(self, about: &About<'_>) -> String {
        let About { owner, region, .. } = about;
        let (kind, status) = (self.event_type.name, self.event_cycle_status.name);
        let time = |text: &Option<String>| text.as_deref().and_then(Timestamp::parse_rfc3339);
        let announced = time(&self.event_publish_time);
        let at = match status.as_str() {
            "Scheduled" | "Inquiring" => announced,
            "Executing" => time(&self.not_before).max(announced),
            _ => time(&self.event_finish_time).or(announced),
        };
        // Without a time that can be read it counts from when it is first seen, as a task does: nothing is passed over for that.
        let at = at.unwrap_or(about.now);
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
        body.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Transition;

    #[test]
    fn a_remembered_event_is_the_notification_that_was_pushed() {
        let answer = json!({ "NextToken": "t", "InstanceSystemEventSet": { "InstanceSystemEventType": [{
            "EventId": "e-1", "InstanceId": "i-1", "EventType": { "Code": 13, "Name": "SystemFailure.Reboot" },
            "EventCycleStatus": { "Code": 32, "Name": "Executed" }, "EventPublishTime": "2018-06-08T01:23:37Z",
            "NotBefore": "2018-06-08T01:23:37Z", "EventFinishTime": "2018-06-08T01:25:37Z", "Reason": "broken",
        }] } });
        let (source, now) = ("in".parse().expect("a name"), Timestamp::from_seconds(0));
        let about = About { source: &source, owner: "12345", region: "cn-hangzhou", now };
        let page = read(&answer.to_string(), &about).expect("readable");
        assert_eq!((page.events.len(), page.next.as_deref()), (1, Some("t")));
        let event = &page.events[0].as_ref().expect("documented").event;
        assert_eq!(event.kind, "Instance:SystemFailure.Reboot:Executed");
        assert_eq!(
            (event.incident.as_deref(), event.transition),
            (Some("alibaba:e-1"), Some(Transition::Executed))
        );
        assert_eq!(event.subject.as_deref(), Some("acs:ecs:cn-hangzhou:12345:instance/i-1"));
        assert_eq!(
            (event.id.as_str(), event.time.to_iso_seconds().as_str()),
            ("e-1 executed", "2018-06-08T01:25:37Z")
        );
        assert!(read("{}", &about).is_err());
    }

    #[test]
    fn one_that_is_not_documented_is_told_and_the_others_are_read() {
        let good = json!({ "EventId": "e-1", "InstanceId": "i-1", "EventType": { "Name": "SystemFailure.Reboot" },
            "EventCycleStatus": { "Name": "Executed" } });
        let mut odd = good.clone();
        odd["EventCycleStatus"] = json!("Executed");
        let answer = json!({ "InstanceSystemEventSet": { "InstanceSystemEventType": [odd, 7, good] } });
        let (source, now) = ("in".parse().expect("a name"), Timestamp::from_seconds(0));
        let about = About { source: &source, owner: "1", region: "cn-hangzhou", now };
        let page = read(&answer.to_string(), &about).expect("readable");
        let [Err(first), Err(second), Ok(past)] = &page.events[..] else { panic!("{page:?}") };
        assert_eq!((past.event.id.as_str(), second.text.as_str()), ("e-1 executed", "7"));
        assert!(
            first.problem.contains("invalid type: string \"Executed\"") && first.id != second.id,
            "{first:?}"
        );
        assert_eq!(read(&answer.to_string(), &about), Ok(page));
    }

    #[test]
    fn one_without_a_time_that_can_be_read_counts_from_when_it_is_seen() {
        let (source, now) = ("in".parse().expect("a name"), Timestamp::from_seconds(1_700_000_000));
        let about = About { source: &source, owner: "1", region: "cn-hangzhou", now };
        let (known, seen) = ("2018-06-08T01:23:37Z", now.to_iso_seconds());
        for (status, published, not_before, finished, at) in [
            ("Scheduled", "soon", known, "", seen.as_str()),
            ("Executing", "soon", known, "", known),
            ("Executing", "soon", "", "", &seen),
            ("Executed", "soon", "", known, known),
            ("Executed", known, "", "soon", known),
            ("Executed", "", known, "", &seen),
        ] {
            let event = json!({ "EventId": "e-1", "InstanceId": "i-1", "EventType": { "Name": "SystemFailure.Reboot" },
                "EventCycleStatus": { "Name": status }, "EventPublishTime": published, "NotBefore": not_before,
                "EventFinishTime": finished });
            let answer = json!({ "InstanceSystemEventSet": { "InstanceSystemEventType": [event] } });
            let page = read(&answer.to_string(), &about).expect("readable");
            let time = page.events[0].as_ref().expect("documented").event.time.to_iso_seconds();
            assert_eq!(time, at, "{event}");
        }
    }

    #[test]
    fn all_states_are_asked_for() {
        let since = Timestamp::parse_rfc3339("2018-06-08T01:25:37Z").expect("a time");
        let asked: Value = serde_json::from_str(&params("cn-hangzhou", since, Some("t"))).expect("JSON");
        assert_eq!(asked["EventPublishTime"]["Start"], "2018-06-08T01:25:37Z");
        assert_eq!(asked["InstanceEventCycleStatus"].as_array().map(Vec::len), Some(7));
        assert_eq!(asked["NextToken"], "t");
    }
}

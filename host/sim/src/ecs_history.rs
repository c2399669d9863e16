//! What ECS remembers of its system events: `DescribeInstanceHistoryEvents`. Leaves making them to `emit`. Tested by
//! `tests/tests/it/caught_up.rs`.

use crate::answer::Outcome;
use crate::cloud::{Call, Cloud};
use crate::flat::{self, Params, TokenPage};
use opsward_core::time::Timestamp;
use serde_json::{Value, json};

/// One incident, where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) incident: String,
    pub(crate) instance: String,
    pub(crate) region: String,
    /// `SystemFailure.Reboot`
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) published: Timestamp,
    pub(crate) changed: Timestamp,
}

impl Cloud {
    /// Remembers where an incident stands.
    pub(crate) fn remember(&mut self, event: Remembered) {
        self.history.retain(|one| one.incident != event.incident);
        self.history.push(event);
    }
}

/// Ended events alone where no status is asked for, as the real one has it.
pub(crate) fn describe(cloud: &Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let region = flat::required(params, "RegionId")?;
    let page = flat::page(params, &TokenPage { sizes: 1..=100 })?;
    let asked: Vec<&str> =
        (1..=7).map_while(|nth| flat::optional(params, &format!("InstanceEventCycleStatus.{nth}"))).collect();
    let ended = ["Avoided", "Executed", "Canceled", "Failed"];
    let wanted = if asked.is_empty() { &ended[..] } else { &asked };
    let start = flat::optional(params, "EventPublishTime.Start").and_then(Timestamp::parse_rfc3339);
    let selected: Vec<&Remembered> = cloud
        .history
        .iter()
        .filter(|one| one.region == region && wanted.contains(&one.status.as_str()))
        .filter(|one| start.is_none_or(|start| one.published >= start) && one.published <= call.now)
        .collect();
    Ok(flat::paged(&page, &selected, ("InstanceSystemEventSet", "InstanceSystemEventType"), |one| shown(one)))
}

fn shown(event: &Remembered) -> Value {
    let mut shown = json!({
        "EventId": event.incident,
        "InstanceId": event.instance,
        "EventType": { "Code": 13, "Name": event.kind },
        "EventCycleStatus": { "Code": 32, "Name": event.status },
        "EventPublishTime": event.published.to_iso_seconds(),
        "NotBefore": event.published.to_iso_seconds(),
        "ImpactLevel": "100",
    });
    if !["Inquiring", "Scheduled", "Executing"].contains(&event.status.as_str()) {
        shown["EventFinishTime"] = event.changed.to_iso_seconds().into();
    }
    shown
}

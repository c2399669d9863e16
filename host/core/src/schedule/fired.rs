//! The event a schedule's firing becomes, and until when a run may begin with it. Leaves starting the run to the host. Tested
//! below.

use super::{GRACE_DEFAULT, Misfire, Rule, Schedule};
use crate::event::Event;
use crate::id::{Digest, PolicyName, SourceName};
use crate::time::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// The source of all firings.
pub const SOURCE: &str = "schedule";
/// The type of a firing.
pub const FIRED_TYPE: &str = "opsward.schedule.fired";

/// The event of `schedule` of `policy` firing at `fire_at`. The same firing is the same event, whoever makes it.
pub fn fired_event(policy: &PolicyName, schedule: &Schedule, fire_at: Timestamp) -> Event {
    let id = format!("{}/{}", id_begins(policy, schedule), fire_at.to_iso_seconds());
    event(policy, schedule, fire_at, id, None)
}

/// The event of a person, `by`, having `schedule` fire at `at`, which is no fire time: it is never the event of one.
pub fn fired_by_hand(policy: &PolicyName, schedule: &Schedule, at: Timestamp, by: &str) -> Event {
    let id = format!("{}/by-hand/{at}", id_begins(policy, schedule));
    event(policy, schedule, at, id, Some(by))
}

/// How long a run that `event` starts may wait before it first begins; none where it may wait for ever: the event is no firing, or
/// one that is made up for however late. `schedules` are its policy's: a firing of none of them is of one that was taken out.
pub fn begins_within(event: &Event, schedules: &[Schedule]) -> Option<Duration> {
    if event.source.as_str() != SOURCE || event.kind != FIRED_TYPE {
        return None;
    }
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    match schedules.iter().find(|schedule| data["schedule"] == schedule.text()) {
        Some(schedule) if schedule.misfire() != Misfire::Skip => None,
        Some(schedule) => Some(schedule.grace()),
        None => Some(GRACE_DEFAULT),
    }
}

fn id_begins(policy: &PolicyName, schedule: &Schedule) -> String {
    format!("{policy}/{}", Digest::of(schedule.text().as_bytes()).short())
}

fn event(
    policy: &PolicyName,
    schedule: &Schedule,
    fire_at: Timestamp,
    id: String,
    by: Option<&str>,
) -> Event {
    let scheduled_at = fire_at.to_iso_seconds();
    let mut data = match &schedule.rule {
        Rule::Cron { dialect, .. } => json!({ "cron": schedule.line(), "dialect": dialect }),
        Rule::Every(period) => json!({ "every_seconds": period.as_secs() }),
    };
    data["policy"] = json!(policy);
    data["schedule"] = json!(schedule.text());
    data["zone"] = json!(schedule.zone());
    data["scheduled_at"] = json!(scheduled_at);
    data["scheduled_at_local"] = json!(schedule.local_rfc3339(fire_at));
    if let Some(by) = by {
        data["by"] = json!(by);
    }
    Event {
        source: source(),
        id,
        kind: FIRED_TYPE.to_owned(),
        subject: None,
        time: fire_at,
        data: data.to_string(),
        incident: None,
        account: None,
        region: None,
        level: None,
        transition: None,
    }
}

fn source() -> SourceName {
    SOURCE.parse().expect("the constant is a name")
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, ScheduleEntry};
    use super::*;

    #[test]
    fn a_firing_is_one_event_with_its_time_in_the_schedules_zone() {
        let entry = ScheduleEntry {
            cron: Some("0 0 3 * * * *".to_owned()),
            dialect: Some(Dialect::Scf),
            ..ScheduleEntry::default()
        };
        let schedule = Schedule::parse(&entry).expect("a schedule");
        let policy: PolicyName = "nightly-reset".parse().expect("a name");
        let fire_at = Timestamp::parse_rfc3339("2024-01-01T19:00:00Z").expect("an instant");
        let event = fired_event(&policy, &schedule, fire_at);
        assert_eq!(event, fired_event(&policy, &schedule, fire_at));
        assert_eq!(event.source.as_str(), "schedule");
        assert!(
            event.id.starts_with("nightly-reset/") && event.id.ends_with("/2024-01-01T19:00:00Z"),
            "{}",
            event.id
        );
        let data: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
        assert_eq!(
            data,
            json!({
                "policy": "nightly-reset",
                "schedule": "scf:0 0 3 * * * *@Asia/Shanghai",
                "cron": "0 0 3 * * * *",
                "dialect": "scf",
                "zone": "Asia/Shanghai",
                "scheduled_at": "2024-01-01T19:00:00Z",
                "scheduled_at_local": "2024-01-02T03:00:00+08:00",
            })
        );
        let by_hand = fired_by_hand(&policy, &schedule, fire_at, "alice");
        assert_ne!(by_hand.id, event.id, "although at a fire time");
        assert!(by_hand.id.ends_with("/by-hand/2024-01-01T19:00:00.000Z"), "{}", by_hand.id);
        assert!(by_hand.data.contains("\"by\":\"alice\""), "{}", by_hand.data);
    }

    #[test]
    fn a_firing_that_would_be_skipped_late_begins_within_the_grace_and_no_other_is_bound() {
        let policy: PolicyName = "nightly".parse().expect("a name");
        let every = |period: &str, misfire, grace: Option<&str>| {
            let (every, grace) = (Some(period.to_owned()), grace.map(str::to_owned));
            let entry = ScheduleEntry { every, misfire, grace, ..ScheduleEntry::default() };
            Schedule::parse(&entry).expect("a schedule")
        };
        let skipped = every("1h", Some(Misfire::Skip), Some("10m"));
        let made_up_for = every("2h", Some(Misfire::Once), None);
        let gone = every("3h", Some(Misfire::Once), None);
        let schedules = [skipped.clone(), made_up_for.clone()];
        let within =
            |schedule| begins_within(&fired_event(&policy, schedule, Timestamp::from_seconds(0)), &schedules);
        assert_eq!(within(&skipped), Some(Duration::from_secs(600)));
        assert_eq!(within(&made_up_for), None);
        assert_eq!(within(&gone), Some(GRACE_DEFAULT));
        let mut other = fired_event(&policy, &skipped, Timestamp::from_seconds(0));
        other.source = "alarms".parse().expect("a name");
        assert_eq!(begins_within(&other, &schedules), None);
    }
}

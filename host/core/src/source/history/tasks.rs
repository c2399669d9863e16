//! CVM's maintenance tasks (`DescribeTaskInfo`, 2017-03-12), each as an event of its own: `cvm:RepairTask:<TaskTypeId>`. They share no id with
//! what Cloud Monitor and EventBridge push of the same happening, and are not taken for it. Leaves the form of a task to
//! `crate::event::repair_task`. Tested below.

use super::{About, Page};
use crate::event::repair_task;
use crate::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The action that is asked.
pub(super) const ACTION: &str = "DescribeTaskInfo";
/// Without a first day the cloud shows today's tasks alone; without a last one, what its own clock has for now.
const AHEAD: Duration = Duration::from_secs(24 * 3600);
/// The most that one page shows.
const PAGE_SIZE: usize = 100;
/// Every `TaskStatus` there is.
const STATUSES: [u8; 6] = [1, 2, 3, 4, 5, 6];
/// Tencent's older APIs write times of UTC+8, and do not say so.
const EAST_8: Duration = Duration::from_secs(8 * 3600);

pub(super) fn params((since, now): (Timestamp, Timestamp), next: Option<&str>) -> String {
    let text = |at: Timestamp| (at + EAST_8).to_iso_seconds().replacen('T', " ", 1).replace('Z', "");
    json!({
        "Limit": PAGE_SIZE, "Offset": offset(next), "TaskStatus": STATUSES,
        "StartDate": text(since), "EndDate": text(now + AHEAD),
        // The oldest first: a task that is made meanwhile moves none to another page.
        "OrderField": "CreateTime", "Order": 0,
    })
    .to_string()
}

fn offset(next: Option<&str>) -> usize {
    next.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn read(answer: &str, about: &About<'_>, next: Option<&str>) -> Result<Page, String> {
    let answer: Answer = serde_json::from_str(answer).map_err(|error| error.to_string())?;
    let tasks = answer.tasks.unwrap_or_default();
    let seen = offset(next) + tasks.len();
    let has_more = !tasks.is_empty() && seen < answer.total;
    let mut page = Page { next: has_more.then(|| seen.to_string()), ..Page::default() };
    for task in tasks {
        // Whether an answer is of one region or of all, no page says.
        if task["Region"].as_str().is_some_and(|region| region != about.region) {
            continue;
        }
        let (id, body) = (task["TaskId"].as_str().map(str::to_owned), task.to_string());
        let event = repair_task(about.source, &body, about.owner, about.region, about.now);
        page.take(id.as_deref(), event.map_err(|error| error.to_string()), body);
    }
    Ok(page)
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "TotalCount")]
    total: usize,
    /// Null where there are none.
    #[serde(rename = "RepairTaskInfoSet")]
    tasks: Option<Vec<Value>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SourceName;

    fn page(answer: &Value, next: Option<&str>) -> Result<Page, String> {
        let source: SourceName = "monitor".parse().expect("a name");
        let now = Timestamp::parse_rfc3339("2023-03-08T05:00:00Z").expect("a time");
        let about = About { source: &source, owner: "100", region: "ap-guangzhou", now };
        read(&answer.to_string(), &about, next)
    }

    fn task(id: &str, region: &str) -> Value {
        json!({
            "TaskId": id, "InstanceId": "ins-1", "TaskTypeId": 107, "TaskStatus": 1, "Region": region,
            "CreateTime": "2023-03-08 12:00:00", "AuthTime": "2023-03-10 12:00:00", "EndTime": null,
        })
    }

    #[test]
    fn tasks_of_the_region_are_read_page_by_page() {
        let two = json!([task("rep-1", "ap-guangzhou"), task("rep-2", "ap-beijing")]);
        let first = page(&json!({ "TotalCount": 3, "RepairTaskInfoSet": two }), None).expect("readable");
        let ids: Vec<&str> = first.events.iter().flatten().map(|past| past.event.id.as_str()).collect();
        assert_eq!((ids, first.next.as_deref()), (vec!["rep-1 inquiring"], Some("2")));
        let last = json!({ "TotalCount": 3, "RepairTaskInfoSet": [task("rep-3", "ap-guangzhou")] });
        assert_eq!(page(&last, Some("2")).expect("readable").next, None);
        let none = json!({ "TotalCount": 0, "RepairTaskInfoSet": null });
        assert_eq!(page(&none, None), Ok(Page::default()));
        // A total that says more than comes does not keep it asking.
        let endless = json!({ "TotalCount": 9, "RepairTaskInfoSet": [] });
        assert_eq!(page(&endless, Some("2")).expect("readable").next, None);
        assert!(page(&json!({}), None).is_err());
    }

    #[test]
    fn a_task_that_cannot_be_read_does_not_hide_the_others() {
        let odd = json!([{ "TaskId": "rep-0" }, 1, task("rep-1", "ap-guangzhou")]);
        let page = page(&json!({ "TotalCount": 3, "RepairTaskInfoSet": odd }), None).expect("readable");
        let [Err(first), Err(second), Ok(good)] = &page.events[..] else { panic!("{page:?}") };
        assert_eq!((first.id.as_str(), good.event.id.as_str()), ("rep-0", "rep-1 inquiring"));
        assert_eq!((second.text.as_str(), second.id.len()), ("1", 64), "it is called by its digest");
    }

    #[test]
    fn all_states_are_asked_for_in_the_clouds_own_time() {
        let [since, now] = ["2023-03-01T20:00:00Z", "2023-03-31T20:00:00Z"]
            .map(|text| Timestamp::parse_rfc3339(text).expect("a time"));
        let asked: Value = serde_json::from_str(&params((since, now), Some("100"))).expect("JSON");
        assert_eq!(
            (&asked["StartDate"], &asked["EndDate"]),
            (&json!("2023-03-02 04:00:00"), &json!("2023-04-02 04:00:00"))
        );
        assert_eq!((&asked["Offset"], &asked["TaskStatus"]), (&json!(100), &json!([1, 2, 3, 4, 5, 6])));
    }
}

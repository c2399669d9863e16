//! What woke the policy, with helpers to look into the vendor's body. The host has decoded and deduplicated it.

use crate::Failure;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::SystemTime;

/// A CloudEvents 1.0 event as the host accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unique within `source`.
    pub id: String,
    /// The name of the operator's source, or `schedule`, or `manual`.
    pub source: String,
    /// CloudEvents `type`: the vendor's event name, such as `Instance:SystemFailure.Reboot:Executed`; for a schedule
    /// `opsward.schedule.fired`.
    pub kind: String,
    /// The resource the event is about, as the vendor names it, often an ARN.
    pub subject: Option<String>,
    /// When it happened.
    pub time: SystemTime,
    /// The vendor's event body as JSON text.
    pub data: String,
    /// Shared by all notifications of one happening (Scheduled, Executing, Executed ...).
    pub incident: Option<String>,
    /// The cloud's own account id: the sender's claim.
    pub account: Option<String>,
    /// The cloud region: the sender's claim.
    pub region: Option<String>,
}

impl Event {
    /// Whether the event is of this type; vendors are not consistent about case.
    pub fn type_is(&self, name: &str) -> bool {
        self.kind.eq_ignore_ascii_case(name)
    }

    /// What to name an effect after so that no second notification of the same happening repeats it: the incident, or
    /// the event's id where it has none.
    pub fn incident_or_id(&self) -> &str {
        self.incident.as_deref().unwrap_or(&self.id)
    }

    /// The vendor's body as a type of the policy's own.
    ///
    /// # Errors
    /// `opsward.InvalidEvent` where the body has another shape.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.data)
            .map_err(|error| Failure::new("opsward.InvalidEvent", format!("the event's data: {error}")))
    }

    /// The first of these JSON pointers (RFC 6901) that leads to a non-empty string in the body.
    ///
    /// ```
    /// # use opsward_policy::{json, testing::event};
    /// let event = event("Instance:StateChange", json!({ "content": { "ecsInstanceId": "i-1" } }));
    /// let id = event.first_text(&["/content/instanceId", "/content/ecsInstanceId"]);
    /// assert_eq!(id.as_deref(), Some("i-1"));
    /// ```
    pub fn first_text(&self, pointers: &[&str]) -> Option<String> {
        let body: Value = serde_json::from_str(&self.data).ok()?;
        pointers
            .iter()
            .filter_map(|pointer| body.pointer(pointer)?.as_str())
            .find(|text| !text.is_empty())
            .map(String::from)
    }
}

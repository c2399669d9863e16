//! Events as the host accepts them: CloudEvents 1.0 attributes plus incident, account and region. One decoder file per
//! vendor format turns received bytes into them. Leaves verifying the sender to the trigger and matching to `pattern`.

use crate::id::SourceName;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One accepted event. Identified by (`source`, `id`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The operator's source that received it, or `schedule`, or `manual`.
    pub source: SourceName,
    /// Unique within the source; a digest of the content where the sender gives none.
    pub id: String,
    /// The vendor's event name, such as `Instance:SystemFailure.Reboot:Executed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The resource it is about, as the vendor names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, by the sender; the time of receipt where the sender does not say.
    pub time: Timestamp,
    /// The vendor's event body as JSON text.
    pub data: String,
    /// Shared by all notifications of one happening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The cloud's own account id, as the sender claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The cloud region, as the sender claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

//! The kinds of sources: the `kind` of a `[sources.<name>]` table, and by which route the events of each come. A kind is one row
//! here and one decoder beside it. Leaves what a source needs besides to `config`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a source sends: the `kind` of a `[sources.<name>]` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SourceKind {
    /// `alibaba-cloudmonitor`: system events and threshold alarms as CloudMonitor posts them to a URL.
    AlibabaCloudmonitor,
    /// `alibaba-eventbridge`: CloudEvents as Alibaba's EventBridge pushes them to an HTTP target.
    AlibabaEventbridge,
    /// `alibaba-mns`: messages of an MNS (SMQ) queue.
    AlibabaMns,
    /// `alibaba-sls`: records of an SLS log store.
    AlibabaSls,
    /// `alibaba-sls-alert`: alerts as SLS posts them to a webhook.
    AlibabaSlsAlert,
    /// `alibaba-fc`: what a trigger of Function Compute hands to a function.
    AlibabaFc,
    /// `tencent-monitor`: alarms as Tencent Cloud Monitor posts them to a URL.
    TencentMonitor,
    /// `tencent-eventbridge`: Tencent's EventBridge and what it takes for CloudEvents.
    TencentEventbridge,
    /// `tencent-cls`: records of a log topic as the trigger of CLS sends them.
    TencentCls,
    /// `tencent-scf`: what a trigger of Serverless Cloud Function hands to a function.
    TencentScf,
    /// `cloudevents`: CloudEvents 1.0 over HTTP in binary, structured and batched mode.
    Cloudevents,
    /// `generic`: any JSON, read by the `map` of its source.
    Generic,
    /// `logfile`: lines of a file on this machine.
    Logfile,
}

/// By which way a source's events come to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Posted to `/hooks/<name>/<token>`.
    Posted,
    /// Taken from a message queue.
    Queue,
    /// Read from a cloud's log store.
    LogStore,
    /// Read from files of this machine.
    File,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::AlibabaCloudmonitor,
        Self::AlibabaEventbridge,
        Self::AlibabaMns,
        Self::AlibabaSls,
        Self::AlibabaSlsAlert,
        Self::AlibabaFc,
        Self::TencentMonitor,
        Self::TencentEventbridge,
        Self::TencentCls,
        Self::TencentScf,
        Self::Cloudevents,
        Self::Generic,
        Self::Logfile,
    ];

    /// The kind as the operator writes it.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// By which way its events come.
    pub fn route(self) -> Route {
        self.row().1
    }

    /// What is believed of its events, and why.
    pub fn authenticity(self) -> &'static str {
        match self {
            Self::AlibabaMns => "whoever may send to the queue; taken with our own key",
            Self::AlibabaSls => "whoever may write to the log store; read with our own key",
            Self::AlibabaEventbridge => "path token; RSA signature where the source asks for it",
            Self::TencentMonitor => "path token; BasicAuth where the source asks for it",
            Self::Cloudevents | Self::Generic => "path token; HMAC where the source asks for it",
            Self::Logfile => "whoever may write to the file",
            _ => "path token",
        }
    }

    fn row(self) -> (&'static str, Route) {
        match self {
            Self::AlibabaCloudmonitor => ("alibaba-cloudmonitor", Route::Posted),
            Self::AlibabaEventbridge => ("alibaba-eventbridge", Route::Posted),
            Self::AlibabaMns => ("alibaba-mns", Route::Queue),
            Self::AlibabaSls => ("alibaba-sls", Route::LogStore),
            Self::AlibabaSlsAlert => ("alibaba-sls-alert", Route::Posted),
            Self::AlibabaFc => ("alibaba-fc", Route::Posted),
            Self::TencentMonitor => ("tencent-monitor", Route::Posted),
            Self::TencentEventbridge => ("tencent-eventbridge", Route::Posted),
            Self::TencentCls => ("tencent-cls", Route::Posted),
            Self::TencentScf => ("tencent-scf", Route::Posted),
            Self::Cloudevents => ("cloudevents", Route::Posted),
            Self::Generic => ("generic", Route::Posted),
            Self::Logfile => ("logfile", Route::File),
        }
    }
}

impl FromStr for SourceKind {
    type Err = UnknownSourceKind;
    fn from_str(text: &str) -> Result<Self, UnknownSourceKind> {
        let found = Self::ALL.iter().find(|kind| kind.as_str() == text);
        found.copied().ok_or_else(|| UnknownSourceKind(text.chars().take(80).collect()))
    }
}
impl TryFrom<String> for SourceKind {
    type Error = UnknownSourceKind;
    fn try_from(text: String) -> Result<Self, UnknownSourceKind> {
        text.parse()
    }
}
impl From<SourceKind> for String {
    fn from(kind: SourceKind) -> String {
        kind.as_str().to_owned()
    }
}
impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A source kind this release does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown source kind `{0}`: use one of {kinds}", kinds = known())]
pub struct UnknownSourceKind(String);

fn known() -> String {
    SourceKind::ALL.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ")
}

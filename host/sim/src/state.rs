//! What exists in the simulated clouds: instances, disks, snapshots, images. Plain data, read and written as JSON by
//! `/_sim/state`. A change that takes time is stored with the instant it settles and looked at when asked for, so no
//! timer runs. Leaves how actions change it to the products. Tested below.

use opsward_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything that exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct World {
    /// Added to real time, milliseconds.
    pub(crate) clock_offset_ms: i64,
    pub(crate) settle: Settle,
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) alibaba: Alibaba,
    pub(crate) tencent: Tencent,
}

/// The role that a machine has in each cloud, as its metadata service tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    pub(crate) alibaba_role: Option<String>,
    pub(crate) tencent_role: Option<String>,
    /// How long the keys of a role last: 6 hours in both clouds.
    pub(crate) seconds: u64,
    /// Whether Alibaba's gives tokens. One that does not would answer without any.
    pub(crate) is_hardened: bool,
}

impl Default for Metadata {
    fn default() -> Self {
        let role = Some("opsward-host".to_owned());
        Self { alibaba_role: role.clone(), tencent_role: role, seconds: 21_600, is_hardened: true }
    }
}

/// How long changes take to settle, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settle {
    /// A snapshot, from its creation to accomplished.
    pub snapshot_ms: u64,
    /// A reinstallation.
    pub reset_ms: u64,
    /// A restart.
    pub reboot_ms: u64,
    /// A start.
    pub start_ms: u64,
    /// A stop.
    pub stop_ms: u64,
    /// Initialising a disk anew.
    pub reinit_ms: u64,
}

impl Default for Settle {
    fn default() -> Self {
        Self {
            snapshot_ms: 2000,
            reset_ms: 1500,
            reboot_ms: 1000,
            start_ms: 1000,
            stop_ms: 1000,
            reinit_ms: 1000,
        }
    }
}

/// Bounds the vendors set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Snapshots of one disk: 256 by hand at Alibaba.
    pub snapshots_per_disk: usize,
    /// Snapshots in progress of one ESSD disk; other categories take one at a time.
    pub essd_in_progress: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { snapshots_per_disk: 256, essd_in_progress: 10 }
    }
}

/// The Alibaba account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alibaba {
    pub(crate) account_id: String,
    pub(crate) instances: BTreeMap<String, EcsInstance>,
    pub(crate) disks: BTreeMap<String, EcsDisk>,
    pub(crate) snapshots: BTreeMap<String, EcsSnapshot>,
}

/// The Tencent account.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tencent {
    pub(crate) uin: String,
    pub(crate) instances: BTreeMap<String, CvmInstance>,
    pub(crate) disks: BTreeMap<String, CbsDisk>,
    pub(crate) snapshots: BTreeMap<String, CbsSnapshot>,
    pub(crate) images: BTreeMap<String, Image>,
    #[serde(default)]
    pub(crate) tasks: BTreeMap<String, RepairTask>,
}

/// A maintenance task of a CVM instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepairTask {
    pub(crate) instance_id: String,
    pub(crate) region: String,
    /// `TaskTypeId`: 101 to 107.
    pub(crate) kind: u32,
    /// `TaskStatus`: 1 to 6.
    pub(crate) status: u32,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) ended: Option<Timestamp>,
}

/// A state that was entered, and those it goes on to by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Staged<S> {
    /// The state entered last.
    pub(crate) state: S,
    /// What follows, by instant.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub(crate) then: Vec<Stage<S>>,
}

/// A state to come.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage<S> {
    pub(crate) at: Timestamp,
    pub(crate) state: S,
}

impl<S: Copy> Staged<S> {
    pub(crate) fn settled(state: S) -> Self {
        Self { state, then: Vec::new() }
    }

    /// The state at `now`.
    pub(crate) fn at(&self, now: Timestamp) -> S {
        self.then.iter().rev().find(|stage| stage.at <= now).map_or(self.state, |stage| stage.state)
    }

    /// Enters the first state at once and each further one so many milliseconds after `now`.
    pub(crate) fn enter<const N: usize>(&mut self, now: Timestamp, first: S, then: [(u64, S); N]) {
        self.state = first;
        self.then = then.map(|(ms, state)| Stage { at: now + Duration::from_millis(ms), state }).into();
    }
}

/// `Status` of an ECS instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EcsStatus {
    Pending,
    Running,
    Starting,
    Stopping,
    Stopped,
}

/// An ECS instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EcsInstance {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) status: Staged<EcsStatus>,
    pub(crate) image_id: String,
    pub(crate) instance_type: String,
    pub(crate) private_ip: String,
    pub(crate) created: Timestamp,
    /// When it was started last.
    pub(crate) started: Timestamp,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

/// An ECS disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EcsDisk {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) zone: String,
    /// The instance it is attached to.
    pub(crate) instance_id: Option<String>,
    pub(crate) device: String,
    /// `system` or `data`.
    pub(crate) kind: String,
    pub(crate) category: String,
    pub(crate) size_gb: u64,
    /// `In_use`, `Available`, `Attaching` ...
    pub(crate) status: String,
    /// Until when it is `ReIniting` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reiniting_until: Option<Timestamp>,
    pub(crate) ever_attached: bool,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

impl EcsDisk {
    /// Where it stands at `now`.
    pub(crate) fn status_at(&self, now: Timestamp) -> &str {
        if self.reiniting_until.is_some_and(|until| until > now) { "ReIniting" } else { &self.status }
    }
}

/// An ECS snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EcsSnapshot {
    pub(crate) disk_id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) region: String,
    pub(crate) disk_kind: String,
    pub(crate) disk_size_gb: u64,
    pub(crate) retention_days: Option<u64>,
    pub(crate) created: Timestamp,
    pub(crate) done_at: Timestamp,
    pub(crate) failed: bool,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

/// `InstanceState` of a CVM instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum CvmState {
    Pending,
    LaunchFailed,
    Running,
    Stopped,
    Starting,
    Stopping,
    Rebooting,
    Shutdown,
    Terminating,
}

/// A CVM instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CvmInstance {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) state: Staged<CvmState>,
    pub(crate) image_id: String,
    pub(crate) instance_type: String,
    pub(crate) private_ip: String,
    #[serde(default)]
    pub(crate) key_ids: Vec<String>,
    #[serde(default)]
    pub(crate) latest_operation: Option<Operation>,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

/// The last operation on a CVM instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    pub(crate) action: String,
    pub(crate) request_id: String,
    pub(crate) done_at: Timestamp,
}

/// A CBS disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CbsDisk {
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) instance_id: Option<String>,
    /// `SYSTEM_DISK` or `DATA_DISK`.
    pub(crate) usage: String,
    pub(crate) disk_type: String,
    pub(crate) size_gb: u64,
    /// Whether snapshots of it can be made.
    pub(crate) snapshot_ability: bool,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

/// A CBS snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CbsSnapshot {
    pub(crate) disk_id: String,
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) usage: String,
    pub(crate) size_gb: u64,
    /// As given; `None` is kept for ever.
    pub(crate) deadline: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) done_at: Timestamp,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}

/// A CVM image.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) os: String,
    pub(crate) kind: ImageKind,
}

/// Where an image comes from; only public ones refuse `KeepImageLogin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ImageKind {
    Public,
    Private,
    Shared,
    Imported,
}

/// Percent of a change from `start` to `end` done at `now`: 100 only when it is over.
pub(crate) fn percent_done(start: Timestamp, end: Timestamp, now: Timestamp) -> u64 {
    if now >= end {
        return 100;
    }
    let (elapsed, whole) = (now.since(start).as_millis(), end.since(start).as_millis().max(1));
    u64::try_from(elapsed * 100 / whole).unwrap_or(0).min(99)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_state_moves_on_by_itself() {
        let start = Timestamp::from_ms(1000);
        let mut status = Staged::settled(EcsStatus::Running);
        status.enter(start, EcsStatus::Stopping, [(400, EcsStatus::Starting), (1000, EcsStatus::Running)]);
        for (ms, expected) in [
            (1000, EcsStatus::Stopping),
            (1399, EcsStatus::Stopping),
            (1400, EcsStatus::Starting),
            (2000, EcsStatus::Running),
            (9000, EcsStatus::Running),
        ] {
            assert_eq!(status.at(Timestamp::from_ms(ms)), expected, "{ms}");
        }
        assert_eq!(percent_done(start, Timestamp::from_ms(3000), Timestamp::from_ms(1900)), 45);
    }
}

//! CBS 2017-03-12: disks and their snapshots. `CreateSnapshot` takes no idempotency token: calling twice makes two,
//! except that a disk takes one at a time. Tested by `tests/tests/it/sim.rs` and `tests/peers`.

use crate::answer::{ApiError, Outcome, object};
use crate::clock::china_seconds;
use crate::cloud::{Call, Cloud};
use crate::cvm::{required_region, tags_shown};
use crate::json_params::{self as json_args, Params};
use crate::state::{CbsDisk, CbsSnapshot, percent_done};
use opsward_core::time::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// The API version.
pub(crate) const VERSION: &str = "2017-03-12";

/// Carries an action out; `None` where there is none of this name.
pub(crate) fn answer(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Option<Outcome> {
    Some(match call.action {
        "DescribeDisks" => describe_disks(cloud, call, params),
        "CreateSnapshot" => create_snapshot(cloud, call, params),
        "DescribeSnapshots" => describe_snapshots(cloud, call, params),
        _ => return None,
    })
}

fn describe_disks(cloud: &Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let names =
        ["DiskIds", "Filters", "Offset", "Limit", "OrderField", "Order", "ReturnBindAutoSnapshotPolicy"];
    json_args::known(params, &names)?;
    let tencent = &cloud.world.tencent;
    let field = |id: &String, disk: &CbsDisk, name: &str| {
        Some(match name {
            "disk-id" => id.clone(),
            "disk-name" => disk.name.clone(),
            "disk-usage" => disk.usage.clone(),
            "disk-type" => disk.disk_type.clone(),
            "disk-state" => disk_state(disk).into(),
            "disk-charge-type" => "POSTPAID_BY_HOUR".into(),
            "instance-id" => disk.instance_id.clone().unwrap_or_default(),
            "portable" => if is_portable(disk) { "TRUE" } else { "FALSE" }.into(),
            "project-id" => "0".into(),
            "zone" => disk.zone.clone(),
            other => disk.tags.get(other.strip_prefix("tag:")?).cloned().unwrap_or_default(),
        })
    };
    let in_region = tencent.disks.iter().filter(in_region(required_region(call)?, |d: &CbsDisk| &d.region));
    let selected = select(in_region, params, "DiskIds", field)?;
    let count = |id: &str| tencent.snapshots.values().filter(|s| s.disk_id == id).count();
    json_args::paged(params, &selected, "DiskSet", |(id, disk)| disk_shown(id, disk, count(id)))
}

fn create_snapshot(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let names = ["DiskId", "SnapshotName", "Deadline", "DiskBackupId", "Tags", "DiskUsage"];
    json_args::known(params, &names)?;
    let region = required_region(call)?;
    if json_args::text(params, "DiskBackupId")?.is_some() {
        let message = "Disk backups are not simulated: use `DiskId`.";
        return Err(ApiError::new(200, "InvalidParameterValue", message));
    }
    let disk_id = json_args::required_text(params, "DiskId")?;
    let name = json_args::text(params, "SnapshotName")?.unwrap_or("未命名");
    let deadline = json_args::text(params, "Deadline")?;
    if deadline.is_some_and(|text| !is_deadline(text, call.now)) {
        let message = "The value of parameter `Deadline` is not valid: ISO 8601, at least a day ahead.";
        return Err(ApiError::new(200, "InvalidParameterValue", message));
    }
    let tags = json_args::tags(params)?;
    let found = cloud.world.tencent.disks.get(disk_id).filter(|disk| disk.region == region).cloned();
    let disk = found.ok_or_else(|| {
        ApiError::new(200, "InvalidDiskId.NotFound", format!("The disk `{disk_id}` does not exist."))
    })?;
    if !disk.snapshot_ability {
        let message = format!("The disk `{disk_id}` does not support snapshots.");
        return Err(ApiError::new(200, "ResourceUnavailable.NotSupportSnapshot", message));
    }
    if cloud.snapshots_on(disk_id, call.now).1 > 0 {
        let message = format!("A snapshot of the disk `{disk_id}` is being created.");
        return Err(ApiError::new(200, "ResourceUnavailable.SnapshotCreating", message));
    }
    let snapshot_id = call.ids.resource("snap-", 8);
    let done_at = call.now + Duration::from_millis(cloud.world.settle.snapshot_ms);
    let snapshot = CbsSnapshot {
        disk_id: disk_id.to_owned(),
        name: name.to_owned(),
        region: disk.region,
        zone: disk.zone,
        usage: disk.usage,
        size_gb: disk.size_gb,
        deadline: deadline.map(str::to_owned),
        created: call.now,
        done_at,
        tags,
    };
    cloud.world.tencent.snapshots.insert(snapshot_id.clone(), snapshot);
    cloud.snapshot_made(disk_id, &snapshot_id, done_at);
    cloud.record_effect(call, &snapshot_id);
    Ok(object(json!({ "SnapshotId": snapshot_id })))
}

fn describe_snapshots(cloud: &Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    json_args::known(params, &["SnapshotIds", "Filters", "Offset", "Limit", "OrderField", "Order"])?;
    let field = |id: &String, snapshot: &CbsSnapshot, name: &str| {
        Some(match name {
            "snapshot-id" => id.clone(),
            "snapshot-name" => snapshot.name.clone(),
            "snapshot-state" => snapshot_state(snapshot, call.now).into(),
            "snapshot-type" => "PRIVATE_SNAPSHOT".into(),
            "disk-id" => snapshot.disk_id.clone(),
            "disk-usage" => snapshot.usage.clone(),
            "project-id" => "0".into(),
            "zone" => snapshot.zone.clone(),
            "encrypt" => "FALSE".into(),
            other => snapshot.tags.get(other.strip_prefix("tag:")?).cloned().unwrap_or_default(),
        })
    };
    let region = required_region(call)?;
    let in_region =
        cloud.world.tencent.snapshots.iter().filter(in_region(region, |s: &CbsSnapshot| &s.region));
    let selected = select(in_region, params, "SnapshotIds", field)?;
    json_args::paged(params, &selected, "SnapshotSet", |(id, s)| snapshot_shown(id, s, call.now))
}

fn in_region<'a, T: 'a>(
    region: &str,
    of: impl Fn(&T) -> &String,
) -> impl FnMut(&(&'a String, &'a T)) -> bool {
    move |(_, item)| of(item) == region
}

/// Those named by the id list, or matching all filters; never both.
fn select<'a, T>(
    all: impl Iterator<Item = (&'a String, &'a T)>,
    params: &Params,
    ids_name: &str,
    field: impl Fn(&String, &T, &str) -> Option<String>,
) -> Result<Vec<(&'a String, &'a T)>, ApiError> {
    let ids = json_args::texts(params, ids_name)?;
    let filters = json_args::filters(params)?;
    if ids.is_some() && !filters.is_empty() {
        let message = format!("The parameters `{ids_name}` and `Filters` cannot be specified together.");
        return Err(ApiError::new(200, "InvalidParameter", message));
    }
    let mut selected = Vec::new();
    for (id, item) in all {
        let mut wanted = ids.as_ref().is_none_or(|ids| ids.contains(id));
        for filter in &filters {
            let value = field(id, item, &filter.name).ok_or_else(|| {
                ApiError::new(200, "InvalidFilter", format!("The filter `{}` is not supported.", filter.name))
            })?;
            wanted &= filter.values.contains(&value);
        }
        if wanted {
            selected.push((id, item));
        }
    }
    Ok(selected)
}

fn is_deadline(text: &str, now: Timestamp) -> bool {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    Timestamp::parse_rfc3339(text).is_some_and(|deadline| deadline >= now + DAY)
}

fn disk_state(disk: &CbsDisk) -> &'static str {
    if disk.instance_id.is_some() { "ATTACHED" } else { "UNATTACHED" }
}

fn is_portable(disk: &CbsDisk) -> bool {
    disk.usage != "SYSTEM_DISK"
}

fn snapshot_state(snapshot: &CbsSnapshot, now: Timestamp) -> &'static str {
    if now >= snapshot.done_at { "NORMAL" } else { "CREATING" }
}

fn placement(zone: &str) -> Value {
    json!({
        "Zone": zone, "ProjectId": 0, "ProjectName": "Default Project", "CageId": "", "CdcId": "", "CdcName": "",
        "DedicatedClusterId": null,
    })
}

fn disk_shown(id: &str, disk: &CbsDisk, snapshots: usize) -> Value {
    let created = china_seconds(disk.created);
    json!({
        "DiskId": id,
        "DiskName": disk.name,
        "DiskType": disk.disk_type,
        "DiskUsage": disk.usage,
        "DiskState": disk_state(disk),
        "DiskSize": disk.size_gb,
        "DiskChargeType": "POSTPAID_BY_HOUR",
        "Attached": disk.instance_id.is_some(),
        "AttachMode": "PF",
        "InstanceId": disk.instance_id.as_deref().unwrap_or_default(),
        "InstanceIdList": disk.instance_id.iter().collect::<Vec<_>>(),
        "InstanceType": if disk.instance_id.is_some() { "CVM" } else { "" },
        "LastAttachInsId": disk.instance_id,
        "Placement": placement(&disk.zone),
        "SnapshotAbility": disk.snapshot_ability,
        "SnapshotCount": snapshots,
        "SnapshotSize": 0,
        "Portable": is_portable(disk),
        "Shareable": false,
        "Encrypt": false,
        "DeleteWithInstance": true,
        "DeleteSnapshot": 0,
        "BackupDisk": false,
        "DiskBackupQuota": 0,
        "DiskBackupCount": 0,
        "ThroughputPerformance": 0,
        "BurstPerformance": false,
        "RenewFlag": "NOTIFY_AND_MANUAL_RENEW",
        "AutoRenewFlagError": false,
        "DeadlineError": false,
        "DeadlineTime": "",
        "DifferDaysOfDeadline": 0,
        "IsReturnable": false,
        "ReturnFailCode": 0,
        "Migrating": false,
        "MigratePercent": 0,
        "Rollbacking": false,
        "RollbackPercent": 0,
        "AutoSnapshotPolicyIds": null,
        "ErrorPrompt": "",
        "Tags": tags_shown(&disk.tags),
        "CreateTime": created,
    })
}

fn snapshot_shown(id: &str, snapshot: &CbsSnapshot, now: Timestamp) -> Value {
    let created = china_seconds(snapshot.created);
    json!({
        "SnapshotId": id,
        "SnapshotName": snapshot.name,
        "SnapshotState": snapshot_state(snapshot, now),
        "SnapshotType": "PRIVATE_SNAPSHOT",
        "Percent": percent_done(snapshot.created, snapshot.done_at, now),
        "DiskId": snapshot.disk_id,
        "DiskUsage": snapshot.usage,
        "DiskSize": snapshot.size_gb,
        "Placement": placement(&snapshot.zone),
        "IsPermanent": snapshot.deadline.is_none(),
        "DeadlineTime": snapshot.deadline.as_deref().unwrap_or_default(),
        "Encrypt": false,
        "CopyFromRemote": false,
        "CopyingToRegions": [],
        "Images": [],
        "ImageCount": 0,
        "ShareReference": 0,
        "TimeStartShare": &created[..10],
        "CreateTime": created,
        "Tags": tags_shown(&snapshot.tags),
        "IsLocked": false,
    })
}

//! ECS snapshots: made at once, done later, bounded per disk, made once per client token. A reboot or stop of the
//! instance fails those in progress (`Cloud::fail_snapshots_of`), as the documents warn. Tested as `ecs`.

use crate::answer::{ApiError, Outcome, object};
use crate::cloud::{Call, Cloud};
use crate::ecs::{instance_not_found, is, one_of, refuse_dry_run, tagged, tags_shown};
use crate::flat::{self, Params, TokenPage};
use crate::state::{EcsDisk, EcsSnapshot, EcsStatus, percent_done};
use opsward_core::time::Timestamp;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Makes a snapshot.
pub(crate) fn create(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let disk_id = flat::required(params, "DiskId")?;
    let name = flat::optional(params, "SnapshotName").unwrap_or_default();
    if !name.is_empty() && !is_snapshot_name(name) {
        return Err(malformed("SnapshotName"));
    }
    let description = flat::optional(params, "Description").unwrap_or_default();
    if !description.is_empty() && !is_description(description) {
        return Err(malformed("Description"));
    }
    let retention_days = flat::number(params, "RetentionDays", 1..=RETENTION_DAYS_MAX)?;
    cloud.once_per_token(call, params, |cloud| {
        let disk = cloud.world.alibaba.disks.get(disk_id).cloned().ok_or_else(disk_not_found)?;
        if call.region.is_some_and(|region| region != disk.region) {
            return Err(disk_not_found());
        }
        check_status(cloud, call.now, &disk)?;
        check_bounds(cloud, call.now, disk_id, &disk)?;
        let snapshot_id = call.ids.resource(if disk.region == "cn-hangzhou" { "s-bp1" } else { "s-uf6" }, 17);
        let done_at = call.now + Duration::from_millis(cloud.world.settle.snapshot_ms);
        let snapshot = EcsSnapshot {
            disk_id: disk_id.to_owned(),
            name: name.to_owned(),
            description: description.to_owned(),
            region: disk.region,
            disk_kind: disk.kind,
            disk_size_gb: disk.size_gb,
            retention_days,
            created: call.now,
            done_at,
            failed: false,
            tags: flat::tags(params),
        };
        cloud.world.alibaba.snapshots.insert(snapshot_id.clone(), snapshot);
        cloud.snapshot_made(disk_id, &snapshot_id, done_at);
        cloud.record_effect(call, &snapshot_id);
        Ok(object(json!({ "SnapshotId": snapshot_id })))
    })
}

/// Lists snapshots of a region.
pub(crate) fn describe(cloud: &Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let region = flat::required(params, "RegionId")?;
    let ids = flat::id_list(params, "SnapshotIds")?;
    let page = flat::page(params, &TokenPage { sizes: 10..=100 })?;
    refuse_dry_run(params)?;
    let statuses = ["progressing", "accomplished", "failed", "all"];
    let status = one_of(params, "Status", &statuses)?.filter(|status| *status != "all");
    let automatic_only = one_of(params, "SnapshotType", &["auto", "user", "all"])? == Some("auto");
    let disk_id = flat::optional(params, "DiskId");
    let instance_id = flat::optional(params, "InstanceId");
    let name = flat::optional(params, "SnapshotName");
    let tags = flat::tags(params);
    let alibaba = &cloud.world.alibaba;
    let on_instance = |disk_id: &str| {
        instance_id.is_none_or(|wanted| {
            alibaba.disks.get(disk_id).is_some_and(|disk| disk.instance_id.as_deref() == Some(wanted))
        })
    };
    let wanted = |snapshot: &EcsSnapshot| {
        !automatic_only
            && snapshot.region == region
            && is(disk_id, &snapshot.disk_id)
            && is(name, &snapshot.name)
            && is(status, status_at(snapshot, call.now))
            && on_instance(&snapshot.disk_id)
            && tagged(&tags, &snapshot.tags)
    };
    let selected: Vec<(&String, &EcsSnapshot)> = match &ids {
        Some(ids) => ids
            .iter()
            .filter_map(|id| alibaba.snapshots.get_key_value(id))
            .filter(|(_, s)| wanted(s))
            .collect(),
        None => alibaba.snapshots.iter().filter(|(_, s)| wanted(s)).collect(),
    };
    Ok(flat::paged(&page, &selected, ("Snapshots", "Snapshot"), |(id, s)| snapshot_shown(id, s, call.now)))
}

/// Deletes a snapshot, also one in progress.
pub(crate) fn delete(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let snapshot_id = flat::required(params, "SnapshotId")?;
    let snapshot = cloud.world.alibaba.snapshots.remove(snapshot_id).ok_or_else(|| {
        ApiError::new(404, "InvalidSnapshotId.NotFound", "The specified SnapshotId does not exist.")
    })?;
    cloud.snapshot_deleted(&snapshot.disk_id, snapshot_id);
    cloud.record_effect(call, snapshot_id);
    Ok(Map::new())
}

fn check_status(cloud: &Cloud, now: Timestamp, disk: &EcsDisk) -> Result<(), ApiError> {
    let refuse = |code: &'static str, message: &str| Err(ApiError::new(403, code, message));
    match (disk.status_at(now), &disk.instance_id) {
        ("Available", _) if disk.ever_attached => Ok(()),
        ("Available", _) => refuse(
            "IncorrectDiskStatus.NeverAttached",
            "The specified disk has never been attached to any instance.",
        ),
        ("In_use", Some(instance_id)) => {
            let instance = cloud.world.alibaba.instances.get(instance_id).ok_or_else(instance_not_found)?;
            match instance.status.at(now) {
                EcsStatus::Running | EcsStatus::Stopped => Ok(()),
                _ => refuse(
                    "IncorrectInstanceStatus",
                    "The current status of the resource does not support this operation.",
                ),
            }
        }
        _ => refuse("IncorrectDiskStatus", "The current disk status does not support this operation."),
    }
}

fn check_bounds(cloud: &mut Cloud, now: Timestamp, disk_id: &str, disk: &EcsDisk) -> Result<(), ApiError> {
    let limits = cloud.world.limits;
    let (count, in_progress) = cloud.snapshots_on(disk_id, now);
    let allowed = if disk.category.starts_with("cloud_essd") { limits.essd_in_progress } else { 1 };
    if in_progress >= allowed {
        return Err(ApiError::new(
            403,
            "IncorrectDiskStatus.CreatingSnapshot",
            "A previous snapshot creation is in process.",
        ));
    }
    if count >= limits.snapshots_per_disk {
        return Err(ApiError::new(403, "QuotaExceed.Snapshot", "The snapshot quota exceeds."));
    }
    Ok(())
}

/// Longest retention, days.
const RETENTION_DAYS_MAX: u64 = 65_536;

fn is_snapshot_name(name: &str) -> bool {
    let allowed = |c: char| is_letter(c) || c.is_ascii_digit() || ":_.-".contains(c);
    (2..=128).contains(&name.chars().count())
        && name.chars().next().is_some_and(is_letter)
        && name.chars().all(allowed)
        && !name.starts_with("auto")
        && !is_web_address(name)
}

fn is_description(text: &str) -> bool {
    (2..=256).contains(&text.chars().count()) && !is_web_address(text)
}

/// ASCII letters, and the ideographs of Unicode's first CJK block.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || ('\u{4E00}'..='\u{9FFF}').contains(&c)
}

fn is_web_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn malformed(name: &str) -> ApiError {
    let message = format!("Specified {} name is malformed.", name.trim_end_matches("Name").to_lowercase());
    ApiError::new(400, format!("Invalid{name}.Malformed"), message)
}

/// The answer about a disk that is not there.
pub(crate) fn disk_not_found() -> ApiError {
    ApiError::new(404, "InvalidDiskId.NotFound", "The specified DiskId does not exist.")
}

fn status_at(snapshot: &EcsSnapshot, now: Timestamp) -> &'static str {
    match (snapshot.failed, now >= snapshot.done_at) {
        (true, _) => "failed",
        (false, true) => "accomplished",
        (false, false) => "progressing",
    }
}

fn snapshot_shown(id: &str, snapshot: &EcsSnapshot, now: Timestamp) -> Value {
    let status = status_at(snapshot, now);
    let progress = match status {
        "failed" => 0,
        _ => percent_done(snapshot.created, snapshot.done_at, now),
    };
    let mut shown = object(json!({
        "SnapshotId": id,
        "SnapshotSN": format!("64{id}"),
        "SnapshotName": snapshot.name,
        "Description": snapshot.description,
        "SnapshotType": "user",
        "Category": "Standard",
        "Status": status,
        "Progress": format!("{progress}%"),
        "RemainTime": snapshot.done_at.since(now).as_secs(),
        "Available": status == "accomplished",
        "InstantAccess": false,
        "InstantAccessRetentionDays": 0,
        "Encrypted": false,
        "KMSKeyId": "",
        "ProductCode": "",
        "RegionId": snapshot.region,
        "ResourceGroupId": "",
        "SnapshotLinkId": format!("sl-{}", snapshot.disk_id.trim_start_matches("d-")),
        "SourceDiskId": snapshot.disk_id,
        "SourceDiskSize": snapshot.disk_size_gb.to_string(),
        "SourceDiskType": snapshot.disk_kind,
        "SourceStorageType": "disk",
        "Usage": "none",
        "CreationTime": snapshot.created.to_iso_seconds(),
        "LastModifiedTime": snapshot.done_at.min(now).to_iso_seconds(),
        "Tags": tags_shown(&snapshot.tags),
    }));
    if let Some(days) = snapshot.retention_days {
        shown.insert("RetentionDays".into(), days.into());
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_name_follows_the_documents_rules() {
        for good in ["reboot_abcdef", "快照-1", "a:b_c.d-e", "ab"] {
            assert!(is_snapshot_name(good), "{good}");
        }
        for bad in ["a", "1abc", "_abc", "auto-1", "http://x", "a b", &"x".repeat(129)] {
            assert!(!is_snapshot_name(bad), "{bad}");
        }
    }
}

//! ECS 2014-05-26: instances and disks. Snapshots are in `ecs_snapshot`. Field names and codes as in the vendor's SDK
//! models and documents. Leaves paging to `flat`. Tested by `tests/tests/it/sim.rs` and `tests/peers`.

use crate::answer::{ApiError, Outcome};
use crate::clock::iso_minutes;
use crate::cloud::{Call, Cloud};
use crate::ecs_history;
use crate::ecs_snapshot::{self, disk_not_found};
use crate::flat::{self, Params, TokenPage};
use crate::state::{EcsDisk, EcsInstance, EcsStatus};
use opsward_core::time::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The API version.
pub(crate) const VERSION: &str = "2014-05-26";

/// Carries an action out; `None` where there is none of this name.
pub(crate) fn answer(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Option<Outcome> {
    Some(match call.action {
        "DescribeInstances" => describe_instances(cloud, call, params),
        "DescribeDisks" => describe_disks(cloud, call, params),
        "ReInitDisk" => reinit_disk(cloud, call, params),
        "CreateSnapshot" => ecs_snapshot::create(cloud, call, params),
        "DescribeSnapshots" => ecs_snapshot::describe(cloud, call, params),
        "DescribeInstanceHistoryEvents" => ecs_history::describe(cloud, call, params),
        "DeleteSnapshot" => ecs_snapshot::delete(cloud, call, params),
        "StartInstance" => change_instance(cloud, call, params, Change::Start),
        "StopInstance" => change_instance(cloud, call, params, Change::Stop),
        "RebootInstance" => change_instance(cloud, call, params, Change::Reboot),
        _ => return None,
    })
}

fn describe_instances(cloud: &Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let region = flat::required(params, "RegionId")?;
    let ids = flat::id_list(params, "InstanceIds")?;
    let page = flat::page(params, &TokenPage { sizes: 10..=100 })?;
    refuse_dry_run(params)?;
    let tags = flat::tags(params);
    let status = flat::optional(params, "Status");
    let selected: Vec<(&String, &EcsInstance)> = cloud
        .world
        .alibaba
        .instances
        .iter()
        .filter(|(id, instance)| {
            instance.region == region
                && ids.as_ref().is_none_or(|ids| ids.contains(id))
                && is(flat::optional(params, "InstanceName"), &instance.name)
                && is(flat::optional(params, "ZoneId"), &instance.zone)
                && is(status, &format!("{:?}", instance.status.at(call.now)))
                && tagged(&tags, &instance.tags)
        })
        .collect();
    Ok(flat::paged(&page, &selected, ("Instances", "Instance"), |(id, i)| instance_shown(id, i, call.now)))
}

/// Without `InstanceId` or `DiskIds` this lists every disk of the region, as the real one does.
fn describe_disks(cloud: &Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let region = flat::required(params, "RegionId")?;
    let ids = flat::id_list(params, "DiskIds")?;
    let page = flat::page(params, &TokenPage { sizes: 10..=500 })?;
    refuse_dry_run(params)?;
    let kind = one_of(params, "DiskType", &["all", "system", "data"])?.filter(|kind| *kind != "all");
    let statuses = ["In_use", "Available", "Attaching", "Detaching", "Creating", "ReIniting", "All"];
    let status = one_of(params, "Status", &statuses)?.filter(|status| *status != "All");
    let tags = flat::tags(params);
    let selected: Vec<(&String, &EcsDisk)> = cloud
        .world
        .alibaba
        .disks
        .iter()
        .filter(|(id, disk)| {
            disk.region == region
                && ids.as_ref().is_none_or(|ids| ids.contains(id))
                && is(flat::optional(params, "InstanceId"), disk.instance_id.as_deref().unwrap_or_default())
                && is(kind, &disk.kind)
                && is(status, disk.status_at(call.now))
                && is(flat::optional(params, "Category"), &disk.category)
                && is(flat::optional(params, "ZoneId"), &disk.zone)
                && is(flat::optional(params, "DiskName"), &disk.name)
                && tagged(&tags, &disk.tags)
        })
        .collect();
    Ok(flat::paged(&page, &selected, ("Disks", "Disk"), |(id, disk)| disk_shown(id, disk, call.now)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Start,
    Stop,
    Reboot,
}

fn change_instance(cloud: &mut Cloud, call: &Call<'_>, params: &Params, change: Change) -> Outcome {
    let id = flat::required(params, "InstanceId")?;
    flat::flag(params, "ForceStop")?;
    if change == Change::Stop {
        one_of(params, "StoppedMode", &["StopCharging", "KeepCharging", "Not-applicable"])?;
    }
    let settle = cloud.world.settle;
    let instance = cloud.world.alibaba.instances.get_mut(id).ok_or_else(instance_not_found)?;
    let needed = if change == Change::Start { EcsStatus::Stopped } else { EcsStatus::Running };
    if instance.status.at(call.now) != needed {
        return Err(ApiError::new(
            403,
            "IncorrectInstanceStatus",
            "The current status of the resource does not support this operation.",
        ));
    }
    refuse_dry_run(params)?;
    match change {
        Change::Start => {
            instance.status.enter(call.now, EcsStatus::Starting, [(settle.start_ms, EcsStatus::Running)]);
            instance.started = call.now + Duration::from_millis(settle.start_ms);
        }
        Change::Stop => {
            instance.status.enter(call.now, EcsStatus::Stopping, [(settle.stop_ms, EcsStatus::Stopped)]);
        }
        Change::Reboot => reboot(instance, call.now, settle.reboot_ms),
    }
    if change != Change::Start {
        cloud.fail_snapshots_of(id, call.now);
    }
    cloud.record_effect(call, id);
    Ok(Map::new())
}

/// Initialises a disk of a stopped instance anew.
fn reinit_disk(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let id = flat::required(params, "DiskId")?;
    let reinit_ms = cloud.world.settle.reinit_ms;
    let alibaba = &mut cloud.world.alibaba;
    let disk = alibaba.disks.get_mut(id).ok_or_else(disk_not_found)?;
    let refuse = |code: &'static str| {
        Err(ApiError::new(403, code, "The current status of the resource does not support this operation."))
    };
    let instance = disk.instance_id.as_ref().and_then(|instance| alibaba.instances.get(instance));
    if disk.status_at(call.now) != "In_use" {
        return refuse("IncorrectDiskStatus");
    }
    if instance.is_none_or(|instance| instance.status.at(call.now) != EcsStatus::Stopped) {
        return refuse("IncorrectInstanceStatus");
    }
    disk.reiniting_until = Some(call.now + Duration::from_millis(reinit_ms));
    cloud.record_effect(call, id);
    Ok(Map::new())
}

/// Takes an instance through a restart.
pub(crate) fn reboot(instance: &mut EcsInstance, now: Timestamp, reboot_ms: u64) {
    let then = [(reboot_ms / 2, EcsStatus::Starting), (reboot_ms, EcsStatus::Running)];
    instance.status.enter(now, EcsStatus::Stopping, then);
    instance.started = now + Duration::from_millis(reboot_ms);
}

pub(crate) fn instance_not_found() -> ApiError {
    ApiError::new(404, "InvalidInstanceId.NotFound", "The specified InstanceId does not exist.")
}

/// A dry run that would pass is answered with this error.
pub(crate) fn refuse_dry_run(params: &Params) -> Result<(), ApiError> {
    if flat::flag(params, "DryRun")? {
        return Err(ApiError::new(
            400,
            "DryRunOperation",
            "Request validation has been passed with DryRun flag set.",
        ));
    }
    Ok(())
}

/// A parameter with a closed set of values.
pub(crate) fn one_of<'a>(
    params: &'a Params,
    name: &str,
    values: &[&str],
) -> Result<Option<&'a str>, ApiError> {
    match flat::optional(params, name) {
        Some(value) if !values.contains(&value) => Err(ApiError::new(
            400,
            format!("Invalid{name}.ValueNotSupported"),
            format!("The specified parameter {name} is not valid."),
        )),
        value => Ok(value),
    }
}

/// Whether a filter, where there is one, names `value`.
pub(crate) fn is(filter: Option<&str>, value: &str) -> bool {
    filter.is_none_or(|filter| filter == value)
}

/// Whether all `wanted` tags are there; an empty value matches any.
pub(crate) fn tagged(wanted: &BTreeMap<String, String>, tags: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| tags.get(key).is_some_and(|found| value.is_empty() || found == value))
}

/// Tags as ECS shows them.
pub(crate) fn tags_shown(tags: &BTreeMap<String, String>) -> Value {
    let tags: Vec<Value> = tags.iter().map(|(k, v)| json!({ "TagKey": k, "TagValue": v })).collect();
    json!({ "Tag": tags })
}

fn instance_shown(id: &str, instance: &EcsInstance, now: Timestamp) -> Value {
    json!({
        "InstanceId": id,
        "InstanceName": instance.name,
        "HostName": instance.name,
        "Description": "",
        "RegionId": instance.region,
        "ZoneId": instance.zone,
        "Status": instance.status.at(now),
        "StoppedMode": "Not-applicable",
        "ImageId": instance.image_id,
        "OSName": "Alibaba Cloud Linux 3.2104 LTS 64位",
        "OSNameEn": "Alibaba Cloud Linux 3.2104 LTS 64 bit",
        "OSType": "linux",
        "InstanceType": instance.instance_type,
        "InstanceTypeFamily": "ecs.g7",
        "Cpu": 2,
        "Memory": 8192,
        "GPUAmount": 0,
        "GPUSpec": "",
        "IoOptimized": true,
        "InstanceChargeType": "PostPaid",
        "InternetChargeType": "PayByTraffic",
        "InternetMaxBandwidthIn": 10,
        "InternetMaxBandwidthOut": 0,
        "InstanceNetworkType": "vpc",
        "SpotStrategy": "NoSpot",
        "CreationTime": iso_minutes(instance.created),
        "StartTime": iso_minutes(instance.started),
        "ExpiredTime": "2099-12-31T15:59Z",
        "AutoReleaseTime": "",
        "DeletionProtection": false,
        "DeviceAvailable": true,
        "Recyclable": false,
        "KeyPairName": "",
        "ResourceGroupId": "",
        "SerialNumber": format!("sim-{id}"),
        "SecurityGroupIds": { "SecurityGroupId": ["sg-bp1simulated0000001"] },
        "PublicIpAddress": { "IpAddress": [] },
        "InnerIpAddress": { "IpAddress": [] },
        "RdmaIpAddress": { "IpAddress": [] },
        "VpcAttributes": {
            "VpcId": "vpc-bp1simulated0000001",
            "VSwitchId": "vsw-bp1simulated0000001",
            "NatIpAddress": "",
            "PrivateIpAddress": { "IpAddress": [instance.private_ip] },
        },
        "EipAddress": { "AllocationId": "", "InternetChargeType": "", "IpAddress": "" },
        "NetworkInterfaces": { "NetworkInterface": [] },
        "OperationLocks": { "LockReason": [] },
        "Tags": tags_shown(&instance.tags),
    })
}

fn disk_shown(id: &str, disk: &EcsDisk, now: Timestamp) -> Value {
    let created = disk.created.to_iso_seconds();
    let attached = disk.instance_id.as_ref().map(|_| created.as_str()).unwrap_or_default();
    let attachments: Vec<Value> = disk
        .instance_id
        .iter()
        .map(|instance| json!({ "InstanceId": instance, "Device": disk.device, "AttachedTime": attached }))
        .collect();
    let system = disk.kind == "system";
    json!({
        "DiskId": id,
        "DiskName": disk.name,
        "Description": "",
        "RegionId": disk.region,
        "ZoneId": disk.zone,
        "Type": disk.kind,
        "Category": disk.category,
        "PerformanceLevel": if disk.category == "cloud_essd" { "PL1" } else { "" },
        "Size": disk.size_gb,
        "Status": disk.status_at(now),
        "Device": disk.device,
        "InstanceId": disk.instance_id.as_deref().unwrap_or_default(),
        "Attachments": { "Attachment": attachments },
        "MountInstances": { "MountInstance": [] },
        "MountInstanceNum": 0,
        "MultiAttach": "Disabled",
        "Portable": !system,
        "Encrypted": false,
        "KMSKeyId": "",
        "DeleteWithInstance": true,
        "DeleteAutoSnapshot": false,
        "EnableAutoSnapshot": true,
        "EnableAutomatedSnapshotPolicy": false,
        "AutoSnapshotPolicyId": "",
        "DiskChargeType": "PostPaid",
        "CreationTime": created,
        "AttachedTime": attached,
        "DetachedTime": "",
        "ExpiredTime": "2999-09-08T16:00Z",
        "ImageId": "",
        "SourceSnapshotId": "",
        "SourceDiskId": "",
        "ProductCode": "",
        "ResourceGroupId": "",
        "SerialNumber": id.trim_start_matches("d-"),
        "StorageSetId": "",
        "IOPS": 3800,
        "IOPSRead": 3800,
        "IOPSWrite": 3800,
        "Throughput": 120,
        "ThroughputRead": 120,
        "ThroughputWrite": 120,
        "OperationLocks": { "OperationLock": [] },
        "Tags": tags_shown(&disk.tags),
    })
}

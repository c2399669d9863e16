//! CVM 2017-03-12: instances, their power, and reinstallation, none of which takes an idempotency token. Leaves disks
//! and snapshots to `cbs`. Tested by `tests/tests/it/sim.rs` and `tests/peers`.

use crate::answer::{ApiError, Outcome};
use crate::cloud::{Call, Cloud};
use crate::cvm_tasks;
use crate::json_params::{self as json_args, Filter, Params};
use crate::state::{CvmInstance, CvmState, ImageKind, Operation, Tencent};
use opsward_core::time::Timestamp;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The API version.
pub(crate) const VERSION: &str = "2017-03-12";

/// Carries an action out; `None` where there is none of this name.
pub(crate) fn answer(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Option<Outcome> {
    Some(match call.action {
        "DescribeInstances" => describe_instances(cloud, call, params),
        "DescribeTaskInfo" => cvm_tasks::describe(cloud, call, params),
        "ResetInstance" => reset_instance(cloud, call, params),
        "StartInstances" => change_power(cloud, call, params, Power::Start),
        "StopInstances" => change_power(cloud, call, params, Power::Stop),
        "RebootInstances" => change_power(cloud, call, params, Power::Reboot),
        _ => return None,
    })
}

fn describe_instances(cloud: &Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    json_args::known(params, &["InstanceIds", "Filters", "Offset", "Limit"])?;
    let region = required_region(call)?;
    let ids = instance_ids(params)?;
    let filters = json_args::filters(params)?;
    if ids.is_some() && !filters.is_empty() {
        return Err(ApiError::new(
            200,
            "InvalidParameter",
            "The parameters `InstanceIds` and `Filters` cannot be specified together.",
        ));
    }
    let tencent = &cloud.world.tencent;
    let mut selected: Vec<(&String, &CvmInstance)> = Vec::new();
    for (id, instance) in &tencent.instances {
        let mut wanted = instance.region == region && ids.as_ref().is_none_or(|ids| ids.contains(id));
        for filter in &filters {
            wanted &= filter.values.contains(&filtered_field(id, instance, filter, call.now)?);
        }
        if wanted {
            selected.push((id, instance));
        }
    }
    json_args::paged(params, &selected, "InstanceSet", |(id, i)| instance_shown(tencent, id, i, call.now))
}

fn filtered_field(
    id: &str,
    instance: &CvmInstance,
    filter: &Filter,
    now: Timestamp,
) -> Result<String, ApiError> {
    Ok(match filter.name.as_str() {
        "instance-id" => id.to_owned(),
        "instance-name" => instance.name.clone(),
        "instance-state" => state_name(instance.state.at(now)),
        "zone" => instance.zone.clone(),
        "image-id" => instance.image_id.clone(),
        "private-ip-address" => instance.private_ip.clone(),
        "instance-charge-type" => "POSTPAID_BY_HOUR".into(),
        "project-id" => "0".into(),
        "vpc-id" => VPC.into(),
        other => match other.strip_prefix("tag:") {
            Some(key) => instance.tags.get(key).cloned().unwrap_or_default(),
            None => {
                return Err(ApiError::new(
                    200,
                    "InvalidFilter",
                    format!("The filter `{other}` is not supported."),
                ));
            }
        },
    })
}

fn reset_instance(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let names =
        ["InstanceId", "ImageId", "SystemDisk", "LoginSettings", "EnhancedService", "HostName", "UserData"];
    json_args::known(params, &names)?;
    let region = required_region(call)?;
    let id = json_args::required_text(params, "InstanceId")?;
    check_instance_id(id)?;
    let system_disk: Option<String> = cloud
        .world
        .tencent
        .disks
        .iter()
        .find(|(_, disk)| disk.instance_id.as_deref() == Some(id) && disk.usage == "SYSTEM_DISK")
        .map(|(disk_id, _)| disk_id.clone());
    let snapshots = system_disk.map_or((0, 0), |disk_id| cloud.snapshots_on(&disk_id, call.now));
    let reset_ms = cloud.world.settle.reset_ms;
    let Tencent { instances, images, .. } = &mut cloud.world.tencent;
    let instance =
        instances.get_mut(id).filter(|i| i.region == region).ok_or_else(|| instance_not_found(id))?;
    let image_id = json_args::text(params, "ImageId")?.unwrap_or(&instance.image_id).to_owned();
    if !image_id.starts_with("img-") {
        return Err(ApiError::new(
            200,
            "InvalidImageId.Malformed",
            format!("The image ID `{image_id}` is malformed."),
        ));
    }
    let image = images.get(&image_id).ok_or_else(|| {
        ApiError::new(200, "InvalidImageId.NotFound", format!("The image `{image_id}` does not exist."))
    })?;
    let key_ids = login_keys(json_args::inner(params, "LoginSettings")?, image.kind)?;
    check_idle(id, instance, call.now, &[CvmState::Running, CvmState::Stopped])?;
    if snapshots.1 > 0 {
        return Err(ApiError::new(
            200,
            "ResourceUnavailable.SnapshotCreating",
            "A snapshot of the system disk is being created.",
        ));
    }
    // The trap of the real service: the operation reports SUCCESS while the instance is not yet running again.
    let reported_ms = reset_ms * 2 / 3;
    instance.state.enter(call.now, CvmState::Stopping, [(reset_ms, CvmState::Running)]);
    instance.image_id = image_id;
    instance.key_ids = key_ids;
    instance.latest_operation = Some(operation(call, reported_ms));
    cloud.record_effect(call, id);
    Ok(Map::new())
}

/// The login settings' key ids, after checking that they name at most one way to log in.
fn login_keys(settings: Option<&Params>, image: ImageKind) -> Result<Vec<String>, ApiError> {
    let Some(settings) = settings else { return Ok(Vec::new()) };
    json_args::known(settings, &["Password", "KeyIds", "KeepImageLogin"])?;
    let password = json_args::text(settings, "Password")?;
    let key_ids = json_args::texts(settings, "KeyIds")?.filter(|ids| !ids.is_empty());
    let keep = match json_args::text(settings, "KeepImageLogin")?.map(str::to_ascii_uppercase).as_deref() {
        None | Some("FALSE") => false,
        Some("TRUE") => true,
        Some(other) => {
            let message =
                format!("The value `{other}` of parameter `KeepImageLogin` is not valid: TRUE or FALSE.");
            return Err(ApiError::new(200, "InvalidParameterValue", message));
        }
    };
    let ways = [password.is_some(), key_ids.is_some(), keep].into_iter().filter(|given| *given).count();
    if ways > 1 {
        return Err(ApiError::new(
            200,
            "InvalidParameterCombination",
            "Only one of `Password`, `KeyIds` and `KeepImageLogin` can be specified.",
        ));
    }
    if keep && image == ImageKind::Public {
        return Err(ApiError::new(
            200,
            "InvalidParameterValue",
            "The parameter `KeepImageLogin` can be TRUE only with custom, shared or imported images.",
        ));
    }
    if password.is_some_and(|password| !is_password(password)) {
        return Err(ApiError::new(200, "InvalidPassword", "The specified password is not strong enough."));
    }
    Ok(key_ids.unwrap_or_default())
}

/// Linux: 8 to 30 characters of at least two classes.
fn is_password(text: &str) -> bool {
    let classes: [fn(char) -> bool; 4] = [
        |c| c.is_ascii_lowercase(),
        |c| c.is_ascii_uppercase(),
        |c| c.is_ascii_digit(),
        |c| !c.is_ascii_alphanumeric(),
    ];
    (8..=30).contains(&text.chars().count())
        && classes.into_iter().filter(|class| text.chars().any(class)).count() >= 2
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    Start,
    Stop,
    Reboot,
}

/// One instance in the wrong state refuses the whole batch.
fn change_power(cloud: &mut Cloud, call: &Call<'_>, params: &Params, power: Power) -> Outcome {
    json_args::known(params, &["InstanceIds", "ForceStop", "ForceReboot", "StopType", "StoppedMode"])?;
    let region = required_region(call)?;
    let ids = instance_ids(params)?
        .filter(|ids| !ids.is_empty())
        .ok_or_else(|| json_args::missing("InstanceIds"))?;
    let settle = cloud.world.settle;
    let instances = &mut cloud.world.tencent.instances;
    let needed = if power == Power::Start { CvmState::Stopped } else { CvmState::Running };
    for id in &ids {
        let found = instances.get(id).filter(|i| i.region == region).ok_or_else(|| instance_not_found(id))?;
        check_idle(id, found, call.now, &[needed])?;
    }
    let (first, settle_ms, last) = match power {
        Power::Start => (CvmState::Starting, settle.start_ms, CvmState::Running),
        Power::Stop => (CvmState::Stopping, settle.stop_ms, CvmState::Stopped),
        Power::Reboot => (CvmState::Rebooting, settle.reboot_ms, CvmState::Running),
    };
    for id in &ids {
        if let Some(instance) = instances.get_mut(id) {
            instance.state.enter(call.now, first, [(settle_ms, last)]);
            // As in a recording of the real service: a stop reports SUCCESS while the instance is still stopping.
            let reported_ms = if power == Power::Stop { settle_ms * 2 / 3 } else { settle_ms };
            instance.latest_operation = Some(operation(call, reported_ms));
        }
    }
    for id in &ids {
        cloud.record_effect(call, id);
    }
    Ok(Map::new())
}

fn operation(call: &Call<'_>, done_ms: u64) -> Operation {
    Operation {
        action: call.action.to_owned(),
        request_id: call.request_id.to_owned(),
        done_at: call.now + Duration::from_millis(done_ms),
    }
}

fn check_idle(
    id: &str,
    instance: &CvmInstance,
    now: Timestamp,
    allowed: &[CvmState],
) -> Result<(), ApiError> {
    if instance.latest_operation.as_ref().is_some_and(|operation| operation.done_at > now) {
        return Err(ApiError::new(
            200,
            "OperationDenied.InstanceOperationInProgress",
            format!("The instance `{id}` is already performing another operation."),
        ));
    }
    let state = instance.state.at(now);
    if !allowed.contains(&state) {
        return Err(ApiError::new(
            200,
            format!("UnsupportedOperation.InstanceState{state:?}"),
            format!("The instance `{id}` is in {} state.", state_name(state)),
        ));
    }
    Ok(())
}

fn instance_ids(params: &Params) -> Result<Option<Vec<String>>, ApiError> {
    let Some(ids) = json_args::texts(params, "InstanceIds")? else { return Ok(None) };
    if ids.len() > IDS_MAX {
        return Err(ApiError::new(
            200,
            "InvalidParameterValue.LimitExceeded",
            "More than 100 `InstanceIds`.",
        ));
    }
    ids.iter().try_for_each(|id| check_instance_id(id))?;
    Ok(Some(ids))
}

const IDS_MAX: usize = 100;
const VPC: &str = "vpc-2hxl6jir";

fn check_instance_id(id: &str) -> Result<(), ApiError> {
    if id.starts_with("ins-") {
        return Ok(());
    }
    Err(ApiError::new(200, "InvalidInstanceId.Malformed", format!("The instance ID `{id}` is malformed.")))
}

fn instance_not_found(id: &str) -> ApiError {
    ApiError::new(200, "InvalidInstanceId.NotFound", format!("The instance `{id}` does not exist."))
}

/// Every action here needs `X-TC-Region`.
pub(crate) fn required_region<'a>(call: &Call<'a>) -> Result<&'a str, ApiError> {
    call.region.ok_or_else(|| json_args::missing("Region"))
}

fn state_name(state: CvmState) -> String {
    json!(state).as_str().unwrap_or_default().to_owned()
}

/// Tags as Tencent shows them.
pub(crate) fn tags_shown(tags: &std::collections::BTreeMap<String, String>) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

fn instance_shown(tencent: &Tencent, id: &str, instance: &CvmInstance, now: Timestamp) -> Value {
    let attached = tencent.disks.iter().filter(|(_, disk)| disk.instance_id.as_deref() == Some(id));
    let (system, data): (Vec<_>, Vec<_>) = attached.partition(|(_, disk)| disk.usage == "SYSTEM_DISK");
    let disk_shown = |(id, disk): &(&String, &crate::state::CbsDisk)| {
        json!({
            "DiskId": id, "DiskType": disk.disk_type, "DiskSize": disk.size_gb, "DiskName": disk.name,
            "Encrypt": false, "KmsKeyId": null, "CdcId": null,
        })
    };
    let operation = instance.latest_operation.as_ref();
    let done = |operation: &Operation| if operation.done_at > now { "OPERATING" } else { "SUCCESS" };
    json!({
        "InstanceId": id,
        "InstanceName": instance.name,
        "Uuid": format!("9683a76c-12cb-45f5-b7e9-{:0>12}", id.trim_start_matches("ins-")),
        "InstanceState": instance.state.at(now),
        "RestrictState": "NORMAL",
        "InstanceType": instance.instance_type,
        "InstanceChargeType": "POSTPAID_BY_HOUR",
        "CPU": 2,
        "Memory": 4,
        "Placement": { "Zone": instance.zone, "ProjectId": 0, "HostId": null },
        "SystemDisk": system.first().map(disk_shown),
        "DataDisks": data.iter().map(disk_shown).collect::<Vec<_>>(),
        "PrivateIpAddresses": [instance.private_ip],
        "PublicIpAddresses": null,
        "IPv6Addresses": null,
        "InternetAccessible": {
            "InternetMaxBandwidthOut": 0, "InternetChargeType": "TRAFFIC_POSTPAID_BY_HOUR",
        },
        "VirtualPrivateCloud": { "VpcId": VPC, "SubnetId": "subnet-gnl4awp6", "AsVpcGateway": false },
        "SecurityGroupIds": ["sg-4rdhd5n6"],
        "LoginSettings": { "KeyIds": instance.key_ids },
        "ImageId": instance.image_id,
        "OsName": tencent.images.get(&instance.image_id).map(|image| image.os.as_str()),
        "DefaultLoginUser": "root",
        "DefaultLoginPort": 22,
        "RenewFlag": null,
        "CreatedTime": instance.created.to_iso_seconds(),
        "ExpiredTime": null,
        "Tags": tags_shown(&instance.tags),
        "DisasterRecoverGroupId": "",
        "DedicatedClusterId": "",
        "CamRoleName": "",
        "HpcClusterId": "",
        "RdmaIpAddresses": null,
        "IsolatedSource": "NOTISOLATED",
        "LicenseType": "TencentCloud",
        "DisableApiTermination": false,
        "StopChargingMode": "NOT_APPLICABLE",
        "LatestOperation": operation.map(|operation| operation.action.as_str()),
        "LatestOperationState": operation.map(done),
        "LatestOperationRequestId": operation.map(|operation| operation.request_id.as_str()),
        "LatestOperationErrorMsg": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::object;
    use crate::state::Staged;

    #[test]
    fn login_settings_take_one_way_and_keep_image_login_no_public_image() {
        let code = |settings: Value, image| {
            login_keys(Some(&object(settings)), image).map(|_| "ok".into()).unwrap_or_else(|e| e.code)
        };
        let private = ImageKind::Private;
        for (settings, image, expected) in [
            (json!({ "KeepImageLogin": "TRUE" }), private, "ok"),
            (json!({ "KeepImageLogin": "TRUE" }), ImageKind::Public, "InvalidParameterValue"),
            (json!({ "KeepImageLogin": true }), private, "InvalidParameter"),
            (
                json!({ "KeepImageLogin": "true", "KeyIds": ["skey-1"] }),
                private,
                "InvalidParameterCombination",
            ),
            (json!({ "KeyIds": ["skey-1"] }), ImageKind::Public, "ok"),
            (json!({ "Password": "short1" }), private, "InvalidPassword"),
            (json!({ "Password": "Long-enough-1" }), private, "ok"),
        ] {
            assert_eq!(code(settings.clone(), image), expected, "{settings}");
        }
    }

    #[test]
    fn an_instance_in_the_wrong_state_is_named_as_the_vendor_names_it() {
        let mut instance =
            crate::seed::world(Default::default(), Default::default()).tencent.instances["ins-1"].clone();
        instance.state = Staged::settled(CvmState::LaunchFailed);
        let refused = check_idle("ins-1", &instance, Timestamp::from_ms(0), &[CvmState::Running]);
        let code = refused.map_err(|e| e.code).err();
        assert_eq!(code.as_deref(), Some("UnsupportedOperation.InstanceStateLaunchFailed"));
    }
}

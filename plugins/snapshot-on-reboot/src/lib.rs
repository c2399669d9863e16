//! Snapshots every disk of an Alibaba Cloud instance that a failure has rebooted. Reads the two event names of the reboot
//! in CloudMonitor's and in EventBridge's form. Leaves verifying and deduplicating events, and making each snapshot
//! exactly once, to the host. Tested natively against the SDK's fake host, in `tests/`.

use opsward_policy::{
    Call, CallError, Confirmed, Description, Event, Failure, Outcome, Policy, Response, Run, Unconfirmed,
    Value, json,
};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The policy.
pub struct SnapshotOnReboot;

opsward_policy::policy!(SnapshotOnReboot);

/// The operator's settings.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Days after which the cloud deletes the snapshots, 1 to 65,536; without it they are kept, and billed, for ever.
    retention_days: Option<u32>,
}

impl Policy for SnapshotOnReboot {
    type Config = Config;

    fn describe() -> Description {
        Description::new(
            "snapshot-on-reboot",
            env!("CARGO_PKG_VERSION"),
            "Snapshots every disk of an ECS instance after a system or instance failure has rebooted it.",
        )
        .on([
            "Instance:SystemFailure.Reboot:*",
            "Instance:InstanceFailure.Reboot:*",
            "ecs:Instance:SystemFailure.Reboot",
            "ecs:Instance:InstanceFailure.Reboot",
        ])
        .asks("ecs:DescribeDisks", "to list the disks of the rebooted instance")
        .asks("ecs:CreateSnapshot", "to snapshot each disk of the rebooted instance")
        .config_schema(include_str!("../config.schema.json"))
    }

    fn handle(event: &Event, run: &Run<Config>) -> Result<Outcome, Failure> {
        if let Some(days) = run.config().retention_days
            && !RETENTION_DAYS.contains(&days)
        {
            let message = format!("config.retention-days: {days} is not within 1 to 65536");
            return Err(Failure::new("opsward.InvalidConfig", message));
        }
        let body = body(event)?;
        if let Some(reason) = reason_to_ignore(event, &body) {
            return Ok(Outcome::new(reason));
        }
        let rebooted = Rebooted::from_event(event, &body)?;
        let disks = match disks(&rebooted, run)? {
            Ok(disks) => disks,
            Err(unconfirmed) => return Ok(unconfirmed.into()),
        };
        let calls = disks.iter().map(|disk| rebooted.snapshot(disk, run)).collect();
        let answers = run.call_all(calls, SNAPSHOTS_AT_ONCE);
        report(&rebooted, &disks, answers)
    }
}

/// The body, with `content` as an object: some webhooks send it as JSON inside a string.
fn body(event: &Event) -> Result<Value, Failure> {
    let mut body: Value = event.data()?;
    if let Some(content) = body["content"].as_str().and_then(|text| serde_json::from_str(text).ok()) {
        body["content"] = content;
    }
    Ok(body)
}

/// Why the event asks for nothing, if so. CloudMonitor's event names end in the status; EventBridge's types do not.
fn reason_to_ignore(event: &Event, body: &Value) -> Option<String> {
    let kind = event.kind.to_ascii_lowercase();
    let name = kind.strip_prefix("ecs:").unwrap_or(&kind);
    let status = match REBOOTS.iter().find_map(|reboot| name.strip_prefix(reboot)) {
        Some("") => text(body, &["/eventStatus", "/content/eventStatus", "/status"]).unwrap_or_default(),
        Some(rest) if rest.starts_with(':') => &rest[1..],
        _ => return Some(format!("nothing to do: {} is not a failure's reboot", event.kind)),
    };
    match status.eq_ignore_ascii_case("executed") {
        true => None,
        false => Some(format!(
            "nothing to do: the reboot's status is {}, and snapshots are made once it is Executed",
            if status.is_empty() { "not given" } else { status }
        )),
    }
}

struct Rebooted {
    instance: String,
    region: String,
    /// Names the happening: all its notifications share it.
    incident: String,
}

impl Rebooted {
    /// Without an instance there is nothing to filter by: an unfiltered DescribeDisks would list, and the policy would
    /// snapshot, every disk of the region.
    fn from_event(event: &Event, body: &Value) -> Result<Self, Failure> {
        let arn = || text(body, &["/resourceId"]).or(event.subject.as_deref()).map(Arn);
        let named = text(
            body,
            &[
                "/content/instanceId",
                "/content/ecsInstanceId",
                "/content/resourceId",
                "/instanceId",
                "/ecsInstanceId",
            ],
        );
        let instance = named.map(|id| Arn(id).instance().unwrap_or(id)).or_else(|| arn()?.instance());
        let Some(instance) = instance.filter(|id| is_instance_id(id)) else {
            let message = "the event names no instance, so its disks cannot be told from all others";
            return Err(Failure::new("opsward.NoInstanceId", message));
        };
        let named =
            event.region.as_deref().or(text(body, &["/regionId"])).filter(|region| !region.is_empty());
        let Some(region) = named.or_else(|| arn()?.region()) else {
            let message = format!("the event does not say where {instance} is");
            return Err(Failure::new("opsward.NoRegion", message));
        };
        Ok(Self {
            instance: instance.to_owned(),
            region: region.to_owned(),
            incident: event.incident_or_id().to_owned(),
        })
    }

    /// The event may be anybody's word: what is snapshot is what the cloud has shown.
    fn snapshot(&self, disk: &Confirmed<Disk>, run: &Run<Config>) -> Call {
        let disk = disk.disk_id.as_str();
        let once = format!("{}/{disk}", self.incident);
        let description =
            format!("Made by opsward after the reboot of {} (incident {})", self.instance, self.incident);
        let tags = json!([
            { "Key": "opsward:incident", "Value": cut(&self.incident, TAG_CHARS_MAX) },
            { "Key": "opsward:run", "Value": cut(&run.id(), TAG_CHARS_MAX) },
        ]);
        let call = Call::new("ecs", "CreateSnapshot")
            .region(&self.region)
            .param("DiskId", disk)
            .param("SnapshotName", format!("reboot_{}", six_letters(&once)))
            .param("Description", cut(&description, DESCRIPTION_CHARS_MAX))
            .param("Tag", tags)
            .once(once);
        match run.config().retention_days {
            Some(days) => call.param("RetentionDays", days),
            None => call,
        }
    }
}

/// An Alibaba Cloud resource name: `acs:ecs:cn-hangzhou:12345678:instance/i-1`.
struct Arn<'a>(&'a str);

impl<'a> Arn<'a> {
    fn instance(&self) -> Option<&'a str> {
        self.0.rsplit(':').next()?.strip_prefix("instance/")
    }

    fn region(&self) -> Option<&'a str> {
        self.0.split(':').nth(2).filter(|region| self.0.starts_with("acs:") && !region.is_empty())
    }
}

/// A mangled id must not reach the filter: a cloud that ignores it would answer with every disk.
fn is_instance_id(id: &str) -> bool {
    let tail = id.strip_prefix("i-").unwrap_or_default();
    !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// All disks of the instance, in the cloud's order.
fn disks(
    rebooted: &Rebooted,
    run: &Run<Config>,
) -> Result<Result<Vec<Confirmed<Disk>>, Unconfirmed>, Failure> {
    let call = Call::new("ecs", "DescribeDisks")
        .region(&rebooted.region)
        .param("RegionId", rebooted.region.as_str())
        .param("InstanceId", rebooted.instance.as_str());
    let is_ours = |disk: &Disk| disk.is_attached_to(&rebooted.instance);
    let confirmed = run
        .confirm_by_token(&format!("disk of {}", rebooted.instance), call, "/Disks/Disk", is_ours)
        .map_err(|error| {
            Failure::from(error).during(&format!("listing the disks of {}", rebooted.instance))
        })?;
    Ok(confirmed.map(|mut disks| {
        // A list that changes while it is paged may show a disk twice.
        let mut seen = BTreeSet::new();
        disks.retain(|disk| seen.insert(disk.disk_id.clone()));
        disks
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Disk {
    disk_id: String,
    instance_id: Option<String>,
    #[serde(default)]
    attachments: Value,
}

impl Disk {
    /// A disk that several instances share names them in its attachments only.
    fn is_attached_to(&self, instance: &str) -> bool {
        let shared = self.attachments["Attachment"].as_array();
        self.instance_id.as_deref() == Some(instance)
            || shared.is_some_and(|all| all.iter().any(|one| one["InstanceId"] == instance))
    }
}

/// Sums up: all snapshots made, or a failure that names each disk without one.
fn report(
    rebooted: &Rebooted,
    disks: &[Confirmed<Disk>],
    answers: Vec<Result<Response, CallError>>,
) -> Result<Outcome, Failure> {
    let mut created = Vec::new();
    let mut failed = Vec::new();
    let mut simulated = false;
    for (disk, answer) in disks.iter().map(|disk| &disk.disk_id).zip(answers) {
        match answer {
            Ok(response) => {
                simulated |= response.simulated;
                // A missing id does not undo the snapshot.
                let snapshot = response.json().map_or(Value::Null, |answer| answer["SnapshotId"].clone());
                created.push(json!({ "disk": disk, "snapshot": snapshot, "request": response.request_id }));
            }
            Err(error) => failed.push((disk, error)),
        }
    }
    let errors: Vec<Value> = failed
        .iter()
        .map(|(disk, error)| {
            json!({ "disk": disk, "code": error.code, "message": error.message, "request": error.request_id })
        })
        .collect();
    let details = json!({
        "instance": rebooted.instance,
        "region": rebooted.region,
        "incident": rebooted.incident,
        "created": created,
        "failed": errors,
    });
    let (instance, total) = (&rebooted.instance, disks.len());
    let Some((_, first)) = failed.first() else {
        let made = if simulated { "would make" } else { "made" };
        let summary = format!("{made} {total} snapshots, one for each disk of {instance}");
        return Ok(Outcome::new(summary).details(&details));
    };
    let same_code = failed.iter().all(|(_, error)| error.code == first.code);
    let code = if same_code { first.code.as_str() } else { "opsward.SnapshotsFailed" };
    let named: Vec<String> = failed.iter().map(|(disk, error)| format!("{disk} ({})", error.code)).collect();
    let message =
        format!("{} of {total} disks of {instance} have no snapshot: {}", failed.len(), named.join(", "));
    // Snapshots already made answer from their `once` keys, so running again makes the missing ones only.
    let retryable = failed.iter().any(|(_, error)| error.retryable);
    Err(Failure::new(code, message).retryable(retryable).details(&details))
}

/// Six lower-case letters that anyone can derive again: FNV-1a 64 of the key, as digits to the base of 26.
fn six_letters(key: &str) -> String {
    let mut hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut letters = String::with_capacity(6);
    for _ in 0..6 {
        letters.push(char::from(b'a' + (hash % 26) as u8));
        hash /= 26;
    }
    letters
}

fn text<'a>(body: &'a Value, pointers: &[&str]) -> Option<&'a str> {
    pointers.iter().filter_map(|pointer| body.pointer(pointer)?.as_str()).find(|text| !text.is_empty())
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// Reboots by failure of the hardware or of the guest system, as the start of the lower-case event name.
const REBOOTS: [&str; 2] = ["instance:systemfailure.reboot", "instance:instancefailure.reboot"];
/// What CreateSnapshot takes.
const RETENTION_DAYS: std::ops::RangeInclusive<u32> = 1..=65_536;
const DESCRIPTION_CHARS_MAX: usize = 256;
/// The longest value of a tag.
const TAG_CHARS_MAX: usize = 128;
/// Few enough to stay clear of the account's rate limit.
const SNAPSHOTS_AT_ONCE: u32 = 8;

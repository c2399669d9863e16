//! The stage: for each class of effect and each way to lie a machine, an account, a policy and a cloud that lies about
//! that machine alone, so that all of them can be driven at a time.

use crate::harness::{SIGNED, World};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What is done to a machine, and to what class of effect it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Alibaba CreateSnapshot of each disk, by the bundled policy.
    Token,
    /// Tencent ResetInstance, by the bundled policy.
    Reset,
    /// Alibaba RebootInstance.
    Reboot,
    /// Alibaba StopInstance and StartInstance.
    PowerAlibaba,
    /// Tencent StopInstances and StartInstances.
    PowerTencent,
}

pub(super) const CLASSES: [Class; 5] =
    [Class::Token, Class::Reset, Class::Reboot, Class::PowerAlibaba, Class::PowerTencent];

/// The ways to lie; `none` is the honest cloud.
pub(super) const FAULTS: [&str; 17] = [
    "none",
    "throttle",
    "error-500-before",
    "error-500-after",
    "drop-before",
    "drop-after",
    "timeout-before",
    "timeout-after",
    "slow",
    "truncated",
    "garbage",
    "late",
    "stale",
    "operator",
    "nonce-used",
    "clock-skew",
    "random",
];

/// Disks of a machine that snapshots are made of.
const DISKS: usize = 2;
const CALLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-calls.wasm"));

/// One machine and the lies about it.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) class: Class,
    pub(super) fault: &'static str,
    /// Of the account and the policy.
    pub(super) name: String,
    /// What the ids of the machine and its disks contain, and nothing else does.
    pub(super) naming: String,
    pub(super) machine: String,
}

impl Class {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Reset => "once-tencent",
            Self::Reboot => "once-alibaba",
            Self::PowerAlibaba => "convergent-alibaba",
            Self::PowerTencent => "convergent-tencent",
        }
    }

    pub(super) fn is_tencent(self) -> bool {
        matches!(self, Self::Reset | Self::PowerTencent)
    }

    pub(super) fn is_convergent(self) -> bool {
        matches!(self, Self::PowerAlibaba | Self::PowerTencent)
    }

    /// The read that the host or the policy makes beside the effect.
    pub(super) fn read(self) -> &'static str {
        if self == Self::Token { "DescribeDisks" } else { "DescribeInstances" }
    }

    /// How many resources one event changes.
    pub(super) fn effects_wanted(self) -> usize {
        if self == Self::Token { DISKS } else { 1 }
    }

    fn region(self) -> &'static str {
        if self.is_tencent() { "ap-shanghai" } else { "cn-hangzhou" }
    }
}

/// All lanes.
pub(super) fn lanes() -> Vec<Lane> {
    let pairs = CLASSES.iter().flat_map(|class| FAULTS.iter().map(move |fault| (*class, *fault)));
    // Tencent's calls have no nonce.
    let pairs = pairs.filter(|(class, fault)| !(class.is_tencent() && *fault == "nonce-used"));
    let lane = |(nth, (class, fault)): (usize, (Class, &'static str))| {
        let naming = format!("lies{nth:03}");
        let machine = format!("{}-{naming}", if class.is_tencent() { "ins" } else { "i" });
        Lane { class, fault, name: format!("{}-{fault}", class.as_str()), naming, machine }
    };
    pairs.enumerate().map(lane).collect()
}

/// A world in which each lane has its machine, account and policy.
pub(super) async fn set(lanes: &[Lane]) -> World {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let mut settings =
        settings + "\n[sources.lies]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\n" + SIGNED;
    std::fs::remove_file(world.plugins().join("snapshot-on-reboot.toml")).expect("removed");
    world.put_plugin("nightly-reset");
    std::fs::write(world.plugins().join("calls.wasm"), CALLS).expect("writable");
    for lane in lanes {
        settings += &account(lane, &world.sim.url);
        world.write(&format!("plugins.d/{}.toml", lane.name), &policy(lane));
    }
    world.write("opsward.toml", &settings);
    world.patch_state(machines(lanes, &world.sim_get("state").await)).await;
    world
}

fn account(lane: &Lane, url: &str) -> String {
    let (provider, credentials) = if lane.class.is_tencent() {
        ("tencent", r#"secret-id = { env = "TEST_TENCENT_ID" }, secret-key = { env = "TEST_TENCENT_KEY" }"#)
    } else {
        (
            "alibaba",
            r#"access-key-id = { env = "TEST_ALIBABA_AK" }, access-key-secret = { env = "TEST_ALIBABA_SK" }"#,
        )
    };
    format!(
        "\n[accounts.{}]\nprovider = \"{provider}\"\ncredentials = {{ {credentials} }}\nendpoint = \"{url}\"\n",
        lane.name
    )
}

fn policy(lane: &Lane) -> String {
    let Lane { class, name, machine, .. } = lane;
    let region = class.region();
    let (plugin, config, allowed): (&str, String, &[&str]) = match class {
        Class::Token => (
            "snapshot-on-reboot",
            "{ retention-days = 7 }".into(),
            &["ecs:DescribeDisks", "ecs:CreateSnapshot"],
        ),
        Class::Reset => (
            "nightly-reset",
            format!(r#"{{ instance-id = "{machine}", image-id = "img-1", region = "{region}" }}"#),
            &["cvm:ResetInstance"],
        ),
        Class::Reboot => ("calls", "{}".into(), &["ecs:RebootInstance"]),
        Class::PowerAlibaba => ("calls", "{}".into(), &["ecs:StopInstance", "ecs:StartInstance"]),
        Class::PowerTencent => ("calls", "{}".into(), &["cvm:StopInstances", "cvm:StartInstances"]),
    };
    let mut file = format!(
        "plugin = \"{plugin}.wasm\"\naccount = \"{name}\"\nmode = \"enforce\"\nconfig = {config}\n\
         on = [{{ source = \"lies\", subject = \"{machine}\" }}]\n\
         guardrails = {{ once-effects = \"none\", cool-down = \"none\" }}\n"
    );
    for action in allowed {
        let resource =
            if *class == Class::Token { String::new() } else { format!("resource = [\"{machine}\"]\n") };
        write!(file, "\n[[allow]]\naction = \"{action}\"\n{resource}").expect("a String takes everything");
    }
    file
}

/// A patch that adds the machines, copied from those that are there, and has changes settle soon.
fn machines(lanes: &[Lane], state: &Value) -> Value {
    let template = |vendor: &str, kind: &str, is_good: &dyn Fn(&Value) -> bool| {
        let all = state[vendor][kind].as_object().expect("a map");
        all.values().find(|one| is_good(one)).expect("one of these").clone()
    };
    let ecs = template("alibaba", "instances", &|one| {
        one["region"] == "cn-hangzhou" && one["status"]["state"] == "Running"
    });
    let disk =
        template("alibaba", "disks", &|one| one["category"] == "cloud_essd" && one["status"] == "In_use");
    let cvm = template("tencent", "instances", &|one| {
        one["region"] == "ap-shanghai" && one["state"]["state"] == "RUNNING"
    });
    let mut patch = json!({
        "settle": { "snapshot_ms": 20, "reset_ms": 60, "reboot_ms": 0, "start_ms": 20, "stop_ms": 20 },
        "limits": { "snapshots_per_disk": 100_000, "essd_in_progress": 100_000 },
    });
    for lane in lanes {
        if lane.class.is_tencent() {
            patch["tencent"]["instances"][&lane.machine] = cvm.clone();
            continue;
        }
        patch["alibaba"]["instances"][&lane.machine] = ecs.clone();
        for nth in 0..DISKS {
            let mut disk = disk.clone();
            disk["instance_id"] = json!(lane.machine);
            disk["region"] = json!("cn-hangzhou");
            patch["alibaba"]["disks"][format!("d-{}-{nth}", lane.naming)] = disk;
        }
    }
    patch
}

/// The state of a lane's machine when all that is under way has settled.
pub(super) fn settled_state(lane: &Lane, world: &Value) -> String {
    let (vendor, field) = if lane.class.is_tencent() { ("tencent", "state") } else { ("alibaba", "status") };
    let staged = &world[vendor]["instances"][&lane.machine][field];
    let last = staged["then"]
        .as_array()
        .and_then(|then| then.last())
        .map_or(&staged["state"], |stage| &stage["state"]);
    last.as_str().expect("a state").to_uppercase()
}

/// The effect that an event asks for of a machine in this state, and the state it leads to.
pub(super) fn effect(class: Class, state: &str) -> (&'static str, &'static str) {
    match (class, state) {
        (Class::Token, _) => ("CreateSnapshot", "RUNNING"),
        (Class::Reset, _) => ("ResetInstance", "RUNNING"),
        (Class::Reboot, _) => ("RebootInstance", "RUNNING"),
        (Class::PowerAlibaba, "RUNNING") => ("StopInstance", "STOPPED"),
        (Class::PowerAlibaba, _) => ("StartInstance", "RUNNING"),
        (Class::PowerTencent, "RUNNING") => ("StopInstances", "STOPPED"),
        (Class::PowerTencent, _) => ("StartInstances", "RUNNING"),
    }
}

/// The event that asks for `action`, as a CloudEvent.
pub(super) fn event(lane: &Lane, id: &str, action: &str) -> Value {
    let Lane { class, machine, .. } = lane;
    let region = class.region();
    let (kind, data) = match class {
        Class::Token => (
            "Instance:SystemFailure.Reboot:Executed",
            json!({ "regionId": region, "content": { "ecsInstanceId": machine } }),
        ),
        _ => {
            let (service, params) = match class.is_tencent() {
                true => ("cvm", json!({ "InstanceIds": [machine] })),
                false => ("ecs", json!({ "InstanceId": machine })),
            };
            let call = json!({ "service": service, "action": action, "region": region, "params": params });
            ("calls.told", json!({ "calls": [call] }))
        }
    };
    json!({
        "specversion": "1.0", "id": id, "source": SENDER, "type": kind, "subject": machine, "data": data,
    })
}

/// The `source` of the events; the host puts it behind their ids.
pub(super) const SENDER: &str = "test";

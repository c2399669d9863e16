//! The policy that is measured: one read, then one effect on what the read has shown, as real policies do. Built and run
//! by `tests/benches`.
#![cfg(target_arch = "wasm32")]

use opsward_policy::{Call, Description, Event, Failure, NoConfig, Outcome, Policy, Run, policy};

struct Bench;

impl Policy for Bench {
    type Config = NoConfig;

    fn describe() -> Description {
        Description::new("bench", env!("CARGO_PKG_VERSION"), "Snapshots the first disk of an instance.")
            .on(["bench.*"])
            .asks("ecs:DescribeDisks", "to find the disk")
            .asks("ecs:CreateSnapshot", "to snapshot it")
    }

    fn handle(event: &Event, run: &Run<NoConfig>) -> Result<Outcome, Failure> {
        let Some(instance) = event.first_text(&["/content/instanceId"]) else {
            return Err(Failure::new("Bench.NoInstance", "the event names no instance"));
        };
        let region = event.region.as_deref().unwrap_or_default();
        let disks =
            run.call(Call::new("ecs", "DescribeDisks").region(region).param("InstanceId", instance))?;
        let Some(disk) = disks.json()?["Disks"]["Disk"][0]["DiskId"].as_str().map(String::from) else {
            return Err(Failure::new("Bench.NoDisk", "the instance has no disk"));
        };
        run.call(Call::new("ecs", "CreateSnapshot").region(region).param("DiskId", disk.as_str()))?;
        Ok(Outcome::new("made 1 snapshot"))
    }
}

policy!(Bench);

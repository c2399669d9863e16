//! A policy that makes the calls its event names, one after the other, until one does not succeed; or all of them together,
//! whatever becomes of each, where the event says `"together": true`:
//! `{"calls": [{"service": "cvm", "action": "StopInstances", "region": "ap-shanghai", "params": {...}, "once": "key"}]}`.
//! Run by `tests/it/lies.rs` and `tests/it/grants`.
#![cfg(target_arch = "wasm32")]

use opsward_policy::{Call, Description, Event, Failure, NoConfig, Outcome, Policy, Run, Value, policy};

struct Calls;

impl Policy for Calls {
    type Config = NoConfig;

    fn describe() -> Description {
        const REASON: &str = "because the event says so";
        let actions = [
            "ecs:CreateSnapshot",
            "ecs:DeleteImage",
            "ecs:DeleteSnapshot",
            "ecs:ReInitDisk",
            "ecs:DescribeDisks",
            "ecs:DescribeInstances",
            "ecs:DescribeSnapshots",
            "ecs:ModifyInstanceAttribute",
            "ecs:PurgeThings",
            "ecs:ReplaceSystemDisk",
            "ecs:RebootInstance",
            "ecs:StartInstance",
            "ecs:StopInstance",
            "ecs:TagResources",
            "cvm:DescribeInstances",
            "cvm:ResetInstance",
            "cvm:StartInstances",
            "cvm:StopInstances",
        ];
        let description =
            Description::new("calls", env!("CARGO_PKG_VERSION"), "Makes the calls its event names.");
        actions.iter().fold(description.on(["calls.*"]), |told, action| told.asks(action, REASON))
    }

    fn handle(event: &Event, run: &Run<NoConfig>) -> Result<Outcome, Failure> {
        let data: Value = event.data()?;
        let calls = data["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        if data["together"] == true {
            let answers = run.call_all(calls.iter().map(told).collect(), 16);
            let good = answers.iter().filter(|answer| answer.is_ok()).count();
            return Ok(Outcome::new(format!("{good} of {} calls succeeded", answers.len())));
        }
        for call in calls {
            run.call(told(call))?;
        }
        Ok(Outcome::new(format!("made {} calls", calls.len())))
    }
}

fn told(told: &Value) -> Call {
    let text = |key: &str| told[key].as_str().unwrap_or_default();
    let mut call = Call::new(text("service"), text("action")).region(text("region"));
    call.params = told["params"].clone();
    match told["once"].as_str() {
        Some(key) => call.once(key),
        None => call,
    }
}

policy!(Calls);

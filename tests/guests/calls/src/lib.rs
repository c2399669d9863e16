//! A policy that makes the calls its event names, one after the other, until one does not succeed; or all of them together,
//! whatever becomes of each, where the event says `"together": true`:
//! `{"calls": [{"service": "cvm", "action": "StopInstances", "region": "ap-shanghai", "params": {...}, "once": "key"}]}`.
//! A parameter `{"$answer": [0, "/SnapshotId"]}` is what the first call was answered there. Where the event says `"count": true`,
//! the policy counts its calls in its state.
//! Run by `tests/it/lies.rs`, `tests/it/grants` and `tests/it/approval`.
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
            "ecs:ModifyInstanceAttribute",
            "ecs:PurgeThings",
            "ecs:ReplaceSystemDisk",
            "ecs:RebootInstance",
            "ecs:StartInstance",
            "ecs:StopInstance",
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
        let mut answers = Vec::new();
        for call in calls {
            if data["count"] == true {
                let key = "calls";
                let seen = run.state().get(key).and_then(|entry| entry.parse::<u64>().ok()).unwrap_or(0);
                run.state().set(key, (seen + 1).to_string())?;
            }
            let response = run.call(filled(told(call), &answers))?;
            answers.push(response.parse::<Value>()?);
        }
        Ok(Outcome::new(format!("made {} calls", calls.len())))
    }
}

/// The call with what earlier ones were answered in its place.
fn filled(mut call: Call, answers: &[Value]) -> Call {
    for param in call.params.as_object_mut().into_iter().flat_map(|params| params.values_mut()) {
        let from = &param["$answer"];
        if let (Some(nth), Some(place)) = (from[0].as_u64(), from[1].as_str()) {
            let answer = usize::try_from(nth).ok().and_then(|nth| answers.get(nth));
            *param = answer.and_then(|answer| answer.pointer(place)).cloned().unwrap_or_default();
        }
    }
    call
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

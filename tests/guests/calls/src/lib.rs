//! A policy that makes the calls its event names, one after the other, until one does not succeed; or all of them together,
//! whatever becomes of each, where the event says `"together": true`:
//! `{"calls": [{"service": "cvm", "action": "StopInstances", "region": "ap-shanghai", "params": {...}, "once": "key"}]}`.
//! Before that it writes the event's `lines` into the log and its `keys` into its state. A number in place of a text of a call
//! is the place of one in `words` of the policy's configuration. With `"look": true` it tells all that it can see.
//! Run by `tests/it/{lies,grants,egress,canary}`.
#![cfg(target_arch = "wasm32")]

use opsward_policy::{Call, Description, Event, Failure, Outcome, Policy, Run, Value, json, policy};

struct Calls;

impl Policy for Calls {
    type Config = Value;

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

    fn handle(event: &Event, run: &Run<Value>) -> Result<Outcome, Failure> {
        let data: Value = event.data()?;
        let list = |key: &str| data[key].as_array().map(Vec::as_slice).unwrap_or_default();
        list("lines").iter().filter_map(Value::as_str).for_each(|line| run.info(line));
        for key in list("keys").iter().filter_map(Value::as_str) {
            // What is no key is refused, and that is all.
            drop(run.state().set(key, key));
            run.state().delete(key);
        }
        let told = |call: &Value| told(call, run.config());
        if data["together"] == true {
            let answers = run.call_all(list("calls").iter().map(told).collect(), 16);
            let good = answers.iter().filter(|answer| answer.is_ok()).count();
            return Ok(Outcome::new(format!("{good} of {} calls succeeded", answers.len())));
        }
        let mut answers = Vec::new();
        for call in list("calls") {
            let answer = run.call(told(call));
            answers.push(format!("{answer:?}"));
            answer.map(drop).or_else(|error| if data["look"] == true { Ok(()) } else { Err(error) })?;
        }
        let outcome = Outcome::new(format!("made {} calls", answers.len()));
        Ok(if data["look"] == true { outcome.details(&seen(event, run, &answers)) } else { outcome })
    }
}

fn told(told: &Value, config: &Value) -> Call {
    let text = |key: &str| match &told[key] {
        Value::Number(place) => config["words"][place.as_u64().unwrap_or(0) as usize].as_str(),
        text => text.as_str(),
    };
    let mut call = Call::new(text("service").unwrap_or_default(), text("action").unwrap_or_default())
        .region(text("region").unwrap_or_default());
    call.params = told["params"].clone();
    match text("once") {
        Some(key) => call.once(key),
        None => call,
    }
}

/// Everything that a policy gets to see.
fn seen(event: &Event, run: &Run<Value>, answers: &[String]) -> Value {
    json!({
        "event": format!("{event:?}"),
        "config": run.config(),
        "run": [run.id(), run.policy_name(), format!("{:?} {}", run.mode(), run.attempt())],
        "answers": answers,
    })
}

policy!(Calls);

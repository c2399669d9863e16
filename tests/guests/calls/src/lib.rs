//! A policy that makes the calls its event names, one after the other, until one does not succeed; or all of them together,
//! whatever becomes of each, where the event says `"together": true`:
//! `{"calls": [{"service": "cvm", "action": "StopInstances", "region": "ap-shanghai", "params": {...}, "once": "key"}]}`.
//! A parameter `{"$answer": [0, "/SnapshotId"]}` is what the first call was answered there. With `"count": true` it counts its calls
//! in its state.
//! Before that it writes the event's `lines` into the log and its `keys` into its state. A number in place of a text of a call
//! is the place of one in `words` of the policy's configuration. With `"look": true` it tells all that it can see.
//! Run by `tests/it/{approval,lies,grants,egress,canary}`.
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
        let mut bodies: Vec<Value> = Vec::new();
        for call in list("calls") {
            if data["count"] == true {
                let seen = run.state().get("calls").and_then(|entry| entry.parse::<u64>().ok()).unwrap_or(0);
                run.state().set("calls", (seen + 1).to_string())?;
            }
            let answer = run.call(filled(told(call), &bodies));
            bodies.push(answer.as_ref().ok().and_then(|answer| answer.parse().ok()).unwrap_or_default());
            answers.push(format!("{answer:?}"));
            answer.map(drop).or_else(|error| if data["look"] == true { Ok(()) } else { Err(error) })?;
        }
        let outcome = Outcome::new(format!("made {} calls", answers.len()));
        Ok(if data["look"] == true { outcome.details(&seen(event, run, &answers)) } else { outcome })
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

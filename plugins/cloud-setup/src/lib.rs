//! Points CloudMonitor at a queue that this host reads, and has it send a test event: what `opsward source setup --apply` and
//! `opsward source drill` ask for. Makes no other target of a rule than a queue: others could hold a secret, or make the cloud call
//! by itself. Leaves who may ask to the host, and what may be called where to the operator's grants. Tested natively against the
//! SDK's fake host, in `tests/`.

use opsward_policy::{Call, Description, Event, Failure, NoConfig, Outcome, Policy, Run, Value, json};
use serde::Deserialize;

/// The policy.
pub struct CloudSetup;

opsward_policy::policy!(CloudSetup);

/// Asks for a rule whose events go to a queue; its data is a [`Setup`].
const SETUP: &str = "opsward.source.setup";
/// Asks for a test event; its data is a [`Drill`].
const DRILL: &str = "opsward.source.drill";
/// The source of what a person gives. Senders of events cannot have it.
const A_PERSON: &str = "manual";
/// How the names of rules begin that this policy changes: others are somebody else's.
const RULES: &str = "opsward-";
/// Most names that a pattern of a rule takes; with more the rule takes all events of the product, and the host matches them.
const NAMES_MAX: usize = 50;

impl Policy for CloudSetup {
    type Config = NoConfig;

    fn describe() -> Description {
        Description::new(
            "cloud-setup",
            env!("CARGO_PKG_VERSION"),
            "Makes CloudMonitor's rules that send events to this host's queues, and has it send test events.",
        )
        .on([SETUP, DRILL])
        .asks("cms:PutEventRule", "to make or change the rule that takes the events which policies want")
        .asks("cms:PutEventRuleTargets", "to have the rule send to the queue that this host reads")
        .asks("cms:SendDryRunSystemEvent", "to have a test event sent through the rules")
    }

    fn handle(event: &Event, run: &Run<NoConfig>) -> Result<Outcome, Failure> {
        if event.source != A_PERSON {
            let message = format!(
                "an event of the source {} asks for it: only a person may, at the command line",
                event.source
            );
            return Err(Failure::new("opsward.NotAPerson", message));
        }
        match event.kind.as_str() {
            SETUP => set_up(&event.data()?, run),
            DRILL => drill(&event.data()?, run),
            other => Ok(Outcome::new(format!("nothing to do: {other} is neither {SETUP} nor {DRILL}"))),
        }
    }
}

/// What a rule takes, and where it is to send that.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Setup {
    /// The rule's name.
    rule: String,
    /// Where the rule is.
    region: String,
    /// Whose events: `ECS`.
    product: String,
    /// Their names.
    names: Vec<String>,
    queue: Queue,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Queue {
    name: String,
    region: String,
}

/// Both calls overwrite what is there under the same names, so that asking again changes nothing.
fn set_up(asked: &Setup, run: &Run<NoConfig>) -> Result<Outcome, Failure> {
    let Setup { rule, region, product, names, queue } = asked;
    if !rule.starts_with(RULES) {
        let message = format!("the rule {rule} is not one of this host's: their names begin with {RULES}");
        return Err(Failure::new("opsward.ForeignRule", message));
    }
    let mut pattern = json!({ "Product": product });
    if names.len() <= NAMES_MAX {
        pattern["NameList"] = json!(names);
    }
    let put = Call::new("cms", "PutEventRule")
        .region(region)
        .param("RegionId", region.as_str())
        .param("RuleName", rule.as_str())
        .param("EventType", "SYSTEM")
        .param("State", "ENABLED")
        .param("EventPattern", vec![pattern]);
    let put =
        run.call(put).map_err(|error| Failure::from(error).during(&format!("making the rule {rule}")))?;
    // Always: the same id is overwritten, and reading what is there would show the secrets in the addresses of other targets.
    let target = json!({ "Id": rule, "Queue": queue.name, "Region": queue.region });
    let call = Call::new("cms", "PutEventRuleTargets")
        .region(region)
        .param("RegionId", region.as_str())
        .param("RuleName", rule.as_str())
        .param("MnsParameters", vec![target]);
    let doing = format!("having the rule {rule} send to the queue {}", queue.name);
    let answer = run.call(call).map_err(|error| Failure::from(error).during(&doing))?;
    refused_targets(&answer.json()?, &doing)?;
    let made = if put.simulated { "would make" } else { "made" };
    let summary =
        format!("{made} the rule {rule} for {}; its target: the queue {}", taken(names), queue.name);
    Ok(Outcome::new(summary).details(&json!({ "rule": rule, "queue": queue.name, "names": names })))
}

fn taken(names: &[String]) -> String {
    match names.len() {
        1 => "1 event".to_owned(),
        some if (2..=NAMES_MAX).contains(&some) => format!("{some} events"),
        _ => "all events".to_owned(),
    }
}

/// CloudMonitor answers a target that it does not take, such as a queue that is not there, with success and a list.
fn refused_targets(answer: &Value, doing: &str) -> Result<(), Failure> {
    let count = &answer["FailedParameterCount"];
    let is_none = ["0", ""].iter().any(|none| count == none) || count == 0 || count.is_null();
    let refused = answer["FailedMnsParameters"]["MnsParameter"].as_array().is_some_and(|all| !all.is_empty());
    if is_none && !refused {
        return Ok(());
    }
    let message = format!("{doing}: CloudMonitor does not take it; is there such a queue in that region?");
    Err(Failure::new("opsward.TargetRefused", message))
}

/// A test event.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Drill {
    region: String,
    product: String,
    /// Its name.
    name: String,
    /// What is sent.
    content: Value,
}

fn drill(asked: &Drill, run: &Run<NoConfig>) -> Result<Outcome, Failure> {
    let Drill { region, product, name, content } = asked;
    let call = Call::new("cms", "SendDryRunSystemEvent")
        .region(region)
        .param("RegionId", region.as_str())
        .param("Product", product.as_str())
        .param("EventName", name.as_str())
        .param("EventContent", content.to_string());
    let answer =
        run.call(call).map_err(|error| Failure::from(error).during(&format!("sending a test of {name}")))?;
    let sent = if answer.simulated { "would send" } else { "sent" };
    let details = json!({ "event": name, "request": answer.request_id });
    Ok(Outcome::new(format!("{sent} a test of {name} through the rules")).details(&details))
}

//! System events of simulated ECS instances: what happens to the instance, and the CloudMonitor notifications about it,
//! several per incident, for the subscribers and the targets of rules. Leaves taking them there to `deliver`. Shapes as in the documents' samples
//! (`tests/events`). Tested by `tests/tests/it/sim.rs`.

use crate::clock::china_compact;
use crate::ecs_history::Remembered;
use crate::server::Simulator;
use crate::state::{EcsInstance, EcsStatus};
use crate::{deliver, ecs};
use opsward_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Who is told of events.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subscriber {
    /// An address, `mns:<queue>` or `sls:<log store>`.
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) form: Form,
}

/// Forms of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    /// As pushed to functions and queues.
    #[default]
    #[serde(alias = "alibaba-cloudmonitor")]
    Cloudmonitor,
    /// The older content with `ecsInstanceId`.
    CloudmonitorOld,
    /// As posted to a callback URL: `content` is a JSON text.
    UrlCallback,
}

/// The subscribers.
#[derive(Default)]
pub(crate) struct Subscribers(Mutex<Vec<Subscriber>>);

impl Subscribers {
    pub(crate) fn add(&self, subscriber: Subscriber) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn all(&self) -> Vec<Subscriber> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is to happen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmitRequest {
    instance: String,
    /// `SystemFailure.Reboot`; `Instance:` may stand before it, and after it the status the incident stops at.
    event: String,
    /// How often each notification is posted: pushes arrive at least once.
    #[serde(default = "one")]
    copies: u8,
}

fn one() -> u8 {
    1
}

/// Why nothing was emitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmitError {
    #[error("there is no ECS instance `{0}`")]
    UnknownInstance(String),
    #[error("`{0}` is no event that is simulated: {KNOWN}")]
    UnknownEvent(String),
    #[error("`{0}` is no status of this event")]
    UnknownStatus(String),
    #[error("cannot make an HTTP client")]
    Client(#[from] reqwest::Error),
}

const KNOWN: &str = "SystemFailure.{Reboot,Redeploy,Stop}, SystemMaintenance.{Reboot,Redeploy,Stop}, \
                     InstanceFailure.Reboot";

/// How grave all of them are.
const LEVEL: &str = "CRITICAL";

/// What was posted.
#[derive(Debug, Serialize)]
pub(crate) struct Emitted {
    /// The id that all notifications share.
    incident: String,
    posted: Vec<Posted>,
}

#[derive(Debug, Serialize)]
struct Posted {
    url: String,
    name: String,
    body: Value,
    /// One for each try: an HTTP status, or what went wrong.
    answers: Vec<Value>,
}

/// Lets the event happen and tells the subscribers; returns when it is over.
pub(crate) async fn emit(sim: &Simulator, request: &EmitRequest) -> Result<Emitted, EmitError> {
    let happening = Happening::parse(&request.event)?;
    let instance = instance(sim, &request.instance)?;
    let client = deliver::client()?;
    let incident = sim.ids.resource("e-bp1", 17);
    let started = sim.clock.now();
    let mut emitted = Emitted { incident: incident.clone(), posted: Vec::new() };
    for status in &happening.statuses {
        if *status == "Executing" {
            let settle_ms = begin(sim, &request.instance, happening.effect);
            push_all(sim, &client, request, &happening, &instance, (started, status), &mut emitted).await;
            tokio::time::sleep(Duration::from_millis(settle_ms)).await;
            continue;
        }
        push_all(sim, &client, request, &happening, &instance, (started, status), &mut emitted).await;
    }
    Ok(emitted)
}

/// What an event does, and the notifications about it.
struct Happening {
    /// `SystemFailure.Reboot`
    kind: String,
    effect: Effect,
    statuses: Vec<&'static str>,
}

#[derive(Clone, Copy)]
enum Effect {
    Restart,
    Stop,
}

impl Happening {
    fn parse(event: &str) -> Result<Self, EmitError> {
        let unknown = || EmitError::UnknownEvent(event.chars().take(100).collect());
        let named = event.strip_prefix("Instance:").unwrap_or(event);
        let (kind, status) =
            named.split_once(':').map_or((named, None), |(kind, status)| (kind, Some(status)));
        let statuses = match kind.split_once('.') {
            Some(("SystemMaintenance", "Reboot" | "Redeploy" | "Stop")) => {
                vec!["Scheduled", "Executing", "Executed"]
            }
            Some(("SystemFailure", "Reboot" | "Redeploy" | "Stop")) | Some(("InstanceFailure", "Reboot")) => {
                vec!["Executing", "Executed"]
            }
            _ => return Err(unknown()),
        };
        let statuses = match status {
            None => statuses,
            Some(wanted) => match statuses.iter().position(|status| *status == wanted) {
                Some(last) => statuses[..=last].to_vec(),
                None => return Err(EmitError::UnknownStatus(wanted.chars().take(100).collect())),
            },
        };
        let effect = if kind.ends_with(".Stop") { Effect::Stop } else { Effect::Restart };
        Ok(Self { kind: kind.to_owned(), effect, statuses })
    }
}

fn instance(sim: &Simulator, id: &str) -> Result<EcsInstance, EmitError> {
    let found = sim.cloud().world.alibaba.instances.get(id).cloned();
    found.ok_or_else(|| EmitError::UnknownInstance(id.chars().take(100).collect()))
}

/// Starts what the event does; returns how long it takes, milliseconds.
fn begin(sim: &Simulator, id: &str, effect: Effect) -> u64 {
    let now = sim.clock.now();
    let mut cloud = sim.cloud();
    let settle = cloud.world.settle;
    let Some(instance) = cloud.world.alibaba.instances.get_mut(id) else { return 0 };
    let settle_ms = match effect {
        Effect::Restart => {
            ecs::reboot(instance, now, settle.reboot_ms);
            settle.reboot_ms
        }
        Effect::Stop => {
            instance.status.enter(now, EcsStatus::Stopping, [(settle.stop_ms, EcsStatus::Stopped)]);
            settle.stop_ms
        }
    };
    cloud.fail_snapshots_of(id, now);
    settle_ms
}

async fn push_all(
    sim: &Simulator,
    client: &reqwest::Client,
    request: &EmitRequest,
    happening: &Happening,
    instance: &EcsInstance,
    (started, status): (Timestamp, &str),
    emitted: &mut Emitted,
) {
    let notification = Notification {
        id: sim.ids.request_id_upper(),
        account: sim.cloud().world.alibaba.account_id.clone(),
        instance_id: &request.instance,
        instance,
        incident: &emitted.incident,
        kind: &happening.kind,
        status,
        started,
        now: sim.clock.now(),
    };
    sim.cloud().remember(Remembered {
        incident: emitted.incident.clone(),
        instance: request.instance.clone(),
        region: instance.region.clone(),
        kind: happening.kind.clone(),
        status: status.to_owned(),
        published: started,
        changed: sim.clock.now(),
    });
    let mut posted = Vec::new();
    let by_rules = sim.cloud().told_of("ECS", &notification.name(), LEVEL);
    for subscriber in sim.subscribers.all().into_iter().chain(by_rules) {
        let body = notification.body(subscriber.form);
        for _ in 0..request.copies {
            let answers = deliver::deliver(sim, client, &subscriber.url, &body).await;
            let (url, name) = (subscriber.url.clone(), notification.name());
            posted.push(Posted { url, name, body: body.clone(), answers });
        }
    }
    emitted.posted.extend(posted);
}

/// One notification, in whatever form it is sent.
struct Notification<'a> {
    id: String,
    account: String,
    instance_id: &'a str,
    instance: &'a EcsInstance,
    incident: &'a str,
    kind: &'a str,
    status: &'a str,
    started: Timestamp,
    now: Timestamp,
}

impl Notification<'_> {
    fn name(&self) -> String {
        format!("Instance:{}:{}", self.kind, self.status)
    }

    fn body(&self, form: Form) -> Value {
        let content = match form {
            Form::CloudmonitorOld => self.old_content(),
            Form::Cloudmonitor | Form::UrlCallback => self.content(),
        };
        let content = if form == Form::UrlCallback { json!(content.to_string()) } else { content };
        json!({
            "ver": "1.0",
            "id": self.id,
            "product": "ECS",
            "resourceId": format!("acs:ecs:{}:{}:instance/{}", self.instance.region, self.account, self.instance_id),
            "level": LEVEL,
            "instanceName": self.instance.name,
            "status": self.status,
            "name": self.name(),
            "userId": self.account,
            "eventTime": china_compact(self.now),
            "regionId": self.instance.region,
            "content": content,
        })
    }

    fn content(&self) -> Value {
        let mut content = json!({
            "eventId": self.incident,
            "instanceId": self.instance_id,
            "eventType": self.kind,
            "eventStatus": self.status,
            "publishTime": self.started.to_iso_seconds(),
            "notBefore": self.started.to_iso_seconds(),
        });
        self.add_times(&mut content);
        content
    }

    fn old_content(&self) -> Value {
        let mut content = json!({
            "eventId": self.incident,
            "ecsInstanceId": self.instance_id,
            "ecsInstanceName": self.instance.name,
            "eventType": self.kind,
        });
        self.add_times(&mut content);
        content
    }

    fn add_times(&self, content: &mut Value) {
        if self.status != "Scheduled" {
            content["executeStartTime"] = self.started.to_iso_seconds().into();
        }
        if self.status == "Executed" {
            content["executeFinishTime"] = self.now.to_iso_seconds().into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_with_or_without_type_and_status() {
        for (event, kind, statuses) in [
            ("SystemFailure.Reboot", "SystemFailure.Reboot", "Executing Executed"),
            ("Instance:SystemFailure.Reboot:Executed", "SystemFailure.Reboot", "Executing Executed"),
            ("SystemFailure.Reboot:Executing", "SystemFailure.Reboot", "Executing"),
            ("SystemMaintenance.Stop", "SystemMaintenance.Stop", "Scheduled Executing Executed"),
        ] {
            let happening = Happening::parse(event).expect(event);
            assert_eq!((happening.kind.as_str(), happening.statuses.join(" ").as_str()), (kind, statuses));
        }
        for wrong in ["Reboot", "SystemFailure.Party", "SystemFailure.Reboot:Dancing", ""] {
            assert!(Happening::parse(wrong).is_err(), "{wrong}");
        }
    }
}

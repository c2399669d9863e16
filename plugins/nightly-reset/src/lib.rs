//! Reinstalls one Tencent Cloud machine from a pinned image whenever it is woken, by a schedule as a rule, and is done
//! when the machine has settled. Leaves the times, and never resetting twice, to the host. Tested natively against the
//! SDK's fake host, in `tests/`.

use opsward_policy::{Call, Description, Event, Failure, Outcome, Policy, Response, Run, Value, json};
use serde::Deserialize;
use std::time::Duration;

/// The policy.
pub struct NightlyReset;

opsward_policy::policy!(NightlyReset);

/// The operator's settings.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The machine to reinstall: `ins-...`.
    instance_id: String,
    /// The image to reinstall it from: `img-...`. Required, so that every night starts from the same one.
    image_id: String,
    /// Where the machine is: `ap-shanghai`.
    region: String,
    /// How to log in afterwards. Without it the cloud sets a random password and sends it by site message.
    login: Option<Login>,
}

/// Exactly one of these.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Login {
    /// SSH key pairs: `skey-...`. Not for Windows.
    key_ids: Option<Vec<String>>,
    /// `{ secret = "name" }`: a password the host knows under a name. Taken as it comes, so that one written here by
    /// mistake is not repeated in the message about it.
    password: Option<Value>,
    /// `true`: as the image has it. Legal with custom, shared and imported images only.
    keep_image_login: Option<bool>,
}

impl Policy for NightlyReset {
    type Config = Config;

    fn describe() -> Description {
        Description::new(
            "nightly-reset",
            env!("CARGO_PKG_VERSION"),
            "Reinstalls one CVM instance from a pinned image and waits until it has settled.",
        )
        .asks("cvm:ResetInstance", "to reinstall the instance from its image, which erases its system disk")
        .asks("cvm:DescribeInstances", "to see when the reinstalled instance has settled")
        .config_schema(include_str!("../config.schema.json"))
    }

    fn handle(event: &Event, run: &Run<Config>) -> Result<Outcome, Failure> {
        let config = run.config();
        let reset = reset(event, config)?;
        let response = run
            .call(reset)
            .map_err(|error| Failure::from(error).during(&format!("resetting {}", config.instance_id)))?;
        wait_until_settled(&response, run)
    }
}

fn reset(event: &Event, config: &Config) -> Result<Call, Failure> {
    let required = [
        ("instance-id", &config.instance_id, "ins-", "ins-1a2b3c4d"),
        ("image-id", &config.image_id, "img-", "img-1a2b3c4d"),
        ("region", &config.region, "", "ap-shanghai"),
    ];
    for (key, value, start, example) in required {
        if value.is_empty() || !value.starts_with(start) {
            return Err(invalid(&format!("config.{key}: \"{value}\" is none; write it as in \"{example}\"")));
        }
    }
    let call = Call::new("cvm", "ResetInstance")
        .region(&config.region)
        .param("InstanceId", config.instance_id.as_str())
        .param("ImageId", config.image_id.as_str())
        .once(format!("{}/{}", event.id, config.instance_id));
    match &config.login {
        Some(login) => Ok(call.param("LoginSettings", login.settings()?)),
        None => Ok(call),
    }
}

impl Login {
    /// Tencent's LoginSettings, which takes exactly one of its fields.
    fn settings(&self) -> Result<Value, Failure> {
        match (&self.key_ids, &self.password, self.keep_image_login) {
            (Some(keys), None, None) if keys.is_empty() => {
                Err(invalid("config.login.key-ids: name at least one key, or leave out login"))
            }
            (Some(keys), None, None) => Ok(json!({ "KeyIds": keys })),
            (None, Some(password), None) => match password["secret"].as_str() {
                // The host puts the password in this place just before it signs.
                Some(name) => Ok(json!({ "Password": Call::secret(name) })),
                None => Err(invalid(
                    "config.login.password: write { secret = \"name\" }, never the password itself",
                )),
            },
            // The vendor wants this boolean as a string.
            (None, None, Some(true)) => Ok(json!({ "KeepImageLogin": "TRUE" })),
            (None, None, Some(false)) => {
                Err(invalid("config.login.keep-image-login: write true, or leave out login"))
            }
            _ => Err(invalid("config.login: takes exactly one of key-ids, password, keep-image-login")),
        }
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new("opsward.InvalidConfig", message)
}

/// The call returns when the reset begins. It is over when the machine's latest operation is this very reset, has
/// succeeded, and the machine is no longer on its way: `SUCCESS` is reported while it still stops or starts.
fn wait_until_settled(reset: &Response, run: &Run<Config>) -> Result<Outcome, Failure> {
    let (config, request_id) = (run.config(), reset.request_id.as_str());
    let give_up = run.now() + SETTLE_TIME_MAX;
    let mut pause = PAUSE_FIRST;
    let mut last_seen = String::from("nothing was seen of it");
    loop {
        run.sleep(pause);
        pause = (pause + PAUSE_STEP).min(PAUSE_MAX);
        match look(run)? {
            Some(machine) if machine.has_failed(request_id) => {
                let message = match &machine.latest_operation_error_msg {
                    Some(reason) if !reason.is_empty() => reason.as_str(),
                    _ => "the cloud gives no reason",
                };
                return Err(Failure::new(
                    "opsward.ResetFailed",
                    format!("resetting {}: {message}", config.instance_id),
                )
                .details(&details(config, request_id, Some(&machine))));
            }
            Some(machine) if machine.has_settled(request_id) => {
                let did = if reset.simulated { "would reset" } else { "reset" };
                let summary = format!(
                    "{did} {} from {}; it is {}",
                    config.instance_id, config.image_id, machine.instance_state
                );
                return Ok(Outcome::new(summary).details(&details(config, request_id, Some(&machine))));
            }
            Some(machine) => last_seen = machine.last_seen(),
            None => {}
        }
        if run.now() >= give_up {
            let minutes = SETTLE_TIME_MAX.as_secs() / 60;
            let message = format!("{} has not settled in {minutes} min: {last_seen}", config.instance_id);
            return Err(
                Failure::new("opsward.NotSettled", message).details(&details(config, request_id, None))
            );
        }
    }
}

/// The machine, or nothing where the cloud cannot say just now: the reset goes on meanwhile.
fn look(run: &Run<Config>) -> Result<Option<Machine>, Failure> {
    let config = run.config();
    let doing = format!("{} is being reset, but cannot be watched", config.instance_id);
    let call = Call::new("cvm", "DescribeInstances")
        .region(&config.region)
        .param("InstanceIds", vec![config.instance_id.as_str()]);
    let answer: Machines = match run.call(call).and_then(|response| response.parse()) {
        Ok(answer) => answer,
        Err(error) if error.retryable => {
            run.warn(format!("{doing}: {error}"));
            return Ok(None);
        }
        Err(error) => return Err(Failure::from(error).during(&doing)),
    };
    match answer.instance_set.into_iter().find(|machine| machine.instance_id == config.instance_id) {
        Some(machine) => Ok(Some(machine)),
        None => Err(Failure::new("opsward.InstanceGone", format!("{doing}: the cloud no longer lists it"))),
    }
}

fn details(config: &Config, request_id: &str, machine: Option<&Machine>) -> Value {
    json!({
        "instance": config.instance_id,
        "image": config.image_id,
        "region": config.region,
        "request": request_id,
        "state": machine.map(|machine| machine.instance_state.as_str()),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Machines {
    instance_set: Vec<Machine>,
}

/// The fields are null until the machine has seen an operation.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Machine {
    instance_id: String,
    instance_state: String,
    latest_operation: Option<String>,
    latest_operation_state: Option<String>,
    latest_operation_request_id: Option<String>,
    latest_operation_error_msg: Option<String>,
}

impl Machine {
    fn operation_of(&self, request_id: &str) -> Option<&str> {
        let is_reset = self.latest_operation.as_deref() == Some("ResetInstance");
        let is_ours = self.latest_operation_request_id.as_deref() == Some(request_id);
        if is_reset && is_ours { self.latest_operation_state.as_deref() } else { None }
    }

    fn has_failed(&self, request_id: &str) -> bool {
        self.operation_of(request_id) == Some("FAILED")
    }

    fn has_settled(&self, request_id: &str) -> bool {
        let at_rest = ["RUNNING", "STOPPED"].contains(&self.instance_state.as_str());
        at_rest && self.operation_of(request_id) == Some("SUCCESS")
    }

    fn last_seen(&self) -> String {
        format!(
            "last seen {}, latest operation {} {} (request {})",
            self.instance_state,
            self.latest_operation.as_deref().unwrap_or("none"),
            self.latest_operation_state.as_deref().unwrap_or("-"),
            self.latest_operation_request_id.as_deref().unwrap_or("-"),
        )
    }
}

/// A reset takes a minute or more; the first looks are close together for small machines.
const PAUSE_FIRST: Duration = Duration::from_secs(2);
const PAUSE_STEP: Duration = Duration::from_secs(4);
/// Two looks a minute are far from the cloud's limit of 40 a second.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// No reset is known to take this long: past it a person should look.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60 * 60);

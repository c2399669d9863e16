//! A fake host for native tests of a policy's logic. It answers calls as the test scripts them, keeps the natural keys
//! and permissions of the real host, and turns its clock by sleeping. What a sandbox does to a policy is not shown here.

use crate::{Call, CallError, Entry, Event, Failure, Level, Mode, Outcome, Policy, Response, dispatch};
use reply::Reply;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) mod imports;
pub mod reply;

/// A host that answers as the test says. Events can be handled one after another; state, natural keys and clock stay.
///
/// ```
/// use opsward_policy::testing::{FakeHost, event};
/// use opsward_policy::{Call, CallError, Description, ErrorKind, Event, Failure, NoConfig, Outcome, Policy, Run, json};
///
/// struct Starter;
/// impl Policy for Starter {
///     type Config = NoConfig;
///     fn describe() -> Description {
///         Description::new("starter", "0.1.0", "Starts what stopped.").asks("ecs:StartInstance", "to start it")
///     }
///     fn handle(event: &Event, run: &Run<NoConfig>) -> Result<Outcome, Failure> {
///         let id = event.first_text(&["/content/resourceId"]).unwrap_or_default();
///         run.call(Call::new("ecs", "StartInstance").param("InstanceId", id))?;
///         Ok(Outcome::new("started"))
///     }
/// }
///
/// let stopped = event("Instance:StateChange", json!({ "content": { "resourceId": "i-1" } }));
///
/// let host = FakeHost::new().on("ecs:StartInstance", |_| json!({ "RequestId": "r-1" }));
/// assert_eq!(host.handle::<Starter>(&stopped).expect("handled").summary, "started");
/// assert_eq!(host.calls()[0].params["InstanceId"], "i-1");
///
/// let locked = CallError::new(ErrorKind::Failed, "InstanceLockedForSecurity", "locked");
/// let host = FakeHost::new().fail("ecs:StartInstance", locked);
/// assert_eq!(host.handle::<Starter>(&stopped).expect_err("fails").code, "InstanceLockedForSecurity");
/// ```
#[derive(Clone)]
pub struct FakeHost {
    world: Rc<RefCell<World>>,
}

impl FakeHost {
    /// A host in mode `enforce` with an empty config, on 1 January 2026, that knows no action yet.
    pub fn new() -> Self {
        Self {
            world: Rc::new(RefCell::new(World {
                config: json!({}),
                mode: Mode::Enforce,
                attempt: 1,
                now: UNIX_EPOCH + START,
                asked: Vec::new(),
                scripts: BTreeMap::new(),
                done: BTreeMap::new(),
                calls: Vec::new(),
                sleeps: Vec::new(),
                logs: Vec::new(),
                state: BTreeMap::new(),
            })),
        }
    }

    /// Sets the operator's config.
    pub fn config(self, config: Value) -> Self {
        self.world.borrow_mut().config = config;
        self
    }

    /// Sets how effects are treated. In `dry-run` an action that does not begin with Describe, Get or List is not
    /// answered by the script but by the simulated reply `{}`.
    pub fn mode(self, mode: Mode) -> Self {
        self.world.borrow_mut().mode = mode;
        self
    }

    /// Sets which try of the run it is.
    pub fn attempt(self, attempt: u32) -> Self {
        self.world.borrow_mut().attempt = attempt;
        self
    }

    /// Answers an action, `service:Action`, by what the script makes of its parameters: a JSON value, a [`CallError`], or
    /// a `Result` of the two. The last script for an action counts.
    pub fn on<R: Into<Reply>>(self, action: &str, mut script: impl FnMut(&Value) -> R + 'static) -> Self {
        let script: Script = Rc::new(RefCell::new(move |params: &Value| script(params).into()));
        self.world.borrow_mut().scripts.insert(action.to_owned(), script);
        self
    }

    /// Lets every call of an action fail.
    pub fn fail(self, action: &str, error: CallError) -> Self {
        self.on(action, move |_| error.clone())
    }

    /// Writes into the policy's store.
    pub fn with_state(self, key: &str, value: impl AsRef<[u8]>) -> Self {
        let entry = Entry { value: value.as_ref().to_vec(), version: 1 };
        self.world.borrow_mut().state.insert(key.to_owned(), entry);
        self
    }

    /// Lets the policy work on an event.
    ///
    /// # Errors
    /// What the policy answers.
    ///
    /// # Panics
    /// Where the policy calls an action that no script answers.
    pub fn handle<P: Policy>(&self, event: &Event) -> Result<Outcome, Failure> {
        let config = {
            let mut world = self.world.borrow_mut();
            world.asked = P::describe().permissions.into_iter().map(|asked| asked.action).collect();
            world.config.to_string()
        };
        let _entered = imports::enter(Rc::clone(&self.world));
        dispatch::<P>(event, &config)
    }

    /// The calls that reached the cloud so far: not those denied, simulated, or answered from a natural key.
    pub fn calls(&self) -> Vec<Call> {
        self.world.borrow().calls.clone()
    }

    /// The calls of one action, `service:Action`, that reached the cloud so far.
    pub fn calls_of(&self, action: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.name() == action).collect()
    }

    /// How long the policy slept, nap by nap.
    pub fn sleeps(&self) -> Vec<Duration> {
        self.world.borrow().sleeps.clone()
    }

    /// The lines the policy wrote.
    pub fn logs(&self) -> Vec<(Level, String)> {
        self.world.borrow().logs.clone()
    }

    /// What the policy's store holds under a key.
    pub fn state(&self, key: &str) -> Option<Vec<u8>> {
        self.world.borrow().state.get(key).map(|entry| entry.value.clone())
    }
}

impl Default for FakeHost {
    fn default() -> Self {
        Self::new()
    }
}

/// An event of a type with a body, otherwise empty: set the other fields as the test needs them.
pub fn event(kind: &str, data: Value) -> Event {
    Event {
        id: "event-1".into(),
        source: "test".into(),
        kind: kind.into(),
        subject: None,
        time: UNIX_EPOCH + START,
        data: data.to_string(),
        incident: None,
        account: None,
        region: None,
    }
}

type Script = Rc<RefCell<dyn FnMut(&Value) -> Reply>>;

pub(crate) struct World {
    config: Value,
    mode: Mode,
    attempt: u32,
    now: SystemTime,
    asked: Vec<String>,
    scripts: BTreeMap<String, Script>,
    /// Answers of successful effects by action and natural key.
    done: BTreeMap<(String, String), Response>,
    calls: Vec<Call>,
    sleeps: Vec<Duration>,
    logs: Vec<(Level, String)>,
    state: BTreeMap<String, Entry>,
}

/// 2026-01-01T00:00:00Z since the epoch.
const START: Duration = Duration::from_secs(1_767_225_600);

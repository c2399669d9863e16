//! One cloud API call, its answer, and why it did not succeed. The host signs, sends and records it.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt;

/// One cloud API call, to be built up and handed to [`Run::call`](crate::Run::call).
///
/// ```
/// # use opsward_policy::Call;
/// let call = Call::new("ecs", "CreateSnapshot")
///     .region("cn-hangzhou")
///     .param("DiskId", "d-1")
///     .param("RetentionDays", 7)
///     .once("e-1/d-1");
/// assert_eq!(call.name(), "ecs:CreateSnapshot");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a call does nothing until it is handed to `Run::call`"]
pub struct Call {
    /// Product code in lower case: `ecs`, `cvm`.
    pub service: String,
    /// The vendor's action name: `CreateSnapshot`.
    pub action: String,
    /// Region of the endpoint; empty takes the account's default.
    pub region: String,
    /// A JSON object in the vendor's names.
    pub params: Value,
    /// The effect's natural key; see [`Call::once`].
    pub once: Option<String>,
}

impl Call {
    /// Starts a call without region and parameters.
    pub fn new(service: &str, action: &str) -> Self {
        Self {
            service: service.into(),
            action: action.into(),
            region: String::new(),
            params: json!({}),
            once: None,
        }
    }

    /// Sets the region of the endpoint. Some vendors want it as a parameter as well.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets one parameter, named as the vendor names it. Lists and objects may nest; the host flattens them.
    pub fn param(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params[name] = value.into();
        self
    }

    /// What stands for one of the host's secrets in a parameter. The secret itself never enters the policy: the host puts
    /// it in this place just before it signs.
    ///
    /// ```
    /// # use opsward_policy::{Call, json};
    /// let login = json!({ "Password": Call::secret("nightly-password") });
    /// let call = Call::new("cvm", "ResetInstance").param("LoginSettings", login);
    /// ```
    pub fn secret(name: &str) -> Value {
        json!({ "$secret": name })
    }

    /// Gives the effect a natural key, such as incident plus disk. For at least 30 days the same key never takes effect
    /// twice for this policy and action, whatever event asks; the second asker gets the first's answer, or a retryable
    /// `opsward.OnceInFlight` while there is none. An effect that fails frees its key. Reads and dry runs ignore it.
    pub fn once(mut self, key: impl Into<String>) -> Self {
        self.once = Some(key.into());
        self
    }

    /// `service:Action`, as permissions and grants are written.
    pub fn name(&self) -> String {
        format!("{}:{}", self.service, self.action)
    }
}

/// The answer of a call that the cloud carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The vendor's request id.
    pub request_id: String,
    /// The vendor's answer as JSON text (for Tencent the object inside `Response`).
    pub body: String,
    /// True where the host made the answer up because the policy's mode is `dry-run`. Such an answer has no ids.
    pub simulated: bool,
}

impl Response {
    /// The answer as a JSON value.
    ///
    /// # Errors
    /// `opsward.InvalidAnswer` where it is no JSON.
    pub fn json(&self) -> Result<Value, CallError> {
        self.parse()
    }

    /// The answer as a type of the policy's own.
    ///
    /// # Errors
    /// `opsward.InvalidAnswer` where it has another shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_str(&self.body).map_err(|error| CallError {
            request_id: Some(self.request_id.clone()),
            ..CallError::new(ErrorKind::Failed, "opsward.InvalidAnswer", error.to_string())
        })
    }
}

/// Why a call did not succeed. `?` turns it into a [`Failure`](crate::Failure) with the vendor's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// What sort of failure it is.
    pub kind: ErrorKind,
    /// The vendor's error code, or an `opsward.*` code where the host refused.
    pub code: String,
    /// The vendor's message, or the host's.
    pub message: String,
    /// The vendor's request id.
    pub request_id: Option<String>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
}

impl CallError {
    /// An error as the host would report it; retryable where its kind says so.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        let retryable = matches!(kind, ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Conflict);
        Self { kind, code: code.into(), message: message.into(), request_id: None, retryable }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CallError {}

/// Sorts of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Not granted to this policy, or refused by a guardrail. The cloud was not asked.
    Denied,
    /// The request is wrong.
    Invalid,
    /// The named resource does not exist.
    NotFound,
    /// The resource is in a state that does not allow it, or another operation is running on it.
    Conflict,
    /// The cloud limits the rate, and the host's patience is used up.
    Throttled,
    /// The cloud, or the way to it, is failing.
    Unavailable,
    /// The cloud refuses the host's credentials or their permissions.
    Unauthorized,
    /// The cloud refused for another reason; see the code.
    Failed,
}

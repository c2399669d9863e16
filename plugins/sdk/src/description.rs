//! Who a policy is and what it asks for; the operator sees it before the policy may do anything.

/// Who a policy is. See `wit/policy.wit`, `description`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The plugin's name: lower-case letters, digits and hyphens.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// Event types it handles when the operator's file has no `on`; `*` stands for any run of characters.
    pub types: Vec<String>,
    /// Everything it may call. A call outside this list is denied even where the operator granted it.
    pub permissions: Vec<Permission>,
    /// JSON Schema of its `config`, or empty where it takes none.
    pub config_schema: String,
}

/// One thing a policy wants to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// `service:Action`.
    pub action: String,
    /// Why, in one sentence an operator can judge.
    pub reason: String,
}

impl Description {
    /// A policy that handles nothing by default and may call nothing. Pass `env!("CARGO_PKG_VERSION")` as the version.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            types: Vec::new(),
            permissions: Vec::new(),
            config_schema: String::new(),
        }
    }

    /// Proposes event types to handle.
    pub fn on<'a>(mut self, types: impl IntoIterator<Item = &'a str>) -> Self {
        self.types.extend(types.into_iter().map(String::from));
        self
    }

    /// Asks for one action, `service:Action`, with the reason the operator will read.
    pub fn asks(mut self, action: &str, reason: &str) -> Self {
        self.permissions.push(Permission { action: action.into(), reason: reason.into() });
        self
    }

    /// Sets the JSON Schema of the config, for instance by `include_str!("config.schema.json")`.
    pub fn config_schema(mut self, schema: &str) -> Self {
        self.config_schema = schema.into();
        self
    }
}

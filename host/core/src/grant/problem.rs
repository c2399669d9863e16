//! What may be wrong with an `[[allow]]` entry, and what to write instead. Leaves finding it to `compile`, which tests the texts.

use super::window::WindowError;
use crate::catalog::Class;

/// A fault of one `[[allow]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantFinding {
    /// Which entry, from 0.
    pub entry: usize,
    /// The key it is about.
    pub key: &'static str,
    /// Which element of the key's list, where it is about one.
    pub element: Option<usize>,
    /// What is wrong.
    pub problem: GrantProblem,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantProblem {
    /// Not of the form `service:Action`.
    #[error("`{0}` does not name an action")]
    Malformed(String),
    /// The service is not in the catalog; a warning.
    #[error("`{service}` is no service of {provider} that this release knows")]
    UnknownService {
        /// As written.
        service: String,
        /// The vendor.
        provider: &'static str,
        /// A known one that is near.
        nearest: Option<&'static str>,
    },
    /// The host has no client for what the service speaks; a warning.
    #[error("`{0}` is a REST call, and the host has no client for these yet")]
    NotSpoken(String),
    /// The action is not in the catalog though its service is; a warning.
    #[error("`{action}` is not in the catalog; it counts as class {}", .class.as_str())]
    UnknownAction {
        /// As written.
        action: String,
        /// What it counts as.
        class: Class,
        /// A known one that is near.
        nearest: Option<String>,
    },
    /// A pattern that is not confined to reads.
    #[error("`{0}` may cover actions that change something")]
    OpenEffect(String),
    /// A call that answers with credentials.
    #[error("`{0}` answers with credentials, which never enter a policy")]
    Credentials(String),
    /// Any resource, for what is granted for named ones only.
    #[error("`{action}` is {why}, so it is granted for named resources only")]
    Unnamed {
        /// The action.
        action: String,
        /// Why it is so strict.
        why: String,
    },
    /// A pattern of ids, for what is granted for named resources only.
    #[error("`{action}` is {why}, so `{resource}` must be one resource's id")]
    Pattern {
        /// The action.
        action: String,
        /// Why it is so strict, in short.
        why: &'static str,
        /// As written.
        resource: String,
    },
    /// A selector that leaves nothing out, for what is granted for named resources only.
    #[error("`{action}` is {why}, and `{selector}` leaves nothing out")]
    OpenSelector {
        /// The action.
        action: String,
        /// Why it is so strict, in short.
        why: &'static str,
        /// As written.
        selector: String,
    },
    /// A selector over what no read shows.
    #[error("no read shows the tags of what `{0}` acts on")]
    Unreadable(String),
    /// A selector without a condition.
    #[error("an empty selector selects nothing")]
    EmptySelector,
    /// No quota.
    #[error("{0}")]
    BadLimit(String),
    /// A quota of an action that changes nothing.
    #[error("`{0}` is a read: only effects are counted")]
    LimitedRead(String),
    /// A read that is to be confirmed.
    #[error("`{0}` is a read: only what effects act on is confirmed")]
    ConfirmedRead(String),
    /// Two quotas of one action.
    #[error("`{0}` has a limit already, and it is of the action, not of one entry")]
    LimitedTwice(String),
    /// No window.
    #[error("{0}")]
    Window(#[from] WindowError),
    /// Resources for an action that takes none.
    #[error("a call of `{0}` names no resource, so this entry allows nothing")]
    NoResources(String),
    /// An empty list.
    #[error("an empty list allows nothing")]
    Empty,
    /// No region name.
    #[error("`{0}` is not a region")]
    BadRegion(String),
    /// No resource id.
    #[error("`{0}` is not a resource id")]
    BadResource(String),
}

impl GrantProblem {
    /// Whether the entry works all the same.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::UnknownService { .. } | Self::UnknownAction { .. } | Self::NotSpoken(_))
    }

    /// What to write instead.
    pub fn fix(&self) -> String {
        match self {
            Self::Malformed(_) => "write `service:Action`, such as `ecs:CreateSnapshot`".into(),
            Self::UnknownService { nearest: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::UnknownAction { nearest: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::UnknownService { .. } | Self::NotSpoken(_) => "its calls will be refused".into(),
            Self::UnknownAction { .. } => "check the spelling".into(),
            Self::OpenEffect(_) => {
                "name each action; only reads may end in `*`: `Describe*`, `Get*`, `List*`".into()
            }
            Self::Credentials(_) => "remove this entry".into(),
            Self::Unnamed { .. } => "add `resource = [\"...\"]` with the ids it may act on".into(),
            Self::Pattern { .. } => {
                "write out each id, or select by what a read shows: `{ tag = { env = \"lab\" } }`".into()
            }
            Self::OpenSelector { .. } => "say what its resources have in common, such as a tag".into(),
            Self::Unreadable(_) => "write out each id".into(),
            Self::EmptySelector => "write one of `tag`, `name`, `charge-type` and `group`".into(),
            Self::Window(_) | Self::BadLimit(_) => String::new(),
            Self::LimitedRead(_) => "leave `limit` out".into(),
            Self::ConfirmedRead(_) => "leave `confirm` out".into(),
            Self::LimitedTwice(_) => "write it in one of the entries".into(),
            Self::NoResources(_) => "leave `resource` out".into(),
            Self::Empty => "leave the key out to allow any, or name some".into(),
            Self::BadRegion(_) => {
                "write each region out, such as `cn-hangzhou`; leave `region` out for any".into()
            }
            Self::BadResource(_) => "write an id such as `i-bp1` or a pattern such as `i-bp1*`".into(),
        }
    }
}

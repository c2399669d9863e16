//! The kill switch: a person halts one policy or all, and nothing is sent until a person resumes them. Pure: whom a halt
//! stops. Leaves keeping it to the store, and not sending to the broker. Tested below.

use crate::id::PolicyName;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// That nothing is sent for a policy, or for any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// The policy; `None` for all.
    pub policy: Option<PolicyName>,
    /// Who said so.
    pub by: String,
    /// Why, as they put it; may be empty.
    pub why: String,
    /// Since when.
    pub at: Timestamp,
}

/// The halts in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Halts(pub Vec<Halt>);

impl Halts {
    /// What stops this policy.
    pub fn of(&self, policy: &PolicyName) -> Option<&Halt> {
        self.0.iter().find(|halt| halt.policy.as_ref().is_none_or(|halted| halted == policy))
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some(policy) => write!(f, "policy {policy}")?,
            None => write!(f, "all policies")?,
        }
        write!(f, " halted by {} at {}", self.by, self.at)?;
        if self.why.is_empty() { Ok(()) } else { write!(f, ": {}", self.why) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_stops_its_policy_and_one_without_a_policy_all() {
        let name = |text: &str| text.parse::<PolicyName>().expect("a name");
        let halt = |policy: Option<&str>| Halt {
            policy: policy.map(name),
            by: "ops".into(),
            why: "it resets the wrong machines".into(),
            at: Timestamp::from_ms(0),
        };
        let one = Halts(vec![halt(Some("a"))]);
        assert!(one.of(&name("a")).is_some() && one.of(&name("b")).is_none());
        let all = Halts(vec![halt(Some("a")), halt(None)]);
        assert!(all.of(&name("b")).is_some());
        assert_eq!(Halts::default().of(&name("a")), None);
        assert_eq!(
            all.of(&name("b")).expect("halted").to_string(),
            "all policies halted by ops at 1970-01-01T00:00:00.000Z: it resets the wrong machines"
        );
    }
}

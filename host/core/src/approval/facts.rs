//! What a policy had read before its first effect, as one digest. What differs each time a cloud is asked is left out. Leaves
//! which reads those are to the broker. Tested in `tests.rs`.

use super::Lengthy;
use crate::call::{CallReply, CallRequest};
use crate::id::Digest;
use serde_json::Value;

/// Members that differ from one answer to the next though nothing has changed: the vendors name each request, and hand out a new
/// word to ask for the next page with.
const FLEETING: [&str; 2] = ["RequestId", "NextToken"];

/// The answers to reads, in the order in which the policy asked.
#[derive(Default)]
pub struct Facts(Lengthy);

impl Facts {
    /// Adds a read and its answer.
    pub fn add(&mut self, request: &CallRequest, reply: &CallReply) {
        let CallRequest { service, action, region, params, .. } = request;
        for part in [service, action, region, &lasting(params)] {
            self.0.add(part.as_bytes());
        }
        match reply {
            Ok(response) => {
                self.0.add(b"ok");
                self.0.add(lasting(&response.body).as_bytes());
            }
            // A message may name the request or the time.
            Err(error) => self.0.add(error.code.as_bytes()),
        }
    }

    /// Of all of them.
    pub fn digest(self) -> Digest {
        self.0.digest()
    }
}

/// JSON text without what is fleeting, its members in order; other text as it is.
fn lasting(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => sorted(value).to_string(),
        Err(_) => text.to_owned(),
    }
}

/// As deep as the parser goes, which is 128 levels.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> =
                members.into_iter().filter(|(name, _)| !FLEETING.contains(&name.as_str())).collect();
            members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(members.into_iter().map(|(name, member)| (name, sorted(member))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

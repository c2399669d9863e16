//! Whether a read of the run has shown what an effect acts on. An event of which nobody knows who sent it may name anything: what it
//! names is confirmed by the cloud's own answer before it is changed. Leaves what an answer means for the policy to the policy.
//! Tested below, and on whole hosts in `tests/tests/it/confirm.rs`.

use crate::call::{CallError, ErrorKind};
use crate::catalog::{self, Class, Facts};
use crate::grant::{Grants, Question};
use crate::retry::refusal;
use crate::sender::Trust;
use serde_json::Value;
use std::collections::HashSet;

/// What the clouds' answers in this try of a run have shown: whatever has an id's form in them.
#[derive(Debug, Default)]
pub struct Shown(HashSet<String>);

impl Shown {
    /// Takes what an answer shows.
    pub fn see(&mut self, body: &str) {
        if let Ok(answer) = serde_json::from_str::<Value>(body) {
            self.walk(&answer);
        }
    }

    // The parser has refused what is nested deeper than 128 levels.
    fn walk(&mut self, value: &Value) {
        match value {
            Value::String(text) if catalog::is_resource_id(text) => {
                self.0.insert(text.clone());
            }
            Value::Number(number) => drop(self.0.insert(number.to_string())),
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(fields) => fields.values().for_each(|item| self.walk(item)),
            _ => {}
        }
    }
}

/// Refuses an effect on what nothing has shown, where its grants want it confirmed. `facts` are what this host has read itself.
///
/// # Errors
/// The refusal.
pub fn confirm(
    question: &Question<'_>,
    grants: &Grants,
    trust: Trust,
    facts: &Facts,
    shown: &Shown,
) -> Result<(), CallError> {
    if question.class == Class::Read {
        return Ok(());
    }
    let is_known = |id: &String| shown.0.contains(id) || facts.contains_key(id);
    let unknown = question
        .resources
        .iter()
        .find(|id| !is_known(id) && grants.wants_confirmed(question, id, trust, facts));
    let Some(id) = unknown else { return Ok(()) };
    let why = match trust {
        Trust::Hint => "nobody knows who sent the event of this run",
        Trust::Proved => "the grant says `confirm = true`",
    };
    let message = format!(
        "{why}, and no answer in this run has shown `{id}`: have the policy read it first, or write `confirm = false` into the grant of {}:{}",
        question.service, question.action
    );
    Err(refusal(ErrorKind::Denied, "opsward.Unconfirmed", message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Provider;
    use crate::time::Timestamp;

    fn code(allow: &str, action: &str, ids: &[&str], trust: Trust, answers: &[&str]) -> Option<String> {
        let entries: Vec<_> =
            allow.split(';').map(|text| toml::from_str(text).expect("well-formed")).collect();
        let (grants, _) = Grants::compile(&entries, Provider::Alibaba).expect("compiles");
        let mut shown = Shown::default();
        answers.iter().for_each(|answer| shown.see(answer));
        let resources: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let question = Question {
            provider: Provider::Alibaba,
            service: "ecs",
            action,
            region: "cn-hangzhou",
            elsewhere: &[],
            resources: &resources,
            class: catalog::class_of(Provider::Alibaba, "ecs", action),
            now: Timestamp::from_seconds(0),
        };
        confirm(&question, &grants, trust, &Facts::new(), &shown).err().map(|error| error.code)
    }

    #[test]
    fn what_a_hint_names_is_shown_by_an_answer_before_it_is_changed() {
        let start = "action = 'ecs:StartInstance'";
        let always = "action = 'ecs:StartInstance'\nconfirm = true";
        let never = "action = 'ecs:StartInstance'\nconfirm = false";
        let named = "action = 'ecs:StartInstance'\nresource = ['i-1']";
        let mixed = format!("{named}; action = 'ecs:StartInstance'\nconfirm = false\nresource = ['i-2']");
        let shows = r#"{"Instances":{"Instance":[{"InstanceId":"i-1","Tags":[{"Value":"i-3"}]}]}}"#;
        let unconfirmed = Some("opsward.Unconfirmed".to_owned());
        for (allow, ids, trust, answers, refused) in [
            (start, vec!["i-1"], Trust::Hint, vec![], true),
            (start, vec!["i-1"], Trust::Hint, vec![shows], false),
            (start, vec!["i-1", "i-2"], Trust::Hint, vec![shows], true),
            (start, vec!["i-1"], Trust::Hint, vec!["not JSON i-1", "\"i-11\"", r#"{"i-1":1}"#], true),
            (start, vec!["i-1"], Trust::Proved, vec![], false),
            (start, vec![], Trust::Hint, vec![], false),
            (always, vec!["i-1"], Trust::Proved, vec![], true),
            (always, vec!["i-1"], Trust::Proved, vec![shows], false),
            (never, vec!["i-1"], Trust::Hint, vec![], false),
            (named, vec!["i-1"], Trust::Hint, vec![], true),
            (&mixed, vec!["i-2"], Trust::Hint, vec![], false),
            (&mixed, vec!["i-1", "i-2"], Trust::Hint, vec![], true),
        ] {
            let found = code(allow, "StartInstance", &ids, trust, &answers);
            assert_eq!(found, unconfirmed.clone().filter(|_| refused), "{allow}: {ids:?} {trust:?}");
        }
        let read = "action = 'ecs:DescribeDisks'";
        assert_eq!(code(read, "DescribeDisks", &["i-1"], Trust::Hint, &[]), None, "a read confirms");
    }
}

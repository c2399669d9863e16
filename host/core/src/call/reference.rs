//! References to secrets in a call's parameters: `{"$secret": "name"}` stands where the vendor wants a secret. The ledger and
//! the guest see the reference only; the secret is put in its place just before signing. Only where the vendors never show a
//! value again: a policy that could put a secret into a description would read it back. Leaves holding secrets to the host,
//! and who may use which to the broker. Tested below.

use crate::secret::Secret;
use serde_json::Value;
use std::collections::BTreeSet;

/// The key of a reference.
pub(crate) const SECRET_KEY: &str = "$secret";
/// How the names of parameters end whose values no read of either vendor answers with.
const WRITE_ONLY: &str = "password";

/// A reference that is none, or names an unknown secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Something else stands beside the name, or the name is no text.
    #[error("a reference to a secret is the object {{\"$secret\": \"name\"}} and nothing beside it")]
    Malformed,
    /// Where the policy could read it back.
    #[error(
        "a secret stands only where it is never shown again, in a parameter named `...Password`, and not in `{0}`"
    )]
    Place(String),
    /// No such secret.
    #[error("there is no secret `{0}`")]
    Unknown(String),
}

/// The names of the secrets that `params` refer to.
pub fn secrets_named(params: &Value) -> Result<BTreeSet<String>, InvalidReference> {
    let mut names = BTreeSet::new();
    collect("", params, &mut names)?;
    Ok(names)
}

fn collect(parameter: &str, value: &Value, names: &mut BTreeSet<String>) -> Result<(), InvalidReference> {
    match value {
        Value::Object(members) if members.contains_key(SECRET_KEY) => {
            let name = name_of(value)?;
            if !parameter.to_ascii_lowercase().ends_with(WRITE_ONLY) {
                return Err(InvalidReference::Place(parameter.to_owned()));
            }
            names.insert(name.to_owned());
            Ok(())
        }
        Value::Object(members) => {
            members.iter().try_for_each(|(parameter, member)| collect(parameter, member, names))
        }
        Value::Array(items) => items.iter().try_for_each(|item| collect(parameter, item, names)),
        _ => Ok(()),
    }
}

/// `params` with each reference replaced by its secret; `None` where there is no reference, which is the rule.
pub fn with_secrets<'a>(
    params: &str,
    secret: impl Fn(&str) -> Option<&'a Secret>,
) -> Result<Option<Secret>, InvalidReference> {
    if !params.contains(SECRET_KEY) {
        return Ok(None);
    }
    let mut value: Value = serde_json::from_str(params).map_err(|_| InvalidReference::Malformed)?;
    fill(&mut value, &secret)?;
    Ok(Some(Secret::new(value.to_string())))
}

fn fill<'a>(value: &mut Value, secret: &impl Fn(&str) -> Option<&'a Secret>) -> Result<(), InvalidReference> {
    match value {
        Value::Object(members) if members.contains_key(SECRET_KEY) => {
            let name = name_of(value)?;
            let found = secret(name).ok_or_else(|| InvalidReference::Unknown(name.to_owned()))?;
            *value = Value::String(found.expose().to_owned());
            Ok(())
        }
        Value::Object(members) => members.values_mut().try_for_each(|member| fill(member, secret)),
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, secret)),
        _ => Ok(()),
    }
}

fn name_of(reference: &Value) -> Result<&str, InvalidReference> {
    match reference.as_object() {
        Some(members) if members.len() == 1 => {
            members[SECRET_KEY].as_str().ok_or(InvalidReference::Malformed)
        }
        _ => Err(InvalidReference::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_are_found_and_filled_wherever_they_stand() {
        let params = json!({ "LoginSettings": { "Password": { "$secret": "lab" } }, "oldpassword": [{ "$secret": "two" }, 3] });
        let names = secrets_named(&params).expect("well-formed");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["lab", "two"]);
        let secret = Secret::new("p\"w".into());
        let filled =
            with_secrets(&params.to_string(), |_| Some(&secret)).expect("filled").expect("had references");
        assert_eq!(filled.expose(), r#"{"LoginSettings":{"Password":"p\"w"},"oldpassword":["p\"w",3]}"#);
    }

    #[test]
    fn parameters_without_a_reference_are_left_as_they_are() {
        assert_eq!(with_secrets(r#"{"a": 1}"#, |_| None).map(|found| found.is_none()), Ok(true));
    }

    #[test]
    fn a_secret_is_refused_where_a_read_would_show_it() {
        for readable in [
            json!({ "Description": { "$secret": "lab" } }),
            json!({ "Tag": [{ "Key": "Password", "Value": { "$secret": "lab" } }] }),
            json!({ "Password": { "Hint": { "$secret": "lab" } } }),
            json!({ "$secret": "lab" }),
        ] {
            assert!(matches!(secrets_named(&readable), Err(InvalidReference::Place(_))), "{readable}");
        }
    }

    #[test]
    fn a_malformed_reference_or_an_unknown_name_is_refused() {
        for odd in [json!({ "$secret": "a", "b": 1 }), json!({ "$secret": 1 })] {
            assert_eq!(secrets_named(&odd), Err(InvalidReference::Malformed), "{odd}");
        }
        let unknown = with_secrets(r#"{"a": {"$secret": "nobody"}}"#, |_| None).err();
        assert_eq!(unknown, Some(InvalidReference::Unknown("nobody".into())));
    }
}

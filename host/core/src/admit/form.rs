//! The one form that a call's parameters have: each is given once, under its own name, as one value or one list, and an id is
//! an id. Whatever could be authorised as one thing and taken by a vendor for another is refused. Leaves who may call to
//! `grant`, and system parameters to `catalog::reserved`. Tested below.

use super::Admitted;
use crate::call::CallRequest;
use crate::catalog::{self, Action, Provider};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Parameters that do not have the one form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OddForm {
    /// Not an object.
    #[error("params must be a JSON object")]
    NotAnObject,
    /// A name twice in the JSON text.
    #[error("`{0}` stands twice in one object of the parameters: give it once")]
    Twice(String),
    /// Two names for one parameter.
    #[error("`{0}` and `{1}` are one parameter in two forms: give it once")]
    TwoForms(String, String),
    /// A name that is not its own.
    #[error("the parameter is called `{known}`, not `{given}`")]
    Spelling {
        /// As given.
        given: String,
        /// As the vendor spells it.
        known: String,
    },
    /// A place in a list that is no number from 1.
    #[error("`{0}` does not count from 1: write a list, or `Name.1`, `Name.2` and so on")]
    Place(String),
    /// Dots where the vendor takes none.
    #[error("`{0}` is no parameter of Tencent, which takes lists and objects as JSON: write those")]
    Dotted(String),
    /// A list or object where one value belongs.
    #[error("`{0}` takes one id, not a list or an object")]
    OneId(String),
    /// Not a list of ids.
    #[error("`{0}` takes a list of ids")]
    Ids(String),
    /// No id.
    #[error(
        "`{shown}` is not the id of one resource: an id has letters, digits and `-_.:/@+`, and several are passed as a list"
    )]
    Id {
        /// Its beginning, escaped.
        shown: String,
    },
    /// No region.
    #[error("`{0}` is not a region")]
    Region(String),
}

impl OddForm {
    /// The code that the policy sees.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Id { .. } => "opsward.MalformedResource",
            Self::Region(_) => "opsward.InvalidRegion",
            _ => "opsward.InvalidParams",
        }
    }
}

/// Refuses JSON text with a name twice in one object: which of the two counts differs between readers.
pub(super) fn check_text(params: &str) -> Result<(), OddForm> {
    // What is no JSON at all is refused by whoever reads it.
    match serde_json::from_str::<EachOnce>(params) {
        Err(error) => match error.to_string().split_once(TWICE) {
            Some((_, rest)) => {
                let name = rest.rsplit_once(" at line ").map_or(rest, |(name, _)| name);
                Err(OddForm::Twice(name.chars().take(SHOWN_CHARS_MAX).collect()))
            }
            None => Ok(()),
        },
        Ok(EachOnce) => Ok(()),
    }
}

/// Checks a call in canonical form.
pub(super) fn check(
    request: &CallRequest,
    params: &Value,
    provider: Provider,
    admitted: &Admitted,
) -> Result<(), OddForm> {
    let members = params.as_object().ok_or(OddForm::NotAnObject)?;
    if !request.region.is_empty() && !crate::endpoint::is_region(&request.region) {
        return Err(OddForm::Region(shown(&request.region)));
    }
    check_names(members, provider)?;
    if let Some(action) = admitted.action {
        check_spelling(action, members)?;
        check_shapes(action, members)?;
    }
    let is_id = |id: &&String| catalog::is_resource_id(id);
    match admitted.resources.iter().find(|id| !is_id(id)) {
        Some(odd) => Err(OddForm::Id { shown: shown(odd) }),
        None => check_plain_ids(params, admitted),
    }
}

/// Characters of an odd name or id that a message repeats.
const SHOWN_CHARS_MAX: usize = 80;
/// Longest id of a resource in bytes: a UUID with a prefix has half of it, an ARN of a machine fits.
const ID_BYTES_MAX: usize = 128;

fn shown(text: &str) -> String {
    text.escape_debug().take(SHOWN_CHARS_MAX).collect()
}

/// In one object each parameter has one name, in one spelling, and is given as a whole or in numbered pieces.
fn check_names(members: &Map<String, Value>, provider: Provider) -> Result<(), OddForm> {
    let mut heads: BTreeMap<String, &str> = BTreeMap::new();
    for (name, value) in members {
        let (head, rest) =
            name.split_once('.').map_or((name.as_str(), None), |(head, rest)| (head, Some(rest)));
        if rest.is_some() && provider == Provider::Tencent {
            return Err(OddForm::Dotted(shown(name)));
        }
        let is_place = |part: &str| {
            !part.is_empty() && (!part.bytes().all(|b| b.is_ascii_digit()) || !part.starts_with('0'))
        };
        if head.is_empty() || rest.is_some_and(|rest| !rest.split('.').all(is_place)) {
            return Err(OddForm::Place(shown(name)));
        }
        if let Some(other) = heads.insert(head.to_ascii_lowercase(), name) {
            let (other_head, other_is_dotted) =
                other.split_once('.').map_or((other, false), |(head, _)| (head, true));
            if other_head != head || !other_is_dotted || rest.is_none() {
                return Err(OddForm::TwoForms(shown(other), shown(name)));
            }
        }
        check_below(value, provider)?;
    }
    Ok(())
}

/// The depth is bounded by `parse_params`.
fn check_below(value: &Value, provider: Provider) -> Result<(), OddForm> {
    match value {
        Value::Object(members) => check_names(members, provider),
        Value::Array(items) => items.iter().try_for_each(|item| check_below(item, provider)),
        _ => Ok(()),
    }
}

/// A parameter that names resources is spelled as the vendor does: one that a vendor does not know may be ignored, and a filter
/// with it.
fn check_spelling(action: &Action, params: &Map<String, Value>) -> Result<(), OddForm> {
    let known: Vec<String> = action.resource_params().collect();
    let known: Vec<&str> = known.iter().map(|path| path.split('.').next().unwrap_or_default()).collect();
    for name in params.keys() {
        let head = name.split('.').next().unwrap_or_default();
        if known.contains(&head) {
            continue;
        }
        if let Some(meant) = known.iter().find(|known| known.eq_ignore_ascii_case(head)) {
            return Err(OddForm::Spelling { given: shown(head), known: (*meant).to_owned() });
        }
    }
    Ok(())
}

/// One id is one text, and a list of ids is a list of texts, or the text of one.
fn check_shapes(action: &Action, params: &Map<String, Value>) -> Result<(), OddForm> {
    let is_scalar = |value: &Value| value.is_string() || value.is_number();
    for (name, is_list) in action.plain_resource_params() {
        let is_piece = |given: &String| given.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        let fits = match (params.get(name), is_list) {
            (None, true) => true,
            (None, false) => !params.keys().any(is_piece),
            (Some(Value::String(text)), true) => {
                !text.trim_start().starts_with('[') || serde_json::from_str::<Vec<String>>(text).is_ok()
            }
            (Some(Value::Array(items)), true) => items.iter().all(is_scalar),
            (Some(Value::String(text)), false) => !text.starts_with('['),
            (Some(value), _) => value.is_number() || value.is_null(),
        };
        match (fits, is_list) {
            (true, _) => {}
            (false, true) => return Err(OddForm::Ids(name.to_owned())),
            (false, false) => return Err(OddForm::OneId(name.to_owned())),
        }
    }
    Ok(())
}

/// What stands in a parameter named like an id is plain and short; names of things may have other letters and be longer.
fn check_plain_ids(params: &Value, admitted: &Admitted) -> Result<(), OddForm> {
    let is_odd = |id: &str| !id.is_ascii() || id.len() > ID_BYTES_MAX;
    let is_id = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.ends_with("id") || name.ends_with("ids")
    };
    let odd = match admitted.action {
        Some(action) => {
            let named = action.resources_by_param(params);
            named.into_iter().find(|(id, name)| is_odd(id) && is_id(name)).map(|(id, _)| id)
        }
        // Without an entry they were found by such names.
        None => admitted.resources.iter().find(|id| is_odd(id)).cloned(),
    };
    odd.map_or(Ok(()), |id| Err(OddForm::Id { shown: shown(&id) }))
}

/// JSON in which no object has a name twice.
struct EachOnce;

/// Begins the message of a name that stands twice.
const TWICE: &str = "stands twice: ";

impl<'de> Deserialize<'de> for EachOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = EachOnce;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, _: bool) -> Result<EachOnce, E> {
                Ok(EachOnce)
            }
            fn visit_i64<E>(self, _: i64) -> Result<EachOnce, E> {
                Ok(EachOnce)
            }
            fn visit_u64<E>(self, _: u64) -> Result<EachOnce, E> {
                Ok(EachOnce)
            }
            fn visit_f64<E>(self, _: f64) -> Result<EachOnce, E> {
                Ok(EachOnce)
            }
            fn visit_str<E>(self, _: &str) -> Result<EachOnce, E> {
                Ok(EachOnce)
            }
            fn visit_unit<E>(self) -> Result<EachOnce, E> {
                Ok(EachOnce)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<EachOnce, A::Error> {
                while items.next_element::<EachOnce>()?.is_some() {}
                Ok(EachOnce)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<EachOnce, A::Error> {
                let mut seen = std::collections::BTreeSet::new();
                while let Some((name, EachOnce)) = members.next_entry::<String, EachOnce>()? {
                    if let Some(name) = seen.replace(name) {
                        return Err(A::Error::custom(format!("{TWICE}{name}")));
                    }
                }
                Ok(EachOnce)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use crate::admit::{canonical, inspect};
    use crate::call::CallRequest;
    use crate::catalog::Provider;

    fn code(provider: Provider, action: &str, params: &str) -> Option<String> {
        let (service, action) = action.split_once(':').expect("service:Action");
        let region = if provider == Provider::Alibaba { "cn-hangzhou" } else { "ap-shanghai" };
        let (service, action, region) = (service.to_owned(), action.to_owned(), region.to_owned());
        let asked = CallRequest { service, action, region, params: params.to_owned(), once: None };
        let found = canonical(asked, provider, None)
            .and_then(|(asked, params)| inspect(&asked, &params, provider).map(drop));
        found.err().map(|error| {
            assert_eq!(error.kind, crate::call::ErrorKind::Invalid, "{params}");
            error.code
        })
    }

    #[test]
    fn one_parameter_has_one_form() {
        let long = format!(r#"{{"DiskId":"d-{}"}}"#, "1".repeat(127));
        let bad = [
            ("ecs:StopInstances", r#"{"InstanceId":["i-1"],"InstanceId.2":"i-2"}"#),
            ("ecs:StopInstances", r#"{"InstanceId.1":"i-1","instanceid.2":"i-2"}"#),
            ("ecs:StopInstances", r#"{"InstanceId.1":"i-1","InstanceId.01":"i-2"}"#),
            ("ecs:StopInstances", r#"{"InstanceId.0":"i-1"}"#),
            ("ecs:StopInstances", r#"{"InstanceId..1":"i-1"}"#),
            ("ecs:StopInstances", r#"{"InstanceId":[["i-1"]]}"#),
            ("ecs:StopInstances", r#"{"InstanceId":{"1":"i-1"}}"#),
            ("ecs:StopInstances", r#"{"instanceid":["i-1"]}"#),
            ("ecs:DescribeInstances", r#"{"InstanceIds":["i-1"],"InstanceIds.1":"i-2"}"#),
            ("ecs:DescribeInstances", r#"{"InstanceIds":"[\"i-1\"] [\"i-2\"]"}"#),
            ("ecs:DescribeInstances", r#"{"InstanceIds":"[[\"i-1\"]]"}"#),
            ("ecs:StopInstance", r#"{"InstanceId":"i-1","InstanceId":"i-2"}"#),
            ("ecs:StopInstance", r#"{"InstanceId":"i-1","X":[{"a":1,"\u0061":2}]}"#),
            ("ecs:StopInstance", r#"{"InstanceId":["i-1"]}"#),
            ("ecs:StopInstance", r#"{"InstanceId.1":"i-1"}"#),
            ("ecs:StopInstance", r#"{"InstanceId":"[\"i-1\",\"i-2\"]"}"#),
            ("ecs:StopInstance", r#"{"InstanceId":"i-1","INSTANCEID":"i-2"}"#),
            ("ecs:RunInstances", r#"{"Tag":[{"Key":"a","key":"b"}]}"#),
        ];
        for (action, params) in bad {
            assert_eq!(
                code(Provider::Alibaba, action, params).as_deref(),
                Some("opsward.InvalidParams"),
                "{params}"
            );
        }
        for params in [r#"{"InstanceIds.0":"ins-1"}"#, r#"{"InstanceIds":["ins-1"],"InstanceIds.1":"ins-2"}"#]
        {
            let found = code(Provider::Tencent, "cvm:StopInstances", params);
            assert_eq!(found.as_deref(), Some("opsward.InvalidParams"), "{params}");
        }
        let odd_ids = [
            "i-1,i-2",
            "i-1 ",
            " i-1",
            "i-1\\n",
            "i-1\\u0000",
            "i-%31",
            "\\uff49-1",
            "\\u0456-1",
            "i-1\\u200b",
            "",
            "*",
            "i-1&InstanceId.2=i-2",
        ];
        for id in odd_ids {
            let params = format!(r#"{{"InstanceId":"{id}"}}"#);
            let found = code(Provider::Alibaba, "ecs:StopInstance", &params);
            assert_eq!(found.as_deref(), Some("opsward.MalformedResource"), "{params}");
        }
        assert_eq!(
            code(Provider::Alibaba, "ecs:CreateSnapshot", &long).as_deref(),
            Some("opsward.MalformedResource")
        );
        let unknown = r#"{"LoadBalancerId":"lb-\u0456"}"#;
        assert_eq!(
            code(Provider::Alibaba, "slb:DeleteIt", unknown).as_deref(),
            Some("opsward.MalformedResource")
        );
    }

    #[test]
    fn what_the_vendors_take_passes() {
        for (action, params) in [
            ("ecs:StopInstances", r#"{"InstanceId":["i-1","i-2"],"ForceStop":true}"#),
            ("ecs:StopInstances", r#"{"InstanceId.1":"i-1","InstanceId.2":"i-2"}"#),
            ("ecs:DescribeInstances", r#"{"InstanceIds":"[\"i-1\", \"i-2\"]"}"#),
            ("ecs:DescribeInstances", r#"{"InstanceIds":"[]"}"#),
            (
                "ecs:CreateSnapshot",
                r#"{"DiskId":"d-1","SnapshotName":"每天","Tag.1.Key":"k","Tag.1.Value":"v"}"#,
            ),
            (
                "ecs:RunInstances",
                r#"{"Tag":[{"Key":"a"},{"Key":"b"}],"DataDisk.1.Size":40,"DataDisk.2.Size":40}"#,
            ),
            ("cms:DeleteEventRules", r#"{"RuleNames.1":"规则-1"}"#),
            ("slb:AnyNewAction", r#"{"LoadBalancerId":"lb-1","Whatever":{"x":[1,{"y":null}]}}"#),
        ] {
            assert_eq!(code(Provider::Alibaba, action, params), None, "{params}");
        }
        let reset = r#"{"InstanceId":"ins-1","LoginSettings":{"Password":{"$secret":"lab"}}}"#;
        assert_eq!(code(Provider::Tencent, "cvm:ResetInstance", reset), None);
    }

    #[test]
    fn a_message_names_what_is_wrong_and_what_to_write() {
        let twice = super::check_text(r#"{"a":{"DiskId":1,"DiskId":2}}"#).expect_err("twice").to_string();
        assert_eq!(twice, "`DiskId` stands twice in one object of the parameters: give it once");
        for odd in ["{", "[1,", ""] {
            assert_eq!(super::check_text(odd), Ok(()), "{odd}: somebody else's to refuse");
        }
    }
}

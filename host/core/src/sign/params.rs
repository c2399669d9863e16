//! A call's JSON parameters as a vendor takes them: flattened to `Tag.1.Key` for Alibaba, as a JSON object for Tencent.
//! Refuses whatever would reach the vendor as something else than the policy asked for. Leaves which parameters an
//! action has to the vendor. Tested below.

use super::OutboundCall;
use super::encoding::Pair;
use crate::catalog::{self, Provider};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Most pairs one call flattens to: ten times the longest list a vendor takes (100 ids).
pub const PAIRS_MAX: usize = 1_000;
/// The key of an object that stands for a secret; see `wit/policy.wit`, `cloud.request`.
pub const SECRET_REFERENCE: &str = "$secret";
/// Longest action name taken, in bytes; the longest known has 43.
pub const ACTION_BYTES_MAX: usize = 96;
/// Deepest nesting of a parameter; the deepest known is `EventPattern.1.NameList.2`.
pub const DEPTH_MAX: usize = 16;

/// Parameters that cannot be put on the wire as they are meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidParams {
    /// Not a JSON object.
    #[error("params must be a JSON object")]
    NotAnObject,
    /// The action is no name: it would be signed as something else than it is sent as.
    #[error("`{0}` is not the name of an action")]
    Action(String),
    /// A system parameter.
    #[error("`{0}` is set by the host: leave it out of params")]
    Reserved(String),
    /// A reference to a secret that nobody has put the secret in place of.
    #[error("the secret `{0}` is not known to the host, or not given to this policy")]
    Secret(String),
    /// Null, or an empty list or object, which cannot be sent in a flattened form. Leaving it out silently could turn
    /// a filtered request into an unfiltered one.
    #[error("`{0}` is null or empty and cannot be sent: leave it out, or give it a value")]
    Empty(String),
    /// Two parameters come to the same name.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// The region in the parameters is another than the call's.
    #[error("RegionId `{in_params}` differs from the call's region `{of_call}`")]
    OtherRegion {
        /// `RegionId` of the parameters.
        in_params: String,
        /// The call's region.
        of_call: String,
    },
    /// The flag that makes it a dry run is not in what would be sent.
    #[error("the request would not be a dry run: it is not sent")]
    NotDry,
    /// Too many or too deep.
    #[error("params flatten to more than {PAIRS_MAX} values, or nest deeper than {DEPTH_MAX}")]
    TooLarge,
}

/// Alibaba parameters that hold a list as JSON text instead of flattening it (from the SDKs' models, where they are
/// strings). Flattened, the vendor would ignore them, and a filter would be lost.
const JSON_TEXT: [(&str, &str, &str); 5] = [
    ("ecs", "DescribeDisks", "DiskIds"),
    ("ecs", "DescribeInstances", "InstanceIds"),
    ("ecs", "DescribeSnapshots", "SnapshotIds"),
    ("cms", "DescribeMetricLast", "Dimensions"),
    ("cms", "DescribeMetricList", "Dimensions"),
];

/// The pairs of an Alibaba RPC call: parameters flattened with 1-based dots, `RegionId`, and the idempotency token.
pub(super) fn alibaba_pairs(call: &OutboundCall<'_>) -> Result<Vec<Pair>, InvalidParams> {
    let object = parse_call(call)?;
    let mut flat = Flat { pairs: Vec::new(), seen: HashSet::new() };
    for (name, value) in &object {
        let is_json_text = JSON_TEXT.contains(&(call.service, call.action, name.as_str()));
        match value {
            Value::Array(_) if is_json_text => flat.push(name, value.to_string())?,
            _ => flat.add(name, value, 1)?,
        }
    }
    // Some actions spell it `regionId`.
    let named = object.iter().find(|(name, _)| name.eq_ignore_ascii_case("RegionId"));
    match named.and_then(|(_, region)| region.as_str()) {
        Some(region) if region != call.region && !call.region.is_empty() => {
            return Err(InvalidParams::OtherRegion {
                in_params: region.to_owned(),
                of_call: call.region.to_owned(),
            });
        }
        None if !call.region.is_empty() => flat.push("RegionId", call.region.to_owned())?,
        _ => {}
    }
    refuse_reserved(Provider::Alibaba, call, flat.pairs.iter().map(|(name, _)| name.as_str()))?;
    if let Some((field, value)) = call.token {
        flat.push(field, value.to_owned())?;
    }
    if let Some(field) = call.dry_run {
        flat.push(field, true.to_string())?;
    }
    Ok(flat.pairs)
}

/// The JSON body of a Tencent call, with the idempotency token.
pub(super) fn tencent_body(call: &OutboundCall<'_>) -> Result<Vec<u8>, InvalidParams> {
    let mut object = parse_call(call)?;
    refuse_reserved(Provider::Tencent, call, object.keys().map(String::as_str))?;
    let token = call.token.map(|(field, value)| (field, Value::from(value)));
    let stamps: Vec<(&str, Value)> =
        token.into_iter().chain(call.dry_run.map(|field| (field, true.into()))).collect();
    if stamps.is_empty() {
        return Ok(call.params.as_bytes().to_vec());
    }
    for (field, value) in stamps {
        if object.insert(field.to_owned(), value).is_some() {
            return Err(InvalidParams::Twice(field.to_owned()));
        }
    }
    Ok(Value::Object(object).to_string().into_bytes())
}

/// What policies may set is judged before; this makes sure that nothing but the host names an action, signs or
/// authenticates. The host itself may ask for the vendor's dry run.
fn refuse_reserved<'a>(
    provider: Provider,
    call: &OutboundCall<'_>,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<(), InvalidParams> {
    let dry_run = catalog::find(provider, call.service, call.action).and_then(|a| a.dry_run_field.as_deref());
    match names.find(|name| catalog::reserved(provider, name) && Some(*name) != dry_run) {
        Some(name) => Err(InvalidParams::Reserved(name.to_owned())),
        None => Ok(()),
    }
}

fn parse_call(call: &OutboundCall<'_>) -> Result<Map<String, Value>, InvalidParams> {
    let is_name = (1..=ACTION_BYTES_MAX).contains(&call.action.len())
        && call.action.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_name {
        return Err(InvalidParams::Action(call.action.chars().take(ACTION_BYTES_MAX).collect()));
    }
    let object = serde_json::from_str(call.params).map_err(|_| InvalidParams::NotAnObject)?;
    refuse_references(&object)?;
    Ok(object)
}

/// A reference must never be sent as if it were the value. The depth is bounded by serde_json's limit of 128 levels.
fn refuse_references(object: &Map<String, Value>) -> Result<(), InvalidParams> {
    if let Some(name) = object.get(SECRET_REFERENCE) {
        return Err(InvalidParams::Secret(name.as_str().unwrap_or_default().to_owned()));
    }
    object.values().try_for_each(refuse_references_in)
}

fn refuse_references_in(value: &Value) -> Result<(), InvalidParams> {
    match value {
        Value::Object(members) => refuse_references(members),
        Value::Array(items) => items.iter().try_for_each(refuse_references_in),
        _ => Ok(()),
    }
}

struct Flat {
    pairs: Vec<Pair>,
    seen: HashSet<String>,
}

impl Flat {
    fn add(&mut self, name: &str, value: &Value, depth: usize) -> Result<(), InvalidParams> {
        if depth > DEPTH_MAX {
            return Err(InvalidParams::TooLarge);
        }
        match value {
            Value::Null => Err(InvalidParams::Empty(name.to_owned())),
            Value::Array(items) if items.is_empty() => Err(InvalidParams::Empty(name.to_owned())),
            Value::Object(members) if members.is_empty() => Err(InvalidParams::Empty(name.to_owned())),
            Value::Bool(flag) => self.push(name, flag.to_string()),
            Value::Number(number) => self.push(name, number.to_string()),
            Value::String(text) => self.push(name, text.clone()),
            Value::Array(items) => {
                items.iter().zip(1..).try_for_each(|(v, at)| self.add(&format!("{name}.{at}"), v, depth + 1))
            }
            Value::Object(members) => {
                members.iter().try_for_each(|(key, v)| self.add(&format!("{name}.{key}"), v, depth + 1))
            }
        }
    }

    /// Case is ignored in finding duplicates: which of the two a gateway takes must not matter.
    fn push(&mut self, name: &str, value: String) -> Result<(), InvalidParams> {
        if self.pairs.len() == PAIRS_MAX {
            return Err(InvalidParams::TooLarge);
        }
        if !self.seen.insert(name.to_ascii_lowercase()) {
            return Err(InvalidParams::Twice(name.to_owned()));
        }
        self.pairs.push((name.to_owned(), value));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(action: &'a str, params: &'a str) -> OutboundCall<'a> {
        OutboundCall {
            service: "ecs",
            version: "2014-05-26",
            action,
            region: "",
            params,
            token: None,
            dry_run: None,
        }
    }

    fn flat(action: &str, params: &str) -> Result<String, InvalidParams> {
        let mut pairs = alibaba_pairs(&call(action, params))?;
        pairs.sort();
        Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
    }

    #[test]
    fn nested_parameters_flatten_with_dots_counted_from_one() {
        for (params, expected) in [
            (r#"{}"#, ""),
            (r#"{"Size":40,"Force":true,"Empty":""}"#, "Empty=&Force=true&Size=40"),
            (r#"{"Tag":[{"Key":"k","Value":"v"},{"Key":"l"}]}"#, "Tag.1.Key=k&Tag.1.Value=v&Tag.2.Key=l"),
            (r#"{"Tag.1.Key":"k"}"#, "Tag.1.Key=k"),
            (r#"{"SystemDisk":{"Size":40.5}}"#, "SystemDisk.Size=40.5"),
            (r#"{"P":[{"L":["a","b"]}]}"#, "P.1.L.1=a&P.1.L.2=b"),
        ] {
            assert_eq!(flat("RunInstances", params).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_list_that_the_vendor_wants_as_json_text_is_not_flattened() {
        assert_eq!(
            flat("DescribeDisks", r#"{"DiskIds":["d-1","d-2"]}"#).as_deref(),
            Ok(r#"DiskIds=["d-1","d-2"]"#)
        );
        assert_eq!(flat("DescribeDisks", r#"{"DiskIds":[]}"#).as_deref(), Ok("DiskIds=[]"));
        assert_eq!(flat("DescribeDisks", r#"{"DiskIds":"[\"d-1\"]"}"#).as_deref(), Ok(r#"DiskIds=["d-1"]"#));
    }

    #[test]
    fn what_would_reach_the_vendor_as_something_else_is_refused() {
        let empty = |name: &str| InvalidParams::Empty(name.into());
        let reserved = |name: &str| InvalidParams::Reserved(name.into());
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(20), "]".repeat(20));
        let many = format!(r#"{{"a":[{}0]}}"#, "0,".repeat(PAIRS_MAX));
        for (params, error) in [
            ("[]", InvalidParams::NotAnObject),
            ("{", InvalidParams::NotAnObject),
            (r#"{"InstanceId":null}"#, empty("InstanceId")),
            (r#"{"Tag":[]}"#, empty("Tag")),
            (r#"{"Tag":[{}]}"#, empty("Tag.1")),
            (r#"{"Action":"DeleteDisk"}"#, reserved("Action")),
            (r#"{"action":"DeleteDisk"}"#, reserved("action")),
            (r#"{"SignatureNonce":"1"}"#, reserved("SignatureNonce")),
            (r#"{"ClientToken":"1"}"#, reserved("ClientToken")),
            (r#"{"Action":{"1":"x"}}"#, reserved("Action.1")),
            (r#"{"Tag.1.Key":"a","Tag":[{"Key":"b"}]}"#, InvalidParams::Twice("Tag.1.Key".into())),
            (r#"{"DiskId":"a","diskid":"b"}"#, InvalidParams::Twice("diskid".into())),
            (deep.as_str(), InvalidParams::TooLarge),
            (many.as_str(), InvalidParams::TooLarge),
        ] {
            assert_eq!(flat("CreateSnapshot", params), Err(error), "{}", &params[..params.len().min(60)]);
        }
    }

    #[test]
    fn an_action_is_a_plain_name() {
        for action in ["", "a b", "a\nx-acs-action:b", "重启", &"a".repeat(ACTION_BYTES_MAX + 1)] {
            assert!(matches!(flat(action, "{}"), Err(InvalidParams::Action(_))), "{action}");
        }
    }

    #[test]
    fn the_region_and_the_token_come_from_the_call() {
        let params = r#"{"DiskId":"d-1"}"#;
        let call = OutboundCall {
            region: "cn-hangzhou",
            token: Some(("ClientToken", "t")),
            dry_run: None,
            ..call("CreateSnapshot", params)
        };
        let pairs = alibaba_pairs(&call).expect("valid");
        assert!(pairs.contains(&("RegionId".into(), "cn-hangzhou".into())));
        assert!(pairs.contains(&("ClientToken".into(), "t".into())));
        let same = OutboundCall { params: r#"{"RegionId":"cn-hangzhou"}"#, ..call };
        assert!(alibaba_pairs(&same).is_ok());
        for params in [r#"{"RegionId":"cn-beijing"}"#, r#"{"regionId":"cn-beijing"}"#] {
            let other = OutboundCall { params, ..call };
            assert!(matches!(alibaba_pairs(&other), Err(InvalidParams::OtherRegion { .. })));
        }
        let lower = OutboundCall { params: r#"{"regionId":"cn-hangzhou"}"#, ..call };
        let named =
            |pairs: Vec<Pair>| pairs.iter().filter(|(n, _)| n.eq_ignore_ascii_case("RegionId")).count();
        assert_eq!(alibaba_pairs(&lower).map(named), Ok(1));
    }

    #[test]
    fn a_secrets_reference_is_never_sent_as_its_value() {
        let params = r#"{"LoginSettings":{"Password":{"$secret":"login"}},"L":[1]}"#;
        let refused = InvalidParams::Secret("login".into());
        assert_eq!(flat("ResetInstance", params), Err(refused.clone()));
        assert_eq!(tencent_body(&call("ResetInstance", params)), Err(refused));
    }

    #[test]
    fn a_tencent_body_is_the_params_with_the_token() {
        let plain = OutboundCall { params: r#"{"a": null, "b": []}"#, ..call("ResetInstance", "") };
        assert_eq!(tencent_body(&plain).as_deref(), Ok(plain.params.as_bytes()));
        let with_token = OutboundCall { params: r#"{"A":1}"#, token: Some(("ClientToken", "t")), ..plain };
        assert_eq!(tencent_body(&with_token).as_deref(), Ok(br#"{"A":1,"ClientToken":"t"}"#.as_slice()));
        let redirected = OutboundCall { params: r#"{"Region":"ap-guangzhou"}"#, ..plain };
        assert_eq!(tencent_body(&redirected), Err(InvalidParams::Reserved("Region".into())));
    }
}

//! What the parameters of a call name: the resources it acts on and its region; and which names a policy may not set.
//! Leaves judging them to `grant`. Tested below.
//!
//! A policy may write `{"InstanceId": ["i-1"]}`, `{"InstanceId.1": "i-1"}` or `{"InstanceIds": "[\"i-1\"]"}`: on the wire they
//! are the same list, so they are one here. Where in doubt more ids are collected rather than fewer, because every
//! collected id needs a grant.

use super::entry::Action;
use super::facts::FactsRecipe;
use super::{Provider, find};
use serde_json::{Map, Value};
use std::collections::HashSet;

impl Action {
    /// The ids of what a call with `params` acts on, each once, in the order met.
    pub fn resources(&self, params: &Value) -> Vec<String> {
        each_once(self.resources_by_param(params).into_iter().map(|(id, _)| id))
    }

    /// The ids of what a call acts on, each with the name of the parameter it stands in; once for each place. A parameter that
    /// names machines, disks or snapshots elsewhere in the service does so here, whether the action has it or not.
    pub fn resources_by_param(&self, params: &Value) -> Vec<(String, &str)> {
        let elsewhere = super::facts_of(self.provider, &self.service).iter().flat_map(FactsRecipe::of);
        let elsewhere: Vec<&str> = elsewhere.collect();
        let mut found = Vec::new();
        walk(params, &mut Vec::new(), &mut |path, value| {
            let is_above = |known: &&Vec<String>| {
                known.len() <= path.len() && known.iter().zip(path).all(|(k, p)| k.eq_ignore_ascii_case(p))
            };
            let mut names: Vec<&str> = self
                .resource_paths
                .iter()
                .filter(is_above)
                .filter_map(|known| known.last())
                .map(String::as_str)
                .collect();
            if names.is_empty() {
                let is_first =
                    |name: &&&str| path.first().is_some_and(|first| first.eq_ignore_ascii_case(name));
                names.extend(elsewhere.iter().find(is_first));
            }
            found.extend(
                names.into_iter().flat_map(|name| ids_in(value).into_iter().map(move |id| (id, name))),
            );
        });
        found
    }
}

/// The ids of what a call acts on. For an action without an entry: whatever stands in a parameter that is named like an id.
pub fn resources(provider: Provider, service: &str, action: &str, params: &Value) -> Vec<String> {
    match find(provider, service, action) {
        Some(known) => known.resources(params),
        None => collect(params, |path| path.iter().any(|name| named_like_an_id(name))),
    }
}

/// Whether `name` is a parameter that only the host sets: system parameters, signature and token. Compared without regard
/// to case.
pub fn reserved(provider: Provider, name: &str) -> bool {
    const ALIBABA: &[&str] = &[
        "Action",
        "Version",
        "Format",
        "AccessKeyId",
        "SecurityToken",
        "Timestamp",
        "ClientToken",
        "DryRun",
        "BearerToken",
        // These turn a call to another account's resources.
        "OwnerId",
        "OwnerAccount",
        "ResourceOwnerId",
        "ResourceOwnerAccount",
    ];
    const TENCENT: &[&str] = &[
        "Action",
        "Version",
        "Region",
        "Timestamp",
        "Nonce",
        "SecretId",
        "Token",
        "Language",
        "RequestClient",
        "ClientToken",
        "DryRun",
    ];
    const PREFIXES: &[&str] = &["Signature", "X-Acs-", "X-TC-"];
    let names = match provider {
        Provider::Alibaba => ALIBABA,
        Provider::Tencent => TENCENT,
    };
    // `Action.1` reaches the vendor as a parameter of its own, but no harmless one begins so.
    let head = name.split('.').next().unwrap_or(name).trim();
    names.iter().any(|reserved| head.eq_ignore_ascii_case(reserved))
        || PREFIXES
            .iter()
            .any(|prefix| head.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
}

/// The parameters name another region than the call. A grant holds for the call's region, so they must agree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parameter `{field}` is `{found}`, but the call's region is `{region}`: leave the parameter out")]
pub struct RegionConflict {
    field: String,
    found: String,
    region: String,
}

/// Puts the call's region where the action wants it repeated, and refuses parameters that name another one.
pub fn place_region(
    provider: Provider,
    service: &str,
    action: &str,
    region: &str,
    params: &mut Map<String, Value>,
) -> Result<(), RegionConflict> {
    const ALIBABA_REGION: &str = "RegionId";
    if provider != Provider::Alibaba {
        return Ok(());
    }
    for (field, value) in params.iter() {
        if field.eq_ignore_ascii_case(ALIBABA_REGION) && value.as_str() != Some(region) {
            let found = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return Err(RegionConflict { field: field.clone(), found, region: region.to_owned() });
        }
    }
    let field = find(provider, service, action).and_then(|known| known.region_field.clone());
    if let Some(field) = field
        && !region.is_empty()
    {
        params.entry(field).or_insert_with(|| region.into());
    }
    Ok(())
}

/// The regions that a call with `params` changes something in beside its own.
pub fn other_regions(params: &Value) -> Vec<String> {
    const NAMES: [&str; 3] = ["DestinationRegion", "DestinationRegionId", "DestinationRegions"];
    collect(params, |path| {
        path.first().is_some_and(|name| NAMES.iter().any(|n| n.eq_ignore_ascii_case(name)))
    })
}

/// All that stands in `params`, under whatever name, the elements of JSON lists in a text included.
pub fn values(params: &Value) -> Vec<String> {
    collect(params, |_| true)
}

/// Whether `text` may be the id or name of one resource. Lists and blanks are refused, so that `i-1,i-2` never passes for
/// `i-*`.
pub fn is_resource_id(text: &str) -> bool {
    /// Longest id judged; role and rule names of both vendors stay below 256.
    const BYTES_MAX: usize = 512;
    !text.is_empty()
        && text.len() <= BYTES_MAX
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '@' | '+'))
}

/// Compared without regard to case, as some of the vendors' servers do.
fn named_like_an_id(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["id", "ids", "arn", "arns", "ari", "aris"].iter().any(|ending| name.ends_with(ending))
}

/// A name within `params` that is none of a vendor's: those are plain ASCII. Others may be taken for the one they look like,
/// such as `In\u{17f}tanceId` or `DiskId ` with a space, when their values have been judged under another name.
pub fn odd_name(params: &Value) -> Option<&str> {
    // `$` begins a reference to a secret.
    let is_plain = |name: &str| {
        name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'$'))
    };
    match params {
        Value::Object(members) => members
            .iter()
            .find_map(|(name, value)| if is_plain(name) { odd_name(value) } else { Some(name.as_str()) }),
        Value::Array(items) => items.iter().find_map(odd_name),
        _ => None,
    }
}

/// All scalar values whose path of names satisfies `wanted`.
fn collect(params: &Value, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    walk(params, &mut Vec::new(), &mut |path, value| {
        if wanted(path) {
            found.extend(ids_in(value));
        }
    });
    each_once(found.into_iter())
}

/// In the order met. A guest may name hundreds of thousands.
fn each_once(ids: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    ids.filter(|id| seen.insert(id.clone())).collect()
}

/// Visits each scalar with the names above it; list places, nested or as `Name.1`, are no names. The depth is bounded by
/// serde_json's own limit of 128 levels.
fn walk(value: &Value, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], &Value)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let above = path.len();
                let names = key.split('.').filter(|part| !part.bytes().all(|b| b.is_ascii_digit()));
                path.extend(names.map(str::to_owned));
                walk(value, path, visit);
                path.truncate(above);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, path, visit)),
        Value::Null => {}
        scalar => visit(path, scalar),
    }
}

/// The ids in one scalar: a text may hold a JSON list of them.
fn ids_in(scalar: &Value) -> Vec<String> {
    let Value::String(text) = scalar else { return vec![scalar.to_string()] };
    match serde_json::from_str::<Vec<Value>>(text) {
        Ok(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(id) => id,
                other => other.to_string(),
            })
            .collect(),
        Err(_) => vec![text.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resources_are_found_however_the_list_is_written() {
        let cases = [
            ("ecs", "CreateSnapshot", json!({"DiskId": "d-1", "SnapshotName": "n"}), vec!["d-1"]),
            ("ecs", "DescribeInstances", json!({"InstanceIds": "[\"i-1\", \"i-2\"]"}), vec!["i-1", "i-2"]),
            ("ecs", "DescribeInstances", json!({"InstanceIds": "[]"}), vec![]),
            ("ecs", "DescribeInstances", json!({"InstanceIds": ["i-1"]}), vec!["i-1"]),
            (
                "ecs",
                "StopInstances",
                json!({"InstanceId": ["i-1"], "InstanceId.2": "i-2"}),
                vec!["i-1", "i-2"],
            ),
            ("ecs", "StopInstances", json!({"instanceid.1": "i-3"}), vec!["i-3"]),
            ("ecs", "StopInstances", json!({"InstanceId": ["i-1", "i-1"]}), vec!["i-1"]),
            ("ecs", "StopInstance", json!({"InstanceId": {"X": "i-4"}}), vec!["i-4"]),
            (
                "ecs",
                "DescribeDisks",
                json!({"InstanceId": "i-1", "DiskIds": "[\"d-1\"]"}),
                vec!["d-1", "i-1"],
            ),
            ("ecs", "DescribeDisks", json!({"RegionId": "cn-hangzhou"}), vec![]),
            ("ecs", "StopInstance", json!({"InstanceId": "i-1", "DiskIds.1": "d-1"}), vec!["i-1", "d-1"]),
            (
                "ecs",
                "StopInstance",
                json!({"InstanceId": "i-1", "instanceids": "[\"i-2\"]"}),
                vec!["i-1", "i-2"],
            ),
            ("ecs", "CreateSnapshotGroup", json!({"DiskId": ["d-1"], "ExcludeDiskId": ["d-2"]}), vec!["d-1"]),
            (
                "cms",
                "PutCustomEvent",
                json!({"EventInfo": [{"EventName": "a"}, {"EventName": "b"}]}),
                vec!["a", "b"],
            ),
            ("cms", "PutCustomEvent", json!({"EventInfo.1.EventName": "a"}), vec!["a"]),
            // Without an entry: whatever is named like an id.
            ("slb", "DeleteLoadBalancer", json!({"LoadBalancerId": "lb-1", "Force": true}), vec!["lb-1"]),
            (
                "slb",
                "RemoveAll",
                json!({"Targets": [{"ServerIds": ["i-1", 7]}], "Name": "x"}),
                vec!["i-1", "7"],
            ),
            ("slb", "RemoveAll", json!({"ServerId": "i-1", "serverid": "i-2"}), vec!["i-1", "i-2"]),
        ];
        for (service, action, params, expected) in cases {
            let mut found = resources(Provider::Alibaba, service, action, &params);
            let mut expected = expected;
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{service}:{action} {params}");
        }
        let reset = json!({"InstanceId": "ins-1", "ImageId": "img-1"});
        assert_eq!(resources(Provider::Tencent, "cvm", "ResetInstance", &reset), ["ins-1"]);
    }

    #[test]
    fn a_name_that_no_vendor_uses_is_found_at_any_depth() {
        for plain in [json!({"Tag.1.Key": "é"}), json!({"L": [{"Password": {"$secret": "a"}}]}), json!({})] {
            assert_eq!(odd_name(&plain), None, "{plain}");
        }
        for odd in [
            json!({"DiskId ": "d-1"}),
            json!({"In\u{17f}tanceId": "i-1"}),
            json!({"L": [{"\u{212a}ey": 1}]}),
            json!({"a&b": 1}),
        ] {
            assert!(odd_name(&odd).is_some(), "{odd}");
        }
    }

    #[test]
    fn system_parameters_are_the_hosts() {
        for name in [
            "Action",
            "version",
            "SignatureNonce",
            "Signature",
            "ClientToken",
            "DryRun",
            "x-acs-action",
            "ownerId",
        ] {
            assert!(reserved(Provider::Alibaba, name), "{name}");
        }
        for name in ["RegionId", "Description", "InstanceId.1", "Nonce", "é"] {
            assert!(!reserved(Provider::Alibaba, name), "{name}");
        }
        for name in ["Action", "Region", "Nonce", "SecretId", "Token", "SignatureMethod", "X-TC-Token"] {
            assert!(reserved(Provider::Tencent, name), "{name}");
        }
        for name in ["InstanceId", "ImageId", "TokenCode", "LoginSettings"] {
            assert!(!reserved(Provider::Tencent, name), "{name}");
        }
    }

    #[test]
    fn the_region_is_repeated_where_wanted_and_never_contradicted() {
        let place = |action: &str, params: Value| {
            let Value::Object(mut params) = params else { panic!("an object") };
            place_region(Provider::Alibaba, "ecs", action, "cn-hangzhou", &mut params).map(|()| params)
        };
        let placed = place("DescribeDisks", json!({})).expect("no conflict");
        assert_eq!(Value::Object(placed), json!({"RegionId": "cn-hangzhou"}));
        let untouched = place("CreateSnapshot", json!({"DiskId": "d-1"})).expect("no conflict");
        assert_eq!(Value::Object(untouched), json!({"DiskId": "d-1"}));
        assert!(place("DescribeDisks", json!({"RegionId": "cn-hangzhou"})).is_ok());
        for other in [json!({"RegionId": "cn-beijing"}), json!({"regionid": ["cn-hangzhou"]})] {
            let conflict = place("CreateSnapshot", other).expect_err("another region");
            assert!(conflict.to_string().contains("but the call's region is `cn-hangzhou`"), "{conflict}");
        }
    }
}

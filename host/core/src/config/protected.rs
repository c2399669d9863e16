//! `[[protected]]` of `opsward.toml`: what no policy may change. Leaves what that means for a call to `guardrail::protected`.
//! Tested in `super::tests`.

use super::finding::ConfigError;
use super::host::find_account;
use super::source::{Source, place};
use super::typed;
use crate::catalog;
use crate::endpoint::is_region;
use crate::grant::ResourceEntry;
use crate::guardrail::Protected;

pub(super) fn resolve(
    source: &Source<'_>,
    typed: Vec<typed::Protected>,
    errors: &mut Vec<ConfigError>,
) -> Vec<Protected> {
    let known = source.keys(place!["accounts"]);
    let one = |(at, typed): (usize, typed::Protected)| {
        check(source, at, &typed, errors);
        let account = typed.account.as_deref();
        let account = account
            .map(|name| find_account(source, place!["protected", at, "account"], name, &known, errors));
        // An account that is reported as unknown leaves the entry out of a file that is refused anyway.
        Some(Protected {
            resources: typed.resource,
            account: account.map_or(Some(None), |found| found.map(Some))?,
            regions: typed.region,
        })
    };
    typed.into_iter().enumerate().filter_map(one).collect()
}

fn check(source: &Source<'_>, at: usize, typed: &typed::Protected, errors: &mut Vec<ConfigError>) {
    if typed.resource.is_empty() {
        let fix = "name ids, or select: `{ tag = { env = \"prod\" } }`";
        errors.push(source.error(place!["protected", at, "resource"], "an empty list protects nothing", fix));
    }
    for (nth, entry) in typed.resource.iter().enumerate() {
        let place = place!["protected", at, "resource", nth];
        match entry {
            ResourceEntry::Id(id) if !catalog::is_resource_id(&id.replace('*', "x")) => {
                let fix = "write an id such as `i-bp1` or a pattern such as `i-bp1*`";
                errors.push(source.error(place, format!("`{id}` is not a resource id"), fix));
            }
            ResourceEntry::Where(selector) if selector.is_empty() => {
                let fix = "write one of `tag`, `name`, `charge-type` and `group`";
                errors.push(source.error(place, "an empty selector selects nothing", fix));
            }
            _ => {}
        }
    }
    if typed.region.as_ref().is_some_and(Vec::is_empty) {
        let fix = "leave `region` out for all regions";
        errors.push(source.error(place!["protected", at, "region"], "an empty list protects nothing", fix));
    }
    for (nth, region) in typed.region.iter().flatten().enumerate().filter(|(_, name)| !is_region(name)) {
        let fix = "write each region out, such as `cn-hangzhou`";
        errors.push(source.error(
            place!["protected", at, "region", nth],
            format!("`{region}` is not a region"),
            fix,
        ));
    }
}

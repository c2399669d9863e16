//! Every way to grant, to ask and to treat effects, against each other: a request leaves exactly where the table below says so.
//! One policy for each grant and mode, one event for each policy; each call bears a note of what it is, by which the simulated
//! cloud's list of requests tells them apart.

use super::{policy, requests, send, world};
use crate::dry_run::whole;
use crate::harness::{Host, World, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An action: its name, the parameter for ids, whether that takes a list, and what it is.
type Action = (&'static str, &'static str, bool, Kind);

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Read,
    /// An effect that may be granted for anything.
    Plain,
    /// An effect that is granted for named resources only.
    Strict,
    /// Nothing that the plugin asks for.
    NotAsked,
}

const ACTIONS: [Action; 9] = [
    ("DescribeDisks", "DiskIds", true, Kind::Read),
    ("DescribeInstances", "InstanceIds", true, Kind::Read),
    ("CreateSnapshot", "DiskId", false, Kind::Plain),
    ("ModifyInstanceAttribute", "InstanceId", false, Kind::Plain),
    ("ReplaceSystemDisk", "InstanceId", false, Kind::Strict),
    ("DeleteImage", "ImageId", false, Kind::Strict),
    // Not in the catalog.
    ("PurgeThings", "ThingId", false, Kind::Strict),
    ("ModifyDiskAttribute", "DiskId", false, Kind::NotAsked),
    ("DescribeImages", "ImageId", false, Kind::NotAsked),
];

/// Further lines of a grant, and what they allow: regions, resources (`None` for any), whether now.
struct Grant {
    name: &'static str,
    regions: Option<&'static [&'static str]>,
    resources: Resources,
    window: Option<bool>,
}

#[derive(Clone, Copy, PartialEq)]
enum Resources {
    Nothing,
    Any,
    Exact,
    Glob,
    Both,
    /// By a tag, which none of these resources has.
    Tag,
}

const fn grant(
    name: &'static str,
    regions: Option<&'static [&'static str]>,
    resources: Resources,
    window: Option<bool>,
) -> Grant {
    Grant { name, regions, resources, window }
}

const REGIONS: [&str; 4] = ["cn-hangzhou", "cn-shanghai", "cn-beijing", "cn-shenzhen"];
const ONE: Option<&[&str]> = Some(&["cn-hangzhou"]);
const TWO: Option<&[&str]> = Some(&["cn-hangzhou", "cn-beijing"]);

const GRANTS: [Grant; 13] = [
    grant("nothing", None, Resources::Nothing, None),
    grant("any", None, Resources::Any, None),
    grant("any-one", ONE, Resources::Any, None),
    grant("any-two", TWO, Resources::Any, None),
    grant("exact", None, Resources::Exact, None),
    grant("exact-one", ONE, Resources::Exact, None),
    grant("glob", None, Resources::Glob, None),
    grant("glob-two", TWO, Resources::Glob, None),
    grant("both", TWO, Resources::Both, None),
    grant("tag", ONE, Resources::Tag, None),
    grant("open", None, Resources::Exact, Some(true)),
    grant("shut", None, Resources::Any, Some(false)),
    grant("shut-exact", ONE, Resources::Exact, Some(false)),
];

/// What a call names.
const NAMED: [&str; 6] = ["exact", "glob", "foreign", "mixed", "alike", "none"];
const MODES: [&str; 4] = ["enforce", "dry-run", "approve", "off"];
/// The actions of these that the cloud checks where it is asked to: all that a dry run sends of effects, and with the flag.
const CHECKED: [&str; 1] = ["DeleteImage"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_leaves_exactly_where_it_is_granted() {
    let world = world().await;
    let mut wanted = BTreeSet::new();
    let mut cells = 0;
    let policies: Vec<(&Grant, &str, String)> = GRANTS
        .iter()
        .flat_map(|grant| MODES.map(|mode| (grant, mode, format!("{}-{mode}", grant.name))))
        .collect();
    for (grant, mode, name) in &policies {
        world.write(
            &format!("plugins.d/{name}.toml"),
            &policy(name, "prod", mode, &top(mode, &allow(grant, name))),
        );
    }
    let host = world.start().await;
    for (grant, mode, name) in &policies {
        let mut calls = Vec::new();
        for (action, region, named) in all() {
            cells += 1;
            let note = format!("{name}/{named}");
            calls.push(call(&action, region, named, name));
            if let Some(flag) = leaves(&action, grant, region, named, mode) {
                wanted.insert((action.0.to_owned(), region.to_owned(), note, flag.to_owned()));
            }
        }
        send(&world, &host, name, &format!("calls.{name}"), json!({ "calls": calls, "together": true }))
            .await;
    }
    assert!(cells >= 5000, "{cells}");
    for (_, _, name) in policies.iter().filter(|(_, mode, _)| *mode != "off") {
        rests(&world, &host, name).await;
    }
    let mut seen = BTreeSet::new();
    for request in requests(&world).await {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (action, region, note) = (
            text(&request["action"]),
            text(&request["region"]),
            text(&request["params"][note_param(request["action"].as_str().unwrap_or_default())]),
        );
        let flag = text(&request["params"]["DryRun"]);
        match note.is_empty() {
            // The host's own, which sees what a tag would grant.
            true => {
                assert!(action.starts_with("Describe") && request.to_string().contains("-tag-"), "{request}")
            }
            false => assert!(seen.insert((action, region, note, flag)), "sent twice: {request}"),
        }
    }
    println!("{cells} cells, {} requests", seen.len());
    let (extra, missing): (Vec<_>, Vec<_>) =
        (seen.difference(&wanted).collect(), wanted.difference(&seen).collect());
    assert!(
        extra.is_empty() && missing.is_empty(),
        "sent and not granted: {extra:?}\ngranted and not sent: {missing:?}"
    );
}

/// What a policy file has of grants, and who approves.
fn top(mode: &str, allow: &str) -> String {
    match mode {
        "approve" => format!("approval = {{ approvers = [\"alice\"] }}\n{allow}"),
        _ => allow.to_owned(),
    }
}

/// Waits until the run on `id` is done, or waits for an approval.
async fn rests(world: &World, host: &Host, id: &str) {
    eventually(&format!("the run on {id} to rest"), async || {
        let run = world.runs(host).await.into_iter().find(|run| run["event_id"] == format!("{id} test"))?;
        let state = run["state"].as_str()?;
        assert!(["ready", "running", "done"].contains(&state), "{run}");
        let asks = |run: Value| {
            run["ledger"].as_array()?.iter().any(|r| r["entry"]["kind"] == "asked").then_some(())
        };
        if state == "done" { Some(()) } else { asks(whole(world, host, &run).await) }
    })
    .await;
}

/// Every call of one policy.
fn all() -> impl Iterator<Item = (Action, &'static str, &'static str)> {
    let regions = ACTIONS.into_iter().flat_map(|action| REGIONS.map(|region| (action, region)));
    regions.flat_map(|(action, region)| NAMED.map(|named| (action, region, named)))
}

/// The judge: whether a request leaves, and what its flag for a dry run says then.
fn leaves(action: &Action, grant: &Grant, region: &str, named: &str, mode: &str) -> Option<&'static str> {
    let (_, _, takes_list, kind) = *action;
    let is_void = matches!(
        (kind, grant.resources),
        (Kind::NotAsked, _) | (_, Resources::Nothing) | (Kind::Strict, Resources::Any | Resources::Glob)
    );
    let resources = match (grant.resources, named) {
        // No id: never sent, or several where one belongs.
        (_, "alike") => false,
        (_, "mixed") if !takes_list => false,
        // The vendor's model says that it must name one.
        (_, "none") if action.0 == "CreateSnapshot" => false,
        (Resources::Any, _) => true,
        (Resources::Exact, "exact") => true,
        (Resources::Glob, "glob") => true,
        (Resources::Both, "exact") => true,
        (Resources::Both, "glob") => kind != Kind::Strict,
        _ => false,
    };
    let granted = !is_void
        && resources
        && grant.regions.is_none_or(|regions| regions.contains(&region))
        && grant.window != Some(false);
    match mode {
        "enforce" => granted.then_some(""),
        // Nobody approves anything here: what would be asked for is found out by a dry run.
        "dry-run" | "approve" if kind == Kind::Read => granted.then_some(""),
        "dry-run" | "approve" if CHECKED.contains(&action.0) => granted.then_some("true"),
        _ => None,
    }
}

/// A parameter of the action that can hold the cell's name.
fn note_param(action: &str) -> &'static str {
    match action {
        "DescribeDisks" => "DiskName",
        "DescribeInstances" => "InstanceName",
        "ReplaceSystemDisk" => "Platform",
        _ => "Description",
    }
}

/// The id that a call names; of its own for each action and region, as effects of class once want it.
fn id(action: &Action, region: &str, named: &str, policy: &str) -> String {
    format!("x-{policy}-{named}-{}-{}", action.0.to_lowercase(), &region[3..])
}

fn call(action: &Action, region: &str, named: &str, policy: &str) -> Value {
    let (name, param, takes_list, _) = *action;
    let id = |named: &str| id(action, region, named, policy);
    let mut params = json!({ note_param(name): format!("{policy}/{named}") });
    if name == "ReplaceSystemDisk" {
        params["ImageId"] = json!("m-1");
    }
    let ids = match named {
        "none" => None,
        "mixed" if takes_list => Some(json!(json!([id("exact"), id("foreign")]).to_string())),
        "mixed" => Some(json!(format!("{},{}", id("exact"), id("foreign")))),
        // A Cyrillic letter.
        "alike" => Some(json!(id("exact").replacen('x', "\u{445}", 1))),
        // JSON in a text, as the vendor wants it.
        named if takes_list => Some(json!(json!([id(named)]).to_string())),
        named => Some(json!(id(named))),
    };
    if let Some(ids) = ids {
        params[param] = ids;
    }
    json!({ "service": "ecs", "action": name, "region": region, "params": params })
}

/// The grants of one policy, as its file has them.
fn allow(grant: &Grant, policy: &str) -> String {
    let mut text = String::new();
    for action in ACTIONS {
        let strict = action.3 == Kind::Strict;
        let ids = || REGIONS.map(|region| id(&action, region, "exact", policy));
        let glob = format!("x-{policy}-glob-*");
        let resources: Option<Vec<String>> = match grant.resources {
            Resources::Nothing => continue,
            Resources::Any | Resources::Glob if strict => continue,
            // No read shows what images and things of unknown actions are.
            Resources::Tag if ["PurgeThings", "DescribeImages", "DeleteImage"].contains(&action.0) => {
                continue;
            }
            Resources::Any => None,
            Resources::Exact => Some(ids().map(|id| format!("{id:?}")).to_vec()),
            Resources::Glob => Some(vec![format!("{glob:?}")]),
            Resources::Both => {
                let exact = ids().map(|id| format!("{id:?}")).to_vec();
                Some(exact.into_iter().chain((!strict).then(|| format!("{glob:?}"))).collect())
            }
            Resources::Tag => Some(vec!["{ tag = { env = \"none\" } }".to_owned()]),
        };
        text += &format!("\n[[allow]]\naction = \"ecs:{}\"\n", action.0);
        if let Some(regions) = grant.regions {
            text += &format!("region = {regions:?}\n");
        }
        if let Some(resources) = resources {
            text += &format!("resource = [{}]\n", resources.join(", "));
        }
        if let Some(open) = grant.window {
            text += &format!("window = {}\n", window(open));
        }
    }
    text
}

/// A window that is open now and for hours, or shut now and for hours.
fn window(open: bool) -> String {
    const HOUR: i64 = 3600;
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let hour = i64::try_from(now).expect("a time of today") / HOUR;
    let at = |hours: i64| format!("{:02}:00", (hour + hours).rem_euclid(24));
    let (from, to) = if open { (at(-6), at(6)) } else { (at(6), at(12)) };
    format!("{{ from = \"{from}\", to = \"{to}\", zone = \"UTC\" }}")
}

//! `opsward catalog ls|show`: what is known of each cloud action. Leaves the knowledge to `opsward_core::catalog`. Tested
//! in `tests/`.

use super::runs::Output;
use super::text::{Align, aligned, cut};
use anyhow::bail;
use opsward_core::catalog::{self, Action, Class, Meaning, PROVIDERS, ParamsIn, Proof, Provider};
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;

/// What to do with the catalog.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// List actions, each with its class and what settled it
    Ls {
        /// Only actions whose `service:Action` holds this text
        text: Option<String>,
        /// Only actions of this class: read, token, convergent or once
        #[arg(long, value_name = "CLASS", value_parser = class)]
        class: Option<Class>,
        /// How to print them
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show all that is known of one action
    Show {
        /// `service:Action`, such as ecs:CreateSnapshot
        action: String,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Does it.
pub(super) fn run(command: Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ls { text, class, output } => {
            let wanted = |action: &&Action| {
                class.is_none_or(|class| action.class == class)
                    && text.as_ref().is_none_or(|text| action.full_name().contains(text))
            };
            let found: Vec<&Action> = all().filter(wanted).collect();
            match output {
                Output::Json => {
                    let list: Vec<Value> = found.into_iter().map(as_json).collect();
                    writeln!(out, "{:#}", json!({ "actions": list }))?;
                }
                Output::Table => list(&found, out)?,
            }
        }
        Command::Show { action, output } => {
            let found: Vec<&Action> = all().filter(|known| known.full_name() == action).collect();
            if found.is_empty() {
                return unknown(&action);
            }
            for known in found {
                match output {
                    Output::Json => writeln!(out, "{:#}", with_codes(known))?,
                    Output::Table => show(known, out)?,
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Longest note on what settled a class, in characters: a line stays below 160.
const SOURCE_CHARS_MAX: usize = 60;

fn all() -> impl Iterator<Item = &'static Action> {
    let of =
        |provider| catalog::services(provider).flat_map(move |service| catalog::actions(provider, service));
    PROVIDERS.into_iter().flat_map(of)
}

fn class(text: &str) -> Result<Class, String> {
    let known = [Class::Read, Class::Token, Class::Convergent, Class::Once];
    let found = known.into_iter().find(|class| class.as_str() == text);
    found.ok_or_else(|| "a class is read, token, convergent or once".to_owned())
}

/// What an action without an entry is, which a grant may name all the same.
fn unknown(action: &str) -> anyhow::Result<ExitCode> {
    let Some((service, name)) = action.split_once(':') else {
        bail!("`{action}` is not `service:Action`, such as ecs:CreateSnapshot");
    };
    let class = catalog::class_of(Provider::Alibaba, service, name);
    let treated = match class {
        Class::Read => "a read, by its name",
        _ => "class once without a way to read its result back, callable only where granted by exact name",
    };
    bail!("`{action}` is not in the catalog: it is treated as {treated}")
}

fn list(found: &[&Action], out: &mut impl Write) -> std::io::Result<()> {
    let head = ["ACTION", "CLOUD", "CLASS", "RATE", "READ BACK BY", "SOURCE"].map(str::to_owned);
    let rows = found.iter().map(|action| {
        [
            action.full_name(),
            action.provider.as_str().to_owned(),
            action.class.as_str().to_owned(),
            action.rate.map(|rate| rate.to_string()).unwrap_or_default(),
            action.read_back.as_ref().map(|read| read.action.clone()).unwrap_or_default(),
            cut(&action.source, SOURCE_CHARS_MAX),
        ]
    });
    let table: Vec<_> = std::iter::once(head).chain(rows).collect();
    for line in aligned(&table, [Align::Left; 6]) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{} actions", found.len())
}

fn show(action: &Action, out: &mut impl Write) -> std::io::Result<()> {
    let promise = match action.class {
        Class::Read => "changes nothing: asked again",
        Class::Token => "sent again with the same token and parameters: exactly once",
        Class::Convergent => {
            "its state is read, and it is sent again only if the goal is unmet: the end state is reached"
        }
        Class::Once => "never sent on a guess: proved by reading, or the run is held",
    };
    let resources: Vec<String> = action.resource_params().collect();
    let read_back = action.read_back.as_ref().map(|read| match (&read.goal, &read.proof) {
        (Some(goal), _) => format!("{}:{}, goal {goal}", read.service, read.action),
        (None, proof) if *proof != Proof::default() => {
            format!("{}:{}, proved when {proof}", read.service, read.action)
        }
        (None, _) => format!("{}:{}", read.service, read.action),
    });
    let settled = action.read_back.as_ref().map(|read| read.settled.join(", "));
    let rows = [
        ("class", Some(format!("{}: {promise}", action.class.as_str()))),
        ("version", Some(action.version.clone())),
        ("params in", Some(params_in(action))),
        ("resources", (!resources.is_empty()).then(|| resources.join(", "))),
        ("token in", action.token_field.clone()),
        ("dry run by", action.dry_run_field.clone()),
        ("simulated", simulated(action)),
        ("region in", action.region_field.clone()),
        ("rate", action.rate.map(|rate| format!("{rate} per account and region"))),
        ("pages by", action.paging.map(|paging| super::text::word(&paging))),
        ("read back by", read_back),
        ("settled in", settled),
        (
            "answers with",
            action.answers_with_credentials.then(|| "credentials: no policy may call it".to_owned()),
        ),
        (
            "destructive",
            action.destructive.as_ref().map(|what| format!("it {what}: granted for named resources only")),
        ),
        ("source", Some(action.source.clone())),
    ];
    writeln!(out, "{}  {}", action.full_name(), action.provider.as_str())?;
    for (what, value) in rows.into_iter().filter_map(|(what, value)| Some((what, value?))) {
        writeln!(out, "  {what:<12}  {value}")?;
    }
    for (what, means, then) in CODES_SHOWN {
        let with = |row: &&catalog::Code| row.means == means;
        let codes: Vec<&str> = catalog::codes(action).filter(with).map(|row| row.code.as_str()).collect();
        if !codes.is_empty() {
            writeln!(out, "  {what:<12}  {then}: {}", codes.join(", "))?;
        }
    }
    Ok(())
}

/// The codes that say more than that the call is refused, and what follows.
const CODES_SHOWN: [(&str, Meaning, &str); 6] = [
    ("not done", Meaning::Wait, "sent again after a wait"),
    ("not done", Meaning::RepeatToken, "sent again after a wait, with the same token"),
    ("not done", Meaning::Resign, "sent again, signed with the cloud's time"),
    ("not done", Meaning::RefreshCredentials, "the account's credentials are not taken"),
    ("may pass", Meaning::Conflict, "refused, and the policy may try again later"),
    ("unclear", Meaning::Unclear, "may or may not have taken place"),
];

/// What a dry run shows of it.
fn simulated(action: &Action) -> Option<String> {
    let shown = match &action.makes {
        Some(makes) if makes.shows() => format!("later reads of a dry run show {makes}"),
        Some(_) => "a dry run answers with a made-up id, and no read shows it".to_owned(),
        None => "a dry run answers with a request id only, and no read shows it".to_owned(),
    };
    (action.class != Class::Read).then_some(shown)
}

fn params_in(action: &Action) -> String {
    match (action.params_in, &action.rest) {
        (ParamsIn::Rest, rest) => {
            let target = rest.as_deref().unwrap_or_default();
            format!("a REST call, which the host has no client for yet: {target}")
        }
        (ParamsIn::Query, _) => "the query".to_owned(),
        (ParamsIn::JsonBody, _) => "a JSON body".to_owned(),
    }
}

fn as_json(action: &Action) -> Value {
    json!({
        "action": action.full_name(),
        "provider": action.provider,
        "version": action.version,
        "class": action.class,
        "params_in": action.params_in,
        "rest": action.rest,
        "resources": action.resource_params().collect::<Vec<_>>(),
        "token_field": action.token_field,
        "dry_run_field": action.dry_run_field,
        "makes": simulated(action),
        "region_field": action.region_field,
        "rate": action.rate.map(|rate| rate.to_string()),
        "paging": action.paging,
        "read_back": action.read_back.as_ref().map(|read| format!("{}:{}", read.service, read.action)),
        "proof": action.read_back.as_ref().filter(|read| read.proof != Proof::default()).map(|read| read.proof.to_string()),
        "settled": action.read_back.as_ref().map(|read| &read.settled),
        "goal": action.read_back.as_ref().and_then(|read| read.goal.clone()),
        "answers_with_credentials": action.answers_with_credentials,
        "destructive": action.destructive,
        "source": action.source,
    })
}

/// With every error code whose meaning is known: too many for a list of all actions.
fn with_codes(action: &Action) -> Value {
    let rows = catalog::codes(action).map(|row| {
        json!({
            "code": row.code,
            "scope": row.scope,
            "means": row.means,
            "not_executed": row.means.is_not_executed(),
            "retryable": row.means.is_retryable(),
            "source": row.source,
        })
    });
    let mut shown = as_json(action);
    shown["codes"] = rows.collect();
    shown
}

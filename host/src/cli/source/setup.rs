//! `opsward source setup`: what points a cloud at a source of this host. For CloudMonitor the two calls that make a rule for the events
//! that enabled policies want, as commands to copy; for all kinds the steps in the console. Sends nothing: whoever enters them has looked at
//! them. No token is printed: a command takes it from where the host does.

use super::find;
use super::steps::{self, Lang};
use crate::cli::runs::Output;
use crate::cli::text::print_json;
use crate::cli::{Config, ServeArgs};
use crate::plugin::registry::Registry;
use crate::policy::Policies;
use crate::service::{guests, read_settings};
use opsward_core::catalog::ecs_events;
use opsward_core::config::{Comes, HostSettings, SourceSettings};
use opsward_core::event::SourceKind;
use opsward_core::id::{PolicyName, SourceName};
use opsward_core::run::Mode;
use opsward_core::secret::SecretRef;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// What `opsward source setup` was told.
#[derive(clap::Args)]
pub struct SetupArgs {
    #[command(flatten)]
    config: Config,
    /// The source
    name: SourceName,
    /// How the cloud reaches this host, such as https://ops.example.com
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The language of what is printed, if not that of the terminal
    #[arg(long, value_enum)]
    lang: Option<Lang>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn setup(args: &SetupArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let settings = read_settings(&args.config.config)?;
    let source = find(&settings, &args.name)?.clone();
    let url = hook_url(&source, args.url.as_deref());
    let region = source.account.as_ref().and_then(|account| settings.accounts[account].region.clone());
    let base = args.config.config.parent().unwrap_or(Path::new("")).to_owned();
    let target = target(&source, &url, region.as_deref());
    let has_calls = target.is_some();
    let wanted = if has_calls { wanted(settings, &base, &source.name).await? } else { Wanted::default() };
    let calls =
        target.map(|target| calls(&source.name, &wanted, target, region.as_deref())).unwrap_or_default();
    let lang = args.lang.unwrap_or_else(Lang::of_terminal);
    let steps = steps::console(source.kind, lang, &url);
    match args.output {
        Output::Json => {
            let calls: Vec<Value> = calls.iter().map(Call::json).collect();
            print_json(
                &json!({ "source": source.name, "policies": wanted.policies, "calls": calls, "steps": steps }),
                out,
            )?;
        }
        Output::Table => {
            if has_calls {
                writeln!(out, "{}\n", steps::wanted(lang, &wanted.policies, wanted.names.len()))?;
            }
            for call in &calls {
                writeln!(out, "{}\n", call.command())?;
            }
            writeln!(out, "{steps}")?;
        }
    }
    Ok(())
}

/// The path of a source behind `base`, with what a shell puts in the place of the token.
pub(super) fn hook_url(source: &SourceSettings, base: Option<&str>) -> String {
    let token = match &source.comes {
        Comes::Posted(posted) => match &posted.token {
            SecretRef::Env(name) => format!("${{{name}}}"),
            SecretRef::File(path) => format!("$(cat '{path}')"),
            SecretRef::Systemd(name) => format!("$(cat \"$CREDENTIALS_DIRECTORY/{name}\")"),
        },
        Comes::File(_) | Comes::Queue(_) | Comes::LogStore(_) => String::new(),
    };
    let base = base.unwrap_or("https://YOUR-HOST").trim_end_matches('/');
    format!("{base}/hooks/{}/{token}", source.name)
}

/// What enabled policies want of a source.
#[derive(Default)]
struct Wanted {
    policies: Vec<PolicyName>,
    /// Names of events of ECS.
    names: Vec<&'static str>,
}

/// Looks at the policies as the service would.
async fn wanted(settings: HostSettings, base: &Path, source: &SourceName) -> anyhow::Result<Wanted> {
    let cache = base.join(settings.cache_dir());
    let found = Arc::new(Policies::default());
    let guests = guests(&cache, ServeArgs { single_process: false }).await?;
    let _registry = Registry::open(guests, base.to_owned(), settings, found.clone(), Arc::default()).await?;
    let mut wanted = Wanted::default();
    let live = found.load();
    for policy in live.policies.iter().filter(|policy| policy.settings.mode != Mode::Off) {
        let Some(patterns) = &policy.settings.patterns else { continue };
        let names: Vec<&str> =
            ecs_events().iter().copied().filter(|name| patterns.wants(source, name)).collect();
        if !names.is_empty() {
            wanted.policies.push(policy.settings.name.clone());
            wanted.names.extend(names);
        }
    }
    wanted.names.sort_unstable();
    wanted.names.dedup();
    Ok(wanted)
}

/// A call of the cloud's API.
struct Call {
    service: &'static str,
    action: &'static str,
    params: Vec<(String, String)>,
}

impl Call {
    fn json(&self) -> Value {
        let params: Map<String, Value> =
            self.params.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({ "action": format!("{}:{}", self.service, self.action), "params": params })
    }

    /// As the vendor's command line takes it.
    fn command(&self) -> String {
        let params = self.params.iter().map(|(name, value)| {
            let quoted = if value.contains('$') { format!("\"{value}\"") } else { format!("'{value}'") };
            format!(" \\\n  --{name} {quoted}")
        });
        format!("aliyun {} {}{}", self.service, self.action, params.collect::<String>())
    }
}

/// Where CloudMonitor is to send what a rule takes, if it is CloudMonitor that the source hears of.
fn target(source: &SourceSettings, url: &str, region: Option<&str>) -> Option<Vec<(String, String)>> {
    let param = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    match (source.kind, &source.comes) {
        (SourceKind::AlibabaCloudmonitor, _) => Some(vec![
            param("WebhookParameters.1.Protocol", "http"),
            param("WebhookParameters.1.Method", "POST"),
            param("WebhookParameters.1.Url", url),
        ]),
        (SourceKind::AlibabaMns, Comes::Queue(queue)) => Some(
            [param("MnsParameters.1.Queue", &queue.name)]
                .into_iter()
                .chain(region.map(|region| param("MnsParameters.1.Region", region)))
                .collect(),
        ),
        _ => None,
    }
}

/// The rule, and where its events go. Both are made anew under the same name: entering them again changes what is there.
fn calls(
    source: &SourceName,
    wanted: &Wanted,
    target: Vec<(String, String)>,
    region: Option<&str>,
) -> Vec<Call> {
    let rule = format!("opsward-{source}");
    let param = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let region = region.map(|region| param("RegionId", region));
    let names = wanted.names.iter().enumerate();
    let names = names.map(|(at, name)| param(&format!("EventPattern.1.NameList.{}", at + 1), name));
    let made = [
        param("RuleName", &rule),
        param("EventType", "SYSTEM"),
        param("State", "ENABLED"),
        param("EventPattern.1.Product", "ECS"),
    ];
    let kind = target.first().and_then(|(name, _)| name.split_once('.')).map_or("", |(kind, _)| kind);
    let id = param(&format!("{kind}.1.Id"), &rule);
    vec![
        Call {
            service: "cms",
            action: "PutEventRule",
            params: made.into_iter().chain(region.clone()).chain(names).collect(),
        },
        Call {
            service: "cms",
            action: "PutEventRuleTargets",
            params: [param("RuleName", &rule), id].into_iter().chain(target).chain(region).collect(),
        },
    ]
}

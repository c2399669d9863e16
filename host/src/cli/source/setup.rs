//! `opsward source setup`: what points a cloud at a source of this host. For CloudMonitor the two calls that make a rule for the events
//! that enabled policies want, as commands to copy; for all kinds the steps in the console. Sends nothing: whoever enters them has looked at
//! them. No token is printed: a command takes it from where the host does. Leaves having the calls made to `apply`.

use super::steps::{self, Lang};
use super::{apply, ask, find};
use crate::cli::runs::Output;
use crate::cli::text::print_json;
use crate::cli::{Config, host_admin};
use crate::policy::PolicySet;
use crate::service::read_settings;
use opsward_core::catalog::ecs_events;
use opsward_core::config::{Comes, HostSettings, SourceSettings};
use opsward_core::event::SourceKind;
use opsward_core::id::{PolicyName, SourceName};
use opsward_core::run::Mode;
use opsward_core::secret::SecretRef;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Most names that one pattern of a rule takes. With more of them the rule takes all events of the product.
const NAMES_MAX: usize = 50;

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
    /// Have the running host make the calls, by the policy that may make them
    #[arg(long)]
    apply: bool,
    /// Do not ask
    #[arg(long, requires = "apply")]
    yes: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Exit code 1 where the calls were to be made and were not.
pub(super) async fn setup(args: &SetupArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let settings = read_settings(&args.config.config)?;
    let source = find(&settings, &args.name)?.clone();
    let url = hook_url(&source, args.url.as_deref());
    let region = region_of(&settings, &source);
    let base = args.config.config.parent().unwrap_or(Path::new("")).to_owned();
    let target = target(&source, &url);
    let has_calls = target.is_some();
    let live =
        if has_calls { ask::live(settings.clone(), &base).await? } else { Arc::new(PolicySet::default()) };
    let wanted = Wanted::of(&live, &source.name);
    let calls = target.map(|target| calls(&source.name, &wanted, target, region)).unwrap_or_default();
    let lang = args.lang.unwrap_or_else(Lang::of_terminal);
    let steps = steps::console(source.kind, lang, &url);
    let is_table = args.output == Output::Table;
    if is_table && has_calls {
        writeln!(out, "{}\n", steps::wanted(lang, &wanted.policies, wanted.names.len()))?;
    }
    for call in calls.iter().filter(|_| is_table) {
        writeln!(out, "{}\n", call.command())?;
    }
    let refusal = apply::not_made(&source, lang).filter(|_| args.apply);
    if is_table && (!args.apply || refusal.is_some()) {
        writeln!(out, "{steps}")?;
    }
    if let Some(why) = refusal {
        writeln!(std::io::stderr(), "opsward: {}{why}", lang.of("nothing was sent: ", "没有发送任何请求:"))?;
    }
    let applied = match args.apply && refusal.is_none() {
        true => {
            let store = host_admin::store_of(&args.config.config, &settings)?;
            apply::apply(&source, &wanted, region, &live, &store, (args.yes, lang)).await?
        }
        false => None,
    };
    let is_made = applied.as_ref().is_some_and(apply::Applied::is_made);
    match (&applied, args.output) {
        (applied, Output::Json) => {
            let calls: Vec<Value> = calls.iter().map(Call::json).collect();
            let mut told = json!({ "source": source.name, "policies": wanted.policies, "calls": calls });
            match args.apply {
                true => {
                    told["run"] = apply::shown(applied.as_ref());
                    told["made"] = is_made.into();
                }
                false => told["steps"] = steps.into(),
            }
            print_json(&told, out)?;
        }
        (Some(applied), Output::Table) => apply::tell(applied, &source, lang, out)?,
        (None, Output::Table) => {}
    }
    if let Some(applied) = &applied {
        apply::tell_not_made(applied, lang)?;
    }
    Ok(ExitCode::from(u8::from(args.apply && !is_made)))
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

/// Where the cloud is asked: in the account's region, or else in that of the queue.
pub(super) fn region_of<'a>(settings: &'a HostSettings, source: &'a SourceSettings) -> Option<&'a str> {
    let account = source.account.as_ref().map(|name| &settings.accounts[name]);
    let of_queue = match &source.comes {
        Comes::Queue(queue) => queue.region.as_deref(),
        Comes::Posted(_) | Comes::File(_) | Comes::LogStore(_) => None,
    };
    account.and_then(|account| account.region.as_deref()).or(of_queue)
}

/// The rule that sends to a source: nobody else's is called so.
pub(super) fn rule_of(source: &SourceName) -> String {
    format!("opsward-{source}")
}

/// What enabled policies want of a source.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) policies: Vec<PolicyName>,
    /// Names of events of ECS.
    pub(super) names: Vec<&'static str>,
}

impl Wanted {
    fn of(live: &PolicySet, source: &SourceName) -> Self {
        let mut wanted = Self::default();
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
        wanted
    }
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
fn target(source: &SourceSettings, url: &str) -> Option<Vec<(String, String)>> {
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
                .chain(queue.region.iter().map(|region| param("MnsParameters.1.Region", region)))
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
    let rule = rule_of(source);
    let param = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let region = region.map(|region| param("RegionId", region));
    let names = wanted.names.iter().take_while(|_| wanted.names.len() <= NAMES_MAX).enumerate();
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

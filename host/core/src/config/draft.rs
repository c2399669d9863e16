//! The first file of a policy, as `opsward enable` writes it: the least that its plugin asks for, in dry-run, pinned to its digest, with
//! the choices that are the operator's as comments; and what an update changes in such a file. Whatever a plugin says of itself
//! stands in comments only, on one line. Leaves files and questions to the host. Tested below.

use super::policy::DIGEST;
use super::{HostSettings, defaults};
use crate::catalog::{self, Provider};
use crate::guardrail::Guardrails;
use crate::id::{AccountName, Digest};
use serde_json::Value;
use std::fmt::Write as _;
use toml::Spanned;
use toml::de::DeTable;

/// Stands where only the operator knows what to write. It is no resource's id, so that the file is refused until they have.
pub const FILL_IN: &str = "<fill in>";
/// Most characters of what a plugin says of itself in one place: a sentence or two.
const SAID_CHARS_MAX: usize = 200;

/// Where a service is looked for while no account says whose cloud it is.
const CLOUDS: [Provider; 2] = [Provider::Alibaba, Provider::Tencent];

/// A plugin as it describes itself.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// Its file in the plugins directory.
    pub plugin: &'a str,
    /// Of its bytes.
    pub digest: Digest,
    /// The policy's name.
    pub policy: &'a str,
    /// Its version.
    pub version: &'a str,
    /// What it is for.
    pub summary: &'a str,
    /// What it asks to call, and why.
    pub asks: &'a [(&'a str, &'a str)],
    /// Event types it handles where the file names none.
    pub triggers: &'a [Vec<String>],
    /// The JSON schema of its config.
    pub config_schema: Option<&'a str>,
}

impl Draft<'_> {
    /// The account that its calls can go to: the only one there is, or the only one whose cloud has all that it asks for.
    pub fn account(&self, host: &HostSettings) -> Option<AccountName> {
        let has_all = |provider: Provider| {
            self.asks.iter().all(|(action, _)| catalog::version_of(provider, service_of(action)).is_some())
        };
        let mut able =
            host.accounts.values().filter(|account| host.accounts.len() == 1 || has_all(account.provider));
        able.next().filter(|_| able.next().is_none()).map(|account| account.name.clone())
    }

    /// The file's text, for calls with `account`.
    pub fn to_toml(&self, account: Option<&AccountName>, host: &HostSettings) -> String {
        let Self { plugin, digest, policy, .. } = self;
        let provider = account.and_then(|name| host.accounts.get(name)).map(|account| account.provider);
        let mut text = format!(
            "# {policy}, by `opsward enable`; `opsward check` says what is left to fill in.\n\
             # Version {}: {}\n\
             plugin = \"{plugin}\"\n\
             digest = \"{DIGEST}{digest}\" # only this revision runs; `opsward enable {policy} --update` moves it\n",
            on_one_line(self.version),
            on_one_line(self.summary),
        );
        let known: Vec<&str> = host.accounts.keys().map(AccountName::as_str).collect();
        match account {
            Some(name) => text += &format!("account = \"{name}\"\n"),
            None if self.asks.is_empty() => {}
            None => text += &format!("# account = \"...\" # one of: {}\n", known.join(", ")),
        }
        let mode = defaults::MODE.as_str();
        text += &format!(
            "mode = \"{mode}\" # nothing is changed: see what it would do, then write \"approve\" or \"enforce\"\n"
        );
        text += &self.triggers(host);
        text += &self.config();
        let shown = Guardrails::default().shown();
        let limits: Vec<String> = shown.iter().map(|(key, value)| format!("{key} = \"{value}\"")).collect();
        text += &format!(
            "\n# What limits its effects; these are the defaults.\n# guardrails = {{ {} }}\n",
            limits.join(", ")
        );
        for (action, reason) in self.asks {
            text += &grant(action, reason, provider);
        }
        text
    }

    fn triggers(&self, host: &HostSettings) -> String {
        let types: Vec<String> = self.triggers.iter().flatten().map(|kind| on_one_line(kind)).collect();
        let sources: Vec<&str> = host.sources.keys().map(|name| name.as_str()).collect();
        let source = sources.first().unwrap_or(&"...");
        let woken = match types.as_slice() {
            [] => "It names no events of its own: say what wakes it.".to_owned(),
            types => format!("Left out, it is woken by {} from any source.", types.join(", ")),
        };
        format!(
            "\n# {woken}\n# on = [{{ source = \"{source}\" }}]\n\
             # schedule = [{{ cron = \"0 3 * * *\", zone = \"Asia/Shanghai\" }}]\n"
        )
    }

    /// A comment for each key of its config that its schema names.
    fn config(&self) -> String {
        let schema: Value =
            self.config_schema.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let Some(properties) = schema["properties"].as_object().filter(|keys| !keys.is_empty()) else {
            return String::new();
        };
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut text = "\n# Its own settings, as `config = { key = ... }`:\n".to_owned();
        for (key, about) in properties {
            let must = if required.contains(&key.as_str()) { ", needed" } else { "" };
            let kind = about["type"].as_str().unwrap_or("any");
            let said = about["description"].as_str().unwrap_or_default();
            let line = format!("{key}: {kind}{must}. {said}");
            // Writing to a text cannot fail.
            _ = writeln!(text, "# {}", on_one_line(&line).trim_end());
        }
        text
    }
}

/// One `[[allow]]`, with why the plugin asks for it and what it is.
pub fn grant(action: &str, reason: &str, provider: Option<Provider>) -> String {
    let (service, name) = action.split_once(':').unwrap_or((action, ""));
    let provider = provider.or_else(|| cloud_of(service)).unwrap_or(Provider::Alibaba);
    let risk = risk(action, Some(provider));
    let head = format!("\n# {}: {risk}\n", on_one_line(reason));
    if catalog::answers_with_credentials(provider, service, name) {
        return format!("{head}# {action} answers with credentials and is never granted.\n");
    }
    let entry = format!("{head}[[allow]]\naction = \"{action}\"\n");
    match catalog::is_strict(provider, service, name) {
        true => format!(
            "{entry}resource = [\"{FILL_IN}\"] # ids, or what a read shows of them: {{ tag = {{ env = \"lab\" }} }}\n"
        ),
        false => entry,
    }
}

/// What an action does to the world, in a few words.
pub fn risk(action: &str, provider: Option<Provider>) -> String {
    let (service, name) = action.split_once(':').unwrap_or((action, ""));
    let Some(provider) = provider.or_else(|| cloud_of(service)) else {
        return "of no known service".to_owned();
    };
    let class = catalog::class_of(provider, service, name);
    match catalog::find(provider, service, name).and_then(|known| known.destructive.as_deref()) {
        Some(what) => format!("DESTRUCTIVE, it {what} (class {})", class.as_str()),
        None if class == catalog::Class::Read => "changes nothing (class read)".to_owned(),
        None if class == catalog::Class::Once => "DANGEROUS to repeat on a guess (class once)".to_owned(),
        None => format!("changes something (class {})", class.as_str()),
    }
}

/// The file's text with another digest in its pin, or with its first pin; `None` where it is not well-formed or names no plugin.
pub fn move_pin(text: &str, digest: Digest) -> Option<String> {
    let tree = DeTable::parse(text).ok()?;
    let span = |key| tree.get_ref().get(key).map(Spanned::span);
    let pin = format!("\"{DIGEST}{digest}\"");
    let mut moved = text.to_owned();
    match (span("digest"), span("plugin")) {
        (Some(old), _) => moved.replace_range(old, &pin),
        (None, Some(plugin)) => {
            let line_end = text[plugin.end..].find('\n').map_or(text.len(), |at| plugin.end + at);
            moved.insert_str(line_end, &format!("\ndigest = {pin}"));
        }
        (None, None) => return None,
    }
    Some(moved)
}

/// What a plugin says of itself, fit to be shown: on one line, without what would hide or move what stands beside it.
pub fn on_one_line(said: &str) -> String {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    said.chars().take(SAID_CHARS_MAX).map(|c| if moves(c) { ' ' } else { c }).collect()
}

fn cloud_of(service: &str) -> Option<Provider> {
    CLOUDS.into_iter().find(|provider| catalog::version_of(*provider, service).is_some())
}

fn service_of(action: &str) -> &str {
    action.split_once(':').map_or(action, |(service, _)| service)
}

#[cfg(test)]
mod tests;

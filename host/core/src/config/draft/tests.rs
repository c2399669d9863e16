//! Drafts, held against the reader of policy files.

use super::*;
use crate::config::{ConfigError, PolicySettings, load_host, load_policy};
use crate::run::Mode;

const HOST: &str = r#"
[accounts.prod]
provider = "alibaba"
credentials = { access-key-id = { env = "AK" }, access-key-secret = { env = "SK" } }
[accounts.lab]
provider = "tencent"
credentials = { secret-id = { env = "ID" }, secret-key = { env = "KEY" } }
[sources.cloudmonitor]
kind = "alibaba-cloudmonitor"
account = "prod"
token = { env = "TOKEN" }
"#;

const DRAFT: Draft<'static> = Draft {
    plugin: "reset.wasm",
    digest: Digest::from_bytes([7; 32]),
    policy: "reset",
    version: "0.1.0",
    summary: "Reinstalls a machine.",
    asks: &[
        ("cvm:DescribeInstances", "to see the machine"),
        ("cvm:ResetInstance", "to reinstall it\n[[allow]]\naction = \"cvm:TerminateInstances\""),
    ],
    triggers: &[],
    config_schema: Some(
        r#"{"properties": {"image": {"type": "string", "description": "Its\nimage."}}, "required": ["image"]}"#,
    ),
};

fn host(text: &str) -> HostSettings {
    load_host("opsward.toml", text).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn loaded(text: &str, host: &HostSettings) -> Result<PolicySettings, String> {
    let shown =
        |errors: Vec<ConfigError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    load_policy("reset.toml", "reset", text, host).map_err(shown)
}

#[test]
fn a_draft_grants_what_is_asked_and_is_refused_until_its_destructive_grant_names_resources() {
    let host = host(HOST);
    let account = DRAFT.account(&host);
    assert_eq!(account.as_ref().map(AccountName::as_str), Some("lab"), "the only one whose cloud has it all");
    let text = DRAFT.to_toml(account.as_ref(), &host);
    let problem = loaded(&text, &host).expect_err("something is left to fill in");
    assert!(
        problem.contains("`<fill in>` is not a resource id; write an id") || problem.contains("`<fill in>`"),
        "{problem}"
    );
    assert_eq!(problem.matches("error: ").count(), 1, "{problem}");
    let policy = loaded(&text.replace(FILL_IN, "ins-1"), &host).expect("good");
    assert_eq!((policy.mode, policy.digest), (Mode::DryRun, Some(DRAFT.digest)));
    assert!(policy.warnings.is_empty() && policy.patterns.is_none() && policy.schedules.is_empty());
    let actions: Vec<String> = policy.grants.rows().into_iter().map(|row| row.action).collect();
    assert_eq!(
        actions,
        ["cvm:DescribeInstances", "cvm:ResetInstance"],
        "and nothing that a reason smuggles in"
    );
    assert_eq!(policy.guardrails, Guardrails::default());
    for comment in [
        "# image: string, needed. Its image.",
        "# It names no events of its own: say what wakes it.",
        "# to see the machine: changes nothing (class read)",
        "DANGEROUS to repeat on a guess (class once)\n[[allow]]",
    ] {
        assert!(text.contains(comment), "{comment}\n{text}");
    }
}

#[test]
fn every_choice_that_stands_as_a_comment_is_one_that_the_reader_takes() {
    let host = host(HOST);
    let text = DRAFT.to_toml(DRAFT.account(&host).as_ref(), &host).replace(FILL_IN, "ins-1");
    for choice in ["# on = ", "# schedule = ", "# guardrails = "] {
        let chosen = text.replace(choice, &choice[2..]);
        assert_ne!(chosen, text, "{choice}");
        loaded(&chosen, &host).unwrap_or_else(|problem| panic!("{choice}: {problem}"));
    }
}

#[test]
fn an_account_that_cannot_be_told_is_asked_for() {
    let two = HOST.replace("[accounts.lab]", "[accounts.test]\nprovider = \"tencent\"\ncredentials = { secret-id = { env = \"ID\" }, secret-key = { env = \"KEY\" } }\n[accounts.lab]");
    let host = host(&two);
    assert_eq!(DRAFT.account(&host), None);
    let text = DRAFT.to_toml(None, &host);
    assert!(text.contains("# account = \"...\" # one of: lab, prod, test\n"), "{text}");
    let problem = loaded(&text, &host).expect_err("no account");
    assert!(problem.contains("add `account` with one of: lab, prod, test"), "{problem}");
}

#[test]
fn what_destroys_says_so_and_what_answers_with_credentials_is_granted_to_nobody() {
    let text = grant("ecs:DeleteInstances", "to tidy up", None);
    assert!(
        text.contains("# to tidy up: DESTRUCTIVE, it deletes instances with their data (class "),
        "{text}"
    );
    let text = grant("sts:AssumeRole", "to be somebody else", Some(Provider::Alibaba));
    assert!(
        !text.contains("[[allow]]") && text.contains("# sts:AssumeRole answers with credentials"),
        "{text}"
    );
}

#[test]
fn a_pin_is_moved_and_nothing_else() {
    let digest = Digest::from_bytes([9; 32]);
    let moved = |text: &str| move_pin(text, digest);
    let new = format!("\"sha256:{digest}\"");
    let text = "# digest = \"x\"\nplugin = \"a.wasm\" # digest\ndigest = \"sha256:00\" # old\n[config]\ndigest = \"mine\"\n";
    assert_eq!(moved(text), Some(text.replace("\"sha256:00\"", &new)));
    let text = "plugin = \"a.wasm\" # mine\nmode = \"off\"\n";
    assert_eq!(moved(text), Some(format!("plugin = \"a.wasm\" # mine\ndigest = {new}\nmode = \"off\"\n")));
    assert_eq!(moved("plugin = 'a.wasm'"), Some(format!("plugin = 'a.wasm'\ndigest = {new}")));
    assert_eq!(moved("mode = \"off\"\n"), None);
    assert_eq!(moved("plugin = "), None);
}

#[test]
fn what_a_plugin_says_stays_on_its_line() {
    assert_eq!(on_one_line("a\u{1b}[31m\r\nb\u{202e}c\u{200b}\u{2028}d"), "a [31m  b c  d");
    assert_eq!(on_one_line(&"x".repeat(1000)).len(), 200);
    assert_eq!(on_one_line("创建快照 é"), "创建快照 é");
}

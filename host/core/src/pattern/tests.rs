//! Which events match which entries, as an operator would type them.

use super::*;
use crate::event::Event;
use crate::time::Timestamp;

fn event() -> Event {
    Event {
        source: "cloudmonitor".parse().expect("a name"),
        id: "1".into(),
        kind: "Instance:SystemFailure.Reboot:Executed".into(),
        subject: Some("acs:ecs:cn-hangzhou:12345678:instance/i-1".into()),
        time: Timestamp::default(),
        data: r#"{"content":{"eventType":"SystemFailure.Reboot","n":3,"half":1.5,"ok":true,"list":[{"id":"x"}]}}"#.into(),
        incident: None,
        level: None,
        transition: None,
        account: Some("12345678".into()),
        region: Some("cn-hangzhou".into()),
    }
}

fn typed(toml: &str) -> Result<Vec<OnEntry>, toml::de::Error> {
    #[derive(serde::Deserialize)]
    struct File {
        on: Vec<OnEntry>,
    }
    toml::from_str::<File>(&format!("on = {toml}")).map(|file| file.on)
}

fn compile(toml: &str) -> Patterns {
    Patterns::compile(&typed(toml).expect("well-formed")).expect(toml)
}

#[test]
fn an_entry_matches_where_all_its_conditions_do() {
    let table = [
        (r#"[{ source = "cloudmonitor" }]"#, true),
        (r#"[{ source = "other" }]"#, false),
        (r#"[{ source = ["other", "cloudmonitor"] }]"#, true),
        (r#"[{ type = "Instance:SystemFailure.Reboot:Executed" }]"#, true),
        (r#"[{ type = "INSTANCE:systemfailure.REBOOT:*" }]"#, true),
        (r#"[{ type = ["x", "*:executed"] }]"#, true),
        (r#"[{ type = "Instance:*.Reboot:*" }]"#, true),
        (r#"[{ type = "*" }]"#, true),
        (r#"[{ type = "Instance:SystemFailure.Reboot" }]"#, false),
        (r#"[{ type = "Instance:SystemFailure.Reboot:Executed*d" }]"#, false),
        (r#"[{ type = "*Reboot*Failure*" }]"#, false),
        (r#"[{ subject = "acs:ecs:*:instance/i-1" }]"#, true),
        (r#"[{ subject = "ACS:ecs:*" }]"#, false),
        (r#"[{ subject = "*i-1*" }]"#, true),
        (r#"[{ region = "cn-*", account = "12345678" }]"#, true),
        (r#"[{ region = "cn-hangzhou", account = "1234567" }]"#, false),
        (r#"[{ data = { "content.eventType" = "SystemFailure.Reboot" } }]"#, true),
        (r#"[{ data = { content.eventType = ["a", "SystemFailure.Reboot"] } }]"#, true),
        (r#"[{ data = { "content.n" = 3, "content.half" = 1.5, "content.ok" = true } }]"#, true),
        (r#"[{ data = { "content.n" = 3.0 } }]"#, true),
        (r#"[{ data = { "content.n" = "3" } }]"#, false),
        (r#"[{ data = { "content.n" = 3, "content.ok" = false } }]"#, false),
        (r#"[{ data = { "content.list.0.id" = "x" } }]"#, true),
        (r#"[{ data = { "content.list.1.id" = "x" } }]"#, false),
        (r#"[{ data = { "content" = "x" } }]"#, false),
        (
            r#"[{ source = "cloudmonitor", type = "x" }, { source = "cloudmonitor", type = "Instance:*" }]"#,
            true,
        ),
        (r#"[{ source = "cloudmonitor", type = "Instance:*", subject = "x" }]"#, false),
    ];
    let all: Vec<Patterns> = table.iter().map(|(toml, _)| compile(toml)).collect();
    for ((toml, expected), patterns) in table.iter().zip(&all) {
        let found = Index::build(std::iter::once(patterns)).matches(&event());
        assert_eq!(found, if *expected { vec![0] } else { vec![] }, "{toml}");
    }
    let expected: Vec<usize> =
        table.iter().enumerate().filter(|(_, (_, matches))| *matches).map(|(at, _)| at).collect();
    assert_eq!(Index::build(all.iter()).matches(&event()), expected, "all in one index");
}

#[test]
fn a_policy_is_woken_once_however_many_entries_match() {
    let twice = compile(r#"[{ type = ["Instance:*", "*:Executed", "*"] }, { source = "cloudmonitor" }]"#);
    assert_eq!(Index::build([&twice, &twice].into_iter()).matches(&event()), vec![0, 1]);
}

#[test]
fn an_event_without_the_attribute_does_not_match_a_condition_on_it() {
    let bare = Event { subject: None, region: None, account: None, data: "no JSON".into(), ..event() };
    for toml in [
        r#"[{ subject = "*" }]"#,
        r#"[{ region = "*" }]"#,
        r#"[{ account = "*" }]"#,
        r#"[{ data = { a = 1 } }]"#,
    ] {
        assert_eq!(
            Index::build(std::iter::once(&compile(toml))).matches(&bare),
            Vec::<usize>::new(),
            "{toml}"
        );
    }
}

#[test]
fn the_plugin_s_types_apply_where_an_entry_names_only_where_events_come_from() {
    let triggers = Patterns::from_types(&[vec!["Disk:*".into()], vec!["ecs:Disk:*".into()]]).expect("valid");
    let woken = |toml: &str| {
        let patterns = compile(toml).with_default_types(&triggers);
        let index = Index::build(std::iter::once(&patterns));
        ["Disk:Stalled:Executing", "Instance:StateChange"]
            .map(|kind| !index.matches(&Event { kind: kind.into(), ..event() }).is_empty())
    };
    assert_eq!(woken(r#"[{ source = "cloudmonitor" }]"#), [true, false]);
    assert_eq!(woken(r#"[{ source = "cloudmonitor", type = "*" }]"#), [true, true]);
    assert_eq!(woken(r#"[{ source = "cloudmonitor", subject = "acs:*" }]"#), [true, true]);
}

#[test]
fn errors_say_what_to_write() {
    for (toml, wanted) in [
        ("[{}]", "no condition"),
        ("[{ data = {} }]", "no condition"),
        ("[{ type = [] }]", "leave the key out"),
        (r#"[{ source = "Cloud Monitor" }]"#, "valid source name"),
        (r#"[{ source = "" }]"#, "leave the key out"),
        (r#"[{ data = { "a..b" = 1 } }]"#, "no path"),
        (r#"[{ data = { a = [] } }]"#, "never matches"),
    ] {
        let error = Patterns::compile(&typed(toml).expect(toml)).expect_err(toml).to_string();
        assert!(error.contains(wanted) && error.contains("entry 1"), "{toml}: {error}");
    }
    for (toml, wanted) in [
        (r#"[{ typ = "x" }]"#, "unknown field `typ`"),
        ("[{ account = 123 }]", "a text in quotes"),
        ("[{ data = { a = [[1]] } }]", "texts, numbers and booleans"),
        ("[{ data = { a = [{ b = 1 }] } }]", "texts, numbers and booleans"),
    ] {
        let error = typed(toml).expect_err(toml).to_string();
        assert!(error.contains(wanted), "{toml}: {error}");
    }
}

#[test]
fn an_event_is_compared_with_the_entries_filed_under_its_texts_only() {
    // Four ways in which a thousand policies of one operator may differ.
    for form in [
        r#"[{ source = "s-N" }, { source = "cloudmonitor", type = "Instance:N:*" }]"#,
        r#"[{ type = "Instance:SystemFailure.Reboot:*", subject = "acs:ecs:*:instance/i-N" }]"#,
        r#"[{ type = "Instance:SystemFailure.Reboot:*", data = { "content.n" = N } }]"#,
        r#"[{ type = "Instance:SystemFailure.Reboot:*", account = "N" }]"#,
    ] {
        let all: Vec<Patterns> = (1000..2000).map(|n| compile(&form.replace('N', &n.to_string()))).collect();
        let all_but_one = Index::build(all.iter());
        assert_eq!(all_but_one.compared_with(&event()), 0, "{form}");
    }
}

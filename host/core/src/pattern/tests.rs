//! Which events match which entries, as an operator would type them.

mod random;

use super::*;
use crate::event::{Event, Transition, Wants};
use crate::time::Timestamp;

fn event() -> Event {
    Event {
        source: "cloudmonitor".parse().expect("a name"),
        id: "1".into(),
        kind: "Instance:SystemFailure.Reboot:Executed".into(),
        subject: Some("acs:ecs:cn-hangzhou:12345678:instance/i-1".into()),
        time: Timestamp::default(),
        data:
            r#"{"content":{"eventType":"SystemFailure.Reboot","n":3,"half":1.5,"ok":true,"list":[{"id":"x"}],
            "text":"95.5","null":null,"empty":{}}}"#
                .into(),
        incident: None,
        level: Some("CRITICAL".into()),
        transition: Some(Transition::Executed),
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
    Patterns::compile(&typed(toml).expect(toml)).expect(toml)
}

fn woken(index: &Index, event: &Event) -> Vec<usize> {
    index.matches(event).into_iter().map(|woken| woken.policy).collect()
}

/// The policies that match, asked one by one.
fn naively(all: &[Patterns], event: &Event) -> Vec<usize> {
    let matches = |verdict: &Verdict| matches!(verdict, Verdict::Matches(_));
    (0..all.len()).filter(|at| explain(&all[*at], event).iter().any(matches)).collect()
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
        (r#"[{ data = { "content.eventType" = ["a", "SystemFailure.Reboot"] } }]"#, true),
        (r#"[{ data = { "content.n" = 3, "content.half" = 1.5, "content.ok" = true } }]"#, true),
        (r#"[{ data = { "content.n" = 3.0 } }]"#, true),
        (r#"[{ data = { "content.n" = "3" } }]"#, false),
        (r#"[{ data = { "content.n" = 3, "content.ok" = false } }]"#, false),
        (r#"[{ data = { "content.list.0.id" = "x" } }]"#, true),
        (r#"[{ data = { "content.list.1.id" = "x" } }]"#, false),
        (r#"[{ data = { "content" = "x" } }]"#, false),
        (r#"[{ level = "critical" }]"#, true),
        (r#"[{ level = ["WARN", "Crit*"], region = "cn-*" }]"#, true),
        (r#"[{ level = "INFO" }]"#, false),
        (r#"[{ transition = "executed" }]"#, true),
        (r#"[{ transition = ["Canceled", "EXECUTED"] }]"#, true),
        (r#"[{ transition = "executing" }]"#, false),
        (r#"[{ data = { "content.eventType" = { prefix = "System" } } }]"#, true),
        (r#"[{ data = { "content.eventType" = { prefix = "system" } } }]"#, false),
        (r#"[{ data = { "content.eventType" = { suffix = ".Reboot" } } }]"#, true),
        (r#"[{ data = { "content.eventType" = { prefix = "System", suffix = ".Reboot" } } }]"#, true),
        (
            r#"[{ data = { "content.eventType" = { prefix = "SystemFailure.", suffix = ".Reboot" } } }]"#,
            false,
        ),
        (r#"[{ data = { "content.n" = { prefix = "3" } } }]"#, false),
        (r#"[{ data = { "content.n" = { min = 3 } } }]"#, true),
        (r#"[{ data = { "content.n" = { above = 3 } } }]"#, false),
        (r#"[{ data = { "content.n" = { max = 3 } } }]"#, true),
        (r#"[{ data = { "content.n" = { below = 3 } } }]"#, false),
        (r#"[{ data = { "content.n" = { min = 3, below = 3.5 } } }]"#, true),
        (r#"[{ data = { "content.n" = { above = -1, max = 2.9 } } }]"#, false),
        (r#"[{ data = { "content.text" = { min = 90, below = 100 } } }]"#, true),
        (r#"[{ data = { "content.text" = { below = 90 } } }]"#, false),
        (r#"[{ data = { "content.eventType" = { min = 0 } } }]"#, false),
        (r#"[{ data = { "content.ok" = { min = 0 } } }]"#, false),
        (r#"[{ data = { "content.n" = { exists = true } } }]"#, true),
        (r#"[{ data = { "content.empty" = { exists = true } } }]"#, true),
        (r#"[{ data = { "content.null" = { exists = true } } }]"#, false),
        (r#"[{ data = { "content.null" = { exists = false } } }]"#, true),
        (r#"[{ data = { "content.other.deeper" = { exists = false } } }]"#, true),
        (r#"[{ data = { "content.n" = { exists = false } } }]"#, false),
        (r#"[{ data = { "content.n" = ["3", { min = 90 }, { exists = false }] } }]"#, false),
        (
            r#"[{ data = { "content.n" = ["3", { prefix = "x" }, { min = 2, max = 4 }, { exists = false }] } }]"#,
            true,
        ),
        (r#"[{ data = { "content.prefix" = { exists = false }, "content.n" = 3 } }]"#, true),
        (
            r#"[{ source = "cloudmonitor", type = "x" }, { source = "cloudmonitor", type = "Instance:*" }]"#,
            true,
        ),
        (r#"[{ source = "cloudmonitor", type = "Instance:*", subject = "x" }]"#, false),
    ];
    let all: Vec<Patterns> = table.iter().map(|(toml, _)| compile(toml)).collect();
    for ((toml, expected), patterns) in table.iter().zip(&all) {
        let found = woken(&Index::build(std::iter::once(patterns)), &event());
        assert_eq!(found, if *expected { vec![0] } else { vec![] }, "{toml}");
    }
    let expected: Vec<usize> =
        table.iter().enumerate().filter(|(_, (_, matches))| *matches).map(|(at, _)| at).collect();
    assert_eq!(woken(&Index::build(all.iter()), &event()), expected, "all in one index");
}

#[test]
fn a_policy_is_woken_once_however_many_entries_match() {
    let twice = compile(r#"[{ type = ["Instance:*", "*:Executed", "*"] }, { source = "cloudmonitor" }]"#);
    assert_eq!(woken(&Index::build([&twice, &twice].into_iter()), &event()), vec![0, 1]);
}

#[test]
fn an_entry_that_names_transitions_wants_the_late_ones_too() {
    let table = [
        (r#"[{ source = "cloudmonitor" }]"#, Wants::Progress),
        (r#"[{ transition = "executed" }]"#, Wants::Transition),
        (r#"[{ source = "cloudmonitor" }, { transition = "executed" }]"#, Wants::Transition),
        (r#"[{ transition = "executed" }, { source = "cloudmonitor" }]"#, Wants::Transition),
        (r#"[{ transition = "executing" }, { source = "cloudmonitor" }]"#, Wants::Progress),
    ];
    for (toml, wants) in table {
        let found = Index::build(std::iter::once(&compile(toml))).matches(&event());
        assert_eq!(found, [Woken { policy: 0, wants }], "{toml}");
    }
}

#[test]
fn an_event_without_the_attribute_does_not_match_a_condition_on_it() {
    let bare = Event {
        subject: None,
        region: None,
        account: None,
        level: None,
        transition: None,
        data: "no JSON".into(),
        ..event()
    };
    for toml in [
        r#"[{ subject = "*" }]"#,
        r#"[{ region = "*" }]"#,
        r#"[{ account = "*" }]"#,
        r#"[{ level = "*" }]"#,
        r#"[{ transition = ["executed", "executing"] }]"#,
        r#"[{ data = { a = 1 } }]"#,
        r#"[{ data = { a = { exists = true } } }]"#,
    ] {
        let found = woken(&Index::build(std::iter::once(&compile(toml))), &bare);
        assert_eq!(found, Vec::<usize>::new(), "{toml}");
    }
    let absent = compile(r#"[{ data = { a = { exists = false } } }]"#);
    assert_eq!(woken(&Index::build(std::iter::once(&absent)), &bare), [0]);
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
        (r#"[{ transition = "executd" }]"#, "did you mean `executed`?"),
        (r#"[{ transition = "*" }]"#, "there are inquiring, scheduled"),
        ("[{ data = { a = {} } }]", "`{ exists = true }` for anything"),
        ("[{ data = { a = { min = 2, below = 2 } } }]", "never matches"),
        ("[{ data = { a = { min = 3, max = 2 } } }]", "never matches"),
        ("[{ data = { a = { min = 3, above = 2 } } }]", "leave one out"),
        ("[{ data = { a = { min = nan } } }]", "no number"),
        ("[{ data = { a = { max = inf } } }]", "no number"),
        (r#"[{ data = { a = { prefix = "" } } }]"#, "an empty text"),
        (r#"[{ data = { a = { prefix = "x", min = 1 } } }]"#, "write two in a list"),
        (r#"[{ data = { a = { prefix = "x", exists = true } } }]"#, "stands alone"),
        (
            r#"[{ data = { "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a" = 1 } }]"#,
            "deeper than the 32 levels",
        ),
    ] {
        let error = Patterns::compile(&typed(toml).expect(toml)).expect_err(toml).to_string();
        assert!(error.contains(wanted) && error.contains("entry 1"), "{toml}: {error}");
    }
    for (toml, wanted) in [
        (r#"[{ typ = "x" }]"#, "unknown field `typ`"),
        ("[{ account = 123 }]", "a text in quotes"),
        ("[{ data = { a = [[1]] } }]", "expected a text, number or boolean, or a test"),
        ("[{ data = { a = [{ b = 1 }] } }]", "unknown test `b`: there are `prefix`"),
        (r#"[{ data = { a = { prefx = "b" } } }]"#, "did you mean `prefix`?"),
        (r#"[{ data = { content.eventType = "b" } }]"#, r#"in quotes, as in "content.eventType""#),
        (r#"[{ data = { a = { min = "b" } } }]"#, "invalid type: string"),
    ] {
        let error = typed(toml).expect_err(toml).to_string();
        assert!(error.contains(wanted), "{toml}: {error}");
    }
}

#[test]
fn an_event_is_compared_with_the_entries_filed_under_its_texts_only() {
    // Ways in which a thousand policies of one operator may differ, whatever else they have in common.
    for form in [
        r#"[{ source = "s-N" }, { source = "cloudmonitor", type = "Instance:N:*" }]"#,
        r#"[{ type = "Instance:SystemFailure.Reboot:*", subject = "acs:ecs:*:instance/i-N" }]"#,
        r#"[{ type = "Instance:*", subject = "acs:*", account = "N", region = "*", level = "CRITICAL" }]"#,
        r#"[{ type = "Instance:SystemFailure.Reboot:*", data = { "content.n" = N } }]"#,
        r#"[{ type = "*", level = "critical", data = { "content.ok" = true, "content.eventType" = { prefix = "N" } } }]"#,
        r#"[{ data = { "content.eventType" = { exists = true }, "content.N" = { exists = true } } }]"#,
        r#"[{ level = "critical", data = { "content.n" = { min = N, max = N.5 } } }]"#,
        r#"[{ data = { "content.n" = { min = N } } }]"#,
        r#"[{ level = "LN", transition = "executed" }]"#,
    ] {
        let all: Vec<Patterns> = (1000..2000).map(|n| compile(&form.replace('N', &n.to_string()))).collect();
        let all_but_one = Index::build(all.iter());
        assert_eq!(all_but_one.compared_with(&event()), 0, "{form}");
    }
}

/// Every `on` of the manual is one.
#[test]
fn the_entries_of_the_manual_compile() {
    let manual = include_str!("../../../../docs/events.md");
    let blocks = manual.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let blocks: Vec<&str> = blocks.map(|(block, _)| block).collect();
    for block in &blocks {
        let on = &block[block.find("on = ").expect(block) + "on = ".len()..];
        compile(on);
    }
    // What the console's choices are in the table.
    let keys: Vec<&str> =
        manual.split('`').filter(|code| code.contains(" = ") && !code.contains('\n')).collect();
    let entries = keys.iter().filter(|code| !code.starts_with('{'));
    let all: Vec<_> = entries.map(|code| compile(&format!("[{{ {code} }}]"))).collect();
    assert!(blocks.len() == 2 && all.len() >= 8, "{} and {}", blocks.len(), all.len());
}

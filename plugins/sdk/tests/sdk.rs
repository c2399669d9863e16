//! What an author relies on: config errors that name the key, lists read to their end, and a fake host that refuses what
//! the real one refuses.

use opsward_policy::testing::{FakeHost, event};
use opsward_policy::{
    Call, CallError, Description, ErrorKind, Event, Failure, Level, Mode, Outcome, Policy, Run, Value, json,
};
use std::time::Duration;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Config {
    #[serde(default)]
    days: u8,
    login: Option<Login>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Login {
    key_ids: Vec<String>,
}

/// Does what the event's type says.
struct Obedient;

impl Policy for Obedient {
    type Config = Config;

    fn describe() -> Description {
        Description::new("obedient", "0.1.0", "Does as it is told.")
            .asks("ecs:DescribeDisks", "to list")
            .asks("cvm:DescribeInstances", "to list")
            .asks("ecs:CreateSnapshot", "to have an effect")
    }

    fn handle(event: &Event, run: &Run<Config>) -> Result<Outcome, Failure> {
        let summary = match event.kind.as_str() {
            "by-token" => numbers(run.list_by_token(Call::new("ecs", "DescribeDisks"), "/Disks/Disk")?),
            "by-offset" => {
                numbers(run.list_by_offset(Call::new("cvm", "DescribeInstances"), "/InstanceSet")?)
            }
            "confirm" => {
                let (read, is_it) = (Call::new("cvm", "DescribeInstances"), |number: &u32| number % 2 == 1);
                match run.confirm_by_offset("odd number", read, "/InstanceSet", is_it)? {
                    Ok(odd) => numbers(odd.into_iter().map(|one| one.into_inner()).collect()),
                    Err(unconfirmed) => Outcome::from(unconfirmed).summary,
                }
            }
            "not-asked" => run.call(Call::new("ecs", "DeleteDisk"))?.body,
            "reserved" => run.call(Call::new("ecs", "DescribeDisks").param("ClientToken", "t"))?.body,
            "once" => run.call(Call::new("ecs", "CreateSnapshot").once("e-1/d-1"))?.request_id,
            "sleep" => {
                let before = run.now();
                run.sleep(Duration::from_secs(8 * 24 * 60 * 60));
                run.warn("slept");
                format!("{:?}", run.now().duration_since(before).unwrap_or_default())
            }
            "many" => {
                let calls =
                    (0..1_001).map(|n| Call::new("ecs", "CreateSnapshot").param("DiskId", n)).collect();
                run.call_all(calls, 99).len().to_string()
            }
            _ => format!(
                "{} days, {} keys",
                run.config().days,
                run.config().login.as_ref().map_or(0, |l| l.key_ids.len())
            ),
        };
        Ok(Outcome::new(summary))
    }
}

fn numbers(items: Vec<u32>) -> String {
    let texts: Vec<String> = items.iter().map(u32::to_string).collect();
    texts.join(" ")
}

fn handle(host: &FakeHost, kind: &str) -> Result<String, Failure> {
    host.handle::<Obedient>(&event(kind, json!({}))).map(|outcome| outcome.summary)
}

#[test]
fn a_wrong_config_is_told_by_key_and_problem() {
    let cases = [
        (json!({ "days": 7, "login": { "key-ids": ["a", "b"] } }), Ok("7 days, 2 keys")),
        (json!({}), Ok("0 days, 0 keys")),
        (json!({ "days": "seven" }), Err("config.days: invalid type: string \"seven\", expected u8")),
        (json!({ "days": 256 }), Err("config.days: invalid value: integer `256`, expected u8")),
        (json!({ "dayz": 7 }), Err("config.dayz: unknown field `dayz`, expected `days` or `login`")),
        (json!({ "login": {} }), Err("config.login: missing field `key-ids`")),
        (
            json!({ "login": { "key-ids": ["a", 2] } }),
            Err("config.login.key-ids[1]: invalid type: integer `2`, expected a string"),
        ),
        (json!([]), Ok("x")),
    ];
    for (config, expected) in cases {
        let ended = handle(&FakeHost::new().config(config.clone()), "show");
        match expected {
            Ok("x") => assert!(ended.is_err(), "{config}"),
            Ok(summary) => assert_eq!(ended.expect("valid config"), summary),
            Err(message) => {
                let failure = ended.expect_err("invalid config");
                assert_eq!(
                    (failure.code.as_str(), failure.message.as_str()),
                    ("opsward.InvalidConfig", message)
                );
                assert!(!failure.retryable);
            }
        }
    }
}

/// Three pages of Alibaba Cloud, the first without a token to ask for it.
fn pages_by_token(params: &Value) -> Value {
    assert_eq!(params["MaxResults"], 100);
    match params["NextToken"].as_str() {
        None => json!({ "Disks": { "Disk": [1, 2] }, "NextToken": "a" }),
        Some("a") => json!({ "Disks": { "Disk": [] }, "NextToken": "b" }),
        Some("b") => json!({ "Disks": { "Disk": [3] }, "NextToken": "" }),
        Some(other) => panic!("no page {other}"),
    }
}

#[test]
fn a_list_paged_by_token_is_read_to_its_end() {
    let host = FakeHost::new().on("ecs:DescribeDisks", pages_by_token);
    assert_eq!(handle(&host, "by-token").expect("listed"), "1 2 3");
}

#[test]
fn a_list_paged_by_offset_is_read_to_its_end() {
    let host = FakeHost::new().on("cvm:DescribeInstances", |params| {
        assert_eq!(params["Limit"], 100);
        let offset = params["Offset"].as_u64().expect("offset");
        let items: Vec<u64> = (offset..5.min(offset + 2)).collect();
        json!({ "InstanceSet": items, "TotalCount": 5 })
    });
    assert_eq!(handle(&host, "by-offset").expect("listed"), "0 1 2 3 4");
    assert_eq!(host.calls().len(), 3);
}

#[test]
fn a_list_that_never_ends_is_given_up() {
    let host =
        FakeHost::new().on("ecs:DescribeDisks", |_| json!({ "Disks": { "Disk": [1] }, "NextToken": "a" }));
    assert_eq!(handle(&host, "by-token").expect_err("endless").code, "opsward.EndlessList");
    assert_eq!(host.calls().len(), 2, "a repeated token is noticed at once");

    let mut token = 0;
    let host = FakeHost::new().on("ecs:DescribeDisks", move |_| {
        token += 1;
        json!({ "Disks": { "Disk": [] }, "NextToken": token.to_string() })
    });
    assert_eq!(handle(&host, "by-token").expect_err("endless").code, "opsward.EndlessList");
    assert_eq!(host.calls().len(), 100);
}

#[test]
fn an_answer_of_another_shape_is_not_an_empty_list() {
    for body in [json!({}), json!({ "Disks": { "Disk": ["d-1"] } }), json!({ "Disks": { "Disk": 3 } })] {
        let host = FakeHost::new().on("ecs:DescribeDisks", move |_| body.clone());
        let failure = handle(&host, "by-token").expect_err("another shape");
        assert_eq!(failure.code, "opsward.InvalidAnswer");
        assert!(failure.message.starts_with("/Disks/Disk: "), "{}", failure.message);
    }
}

#[test]
fn the_fake_host_refuses_what_the_real_one_refuses() {
    let host = FakeHost::new();
    for (kind, code) in [("not-asked", "opsward.NotAsked"), ("reserved", "opsward.ReservedParameter")] {
        assert_eq!(handle(&host, kind).expect_err("refused").code, code);
    }
    assert!(host.calls().is_empty());
}

#[test]
fn a_natural_key_takes_effect_once_and_a_failed_one_not_at_all() {
    let mut answers = vec![
        Ok(json!({ "RequestId": "r-2" })),
        Err(CallError::new(ErrorKind::Throttled, "Throttling.User", "slow down")),
    ];
    let host = FakeHost::new().on("ecs:CreateSnapshot", move |_| answers.pop().expect("asked twice at most"));
    let failure = handle(&host, "once").expect_err("throttled");
    assert_eq!((failure.code.as_str(), failure.retryable), ("Throttling.User", true));
    assert_eq!(handle(&host, "once").expect("made"), "r-2");
    assert_eq!(handle(&host, "once").expect("the first's answer"), "r-2");
    assert_eq!(host.calls_of("ecs:CreateSnapshot").len(), 2);
    assert_eq!(handle(&host.clone().mode(Mode::DryRun), "once").expect("simulated"), "simulated");
}

#[test]
fn a_dry_run_reads_but_simulates_effects() {
    let host = FakeHost::new().mode(Mode::DryRun).on("ecs:DescribeDisks", pages_by_token);
    assert_eq!(handle(&host, "by-token").expect("listed"), "1 2 3");
    assert_eq!(handle(&host, "once").expect("simulated"), "simulated");
    assert!(host.calls_of("ecs:CreateSnapshot").is_empty());
}

#[test]
fn sleeping_turns_the_clock_in_naps_the_host_takes() {
    let host = FakeHost::new();
    assert_eq!(handle(&host, "sleep").expect("slept"), "691200s");
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(host.sleeps(), [7 * day, day]);
    assert_eq!(host.logs(), [(Level::Warn, "slept".to_owned())]);
}

#[test]
fn more_calls_than_one_batch_takes_are_all_made() {
    let host = FakeHost::new().on("ecs:CreateSnapshot", |_| json!({}));
    assert_eq!(handle(&host, "many").expect("made"), "1001");
    assert_eq!(host.calls()[1_000].params["DiskId"], 1_000);
}

#[test]
fn what_a_read_shows_is_confirmed_and_the_rest_is_not() {
    let listing = |numbers: &'static [u32]| {
        let answer = move |_: &Value| json!({ "TotalCount": numbers.len(), "InstanceSet": numbers });
        FakeHost::new().on("cvm:DescribeInstances", answer)
    };
    let host = listing(&[1, 2, 3]);
    assert_eq!(handle(&host, "confirm").as_deref(), Ok("1 3"));
    assert_eq!(host.logs()[0].1, "left out 1 that the cloud listed, but that are no odd number");
    let said = |numbers| handle(&listing(numbers), "confirm").expect("an outcome");
    assert_eq!(said(&[]), "nothing to do: the cloud shows no odd number");
    assert_eq!(said(&[2, 4]), "nothing to do: the cloud shows no odd number, but 2 that are not it");
    let error = CallError::new(ErrorKind::Unauthorized, "UnauthorizedOperation", "no");
    let failure =
        handle(&FakeHost::new().fail("cvm:DescribeInstances", error), "confirm").expect_err("fails");
    assert_eq!(failure.code, "UnauthorizedOperation");
}

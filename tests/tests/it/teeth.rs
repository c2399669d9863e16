//! Seeded wrong variants of the host, each compiled in behind a test-only feature: the scenario that catches it must pass on
//! the right host and fail on the wrong one. A chaos test that cannot fail proves nothing.

use crate::admin::a_reader_halts_nothing;
use crate::approval::an_approval_expires;
use crate::approval::changes::changed_facts_are_asked_again;
use crate::approval::links::a_used_link_approves_nothing_more;
use crate::canary::a_log_without_keys;
use crate::confirm::what_a_hint_names_is_read_first;
use crate::disk::{an_answered_event_survives_a_power_cut, an_effect_is_recorded_on_a_full_disk};
use crate::doubt::goes_on_in_another_account;
use crate::dry_run::{asks_the_cloud_for_no_more_than_a_check, shows_what_was_simulated};
use crate::egress::a_name_that_stands_for_this_machine;
use crate::enable::{a_pin_holds, what_is_not_asked_is_not_called};
use crate::guardrails::pace::a_ramp_holds_through_a_kill;
use crate::guardrails::protected::what_is_protected_is_left_alone;
use crate::guardrails::{a_fleet_is_not_reset, a_halt_stops_what_is_sent};
use crate::harness::{EXECUTED, World, executed};
use crate::held::{a_held_reset, a_reset_that_the_store_has_forgotten, waits_for_the_held_one};
use crate::hinted::{a_hint_silences_nobody, a_hint_takes_no_id};
use crate::incidents::late_notices_wake_nobody;
use crate::lies::{a_lag_of_two_changes, a_success_while_stopping};
use crate::log_file::a_kill_loses_no_line;
use crate::once::notification;
use crate::pulled::a_message_outlives_a_kill;
use crate::retries::calls_in_a_storm;
use crate::runner::an_effect_outlives_its_runner;
use crate::schedules::a_pause_lasts;
use opsward_core::retry::LATE_EXECUTION;
use serde_json::json;

/// The wrong variants; `scenario` has the test of each.
const VARIANTS: &[&str] = &[
    "ack-before-commit",
    "sync-normal",
    "no-reserve",
    "random-token",
    "retry-once",
    "no-dedupe",
    "cursor-before-events",
    "incident-any-order",
    "incident-repeats",
    "one-track",
    "hint-for-proof",
    "hints-take-ids",
    "no-once-keys",
    "no-grant-check",
    "locks-in-memory",
    "budget-in-memory",
    "no-halt",
    "no-pause",
    "no-protection",
    "no-confirm",
    "ramp-in-memory",
    "no-late-execution",
    "no-retry-budget",
    "intent-after-send",
    "key-apart",
    "changed-params",
    "account-from-file",
    "no-restore-epoch",
    "trusts-success",
    "one-look",
    "no-dry-run-flag",
    "no-overlay",
    "approves-any-plan",
    "no-approval-expiry",
    "link-twice",
    "no-scopes",
    "unasked-calls",
    "no-pin",
    "audit-after",
    "no-prev-hash",
    "any-address",
    "logs-a-key",
    "effect-dies-with-runner",
    "delete-before-accept",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_variant_is_caught_and_the_right_one_passes() {
    for &variant in VARIANTS {
        let right = scenario(variant, "").await;
        right.unwrap_or_else(|problem| panic!("the right host fails the test of {variant}: {problem}"));
        let problem = scenario(variant, variant).await.expect_err(variant);
        println!("{variant:<18} caught: {problem}");
    }
}

/// Runs the test that catches `variant` on a host that is `wrong` in this way; `Err` says what broke.
async fn scenario(variant: &str, wrong: &str) -> Result<(), String> {
    match variant {
        "ack-before-commit" => an_answered_event_survives_a_kill(wrong).await,
        "sync-normal" => an_answered_event_survives_a_power_cut(wrong).await,
        "no-reserve" => an_effect_is_recorded_on_a_full_disk(wrong).await,
        "random-token" => a_lost_answer_gives_one_snapshot(wrong).await,
        "retry-once" => a_lost_answer_gives_one_reset(wrong).await,
        "no-dedupe" => a_second_delivery_starts_no_run(wrong).await,
        "cursor-before-events" => a_kill_loses_no_line(wrong).await,
        "incident-any-order" | "incident-repeats" => late_notices_wake_nobody(wrong).await,
        "one-track" | "hint-for-proof" => a_hint_silences_nobody(wrong).await,
        "hints-take-ids" => a_hint_takes_no_id(wrong).await,
        "no-once-keys" => a_second_notification_makes_no_snapshot(wrong).await,
        "no-grant-check" => a_grant_holds_for_its_region_only(wrong).await,
        "locks-in-memory" => a_held_reset_keeps_its_machine(wrong).await,
        "budget-in-memory" => a_fleet_is_not_reset(wrong, 30).await,
        "ramp-in-memory" => a_ramp_holds_through_a_kill(wrong).await,
        "no-protection" => what_is_protected_is_left_alone(wrong).await,
        "no-confirm" => what_a_hint_names_is_read_first(wrong).await,
        "no-halt" => a_halt_stops_what_is_sent(wrong).await,
        "no-pause" => a_pause_lasts(wrong).await,
        "no-retry-budget" => calls_in_a_storm(wrong).await,
        "intent-after-send" => a_kill_after_a_reset_leaves_one(wrong).await,
        "key-apart" => a_kill_at_an_intent_leaves_its_key(wrong).await,
        "changed-params" => a_lost_answer_is_got_again(wrong).await,
        "account-from-file" => goes_on_in_another_account(wrong).await,
        "no-restore-epoch" => a_restored_store_asks(wrong).await,
        "trusts-success" => a_success_while_stopping(wrong).await,
        "effect-dies-with-runner" => an_effect_outlives_its_runner(wrong).await,
        "delete-before-accept" => a_message_outlives_a_kill(wrong).await,
        "one-look" => a_lag_of_two_changes(wrong).await,
        "unasked-calls" => what_is_not_asked_is_not_called(wrong).await,
        "no-pin" => a_pin_holds(wrong).await,
        "approves-any-plan" => changed_facts_are_asked_again(wrong).await,
        "no-approval-expiry" => an_approval_expires(wrong).await,
        "link-twice" => a_used_link_approves_nothing_more(wrong).await,
        "no-scopes" => a_reader_halts_nothing(wrong).await,
        "any-address" => a_name_that_stands_for_this_machine(wrong).await,
        "logs-a-key" => a_log_without_keys(wrong).await,
        "no-late-execution" => a_request_may_still_be_on_its_way(wrong).await,
        "audit-after" => a_killed_hosts_effects_have_their_rows(wrong).await,
        "no-prev-hash" => a_row_does_not_fit_once_the_one_before_is_replaced(wrong).await,
        "no-dry-run-flag" => asks_the_cloud_for_no_more_than_a_check(wrong).await,
        "no-overlay" => shows_what_was_simulated(wrong).await,
        other => panic!("no scenario for {other}"),
    }
}

async fn an_answered_event_survives_a_kill(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let env = [("OPSWARD_FAILPOINT", "before-commit:1"), ("OPSWARD_WRONG", wrong)];
    let Some(host) = world.start_with(&env).await else { return Err("the host did not start".into()) };
    let answered = world.post(&host, EXECUTED).await == Some(200);
    let mut host = host;
    host.died().await;
    let host = world.start().await;
    let known = !world.runs(&host).await.is_empty();
    if answered && !known { Err("an event answered with 200 was lost".into()) } else { Ok(()) }
}

async fn a_lost_answer_gives_one_snapshot(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (instance, disks) = world.machine(3).await;
    world.sim_post("faults", json!({ "action": "CreateSnapshot", "kind": "drop-after", "times": 1 })).await;
    world.post(&host, &executed(&instance, "e-teeth")).await;
    world.settled_runs(&host, 1).await;
    let snapshots = world.effects("CreateSnapshot").await;
    let wrong = disks.iter().find(|disk| snapshots.get(*disk) != Some(&1));
    wrong.map_or(Ok(()), |disk| Err(format!("{:?} snapshots of {disk}", snapshots.get(disk))))
}

async fn a_lost_answer_gives_one_reset(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    world.sim_post("faults", json!({ "action": "ResetInstance", "kind": "drop-after", "times": 1 })).await;
    // The second reset must not be refused because the first is still under way: that would hide the mistake.
    world
        .sim_post(
            "faults",
            json!({ "action": "ResetInstance", "kind": "slow", "times": 5, "delay_ms": 3000 }),
        )
        .await;
    world.put_nightly_reset().await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    world.settled_runs(&host, 1).await;
    match sends_of(&world, "ResetInstance").await {
        1 => Ok(()),
        sends => Err(format!("a class-once effect was sent {sends} times")),
    }
}

async fn a_second_delivery_starts_no_run(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    // Of an incident, the second would be no news.
    let mut event: serde_json::Value = serde_json::from_str(EXECUTED).expect("JSON");
    event["content"].as_object_mut().expect("an object").remove("eventId");
    for _ in 0..2 {
        world.post(&host, &event.to_string()).await;
    }
    let runs = world.settled_runs(&host, 1).await.len();
    if runs == 1 { Ok(()) } else { Err(format!("{runs} runs of one event")) }
}

async fn a_second_notification_makes_no_snapshot(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (instance, _) = world.machine(3).await;
    for n in 1..=2 {
        world.post(&host, &notification(&instance, n)).await;
    }
    world.settled_runs(&host, 2).await;
    match world.effects("CreateSnapshot").await.values().max() {
        Some(1) => Ok(()),
        most => Err(format!("{most:?} snapshots of one disk for one incident")),
    }
}

async fn a_grant_holds_for_its_region_only(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let elsewhere = include_str!("harness/snapshot-on-reboot.toml").replace("cn-hangzhou", "cn-beijing");
    world.write("plugins.d/snapshot-on-reboot.toml", &elsewhere);
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (instance, _) = world.machine(3).await;
    world.post(&host, &executed(&instance, "e-region")).await;
    world.settled_runs(&host, 1).await;
    let snapshots = world.effects("CreateSnapshot").await.len();
    if snapshots == 0 {
        Ok(())
    } else {
        Err(format!("{snapshots} snapshots in a region that was not granted"))
    }
}

async fn a_held_reset_keeps_its_machine(wrong: &str) -> Result<(), String> {
    let (world, id) = a_held_reset().await;
    waits_for_the_held_one(&world, &id, wrong).await
}

async fn a_restored_store_asks(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    a_reset_that_the_store_has_forgotten(&world, wrong).await.map(drop)
}

/// A request whose connection broke is not sent anew while the cloud may still carry it out.
async fn a_request_may_still_be_on_its_way(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    world.put_nightly_reset().await;
    let mut host = world.start_with(&[("OPSWARD_FAILPOINT", "after-intent:1")]).await.expect("ready");
    host.died().await;
    // Waits of a minute and more take long enough to be seen, those between looks do not.
    let env = [("OPSWARD_HASTE", "20"), ("OPSWARD_WRONG", wrong)];
    let begun = std::time::Instant::now();
    let host = world.start_with(&env).await.expect("ready");
    world.settled_runs(&host, 1).await;
    match (sends_of(&world, "ResetInstance").await, begun.elapsed()) {
        (1, took) if took < LATE_EXECUTION / 20 => {
            Err(format!("sent anew {took:?} after it may have been sent"))
        }
        _ => Ok(()),
    }
}

async fn a_kill_after_a_reset_leaves_one(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    world.put_nightly_reset().await;
    let env = [("OPSWARD_FAILPOINT", "after-send:1"), ("OPSWARD_WRONG", wrong)];
    let mut host = world.start_with(&env).await.expect("ready");
    host.died().await;
    // The machine has settled by now, so that the cloud would take another reset.
    world.patch_state(json!({ "clock_offset_ms": 60_000 })).await;
    let host = world.start().await;
    world.settled_runs(&host, 1).await;
    match sends_of(&world, "ResetInstance").await {
        1 => Ok(()),
        sends => Err(format!("a machine was reset {sends} times by one run")),
    }
}

async fn a_kill_at_an_intent_leaves_its_key(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let (instance, _) = world.machine(3).await;
    let env = [("OPSWARD_FAILPOINT", "after-intent:1"), ("OPSWARD_WRONG", wrong)];
    let mut host = world.start_with(&env).await.expect("ready");
    world.post(&host, &notification(&instance, 1)).await;
    host.died().await;
    // The second asker comes before the first has its answer.
    let slow = json!({ "action": "CreateSnapshot", "kind": "slow", "times": 3, "delay_ms": 4000 });
    world.sim_post("faults", slow).await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    world.post(&host, &notification(&instance, 2)).await;
    world.settled_runs(&host, 2).await;
    match world.effects("CreateSnapshot").await.values().max() {
        Some(1) => Ok(()),
        most => Err(format!("{most:?} snapshots of one disk for one incident, after a kill")),
    }
}

async fn a_lost_answer_is_got_again(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    world.try_snapshots("{ attempts = 1 }");
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (instance, _) = world.machine(3).await;
    world.sim_post("faults", json!({ "action": "CreateSnapshot", "kind": "drop-after", "times": 1 })).await;
    world.post(&host, &executed(&instance, "e-again")).await;
    let runs = world.settled_runs(&host, 1).await;
    if runs[0]["state"] == "done" { Ok(()) } else { Err(format!("the run ended with {}", runs[0]["note"])) }
}

async fn a_killed_hosts_effects_have_their_rows(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let (instance, _) = world.machine(3).await;
    let env = [("OPSWARD_FAILPOINT", "after-intent:1"), ("OPSWARD_WRONG", wrong)];
    let mut host = world.start_with(&env).await.expect("ready");
    world.post(&host, &executed(&instance, "e-teeth")).await;
    host.died().await;
    world.try_audited().await.map(drop)
}

async fn a_row_does_not_fit_once_the_one_before_is_replaced(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (instance, _) = world.machine(3).await;
    world.post(&host, &executed(&instance, "e-teeth")).await;
    world.settled_runs(&host, 1).await;
    world.try_audited().await.map(drop)
}

/// How often the clouds received `action`, whatever became of it.
async fn sends_of(world: &World, action: &str) -> usize {
    let requests = world.sim_get("requests").await;
    let list = requests.as_array().or(requests["requests"].as_array()).expect("a list").clone();
    list.iter().filter(|request| request["action"] == action).count()
}

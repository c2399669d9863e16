//! A real host against clouds and networks that lie in every way they can: whatever is said or not said of an effect, it
//! is not lost where its run says done, not made twice where that matters, and a person is asked only where nobody can
//! know. The judge is outside the host: what the clouds received, what they did, and how the runs ended.
//!
//! About 900 calls, most of them the host's looks at a machine whose effect is unknown; 4,300 with `OPSWARD_LONG`, a hundred
//! times that with `SOAK`.

mod convergent;
mod judge;
mod lag;
mod proof;
mod stage;

pub(crate) use convergent::{a_lag_of_two_changes, a_success_while_stopping};

use crate::harness::{Host, TOKEN, World, long, seed, signed};
use judge::{Happened, Tally, judge};
use serde_json::{Value, json};
use stage::{Class, Lane};
use std::collections::BTreeMap;
use std::time::Duration;

/// Divides the host's waits: the six minutes after which a request cannot be carried out any more become 6 s.
const HASTE: &str = "60";
/// The latest late change: within the signature's life, as short as the host believes it to be.
const LATE_MS_MAX: u64 = 3000;
/// How long reads of a state that is wanted lag behind at most, and nothing else happens to the machine meanwhile: that of
/// before the last change but one can be the one that is wanted.
const LAG_MS: u64 = 1000;
/// How long a run may take to end: a request lost three times is waited for three times.
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lie_of_a_cloud_loses_an_effect_or_doubles_one() {
    let seed = seed("no_lie_of_a_cloud");
    let (rounds, events) = match (std::env::var_os("SOAK").is_some(), long()) {
        (true, _) => (100, 4),
        (false, true) => (1, 4),
        (false, false) => (1, 1),
    };
    let mut tallies: BTreeMap<(Class, &'static str), Tally> = BTreeMap::new();
    let mut problems = Vec::new();
    for round in 0..rounds {
        for (lane, happened) in play(seed.wrapping_add(round), events).await {
            problems.extend(judge(&lane, &happened));
            tallies.entry((lane.class, lane.fault)).or_default().add(&happened);
        }
    }
    judge::print(&tallies);
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    for class in stage::CLASSES {
        let of_class = || tallies.iter().filter(|((of, _), _)| *of == class).map(|(_, tally)| tally);
        let events: usize = of_class().map(|tally| tally.events).sum();
        let done: usize = of_class().map(|tally| tally.ended("done")).sum();
        assert!(done * 5 >= events, "{}: only {done} of {events} events were worked off", class.as_str());
    }
}

/// Sends `events` events to each lane of a new world, the lanes at a time.
async fn play(seed: u64, events: usize) -> Vec<(Lane, Happened)> {
    let lanes = stage::lanes();
    let world = stage::set(&lanes).await;
    let host = world.start_with(&[("OPSWARD_HASTE", HASTE)]).await.expect("ready");
    let (world, host) = (&world, &host);
    let played = lanes.into_iter().enumerate().map(|(nth, lane)| async move {
        // Xorshift stays at 0.
        let mut random = seed.wrapping_mul(2 * nth as u64 + 1) | 1;
        let mut happened = Vec::new();
        for event in 0..events {
            let id = format!("{}-{event}", lane.name);
            happened.push((lane.clone(), one_event(world, host, &lane, &id, &mut random).await));
            if lane.fault == "stale" && lane.class != Class::Reset {
                tokio::time::sleep(Duration::from_millis(LAG_MS)).await;
            }
        }
        happened
    });
    futures::future::join_all(played).await.into_iter().flatten().collect()
}

/// Lies about the lane's machine, sends an event, and waits until all that follows from it is over.
async fn one_event(world: &World, host: &Host, lane: &Lane, id: &str, random: &mut u64) -> Happened {
    let state = stage::settled_state(lane, &world.sim_get("state").await);
    let (action, goal) = stage::effect(lane.class, &state);
    for fault in faults(lane, action, random) {
        world.sim_post("faults", fault).await;
    }
    let before = world.sim_get("counts").await;
    post(world, host, &stage::event(lane, id, action)).await;
    let find = async || {
        let runs = runs_of(world, host, lane).await;
        runs.into_iter().find(|run| run["event_id"] == format!("{id} {}", stage::SENDER))
    };
    let ended = eventually(async || {
        let run = find().await?;
        ["done", "failed", "held", "dead"].contains(&run["state"].as_str()?).then_some(run)
    });
    let run = match ended.await {
        Some(run) => run,
        None => find().await.expect("an accepted event has its run"),
    };
    let late = eventually(async || {
        let late = world.sim_get("counts").await["late"].to_string();
        (!late.contains(&lane.naming)).then_some(())
    });
    late.await.expect("what is late comes soon");
    if run["state"] == "held" {
        give_up(world, host, &run).await;
    }
    let cleared =
        world.http.delete(format!("{}/_sim/faults?naming={}", world.sim.url, lane.naming)).send().await;
    cleared.expect("the clouds answer").error_for_status().expect("the clouds agree");
    let since = async |what: &str| -> Vec<Value> {
        let listed = world.sim_get(&format!("{what}?since={}", before[what])).await;
        let listed = listed.as_array().expect("a list").clone();
        listed.into_iter().filter(|one| one["params"].to_string().contains(&lane.naming)).collect()
    };
    let (others, effects): (Vec<_>, Vec<_>) =
        since("effects").await.into_iter().partition(|effect| effect["caller"] == "operator");
    Happened {
        event: id.to_owned(),
        action,
        state: run["state"].as_str().expect("a state").to_owned(),
        note: run["note"].as_str().unwrap_or_default().to_owned(),
        goal_reached: stage::settled_state(lane, &world.sim_get("state").await) == goal,
        effects,
        restarted_by_another: !others.is_empty(),
        requests: since("requests").await,
    }
}

/// How the cloud lies about one event: on the effect mostly, on the host's own reads half the time.
fn faults(lane: &Lane, action: &str, random: &mut u64) -> Vec<Value> {
    let mut draw = |below: u64| next(random) % below;
    let fault = |action: &str, kind: &str, times: u64, delay_ms: u64| json!({ "action": action, "kind": kind, "naming": lane.naming, "times": times, "delay_ms": delay_ms });
    let read = lane.class.read();
    let lost = ["drop-before", "drop-after"][usize::from(draw(2) == 0)];
    // A reset is known by its request, so that no lag is too long.
    let lag_ms = if lane.class == Class::Reset { 0 } else { LAG_MS };
    match lane.fault {
        "none" => Vec::new(),
        "random" => {
            let mut random = fault("*", "random", 8, 150);
            random["share"] = json!(0.4);
            random["seed"] = json!(draw(u64::MAX));
            vec![random]
        }
        "clock-skew" => vec![fault("*", "clock-skew", 1 + draw(3), 20 * 60 * 1000)],
        "late" => (0..=draw(2)).map(|_| fault(action, "late", 1, 50 + draw(LATE_MS_MAX - 50))).collect(),
        "operator" => vec![fault(action, "operator", 1, 0), fault(action, lost, draw(2).max(1), 0)],
        "stale" => vec![fault(action, lost, 1, 0), fault(read, "stale", 1 + draw(3), lag_ms)],
        kind => {
            let mut faults = vec![fault(action, kind, 1 + draw(3), 150)];
            if draw(2) == 0 {
                faults.push(fault(read, kind, 1 + draw(2), 150));
            }
            faults
        }
    }
}

async fn post(world: &World, host: &Host, event: &Value) {
    let url = format!("http://{}/hooks/lies/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = signed(request, event).send().await.expect("the host answers");
    assert_eq!(answer.status().as_u16(), 200, "{event}");
}

async fn runs_of(world: &World, host: &Host, lane: &Lane) -> Vec<Value> {
    let url = format!("http://{}/api/v1/runs?limit=1000&policy={}", host.admin, lane.name);
    let answer = world.http.get(url).send().await.expect("admin answers");
    let listed: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
    listed["runs"].as_array().expect("a list of runs").clone()
}

/// A person gives a held run up, which frees its machine.
async fn give_up(world: &World, host: &Host, run: &Value) {
    let id = run["id"].as_str().expect("an id");
    let url = format!("http://{}/api/v1/runs/{id}", host.admin);
    let shown = world.http.get(&url).send().await.expect("admin answers").text().await.expect("a body");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let request = world.http.post(format!("{url}/decision")).header("content-type", "application/json");
    let decision = json!({ "decision": { "resolve": "abandon" }, "epoch": shown["epoch"], "by": "the test" });
    let answer = request.body(decision.to_string()).send().await.expect("admin answers");
    answer.error_for_status().expect("taken");
}

/// Looks until there is something to see, more rarely and for longer than the harness: there are many to look at.
async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    found.await.ok()
}

/// xorshift64: good enough to choose lies, and the seed repeats them.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

//! Schedules over HTTP: `GET /api/v1/schedules`, `POST /api/v1/schedules/pause`, `/resume` and `/fire`. Leaves keeping pauses to the
//! store, and obeying to the timer. Tested in `super::tests` and, with a whole host, in `tests/tests/it/schedules.rs`.

use super::{Admin, Asked, Filter, Refusal, RefusedFile, audited, json_answer, told};
use crate::policy::LivePolicy;
use crate::store::{Pause, Recorded, ScheduleKey, ScheduleState, Store};
use crate::trigger::timer::by_hand;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use opsward_core::access::Caller;
use opsward_core::id::PolicyName;
use opsward_core::run::Mode;
use opsward_core::schedule::{CLOCK_JUMP_MAX, Schedule};
use opsward_core::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Fire times shown of each schedule: enough to see its rhythm.
pub(crate) const NEXT_SHOWN: usize = 3;
/// Schedules whose state is asked for at once.
const TOGETHER: usize = 500;

pub(super) async fn list(State(admin): State<Admin>, query: Asked) -> Result<Response, Refusal> {
    let filter = Filter::parse(query, &["limit"])?;
    let now = admin.clock.now();
    let set = admin.policies.load();
    let all: Vec<(&Arc<LivePolicy>, &Schedule)> = set
        .policies
        .iter()
        .flat_map(|live| live.settings.schedules.iter().map(move |one| (live, one)))
        .collect();
    let mut schedules = Vec::with_capacity(all.len());
    for together in all.chunks(TOGETHER) {
        let keys = together.iter().map(|(live, schedule)| key(&live.settings.name, schedule)).collect();
        let states = admin.store.schedule_states(keys, now + CLOCK_JUMP_MAX).await?;
        for ((live, schedule), state) in together.iter().zip(&states) {
            let mut entry = schedule_json(schedule, now);
            entry["policy"] = json!(live.settings.name);
            add_state(&mut entry, state);
            schedules.push(entry);
        }
    }
    let firings = admin.store.list_firings(filter.limit).await?;
    Ok(json_answer(&json!({ "schedules": schedules, "firings": firings })))
}

/// A schedule by itself: its words, and when it is acted on next.
pub(crate) fn schedule_json(schedule: &Schedule, now: Timestamp) -> Value {
    json!({
        "schedule": schedule.text(),
        "zone": schedule.zone(),
        "reads": schedule.words(),
        "misfire": schedule.misfire(),
        "overlap": schedule.overlap(),
        "next_at": schedule.upcoming(now).take(NEXT_SHOWN).collect::<Vec<_>>(),
        "next": schedule.display_next(NEXT_SHOWN, now),
    })
}

/// Adds what is recorded of it.
pub(crate) fn add_state(entry: &mut Value, state: &ScheduleState) {
    entry["paused"] = json!(state.paused());
    entry["waiting"] = json!(state.waiting);
    entry["unfinished"] = json!(state.unfinished);
    entry["latest"] = json!(state.latest);
}

/// What a person means: all schedules of the policy where none is named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meant {
    policy: PolicyName,
    schedule: Option<String>,
    /// For whom the caller says so.
    #[serde(default)]
    by: String,
    #[serde(default)]
    why: String,
}

/// Takes `{"policy": "p", "schedule": "unix:0 3 * * *@UTC", "why": "..."}`.
pub(super) async fn pause(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let Meant { policy, schedule, by, why } = told(&headers, &body)?;
    let key = to_pause(&admin, &policy, schedule.as_deref())?;
    let pause = Pause { by: caller.named(&by), why, at: admin.clock.now(), until: None };
    admin.store.pause_schedule(key.clone(), pause).await?;
    audited(&caller, "schedule.pause", &shown(&key));
    Ok(json_answer(&json!({ "paused": [key] })))
}

/// Takes `{"policy": "p", "schedule": "unix:0 3 * * *@UTC"}`.
pub(super) async fn resume(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let Meant { policy, schedule, by, .. } = told(&headers, &body)?;
    let key = match &schedule {
        // Whatever has become of its file, a pause of it can be ended.
        None => ScheduleKey::all_of(policy.clone()),
        Some(text) => ScheduleKey { policy: policy.clone(), schedule: text.as_str().into() },
    };
    if !key.is_all() {
        let of_all = vec![ScheduleKey::all_of(policy.clone())];
        let states = admin.store.schedule_states(of_all, admin.clock.now()).await?;
        if states.iter().any(|state| state.paused().is_some()) {
            return Err(Refusal::new(StatusCode::CONFLICT, ALL_PAUSED));
        }
    }
    if admin.store.resume_schedule(key.clone(), caller.named(&by), admin.clock.now()).await? {
        audited(&caller, "schedule.resume", &shown(&key));
        return Ok(json_answer(&json!({ "resumed": [key] })));
    }
    // Nothing was paused: that is an answer where what is named exists.
    match &schedule {
        None => is_known(&admin, &policy)?,
        Some(text) => drop(meant(&*find(&admin, &policy)?, Some(text))?),
    }
    Ok(json_answer(&json!({ "resumed": [] })))
}

/// Why one schedule cannot be resumed by itself.
pub(crate) const ALL_PAUSED: &str = "all schedules of the policy are paused: resume the policy, without naming a schedule; nothing was changed";

/// What a pause is of: one of the policy's schedules, or, where none is named, all that it has or comes to have, also while its
/// file cannot be read.
fn to_pause(admin: &Admin, policy: &PolicyName, text: Option<&str>) -> Result<ScheduleKey, Refusal> {
    if let Some(text) = text {
        let found = meant(&*find(admin, policy)?, Some(text))?.pop();
        return found.ok_or_else(|| Refusal::not_found("no such schedule"));
    }
    is_known(admin, policy)?;
    Ok(ScheduleKey::all_of(policy.clone()))
}

/// A policy that is live, or whose file is there.
fn is_known(admin: &Admin, policy: &PolicyName) -> Result<(), Refusal> {
    let is_refused = |file: &RefusedFile| file.policy.as_ref() == Some(policy);
    if admin.policies.load().find(policy).is_some() || (admin.refused)().iter().any(is_refused) {
        return Ok(());
    }
    Err(Refusal::not_found("no policy is called so: nothing was changed"))
}

fn shown(key: &ScheduleKey) -> String {
    format!("{}: {}", key.policy, if key.is_all() { "all schedules" } else { &key.schedule })
}

/// Takes the same; of a policy with several schedules one must be named.
pub(super) async fn fire(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let Meant { policy, schedule, by, .. } = told(&headers, &body)?;
    let live = find(&admin, &policy)?;
    if live.settings.mode == Mode::Off {
        return Err(Refusal::new(StatusCode::CONFLICT, "the policy is off: nothing was fired"));
    }
    let keys = meant(&live, schedule.as_deref())?;
    let [key] = keys.as_slice() else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, format!("name one of {}", named(&live))));
    };
    let fired = live.settings.schedules.iter().find(|one| one.text() == &*key.schedule);
    let Some(fired) = fired else { return Err(Refusal::not_found("no such schedule")) };
    let (new, run) = by_hand(&live, fired, &caller.named(&by), admin.clock.now());
    let store: Arc<dyn Store> = admin.store.clone();
    // A task of its own: a caller who hangs up does not stop half-way what was begun.
    let recording = tokio::spawn(async move { store.fire(vec![new]).await });
    let recorded = recording
        .await
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??;
    match recorded.first() {
        Some(Recorded::First) => {
            audited(&caller, "schedule.fire", &shown(key));
            admin.work.notify_one();
            Ok(json_answer(&json!({ "fired": key, "run": run })))
        }
        Some(Recorded::Unfinished) => Err(Refusal::new(
            StatusCode::CONFLICT,
            "a run of this schedule has not ended: nothing was fired; `overlap = \"allow\"` lets them run side by side",
        )),
        _ => Err(Refusal::new(
            StatusCode::CONFLICT,
            "it was fired in this very moment: nothing was fired twice",
        )),
    }
}

fn find(admin: &Admin, policy: &PolicyName) -> Result<Arc<LivePolicy>, Refusal> {
    let found = admin.policies.load().find(policy).cloned();
    found.ok_or_else(|| Refusal::not_found("no live policy is called so: nothing was changed"))
}

/// The policy's schedules of that text; all where none is given.
fn meant(live: &LivePolicy, text: Option<&str>) -> Result<Vec<ScheduleKey>, Refusal> {
    let all = live.settings.schedules.iter();
    let found = all.filter(|schedule| text.is_none_or(|text| schedule.text() == text));
    let keys: Vec<_> = found.map(|schedule| key(&live.settings.name, schedule)).collect();
    if keys.is_empty() {
        let problem = format!("the policy has no such schedule; it has {}", named(live));
        return Err(Refusal::new(StatusCode::NOT_FOUND, problem));
    }
    Ok(keys)
}

fn named(live: &LivePolicy) -> String {
    let texts: Vec<_> =
        live.settings.schedules.iter().map(|schedule| format!("`{}`", schedule.text())).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn key(policy: &PolicyName, schedule: &Schedule) -> ScheduleKey {
    ScheduleKey { policy: policy.clone(), schedule: schedule.shared_text() }
}

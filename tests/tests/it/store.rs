//! What every store promises (`promises`), run against each store there is, and what is particular to a store in a
//! file (`file`, `damage`, `copy`). A second store is one more `Lab` and one more `promises!`.

mod approvals;
mod budget;
mod copy;
mod cursor;
pub(crate) mod damage;
mod file;
mod golden;
mod hints;
mod incidents;
mod lock;
pub(crate) mod memory;
mod once;
mod policy_state;
mod promises;
mod retention;
mod schedules;
mod shelf;
mod shelf_incidents;
mod shelf_keys;

use memory::Disk;
use opsward::store::sqlite::{Bounds, SqliteStore};
use opsward::store::{
    Claimed, EventFilter, Firing, NewEvent, NewFiring, NewRun, Recorded, ScheduleKey, ScheduleState,
    Standing, Store, Work,
};
use opsward_core::event::{Event, Wants};
use opsward_core::id::{Digest, PolicyName, RunId};
use opsward_core::run::{Entry, LogLevel, Record};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use std::sync::Arc;
use tempfile::TempDir;

/// Where stores of one kind are made.
trait Lab {
    /// A place of its own, empty.
    fn new() -> Self;
    /// Opens the store there.
    fn open(&self) -> Arc<dyn Store>;
    /// What the disk would hold if the host were killed at this moment.
    fn killed(&self) -> Self;
}

/// Stores in a file. With a small `INDEXING_AT` what is otherwise met after thousands of events is met after a few.
struct Sqlite<const INDEXING_AT: usize = 30_000>(TempDir);

impl<const INDEXING_AT: usize> Lab for Sqlite<INDEXING_AT> {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }
    fn open(&self) -> Arc<dyn Store> {
        self.open_sqlite()
    }
    fn killed(&self) -> Self {
        let copy = Self::new();
        for name in ["opsward.db-wal", "opsward.db"] {
            std::fs::copy(self.0.path().join(name), copy.0.path().join(name)).expect("copied");
        }
        copy
    }
}

impl<const INDEXING_AT: usize> Sqlite<INDEXING_AT> {
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("opsward.db")
    }
    fn open_sqlite(&self) -> Arc<SqliteStore> {
        let bounds = Bounds { indexed_at: INDEXING_AT, ..Bounds::default() };
        SqliteStore::open_within(&self.path(), bounds).expect("the store opens")
    }
}

/// Stores in memory.
struct Memory(Disk);

impl Lab for Memory {
    fn new() -> Self {
        Self(Disk::default())
    }
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.open(None))
    }
    fn killed(&self) -> Self {
        Self(self.0.killed(0))
    }
}

macro_rules! keeps_its_promises {
    ($store:ident, $lab:ty) => {
        mod $store {
            use super::*;
            promises!($lab, promises:
                a_second_delivery_of_an_event_starts_no_second_run
                a_claim_hands_out_everything_known_of_the_run
                claims_come_oldest_wake_time_first_and_never_early
                a_run_accepted_under_a_clock_that_ran_ahead_is_claimed_once_it_is_set_back
                a_past_claim_writes_nothing
                records_nobody_waits_for_keep_their_place
                a_finished_claim_leaves_the_run_where_it_was_told
                lists_are_newest_first_filtered_and_cut
                runs_are_found_by_the_beginning_of_their_id
                counts_and_pins_follow_the_runs
                a_closed_store_writes_nothing
                everything_that_was_answered_survives_a_kill
                many_workers_at_once_do_each_run_once
                a_run_over_which_hosts_die_is_suspected_and_handed_out_alone
                a_run_whose_runner_died_is_ready_and_counted_as_if_its_host_had);
            promises!($lab, schedules:
                the_first_to_record_a_fire_time_wins
                a_schedule_is_unfinished_until_its_run_ends
                the_latest_word_on_where_a_schedule_is_settled_counts_also_through_a_kill
                what_waits_is_decided_on_once_more
                what_was_skipped_under_a_clock_that_ran_ahead_may_still_be_fired
                nothing_is_fired_by_the_clock_while_a_pause_lasts_also_through_a_kill
                a_pause_of_a_policy_is_one_of_all_that_it_has_and_ends_with_all_of_its_pauses
                no_run_starts_beside_one_that_may_not_be_overlapped
                what_a_person_had_fired_is_no_fire_time
                decisions_of_one_call_are_recorded_in_order);
            promises!($lab, cursor:
                a_cursor_moves_with_the_events_before_it_and_through_a_kill
                cursors_are_told_by_source_and_key);
            promises!($lab, incidents:
                a_notice_wakes_a_policy_once_and_late_only_where_it_is_named
                a_happening_that_comes_by_two_ways_wakes_each_policy_once
                an_alarm_that_fires_anew_wakes_anew
                an_alarm_that_fires_graver_wakes_once_more
                what_is_no_notice_wakes_always_and_moves_nothing
                events_are_listed_by_incident_source_type_and_id
                notices_of_one_delivery_and_through_restarts_count_as_if_they_came_alone);
            promises!($lab, hints:
                a_hint_keeps_no_proved_notice_from_waking
                a_hint_that_has_made_an_effect_stands_for_the_proved_notice
                a_hints_run_gives_way_to_that_of_the_proved_notice
                no_later_hint_makes_what_one_has_done_be_done_again
                a_hint_about_another_resource_silences_nobody
                a_hint_is_judged_by_what_proved_senders_told_too);
            promises!($lab, policy_state:
                a_policys_state_keeps_within_its_bounds
                a_version_of_a_deleted_key_never_matches_again
                each_access_to_state_is_in_the_ledger);
            promises!($lab, once:
                the_first_effect_with_a_key_takes_it_and_later_ones_get_its_answer
                a_key_is_told_by_policy_and_action
                an_effect_that_failed_frees_its_key_and_one_without_a_result_keeps_it
                a_key_and_the_record_it_comes_with_are_written_both_or_neither
                an_answered_key_is_kept_for_its_time_and_not_for_ever);
            promises!($lab, budget:
                an_effect_counts_with_its_intent_and_through_kills
                an_effect_without_room_leaves_no_trace
                what_an_effect_counted_is_given_back_if_it_changed_nothing
                what_an_earlier_try_counted_counts_on
                what_failed_counts_for_a_ramp_and_a_circuit_until_somebody_ends_that
                different_resources_count_once_each
                a_halt_lasts_until_it_is_ended_also_through_a_kill);
            promises!($lab, approvals:
                a_run_waits_for_an_approval_until_it_is_decided_or_ends
                of_two_decisions_on_what_was_seen_one_comes_first
                a_policys_state_is_looked_at_without_a_trace);
            promises!($lab, lock:
                a_resource_has_one_effect_until_its_outcome_is_known
                locks_outlive_hosts_claims_and_holds_and_end_with_the_run
                a_past_claim_takes_no_lock
                a_decision_settles_key_and_lock_and_lets_the_run_go_on
                an_abandoned_effect_keeps_its_key_and_frees_its_resource
                a_decision_on_a_run_that_has_moved_on_is_not_written);
        }
    };
}
macro_rules! keeps_its_disk_bounded {
    ($store:ident, $lab:ty) => {
        mod $store {
            use super::*;
            promises!($lab, retention:
                what_ended_before_is_deleted_and_nothing_else
                numbers_grow_although_everything_old_is_deleted
                a_slice_is_bounded
                the_latest_decision_on_a_schedule_stays);
            promises!($lab, incidents:
                an_incident_is_kept_as_long_as_the_latest_of_its_events);
        }
    };
}
macro_rules! promises {
    ($lab:ty, $promises:ident: $($name:ident)*) => {
        $(#[tokio::test] async fn $name() { $promises::$name::<$lab>().await; })*
    };
}

keeps_its_promises!(sqlite, Sqlite);
keeps_its_promises!(memory_store, Memory);
keeps_its_promises!(sqlite_indexing_early, Sqlite<3>);
keeps_its_disk_bounded!(sqlite_retention, Sqlite);
keeps_its_disk_bounded!(sqlite_retention_indexing_early, Sqlite<3>);

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn after(ms: i64) -> Timestamp {
    Timestamp::from_ms(NOW.ms() + ms)
}

fn policy(name: &str) -> PolicyName {
    name.parse().expect("a policy name")
}

/// An event of source `hook` received at `received`, with a run for each of `policies`.
pub(crate) fn event(id: &str, received: Timestamp, policies: &[&str]) -> NewEvent {
    let source = "hook".parse().expect("a source name");
    let run = |name: &&str| NewRun {
        id: RunId::derive(&source, id, &policy(name)),
        policy: policy(name),
        digest: Digest::of(name.as_bytes()),
        wants: Wants::Progress,
    };
    let runs = policies.iter().map(run).collect();
    let event = Event {
        source: source.clone(),
        id: id.to_owned(),
        kind: "Disk:Stalled".to_owned(),
        subject: Some("i-1".to_owned()),
        time: after(-500),
        data: format!("{{\"n\":\"{id}\"}}"),
        incident: None,
        level: None,
        transition: None,
        account: Some("123".to_owned()),
        region: Some("cn-hangzhou".to_owned()),
    };
    NewEvent { event, raw: b"as it came".to_vec(), received, trust: Trust::Proved, runs }
}

/// Records one decision, and tells what became of it.
pub(crate) async fn fire(store: &dyn Store, firing: Firing, event: Option<NewEvent>) -> Recorded {
    let new = NewFiring { firing, event, overlaps: true, by: None };
    store.fire(vec![new]).await.expect("recorded").remove(0)
}

/// A schedule of policy `a`.
fn schedule_of_a(schedule: &str) -> ScheduleKey {
    ScheduleKey { policy: policy("a"), schedule: schedule.into() }
}

/// What is recorded of a schedule of policy `a`.
async fn state_of(store: &dyn Store, schedule: &str) -> ScheduleState {
    let keys = vec![schedule_of_a(schedule)];
    store.schedule_states(keys, after(10 * 86_400_000)).await.expect("asked").remove(0)
}

/// A record that can be told from others by its text.
fn line(message: &str) -> Record {
    Record::new(NOW, Entry::Log { level: LogLevel::Info, message: message.to_owned() })
}

/// The texts of the `line`s in a ledger.
fn messages(ledger: &[Record]) -> Vec<&str> {
    ledger
        .iter()
        .filter_map(|record| match &record.entry {
            Entry::Log { message, .. } => Some(message.as_str()),
            _ => None,
        })
        .collect()
}

async fn claim_one(store: &dyn Store) -> Claimed {
    claim_at(store, NOW).await
}

/// The same with its ledger.
async fn work_on_one(store: &dyn Store) -> Work {
    store.take_up(claim_one(store).await).await.expect("taken up")
}

async fn claim_at(store: &dyn Store, now: Timestamp) -> Claimed {
    store.claim(1, now).await.expect("claimed").pop().expect("a run is ready")
}

/// Waits until what was claimed is on disk: a claim is handed out before.
async fn on_disk(store: &dyn Store) {
    store.next_wake().await.expect("asked");
}

/// An event received at `at` whose run was done at once.
pub(crate) async fn a_run_that_ended(store: &dyn Store, id: &str, at: Timestamp) {
    store.accept(vec![event(id, at, &["a"])]).await.expect("accepted");
    let claim = claim_at(store, at).await.claim;
    let records = vec![Record { at, ..line(&format!("of {id}")) }];
    store.finish(&claim, records, Standing::Done).await.expect("finished");
}

/// Takes from a file what it has had since format 4.
const SINCE_4: &str =
    "ALTER TABLE ledger DROP COLUMN sum; DROP TABLE shutdown; DROP TABLE copy; DROP TABLE restored;";
/// And since format 5.
const SINCE_5: &str = "DROP TABLE spent; DROP TABLE halts;";
/// And since format 6, with what that had instead.
pub(crate) const SINCE_6: &str = "DROP TABLE approvals; DROP TABLE audit; DROP TABLE spent;
    CREATE TABLE spent (
      scope TEXT NOT NULL, at INTEGER NOT NULL, run TEXT NOT NULL, position INTEGER NOT NULL, cost INTEGER NOT NULL,
      PRIMARY KEY (scope, at, run, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX spent_of_run ON spent (run);
    CREATE INDEX spent_at ON spent (at);";
/// And since format 7.
pub(crate) const SINCE_7: &str =
    "ALTER TABLE events DROP COLUMN level; ALTER TABLE events DROP COLUMN transition; ALTER TABLE events DROP COLUMN proved;
    DROP TABLE cursors;
    DROP TABLE incidents; DROP INDEX firings_queued; DROP TABLE pauses;";
/// And since format 8: all that only the newest has.
pub(crate) const SINCE_8: &str =
    "ALTER TABLE incidents DROP COLUMN since; ALTER TABLE incidents DROP COLUMN gravity; DROP TABLE hinted;
     ALTER TABLE runs DROP COLUMN effects; DROP INDEX runs_of_policy; DROP TABLE settled;";

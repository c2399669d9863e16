//! Guests that misbehave, at the level of the engine: each ends in its own way, within its bounds, and another policy goes
//! on meanwhile. The guests are in `tests/guests`.

use crate::harness::compiler;
use opsward::plugin::engine::{Engine, Limits, Revision};
use opsward::plugin::judge::RefusedPlugin;
use opsward::plugin::{Ended, GuestCalls, RunContext};
use opsward_core::call::CallResponse;
use opsward_core::event::Event;
use opsward_core::id::{Digest, RunId};
use opsward_core::run::{FaultKind, HostReply, HostRequest, LogLevel, Mode, StateReply, Stop};
use opsward_core::time::Timestamp;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::OnceCell;

const HOSTILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-hostile.wasm"));
const WASI: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-wasi.wasm"));
/// Short, so that the endless loop ends soon; long enough for the well-behaved ones on a busy machine.
const CPU: Duration = Duration::from_millis(500);
const NOW_MS: i64 = 1_528_421_137_410;

#[tokio::test]
async fn each_misbehaviour_ends_in_a_fault_of_its_own_kind() {
    let cases = [
        ("endless-loop", FaultKind::CpuBudget, "500 ms"),
        ("memory-bomb", FaultKind::Memory, "memory limit"),
        ("deep-recursion", FaultKind::Stack, "recursion"),
        ("huge-result", FaultKind::Size, "over the limit"),
        ("huge-argument", FaultKind::Size, "over the limit"),
        ("many-calls", FaultKind::CallBudget, "1000 host calls"),
        ("panic", FaultKind::Trap, "unreachable"),
        ("trap", FaultKind::Trap, "unreachable"),
    ];
    for (behaviour, kind, words) in cases {
        let (ended, _) = run_hostile(behaviour, Broker::default()).await;
        let Ended::Faulted(fault) = ended else { panic!("{behaviour}: {ended:?}") };
        assert_eq!(fault.kind, kind, "{behaviour}: {}", fault.message);
        assert!(fault.message.contains(words), "{behaviour}: {}", fault.message);
        assert!(!fault.message.contains('\n'), "{behaviour}: {}", fault.message);
    }
}

#[tokio::test]
async fn another_policy_goes_on_while_one_loops() {
    let looping = async {
        run_hostile("endless-loop", Broker::default()).await;
        tokio::time::Instant::now()
    };
    let good = async {
        // The loop has the only thread by the time this is polled first.
        let (ended, broker) = run_hostile("good", Broker::default()).await;
        assert!(matches!(&ended, Ended::Done(outcome) if outcome.summary == "2 calls answered"), "{ended:?}");
        assert_eq!(broker.calls, 2);
        tokio::time::Instant::now()
    };
    let (loop_ended, good_ended) = tokio::join!(looping, good);
    assert!(good_ended < loop_ended);
}

#[tokio::test]
async fn a_failure_is_the_policys_own_and_no_fault() {
    let (ended, _) = run_hostile("refuse", Broker::default()).await;
    assert!(matches!(&ended, Ended::Failed(f) if f.code == "Test.Refused" && f.retryable), "{ended:?}");
}

#[tokio::test]
async fn the_text_of_a_panic_reaches_the_log() {
    let (_, broker) = run_hostile("panic", Broker::default()).await;
    assert!(
        broker.log.iter().any(|(level, line)| *level == LogLevel::Error && line.contains("on purpose")),
        "{:?}",
        broker.log
    );
}

#[tokio::test]
async fn a_log_flood_is_cut_and_the_policy_still_does_its_work() {
    let (ended, broker) = run_hostile("log-flood", Broker::default()).await;
    assert!(matches!(&ended, Ended::Done(_)), "{ended:?}");
    let bytes: usize = broker.log.iter().map(|(_, line)| line.len()).sum();
    assert!(bytes <= 256 << 10, "{bytes}");
    let (level, last) = broker.log.last().expect("a line");
    assert!(*level == LogLevel::Warn && last.contains("dropped"), "{last}");
}

#[tokio::test]
async fn time_the_host_takes_is_not_the_guests() {
    // Longer than the CPU budget, in two calls.
    let broker = Broker { takes: CPU, ..Broker::default() };
    let (ended, _) = run_hostile("good", broker).await;
    assert!(matches!(&ended, Ended::Done(_)), "{ended:?}");
}

#[tokio::test]
async fn a_run_out_of_time_ends_at_its_next_call() {
    let limits = Limits { wall: Duration::from_millis(50), ..Limits::default() };
    let engine = Engine::new(limits, &cache(), compiler()).expect("an engine");
    let revision = engine.compile(HOSTILE.to_vec()).await.expect("taken");
    let broker = Broker { takes: Duration::from_millis(200), ..Broker::default() };
    let (ended, broker) = engine.run(&revision, &event("good"), context(), broker).await;
    assert!(matches!(&ended, Ended::Faulted(fault) if fault.kind == FaultKind::Timeout), "{ended:?}");
    assert_eq!(broker.calls, 1, "the call under way was waited for");
}

#[tokio::test]
async fn what_the_broker_ends_is_passed_on() {
    let stop = Stop::SleepUntil(Timestamp::from_ms(NOW_MS + 60_000));
    for behaviour in ["sleep", "good"] {
        let broker = Broker { stop: Some(stop.clone()), ..Broker::default() };
        let (ended, _) = run_hostile(behaviour, broker).await;
        assert_eq!(ended, Ended::Stopped(stop.clone()), "{behaviour}");
    }
}

#[tokio::test]
async fn what_is_no_policy_is_refused_with_its_reason_and_what_to_do() {
    let (engine, _) = hostile().await;
    let cases: [(Vec<u8>, &str); 6] = [
        (b"PK\x03\x04 not wasm at all".to_vec(), "not WebAssembly"),
        (b"\0asm\x01\0\0\0".to_vec(), "core module"),
        (b"\0asm\x0d\0\x01\0".to_vec(), "but nothing: build it for"),
        (HOSTILE[..HOSTILE.len() / 2].to_vec(), "damaged"),
        // An interface that is not granted, and another world: names of the same length.
        (
            renamed("opsward:policy/cloud@0.1.0", "opsward:policy/shell@0.1.0"),
            "imports `opsward:policy/shell@0.1.0`",
        ),
        (
            renamed("opsward:policy/handler@0.1.0", "opsward:policy/manager@0.1.0"),
            "build it for the `policy` world",
        ),
    ];
    for (bytes, words) in cases {
        let refused = engine.compile(bytes).await.map(|_| ()).expect_err(words);
        let told = refused.to_string();
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test]
async fn a_file_over_the_size_limit_is_refused_unread() {
    let limits = Limits { plugin_bytes: 1024, ..Limits::default() };
    let engine = Engine::new(limits, &cache(), compiler()).expect("an engine");
    let refused = engine.compile(HOSTILE.to_vec()).await.expect_err("too large");
    assert!(matches!(refused, RefusedPlugin::TooLarge { max: 1024, .. }), "{refused}");
}

#[tokio::test]
async fn a_revision_tells_who_it_is_and_what_it_imports() {
    let (_, revision) = hostile().await;
    assert_eq!(revision.digest, Digest::of(HOSTILE));
    assert_eq!(revision.description.name, "hostile");
    assert_eq!(revision.description.triggers, [["hostile.*"]]);
    assert_eq!(revision.description.permissions[0].action, "ecs:DescribeDisks");
    assert!(
        revision.imports.iter().all(|import| import.starts_with("opsward:policy/")),
        "{:?}",
        revision.imports
    );
}

#[tokio::test]
async fn a_pinned_revision_is_found_after_a_restart_until_it_is_pruned() {
    let dir = tempfile::tempdir().expect("a directory");
    let digest = Digest::of(HOSTILE);
    let engine = Engine::new(Limits::default(), dir.path(), compiler()).expect("an engine");
    assert!(engine.load_pinned(digest).await.expect("looked").is_none());
    engine.compile(HOSTILE.to_vec()).await.expect("taken");

    let restarted = Engine::new(Limits::default(), dir.path(), compiler()).expect("an engine");
    let revision = restarted.load_pinned(digest).await.expect("looked").expect("kept");
    let (ended, _) = restarted.run(&revision, &event("good"), context(), Broker::default()).await;
    assert!(matches!(ended, Ended::Done(_)), "{ended:?}");

    restarted.prune_cache(&[].into()).expect("pruned");
    assert!(restarted.load_pinned(digest).await.expect("looked").is_none());
}

#[tokio::test]
async fn without_address_space_for_the_pool_runs_still_end_within_their_bounds() {
    // More places than 47 bits of address space can hold.
    let limits = Limits { instances: 100_000, cpu: CPU, ..Limits::default() };
    let engine = Engine::new(limits, &cache(), compiler()).expect("an engine");
    let revision = engine.compile(HOSTILE.to_vec()).await.expect("taken");
    for (behaviour, kind) in [("memory-bomb", FaultKind::Memory), ("deep-recursion", FaultKind::Stack)] {
        let (ended, _) = engine.run(&revision, &event(behaviour), context(), Broker::default()).await;
        assert!(matches!(&ended, Ended::Faulted(fault) if fault.kind == kind), "{behaviour}: {ended:?}");
    }
    let (ended, _) = engine.run(&revision, &event("good"), context(), Broker::default()).await;
    assert!(matches!(ended, Ended::Done(_)), "{ended:?}");
}

#[tokio::test]
async fn a_wasi_guest_sees_nothing_but_the_runs_clock_and_repeatable_numbers() {
    let (engine, revision) = wasi().await;
    assert!(revision.imports.iter().any(|import| import.starts_with("wasi:filesystem/types@0.2.")));
    let look = async || {
        let (ended, _) = engine.run(revision, &event("look-around"), context(), Broker::default()).await;
        let Ended::Done(outcome) = ended else { panic!("{ended:?}") };
        serde_json::from_str::<Value>(&outcome.details).expect("JSON")
    };
    let seen = look().await;
    for (what, expected) in [
        ("variables", Value::from(0)),
        ("arguments", 0.into()),
        ("file", false.into()),
        ("folder", false.into()),
        ("written", false.into()),
        ("now_ms", NOW_MS.into()),
        ("agrees", true.into()),
        ("elapsed", 0.into()),
    ] {
        assert_eq!(seen[what], expected, "{what}");
    }
    assert_eq!(look().await, seen, "a replay sees the same");
}

#[tokio::test]
async fn a_wasi_guest_cannot_wait_and_is_told_how_to() {
    let (engine, revision) = wasi().await;
    let (ended, _) = engine.run(revision, &event("wait"), context(), Broker::default()).await;
    assert!(matches!(&ended, Ended::Faulted(fault) if fault.message.contains("clock.sleep")), "{ended:?}");
}

#[tokio::test]
async fn the_last_words_of_a_wasi_guest_are_in_its_fault() {
    let (engine, revision) = wasi().await;
    let (ended, _) = engine.run(revision, &event("last-words"), context(), Broker::default()).await;
    let Ended::Faulted(fault) = ended else { panic!("{ended:?}") };
    assert!(
        fault.message.contains("the disk is on fire") && fault.message.len() <= 1024,
        "{}",
        fault.message
    );
}

/// Answers every call, and remembers what was asked.
#[derive(Default)]
pub(crate) struct Broker {
    /// How long each answer takes.
    takes: Duration,
    /// What to end the guest with instead of answering.
    stop: Option<Stop>,
    calls: usize,
    log: Vec<(LogLevel, String)>,
}

impl Broker {
    /// One whose answers take this long.
    pub(crate) fn taking(takes: Duration) -> Self {
        Self { takes, ..Self::default() }
    }
}

impl GuestCalls for Broker {
    async fn perform(&mut self, request: HostRequest) -> Result<HostReply, Stop> {
        let answer =
            || Ok(CallResponse { request_id: "r-1".to_owned(), body: "{}".to_owned(), simulated: false });
        if let HostRequest::Log { level, message } = request {
            self.log.push((level, message));
            return Ok(HostReply::Unit);
        }
        tokio::time::sleep(self.takes).await;
        self.calls += 1;
        match (&self.stop, request) {
            (Some(stop), _) => Err(stop.clone()),
            (None, HostRequest::Call(_)) => Ok(HostReply::Call(answer())),
            (None, HostRequest::CallAll { requests, .. }) => {
                Ok(HostReply::CallAll(requests.iter().map(|_| answer()).collect()))
            }
            (None, HostRequest::State(_)) => Ok(HostReply::State(StateReply::Written(Ok(1)))),
            (None, _) => Ok(HostReply::Unit),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_ms(NOW_MS)
    }
}

async fn run_hostile(behaviour: &str, broker: Broker) -> (Ended, Broker) {
    let (engine, revision) = hostile().await;
    engine.run(revision, &event(behaviour), context(), broker).await
}

async fn hostile() -> &'static (Engine, Revision) {
    static LOADED: OnceCell<(Engine, Revision)> = OnceCell::const_new();
    LOADED.get_or_init(|| load(HOSTILE)).await
}

async fn wasi() -> &'static (Engine, Revision) {
    static LOADED: OnceCell<(Engine, Revision)> = OnceCell::const_new();
    LOADED.get_or_init(|| load(WASI)).await
}

async fn load(bytes: &[u8]) -> (Engine, Revision) {
    let limits = Limits { cpu: CPU, ..Limits::default() };
    let engine = Engine::new(limits, &cache(), compiler()).expect("an engine");
    let revision = engine.compile(bytes.to_vec()).await.unwrap_or_else(|refused| panic!("{refused}"));
    (engine, revision)
}

/// Kept between test runs: compiling with an unoptimised compiler takes seconds.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-guests")
}

pub(crate) fn event(kind: &str) -> Event {
    Event {
        source: "manual".parse().expect("a name"),
        id: "e-1".to_owned(),
        kind: kind.to_owned(),
        subject: None,
        time: Timestamp::from_ms(NOW_MS),
        data: "{}".to_owned(),
        incident: None,
        account: None,
        region: None,
        level: None,
        transition: None,
    }
}

pub(crate) fn context() -> RunContext {
    RunContext {
        run: RunId::from_text("0123456789abcdef01234567"),
        policy: "hostile".parse().expect("a name"),
        attempt: 1,
        mode: Mode::Enforce,
        config: "{}".into(),
    }
}

/// The hostile guest with every mention of one name replaced by another of the same length.
fn renamed(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = HOSTILE.to_vec();
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, w)| *w == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{from}");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

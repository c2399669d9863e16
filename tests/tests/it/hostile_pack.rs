//! Packs of hostile guests: those of `tests/hostile-wat`, probes for what is not granted, damaged files, and generated
//! modules. Each is refused when loaded or ends within its bounds, as its head line says; afterwards a good policy still
//! works. Leaves guests written in Rust to `hostile`.

mod assemble;
mod compiling;

use crate::harness::{compiler, times};
use crate::hostile::{Broker, cache, context, event};
use arbitrary::Unstructured;
use assemble::{guests, wrap};
pub(crate) use compiling::bomb;
use opsward::plugin::Ended;
use opsward::plugin::engine::{Engine, Limits, Revision};
use opsward_core::run::FaultKind;
use std::process::Command;
use std::time::Duration;

/// Computing time of a run: short, since several guests use it up; enough for the others on a busy machine.
const CPU: Duration = Duration::from_millis(500);
/// Set for the process that measures its own memory: other tests must not disturb it.
const ALONE: &str = "OPSWARD_TEST_ALONE";
/// Most growth of the host over many runs, in KiB.
const GROWTH_KIB_MAX: u64 = 10 << 10;
/// Fewest guests there must be: a pack that is not found must not pass.
const GUESTS_MIN: usize = 100;
/// Components one in another: far more than any toolchain makes. What they cost to load grows faster than their number.
const NESTED: usize = 2_000;
/// Generated modules, and the bytes that each is made of: they are compiled by an unoptimised compiler.
const GENERATED: u64 = 300;
const GENERATED_FROM_BYTES: usize = 1_024;

#[tokio::test]
async fn each_guest_of_the_packs_ends_as_its_head_says() {
    let engine = engine(CPU);
    let good = good(&engine).await;
    let guests = guests();
    assert!(guests.len() >= GUESTS_MIN, "{}", guests.len());
    let mut wrong = Vec::new();
    for guest in guests {
        let end = match engine.compile(guest.component()).await {
            Err(refused) => format!("refused {refused}"),
            Ok(revision) => told(&run(&engine, &revision).await),
        };
        if !fits(guest.end, &end) {
            wrong.push(format!("{}: must end as `{}`, but: {end}", guest.name, guest.end));
        }
        assert_eq!(told(&run(&engine, &good).await), "done", "after {}", guest.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_not_granted_is_refused_by_name() {
    let engine = engine(CPU);
    for (import, words) in [
        ("wasi:sockets/tcp@0.2.0", "no network"),
        ("wasi:sockets/udp@0.2.6", "no network"),
        ("wasi:sockets/ip-name-lookup@0.2.0", "no network"),
        ("wasi:sockets/instance-network@0.2.0", "no network"),
        ("wasi:http/outgoing-handler@0.2.0", "no network"),
        ("wasi:http/types@0.2.6", "no network"),
        ("wasi:http/incoming-handler@0.2.0", "no network"),
        ("wasi:keyvalue/store@0.2.0", "may import"),
        ("wasi:config/store@0.2.0", "may import"),
        ("wasi:clocks/timezone@0.2.0", "may import"),
        ("wasi:cli/run@0.2.0", "may import"),
        ("wasi:filesystem/types@0.3.0", "WASI 0.2"),
        ("wasi:cli/environment@0.1.0", "WASI 0.2"),
        ("wasi:random/random@1.2.0", "WASI 0.2"),
        ("opsward:policy/shell@0.1.0", "does not know the interface"),
        ("opsward:policy/cloud@0.2.0", "version 0.1"),
        ("opsward:policy/cloud@1.0.0", "version 0.1"),
        ("opsward:policy/cloud@0.0.1", "version 0.1"),
        ("opsward:policies/cloud@0.1.0", "may import"),
        ("opsward:policy-x/cloud@0.1.0", "may import"),
        ("env:host/secrets", "may import"),
    ] {
        let text = format!(
            "(component (import \"{import}\" (instance))
             (instance $i) (export \"opsward:policy/handler@0.1.0\" (instance $i)))"
        );
        let refused = refusal(&engine, wat::parse_str(text).expect("well formed")).await;
        assert!(refused.contains(import) && refused.contains(words), "{import}: {refused}");
    }
}

#[tokio::test]
async fn components_of_another_shape_are_refused_with_a_reason() {
    let engine = engine(CPU);
    let handler = "(instance $i) (export \"opsward:policy/handler@0.1.0\" (instance $i))";
    let types = (0..200).fold("(type $t0 (list u8))".to_owned(), |text, n| {
        format!("{text}(type $t{} (tuple $t{n} $t{n} $t{n} $t{n}))", n + 1)
    });
    let flags = (0..33).fold(String::new(), |text, n| format!("{text} \"f{n}\""));
    let cases = [
        ("a component that exports nothing", String::new(), "but nothing"),
        (
            "another world",
            "(instance $i) (export \"wasi:cli/run@0.2.0\" (instance $i))".to_owned(),
            "`wasi:cli/run",
        ),
        ("a handler of another version", handler.replace("0.1.0", "0.2.0"), "handler@0.2.0"),
        ("a handler without functions", handler.to_owned(), "does not fit"),
        ("types that double with each level", format!("{types}{handler}"), "damaged"),
        ("more flags than a word has", format!("(type $f (flags{flags})){handler}"), "flags"),
        ("a core module that is imported", format!("(import \"m\" (core module)){handler}"), "imports `m`"),
        ("a function that is imported", format!("(import \"f\" (func)){handler}"), "imports `f`"),
        ("a resource of its own", format!("(type $r (resource (rep i32))){handler}"), "does not fit"),
    ];
    for (name, text, words) in cases {
        let bytes = wat::parse_str(format!("(component {text})"));
        let refused = refusal(&engine, bytes.unwrap_or_else(|e| panic!("{name}: {e}"))).await;
        assert!(refused.contains(words), "{name}: {refused}");
    }
    let preview_1 = "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)))";
    let refused = refusal(&engine, wat::parse_str(preview_1).expect("well formed")).await;
    assert!(refused.contains("core module"), "{refused}");
    let refused = refusal(&engine, nested_components(NESTED)).await;
    assert!(!refused.is_empty(), "{refused}");
}

/// Components one in another, deeper than the text format can be written.
fn nested_components(levels: usize) -> Vec<u8> {
    const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
    const COMPONENT_SECTION: u8 = 4;
    let mut bytes = HEADER.len();
    let mut heads = vec![HEADER.to_vec()];
    for _ in 0..levels {
        let mut head = [HEADER, &[COMPONENT_SECTION]].concat();
        let mut left = bytes;
        while left > 0x7f {
            head.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        head.push(left as u8);
        bytes += head.len();
        heads.push(head);
    }
    heads.into_iter().rev().flatten().collect()
}

#[tokio::test]
async fn damaged_files_are_refused_or_harmless() {
    let engine = engine(CPU);
    let good_revision = good(&engine).await;
    let bytes = good_bytes();
    for cut in (0..bytes.len()).step_by(bytes.len() / 40) {
        refusal_or_run(&engine, bytes[..cut].to_vec()).await;
    }
    let mut random = Random(7);
    for _ in 0..200 {
        let mut damaged = bytes.clone();
        let at = random.next() as usize % damaged.len();
        damaged[at] ^= 1 << (random.next() % 8);
        refusal_or_run(&engine, damaged).await;
    }
    assert_eq!(told(&run(&engine, &good_revision).await), "done");
}

#[tokio::test]
async fn compiled_code_is_not_taken_for_a_plugin() {
    // Native code would run outside the sandbox.
    let compiled = wasmtime::Engine::default().precompile_component(&good_bytes()).expect("compiled");
    let refused = refusal(&engine(CPU), compiled).await;
    assert!(refused.contains("not WebAssembly"), "{refused}");
}

#[tokio::test]
async fn generated_policies_are_refused_or_harmless() {
    let engine = engine(Duration::from_millis(20));
    let good = good(&engine).await;
    // The exports a policy has, with bodies that are anybody's guess.
    let exports = wat::parse_str(
        "(module (memory (export \"memory\") 1)
           (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)
           (func (export \"opsward:policy/handler@0.1.0#describe\") (result i32) unreachable)
           (func (export \"opsward:policy/handler@0.1.0#handle\") (param i32) (result i32) unreachable))",
    )
    .expect("well formed");
    let mut offered = 0;
    for seed in 0..GENERATED {
        let mut random = Random(seed);
        let bytes: Vec<u8> = (0..GENERATED_FROM_BYTES).map(|_| (random.next() >> 8) as u8).collect();
        let config = wasm_smith::Config {
            exports: Some(exports.clone()),
            max_imports: 0,
            allow_start_export: true,
            ..wasm_smith::Config::default()
        };
        let Ok(module) = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)) else { continue };
        if let Ok(component) = wrap(module.to_bytes()) {
            offered += 1;
            refusal_or_run(&engine, component).await;
        }
    }
    println!("{offered} of {GENERATED} generated policies offered");
    assert!(offered > GENERATED / 2, "{offered}");
    assert_eq!(told(&run(&engine, &good).await), "done");
}

#[test]
fn hostile_runs_leave_no_memory_behind() {
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(measure_growth());
    }
    let this = "hostile_pack::hostile_runs_leave_no_memory_behind";
    let alone = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", this, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&alone.stdout);
    println!("{said}");
    assert!(alone.status.success(), "{said}{}", String::from_utf8_lossy(&alone.stderr));
    assert!(said.contains("KiB after"), "nothing was measured: {said}");
}

async fn measure_growth() {
    // The least there is: loops are ended by the same code, sooner.
    let engine = engine(Duration::from_millis(10));
    let mut revisions = Vec::new();
    for guest in guests() {
        if let Ok(revision) = engine.compile(guest.component()).await {
            revisions.push(revision);
        }
    }
    // Each place and each path has been used once after two rounds.
    for revision in revisions.iter().chain(&revisions) {
        run(&engine, revision).await;
    }
    let before = resident_kib();
    let runs = times(200, 1_000, 10_000);
    for revision in revisions.iter().cycle().take(runs) {
        run(&engine, revision).await;
    }
    let after = resident_kib();
    println!("{before} KiB before, {after} KiB after {runs} runs of {} guests", revisions.len());
    assert!(after.saturating_sub(before) < GROWTH_KIB_MAX, "{before} KiB grew to {after} KiB");
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Whether an end is the one that a head asks for: a word for the class, then words of the reason.
fn fits(wanted: &str, end: &str) -> bool {
    let (class, words) = wanted.split_once(' ').unwrap_or((wanted, ""));
    class == "any" || (end.split(' ').next() == Some(class) && end.contains(words))
}

/// An end in words: `done`, `failed CODE`, or the kind of the fault and its message.
fn told(ended: &Ended) -> String {
    match ended {
        Ended::Done(_) => "done".to_owned(),
        Ended::Failed(failure) => format!("failed {}", failure.code),
        Ended::Stopped(stop) => format!("stopped {stop:?}"),
        Ended::Crashed { how } => format!("crashed {how}"),
        Ended::Faulted(fault) => {
            let kind = match fault.kind {
                FaultKind::CpuBudget => "cpu-budget",
                FaultKind::Timeout => "timeout",
                FaultKind::Memory => "memory",
                FaultKind::Stack => "stack",
                FaultKind::Size => "size",
                FaultKind::CallBudget => "call-budget",
                FaultKind::Trap => "trap",
                FaultKind::Instantiate => "instantiate",
                FaultKind::Diverged => "diverged",
                FaultKind::Host => "host",
            };
            format!("{kind} {}", fault.message)
        }
    }
}

async fn refusal(engine: &Engine, bytes: Vec<u8>) -> String {
    engine.compile(bytes).await.map(|_| ()).expect_err("refused").to_string()
}

async fn refusal_or_run(engine: &Engine, bytes: Vec<u8>) {
    if let Ok(revision) = engine.compile(bytes).await {
        run(engine, &revision).await;
    }
}

async fn run(engine: &Engine, revision: &Revision) -> Ended {
    engine.run(revision, &event("hostile.x"), context(), Broker::default()).await.0
}

fn engine(cpu: Duration) -> Engine {
    Engine::new(Limits { cpu, instances: 8, ..Limits::default() }, &cache(), compiler()).expect("an engine")
}

async fn good(engine: &Engine) -> Revision {
    engine.compile(good_bytes()).await.unwrap_or_else(|refused| panic!("{refused}"))
}

fn good_bytes() -> Vec<u8> {
    guests().iter().find(|guest| guest.name == "good").expect("in a pack").component()
}

/// Numbers that are the same in each run: a linear congruential generator with Knuth's constants.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 32
    }
}

//! Plugins that cost the compiler too much, and compilers that fail: each ends in a refusal that says why, and nothing of it
//! happens in the process of the host.

use super::assemble::wrap;
use super::good_bytes;
use crate::harness::{PATIENCE, compiler};
use opsward::plugin::compiler::{CompileLimits, Compiler};
use opsward::plugin::engine::{Engine, Limits};
use opsward::plugin::judge::RefusedPlugin;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What good plugins of the tests stay within, and bombs of a size that is quickly generated do not.
const MEMORY_BYTES: u64 = 192 << 20;

#[tokio::test]
async fn a_bomb_for_the_compilers_memory_is_refused_by_that_limit() {
    let compiler =
        bounded(CompileLimits { memory_bytes: MEMORY_BYTES, cpu_seconds: 60, ..CompileLimits::default() });
    for (name, core) in
        [("loops", loops(600, 600)), ("locals", locals(40_000, 400)), ("jumps", jumps(60_000, 40))]
    {
        let refused = refusal(&compiler, component(name, &core)).await;
        assert!(refused.contains("more than 192 MiB of memory"), "{name}: {refused}");
    }
    taken(&compiler).await;
}

#[tokio::test]
async fn a_bomb_for_the_compilers_time_is_refused_by_that_limit() {
    let compiler =
        bounded(CompileLimits { cpu_seconds: 1, memory_bytes: 4 << 30, ..CompileLimits::default() });
    let refused = refusal(&compiler, component("loops", &loops(500, 500))).await;
    assert!(refused.contains("more than 1 s of computing"), "{refused}");
}

#[tokio::test]
async fn a_compiler_that_is_late_is_killed_and_not_waited_for() {
    let compiler = bounded(CompileLimits { wall: Duration::ZERO, ..CompileLimits::default() });
    let refused = refusal(&compiler, good_bytes()).await;
    assert!(refused.contains("given up after 0 s"), "{refused}");
}

#[tokio::test]
async fn code_that_is_larger_than_it_may_be_is_not_read() {
    let compiler = bounded(CompileLimits { code_bytes: 1 << 10, ..CompileLimits::default() });
    let refused = refusal(&compiler, good_bytes()).await;
    assert!(refused.contains("compiled code has more than"), "{refused}");
}

#[tokio::test]
async fn a_compiler_that_dies_or_babbles_is_a_refusal() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, script, words) in [
        ("dies", "kill -SEGV $$", "SIGSEGV"),
        ("says-why", "echo 'out of ideas' >&2; exit 3", "exit status: 3: out of ideas"),
        ("is-silent", "cat >/dev/null", "exit status: 0"),
        ("babbles", "cat >/dev/null; echo compiled, trust me", "died of it"),
        // Announces more than it sends.
        ("tears", "cat >/dev/null; printf 'C\\377\\0\\0\\0\\0\\0\\0\\0abc'", "died of it"),
        // What it sends is no code.
        ("lies", "cat >/dev/null; printf 'C\\3\\0\\0\\0\\0\\0\\0\\0abc'", "could not be compiled"),
    ] {
        let program = dir.path().join(name);
        write_program(&program, &format!("#!/bin/sh\n{script}\n"));
        let refused = refusal(&Compiler::at(program), good_bytes()).await;
        assert!(refused.contains(words), "{name}: {refused}");
    }
}

#[test]
fn a_compiling_process_has_taken_everything_it_can_from_itself() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_opsward-under-test"))
        .args(["compile-plugin", "--memory-bytes=123000000", "--cpu-seconds=77"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let of_child = Path::new("/proc").join(child.id().to_string());
    let read = |name: &str| std::fs::read_to_string(of_child.join(name)).expect("readable");
    let limit = |limits: &str, name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
        line[name.len()..].split_whitespace().next().map(str::to_owned)
    };
    let until = Instant::now() + PATIENCE;
    // The limit on time is set last; then it waits for a plugin.
    while limit(&read("limits"), "Max cpu time").as_deref() != Some("77") {
        assert!(Instant::now() < until, "{}", read("limits"));
        std::thread::sleep(Duration::from_millis(10));
    }
    let limits = read("limits");
    for (name, value) in [
        ("Max data size", "123000000"),
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max open files", "3"),
    ] {
        assert_eq!(limit(&limits, name).as_deref(), Some(value), "{name}");
    }
    assert!(read("status").contains("NoNewPrivs:\t1"), "{}", read("status"));
    let descriptors = std::fs::read_dir(of_child.join("fd")).expect("readable").count();
    assert_eq!(descriptors, 3);
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// A plugin of a few kilobytes that costs the compiler hundreds of megabytes.
pub(crate) fn bomb() -> Vec<u8> {
    component("loops", &loops(600, 600))
}

/// Written by another process: while this one has a file open for writing, so has each child that another test starts just
/// then, and nobody can execute it.
fn write_program(path: &Path, text: &str) {
    let write = "printf %s \"$1\" > \"$2\" && chmod 700 \"$2\"";
    let written = Command::new("sh").args(["-c", write, "sh", text]).arg(path).status();
    assert!(written.expect("a shell").success());
}

/// A component with one function that is compiled before anything is judged.
fn component(name: &str, function: &str) -> Vec<u8> {
    let text = format!(
        "(module (memory (export \"memory\") 1)
           (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)
           (func (export \"opsward:policy/handler@0.1.0#describe\") (result i32) unreachable)
           (func (export \"opsward:policy/handler@0.1.0#handle\") (param i32) (result i32) unreachable)
           {function})"
    );
    let core = wat::parse_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
    wrap(core).unwrap_or_else(|e| panic!("{name}: {e:?}"))
}

/// Loops one in another, each of which may be gone on with from the innermost, where every local changes: what the locals are
/// at the head of each loop is a value of its own.
fn loops(depth: usize, locals: usize) -> String {
    let mut text = format!("(func (param i32){}", " (local i32)".repeat(locals));
    text.push_str(&"(loop ".repeat(depth));
    for local in 1..=locals {
        write!(text, "(local.set {local} (i32.add (local.get {local}) (local.get 0)))").expect("text");
    }
    for level in 0..depth {
        write!(text, "(br_if {level} (local.get {}))", 1 + level % locals).expect("text");
    }
    text.push_str(&")".repeat(depth));
    text + ")"
}

/// Many locals that all live through many calls.
fn locals(locals: usize, calls: usize) -> String {
    let mut text = format!("(func $many (param i32){}", " (local i64)".repeat(locals));
    for call in 0..calls {
        write!(text, "(if (local.get 0) (then (call $many (i32.const {call}))))").expect("text");
        for local in (1..=locals).step_by(calls) {
            let from = 1 + (local + call) % locals;
            write!(text, "(local.set {local} (i64.add (local.get {from}) (i64.extend_i32_u (local.get 0))))")
                .expect("text");
        }
    }
    text + ")"
}

/// Tables of jumps, each to as many places.
fn jumps(targets: usize, tables: usize) -> String {
    let mut text = "(func (param i32)".to_owned();
    for _ in 0..tables {
        text.push_str("(block (block (block (br_table");
        for target in 0..targets {
            text.push_str(if target % 2 == 0 { " 0" } else { " 1" });
        }
        text.push_str(" 2 (local.get 0)))))");
    }
    text + ")"
}

fn bounded(limits: CompileLimits) -> Compiler {
    compiler().bounded(limits)
}

/// Why a plugin is refused that has not been compiled before.
async fn refusal(compiler: &Compiler, bytes: Vec<u8>) -> String {
    compile(compiler, bytes).await.expect_err("refused").to_string()
}

/// A good plugin is compiled within the same bounds.
async fn taken(compiler: &Compiler) {
    compile(compiler, good_bytes()).await.unwrap_or_else(|refused| panic!("{refused}"));
}

async fn compile(compiler: &Compiler, bytes: Vec<u8>) -> Result<(), RefusedPlugin> {
    let cache = tempfile::tempdir().expect("a directory");
    let engine = Engine::new(Limits::default(), cache.path(), compiler.clone()).expect("an engine");
    engine.compile(bytes).await.map(drop)
}

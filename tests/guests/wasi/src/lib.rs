//! A policy built for `wasm32-wasip2`, as other toolchains build theirs: it looks for files, the environment, the clock and
//! a way to wait through WASI. Built and run by `tests/tests/it/hostile.rs`.
#![cfg(target_os = "wasi")]

use opsward_policy::{Description, Event, Failure, NoConfig, Outcome, Policy, Run, json, policy};
use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

struct Wasi;

impl Policy for Wasi {
    type Config = NoConfig;

    fn describe() -> Description {
        Description::new("wasi", env!("CARGO_PKG_VERSION"), "Looks for the outside through WASI.")
    }

    fn handle(event: &Event, run: &Run<NoConfig>) -> Result<Outcome, Failure> {
        match event.kind.as_str() {
            "look-around" => Ok(Outcome::new("looked around").details(&look_around(run))),
            "wait" => {
                std::thread::sleep(Duration::from_millis(1));
                Ok(Outcome::new("waited"))
            }
            "last-words" => {
                eprintln!("{}", "x".repeat(1 << 20));
                eprintln!("the disk is on fire");
                std::process::exit(3)
            }
            other => Err(Failure::new("Test.Unknown", format!("no such behaviour: {other}"))),
        }
    }
}

policy!(Wasi);

fn look_around(run: &Run<NoConfig>) -> opsward_policy::Value {
    println!("to nowhere");
    let began = Instant::now();
    let now = SystemTime::now();
    json!({
        "variables": std::env::vars().count(),
        "arguments": std::env::args().count(),
        "file": std::fs::read("/etc/passwd").map_err(|e| e.to_string()).is_ok(),
        "folder": std::fs::read_dir("/").is_ok(),
        "written": std::fs::write("opsward-guest-was-here", "x").is_ok(),
        "now_ms": now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
        "agrees": now == run.now(),
        "elapsed": began.elapsed().as_nanos() as u64,
        // The order depends on the seed of the hasher, which comes from WASI.
        "order": (0..32).collect::<HashSet<u32>>().into_iter().collect::<Vec<_>>(),
    })
}

//! A policy that does what policies must not be able to do; the event's type says which. Built and run by
//! `tests/tests/it/hostile.rs`.
#![cfg(target_arch = "wasm32")]

use opsward_policy::{Call, Description, Event, Failure, NoConfig, Outcome, Policy, Run, policy};
use std::hint::black_box;
use std::time::Duration;

struct Hostile;

impl Policy for Hostile {
    type Config = NoConfig;

    fn describe() -> Description {
        Description::new("hostile", env!("CARGO_PKG_VERSION"), "Does what policies must not be able to do.")
            .on(["hostile.*"])
            .asks("ecs:DescribeDisks", "to ask too often")
    }

    fn handle(event: &Event, run: &Run<NoConfig>) -> Result<Outcome, Failure> {
        match event.kind.as_str() {
            "good" => Ok(Outcome::new(format!("{} calls answered", ask(run, 2)))),
            "refuse" => Err(Failure::new("Test.Refused", "as the event asks").retryable(true)),
            "endless-loop" => loop {
                black_box(());
            },
            "memory-bomb" => Ok(Outcome::new(fill_memory())),
            "deep-recursion" => Ok(Outcome::new(format!("{}", descend(u64::MAX)))),
            "huge-result" => Ok(Outcome::new("x".repeat(8 << 20))),
            "huge-argument" => {
                run.info("x".repeat(8 << 20));
                Ok(Outcome::new("logged"))
            }
            "many-calls" => Ok(Outcome::new(format!("{} calls answered", ask(run, 10_000)))),
            "log-flood" => {
                for _ in 0..1_000 {
                    run.info("x".repeat(1 << 10));
                }
                Ok(Outcome::new("logged"))
            }
            "hostile.text" => {
                let text = event.first_text(&["/text"]).unwrap_or_default();
                run.info(text.as_str());
                run.warn(text.as_str());
                if let Err(failure) = run.call(Call::new(&text, &text).region(&text)) {
                    run.info(failure.message);
                }
                if event.first_text(&["/panic"]).is_some() {
                    panic!("{text}");
                }
                Err(Failure::new(&text, &text).retryable(true))
            }
            "panic" => panic!("on purpose"),
            "trap" => core::arch::wasm32::unreachable(),
            "sleep" => {
                run.sleep(Duration::from_secs(60));
                Ok(Outcome::new("slept"))
            }
            other => Err(Failure::new("Test.Unknown", format!("no such behaviour: {other}"))),
        }
    }
}

policy!(Hostile);

fn ask(run: &Run<NoConfig>, times: usize) -> usize {
    (0..times).filter(|_| run.call(Call::new("ecs", "DescribeDisks")).is_ok()).count()
}

fn fill_memory() -> String {
    let mut pieces = Vec::new();
    loop {
        pieces.push(vec![1_u8; 1 << 20]);
        black_box(&pieces);
    }
}

fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    if depth == 0 { 0 } else { descend(depth - 1).wrapping_add(frame[3]) }
}

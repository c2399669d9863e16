//! `cargo bench -p opsward-tests [-- <name> ...]`: measures what `docs/performance.md` quotes and shows each figure beside its
//! target. Ends with 0 whatever the figures are, and with 1 where a benchmark could not run or did not do the work it
//! claims to measure.

mod bare;
mod cloud;
mod dropped;
mod durable;
mod hostile;
mod idle;
mod machine;
mod matching;
mod measure;
mod path;
mod posted;
mod processes;
mod runs;
mod sandbox;
mod scene;
mod schedules;

use measure::Report;
use std::process::ExitCode;

/// One benchmark.
struct Benchmark {
    name: &'static str,
    about: &'static str,
    run: fn(&mut Report) -> anyhow::Result<()>,
}

const BENCHMARKS: [Benchmark; 11] = [
    Benchmark {
        name: "sandbox",
        about: "one event in a fresh guest, two calls answered from memory, against bare wasmtime",
        run: sandbox::run,
    },
    Benchmark {
        name: "runs",
        about: "accept, claim, run, finish with the SQLite store on disk, calls answered from memory",
        run: runs::run,
    },
    Benchmark {
        name: "path",
        about: "events over HTTP to `opsward serve`, calls over HTTP to simulated clouds",
        run: path::run,
    },
    Benchmark {
        name: "durable",
        about: "group commit, first calls at a steady pace, a start with many unfinished runs",
        run: durable::run,
    },
    Benchmark {
        name: "hostile",
        about: "a good policy's runs with five hostile policies running beside it, and without",
        run: hostile::run,
    },
    Benchmark {
        name: "accept",
        about: "events over kept connections, on disk when they are answered",
        run: posted::accept,
    },
    Benchmark {
        name: "flood",
        about: "answers while one source gets twenty times its rate",
        run: posted::flood,
    },
    Benchmark { name: "dropped", about: "events that no policy wants", run: dropped::run },
    Benchmark {
        name: "matching",
        about: "finding the policies of an event among 1 and 1,000",
        run: matching::run,
    },
    Benchmark {
        name: "schedules",
        about: "100,000 schedules: next fire times, 10,000 firing at one midnight, memory",
        run: schedules::run,
    },
    Benchmark { name: "idle", about: "memory and start of a host with 2 and 100 plugins", run: idle::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("measures nothing outside `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| BENCHMARKS.iter().all(|b| b.name != **name)) {
        eprintln!("there is no benchmark `{unknown}`; there are:");
        for Benchmark { name, about, .. } in &BENCHMARKS {
            eprintln!("  {name:8}  {about}");
        }
        return ExitCode::from(2);
    }

    opsward::cloud::install_tls();
    println!("{}", machine::description());
    if cfg!(debug_assertions) {
        println!("built without optimisation: the figures mean nothing");
    }
    let mut report = Report::default();
    let mut failed = false;
    for Benchmark { name, about, run } in &BENCHMARKS {
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        eprintln!("{name}: {about}");
        if let Err(error) = run(&mut report) {
            eprintln!("{name} failed: {error:#}");
            failed = true;
        }
    }
    println!("{}load {}", report.table(), machine::load());
    ExitCode::from(u8::from(failed))
}

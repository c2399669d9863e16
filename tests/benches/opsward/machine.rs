//! What the machine says of itself and of a process: model, kernel, load, processor time, memory. From `/proc`, so on Linux
//! only.

use crate::measure::median;
use anyhow::Context as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Synced writes whose median is taken.
const SYNCS: usize = 201;

/// One line about the machine.
pub(crate) fn description() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{count} x {model}, Linux {}, load {}", kernel.trim(), load())
}

/// The load averages of 1, 5 and 15 minutes: on a busy machine the figures say little.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Processor time a process has used, its children left out; in steps of the kernel's tick, mostly 10 ms.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The second field is the name in brackets, which may hold blanks; `utime` and `stime` are fields 14 and 15.
    let (_, after_name) = stat.rsplit_once(')').with_context(|| format!("{path} is unreadable"))?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let [user, system] = [11, 12].map(|at| fields.get(at).and_then(|field| field.parse::<u64>().ok()));
    let ticks = user.zip(system).map(|(user, system)| user + system);
    let ticks = ticks.with_context(|| format!("{path} is unreadable"))?;
    Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
}

/// What making 4 KiB durable takes on the disk of `dir`: the floor of every acceptance.
pub(crate) fn sync_time(dir: &Path) -> anyhow::Result<Duration> {
    let mut file = fs::File::create(dir.join("sync"))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(Duration::from_secs_f64(median(&times)))
}

/// Resident memory of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    /// All of it, in MiB.
    pub(crate) total_mib: f64,
    /// What is its own and backed by no file, in MiB.
    pub(crate) anonymous_mib: f64,
}

/// What a process has in memory.
pub(crate) fn resident(pid: u32) -> anyhow::Result<Resident> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let mib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim_start_matches(':').trim().strip_suffix(" kB"));
        let kib = kib.and_then(|kib| kib.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).with_context(|| format!("{path} has no {key}"))
    };
    Ok(Resident { total_mib: mib("VmRSS")?, anonymous_mib: mib("RssAnon")? })
}

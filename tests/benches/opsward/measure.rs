//! How figures are taken and shown: samples, medians, interleaved ratios, one table. Timing is shown and never asserted: a
//! shared machine may be slow for reasons of its own. Leaves what is measured to the benchmarks.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Samples of a figure: odd, so that the median is one of them, and enough to see past a machine's slow seconds.
pub(crate) const SAMPLES: usize = 15;

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// The figures so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    figure: f64,
    unit: &'static str,
    target: Option<Target>,
}

impl Report {
    /// Adds a figure that is only shown.
    pub(crate) fn figure(&mut self, what: impl Into<String>, figure: f64, unit: &'static str) {
        self.add(Row { what: what.into(), figure, unit, target: None });
    }

    /// Adds a figure that has a target.
    pub(crate) fn against(
        &mut self,
        what: impl Into<String>,
        figure: f64,
        unit: &'static str,
        target: Target,
    ) {
        self.add(Row { what: what.into(), figure, unit, target: Some(target) });
    }

    /// Long benchmarks show each figure as it comes.
    fn add(&mut self, row: Row) {
        eprintln!("  {}: {} {}", row.what, shown(row.figure), row.unit);
        self.rows.push(row);
    }

    /// All figures as a table.
    pub(crate) fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0).max(4);
        let mut table =
            format!("{:width$}  {:>10}  {:12}  {:>11}  verdict\n", "what", "figure", "unit", "target");
        for Row { what, figure, unit, target } in &self.rows {
            let (wanted, verdict) = match target {
                None => (String::new(), ""),
                Some(Target::AtMost(most)) => (format!("<= {}", shown(*most)), verdict(figure <= most)),
                Some(Target::AtLeast(least)) => (format!(">= {}", shown(*least)), verdict(figure >= least)),
            };
            let figure = shown(*figure);
            writeln!(table, "{what:width$}  {figure:>10}  {unit:12}  {wanted:>11}  {verdict}")
                .expect("a string takes everything");
        }
        table
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// Three digits that count, thousands apart.
fn shown(figure: f64) -> String {
    if figure.abs() < 9.995 {
        return format!("{figure:.2}");
    }
    if figure.abs() < 99.95 {
        return format!("{figure:.1}");
    }
    let digits = format!("{figure:.0}");
    let mut apart = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// The middle of the samples.
pub(crate) fn median(samples: &[f64]) -> f64 {
    at_share(samples, 0.5)
}

/// The sample that `share` of all samples do not exceed.
pub(crate) fn at_share(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Two things measured in turns, so that both meet the machine's slow and fast stretches alike.
pub(crate) struct Pair {
    /// Seconds of each sample.
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Pair {
    /// Takes `SAMPLES` of each, after one of each to warm up.
    pub(crate) async fn measure<E>(
        mut first: impl AsyncFnMut() -> Result<(), E>,
        mut second: impl AsyncFnMut() -> Result<(), E>,
    ) -> Result<Self, E> {
        first().await?;
        second().await?;
        let mut pair = Self { first: Vec::with_capacity(SAMPLES), second: Vec::with_capacity(SAMPLES) };
        for _ in 0..SAMPLES {
            let begun = Instant::now();
            first().await?;
            pair.first.push(begun.elapsed().as_secs_f64());
            let begun = Instant::now();
            second().await?;
            pair.second.push(begun.elapsed().as_secs_f64());
        }
        Ok(pair)
    }

    /// The median time of the first.
    pub(crate) fn first(&self) -> Duration {
        Duration::from_secs_f64(median(&self.first))
    }

    /// The median time of the second.
    pub(crate) fn second(&self) -> Duration {
        Duration::from_secs_f64(median(&self.second))
    }

    /// How many times as long the first takes: the median over neighbouring samples.
    pub(crate) fn ratio(&self) -> f64 {
        let ratios: Vec<f64> = self.first.iter().zip(&self.second).map(|(a, b)| a / b).collect();
        median(&ratios)
    }
}

/// Runs `work` on a thread that stays on one core, with every thread that it starts.
pub(crate) fn on_one_core<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let pinned = || {
        let allowed = sched_getaffinity(None)?;
        // The last one: the first is where most machines take their interrupts.
        let core = (0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core));
        let mut one = CpuSet::new();
        one.set(core.ok_or_else(|| anyhow::anyhow!("no core is allowed"))?);
        sched_setaffinity(None, &one)?;
        work()
    };
    std::thread::scope(|scope| {
        scope.spawn(pinned).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

//! Finding the policies that an event wakes: among 1,000 against among 1 of the same sort, in turns, on one core. One
//! policy wants the event; each of the others wants another type, another resource, or another value in the body.

use crate::measure::{Pair, Report, Target, on_one_core};
use crate::scene;
use anyhow::ensure;
use opsward_core::pattern::{DataTests, Index, OnEntry, OneOrMany, Patterns, Scalar};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

/// Matches of one sample: some 20 ms.
const MATCHES: u32 = 50_000;
const POLICIES: usize = 1_000;
/// The most that 999 more policies may cost.
const RATIO_MAX: f64 = 1.2;
const EACH: &str = "ns";

/// The `on` entry of the nth policy. Only the first wants the measured event.
type Entry = fn(usize) -> OnEntry;
const SORTS: [(&str, Entry); 3] =
    [("by type", by_type), ("by resource", by_resource), ("by a value in the body", by_value)];

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    for (sort, entry) in SORTS {
        let pair = on_one_core(|| scene::single_thread()?.block_on(measure(entry)))?;
        let each = |of: Duration| of.as_secs_f64() * 1e9 / f64::from(MATCHES);
        report.figure(format!("matching: {sort}, 1 policy"), each(pair.second()), EACH);
        let many = format!("matching: {sort}, 1,000 against 1");
        report.against(many, pair.ratio(), "times", Target::AtMost(RATIO_MAX));
    }
    Ok(())
}

async fn measure(entry: Entry) -> anyhow::Result<Pair> {
    let (many, one) = (index(POLICIES, entry)?, index(1, entry)?);
    let event = scene::event("e-1");
    let repeat = |index: &Index| {
        for _ in 0..MATCHES {
            let woken = black_box(index).matches(black_box(&event));
            ensure!(woken == [0], "policies {woken:?} were found");
        }
        anyhow::Ok(())
    };
    Pair::measure(async || repeat(&many), async || repeat(&one)).await
}

fn index(policies: usize, entry: Entry) -> anyhow::Result<Index> {
    let compiled: Result<Vec<Patterns>, _> =
        (0..policies).map(|nth| Patterns::compile(&[entry(nth)])).collect();
    Ok(Index::build(compiled?.iter()))
}

fn by_type(nth: usize) -> OnEntry {
    OnEntry { source: one("bench".to_owned()), kind: one(format!("bench.event.{nth}")), ..OnEntry::default() }
}

fn by_resource(nth: usize) -> OnEntry {
    let instance = if nth == 0 { INSTANCE.to_owned() } else { format!("i-{nth}") };
    OnEntry { kind: any(), subject: one(format!("*:instance/{instance}")), ..OnEntry::default() }
}

fn by_value(nth: usize) -> OnEntry {
    let instance = if nth == 0 { INSTANCE.to_owned() } else { format!("i-{nth}") };
    let test = ("content.instanceId".to_owned(), vec![Scalar::Text(instance)]);
    OnEntry { kind: any(), data: Some(DataTests(BTreeMap::from([test]))), ..OnEntry::default() }
}

/// The instance of the measured event.
const INSTANCE: &str = "i-bp18l0uopocfc98xxxx";

fn any() -> Option<OneOrMany> {
    one("bench.event.*".to_owned())
}

fn one(text: String) -> Option<OneOrMany> {
    Some(OneOrMany(vec![text]))
}

//! Finding the policies that an event wakes: among 10,000 against among 10 of the same sort, in turns, on one core. One policy
//! wants the event; each of the others wants another type, another resource, or something else in its place. Then 10,000 policies of
//! all sorts for 1,000 types of events, against the ten of one type, and with an event of each type after the other.

use crate::measure::{Pair, Report, Target, on_one_core};
use crate::scene;
use anyhow::ensure;
use opsward_core::event::Event;
use opsward_core::pattern::{
    AnyOf, DataTest, DataTests, Index, OnEntry, OneOrMany, Patterns, Scalar, TestTable,
};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

/// Matches of one sample: some 50 ms.
const MATCHES: u32 = 20_000;
const POLICIES: usize = 10_000;
const FEW: usize = 10;
/// Types of events of the mixed estate, each wanted by ten policies.
const TYPES: usize = 1_000;
/// The most that 9,990 more policies may cost.
const RATIO_MAX: f64 = 1.2;
/// The longest that a match may take.
const US_MAX: f64 = 20.0;

/// The `on` entry of the nth policy. Only the first wants the measured event.
type Entry = fn(usize) -> OnEntry;
const SORTS: [(&str, Entry); 7] = [
    ("by type", by_type),
    ("by resource", by_resource),
    ("by level", by_level),
    ("by a value in the body", by_value),
    ("by a prefix in the body", by_prefix),
    ("by a range in the body", by_range),
    ("by ten things for each of 1,000 types", by_many),
];

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let us = |of: Duration| of.as_secs_f64() * 1e6 / f64::from(MATCHES);
    for (sort, entry) in SORTS {
        let pair = on_one_core(|| scene::single_thread()?.block_on(measure(entry)))?;
        let many = format!("matching: {sort}, 10,000 policies");
        report.against(many, us(pair.first()), "us", Target::AtMost(US_MAX));
        let against = format!("matching: {sort}, 10,000 against 10");
        report.against(against, pair.ratio(), "times", Target::AtMost(RATIO_MAX));
    }
    let pair = on_one_core(|| scene::single_thread()?.block_on(measure_types()))?;
    let what = "matching: an event of each of 1,000 types in turn, 10,000 policies";
    report.against(what, us(pair.first()), "us", Target::AtMost(US_MAX));
    Ok(())
}

async fn measure(entry: Entry) -> anyhow::Result<Pair> {
    // The few are the first, and those that want the same type.
    let few = (0..FEW).map(|nth| nth * TYPES);
    let (many, few) = (index((0..POLICIES).map(entry))?, index(few.map(entry))?);
    let event = event_of_type(0);
    let repeat = |index: &Index| (0..MATCHES).try_for_each(|_| wakes(index, &event, 0));
    Pair::measure(async || repeat(&many), async || repeat(&few)).await
}

async fn measure_types() -> anyhow::Result<Pair> {
    let index = index((0..POLICIES).map(by_many))?;
    let events: Vec<Event> = (0..TYPES).map(event_of_type).collect();
    let mut turns = (0..TYPES).cycle();
    let mut repeat =
        || turns.by_ref().take(MATCHES as usize).try_for_each(|nth| wakes(&index, &events[nth], nth));
    Pair::measure(async || repeat(), async || anyhow::Ok(())).await
}

/// Has the index find the one policy that wants `event`.
fn wakes(index: &Index, event: &Event, policy: usize) -> anyhow::Result<()> {
    let woken = black_box(index).matches(black_box(event));
    ensure!(matches!(woken.as_slice(), [one] if one.policy == policy), "policies {woken:?} were found");
    Ok(())
}

fn index(entries: impl Iterator<Item = OnEntry>) -> anyhow::Result<Index> {
    let compiled: Result<Vec<Patterns>, _> = entries.map(|entry| Patterns::compile(&[entry])).collect();
    Ok(Index::build(compiled?.iter()))
}

/// The measured event, of the nth type.
fn event_of_type(nth: usize) -> Event {
    let mut event = scene::event("e-1");
    event.kind = format!("bench.event.{nth}");
    event.level = Some("CRITICAL".to_owned());
    event.data = event.data.replacen('{', r#"{"curValue":"95.5","#, 1);
    event
}

fn by_type(nth: usize) -> OnEntry {
    OnEntry { source: one("bench".to_owned()), kind: one(format!("bench.event.{nth}")), ..OnEntry::default() }
}

fn by_resource(nth: usize) -> OnEntry {
    OnEntry { kind: any(), subject: one(format!("*:instance/{}", instance(nth))), ..OnEntry::default() }
}

/// Levels are few: most policies have theirs and a region in common with many others.
fn by_level(nth: usize) -> OnEntry {
    let (level, region) = match nth {
        0 => ("critical", "cn-hangzhou".to_owned()),
        _ => (["WARN", "INFO"][nth % 2], format!("cn-{}", nth % 100)),
    };
    OnEntry { kind: any(), level: one(level.to_owned()), region: one(region), ..OnEntry::default() }
}

fn by_value(nth: usize) -> OnEntry {
    in_body("content.instanceId", DataTest::Is(Scalar::Text(instance(nth))))
}

fn by_prefix(nth: usize) -> OnEntry {
    let prefix = if nth == 0 { "InstanceFailure".to_owned() } else { format!("InstanceFailure{nth}") };
    in_body("content.eventType", DataTest::Passes(TestTable { prefix: Some(prefix), ..TestTable::default() }))
}

fn by_range(nth: usize) -> OnEntry {
    let min = if nth == 0 { 95.0 } else { 100.0 + nth as f64 };
    let range = TestTable { min: Some(min), below: Some(min + 1.0), ..TestTable::default() };
    in_body("curValue", DataTest::Passes(range))
}

/// Each type is wanted by ten policies, of which the first wants each event of it, and each of the others something else.
fn by_many(nth: usize) -> OnEntry {
    let (sort, kind) = (nth / TYPES, nth % TYPES);
    let of_another = nth.max(1);
    let other = match sort {
        0 => OnEntry::default(),
        1 => by_resource(of_another),
        2 | 3 => by_level(of_another),
        4 | 5 => by_value(of_another),
        6 | 7 => by_prefix(of_another),
        _ => by_range(of_another),
    };
    OnEntry { source: one("bench".to_owned()), kind: one(format!("bench.event.{kind}")), ..other }
}

fn in_body(path: &str, test: DataTest) -> OnEntry {
    let tests = BTreeMap::from([(path.to_owned(), AnyOf(vec![test]))]);
    OnEntry { kind: any(), data: Some(DataTests(tests)), ..OnEntry::default() }
}

fn instance(nth: usize) -> String {
    if nth == 0 { "i-bp18l0uopocfc98xxxx".to_owned() } else { format!("i-{nth}") }
}

fn any() -> Option<OneOrMany> {
    one("bench.event.*".to_owned())
}

fn one(text: String) -> Option<OneOrMany> {
    Some(OneOrMany(vec![text]))
}

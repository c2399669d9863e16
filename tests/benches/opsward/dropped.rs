//! Events that no policy wants: decoded from a CloudEvents body, matched, recorded on disk without a run, so that a second
//! delivery is known. On one core, the store's thread included; HTTP is left out (`path` has it).

use crate::measure::{Report, Target, median, on_one_core};
use crate::scene::{self, Scene};
use anyhow::ensure;
use opsward::clock::SystemClock;
use opsward::store::{Acceptance, Store as _};
use opsward::trigger::accept::Accept;
use opsward_core::event::{Delivery, SourceKind, decode};
use opsward_core::id::SourceName;
use opsward_core::sender::Trust;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// Events of one sample: under a second.
const EVENTS: usize = 20_000;
const SAMPLES: usize = 7;
/// Deliveries waiting for the disk at a time.
const IN_FLIGHT: usize = 128;
const RATE_MIN: f64 = 20_000.0;

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let rates = on_one_core(|| scene::single_thread()?.block_on(measure()))?;
    let what = "dropped: events wanted by none, on one core";
    report.against(what, median(&rates), "events/s", Target::AtLeast(RATE_MIN));
    Ok(())
}

async fn measure() -> anyhow::Result<Vec<f64>> {
    let scene = Scene::new().await?;
    let accept = Accept {
        store: scene.store.clone(),
        policies: scene.policies.clone(),
        clock: Arc::new(SystemClock),
        work: Arc::new(Notify::new()),
        seen: Arc::default(),
    };
    let source: SourceName = "bench".parse()?;
    let mut rates = Vec::new();
    // The first sample warms up.
    for sample in 0..=SAMPLES {
        let next = Cell::new(0);
        let began = Instant::now();
        let senders = (0..IN_FLIGHT).map(|_| async {
            while next.get() < EVENTS {
                let nth = next.replace(next.get() + 1);
                deliver(&accept, &source, &body(sample, nth)).await?;
            }
            anyhow::Ok(())
        });
        futures::future::try_join_all(senders).await?;
        if sample > 0 {
            rates.push(EVENTS as f64 / began.elapsed().as_secs_f64());
        }
    }
    let runs: u64 = scene.store.count_runs().await?.iter().map(|(_, runs)| runs).sum();
    ensure!(runs == 0, "events that nobody wants started {runs} runs");
    scene.store.close().await?;
    Ok(rates)
}

async fn deliver(accept: &Accept, source: &SourceName, body: &str) -> anyhow::Result<()> {
    let headers = [("content-type".to_owned(), "application/cloudevents+json".to_owned())];
    let delivery = Delivery { headers: &headers, body: body.as_bytes() };
    let events = decode(SourceKind::Cloudevents, source, &delivery, scene::NOW)?;
    let accepted = accept.accept(events, body.as_bytes(), Trust::Hint).await?;
    ensure!(accepted == [Acceptance::New { runs: 0 }], "an event was taken as {accepted:?}");
    Ok(())
}

/// A CloudEvents body in structured mode, of the size of a cloud's notification.
fn body(sample: usize, nth: usize) -> String {
    let event = scene::event("");
    format!(
        r#"{{"specversion":"1.0","id":"dropped-{sample}-{nth}","source":"acs.ecs","type":"ecs:Disk:Stalled","subject":"{}","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","data":{}}}"#,
        event.subject.unwrap_or_default(),
        event.data
    )
}

//! One event: fresh instance, `handle`, two host calls answered from memory, no store. The engine as the host uses it,
//! against the same component driven by wasmtime alone, in turns, on one core.

use crate::bare::Bare;
use crate::cloud;
use crate::measure::{Pair, Report, Target, on_one_core};
use crate::scene;
use anyhow::{Context as _, ensure};
use opsward::plugin::engine::{Engine, Limits, Revision};
use opsward::plugin::{Ended, GuestCalls, RunContext};
use opsward_core::event::Event;
use opsward_core::id::RunId;
use opsward_core::run::{HostReply, HostRequest, Mode, Stop};
use opsward_core::time::Timestamp;

/// Events of one sample: some 100 ms.
const EVENTS: u32 = 10_000;
/// The most that bounds, budgets and naming of ends may cost.
const RATIO_MAX: f64 = 1.3;

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let pair = on_one_core(|| scene::single_thread()?.block_on(measure()))?;
    let rate = |of: std::time::Duration| f64::from(EVENTS) / of.as_secs_f64();
    report.figure("sandbox: events on one core", rate(pair.first()), "events/s");
    report.figure("sandbox: bare wasmtime", rate(pair.second()), "events/s");
    report.against("sandbox: time against bare wasmtime", pair.ratio(), "times", Target::AtMost(RATIO_MAX));
    Ok(())
}

async fn measure() -> anyhow::Result<Pair> {
    let cache = tempfile::tempdir()?;
    let engine = Engine::new(Limits::default(), cache.path(), scene::compiler())?;
    let revision = engine.compile(scene::GUEST.to_vec()).await?;
    let bare = Bare::new(scene::GUEST)?;
    let event = scene::event("e-1");
    let ours = async || {
        for _ in 0..EVENTS {
            one(&engine, &revision, &event).await?;
        }
        anyhow::Ok(())
    };
    let alone = async || {
        for _ in 0..EVENTS {
            bare.run(&event).await?;
        }
        anyhow::Ok(())
    };
    Pair::measure(ours, alone).await
}

async fn one(engine: &Engine, revision: &Revision, event: &Event) -> anyhow::Result<()> {
    let context = RunContext {
        run: RunId::from_text("0123456789abcdef01234567"),
        policy: "bench".parse().context("a policy's name")?,
        attempt: 1,
        mode: Mode::Enforce,
        config: "{}".into(),
    };
    let (ended, answers) = engine.run(revision, event, context, Answers { given: 0 }).await;
    ensure!(matches!(ended, Ended::Done(_)) && answers.given == 2, "the guest ended as {ended:?}");
    Ok(())
}

/// Answers every call at once.
struct Answers {
    given: u32,
}

impl GuestCalls for Answers {
    async fn perform(&mut self, request: HostRequest) -> Result<HostReply, Stop> {
        let HostRequest::Call(request) = request else {
            return Err(Stop::Abandoned { reason: "the guest asks for more than calls".to_owned() });
        };
        self.given += 1;
        Ok(HostReply::Call(Ok(cloud::answer(&request.action))))
    }

    fn now(&self) -> Timestamp {
        scene::NOW
    }
}

//! Events as they are posted: how many a second are on disk and answered over kept connections, and how long an answer takes while one
//! source is flooded. The sender is this process, and writes requests as bytes: a client library would cost as much as the host.

use crate::measure::{Report, Target, at_share, median};
use crate::processes::{Clouds, Host, lay_out};
use crate::scene;
use anyhow::{Context as _, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Events of one sample.
const EVENTS: usize = 20_000;
const SAMPLES: usize = 5;
/// Connections of the sender: as many as one source may have under way.
const CONNECTIONS: usize = 64;
/// Accepted events a second, on two cores, the sender included.
const RATE_MIN: f64 = 8_000.0;
/// What the flooded source may have in a second, as `serve.toml` says, and how much more it is sent.
const LOUD_RATE: usize = 500;
const FLOOD: usize = 20;
/// How long the flood lasts.
const FLOOD_LASTS: Duration = Duration::from_secs(10);
/// How often the good source is sent an event meanwhile.
const PACE: Duration = Duration::from_millis(10);
/// Longest answers, by p99, in ms.
const LOUD_MS_MAX: f64 = 1_000.0;
const GOOD_MS_MAX: f64 = 250.0;

/// Measures accepted events a second.
pub(crate) fn accept(report: &mut Report) -> anyhow::Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let world = World::new().await?;
        let mut rates = Vec::new();
        // The first sample warms up.
        for sample in 0..=SAMPLES {
            let (began, left) = (Instant::now(), Arc::new(AtomicUsize::new(EVENTS)));
            let mut senders = JoinSet::new();
            for _ in 0..CONNECTIONS {
                let (mut line, left) = (world.line("cloudmonitor").await?, left.clone());
                senders.spawn(async move {
                    while let Some(nth) = take(&left) {
                        let (status, body) = line.post(&format!("{sample}-{nth}")).await?;
                        ensure!(status == 200 && body.starts_with(b"{\"accepted\":1"), "{status}");
                    }
                    anyhow::Ok(())
                });
            }
            while let Some(sender) = senders.join_next().await {
                sender??;
            }
            if sample > 0 {
                rates.push(EVENTS as f64 / began.elapsed().as_secs_f64());
            }
        }
        report.against("accept: on disk and answered", median(&rates), "events/s", Target::AtLeast(RATE_MIN));
        world.host.stop().await
    })
}

/// Measures how long answers take while one source gets twenty times what it may have.
pub(crate) fn flood(report: &mut Report) -> anyhow::Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let world = World::new().await?;
        let (began, sent) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let mut loud = JoinSet::new();
        for of in 0..CONNECTIONS {
            let (mut line, sent) = (world.line("loud").await?, sent.clone());
            loud.spawn(async move {
                let (mut taken, mut times) = (0, Vec::new());
                while began.elapsed() < FLOOD_LASTS {
                    // All together keep to the flood's rate.
                    let due = began + Duration::from_secs(1) * nth(&sent) / (LOUD_RATE * FLOOD) as u32;
                    tokio::time::sleep_until(due.into()).await;
                    let asked = Instant::now();
                    let (status, _) = line.post(&format!("loud-{of}-{}", times.len())).await?;
                    ensure!(status == 200 || status == 429, "{status}");
                    taken += usize::from(status == 200);
                    times.push(asked.elapsed().as_secs_f64() * 1e3);
                }
                anyhow::Ok((taken, times))
            });
        }
        let mut good = Vec::new();
        let (mut line, mut tick) = (world.line("cloudmonitor").await?, tokio::time::interval(PACE));
        while began.elapsed() < FLOOD_LASTS {
            tick.tick().await;
            let asked = Instant::now();
            let (status, _) = line.post(&format!("good-{}", good.len())).await?;
            ensure!(status == 200, "an event of the good source was answered {status}");
            good.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        let (mut taken, mut times) = (0, Vec::new());
        while let Some(sender) = loud.join_next().await {
            let (some, more) = sender??;
            taken += some;
            times.extend(more);
        }
        let seconds = began.elapsed().as_secs_f64();
        ensure!(taken < times.len(), "the flood was no flood");
        report.figure("flood: sent to the flooded source", times.len() as f64 / seconds, "events/s");
        report.figure("flood: taken of them", taken as f64 / seconds, "events/s");
        report.against("flood: answer to it, p99", at_share(&times, 0.99), "ms", Target::AtMost(LOUD_MS_MAX));
        report.figure("flood: answer to the good source, p50", median(&good), "ms");
        let what = "flood: answer to the good source, p99";
        report.against(what, at_share(&good, 0.99), "ms", Target::AtMost(GOOD_MS_MAX));
        world.host.stop().await
    })
}

fn take(left: &AtomicUsize) -> Option<usize> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()
}

fn nth(sent: &AtomicUsize) -> u32 {
    u32::try_from(sent.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX)
}

struct World {
    host: Host,
    _clouds: Clouds,
    /// Last, so that it is removed after the host has ended.
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> anyhow::Result<Self> {
        let directory = scene::directory()?;
        let clouds = Clouds::start().await?;
        lay_out(directory.path(), &clouds)?;
        let host = Host::start(directory.path(), &clouds).await?;
        Ok(Self { host, _clouds: clouds, _directory: directory })
    }

    /// A connection to a source.
    async fn line(&self, source: &str) -> anyhow::Result<Line> {
        let hook = self.host.hook.replace("cloudmonitor", source);
        let rest = hook.strip_prefix("http://").context("not a plain URL")?;
        let (authority, path) = rest.split_once('/').context("no path")?;
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Line { stream: BufReader::new(stream), path: path.to_owned() })
    }
}

/// A kept connection.
struct Line {
    stream: BufReader<TcpStream>,
    path: String,
}

impl Line {
    /// Posts an event with this id; status and body of the answer.
    async fn post(&mut self, id: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let body = format!(
            "{{\"id\":\"{id}\",\"product\":\"ECS\",\"level\":\"INFO\",\"name\":\"Disk:Stalled:Executing\",\
             \"regionId\":\"cn-hangzhou\",\"content\":{{\"eventId\":\"e-{id}\",\"diskId\":\"d-bp1\"}}}}"
        );
        let request = format!(
            "POST /{} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        let (mut status, mut length, mut line) = (None, 0, String::new());
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line).await? > 0, "the host has hung up");
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if status.is_none() {
                status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
            } else if let Some(value) = text.strip_prefix("content-length: ") {
                length = value.parse()?;
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        Ok((status.context("no status")?, answer))
    }
}

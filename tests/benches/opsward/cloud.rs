//! A cloud in memory: answers the measured guest's calls at once.

use futures::future::BoxFuture;
use opsward::broker::{AccountFacts, Caller, Sender, Stamp};
use opsward_core::answer::Verdict;
use opsward_core::call::{CallRequest, CallResponse};
use opsward_core::catalog::Provider;
use opsward_core::id::AccountName;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// What DescribeDisks and CreateSnapshot answer, as long as a short real answer.
pub(crate) fn answer(action: &str) -> CallResponse {
    let body = match action {
        "DescribeDisks" => concat!(
            r#"{"TotalCount":1,"PageNumber":1,"PageSize":10,"RequestId":"473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E","#,
            r#""Disks":{"Disk":[{"DiskId":"d-bp18l0uopocfc98x0001","InstanceId":"i-bp18l0uopocfc98xxxx","#,
            r#""RegionId":"cn-hangzhou","Type":"system","Category":"cloud_essd","Size":40,"Status":"In_use"}]}}"#,
        ),
        _ => r#"{"SnapshotId":"s-bp17441ohwka0yuhx0001","RequestId":"C8B26B44-0189-443E-9816-D951F59623A9"}"#,
    };
    CallResponse {
        request_id: "473469C7-AA6F-4DC5-B3DB-A3DC0DE3C83E".to_owned(),
        body: body.to_owned(),
        simulated: false,
    }
}

/// The way to a cloud in memory. Counts effects, so that a benchmark can prove its work, and bounds how many events are
/// ahead of their effect.
pub(crate) struct Memory {
    effects: AtomicU64,
    room: Semaphore,
}

impl Memory {
    /// Each event's effect makes room for one more event.
    pub(crate) fn with_room(events: usize) -> Self {
        Self { effects: AtomicU64::new(0), room: Semaphore::new(events) }
    }

    /// Waits for room for one event.
    pub(crate) async fn room(&self) -> anyhow::Result<()> {
        self.room.acquire().await?.forget();
        Ok(())
    }

    /// Effects carried out so far.
    pub(crate) fn effects(&self) -> u64 {
        self.effects.load(Ordering::Relaxed)
    }
}

impl Sender for Memory {
    fn account(&self, _: &AccountName) -> Option<AccountFacts> {
        Some(AccountFacts { provider: Provider::Alibaba, region: None })
    }

    fn send<'a>(
        &'a self,
        _: Caller<'a>,
        request: &'a CallRequest,
        stamp: Stamp<'a>,
    ) -> BoxFuture<'a, Verdict> {
        if stamp.as_token().is_some() {
            self.effects.fetch_add(1, Ordering::Relaxed);
            self.room.add_permits(1);
        }
        Box::pin(std::future::ready(Verdict::Answered(Ok(answer(&request.action)))))
    }

    fn spread(&self) -> u8 {
        0
    }
}

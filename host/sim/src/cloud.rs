//! The accounts with what goes beside their state: idempotency tokens, the record of changes, and an index of
//! snapshots in progress. One lock holds all of it, so that a change and its record are one step. Leaves what an
//! action means to the products.

use crate::answer::{ApiError, Outcome};
use crate::cms::{Rules, Sent};
use crate::ecs_history::Remembered;
use crate::ids::Ids;
use crate::keys::Caller;
use crate::past::Past;
use crate::state::World;
use crate::traffic::{Effect, Ring, shown};
use opsward_core::catalog::Provider;
use opsward_core::time::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The accounts.
pub(crate) struct Cloud {
    pub(crate) world: World,
    pub(crate) effects: Ring<Effect>,
    pub(crate) past: Past,
    /// ECS's system events.
    pub(crate) history: Vec<Remembered>,
    pub(crate) rules: Rules,
    /// Test events that nobody has been told of yet.
    pub(crate) sent: Vec<Sent>,
    /// By (action, token).
    tokens: HashMap<(String, String), FirstAnswer>,
    on_disk: HashMap<String, OnDisk>,
}

/// What a client token stands for.
struct FirstAnswer {
    params: BTreeMap<String, String>,
    answer: Map<String, Value>,
}

/// Snapshots of one disk.
#[derive(Default)]
struct OnDisk {
    count: usize,
    in_progress: Vec<(Timestamp, String)>,
}

/// One verified call on its way to a product.
pub(crate) struct Call<'a> {
    pub(crate) provider: Provider,
    pub(crate) product: &'static str,
    pub(crate) action: &'a str,
    pub(crate) region: Option<&'a str>,
    pub(crate) now: Timestamp,
    pub(crate) ids: &'a Ids,
    pub(crate) caller: &'a Caller,
    pub(crate) request_id: &'a str,
    pub(crate) client_token: Option<&'a str>,
    /// The action's parameters as they are recorded.
    pub(crate) recorded: &'a Arc<RawValue>,
}

impl Cloud {
    pub(crate) fn new(world: World) -> Self {
        let mut cloud = Self {
            world,
            effects: Ring::default(),
            past: Past::default(),
            history: Vec::new(),
            rules: Rules::new(),
            sent: Vec::new(),
            tokens: HashMap::new(),
            on_disk: HashMap::new(),
        };
        cloud.reindex();
        cloud
    }

    /// Puts another state in place; tokens, the record of changes and what was before them stay.
    pub(crate) fn replace(&mut self, world: World) {
        self.world = world;
        self.reindex();
    }

    /// Records that `call` changed `resource`.
    pub(crate) fn record_effect(&mut self, call: &Call<'_>, resource: &str) {
        self.effects.push(Effect {
            seq: self.effects.next_seq(),
            time: shown(call.now),
            provider: call.provider,
            product: call.product,
            action: call.action.to_owned(),
            resource: resource.to_owned(),
            params: call.recorded.clone(),
            client_token: call.client_token.map(str::to_owned),
            request_id: call.request_id.to_owned(),
            caller: call.caller.name().to_owned(),
        });
    }

    /// Answers from the first answer to the same token, or carries `change` out and keeps its answer.
    pub(crate) fn once_per_token(
        &mut self,
        call: &Call<'_>,
        params: &BTreeMap<String, String>,
        change: impl FnOnce(&mut Self) -> Outcome,
    ) -> Outcome {
        let Some(token) = call.client_token else { return change(self) };
        if token.len() > CLIENT_TOKEN_BYTES_MAX || !token.is_ascii() {
            let message = "The specified parameter ClientToken is not valid: at most 64 ASCII characters.";
            return Err(ApiError::new(400, "InvalidClientToken.Malformed", message));
        }
        let key = (call.action.to_owned(), token.to_owned());
        match self.tokens.get(&key) {
            Some(first) if first.params == *params => Ok(first.answer.clone()),
            Some(_) => Err(ApiError::new(
                400,
                "IdempotentParameterMismatch",
                "The request uses the same client token as a previous, but non-identical request. Do not reuse a \
                 client token with different requests, unless the requests are identical.",
            )),
            None => {
                let answer = change(self)?;
                self.tokens.insert(key, FirstAnswer { params: params.clone(), answer: answer.clone() });
                Ok(answer)
            }
        }
    }

    /// How many snapshots of the disk there are, and how many of them are in progress at `now`.
    pub(crate) fn snapshots_on(&mut self, disk_id: &str, now: Timestamp) -> (usize, usize) {
        self.on_disk.get_mut(disk_id).map_or((0, 0), |on_disk| {
            on_disk.in_progress.retain(|(done_at, _)| *done_at > now);
            (on_disk.count, on_disk.in_progress.len())
        })
    }

    pub(crate) fn snapshot_made(&mut self, disk_id: &str, snapshot_id: &str, done_at: Timestamp) {
        let on_disk = self.on_disk.entry(disk_id.to_owned()).or_default();
        on_disk.count += 1;
        on_disk.in_progress.push((done_at, snapshot_id.to_owned()));
    }

    pub(crate) fn snapshot_deleted(&mut self, disk_id: &str, snapshot_id: &str) {
        if let Some(on_disk) = self.on_disk.get_mut(disk_id) {
            on_disk.count = on_disk.count.saturating_sub(1);
            on_disk.in_progress.retain(|(_, id)| id != snapshot_id);
        }
    }

    /// Fails the snapshots in progress of an ECS instance's disks: its state changed under them.
    pub(crate) fn fail_snapshots_of(&mut self, instance_id: &str, now: Timestamp) {
        let alibaba = &mut self.world.alibaba;
        for (disk_id, _) in
            alibaba.disks.iter().filter(|(_, d)| d.instance_id.as_deref() == Some(instance_id))
        {
            let Some(on_disk) = self.on_disk.get_mut(disk_id) else { continue };
            for (_, snapshot_id) in on_disk.in_progress.drain(..).filter(|(done_at, _)| *done_at > now) {
                if let Some(snapshot) = alibaba.snapshots.get_mut(&snapshot_id) {
                    snapshot.failed = true;
                    snapshot.done_at = now;
                }
            }
        }
    }

    fn reindex(&mut self) {
        self.on_disk.clear();
        let ecs = self.world.alibaba.snapshots.iter().map(|(id, s)| (id, &s.disk_id, s.done_at));
        let cbs = self.world.tencent.snapshots.iter().map(|(id, s)| (id, &s.disk_id, s.done_at));
        for (id, disk_id, done_at) in ecs.chain(cbs) {
            let on_disk = self.on_disk.entry(disk_id.clone()).or_default();
            on_disk.count += 1;
            on_disk.in_progress.push((done_at, id.clone()));
        }
    }
}

/// Longest client token of ECS, in bytes.
const CLIENT_TOKEN_BYTES_MAX: usize = 64;

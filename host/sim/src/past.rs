//! What was true before the last change of each resource, for reads that lag behind. Kept for instances and for snapshots
//! that were made. Leaves when to answer from it to `faults`. Tested by `tests/tests/it/sim/lies.rs`.

use crate::cloud::{Call, Cloud};
use crate::state::{CbsSnapshot, CvmInstance, EcsInstance, EcsSnapshot};
use opsward_core::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// The last change of each resource, by its id; of a snapshot that was made, by its disk's.
#[derive(Default)]
pub(crate) struct Past(BTreeMap<String, (Timestamp, Was)>);

/// A resource as it was; of a snapshot, that there was none.
pub(crate) enum Was {
    Ecs(EcsInstance),
    Cvm(CvmInstance),
    NoSnapshot { id: String, hidden: Option<Snapshot> },
}

pub(crate) enum Snapshot {
    Ecs(EcsSnapshot),
    Cbs(CbsSnapshot),
}

impl Past {
    /// How long ago something changed that `params` names.
    pub(crate) fn since_change(&self, params: &str, now: Timestamp) -> Option<Duration> {
        let named = self.0.iter().filter(|(id, (_, was))| is_named(params, id, was));
        named.map(|(_, (at, _))| now.since(*at)).min()
    }
}

fn is_named(params: &str, id: &str, was: &Was) -> bool {
    params.contains(id) || matches!(was, Was::NoSnapshot { id, .. } if params.contains(id.as_str()))
}

impl Cloud {
    /// Lets `call` change something, and keeps what was true before.
    pub(crate) fn keeping_past<T>(&mut self, call: &Call<'_>, change: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.instances_named(call.recorded.get());
        let seq = self.effects.total();
        let changed = change(self);
        if self.effects.total() > seq {
            self.keep_past(before, seq, call.now);
        }
        changed
    }

    /// The instances that `params` names, as they are.
    fn instances_named(&self, params: &str) -> Vec<(String, Was)> {
        let ecs = self.world.alibaba.instances.iter().filter(|(id, _)| params.contains(id.as_str()));
        let cvm = self.world.tencent.instances.iter().filter(|(id, _)| params.contains(id.as_str()));
        ecs.map(|(id, instance)| (id.clone(), Was::Ecs(instance.clone())))
            .chain(cvm.map(|(id, instance)| (id.clone(), Was::Cvm(instance.clone()))))
            .collect()
    }

    /// Keeps what was true before the changes numbered above `seq`.
    fn keep_past(&mut self, before: Vec<(String, Was)>, seq: u64, now: Timestamp) {
        let Self { world, effects, past, .. } = self;
        let mut kept: Vec<(String, Was)> = before
            .into_iter()
            .filter(|(id, _)| effects.after(seq).any(|effect| effect.resource == *id))
            .collect();
        for effect in effects.after(seq).filter(|effect| effect.action == "CreateSnapshot") {
            let id = effect.resource.clone();
            let ecs = world.alibaba.snapshots.get(&id).map(|snapshot| &snapshot.disk_id);
            let disk = ecs.or_else(|| world.tencent.snapshots.get(&id).map(|snapshot| &snapshot.disk_id));
            if let Some(disk) = disk {
                kept.push((disk.clone(), Was::NoSnapshot { id, hidden: None }));
            }
        }
        past.0.extend(kept.into_iter().map(|(id, was)| (id, (now, was))));
    }

    /// Answers as if the last changes of what `params` names had not been.
    pub(crate) fn as_before<T>(&mut self, params: &str, answer: impl FnOnce(&mut Self) -> T) -> T {
        self.exchange(params);
        let answered = answer(self);
        self.exchange(params);
        answered
    }

    fn exchange(&mut self, params: &str) {
        let Self { world, past, .. } = self;
        for (id, (_, was)) in past.0.iter_mut().filter(|(id, (_, was))| is_named(params, id, was)) {
            match was {
                Was::Ecs(was) => {
                    if let Some(is) = world.alibaba.instances.get_mut(id) {
                        std::mem::swap(was, is);
                    }
                }
                Was::Cvm(was) => {
                    if let Some(is) = world.tencent.instances.get_mut(id) {
                        std::mem::swap(was, is);
                    }
                }
                Was::NoSnapshot { id, hidden } => match hidden.take() {
                    Some(Snapshot::Ecs(snapshot)) => {
                        world.alibaba.snapshots.insert(id.clone(), snapshot);
                    }
                    Some(Snapshot::Cbs(snapshot)) => {
                        world.tencent.snapshots.insert(id.clone(), snapshot);
                    }
                    None => {
                        let ecs = world.alibaba.snapshots.remove(id).map(Snapshot::Ecs);
                        *hidden = ecs.or_else(|| world.tencent.snapshots.remove(id).map(Snapshot::Cbs));
                    }
                },
            }
        }
    }
}

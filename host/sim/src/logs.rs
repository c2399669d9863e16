//! Log stores as they stand: shards with what was written to them, in order of arrival. Leaves the protocol to `sls`. Tested below.

use opsward_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The log stores by name.
#[derive(Default)]
pub(crate) struct LogStores(Mutex<BTreeMap<String, LogStore>>);

/// One log store.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct LogStore {
    shards: BTreeMap<u32, Shard>,
}

/// One shard.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Shard {
    /// Whether it is only read: it was split.
    pub(crate) is_closed: bool,
    /// How many of its oldest records have been deleted by age.
    pub(crate) deleted: usize,
    /// With the time of arrival.
    pub(crate) records: Vec<(Timestamp, Map<String, Value>)>,
}

/// Makes a log store, or changes one, and writes to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogsRequest {
    name: String,
    /// The shard to write to; the first that is open where none is named.
    shard: Option<u32>,
    #[serde(default)]
    records: Vec<Map<String, Value>>,
    /// A shard to split into two before that.
    split: Option<u32>,
    /// A shard whose records are to be deleted by age.
    expire: Option<u32>,
}

impl LogStores {
    pub(crate) fn all(&self) -> BTreeMap<String, LogStore> {
        self.lock().clone()
    }

    pub(crate) fn put(&self, request: LogsRequest, now: Timestamp) {
        let mut stores = self.lock();
        let store = stores.entry(request.name).or_insert_with(LogStore::with_a_shard);
        if let Some(shard) = request.split.and_then(|id| store.shards.get_mut(&id)) {
            shard.is_closed = true;
            for _ in 0..2 {
                let next = store.shards.last_key_value().map_or(0, |(id, _)| id + 1);
                store.shards.insert(next, Shard::default());
            }
        }
        if let Some(shard) = request.expire.and_then(|id| store.shards.get_mut(&id)) {
            shard.deleted = shard.records.len();
        }
        store.write(request.shard, request.records, now);
    }

    /// Writes one record; whether there is such a log store.
    pub(crate) fn write(&self, name: &str, record: Map<String, Value>, now: Timestamp) -> bool {
        self.lock().get_mut(name).map(|store| store.write(None, vec![record], now)).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, LogStore>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore {
    fn with_a_shard() -> Self {
        Self { shards: BTreeMap::from([(0, Shard::default())]) }
    }

    pub(crate) fn shards(&self) -> &BTreeMap<u32, Shard> {
        &self.shards
    }

    fn write(&mut self, shard: Option<u32>, records: Vec<Map<String, Value>>, now: Timestamp) {
        let open =
            self.shards.iter_mut().find(|(id, one)| shard.map_or(!one.is_closed, |shard| **id == shard));
        if let Some((_, shard)) = open {
            shard.records.extend(records.into_iter().map(|record| (now, record)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_shard_that_was_split_takes_no_more_and_keeps_what_it_has() {
        let stores = LogStores::default();
        let put = |request: Value| {
            stores.put(serde_json::from_value(request).expect("a request"), Timestamp::from_ms(0));
        };
        put(json!({ "name": "s", "records": [{ "a": "1" }] }));
        put(json!({ "name": "s", "split": 0, "records": [{ "a": "2" }] }));
        let counts: Vec<(u32, usize, bool)> = stores.all()["s"]
            .shards()
            .iter()
            .map(|(id, shard)| (*id, shard.records.len(), shard.is_closed))
            .collect();
        assert_eq!(counts, [(0, 1, true), (1, 1, false), (2, 0, false)]);
        assert!(!stores.write("nobody", Map::new(), Timestamp::from_ms(0)));
    }
}

//! The records of a log store's page, which is a `LogGroupList` in Protocol Buffers. Leaves how it is fetched and packed to `log_store`.
//! Tested below, and there with what the vendor's SDK writes.

use super::protobuf::{Malformed, Value, fields};
use serde_json::{Map, json};

/// Most bytes of what is said of a group that are repeated in each of its records; tags beyond it are left out, or a page of a few
/// megabytes could stand for gigabytes. A tag has a hundred.
const SHARED_BYTES_MAX: usize = 16 << 10;

/// A `LogGroupList` that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogGroups(Vec<u8>);

impl LogGroups {
    pub(super) fn read(list: Vec<u8>) -> Result<Self, Malformed> {
        check(&list)?;
        Ok(Self(list))
    }

    /// The records in their order, each a JSON object of texts, as `event` reads them. One is made at a time: together they may be many
    /// times the page.
    pub fn records(&self) -> impl Iterator<Item = String> {
        let groups = fields(&self.0).filter_map(|field| bytes_of(1, field));
        groups.flat_map(|group| {
            let shared = shared(group);
            let logs = fields(group).filter_map(|field| bytes_of(1, field));
            logs.map(move |log| record(shared.clone(), log))
        })
    }
}

/// Whether all of a `LogGroupList` is a message: each group, its logs and tags, and what these hold.
fn check(list: &[u8]) -> Result<(), Malformed> {
    for field in fields(list) {
        let (1, Value::Bytes(group)) = field? else { continue };
        for field in fields(group) {
            let (number @ (1 | 6), Value::Bytes(inner)) = field? else { continue };
            for field in fields(inner) {
                if let (2, Value::Bytes(content)) = field?
                    && number == 1
                {
                    fields(content).try_for_each(|field| field.map(drop))?;
                }
            }
        }
    }
    Ok(())
}

/// The bytes of a field of this number. What is no message was found by `check`.
fn bytes_of<'a>(wanted: u64, field: Result<(u64, Value<'a>), Malformed>) -> Option<&'a [u8]> {
    match field {
        Ok((number, Value::Bytes(bytes))) if number == wanted => Some(bytes),
        _ => None,
    }
}

/// What is said of a `LogGroup`, which stands in each of its records.
fn shared(group: &[u8]) -> Map<String, serde_json::Value> {
    let (mut shared, mut room, mut left_out) = (Map::new(), SHARED_BYTES_MAX, 0_u32);
    for (number, value) in fields(group).flatten() {
        let Value::Bytes(bytes) = value else { continue };
        let (key, value) = match number {
            3 => ("__topic__".to_owned(), text(bytes)),
            4 => ("__source__".to_owned(), text(bytes)),
            6 => {
                let (key, value) = pair(bytes);
                (format!("__tag__:{key}"), value)
            }
            _ => continue,
        };
        match room.checked_sub(key.len() + value.len()) {
            Some(left) => {
                room = left;
                shared.insert(key, value.into());
            }
            None => left_out += 1,
        }
    }
    if left_out > 0 {
        shared.insert("__left_out__".to_owned(), left_out.to_string().into());
    }
    shared
}

/// A `Log` as an object, in which what is shared is already.
fn record(mut record: Map<String, serde_json::Value>, log: &[u8]) -> String {
    for field in fields(log).flatten() {
        match field {
            (1, Value::Number(seconds)) => drop(record.insert("__time__".to_owned(), json!(seconds))),
            (2, Value::Bytes(content)) => {
                let (key, value) = pair(content);
                record.insert(key, value.into());
            }
            _ => {}
        }
    }
    serde_json::Value::Object(record).to_string()
}

/// Reads a `Content` or a `LogTag`.
fn pair(message: &[u8]) -> (String, String) {
    let (mut key, mut value) = (String::new(), String::new());
    for field in fields(message).flatten() {
        match field {
            (1, Value::Bytes(bytes)) => key = text(bytes),
            (2, Value::Bytes(bytes)) => value = text(bytes),
            _ => {}
        }
    }
    (key, value)
}

/// Writers are not held to UTF-8; what is not is replaced, as the cloud's own console does.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field with a length, below 16 KiB.
    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).expect("short");
        let length = [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
        [&[number << 3 | 2][..], &length, value].concat()
    }

    #[test]
    fn what_is_shared_is_repeated_as_far_as_there_is_room() {
        let tag = |key: &str, bytes: usize| {
            field(6, &[field(1, key.as_bytes()), field(2, &vec![b'x'; bytes])].concat())
        };
        let log = |value: &str| field(1, &field(2, &[field(1, b"k"), field(2, value.as_bytes())].concat()));
        let group = [log("1"), tag("small", 10), tag("a", 9_000), tag("b", 9_000), tag("last", 10), log("2")]
            .concat();
        let length = u32::try_from(group.len()).expect("short");
        let mut list =
            vec![0x0a, (length & 0x7f) as u8 | 0x80, (length >> 7 & 0x7f) as u8 | 0x80, (length >> 14) as u8];
        list.extend(&group);
        let page = LogGroups::read(list).expect("readable");
        let records: Vec<serde_json::Value> =
            page.records().map(|record| serde_json::from_str(&record).expect("JSON")).collect();
        let [first, second] = &records[..] else { panic!("{records:?}") };
        assert_eq!((&first["k"], &second["k"]), (&json!("1"), &json!("2")));
        for record in [first, second] {
            let keys: Vec<&str> = record.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(keys, ["__left_out__", "__tag__:a", "__tag__:last", "__tag__:small", "k"]);
            assert_eq!(record["__left_out__"], "1");
        }
        // What is broken deep inside is told before anything of the page is used.
        let broken = field(1, &field(1, &field(2, &[0x0a, 0x7f])));
        assert!(LogGroups::read(broken).is_err());
    }
}

//! SLS, Alibaba's log service, as a reader meets it: shards, cursors, and pages of records in Protocol Buffers and LZ4; signatures
//! checked, faults injected like those of every call. A query is one comparison, `* | where <key> = '<value>'`. Projects are not
//! looked at. Leaves what was written to `logs`. Tested by `tests/tests/it/polled.rs`.

use crate::answer::{ApiError, respond};
use crate::faults::{FaultKind, Taken};
use crate::logs::Shard;
use crate::request::{Asked, Inbound, Product};
use crate::server::{Simulator, Worked};
use crate::verify::{self, Doubt};
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response};
use opsward_core::sign::SignatureKind;
use opsward_core::sign::encoding::split;
use opsward_core::sign::keyed_hash::{base64, from_base64};
use serde_json::{Map, Value, json};

/// Most groups in a page: the vendor's limit. Each record is a group of its own here.
const GROUPS_MAX: usize = 1000;

/// What is asked of which log store.
struct Ask {
    store: String,
    verb: Verb,
}

enum Verb {
    ListShards,
    /// `begin`, `end`, or seconds since 1970.
    Cursor {
        shard: u32,
        from: String,
    },
    Pull {
        shard: u32,
        cursor: String,
        groups: usize,
        filter: Option<(String, String)>,
    },
}

impl Verb {
    fn action(&self) -> &'static str {
        match self {
            Self::ListShards => "ListShards",
            Self::Cursor { .. } => "GetCursor",
            Self::Pull { .. } => "PullLogs",
        }
    }

    fn shard(&self) -> Option<u32> {
        match self {
            Self::ListShards => None,
            Self::Cursor { shard, .. } | Self::Pull { shard, .. } => Some(*shard),
        }
    }
}

/// What is answered: headers and a body, or a refusal.
type Answered = Result<(Vec<(&'static str, String)>, Vec<u8>), ApiError>;

/// Whether a request is for a log store.
pub(crate) fn is_for(inbound: &Inbound) -> bool {
    inbound.path().starts_with("/logstores/")
}

/// Everything about a request except sending the answer.
pub(crate) fn work(sim: &Simulator, inbound: &Inbound) -> Worked {
    let now = sim.clock.now();
    let read = Ask::read(inbound);
    let asked = match &read {
        Ok(ask) => {
            let params = json!({ "logstore": ask.store, "shard": ask.verb.shard() });
            Asked::of_resource(Product::Sls, VERSION, ask.verb.action(), &params)
        }
        Err(_) => Asked::of_resource(Product::Sls, VERSION, "Unknown", &json!({})),
    };
    let scheme = (SignatureKind::AlibabaSls, refusal as fn(Doubt) -> ApiError);
    let (verdict, skew, taken) = verify::judge(sim, inbound, &asked, read.is_ok(), scheme, now);
    let request_id = sim.ids.word(24).to_ascii_uppercase();
    let answered = match (&verdict.outcome, &read) {
        (Err(refused), _) | (_, Err(refused)) => Err(refused.clone()),
        (Ok(key), Ok(_)) if !key.may(&format!("log:{}", asked.action)) => {
            Err(ApiError::new(401, "Unauthorized", "denied by sts or ram"))
        }
        (Ok(_), Ok(ask)) => carry_out(sim, ask, &taken),
    };
    let outcome = match &answered {
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(error.clone()),
    };
    sim.record(inbound, &verdict, &asked, &request_id, now, &outcome, taken.shown());
    let mut response = answer(answered, &request_id);
    if !skew.is_zero() || sim.clock.is_moved() {
        sim.show_date(&mut response, skew);
    }
    Worked { response, fault: taken.fault }
}

const VERSION: &str = "0.6.0";

fn answer(answered: Answered, request_id: &str) -> Response<Body> {
    let (headers, mut response) = match answered {
        Ok((headers, body)) => (headers, Response::new(Body::from(body))),
        Err(error) => {
            let body = json!({ "errorCode": error.code, "errorMessage": error.message }).to_string();
            (Vec::new(), respond(error.status, "application/json", body))
        }
    };
    for (name, value) in headers.into_iter().chain([("x-log-requestid", request_id.to_owned())]) {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

fn carry_out(sim: &Simulator, ask: &Ask, taken: &Taken) -> Answered {
    match taken.kind() {
        Some(FaultKind::Throttle) => {
            return Err(ApiError::new(403, "ReadQuotaExceed", "Project read quota exceed"));
        }
        Some(FaultKind::Error500Before | FaultKind::Error500After) => {
            return Err(ApiError::new(500, "InternalServerError", "Specified Server Error Message"));
        }
        _ => {}
    }
    let stores = sim.logs.all();
    let store = stores.get(&ask.store).ok_or_else(|| {
        ApiError::new(404, "LogStoreNotExist", format!("logstore {} does not exist", ask.store))
    })?;
    let shard = |id: &u32| {
        let none = || ApiError::new(404, "ShardNotExist", format!("Shard {id} does not exist"));
        store.shards().get(id).ok_or_else(none)
    };
    match &ask.verb {
        Verb::ListShards => {
            let shards: Vec<Value> = store
                .shards()
                .iter()
                .map(|(id, shard)| {
                    let status = if shard.is_closed { "readonly" } else { "readwrite" };
                    json!({ "shardID": id, "status": status, "createTime": 0 })
                })
                .collect();
            Ok((
                vec![("content-type", "application/json".to_owned())],
                json!(shards).to_string().into_bytes(),
            ))
        }
        Verb::Cursor { shard: id, from } => {
            let body = json!({ "cursor": cursor_of(first(shard(id)?, from)?) }).to_string();
            Ok((vec![("content-type", "application/json".to_owned())], body.into_bytes()))
        }
        Verb::Pull { shard: id, cursor, groups, filter } => {
            pull(shard(id)?, cursor, *groups, filter.as_ref())
        }
    }
}

/// The place of what arrived from then on.
fn first(shard: &Shard, from: &str) -> Result<usize, ApiError> {
    let place = match from {
        "begin" => 0,
        "end" => shard.records.len(),
        seconds => {
            let seconds: i64 = seconds.parse().map_err(|_| parameter("from"))?;
            shard.records.iter().take_while(|(at, _)| at.seconds() < seconds).count()
        }
    };
    Ok(place.max(shard.deleted))
}

fn cursor_of(place: usize) -> String {
    base64(format!("{:020}", place).as_bytes())
}

fn pull(shard: &Shard, cursor: &str, groups: usize, filter: Option<&(String, String)>) -> Answered {
    let lost = || ApiError::new(400, "InvalidCursor", format!("Cursor {cursor} is invalid"));
    let place = from_base64(cursor).and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<usize>().ok());
    let place =
        place.filter(|place| (shard.deleted..=shard.records.len()).contains(place)).ok_or_else(lost)?;
    let until = shard.records.len().min(place + groups);
    let fits = |record: &Map<String, Value>| {
        filter.is_none_or(|(key, value)| record.get(key) == Some(&json!(value)))
    };
    let records: Vec<&Map<String, Value>> =
        shard.records[place..until].iter().map(|(_, record)| record).filter(|record| fits(record)).collect();
    let raw: Vec<u8> = records.iter().flat_map(|record| field(1, &group(record))).collect();
    let headers = vec![
        ("content-type", "application/x-protobuf".to_owned()),
        ("x-log-cursor", cursor_of(until)),
        ("x-log-count", records.len().to_string()),
        ("x-log-compresstype", "lz4".to_owned()),
        ("x-log-bodyrawsize", raw.len().to_string()),
    ];
    Ok((headers, if raw.is_empty() { raw } else { lz4(&raw) }))
}

/// A `LogGroup` of one record.
fn group(record: &Map<String, Value>) -> Vec<u8> {
    let time = record.get("__time__").and_then(Value::as_u64).unwrap_or(0);
    let mut log = vec![0x08];
    log.extend(varint(time));
    for (key, value) in record.iter().filter(|(key, _)| !key.starts_with("__")) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        log.extend(field(2, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat()));
    }
    let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    [field(1, &log), field(3, text("__topic__").as_bytes()), field(4, text("__source__").as_bytes())].concat()
}

/// A field with a length.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    bytes.extend(varint(value.len() as u64));
    bytes.extend(value);
    bytes
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

/// A block of literals alone: the smallest writer of what every reader understands.
fn lz4(raw: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(raw.len() + raw.len() / 255 + 2);
    match raw.len().checked_sub(15) {
        None => block.push((raw.len() as u8) << 4),
        Some(mut rest) => {
            block.push(0xf0);
            while rest >= 255 {
                block.push(255);
                rest -= 255;
            }
            block.push(rest as u8);
        }
    }
    block.extend(raw);
    block
}

impl Ask {
    fn read(inbound: &Inbound) -> Result<Self, ApiError> {
        let path = inbound.path().strip_prefix("/logstores/").ok_or_else(|| parameter("path"))?;
        let pairs = split(inbound.query().as_bytes()).ok_or_else(|| parameter("query"))?;
        let given =
            |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        if inbound.method != "GET" {
            return Err(parameter("method"));
        }
        let (store, rest) = path.split_once('/').ok_or_else(|| parameter("path"))?;
        let verb = match (rest.strip_prefix("shards/"), given("type")) {
            (None, None) if rest == "shards" => Verb::ListShards,
            (Some(shard), Some("cursor")) => Verb::Cursor {
                shard: number(shard)?,
                from: given("from").ok_or_else(|| parameter("from"))?.to_owned(),
            },
            (Some(shard), Some("log")) => Verb::Pull {
                shard: number(shard)?,
                cursor: given("cursor").ok_or_else(|| parameter("cursor"))?.to_owned(),
                groups: (number(given("count").unwrap_or("1000"))? as usize).clamp(1, GROUPS_MAX),
                filter: given("query").map(comparison).transpose()?,
            },
            _ => return Err(parameter("type")),
        };
        Ok(Self { store: store.to_owned(), verb })
    }
}

fn number(text: &str) -> Result<u32, ApiError> {
    text.parse().map_err(|_| parameter("number"))
}

/// Key and value of `* | where key = 'value'`.
fn comparison(query: &str) -> Result<(String, String), ApiError> {
    let compared = query.trim().strip_prefix("* | where ").and_then(|rest| rest.split_once('='));
    let value = compared.and_then(|(_, value)| value.trim().strip_prefix('\'')?.strip_suffix('\''));
    match (compared, value) {
        (Some((key, _)), Some(value)) => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err(parameter("query")),
    }
}

fn parameter(name: &str) -> ApiError {
    ApiError::new(400, "ParameterInvalid", format!("The {name} is invalid."))
}

/// What a request that is not believed is told.
fn refusal(doubt: Doubt) -> ApiError {
    let (status, code, message) = match doubt {
        Doubt::Malformed => (400, "InvalidAuthorization", "The Authorization header is invalid."),
        Doubt::Expired => (400, "RequestTimeExpired", "Request time has been expired."),
        Doubt::UnknownKey => (401, "Unauthorized", "AccessKeyId not found."),
        Doubt::Token => (401, "SecurityTokenInvalid", "The security token is invalid."),
        Doubt::Signature => (401, "SignatureNotMatch", "Signature does not match."),
    };
    ApiError::new(status, code, message)
}

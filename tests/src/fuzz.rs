//! What the fuzz targets of `tests/fuzz` do with bytes: one function a target, which panics where a promise is broken. The seeds in
//! `tests/fuzz/corpus` go through the same functions in `tests/it/fuzz.rs`, always. Leaves making bytes to the fuzzer.
//!
//! A seed is text that a person can read: a head, an empty line, and a body.

use opsward_core::config::{load_host, load_policy};
use opsward_core::event::{BATCH_EVENTS_MAX, Delivery, Event, Mapping, MappingText, SourceKind, decode};
use opsward_core::pattern::{Index, OnEntry, Patterns};
use opsward_core::schedule::{Schedule, ScheduleEntry};
use opsward_core::secret::Secret;
use opsward_core::sign::alibaba_eventbridge::{Push, certificate_url, is_signed, verify};
use opsward_core::sign::received::{self, Received};
use opsward_core::sign::rsa_public_key::RsaPublicKey;
use opsward_core::time::Timestamp;
use serde_json::{Value, json};

/// What a target does with bytes.
pub type Target = fn(&[u8]);

/// Each target by its name.
pub const TARGETS: [(&str, Target); 6] = [
    ("decoders", decoders),
    ("signatures", signatures),
    ("cron", cron),
    ("config", config),
    ("patterns", patterns),
    ("mapping", mapping),
];

/// The time that the targets take for now: 2018-06-08T01:25:38Z, that of the seeds.
const NOW: Timestamp = Timestamp::from_seconds(1_528_421_138);
/// A secret that signed no seed.
const OTHER_SECRET: &str = "the-secret-that-signed-no-seed";
/// Firings that are looked at.
const FIRINGS: usize = 5;

/// Reads a body as a kind of source: the head's first line is the kind, the others are headers.
pub fn decoders(bytes: &[u8]) {
    let (head, body) = head_and_body(bytes);
    let mut lines = head.lines();
    let named = lines.next().unwrap_or_default();
    let by_number = named.bytes().map(usize::from).sum::<usize>() % SourceKind::ALL.len();
    let kind = named.trim().parse().unwrap_or(SourceKind::ALL[by_number]);
    let headers = headers(lines);
    let source = "fuzz".parse().expect("a name");
    let delivery = Delivery { headers: &headers, body };
    let decoded = decode(kind, &source, &delivery, NOW);
    if let Ok(events) = &decoded {
        promised(events);
    }
    assert_eq!(decode(kind, &source, &delivery, NOW), decoded, "{kind} reads the same bytes differently");
}

/// Events are as they may be recorded, and as they are read back.
fn promised(events: &[Event]) {
    assert!(events.len() <= BATCH_EVENTS_MAX, "{} events", events.len());
    for event in events {
        assert_eq!(event.check(), Ok(()));
        assert!(serde_json::from_str::<Value>(&event.data).is_ok(), "data is no JSON: {}", event.data);
        let record = serde_json::to_string(event).expect("a record");
        assert_eq!(&serde_json::from_str::<Event>(&record).expect("read back"), event);
    }
}

/// Looks at a request as one that is signed: the head's first line is method, path and query, the others are headers.
pub fn signatures(bytes: &[u8]) {
    let (head, body) = head_and_body(bytes);
    let mut lines = head.lines();
    let (method, target) = lines.next().unwrap_or_default().split_once(' ').unwrap_or(("POST", "/"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = headers(lines);
    let request = Received { method, path, query, headers: &headers, body };
    if let Ok(claimed) = received::claimed(&request) {
        let verdict = received::verify(&request, &claimed, OTHER_SECRET);
        assert_ne!(verdict, Ok(true), "{:?} was not signed with this secret", claimed.kind);
    }
    let push = Push { url: target, headers: &headers, body };
    if let Ok(url) = certificate_url(&push) {
        let host =
            url.strip_prefix("https://").and_then(|rest| rest.split_once('/')).expect("https and a host").0;
        assert!(host.ends_with(".aliyuncs.com") && !host.contains(['@', ':', '\\']), "{url}");
    }
    if let Ok(key) = RsaPublicKey::from_pem(&String::from_utf8_lossy(body)) {
        let token = Secret::new(OTHER_SECRET.to_owned());
        assert!(verify(&push, &key, Some(&token), NOW).is_err(), "the token is not in any seed");
        assert_ne!(is_signed(&push, &key), Ok(true), "nobody has signed the key itself");
        drop(key.recover(body));
    }
}

/// Reads a schedule: a line each for dialect, zone and what it is, `every` where the dialect is `every`.
pub fn cron(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(3, '\n');
    let [dialect, zone, line] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let mut entry = match dialect {
        "every" => json!({ "every": line }),
        dialect => json!({ "cron": line, "dialect": dialect }),
    };
    if !zone.is_empty() {
        entry["zone"] = zone.into();
    }
    let Ok(entry) = serde_json::from_value::<ScheduleEntry>(entry) else { return };
    let Ok(schedule) = Schedule::parse(&entry) else { return };
    let mut at = NOW;
    for _ in 0..FIRINGS {
        let Some(next) = schedule.next_after(at) else { return };
        assert!(next > at, "{} fires after {at} at {next}", schedule.text());
        at = next;
    }
}

/// Reads an operator's files: `opsward.toml`, and a policy's after a line of `%%`.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (host, policy) = text.split_once("\n%%\n").unwrap_or((&text, ""));
    match load_host("opsward.toml", host) {
        Ok(settings) => {
            if let Err(findings) = load_policy("policy.toml", "policy", policy, &settings) {
                assert!(!findings.is_empty(), "a file that is refused says why");
            }
        }
        Err(findings) => assert!(findings.iter().all(|finding| !finding.to_string().is_empty())),
    }
}

/// Holds an event against `on` entries: the head is a JSON list of them, the body an event's record.
pub fn patterns(bytes: &[u8]) {
    let (head, body) = head_and_body(bytes);
    let Ok(entries) = serde_json::from_str::<Vec<OnEntry>>(head) else { return };
    let Ok(patterns) = Patterns::compile(&entries) else { return };
    let Ok(event) = serde_json::from_slice::<Event>(body) else { return };
    let both = [patterns.clone(), patterns];
    let alone = Index::build(both[..1].iter()).matches(&event).len();
    assert_eq!(
        Index::build(both.iter()).matches(&event).len(),
        2 * alone,
        "a policy matches as it does alone"
    );
}

/// Reads a body by a mapping: the head is the mapping as JSON.
pub fn mapping(bytes: &[u8]) {
    let (head, body) = head_and_body(bytes);
    let Ok(typed) = serde_json::from_str::<MappingText>(head) else { return };
    match Mapping::compile(&typed) {
        Ok(mapping) => {
            let source = "fuzz".parse().expect("a name");
            if let Ok(events) = mapping.decode(&source, &Delivery { headers: &[], body }, NOW) {
                promised(&events);
            }
        }
        Err(error) => assert!(!error.problem.is_empty()),
    }
}

/// The text up to the first empty line, and what follows. Bytes before it that are no text are no head.
fn head_and_body(bytes: &[u8]) -> (&str, &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((bytes, &b""[..]), |end| (&bytes[..end], &bytes[end + 2..]));
    (std::str::from_utf8(head).unwrap_or_default(), body)
}

fn headers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect()
}

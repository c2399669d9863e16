//! Senders that ask for too much: floods, slow heads and bodies, many connections, bodies without end. Another source is served
//! meanwhile, nothing that was answered 2xx is lost, and memory stays what it was. Who is believed is in `senders`.

use crate::harness::{Host, PATIENCE, TOKEN, World, eventually};
use opsward_core::sign::keyed_hash::hmac_sha256;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Deliveries of the flood, and what its source may have in a second: twenty times less.
const FLOOD: usize = 400;
const RATE: usize = 20;
/// Deliveries of the other source.
const GOOD: usize = 60;
/// What memory may grow by, in KiB: what the bounds of bodies come to, and as much again for everything else.
const GROWTH_KIB_MAX: u64 = 128 << 10;

/// A world with the sources `loud` and `quiet`, and lines for `[server]`.
async fn world(server: &str) -> World {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let settings = settings.replace("[server]\n", &format!("[server]\n{server}\n"));
    let source = |name: &str, more: &str| {
        format!("\n[sources.{name}]\nkind = \"cloudevents\"\ntoken = {{ env = \"TEST_TOKEN\" }}\n{more}\n")
    };
    let loud = source("loud", &format!("rate = \"{RATE}/s\""));
    world.write("opsward.toml", &(settings + &loud + &source("quiet", "") + &source("wide", "")));
    world
}

fn event(id: &str) -> String {
    json!({ "specversion": "1.0", "id": id, "source": "test", "type": "flood", "data": {} }).to_string()
}

/// Status, and what `retry-after` says.
async fn post(http: &reqwest::Client, host: &str, source: &str, id: &str) -> (u16, Option<u64>) {
    let url = format!("http://{host}/hooks/{source}/{TOKEN}");
    let request = http.post(url).header("content-type", "application/cloudevents+json").body(event(id));
    let answer = tokio::time::timeout(PATIENCE, request.send()).await.expect("in time").expect("an answer");
    let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    (answer.status().as_u16(), after)
}

/// Ids of all events of a source that the host has.
async fn recorded(world: &World, host: &Host, source: &str) -> BTreeSet<String> {
    let url = format!("http://{}/api/v1/events?limit=10000", host.admin);
    let answer = world.http.get(url).send().await.expect("an answer").bytes().await.expect("a body");
    let listed: Value = serde_json::from_slice(&answer).expect("JSON");
    let rows = listed["events"].as_array().expect("a list").iter();
    let of_source = rows.filter(|row| row["event"]["source"] == source);
    of_source.map(|row| row["event"]["id"].as_str().expect("an id").to_owned()).collect()
}

async fn counted(world: &World, host: &Host, source: &str) -> Value {
    let url = format!("http://{}/api/v1/sources", host.admin);
    let answer = world.http.get(url).send().await.expect("an answer").bytes().await.expect("a body");
    let listed: Value = serde_json::from_slice(&answer).expect("JSON");
    let rows = listed["sources"].as_array().expect("a list");
    rows.iter().find(|row| row["name"] == source).expect("the source").clone()
}

/// The event's id as it is recorded: with its source's.
fn known(id: &str) -> String {
    format!("{id} test")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_told_when_to_come_again_and_no_other_source_feels_it() {
    let world = world("").await;
    let host = world.start().await;
    let mut flood = JoinSet::new();
    for part in 0..16 {
        let (http, listen) = (world.http.clone(), host.listen.clone());
        flood.spawn(async move {
            let mut taken = Vec::new();
            for nth in 0..FLOOD / 16 {
                let id = format!("loud-{part}-{nth}");
                match post(&http, &listen, "loud", &id).await {
                    (200, _) => taken.push(known(&id)),
                    (429, Some(1..)) => {}
                    other => panic!("{id}: {other:?}"),
                }
            }
            taken
        });
    }
    for nth in 0..GOOD {
        assert_eq!(post(&world.http, &host.listen, "quiet", &format!("quiet-{nth}")).await.0, 200);
    }
    let taken: BTreeSet<String> = flood.join_all().await.into_iter().flatten().collect();
    let wanted: BTreeSet<String> = (0..GOOD).map(|nth| known(&format!("quiet-{nth}"))).collect();
    assert_eq!(recorded(&world, &host, "quiet").await, wanted, "all of the other source's");
    assert_eq!(recorded(&world, &host, "loud").await, taken, "what got 2xx, and nothing else");
    assert!(taken.len() >= RATE && taken.len() < FLOOD, "{} of {FLOOD}", taken.len());
    let loud = counted(&world, &host, "loud").await;
    assert_eq!(
        (&loud["accepted"], &loud["refused"]),
        (&json!(taken.len()), &json!({ "rate": FLOOD - taken.len() }))
    );
    assert_eq!(counted(&world, &host, "quiet").await["refused"], json!({}));
    // A host that is killed then has them all the same.
    host.kill().await;
    let host = world.start().await;
    assert_eq!(recorded(&world, &host, "loud").await, taken);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_deliveries_take_nothing_of_an_honest_senders_rate_and_few_lines_of_the_log() {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let source = "[sources.signed]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\nrate = \"1/s\"\n\
                  signature = { scheme = \"hmac\", secret = { env = \"TEST_SECRET\" }, header = \"x-sum\" }";
    world.write("opsward.toml", &format!("{settings}\n{source}\n"));
    let host = world.start_with(&[("TEST_SECRET", "secret")]).await.expect("ready");
    let forger = reqwest::Client::builder().no_proxy().local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    let forger = forger.build().expect("a client");
    let send = async |http: &reqwest::Client, key: &str| {
        let (url, body) = (format!("http://{}/hooks/signed/{TOKEN}", host.listen), event("one"));
        let sum = hmac_sha256(key.as_bytes(), body.as_bytes());
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let request = http.post(url).header("content-type", "application/cloudevents+json");
        let request = request.header("x-sum", sum).body(body);
        request.send().await.expect("an answer").status().as_u16()
    };
    // As fast as it may: its own turns end, and are all it takes.
    let mut refused = 0;
    eventually("a forger is told to slow down", async || {
        let status = send(&forger, "a guess").await;
        assert!(matches!(status, 401 | 429), "{status}");
        refused += 1;
        (status == 429 && refused > 20).then_some(())
    })
    .await;
    assert_eq!(send(&world.http, "secret").await, 200);
    assert_eq!(counted(&world, &host, "signed").await["accepted"], 1);
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("the log");
    let lines = log.lines().filter(|line| line.contains("refused") && line.contains("signed")).count();
    assert!(lines < refused, "{lines} lines of {refused} refusals");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_deliveries_of_a_forger_leave_places_to_an_honest_sender() {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let source = "[sources.signed]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\n\
                  signature = { scheme = \"hmac\", secret = { env = \"TEST_SECRET\" }, header = \"x-sum\" }";
    world.write("opsward.toml", &format!("{settings}\n{source}\n"));
    let host = world.start_with(&[("TEST_SECRET", "secret")]).await.expect("ready");
    let mut slow = Vec::new();
    for _ in 0..80 {
        slow.push(begun_from([127, 0, 0, 2], &host.listen, &head("signed", "content-length: 99\r\n")).await);
    }
    // Eight have a place at a time, and a busy machine may see them cut off meanwhile, so that eight more have one.
    let refused = eventually("refusals of the forger", async || {
        let row = counted(&world, &host, "signed").await;
        row["refused"]["too-many"].as_u64().filter(|count| *count >= 64)
    });
    let honest = async {
        for nth in 0..20 {
            assert_eq!(post_signed(&world, &host, &format!("honest-{nth}")).await, 200, "{nth}");
        }
    };
    tokio::join!(refused, honest);
    assert_eq!(counted(&world, &host, "signed").await["accepted"], 20);
}

async fn post_signed(world: &World, host: &Host, id: &str) -> u16 {
    let body = event(id);
    let sum: String =
        hmac_sha256(b"secret", body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let url = format!("http://{}/hooks/signed/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = request.header("x-sum", sum).body(body).send().await.expect("an answer");
    answer.status().as_u16()
}

/// A connection that has sent so much.
async fn begun(listen: &str, bytes: &str) -> TcpStream {
    begun_from([127, 0, 0, 1], listen, bytes).await
}

async fn begun_from(from: [u8; 4], listen: &str, bytes: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("an address of this machine");
    let mut stream = socket.connect(listen.parse().expect("an address")).await.expect("a connection");
    stream.write_all(bytes.as_bytes()).await.expect("sent");
    stream
}

fn head(source: &str, more: &str) -> String {
    format!(
        "POST /hooks/{source}/{TOKEN} HTTP/1.1\r\nhost: x\r\ncontent-type: application/cloudevents+json\r\n{more}\r\n"
    )
}

/// Reads until the host hangs up; what it has said.
async fn rest(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // A reset says as much as an end.
    drop(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("in time"));
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_senders_fill_their_own_share_and_are_cut_off() {
    let world = world("").await;
    let host = world.start().await;
    // Heads that never end, and bodies that never come: as many as the source may have at a time.
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        heads.push(begun(&host.listen, "POST /hooks/wide/").await);
    }
    let refused = eventually("a refusal of the source that is full", async || {
        // As many again where the first were cut off before all were there: a busy machine takes its time.
        for _ in 0..64 {
            bodies.push(begun(&host.listen, &head("wide", "content-length: 99\r\n")).await);
        }
        let (status, after) = post(&world.http, &host.listen, "wide", "late").await;
        (status == 429).then_some(after)
    });
    assert_eq!(refused.await, Some(2));
    for nth in 0..20 {
        assert_eq!(post(&world.http, &host.listen, "quiet", &format!("quiet-{nth}")).await.0, 200);
    }
    for stream in heads {
        assert_eq!(rest(stream).await, "", "nobody is answered who has not asked");
    }
    let mut cut_off = 0;
    for stream in bodies {
        let said = rest(stream).await;
        cut_off += usize::from(said.starts_with("HTTP/1.1 408"));
        assert!(
            ["408", "429"].iter().any(|status| said.starts_with(&format!("HTTP/1.1 {status}"))),
            "{said}"
        );
    }
    assert!(cut_off >= 64, "{cut_off} had a place, and lost it");
    assert_eq!(post(&world.http, &host.listen, "wide", "after").await.0, 200, "its share is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_so_many_connections_and_leaves_the_rest_to_others() {
    let world = world("connections-per-address = 8").await;
    let host = world.start().await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(begun(&host.listen, "POST /hooks/wide/").await);
    }
    // The kernel takes connections before the host sees them: only an answer shows that one was let in.
    assert_eq!(
        rest(begun(&host.listen, &head("wide", "content-length: 0\r\n")).await).await,
        "",
        "closed at once"
    );
    let other = reqwest::Client::builder().no_proxy().local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    let other = other.build().expect("a client");
    assert_eq!(post(&other, &host.listen, "quiet", "other").await.0, 200);
    drop(held);
    eventually("room for the address again", async || {
        let socket = TcpSocket::new_v4().expect("a socket");
        let mut stream = socket.connect(host.listen.parse().expect("an address")).await.ok()?;
        let body = event("again");
        let request =
            head("quiet", &format!("connection: close\r\ncontent-length: {}\r\n", body.len())) + &body;
        stream.write_all(request.as_bytes()).await.ok()?;
        rest(stream).await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

/// The most memory that the host has had so far, in KiB.
fn peak_kib(host: &Host) -> u64 {
    let pid = host.child.id().expect("running");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("readable");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Sends a body of 1 GiB until the host has had enough; what it said, and how much it took.
async fn endless(listen: String, more: &'static str, chunk: Vec<u8>) -> (String, usize) {
    let mut stream = begun(&listen, &head("wide", more)).await;
    let (mut read, mut write) = stream.split();
    let mut said = Vec::new();
    let mut sent = 0;
    let sending = async {
        while sent < 1 << 30 && write.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
    };
    let reading = async { drop(read.read_to_end(&mut said).await) };
    // Whichever of both ends first has had enough.
    tokio::time::timeout(PATIENCE, async {
        tokio::select! { () = sending => {}, () = reading => {} }
    })
    .await
    .expect("in time");
    (String::from_utf8_lossy(&said).into_owned(), sent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_without_end_is_refused_in_little_memory() {
    let world = world("").await;
    let host = world.start().await;
    assert_eq!(post(&world.http, &host.listen, "quiet", "before").await.0, 200);
    let before = peak_kib(&host);
    let mut senders = JoinSet::new();
    let text = vec![b' '; 64 << 10];
    let chunk = [b"10000\r\n".as_slice(), &text, b"\r\n"].concat();
    for nth in 0..32 {
        let (more, bytes) = match nth % 2 {
            0 => ("transfer-encoding: chunked\r\n", chunk.clone()),
            _ => ("content-length: 1073741824\r\n", text.clone()),
        };
        senders.spawn(endless(host.listen.clone(), more, bytes));
    }
    for (said, sent) in senders.join_all().await {
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 413"), "{said}");
        assert!(sent < 64 << 20, "{sent} bytes were taken");
    }
    let grown = peak_kib(&host).saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "memory grew by {grown} KiB");
    assert_eq!(post(&world.http, &host.listen, "quiet", "after").await.0, 200);
    let refused = counted(&world, &host, "wide").await["refused"]["too-large"].as_u64();
    assert!(refused.is_some_and(|count| count > 0), "{refused:?}");
    assert!(recorded(&world, &host, "wide").await.is_empty());
}

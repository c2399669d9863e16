//! Who is believed: pushes signed as EventBridge signs them, webhooks with a signature, BasicAuth, ranges of addresses; against a
//! running host, with a loopback server that has the certificates. Flood and back pressure are in `flood`.

use crate::harness::{Host, PATIENCE, TOKEN, World, eventually};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use opsward_core::sign::keyed_hash::hmac_sha256;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const KEY: &[u8] = include_bytes!("../../keys/bridge.pk8");
const STRANGER: &[u8] = include_bytes!("../../keys/stranger.pk8");
const CERTIFICATE: &str = include_str!("../../keys/bridge.pem");
/// What the sender was given as the beginning of its URL.
const BASE: &str = "https://ops.example.com";
const PLACE: &str = "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com";
const WEBHOOK_KEY: &[u8] = b"a key of 24 bytes or so.";

/// A server that has certificates, and what it was asked for.
struct Certificates {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Certificates {
    async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = asked.clone();
        tokio::spawn(async move {
            let mut stuck = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                if path.starts_with("/stuck") {
                    // Kept open, and never answered.
                    stuck.push(stream);
                    paths.lock().expect("whole").push(path);
                    continue;
                }
                let answer = match path.as_str() {
                    "/moved.pem" => format!(
                        "HTTP/1.1 302 Found\r\nlocation: http://{address}/x509.pem\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    ),
                    "/large.pem" => ok(&CERTIFICATE.repeat(1000)),
                    "/no.pem" => ok("<html>not found</html>"),
                    _ => ok(CERTIFICATE),
                };
                paths.lock().expect("whole").push(path);
                // The host may have hung up before it has read a long one.
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("whole").clone()
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// A push, as right as its maker leaves it.
struct Push {
    key: &'static [u8],
    certificate: String,
    seconds_ago: i64,
    /// What is asked for, and what is signed as asked for.
    target: (String, String),
    /// What is sent, and what is signed.
    body: (String, String),
    token: &'static str,
}

impl Push {
    fn of(id: &str) -> Self {
        let target = format!("/hooks/bridge/{TOKEN}?a=1");
        let body = cloudevent(id);
        Self {
            key: KEY,
            certificate: format!("{PLACE}/x509.pem"),
            seconds_ago: 0,
            target: (target.clone(), target),
            body: (body.clone(), body),
            token: "subscriber",
        }
    }

    async fn send(&self, world: &World, host: &Host) -> u16 {
        let at = (now_ms() - self.seconds_ago * 1000).to_string();
        let headers = [
            ("x-eventbridge-signature-timestamp", at.as_str()),
            ("x-eventbridge-hash-method", "SHA256"),
            ("x-eventbridge-signature-version", "1.0"),
            ("x-eventbridge-signature-url", &self.certificate),
            ("x-eventbridge-signature-token", self.token),
        ];
        let mut signed = format!("{BASE}{}\n", self.target.1);
        for (name, value) in headers {
            signed.push_str(&format!("{name}: {value}\n"));
        }
        signed.push_str(&self.body.1);
        let key = RsaKeyPair::from_pkcs8(self.key).expect("a key");
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("signed");
        let mut request = world.http.post(format!("http://{}{}", host.listen, self.target.0));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .header("x-eventbridge-signature-v2", STANDARD.encode(signature))
            .header("content-type", "application/cloudevents+json")
            .body(self.body.0.clone());
        tokio::time::timeout(PATIENCE, request.send())
            .await
            .expect("in time")
            .expect("an answer")
            .status()
            .as_u16()
    }
}

fn cloudevent(id: &str) -> String {
    json!({ "specversion": "1.0", "id": id, "source": "acs.ecs", "type": "ecs:Instance:StateChange", "data": {} })
        .to_string()
}

fn now_ms() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().expect("after 1970").as_millis()).expect("before the end of time")
}

/// A world with the source `bridge`, whose certificates are fetched as `certificates` says.
async fn world_with_bridge(certificates: &str) -> World {
    let world = World::new().await;
    add_sources(
        &world,
        &format!(
            "[sources.bridge]\nkind = \"alibaba-eventbridge\"\ntoken = {{ env = \"TEST_TOKEN\" }}\n[sources.bridge.signature]\nscheme = \"eventbridge\"\nurl = \"{BASE}\"\nregion = \"cn-hangzhou\"\ntoken = {{ env = \"TEST_SUBSCRIBER\" }}\n{certificates}\n"
        ),
    );
    world
}

fn add_sources(world: &World, tables: &str) {
    let file = world.dir.path().join("opsward.toml");
    let text = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, format!("{text}\n{tables}")).expect("writable");
}

const ENV: (&str, &str) = ("TEST_SUBSCRIBER", "subscriber");

/// Id and trust of all events, oldest first.
async fn events(world: &World, host: &Host) -> Vec<(String, String)> {
    let url = format!("http://{}/api/v1/events?limit=1000", host.admin);
    let answer = world.http.get(url).send().await.expect("an answer").bytes().await.expect("a body");
    let listed: Value = serde_json::from_slice(&answer).expect("JSON");
    // An id is recorded with its source's.
    let text = |value: &Value| value.as_str().expect("text").trim_end_matches(" acs.ecs").to_owned();
    let rows = listed["events"].as_array().expect("a list").iter().rev();
    rows.map(|row| (text(&row["event"]["id"]), text(&row["trust"]))).collect()
}

async fn source(world: &World, host: &Host, name: &str) -> Value {
    let url = format!("http://{}/api/v1/sources", host.admin);
    let answer = world.http.get(url).send().await.expect("an answer").bytes().await.expect("a body");
    let listed: Value = serde_json::from_slice(&answer).expect("JSON");
    let rows = listed["sources"].as_array().expect("a list");
    rows.iter().find(|row| row["name"] == name).expect("the source").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_eventbridge_signed_is_believed_and_no_other() {
    let certificates = Certificates::at("127.0.0.1:0").await;
    let foreign = Certificates::at("127.0.0.2:0").await;
    let world = world_with_bridge(&format!("certificates = \"http://{}\"", certificates.address)).await;
    let host = world.start_with(&[ENV]).await.expect("ready");

    // What is refused without any certificate comes first: none is there yet that could have been kept.
    let refused = [
        ("old", Push { seconds_ago: 61, ..Push::of("old") }),
        ("early", Push { seconds_ago: -70, ..Push::of("early") }),
        ("token", Push { token: "another", ..Push::of("token") }),
        (
            "foreign",
            Push { certificate: format!("http://{}/x509.pem", foreign.address), ..Push::of("foreign") },
        ),
        ("foreign https", Push { certificate: "https://evil.example/x509.pem".to_owned(), ..Push::of("f") }),
        (
            "another region's",
            Push { certificate: format!("{PLACE}/x509.pem").replace("hangzhou", "beijing"), ..Push::of("r") },
        ),
        (
            "nobody's region",
            Push {
                certificate: format!("{PLACE}/x509.pem").replace("cn-hangzhou", "xx-evil"),
                ..Push::of("n")
            },
        ),
    ];
    for (what, push) in &refused {
        assert_eq!(push.send(&world, &host).await, 401, "{what}");
    }
    assert_eq!((certificates.asked().len(), foreign.asked().len()), (0, 0), "nothing was fetched");

    let first = Push::of("first");
    let (sent, again) = tokio::join!(first.send(&world, &host), first.send(&world, &host));
    assert_eq!((sent, again), (200, 200));
    assert_eq!(Push::of("second").send(&world, &host).await, 200);
    assert_eq!(certificates.asked(), ["/x509.pem"], "fetched once, whoever waits for it");

    let other = |text: String| (text.clone(), text);
    let unsigned = [
        ("another key", Push { key: STRANGER, ..Push::of("k") }),
        ("another body", Push { body: (cloudevent("evil"), cloudevent("b")), ..Push::of("b") }),
        (
            "another URL",
            Push {
                target: (format!("/hooks/bridge/{TOKEN}?a=2"), format!("/hooks/bridge/{TOKEN}?a=1")),
                ..Push::of("u")
            },
        ),
    ];
    for (what, push) in &unsigned {
        assert_eq!(push.send(&world, &host).await, 401, "{what}");
    }
    // Refused for now: the place itself may be right again in a moment.
    for (what, path) in [("moved", "moved.pem"), ("large", "large.pem"), ("no certificate", "no.pem")] {
        let push = Push { certificate: format!("{PLACE}/{path}"), ..Push::of(what) };
        assert_eq!(push.send(&world, &host).await, 503, "{what}");
        assert_eq!(push.send(&world, &host).await, 503, "{what}, again");
    }
    assert_eq!(
        certificates.asked(),
        ["/x509.pem", "/moved.pem", "/large.pem", "/no.pem"],
        "no redirect is followed, and nobody asks again at once"
    );
    let plain = Push { target: other(format!("/hooks/bridge/{TOKEN}")), ..Push::of("third") };
    assert_eq!(plain.send(&world, &host).await, 200);
    let proved = |id: &str| (id.to_owned(), "proved".to_owned());
    assert_eq!(events(&world, &host).await, ["first", "second", "third"].map(proved));
    let row = source(&world, &host, "bridge").await;
    assert_eq!(
        (&row["accepted"], &row["duplicates"], &row["trust"]),
        (&json!(3), &json!(1), &json!("proved"))
    );
    assert_eq!(row["refused"], json!({ "unproved": 10, "no-certificate": 6 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_come_holds_no_other() {
    let certificates = Certificates::at("127.0.0.1:0").await;
    let world = world_with_bridge(&format!("certificates = \"http://{}\"", certificates.address)).await;
    let host = world.start_with(&[ENV]).await.expect("ready");
    let stuck = ["stuck-1", "stuck-2", "stuck-3", "stuck-4"];
    let pushes = stuck.map(|path| Push { certificate: format!("{PLACE}/{path}"), ..Push::of(path) });
    let held = join_all(pushes.iter().map(|push| push.send(&world, &host)));
    let good = async {
        eventually("all are asked for at once", async || {
            (certificates.asked().len() == stuck.len()).then_some(())
        })
        .await;
        Push::of("good").send(&world, &host).await
    };
    let (held, good) = tokio::join!(held, good);
    assert_eq!((held, good), (vec![503; stuck.len()], 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_fetched_from_the_vendors_public_addresses_alone() {
    let world = world_with_bridge("").await;
    let host = world.start_with(&[ENV, ("OPSWARD_NAMES", "*=127.0.0.2")]).await.expect("ready");
    assert_eq!(Push::of("1").send(&world, &host).await, 503);
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("the log");
    assert!(log.contains("a loopback address"), "{log}");
}

/// Headers of a Standard Webhooks delivery.
fn webhook(key: &[u8], id: &str, body: &str) -> [(&'static str, String); 3] {
    let at = (now_ms() / 1000).to_string();
    let signature = hmac_sha256(key, format!("{id}.{at}.{body}").as_bytes());
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(signature))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_takes_what_bears_its_proof_and_comes_from_where_it_says() {
    let world = World::new().await;
    let token = "kind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }";
    add_sources(
        &world,
        &format!(
            "[sources.signed]\n{token}\nsignature = {{ scheme = \"standard-webhooks\", secret = {{ env = \"TEST_NEW\" }}, old-secret = {{ file = \"old.key\" }} }}
[sources.hub]\n{token}\nsignature = {{ scheme = \"hmac\", secret = {{ env = \"TEST_NEW\" }}, header = \"X-Hub-Signature-256\", prefix = \"sha256=\" }}
[sources.basic]\n{token}\nbasic-auth = {{ user = \"cm\", secret = {{ env = \"TEST_NEW\" }} }}
[sources.near]\n{token}\naddresses = [\"::ffff:127.0.0.0/104\"]
[sources.far]\n{token}\naddresses = [\"47.74.206.0/26\"]\n"
        ),
    );
    let file = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    world.write("opsward.toml", &file.replace("[server]\n", "[server]\nbehind-proxy = [\"127.0.0.1\"]\n"));
    world.write("old.key", &format!("whsec_{}\n", STANDARD.encode(b"the old key of 24 bytes.")));
    std::fs::set_permissions(
        world.dir.path().join("old.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("closed to others");
    let secret = format!("whsec_{}", STANDARD.encode(WEBHOOK_KEY));
    let host = world.start_with(&[("TEST_NEW", &secret)]).await.expect("ready");

    let send = async |source: &str, id: &str, headers: &[(&str, String)]| {
        let mut request = world.http.post(format!("http://{}/hooks/{source}/{TOKEN}", host.listen));
        // The client's own, for the admin address, would be taken for BasicAuth.
        request = request.header("authorization", "");
        request = request.header("content-type", "application/cloudevents+json").body(cloudevent(id));
        let mut request = request.build().expect("a request");
        for (name, value) in headers {
            let name: reqwest::header::HeaderName = name.parse().expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        let answer = world.http.execute(request).await.expect("an answer");
        let asks = answer.headers().contains_key("www-authenticate");
        (answer.status().as_u16(), asks)
    };
    let body = cloudevent("s1");
    assert_eq!(send("signed", "s1", &webhook(WEBHOOK_KEY, "m", &body)).await.0, 200);
    let body = cloudevent("s2");
    assert_eq!(send("signed", "s2", &webhook(b"the old key of 24 bytes.", "m", &body)).await.0, 200);
    let body = cloudevent("s3");
    assert_eq!(send("signed", "s3", &webhook(b"a stranger's, of 24 byte", "m", &body)).await.0, 401);
    assert_eq!(send("signed", "other", &webhook(WEBHOOK_KEY, "m", &body)).await.0, 401);
    assert_eq!(send("signed", "s3", &[]).await.0, 401);

    let hex = |body: &str| {
        let bytes = hmac_sha256(secret.as_bytes(), body.as_bytes());
        format!("sha256={}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    assert_eq!(send("hub", "h1", &[("x-hub-signature-256", hex(&cloudevent("h1")))]).await.0, 200);
    assert_eq!(send("hub", "h2", &[("x-hub-signature-256", hex(&cloudevent("h1")))]).await.0, 401);

    let basic = |text: &str| [("authorization", format!("Basic {}", STANDARD.encode(text)))];
    assert_eq!(send("basic", "b1", &basic(&format!("cm:{secret}"))).await.0, 200);
    assert_eq!(send("basic", "b2", &basic("cm:guess")).await, (401, true));

    let from = |address: &str| [("x-forwarded-for", address.to_owned())];
    assert_eq!(send("near", "n1", &from("127.9.9.9, 127.0.0.1")).await.0, 200);
    assert_eq!(send("near", "n2", &from("10.0.0.1")).await.0, 403);
    assert_eq!(send("far", "f1", &from("::ffff:2f4a:ce01")).await.0, 200);
    assert_eq!(send("far", "f2", &from("47.74.206.1, 10.0.0.1")).await.0, 403);
    assert_eq!(send("far", "f3", &[]).await.0, 403, "the proxy itself");

    let found = events(&world, &host).await;
    let wanted = [
        ("s1", "proved"),
        ("s2", "proved"),
        ("h1", "proved"),
        ("b1", "hint"),
        ("n1", "hint"),
        ("f1", "hint"),
    ];
    assert_eq!(found, wanted.map(|(id, trust)| (id.to_owned(), trust.to_owned())));
    assert_eq!(source(&world, &host, "far").await["refused"], json!({ "address": 2 }));
}

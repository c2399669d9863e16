//! Where connections go, judged from outside the host: by canaries that listen where nothing may be sent, by the system calls of
//! the host's process, and by what the simulated clouds were asked. Whatever a policy, an event, a name server or the
//! environment says, they go to the simulated clouds and to endpoints that the operator has named.

mod corpus;

use crate::harness::{Host, SIGNED, TOKEN, World, eventually, executed, signed};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

const CALLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-calls.wasm"));
/// Words of one event: a run has at most 1,000 host calls, and each word makes some.
const WORDS_AT_ONCE: usize = 60;
/// The least that the corpus has.
const WORDS_MIN: usize = 300;

/// Listens where nothing may be sent.
struct Canary {
    address: SocketAddr,
    seen: Arc<AtomicUsize>,
}

impl Canary {
    async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a loopback address is free");
        let (address, seen) = (listener.local_addr().expect("an address"), Arc::new(AtomicUsize::new(0)));
        let counted = seen.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                drop(connection);
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

/// Adds a source for any event, and accounts: `open`, whose endpoints are the table's, and `far`, whose endpoint is a name.
fn with_accounts(world: &World, far: &str) {
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let keys =
        r#"{ access-key-id = { env = "TEST_ALIBABA_AK" }, access-key-secret = { env = "TEST_ALIBABA_SK" } }"#;
    let account = |name: &str, more: &str| {
        format!("\n[accounts.{name}]\nprovider = \"alibaba\"\ncredentials = {keys}\n{more}\n")
    };
    let source = "\n[sources.hook]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\n";
    let (open, far) = (account("open", ""), account("far", &format!("endpoint = \"{far}\"")));
    world.write("opsward.toml", &(settings + &open + &far + source + SIGNED));
    std::fs::write(world.plugins().join("calls.wasm"), CALLS).expect("writable");
}

/// A policy for the guest that makes the calls that an event of type `calls.<account>` names.
fn put_policy(world: &World, account: &str, config: &str) {
    let allow: String = ["DescribeDisks", "DescribeInstances", "CreateSnapshot", "StartInstance"]
        .map(|action| format!("[[allow]]\naction = \"ecs:{action}\"\n"))
        .concat();
    let file = format!(
        "plugin = \"calls.wasm\"\naccount = \"{account}\"\nmode = \"enforce\"\nretry = {{ attempts = 1 }}\n\
         on = [{{ source = \"hook\", type = \"calls.{account}\" }}]\nconfig = {config}\n{allow}\n\
         [guardrails]\nonce-effects = \"none\"\ncool-down = \"none\"\n"
    );
    world.write(&format!("plugins.d/calls-{account}.toml"), &file);
}

/// Sends an event whose attributes are as given; whether it was taken.
async fn send(world: &World, host: &Host, attributes: Value, data: Value) -> bool {
    let mut event = json!({ "specversion": "1.0", "source": "test", "data": data });
    for (name, value) in attributes.as_object().expect("attributes") {
        event[name] = value.clone();
    }
    let url = format!("http://{}/hooks/hook/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    signed(request, &event).send().await.expect("the host answers").status().is_success()
}

/// The runs once all have ended: hundreds take a busy machine a while, but one after the other ends.
async fn all_ended(world: &World, host: &Host) -> Vec<Value> {
    let is_over = |run: &&Value| ["done", "failed", "held", "dead"].iter().any(|end| run["state"] == *end);
    let mut over = 0;
    loop {
        let runs = eventually("the end of another run", async || {
            let runs = world.runs(host).await;
            let now_over = runs.iter().filter(is_over).count();
            (now_over > over || now_over == runs.len()).then_some(runs)
        })
        .await;
        over = runs.iter().filter(is_over).count();
        if over == runs.len() {
            return runs;
        }
    }
}

/// Calls with each of the words in the place of each thing that a policy says of a call.
fn calls_with(words: &[String], first: usize) -> Vec<Value> {
    let ecs = |action: &str, region: &Value, params: Value| json!({ "service": "ecs", "action": action, "region": region, "params": params });
    let home = json!("cn-hangzhou");
    let mut calls = Vec::new();
    for (nth, word) in words.iter().enumerate() {
        let snapshot = json!({ "DiskId": "d-none" });
        calls.push(ecs("DescribeDisks", &json!(word), json!({})));
        // From the policy's configuration.
        calls.push(ecs("DescribeDisks", &json!(first + nth), json!({})));
        calls.push(json!({ "service": word, "action": "DescribeDisks", "region": home, "params": {} }));
        calls.push(json!({ "service": "ecs", "action": word, "region": home, "params": {} }));
        calls.push(ecs("DescribeDisks", &home, json!({ word.as_str(): "x" })));
        calls.push(ecs("DescribeDisks", &home, json!({ "DiskName": word })));
        calls.push(ecs("DescribeDisks", &home, json!({ "InstanceId": word })));
        calls.push(ecs(
            "DescribeInstances",
            &home,
            json!({ "RegionId": word, "Endpoint": word, "Host": word }),
        ));
        calls.push(ecs(
            "CreateSnapshot",
            &home,
            json!({ "DiskId": "d-none", "Description": { "$secret": word } }),
        ));
        let mut once = ecs("CreateSnapshot", &home, snapshot);
        once["once"] = json!(word);
        calls.push(once);
    }
    calls
}

/// What the host's process and its threads connect to, as the kernel is asked; `None` where `strace` is not to be had.
struct Trace {
    tracer: tokio::process::Child,
    file: std::path::PathBuf,
}

impl Trace {
    async fn of(world: &World, host: &Host) -> Option<Self> {
        let file = world.dir.path().join("connects");
        let pid = host.child.id().expect("running").to_string();
        let mut strace = tokio::process::Command::new("strace");
        strace.args(["-f", "-e", "trace=connect,sendto", "-p", &pid, "-o"]).arg(&file);
        let mut tracer = strace.stderr(Stdio::piped()).kill_on_drop(true).spawn().ok()?;
        use tokio::io::AsyncBufReadExt as _;
        let mut said = tokio::io::BufReader::new(tracer.stderr.take()?).lines();
        // "strace: Process 1 attached", or why not.
        let first = said.next_line().await.ok()??;
        // It tells of each thread, and would end if nobody listened.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        first.contains("attached").then_some(Self { tracer, file })
    }

    /// Addresses that were connected to, as `family address port`.
    async fn connects(mut self) -> BTreeSet<String> {
        // Told to end it lets go of the host, and writes what it holds back.
        let pid = self.tracer.id().expect("running").to_string();
        let told = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(told.success(), "strace has ended before");
        self.tracer.wait().await.expect("ended");
        let text = std::fs::read_to_string(&self.file).expect("the trace");
        let connects = text.lines().filter(|line| line.contains("sa_family="));
        connects
            .map(|line| {
                let from = line.find("{sa_family=").unwrap_or(0);
                line[from..].split('}').next().unwrap_or_default().to_owned()
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_word_of_a_policy_or_an_event_leads_anywhere_but_to_the_clouds() {
    let world = World::new().await;
    let canaries = [
        Canary::at("127.0.0.2:0").await,
        Canary::at("127.0.0.3:0").await,
        Canary::at("127.0.0.1:0").await,
        Canary::at("[::1]:0").await,
    ];
    let addresses: Vec<SocketAddr> = canaries.iter().map(|canary| canary.address).collect();
    let words = corpus::words(&addresses);
    assert!(words.len() >= WORDS_MIN, "{} words", words.len());
    with_accounts(&world, &format!("https://far.example:{}", addresses[0].port()));
    // A list of texts is written alike in JSON and in TOML.
    let config = format!("{{ words = {} }}", json!(words));
    for account in ["prod", "open", "far"] {
        put_policy(&world, account, &config);
    }
    let proxy = format!("http://{}", addresses[1]);
    let proxies = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let mut env: Vec<(&str, &str)> = proxies.iter().map(|name| (*name, proxy.as_str())).collect();
    // A name server that says of each name that it is here, or worse.
    let names =
        "*=127.0.0.2,127.0.0.3,127.0.0.1,::1,169.254.169.254,100.100.100.200,fd00:ec2::254,::ffff:127.0.0.2";
    env.extend([("OPSWARD_NAMES", names), ("OPSWARD_HASTE", "1000"), ("OPSWARD_LOG", "opsward=debug")]);
    let host = world.start_with(&env).await.expect("ready");
    let trace = Trace::of(&world, &host).await;

    for (nth, chunk) in words.chunks(WORDS_AT_ONCE).enumerate() {
        let calls = calls_with(chunk, nth * WORDS_AT_ONCE);
        for account in ["prod", "open", "far"] {
            for (part, calls) in calls.chunks(400).enumerate() {
                let id = format!("{account}-{nth}-{part}");
                let data = json!({ "calls": calls, "together": true, "lines": chunk, "keys": chunk });
                let attributes = json!({ "id": id, "type": format!("calls.{account}") });
                assert!(send(&world, &host, attributes, data).await, "{id}");
            }
        }
    }
    // Events that policies take machine and region from, and attributes of events.
    for (nth, word) in words.iter().enumerate() {
        let mut event: Value = serde_json::from_str(&executed("i-1", &format!("e-{nth}"))).expect("JSON");
        for field in ["regionId", "instanceName", "resourceId", "userId", "product"] {
            event[field] = json!(word);
        }
        event["content"]["ecsInstanceId"] = json!(word);
        world.post(&host, &event.to_string()).await;
        let attributes = json!({ "id": word, "type": "calls.prod", "subject": word, "aliyunregionid": word, "aliyunaccountid": word });
        send(&world, &host, attributes, json!({ "calls": [] })).await;
    }
    let runs = all_ended(&world, &host).await;
    assert!(runs.len() >= 3 * words.len() / WORDS_AT_ONCE + words.len() / 2, "{} runs", runs.len());
    for canary in &canaries {
        assert_eq!(canary.seen(), 0, "{} was connected to", canary.address);
    }
    judge_names(&world);
    let asked = world.sim_get("requests").await.as_array().expect("a list").len();
    assert!(asked >= 100, "what is no host is asked for as it is: {asked} requests");
    let port = world.sim.url.rsplit(':').next().expect("a port").to_owned();
    match trace {
        None => println!("strace cannot follow the host here: judged by the canaries alone"),
        Some(trace) => {
            let connects = trace.connects().await;
            let allowed =
                format!("{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"127.0.0.1\")");
            let others: Vec<&String> = connects.iter().filter(|at| **at != allowed).collect();
            assert!(connects.contains(&allowed), "the trace shows what there is: {connects:?}");
            assert!(others.is_empty(), "connected to {others:?}");
        }
    }
    println!("{} words, {} runs, {asked} requests, all at the clouds", words.len(), runs.len());
}

/// Only names of the table's form, and the one that the operator has named, were looked up.
fn judge_names(world: &World) {
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("the log");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let names: BTreeSet<String> = lines
        .filter(|entry| entry["message"] == "looking up")
        .map(|entry| entry["host"].as_str().expect("a host").to_owned())
        .collect();
    assert!(names.contains("far.example") && names.len() >= 2, "{names:?}");
    let is_tables = |name: &str| {
        let region = name.strip_prefix("ecs.").and_then(|rest| rest.strip_suffix(".aliyuncs.com"));
        name == "ecs-cn-hangzhou.aliyuncs.com" || region.is_some_and(opsward_core::endpoint::is_region)
    };
    let others: Vec<&String> =
        names.iter().filter(|name| *name != "far.example" && !is_tables(name)).collect();
    assert!(others.is_empty(), "looked up: {others:?}");
}

/// A name that somebody has stand for this machine is not asked; a wrong host does ask.
pub(crate) async fn a_name_that_stands_for_this_machine(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let canary = Canary::at("127.0.0.2:0").await;
    with_accounts(&world, &format!("https://far.example:{}", canary.address.port()));
    put_policy(&world, "far", "{}");
    let env = [("OPSWARD_NAMES", "*=127.0.0.2"), ("OPSWARD_HASTE", "1000"), ("OPSWARD_WRONG", wrong)];
    let host = world.start_with(&env).await.expect("ready");
    let call = json!({ "service": "ecs", "action": "DescribeDisks", "region": "cn-hangzhou", "params": {} });
    send(&world, &host, json!({ "id": "1", "type": "calls.far" }), json!({ "calls": [call] })).await;
    let runs = world.settled_runs(&host, 1).await;
    let note = runs[0]["note"].as_str().unwrap_or_default();
    match canary.seen() {
        0 if note.contains("a loopback address") => Ok(()),
        0 => Err(format!("the run does not say why: {note}")),
        seen => Err(format!("connected {seen} times to what a name stands for")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_stands_for_what_may_not_be_asked_says_so() {
    a_name_that_stands_for_this_machine("").await.expect("not asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_that_was_judged_is_the_one_that_is_connected_to() {
    let world = World::new().await;
    let judged = Canary::at("127.0.0.5:0").await;
    // What the name stands for by the machine's own files.
    let other = Canary::at(&format!("127.0.0.1:{}", judged.address.port())).await;
    with_accounts(&world, &format!("http://localhost:{}", judged.address.port()));
    put_policy(&world, "far", "{}");
    let names = "localhost=10.0.0.1,169.254.169.254,127.0.0.5";
    let host = world.start_with(&[("OPSWARD_NAMES", names), ("OPSWARD_HASTE", "1000")]).await.expect("ready");
    let call = json!({ "service": "ecs", "action": "DescribeDisks", "region": "cn-hangzhou", "params": {} });
    send(&world, &host, json!({ "id": "1", "type": "calls.far" }), json!({ "calls": [call] })).await;
    world.settled_runs(&host, 1).await;
    assert!(judged.seen() > 0 && other.seen() == 0, "{} and {}", judged.seen(), other.seen());
}

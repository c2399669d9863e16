//! Secrets are planted wherever a host may have one, everything that leaves the host is gathered while much happens, and none is
//! found in it: logs at their loudest, metrics, the store with its copies, answers of all listeners, what guests see, what
//! commands print, panics, what the kernel shows, the simulated clouds' record. `scanner` says in how many forms they are looked
//! for, and proves that it finds them; `memory` looks into processes.

pub(crate) mod memory;
pub(crate) mod scanner;

use crate::harness::{ADMIN_TOKEN, EXECUTED, Host, SIGNED, TOKEN, World, eventually, executed, signed};
use crate::runner::runners_of;
use scanner::Scanner;
use serde_json::{Value, json};
use std::path::Path;

const CALLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-calls.wasm"));
/// What `[secrets]` refers to; with what each notation writes in its own way.
const PASSWORD: &str = "Lab-\"pass\\word\"/7+%&= x";
/// A key's secret that does not belong to its id, so that the cloud explains what it has signed.
const WRONG: &str = "wr0ngSecretOfTheKey4ThatTheCloudExplains";
/// Written out where only a reference may stand.
const WRITTEN: &str = "wr1ttenOutWhereOnlyAReferenceMayStand";
/// What a pod's identity provider has put into a file.
const OIDC: &str = "sim-oidc-eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl";
/// Files of the test in which a secret is planted.
const PLANTED: [&str; 2] = ["pod-token", "written-out.toml"];

const KEYS: &str =
    r#"{ access-key-id = { env = "TEST_ALIBABA_AK" }, access-key-secret = { env = "TEST_ALIBABA_SK" } }"#;

/// Everything that left a host: where, and what.
type Gathered = Vec<(String, Vec<u8>)>;

/// A world with an account for each source of credentials, a secret for calls, and policies that use them.
async fn world() -> World {
    let world = World::new().await;
    let role = |arn: &str, more: &str| format!(r#"arn = "acs:ram::1:role/{arn}", {more}"#);
    let sources = [
        ("chain", format!("{{ assume-role = {{ {} }} }}", role("far", &format!("from = {KEYS}")))),
        ("pod", format!("{{ oidc = {{ {} }} }}", role("pod", r#"provider = "k", token-file = "pod-token""#))),
        ("machine", r#"{ instance-role = "opsward-host" }"#.to_owned()),
        ("wrong", KEYS.replace("TEST_ALIBABA_SK", "TEST_WRONG")),
    ];
    let mut settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    for (name, credentials) in &sources {
        let url = &world.sim.url;
        settings += &format!(
            "\n[accounts.{name}]\nprovider = \"alibaba\"\nendpoint = \"{url}\"\ncredentials = {credentials}\n"
        );
        put_policy(&world, name, "ecs:DescribeDisks", "");
    }
    put_policy(&world, "prod", "ecs:DescribeDisks", "");
    put_policy(&world, "lab", "cvm:ResetInstance", "secrets = [\"lab-password\"]");
    settings += "\n[sources.hook]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\n";
    settings += SIGNED;
    settings += "\n[secrets]\nlab-password = { env = \"TEST_PASSWORD\" }\n";
    world.write("opsward.toml", &settings);
    world.write(
        "written-out.toml",
        &settings.replace("{ env = \"TEST_ALIBABA_SK\" }", &format!("\"{WRITTEN}\"")),
    );
    world.write("pod-token", OIDC);
    std::fs::write(world.plugins().join("calls.wasm"), CALLS).expect("writable");
    world
}

fn put_policy(world: &World, account: &str, action: &str, more: &str) {
    let file = format!(
        "plugin = \"calls.wasm\"\naccount = \"{account}\"\nmode = \"enforce\"\nretry = {{ attempts = 2 }}\n\
         on = [{{ source = \"hook\", type = \"calls.{account}\" }}]\n{more}\nconfig = {{ note = \"open\" }}\n\
         [[allow]]\naction = \"{action}\"\n{}",
        if action == "cvm:ResetInstance" { "resource = [\"ins-1\"]\n" } else { "" }
    );
    world.write(&format!("plugins.d/calls-{account}.toml"), &file);
}

/// What a host of this world is started with.
fn environment(world: &World) -> Vec<(&'static str, String)> {
    vec![
        ("OPSWARD_METADATA", world.sim.url.clone()),
        ("OPSWARD_LOG", "trace".into()),
        ("RUST_LOG", "trace".into()),
        ("RUST_BACKTRACE", "full".into()),
        ("OPSWARD_HASTE", "500".into()),
        ("TEST_PASSWORD", PASSWORD.into()),
        ("TEST_WRONG", WRONG.into()),
    ]
}

async fn start(world: &World, more: &[(&str, &str)]) -> Host {
    let env = environment(world);
    let mut env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    env.extend(more);
    world.start_with(&env).await.expect("ready")
}

/// A scanner for all that is secret in this world, by now.
async fn scanner(world: &World) -> Scanner {
    let issued: Vec<String> = serde_json::from_value(world.sim_get("secrets").await).expect("texts");
    assert!(issued.len() >= 6, "keys, and what was issued: {}", issued.len());
    let named = [
        ("the path token", TOKEN),
        ("the admin token", ADMIN_TOKEN),
        ("the secret", PASSWORD),
        ("the wrong key", WRONG),
        ("the key written out", WRITTEN),
        ("the pod's token", OIDC),
    ];
    Scanner::new(named.into_iter().chain(issued.iter().map(|text| ("a key of the cloud", text.as_str()))))
}

async fn send(world: &World, host: &Host, id: &str, account: &str, call: Value) {
    let event = json!({ "specversion": "1.0", "id": id, "source": "test", "type": format!("calls.{account}"),
        "data": { "look": true, "lines": ["a line"], "keys": ["a key"], "calls": [call] } });
    let url = format!("http://{}/hooks/hook/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = signed(request, &event).send().await.expect("the host answers");
    assert!(answer.status().is_success(), "{id}");
}

fn describe() -> Value {
    json!({ "service": "ecs", "action": "DescribeDisks", "region": "cn-hangzhou", "params": {} })
}

fn reset(login: &str, password: Value) -> Value {
    json!({ "service": "cvm", "action": "ResetInstance", "region": "ap-shanghai",
        "params": { "InstanceId": "ins-1", "ImageId": "img-1", login: { "Password": password } } })
}

/// Has the host use each of its secrets, against a cloud that answers well, badly, and with explanations.
async fn much_happens(world: &World, host: &Host) -> usize {
    let mut count = 0;
    for account in ["prod", "chain", "pod", "machine", "wrong"] {
        for kind in ["", "error-500-before", "garbage", "truncated", "drop-after", "throttle"] {
            count += 1;
            if !kind.is_empty() {
                world
                    .sim_post("faults", json!({ "action": "DescribeDisks", "kind": kind, "times": 1 }))
                    .await;
            }
            send(world, host, &format!("{account}-{kind}"), account, describe()).await;
        }
        settled(world, host, count).await;
    }
    world.sim_post("revoke", json!({})).await;
    world.patch_state(json!({ "clock_offset_ms": 60_000 })).await;
    for account in ["chain", "pod", "machine"] {
        count += 1;
        send(world, host, &format!("{account}-revoked"), account, describe()).await;
    }
    let secret = json!({ "$secret": "lab-password" });
    for (id, call) in [
        ("given", reset("LoginSettings", secret.clone())),
        (
            "misplaced",
            json!({ "service": "cvm", "action": "ResetInstance", "region": "ap-shanghai",
            "params": { "InstanceId": "ins-1", "HostName": secret } }),
        ),
        ("unknown", reset("LoginSettings", json!({ "$secret": "nobody" }))),
        ("refused", reset("EnhancedService", secret.clone())),
    ] {
        count += 1;
        send(world, host, id, "lab", call).await;
    }
    let (instance, _) = world.machine(3).await;
    for event in [EXECUTED.to_owned(), executed(&instance, "e-canary")] {
        count += 1;
        assert_eq!(world.post(host, &event).await, Some(200));
    }
    settled(world, host, count).await;
    count
}

async fn settled(world: &World, host: &Host, count: usize) {
    eventually("the end of all runs", async || {
        let runs = world.runs(host).await;
        let is_over =
            |run: &&Value| ["done", "failed", "held", "dead"].iter().any(|end| run["state"] == *end);
        (runs.iter().filter(is_over).count() >= count).then_some(())
    })
    .await;
}

/// The answers of both listeners, the good and the bad, with their heads.
async fn answers(world: &World, host: &Host) -> Gathered {
    let stranger = reqwest::Client::builder().no_proxy().build().expect("a client");
    let hook = |rest: &str| format!("http://{}/hooks/{rest}", host.listen);
    let api = |rest: &str| format!("http://{}{rest}", host.admin);
    let mut asked: Vec<reqwest::RequestBuilder> = Vec::new();
    for token in [TOKEN, "another", ""] {
        for body in ["", "{", "[]", r#"{"specversion":"1.0"}"#, "\u{1}"] {
            asked.push(stranger.post(hook(&format!("cloudmonitor/{token}"))).body(body));
            asked.push(stranger.post(hook(&format!("hook/{token}?a=b"))).body(body));
            asked.push(stranger.post(hook(&format!("nobody/{token}/more"))).body(body));
        }
        asked.push(stranger.get(hook(&format!("hook/{token}"))));
        asked.push(stranger.request(reqwest::Method::OPTIONS, hook(&format!("hook/{token}"))));
        asked.push(stranger.post(hook(&format!("hook/{token}"))).body("x".repeat(2 << 20)));
    }
    let pages =
        ["policies", "events", "runs", "schedules", "halts", "runs/nobody", "nothing", "runs/%00", "tokens"];
    for page in pages
        .map(|page| format!("/api/v1/{page}"))
        .into_iter()
        .chain(["/metrics", "/livez", "/readyz", "/"].map(String::from))
    {
        asked.push(world.http.get(api(&page)));
        asked.push(stranger.get(api(&page)));
        asked.push(stranger.get(api(&page)).bearer_auth("another"));
        asked.push(world.http.post(api(&page)).body("{"));
    }
    for run in world.runs(host).await {
        asked.push(world.http.get(api(&format!("/api/v1/runs/{}", run["id"].as_str().expect("an id")))));
    }
    let mut gathered = Gathered::new();
    for request in asked {
        let request = request.build().expect("a request");
        let what = format!("{} {}", request.method(), request.url());
        // A listener may hang up on what is too long.
        let Ok(answer) = stranger.execute(request).await else { continue };
        let head = format!("{:?} {:?}", answer.status(), answer.headers());
        let body = answer.bytes().await.unwrap_or_default();
        gathered.push((what, [head.as_bytes(), &body].concat()));
    }
    gathered
}

/// What the commands print, run beside the host as an operator would.
async fn prints(world: &World, host: &Host) -> Gathered {
    let mut commands: Vec<String> = [
        "check",
        "check -o json",
        "check --config written-out.toml",
        "doctor",
        "doctor -o json",
        "run ls",
        "run ls -o json",
        "run ls --held",
        "halt --list",
        "token ls",
        "token ls -o json",
        "db check",
        "db check -o json",
        "db backup copy.db",
        "catalog show ecs:CreateSnapshot",
        "plugin ls",
        "serve",
        "serve --config written-out.toml",
        "serve --config nothing.toml",
        "policy show nobody",
        "run show nobody",
        "halt --why it --policy calls-lab",
        "resume --policy calls-lab",
    ]
    .map(str::to_owned)
    .to_vec();
    for policy in ["snapshot-on-reboot", "calls-lab", "calls-chain", "calls-pod", "calls-wrong"] {
        commands.push(format!("policy show {policy}"));
        commands.push(format!("policy show {policy} -o json"));
    }
    for run in world.runs(host).await {
        let id = run["id"].as_str().expect("an id").to_owned();
        commands.push(format!("run show {id}"));
        commands.push(format!("run show {id} -o json"));
    }
    let mut gathered = Gathered::new();
    for line in commands {
        let args: Vec<&str> = line.split(' ').collect();
        let mut command = world.command(&args);
        command.envs(environment(world)).env("OPSWARD_LOG", "trace");
        let printed = command.output().await.expect("runs");
        gathered.push((format!("opsward {line}"), [printed.stdout, printed.stderr].concat()));
    }
    let copy = world.dir.path().join("copy.db");
    assert!(copy.is_file(), "a copy was made");
    gathered
}

/// Each source of credentials was asked, the secret was sent, and the cloud explained what it had seen signed.
async fn all_were_used(world: &World) {
    let by_action = &world.sim_get("counts").await["by_action"];
    for action in ["sts:AssumeRole", "sts:AssumeRoleWithOIDC", "metadata:GetRole", "metadata:PutToken"] {
        assert!(by_action[action].as_u64().is_some_and(|count| count >= 2), "{action}: {by_action}");
    }
    assert_eq!(world.effects("ResetInstance").await.get("ins-1"), Some(&1));
    let requests = world.sim_get("requests").await.to_string();
    for code in ["SignatureDoesNotMatch", "InvalidSecurityToken"] {
        assert!(requests.contains(code), "no answer says {code}");
    }
}

/// What the host has made in its directory is its user's alone.
#[cfg(unix)]
fn is_closed_to_others(world: &World) {
    use std::os::unix::fs::PermissionsExt as _;
    for entry in std::fs::read_dir(world.dir.path()).expect("readable") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("there").permissions().mode();
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(!name.contains(".db") || mode & 0o077 == 0, "{name} has mode {mode:o}");
    }
}

/// What the kernel tells others of the process.
fn shown_by_the_kernel(host: &Host) -> Gathered {
    let pid = host.child.id().expect("running");
    let files = ["environ", "cmdline", "comm", "limits", "status"];
    let read = |file: &&str| Some((file.to_string(), std::fs::read(format!("/proc/{pid}/{file}")).ok()?));
    files.iter().filter_map(read).collect()
}

/// All files below `dir`, but those in which something is planted.
fn files(dir: &Path, gathered: &mut Gathered) {
    for entry in std::fs::read_dir(dir).expect("readable") {
        let path = entry.expect("an entry").path();
        let is_planted = PLANTED.iter().any(|name| path.ends_with(name));
        if path.is_dir() {
            files(&path, gathered);
        } else if path.is_file() && !is_planted {
            gathered.push((path.display().to_string(), std::fs::read(&path).expect("readable")));
        }
    }
}

/// The same host as text lines on a terminal, which only a terminal gets; `None` where there is no `script` to give it one.
async fn on_a_terminal(world: &World) -> Option<()> {
    let program = env!("CARGO_BIN_EXE_opsward-under-test");
    let line = format!("echo $$ >host.pid; exec {program} serve");
    let mut script = tokio::process::Command::new("script");
    script.args(["-qefc", &line, "terminal.log"]).current_dir(world.dir.path());
    let settings = world.command(&[]);
    let inherited = settings.as_std().get_envs().filter_map(|(name, value)| Some((name, value?)));
    script.envs(inherited).envs(environment(world)).kill_on_drop(true);
    script.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut script = script.spawn().ok()?;
    let log = world.dir.path().join("terminal.log");
    eventually("the host on a terminal", async || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("ready").then_some(())
    })
    .await;
    let pid = std::fs::read_to_string(world.dir.path().join("host.pid")).expect("its id");
    let ended = std::process::Command::new("kill").args(["-TERM", pid.trim()]).status().expect("kill runs");
    assert!(ended.success());
    script.wait().await.expect("ended");
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_leaves_the_host_in_any_form() {
    let world = world().await;
    let host = start(&world, &[]).await;
    let count = much_happens(&world, &host).await;
    all_were_used(&world).await;
    let mut gathered = answers(&world, &host).await;
    gathered.extend(prints(&world, &host).await);
    gathered.extend(shown_by_the_kernel(&host));
    for what in ["requests", "effects", "counts", "state", "faults"] {
        gathered.push((format!("the clouds' {what}"), world.sim_get(what).await.to_string().into_bytes()));
    }
    let scanner = scanner(&world).await;
    // A host has its secrets in its memory: so they are found where they are.
    match memory::secret_in(host.child.id().expect("running"), &scanner) {
        Some(seen) => assert!(seen.secret.is_some(), "{} bytes of memory", seen.bytes),
        None => println!("SKIPPED: this user may not read the host's memory; root may"),
    }
    is_closed_to_others(&world);
    for runner in runners_of(host.child.id().expect("running")) {
        let Some(seen) = memory::secret_in(runner.pid, &scanner) else { continue };
        assert_eq!(seen.secret, None, "in the memory of the process that runs guests");
        println!("{} KiB of a runner's memory: no secret", seen.bytes / 1024);
    }
    // The -wal as it is while a host runs, and again when it is closed.
    files(world.dir.path(), &mut gathered);
    host.kill().await;
    let host = start(&world, &[("OPSWARD_WRONG", "panic-in-run")]).await;
    send(&world, &host, "panic", "chain", describe()).await;
    settled(&world, &host, count + 1).await;
    assert_eq!(host.terminate().await, Some(0));
    if on_a_terminal(&world).await.is_none() {
        println!("SKIPPED: without `script` there is no terminal to log to");
    }
    files(world.dir.path(), &mut gathered);
    let text = |name: &str| {
        let found = gathered.iter().rev().find(|(what, _)| what.ends_with(name));
        String::from_utf8_lossy(&found.unwrap_or_else(|| panic!("no {name}")).1).into_owned()
    };
    assert!(text("host.log").contains("seeded by a test"), "the panic is in the log");
    assert!(text("host.log").contains("TRACE"), "the log is at its loudest");
    let bytes: usize = gathered.iter().map(|(_, bytes)| bytes.len()).sum();
    let found: Vec<String> = gathered
        .iter()
        .filter_map(|(what, bytes)| Some(format!("{what}: {}", scanner.find(bytes)?)))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    println!("{count} runs, {} places, {} KiB: no secret", gathered.len(), bytes / 1024);
}

/// A host that logs a key is caught by what it logs.
pub(crate) async fn a_log_without_keys(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    world.post(&host, EXECUTED).await;
    world.settled_runs(&host, 1).await;
    assert_eq!(host.terminate().await, Some(0));
    let scanner = scanner(&world).await;
    let log = eventually("the log", async || std::fs::read(world.dir.path().join("host.log")).ok()).await;
    scanner.find(&log).map_or(Ok(()), Err)
}

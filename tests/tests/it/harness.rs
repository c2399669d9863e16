//! Starts a host under test and simulated clouds, in a directory of their own, and asks both what happened. The judge of every
//! whole-host test is outside the host: what the sender was answered, and what the clouds saw.

use opsward::admin::tokens;
use opsward::plugin::compiler::Compiler;
use opsward::store::sqlite::SqliteStore;
use opsward::store::{Decision, Firing, NewFiring, Store as _};
use opsward_core::access::{Scope, Token};
use opsward_core::id::Digest;
use opsward_core::schedule::{Dialect, Schedule, ScheduleEntry};
use opsward_core::time::Timestamp;
use opsward_sim::{Sim, SimOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The path token of the test source.
pub(crate) const TOKEN: &str = "t0ken-of-the-test";
/// The token of whoever asks the host in a test, at its admin address. It may do all.
pub(crate) const ADMIN_TOKEN: &str = "opsward_of-the-test-at-the-admin-address";
/// The article's event in its Executed variant, byte for byte.
pub(crate) const EXECUTED: &str = include_str!("../../events/aliyun-cms-ecs-reboot-executed.json");
/// The article's event verbatim.
pub(crate) const EXECUTING: &str = include_str!("../../events/aliyun-cms-ecs-reboot-executing.json");

/// What compiles plugins for an engine in the test's own process.
pub(crate) fn compiler() -> Compiler {
    Compiler::at(env!("CARGO_BIN_EXE_opsward-under-test").into())
}

/// Simulated clouds, a directory with the host's files, and an HTTP client.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) http: reqwest::Client,
}

/// A running host.
pub(crate) struct Host {
    pub(crate) child: Child,
    pub(crate) listen: String,
    pub(crate) admin: String,
}

impl World {
    /// Clouds with their default inventory, and both flagship policies in `enforce`.
    pub(crate) async fn new() -> Self {
        opsward::cloud::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sim = Sim::start(listener, SimOptions::default()).expect("clouds start");
        let world = Self { dir: tempfile::tempdir().expect("a temporary directory"), http: client(), sim };
        world.put_token("test", ADMIN_TOKEN, &Scope::ALL, None);
        std::fs::create_dir(world.plugins()).expect("plugins.d");
        // Compiling takes seconds in a debug build; the cache is shared by all tests.
        let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
        let settings =
            include_str!("harness/opsward.toml").replace("{url}", &world.sim.url).replace("{cache}", cache);
        world.write("opsward.toml", &settings);
        world.put_plugin("snapshot-on-reboot");
        world.write("plugins.d/snapshot-on-reboot.toml", include_str!("harness/snapshot-on-reboot.toml"));
        world
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.dir.path().join("plugins.d")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).expect("writable");
    }

    /// Lets the holder of `text` ask at the admin address.
    pub(crate) fn put_token(&self, name: &str, text: &str, scopes: &[Scope], expires_at: Option<Timestamp>) {
        let token = Token {
            name: name.parse().expect("a name"),
            sha256: Digest::of(text.as_bytes()),
            scopes: scopes.iter().copied().collect(),
            made_at: Timestamp::from_seconds(0),
            expires_at,
        };
        let file = tokens::path_of(&self.dir.path().join("opsward.db"));
        tokens::change(&file, |tokens| tokens.add(token)).expect("written");
    }

    /// Copies a bundled plugin into the plugins directory.
    pub(crate) fn put_plugin(&self, name: &str) {
        let plugin = opsward_bundle::PLUGINS.iter().find(|p| p.name == name).expect("bundled");
        std::fs::write(self.plugins().join(format!("{name}.wasm")), plugin.bytes).expect("writable");
    }

    /// Adds the nightly reset, due once, as soon as a host starts: a host that was down missed its fire time by less than the
    /// grace. A fire time to come would pass unseen where a busy machine takes long to start the host.
    pub(crate) async fn put_nightly_reset(&self) {
        self.put_reset("nightly-reset").await;
    }

    /// The same as a policy of another name. No host may run.
    pub(crate) async fn put_reset(&self, policy: &str) {
        let cron = cron_at(-1);
        self.put_plugin("nightly-reset");
        self.write(
            &format!("plugins.d/{policy}.toml"),
            &include_str!("harness/nightly-reset.toml").replace("{cron}", &cron),
        );
        let entry =
            ScheduleEntry { cron: Some(cron), dialect: Some(Dialect::Scf), ..ScheduleEntry::default() };
        let schedule = Schedule::parse(&entry).expect("a schedule");
        let an_hour_ago = Timestamp::from_seconds(seconds_since_1970() - 3600);
        let known = Firing {
            policy: policy.parse().expect("a name"),
            schedule: schedule.text().to_owned(),
            fire_at: an_hour_ago,
            decision: Decision::SkippedLate,
            decided_at: an_hour_ago,
        };
        let store = SqliteStore::open(&self.dir.path().join("opsward.db")).expect("the store opens");
        store
            .fire(vec![NewFiring { firing: known, event: None, overlaps: false, by: None }])
            .await
            .expect("written");
        store.close().await.expect("closed");
    }

    /// Has failed runs of the policy for snapshots be tried again in this way.
    pub(crate) fn try_snapshots(&self, retry: &str) {
        let file = include_str!("harness/snapshot-on-reboot.toml");
        let file = file.replace("mode = \"enforce\"", &format!("mode = \"enforce\"\nretry = {retry}"));
        self.write("plugins.d/snapshot-on-reboot.toml", &file);
    }

    /// Sets where a disk of the simulated cloud stands; only of one that is `In_use` a snapshot can be made.
    pub(crate) async fn set_disk_status(&self, disk: &str, status: &str) {
        self.patch_state(json!({ "alibaba": { "disks": { disk: { "status": status } } } })).await;
    }

    /// The command line of the host under test.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let keys = &self.sim.keys;
        let mut command = Command::new(env!("CARGO_BIN_EXE_opsward-under-test"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("TEST_ALIBABA_AK", &keys.alibaba.access_key_id)
            .env("TEST_ALIBABA_SK", &keys.alibaba.access_key_secret)
            .env("TEST_TENCENT_ID", &keys.tencent.secret_id)
            .env("TEST_TENCENT_KEY", &keys.tencent.secret_key)
            .env("TEST_TOKEN", TOKEN)
            .env("OPSWARD_LOG", "opsward=info")
            .kill_on_drop(true);
        command
    }

    /// Starts the host and waits until it is ready.
    pub(crate) async fn start(&self) -> Host {
        self.start_with(&[]).await.expect("the host becomes ready")
    }

    /// Starts the host with these variables; `None` where it ended before it was ready.
    pub(crate) async fn start_with(&self, env: &[(&str, &str)]) -> Option<Host> {
        let mut command = self.command(&["serve", "--config", "opsward.toml"]);
        self.start_by(command.envs(env.iter().copied())).await
    }

    /// Starts the host by this command line; `None` where it ended before it was ready.
    pub(crate) async fn start_by(&self, command: &mut Command) -> Option<Host> {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the host starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let ready = async {
            let mut log = Vec::new();
            while let Ok(Some(line)) = lines.next_line().await {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"] == "ready" {
                    // A host has an admin address only where its configuration names one.
                    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                    return Some((text("listen"), text("admin"), log));
                }
                log.push(line);
            }
            eprintln!("host ended before it was ready:\n{}", log.join("\n"));
            None
        };
        let (listen, admin, begun) = tokio::time::timeout(PATIENCE, ready).await.expect("ready in time")?;
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("host.log"));
        let mut log = log.expect("host.log");
        for line in begun {
            writeln!(log, "{line}").expect("host.log is writable");
        }
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                writeln!(log, "{line}").expect("host.log is writable");
            }
        });
        Some(Host { child, listen, admin })
    }

    /// Posts a body to the test source; the status, or `None` where no answer came.
    pub(crate) async fn post(&self, host: &Host, body: &str) -> Option<u16> {
        let url = format!("http://{}/hooks/cloudmonitor/{TOKEN}", host.listen);
        let request = self.http.post(url).header("content-type", "application/json").body(body.to_owned());
        request.send().await.ok().map(|answer| answer.status().as_u16())
    }

    pub(crate) async fn sim_post(&self, verb: &str, body: Value) -> Value {
        let url = format!("{}/_sim/{verb}", self.sim.url);
        let request = self.http.post(url).header("content-type", "application/json").body(body.to_string());
        let answer =
            request.send().await.expect("the clouds answer").error_for_status().expect("the clouds agree");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }

    pub(crate) async fn sim_get(&self, what: &str) -> Value {
        let answer =
            self.http.get(format!("{}/_sim/{what}", self.sim.url)).send().await.expect("the clouds answer");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }

    /// How often each resource saw `action` take place.
    pub(crate) async fn effects(&self, action: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for effect in self.sim_get("effects").await.as_array().expect("a list") {
            if effect["action"] == action {
                let params = &effect["params"];
                let resource = ["DiskId", "InstanceId"]
                    .iter()
                    .find_map(|name| params[name].as_str())
                    .unwrap_or_default();
                *counts.entry(resource.to_owned()).or_default() += 1;
            }
        }
        counts
    }

    /// A simulated Alibaba instance with at least one disk, and its disks.
    pub(crate) async fn machine(&self, disks: usize) -> (String, Vec<String>) {
        let state = self.sim_get("state").await;
        let all = state["alibaba"]["disks"].as_object().expect("disks");
        for instance in state["alibaba"]["instances"].as_object().expect("instances").keys() {
            let mine =
                all.iter().filter(|(_, disk)| disk["instance_id"] == **instance).map(|(id, _)| id.clone());
            let mine: Vec<String> = mine.collect();
            if mine.len() == disks {
                return (instance.clone(), mine);
            }
        }
        panic!("no simulated instance has {disks} disks");
    }

    /// Changes the clouds' state by a merge patch.
    pub(crate) async fn patch_state(&self, patch: Value) {
        let put =
            self.http.put(format!("{}/_sim/state", self.sim.url)).header("content-type", "application/json");
        put.body(patch.to_string())
            .send()
            .await
            .expect("the clouds answer")
            .error_for_status()
            .expect("the clouds agree");
    }

    /// Runs as the admin API lists them.
    pub(crate) async fn runs(&self, host: &Host) -> Vec<Value> {
        let answer = self
            .http
            .get(format!("http://{}/api/v1/runs?limit=10000", host.admin))
            .send()
            .await
            .expect("admin answers");
        let listed: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        listed["runs"].as_array().or(listed.as_array()).expect("a list of runs").clone()
    }

    /// Waits until `count` runs have ended or are held.
    pub(crate) async fn settled_runs(&self, host: &Host, count: usize) -> Vec<Value> {
        let settled = |run: &Value| {
            ["done", "failed", "held", "dead"].contains(&run["state"].as_str().unwrap_or_default())
        };
        eventually(&format!("{count} settled runs"), async || {
            let runs = self.runs(host).await;
            (runs.iter().filter(|run| settled(run)).count() >= count).then_some(runs)
        })
        .await
    }
}

impl Host {
    /// SIGKILL, and waits for the end.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// SIGTERM, and the exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().expect("running").to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
        tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("drains in time")
            .expect("waited")
            .code()
    }

    /// Waits for the host to die by itself.
    pub(crate) async fn died(&mut self) {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("dies in time").expect("waited");
    }
}

/// Asks whoever it asks with the token for the admin address.
fn client() -> reqwest::Client {
    let token = format!("Bearer {ADMIN_TOKEN}").parse().expect("a header");
    let headers = [(reqwest::header::AUTHORIZATION, token)].into_iter().collect();
    reqwest::Client::builder().no_proxy().default_headers(headers).build().expect("a client")
}

/// The article's Executed event for another instance and happening.
pub(crate) fn executed(instance: &str, happening: &str) -> String {
    let mut event: Value = serde_json::from_str(EXECUTED).expect("JSON");
    event["content"]["ecsInstanceId"] = json!(instance);
    event["content"]["eventId"] = json!(happening);
    event["resourceId"] = json!(format!("acs:ecs:cn-hangzhou:12345678:instance/{instance}"));
    event.to_string()
}

/// Looks until there is something to see, or fails the test.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited {} s for {what}", PATIENCE.as_secs()))
}

/// An scf cron line of the second that is so many seconds from now, each day, in Shanghai.
pub(crate) fn cron_at(seconds_from_now: i64) -> String {
    let of_day = (seconds_since_1970() + seconds_from_now + 8 * 3600).rem_euclid(24 * 3600);
    format!("{} {} {} * * * *", of_day % 60, of_day / 60 % 60, of_day / 3600)
}

fn seconds_since_1970() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

/// Whether the form of a test is asked for that takes hours.
pub(crate) fn soak() -> bool {
    std::env::var_os("SOAK").is_some_and(|on| on == "1")
}

/// How often: in the usual form of a test, in the long one, and in the one that takes hours.
pub(crate) fn times(usual: usize, in_long: usize, in_soak: usize) -> usize {
    match (soak(), long()) {
        (true, _) => in_soak,
        (false, true) => in_long,
        (false, false) => usual,
    }
}

/// Whether the long form of a test is asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("OPSWARD_LONG").is_some() || soak()
}

/// A seed for a random test: `OPSWARD_SEED`, or one from the process and the time; printed so that a failure can be repeated.
pub(crate) fn seed(test: &str) -> u64 {
    let seed = std::env::var("OPSWARD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        use std::hash::{BuildHasher as _, RandomState};
        RandomState::new().hash_one(test)
    });
    println!("{test}: OPSWARD_SEED={seed}");
    seed
}

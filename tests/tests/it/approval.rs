//! Approve mode on whole hosts: what was approved is done, exactly and once; nothing else is. Judged by what the simulated clouds
//! received. `links` is about one-use links, `kills` about hosts that die around an approval, `changes` about what is not any more
//! as it was approved. Plans, hashes and who may decide are tested in core.

pub(crate) mod changes;
mod kills;
pub(crate) mod links;

use crate::harness::{Host, SIGNED, TOKEN, World, eventually, signed};
use opsward::store::Store as _;
use opsward::store::sqlite::SqliteStore;
use opsward_core::access::Scope;
use serde_json::{Value, json};

const CALLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-calls.wasm"));
/// One approver of two decides.
const ONE: &str = "approvers = [\"alice\", \"bob\"]";
const TWO: &str = "approvers = [\"alice\", \"bob\", \"carol\"], minimum = 2";
const ALLOW: &str = "
[[allow]]
action = \"ecs:DescribeDisks\"
[[allow]]
action = \"ecs:DescribeInstances\"
[[allow]]
action = \"ecs:CreateSnapshot\"
region = [\"cn-hangzhou\"]
[[allow]]
action = \"ecs:StopInstance\"
resource = [\"{instance}\"]
";

/// A world with a policy that makes the calls its events name, in the mode approve.
struct Stage {
    world: World,
    instance: String,
    disks: Vec<String>,
}

impl Stage {
    async fn new(approval: &str) -> Self {
        let world = World::new().await;
        std::fs::remove_file(world.plugins().join("snapshot-on-reboot.toml")).expect("removed");
        std::fs::write(world.plugins().join("calls.wasm"), CALLS).expect("writable");
        let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
        let source = "\n[sources.hook]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\n";
        world.write("opsward.toml", &(settings + source + SIGNED));
        let (instance, disks) = world.machine(3).await;
        for name in ["alice", "bob", "carol", "mallory", "careful", "prod"] {
            world.put_token(name, &token(name), &[Scope::Approve], None);
        }
        let stage = Self { world, instance, disks };
        stage.policy("approve", approval, "");
        stage
    }

    fn policy(&self, mode: &str, approval: &str, more: &str) {
        let approval = match approval {
            "" => String::new(),
            approval => format!("approval = {{ {approval} }}\n"),
        };
        let file = format!(
            "plugin = \"calls.wasm\"\naccount = \"prod\"\nmode = \"{mode}\"\n{approval}\
             on = [{{ source = \"hook\" }}]\n{more}{ALLOW}"
        );
        let file = file.replace("{instance}", &self.instance);
        // As an editor does it: a host that looks at the wrong moment sees no half of it.
        self.world.write("policy.toml.new", &file);
        let [from, to] =
            ["policy.toml.new", "plugins.d/careful.toml"].map(|name| self.world.dir.path().join(name));
        std::fs::rename(from, to).expect("renamed");
    }

    async fn send(&self, host: &Host, id: &str, data: Value) -> Option<u16> {
        let event =
            json!({ "specversion": "1.0", "id": id, "source": "test", "type": "calls.told", "data": data });
        let url = format!("http://{}/hooks/hook/{TOKEN}", host.listen);
        let request = self.world.http.post(url).header("content-type", "application/cloudevents+json");
        signed(request, &event).send().await.ok().map(|answer| answer.status().as_u16())
    }

    fn snapshot(&self, disk: usize) -> Value {
        call("CreateSnapshot", json!({ "DiskId": self.disks[disk] }))
    }

    /// Snapshots of the first disks, after a look at all.
    fn snapshots(&self, count: usize) -> Value {
        let look = call("DescribeDisks", json!({ "InstanceId": self.instance }));
        let calls: Vec<Value> =
            std::iter::once(look).chain((0..count).map(|disk| self.snapshot(disk))).collect();
        json!({ "calls": calls })
    }

    /// What waits, once there is something; the `nth` asking of the only run.
    async fn asked(&self, host: &Host, nth: u64) -> Value {
        eventually(&format!("asking {nth}"), async || {
            let asked = self.waiting(host).await?;
            asked["id"].as_str().is_some_and(|id| id.ends_with(&format!("-{nth}"))).then_some(asked)
        })
        .await
    }

    /// What waits with the least time left, null where nothing does.
    async fn waiting(&self, host: &Host) -> Option<Value> {
        let listed = self.get(host, "/api/v1/approvals").await?;
        Some(listed["approvals"].as_array()?.first().cloned().unwrap_or_default())
    }

    async fn get(&self, host: &Host, page: &str) -> Option<Value> {
        let answer = self.world.http.get(format!("http://{}{page}", host.admin)).send().await.ok()?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    /// Decides over the admin listener: the status and what it says.
    async fn decide(&self, host: &Host, asked: &Value, decision: &str, by: &str) -> Option<(u16, Value)> {
        let id = asked["id"].as_str().expect("an id");
        let body = json!({ "decision": decision, "hash": asked["hash"] });
        let url = format!("http://{}/api/v1/approvals/{id}/decision", host.admin);
        let request =
            self.world.http.post(url).header("content-type", "application/json").body(body.to_string());
        let answer = request.bearer_auth(token(by)).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, serde_json::from_slice(&answer.bytes().await.ok()?).unwrap_or_default()))
    }

    async fn approve(&self, host: &Host, asked: &Value, by: &str) -> u16 {
        self.decide(host, asked, "approve", by).await.expect("answered").0
    }

    /// The only run, once it has ended.
    async fn ended(&self, host: &Host) -> Value {
        self.world.settled_runs(host, 1).await.swap_remove(0)
    }

    /// The effects that took place, in their order: `Action id`.
    async fn effects(&self) -> Vec<String> {
        let effects = self.world.sim_get("effects").await;
        let told = |effect: &Value| {
            let id = ["DiskId", "InstanceId"].iter().find_map(|name| effect["params"][name].as_str());
            format!("{} {}", effect["action"].as_str().expect("an action"), id.unwrap_or_default())
        };
        effects.as_array().expect("a list").iter().map(told).collect()
    }

    /// How often the clouds were asked for `action`, dry runs apart, whatever became of it.
    async fn sent(&self, action: &str) -> usize {
        let requests = self.world.sim_get("requests").await;
        let for_real =
            |request: &&Value| request["action"] == action && request["params"]["DryRun"].is_null();
        requests.as_array().expect("a list").iter().filter(for_real).count()
    }

    async fn cli(&self, args: &[&str]) -> (bool, String) {
        let output = self.world.command(args).output().await.expect("started");
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    }

    fn of_disks(&self, disks: &[usize]) -> Vec<String> {
        disks.iter().map(|disk| format!("CreateSnapshot {}", self.disks[*disk])).collect()
    }
}

/// The token of an approver, or of somebody who would be one.
fn token(name: &str) -> String {
    format!("opsward_of-{name}")
}

fn call(action: &str, params: Value) -> Value {
    json!({ "service": "ecs", "action": action, "region": "cn-hangzhou", "params": params })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_approved_list_is_made_exactly_and_once_and_nothing_before() {
    let stage = Stage::new(ONE).await;
    let host = stage.world.start().await;
    let mut data = stage.snapshots(2);
    data["count"] = json!(true);
    stage.send(&host, "e", data).await;
    let asked = stage.asked(&host, 1).await;
    let params = |disk: usize| format!(r#"{{"DiskId":"{}"}}"#, stage.disks[disk]);
    let shown: Vec<_> =
        asked["calls"].as_array().expect("calls").iter().map(|call| &call["params"]).collect();
    assert_eq!(shown, [&json!(params(0)), &json!(params(1))]);
    assert_eq!(stage.effects().await, Vec::<String>::new());
    assert_eq!(stage.world.runs(&host).await[0]["note"], "waits for an approval of 2 effects");

    assert_eq!(stage.approve(&host, &asked, "alice").await, 200);
    let run = stage.ended(&host).await;
    assert_eq!((run["state"].as_str(), stage.effects().await), (Some("done"), stage.of_disks(&[0, 1])));
    assert_eq!(stage.approve(&host, &asked, "bob").await, 409, "nothing waits any more");
    assert_eq!(stage.sent("CreateSnapshot").await, 2, "each was sent once");

    assert_eq!(host.terminate().await, Some(0));
    let store = SqliteStore::open(&stage.world.dir.path().join("opsward.db")).expect("opens");
    let counted = store.peek_state(&"careful".parse().expect("a name"), "calls").await.expect("read");
    // Before the look and before the first effect, to plan and to compare, and before the second effect: what is looked ahead at
    // leaves no trace.
    let counted = counted.map(|entry| String::from_utf8(entry.value).expect("text"));
    assert_eq!(counted.as_deref(), Some("5"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_ends_the_run_and_who_is_no_approver_decides_nothing() {
    let stage = Stage::new(ONE).await;
    let host = stage.world.start().await;
    stage.send(&host, "e", stage.snapshots(1)).await;
    let asked = stage.asked(&host, 1).await;
    // A stranger, the policy itself, its account.
    for by in ["mallory", "careful", "prod"] {
        let (status, said) = stage.decide(&host, &asked, "approve", by).await.expect("answered");
        assert_eq!((status, stage.effects().await.len()), (403, 0), "{said}");
    }
    // In another's name, and without the scope.
    stage.world.put_token("reader", &token("reader"), &[Scope::Read, Scope::Operate], None);
    for by in ["mallory", "test", "reader"] {
        let body = json!({ "decision": "approve", "hash": asked["hash"], "by": "alice" });
        let id = asked["id"].as_str().expect("an id");
        let url = format!("http://{}/api/v1/approvals/{id}/decision", host.admin);
        let request = stage.world.http.post(url).header("content-type", "application/json");
        let request = if by == "test" { request } else { request.bearer_auth(token(by)) };
        let answer = request.body(body.to_string()).send().await.expect("answered");
        assert_eq!((answer.status().as_u16(), stage.effects().await.len()), (403, 0), "{by}");
    }
    let mut other = asked.clone();
    other["hash"] = json!("0".repeat(64));
    assert_eq!(stage.approve(&host, &other, "alice").await, 409, "another hash");
    other["hash"] = json!("");
    assert_eq!(stage.approve(&host, &other, "alice").await, 400, "none");
    let webhook = format!("http://{}/api/v1/approvals", host.listen);
    assert_eq!(stage.world.http.get(webhook).send().await.expect("answered").status().as_u16(), 404);

    let (status, _) = stage.decide(&host, &asked, "deny", "bob").await.expect("answered");
    let run = stage.ended(&host).await;
    assert_eq!((status, run["state"].as_str()), (200, Some("failed")));
    assert_eq!(run["note"], "opsward.ApprovalDenied: denied by bob");
    assert_eq!(stage.approve(&host, &asked, "alice").await, 409, "after a denial");
    assert_eq!(stage.effects().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_must_approve_where_the_file_says_so_also_at_the_same_moment() {
    let stage = Stage::new(TWO).await;
    let host = stage.world.start().await;
    stage.send(&host, "e", stage.snapshots(1)).await;
    let asked = stage.asked(&host, 1).await;
    // Many times the same person, all at once: one of them counts.
    let many = (0..8).map(|_| stage.approve(&host, &asked, "alice"));
    let mut answers = futures::future::join_all(many).await;
    answers.sort_unstable();
    assert_eq!(answers, [200, 409, 409, 409, 409, 409, 409, 409]);
    let asked = stage.asked(&host, 1).await;
    assert_eq!((&asked["approved_by"], stage.effects().await.len()), (&json!(["alice"]), 0));
    // Two people at the same moment: both are heard, or the one that was not needed any more is told so.
    let both = tokio::join!(stage.approve(&host, &asked, "bob"), stage.approve(&host, &asked, "carol"));
    assert!(both.0 == 200 || both.1 == 200, "{both:?}");
    assert_eq!(stage.ended(&host).await["state"], "done");
    assert_eq!(stage.effects().await, stage.of_disks(&[0]));
}

/// A run that nobody approves in time ends, and an approval that comes later does nothing.
pub(crate) async fn an_approval_expires(wrong: &str) -> Result<(), String> {
    let stage = Stage::new("approvers = [\"alice\"], expires = \"2s\"").await;
    let host = stage.world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    stage.send(&host, "e", stage.snapshots(1)).await;
    let asked = stage.asked(&host, 1).await;
    let expires = asked["expires"].as_i64().expect("a time");
    eventually("the expiry", async || {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
        (i64::try_from(now).expect("before the end of time") > expires + 200).then_some(())
    })
    .await;
    let status = stage.approve(&host, &asked, "alice").await;
    let run = match status {
        409 => stage.ended(&host).await,
        other => return Err(format!("an approval after its expiry was answered with {other}")),
    };
    let note = run["note"].as_str().unwrap_or_default();
    let effects = stage.effects().await;
    match run["state"].as_str() {
        Some("failed") if note.starts_with("opsward.ApprovalExpired") && effects.is_empty() => Ok(()),
        state => Err(format!("{state:?} ({note}), {effects:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_that_nobody_gives_in_time_ends_the_run() {
    an_approval_expires("").await.expect("it expires");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_shows_exactly_what_would_be_done_and_decides() {
    let stage = Stage::new(ONE).await;
    let host = stage.world.start().await;
    let mut data = stage.snapshots(1);
    let hostile = "see\u{1b}[2J\u{202e}\u{9b}1A";
    data["calls"][1]["params"]["Description"] = json!(hostile);
    stage.send(&host, "e", data).await;
    let asked = stage.asked(&host, 1).await;
    let (id, hash) = (asked["id"].as_str().expect("an id"), asked["hash"].as_str().expect("a hash"));
    let (good, listed) = stage.cli(&["approval", "ls"]).await;
    assert!(
        good && listed.starts_with("ID ") && listed.contains(id) && listed.contains("0 of 1"),
        "{listed}"
    );
    let (good, shown) = stage.cli(&["approval", "show", &id[..10]]).await;
    let command = format!("  opsward approval approve {id} --hash {hash}\n");
    assert!(good && shown.ends_with(&command) && shown.contains("\n1 effect, in this order:\n"), "{shown}");
    assert!(
        shown.contains(&format!("  1  ecs:CreateSnapshot  cn-hangzhou  {}\n", stage.disks[0])),
        "{shown}"
    );
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{shown:?}");

    let (good, said) =
        stage.cli(&["approval", "approve", id, "--hash", &"1".repeat(64), "--by", "alice"]).await;
    assert!(!good && said.contains("not what the run asks"), "{said}");
    let (good, said) = stage.cli(&["approval", "approve", id, "--hash", hash, "--by", "mallory"]).await;
    assert!(!good && said.contains("`mallory` is not an approver") && said.contains("alice, bob"), "{said}");
    // The description holds what no cloud takes: it is denied, with no host running.
    assert_eq!(host.terminate().await, Some(0));
    let (good, said) = stage.cli(&["approval", "deny", id, "--hash", hash, "--by", "bob"]).await;
    assert!(good && said.starts_with("denied by bob: run "), "{said}");
    let (_, listed) = stage.cli(&["approval", "ls"]).await;
    assert_eq!(listed, "nothing waits for an approval\n");
    let (_, shown) = stage.cli(&["run", "show", &id[..10]]).await;
    assert!(shown.contains("failed in") && shown.contains("denied"), "{shown}");
    let host = stage.world.start().await;
    assert_eq!(
        (stage.ended(&host).await["state"].as_str(), stage.effects().await.len()),
        (Some("failed"), 0)
    );
}

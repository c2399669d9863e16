//! `opsward enable`, and the pin that it writes: a policy begins with the least that its plugin asks for and in dry-run, runs the pinned
//! revision and no other, and a new one waits with its difference until a person lets it serve.

use crate::harness::{Host, PATIENCE, World, eventually, executed};
use opsward_core::id::Digest;
use serde_json::Value;

const POLICY: &str = "plugins.d/snapshot-on-reboot.toml";

/// What a command printed, complaints last, and its exit code.
async fn opsward(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let run = world.command(args).stdin(std::process::Stdio::null()).output();
    let told = tokio::time::timeout(PATIENCE, run).await.expect("ends in time").expect("runs");
    (told.status.code(), String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned())
}

fn bundled(name: &str) -> &'static [u8] {
    opsward_bundle::PLUGINS.iter().find(|plugin| plugin.name == name).expect("bundled").bytes
}

/// The same plugin as other bytes: with a custom section more.
fn rebuilt(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0, 2, 1, b'x']].concat()
}

/// The plugin that asks to delete snapshots where it asked to make them.
fn greedy() -> Vec<u8> {
    let (from, to) = (b"ecs:CreateSnapshot", b"ecs:DeleteSnapshot");
    let mut bytes = bundled("snapshot-on-reboot").to_vec();
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, w)| w == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    bytes
}

impl World {
    fn put_revision(&self, bytes: &[u8]) {
        // Beside and renamed, as a careful copy does.
        self.write("plugins.d/.new", "");
        std::fs::write(self.plugins().join(".new"), bytes).expect("written");
        std::fs::rename(self.plugins().join(".new"), self.plugins().join("snapshot-on-reboot.wasm"))
            .expect("renamed");
    }

    fn policy(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(POLICY)).expect("readable")
    }

    async fn policies(&self, host: &Host) -> Value {
        let answer =
            self.http.get(format!("http://{}/api/v1/policies", host.admin)).send().await.expect("answered");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }

    /// Waits until the policy is served by the revision with this digest.
    async fn served_by(&self, host: &Host, digest: Digest) {
        eventually("the revision to serve", async || {
            let policies = self.policies(host).await;
            (policies["policies"][0]["plugin"]["digest"] == digest.to_string()).then_some(())
        })
        .await;
    }

    /// Waits until a revision waits, and returns what is said of it.
    async fn waiting(&self, host: &Host) -> String {
        eventually("a revision to wait", async || {
            let policies = self.policies(host).await;
            let refused = policies["refused"].as_array().expect("a list").clone();
            refused.iter().find_map(|file| {
                file["reason"].as_str().filter(|said| said.contains("waits")).map(str::to_owned)
            })
        })
        .await
    }
}

/// Whether a host that is `wrong` in this way calls what is granted though its plugin asks for something else.
pub(crate) async fn what_is_not_asked_is_not_called(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    world.put_revision(&greedy());
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (instance, _) = world.machine(3).await;
    world.post(&host, &executed(&instance, "e-unasked")).await;
    world.settled_runs(&host, 1).await;
    match world.effects("CreateSnapshot").await.len() {
        0 => Ok(()),
        made => Err(format!("{made} snapshots by a plugin that asks to delete some")),
    }
}

/// Whether a host that is `wrong` in this way lets another revision serve than the pinned one.
pub(crate) async fn a_pin_holds(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let (_, told) = opsward(&world, &["enable", "snapshot-on-reboot", "--update", "--yes"]).await;
    world.start().await.kill().await;
    world.put_revision(&rebuilt(bundled("snapshot-on-reboot")));
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let digest = world.policies(&host).await["policies"][0]["plugin"]["digest"].to_string();
    match digest.contains(&Digest::of(bundled("snapshot-on-reboot")).to_string()) {
        true => Ok(()),
        false => Err(format!("{digest} serves: {told}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enabling_writes_the_least_that_is_asked_in_dry_run_and_never_over_a_file() {
    let world = World::new().await;
    std::fs::remove_file(world.dir.path().join(POLICY)).expect("there");
    let (code, shown) = opsward(&world, &["enable", "snapshot-on-reboot", "--dry-run"]).await;
    assert_eq!(code, Some(0), "{shown}");
    for expected in [
        "snapshot-on-reboot 0.1.0: Snapshots every disk",
        "IT ASKS FOR         WHICH",
        "ecs:DescribeDisks   changes nothing (class read)",
        "to list the disks of the rebooted instance",
        "account = \"prod\"",
        "mode = \"dry-run\"",
        "# Left out, it is woken by Instance:SystemFailure.Reboot:*",
        "# retention-days: integer. Days after which",
        "# guardrails = { cool-down = \"20h\", effects = \"none\", once-effects = \"10/hour\" }",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    assert!(!world.dir.path().join(POLICY).exists());
    let (code, told) = opsward(&world, &["enable", "snapshot-on-reboot"]).await;
    assert!(code != Some(0) && told.contains("nobody is there to be asked: say `--yes`"), "{told}");
    assert!(!world.dir.path().join(POLICY).exists());

    let (code, told) = opsward(&world, &["enable", "snapshot-on-reboot.wasm", "--yes"]).await;
    assert!(
        code == Some(0) && told.contains("wrote `plugins.d/snapshot-on-reboot.toml`, in dry-run"),
        "{told}"
    );
    let written = world.policy();
    assert!(
        shown.contains(&written) && written.contains(&Digest::of(bundled("snapshot-on-reboot")).to_string())
    );
    let (code, told) = opsward(&world, &["enable", "snapshot-on-reboot", "--yes"]).await;
    assert!(code == Some(73) && told.contains("is there and stays as it is"), "{told}");
    assert_eq!(world.policy(), written);
    let (code, told) = opsward(&world, &["check"]).await;
    assert!(code == Some(0) && told.contains("0 errors, 0 warnings"), "{told}");

    let host = world.start().await;
    let (instance, _) = world.machine(3).await;
    world.post(&host, &executed(&instance, "e-dry")).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
    assert!(world.effects("CreateSnapshot").await.is_empty(), "nothing is changed until somebody says so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destructive_grant_is_refused_until_it_names_its_resources() {
    let world = World::new().await;
    world.put_plugin("nightly-reset");
    let (code, told) = opsward(&world, &["enable", "nightly-reset", "--policy", "lab-reset", "--yes"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("DANGEROUS to repeat on a guess") && told.contains("until this is filled in"),
        "{told}"
    );
    let (code, told) = opsward(&world, &["check"]).await;
    assert!(
        code == Some(1)
            && told.contains("lab-reset.toml")
            && told.contains("`<fill in>` is not a resource id"),
        "{told}"
    );
    for (args, expected) in [
        (["enable", "absent"].as_slice(), "no `absent.wasm` in `plugins.d`: copy the plugin there first"),
        (&["enable", "../x"], "`../x` is a path"),
        (&["enable", "nightly-reset", "--account", "nobody", "--yes"], "has no account `nobody`"),
        (&["enable", "nightly-reset", "--update"], "no policy file `plugins.d/nightly-reset.toml`"),
    ] {
        let (code, told) = opsward(&world, args).await;
        assert!(code == Some(70) && told.contains(expected), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_revision_serves_until_the_pin_is_moved_through_restarts_too() {
    let world = World::new().await;
    std::fs::remove_file(world.dir.path().join(POLICY)).expect("there");
    let (code, told) = opsward(&world, &["enable", "snapshot-on-reboot", "--yes"]).await;
    assert_eq!(code, Some(0), "{told}");
    let (old, new) = (Digest::of(bundled("snapshot-on-reboot")), rebuilt(bundled("snapshot-on-reboot")));
    let host = world.start().await;
    world.put_revision(&new);
    let said = world.waiting(&host).await;
    assert!(said.contains(&format!("{} goes on serving: the file pins that", old.short())), "{said}");
    world.served_by(&host, old).await;
    host.kill().await;

    // The directory has only the other one; the host has kept the pinned one.
    let host = world.start().await;
    world.served_by(&host, old).await;
    let (instance, _) = world.machine(3).await;
    world.post(&host, &executed(&instance, "e-pinned")).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(
        (&runs[0]["state"], &runs[0]["digest"]),
        (&"done".into(), &old.to_string().into()),
        "{runs:#?}"
    );
    let (code, told) = opsward(&world, &["check"]).await;
    assert!(code == Some(0) && told.contains("warning: revision ") && told.contains("--update"), "{told}");

    let (code, told) = opsward(&world, &["enable", "snapshot-on-reboot", "--update", "--yes"]).await;
    assert!(code == Some(0) && told.contains("it asks for nothing that is not granted"), "{told}");
    world.served_by(&host, Digest::of(&new)).await;
    let (_, told) = opsward(&world, &["enable", "snapshot-on-reboot", "--update"]).await;
    assert!(told.contains("which is what lies there"), "{told}");

    // A digest that nobody has runs nothing.
    let nobody = Digest::of(b"nobody's").to_string();
    world.write(POLICY, &world.policy().replace(&Digest::of(&new).to_string(), &nobody));
    let refused = eventually("the policy to be refused", async || {
        let policies = world.policies(&host).await;
        let is_gone = policies["policies"].as_array().is_some_and(Vec::is_empty);
        is_gone.then(|| policies["refused"].to_string())
    })
    .await;
    assert!(
        refused.contains(&format!("pins sha256:{}, which the host does not have", &nobody[..12])),
        "{refused}"
    );
    let (code, told) = opsward(&world, &["check"]).await;
    assert!(code == Some(1) && told.contains("which the host does not have"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_new_revision_asks_in_addition_is_shown_and_granted_only_when_confirmed() {
    let world = World::new().await;
    let settings = world.policy().replace("mode = \"enforce\"", "mode = \"enforce\" # as agreed");
    world.write(POLICY, &settings);
    let (code, told) = opsward(&world, &["enable", "snapshot-on-reboot", "--update", "--yes"]).await;
    assert!(code == Some(0) && told.contains("pinned: any revision: the file has no `digest`"), "{told}");
    let host = world.start().await;
    world.put_revision(&greedy());
    let said = world.waiting(&host).await;
    assert!(
        said.contains("+ ecs:DeleteSnapshot  to snapshot each disk") && said.contains("- ecs:CreateSnapshot"),
        "{said}"
    );
    let (_, told) = opsward(&world, &["check"]).await;
    assert!(told.contains("\n    + ecs:DeleteSnapshot  to snapshot each disk"), "{told}");

    let before = world.policy();
    let (code, told) = opsward(&world, &["enable", "snapshot-on-reboot", "--update", "--dry-run"]).await;
    assert!(code == Some(0) && told.contains("+ ecs:DeleteSnapshot"), "{told}");
    assert!(told.contains("- ecs:CreateSnapshot  is no longer asked for: remove its grant"), "{told}");
    assert_eq!(world.policy(), before);
    let (code, told) = opsward(&world, &["enable", "snapshot-on-reboot", "--update", "--yes"]).await;
    assert!(code == Some(0) && told.contains("not granted: say `--grant` as well"), "{told}");
    assert!(!world.policy().contains("DeleteSnapshot") && world.policy().contains("# as agreed"));
    world.served_by(&host, Digest::of(&greedy())).await;

    // What it asks and is not granted is denied, and so is what is granted and not asked.
    let (instance, _) = world.machine(3).await;
    world.post(&host, &executed(&instance, "e-greedy")).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "failed", "{runs:#?}");
    assert!(runs[0]["note"].to_string().contains("opsward.NotAsked: 3 of 3 disks"), "{runs:#?}");
    for action in ["CreateSnapshot", "DeleteSnapshot"] {
        assert!(world.effects(action).await.is_empty(), "{action}");
    }
    world.write(POLICY, &before);
    let (code, told) =
        opsward(&world, &["enable", "snapshot-on-reboot", "--update", "--yes", "--grant"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(
        world.policy().contains("[[allow]]\naction = \"ecs:DeleteSnapshot\"\nresource = [\"<fill in>\"]"),
        "{told}"
    );
}

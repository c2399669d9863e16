//! Whole hosts and their chains: held against the clouds' books, and the command line.

use super::{Row, is_good, rows, verify};
use crate::harness::World;
use opsward_core::audit::Kind;
use std::collections::BTreeMap;

impl World {
    /// Verifies the chain of the host's store, running or not, and holds it against the clouds' books: each effect that took place has
    /// its intent.
    pub(crate) async fn audited(&self) -> Vec<Row> {
        self.try_audited().await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The same; `Err` says what is wrong.
    pub(crate) async fn try_audited(&self) -> Result<Vec<Row>, String> {
        let effects = self.sim_get("effects").await;
        let path = self.dir.path().join("opsward.db");
        let report = verify(&path);
        if !report.is_good() {
            let bad = report.first_bad.map(|bad| format!("row {}: {}", bad.row, bad.wrong));
            return Err(bad.into_iter().chain(report.findings).collect::<Vec<_>>().join("; "));
        }
        let rows = rows(&path);
        let mut intents: BTreeMap<(String, String), usize> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.kind == Kind::Intent) {
            let action = row.action.as_deref().unwrap_or_default();
            let action = action.split_once(':').map_or("", |(_, action)| action);
            for resource in &row.resources {
                *intents.entry((action.to_owned(), resource.clone())).or_default() += 1;
            }
        }
        for effect in effects.as_array().expect("a list") {
            let action = effect["action"].as_str().expect("an action");
            let named = ["DiskId", "InstanceId"].iter().find_map(|name| effect["params"][name].as_str());
            let Some(resource) = named else { continue };
            let left = intents.entry((action.to_owned(), resource.to_owned())).or_default();
            if *left == 0 {
                return Err(format!("no row of the audit chain tells of {effect}"));
            }
            *left -= 1;
        }
        Ok(rows)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_verifies_and_exports_beside_a_running_host() {
    let world = World::new().await;
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    world.post(&host, &crate::harness::executed(&instance, "e-audit")).await;
    world.settled_runs(&host, 1).await;
    let rows = world.audited().await;
    assert_eq!(rows.len(), 1 + 2 * disks.len());
    is_good(&verify(&world.dir.path().join("opsward.db")));

    let run = async |args: &[&str]| {
        let output = world.command(args).output().await.expect("runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (code, verified) = run(&["audit", "verify"]).await;
    assert_eq!(code, Some(0), "{verified}");
    let head = "audit chain of opsward.db\n  entries      7\n  from         ";
    assert!(verified.starts_with(head) && verified.ends_with("no findings\n"), "{verified}");
    let (_, exported) = run(&["audit", "export", "--policy", "snapshot-on-reboot"]).await;
    assert_eq!(exported.lines().count(), 6);
    for line in exported.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&row["policy"], row["at"].is_string()), (&"snapshot-on-reboot".into(), true), "{line}");
    }
    let (_, exported) = run(&["audit", "export", "-o", "csv", "--until", "2020-01-01"]).await;
    assert_eq!(exported.lines().count(), 1, "{exported}");

    host.kill().await;
    let path = world.dir.path().join("opsward.db");
    let conn = rusqlite::Connection::open(&path).expect("opens");
    conn.execute("UPDATE audit SET entry = replace(entry, 'ecs', 'cvm') WHERE seq = 2", []).expect("changed");
    drop(conn);
    let (code, verified) = run(&["audit", "verify"]).await;
    assert_eq!(code, Some(1), "{verified}");
    assert!(verified.contains("  first bad    row 2 of 20"), "{verified}");
    assert!(
        verified.contains("  wrong        it is not what was written: its hash is another\n"),
        "{verified}"
    );
}

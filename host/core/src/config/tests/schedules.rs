//! What a policy's grants mean for its schedules.

use super::*;
use crate::schedule::Misfire;

#[test]
fn a_policy_that_may_destroy_something_makes_up_for_nothing_unless_it_is_told_to() {
    let host = host();
    let load = |text: &str| load_policy("n.toml", "nightly", text, &host).expect("good");
    let misfire = |settings: &PolicySettings| settings.schedules[0].misfire();
    let nightly = load(NIGHTLY);
    assert_eq!((misfire(&nightly), nightly.warnings.len()), (Misfire::Skip, 0), "class once");
    let stops = NIGHTLY.replace("cvm:ResetInstance", "cvm:StopInstances");
    assert_eq!(misfire(&load(&stops)), Misfire::Skip, "destructive by the catalog");
    let starts = NIGHTLY.replace("cvm:ResetInstance", "cvm:StartInstances");
    assert_eq!(misfire(&load(&starts)), Misfire::Once);
    let with =
        |text: &str, keys: &str| text.replace("dialect = \"scf\"", &format!("dialect = \"scf\", {keys}"));
    assert_eq!(
        misfire(&load(&with(&starts, "grace = \"10m\""))),
        Misfire::Skip,
        "it says how late is too late"
    );
    assert_eq!(misfire(&load(&with(&starts, "misfire = \"skip\""))), Misfire::Skip);

    let told = load(&with(NIGHTLY, "misfire = \"once\""));
    assert_eq!(misfire(&told), Misfire::Once);
    let warning = told.warnings.first().map(ToString::to_string).unwrap_or_default();
    assert!(warning.contains("at another time than planned") && warning.contains("n.toml:4:"), "{warning}");
}

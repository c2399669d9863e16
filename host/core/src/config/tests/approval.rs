//! `[approval]` of a policy's file: what it resolves to, and what an operator sees of a bad one.

use super::*;
use crate::approval::{Approvers, EXPIRES_DEFAULT};
use std::time::Duration;

fn resolved(approval: &str) -> Result<Option<Approvers>, String> {
    let text = NIGHTLY.replace("[[allow]]", &format!("approval = {{ {approval} }}\n[[allow]]"));
    let settings = load_policy("nightly.toml", "nightly", &text, &host());
    settings.map(|settings| settings.approvers).map_err(|errors| shown(&errors))
}

#[test]
fn one_of_those_who_are_named_has_a_day_unless_the_operator_says_otherwise() {
    let names = |names: &[&str]| names.iter().map(|name| name.parse().expect("a name")).collect();
    let expires = EXPIRES_DEFAULT;
    let usual = Approvers { names: names(&["alice"]), minimum: 1, expires };
    assert_eq!(resolved("approvers = [\"alice\"]"), Ok(Some(usual)));
    let two = resolved("approvers = [\"alice\", \"bob\", \"carol\"], minimum = 2, expires = \"1h30m\"");
    let expires = Duration::from_secs(5400);
    assert_eq!(two, Ok(Some(Approvers { names: names(&["alice", "bob", "carol"]), minimum: 2, expires })));
}

#[test]
fn a_bad_approval_is_shown_at_its_key() {
    let cases = [
        ("approvers = []", "nobody is named who may approve"),
        ("approvers = [\"Alice B\"]", "`Alice B` is not a valid approver's name"),
        ("approvers = [\"alice\", \"alice\"]", "name each person once"),
        ("approvers = [\"alice\", \"nightly\"]", "`nightly` is the policy itself, or its account"),
        ("approvers = [\"alice\"], minimum = 0", "0 of 1 approvers"),
        ("approvers = [\"alice\"], minimum = 2", "2 of 1 approvers"),
        ("approvers = [\"alice\"], expires = \"200h\"", "write at most `168h`"),
        ("approvers = [\"alice\"], expires = \"1d\"", "a day is not always 24 hours"),
        ("approvers = [\"alice\"], expiry = \"1h\"", "unknown key `expiry`"),
    ];
    for (approval, expected) in cases {
        let problem = resolved(approval).expect_err(approval);
        assert!(problem.contains(expected) && problem.contains("nightly.toml:6:"), "{problem}");
    }
    let settings = load_policy("nightly.toml", "nightly", NIGHTLY, &host()).expect("good");
    let account = settings.account.expect("named");
    let problem = resolved(&format!("approvers = [\"{account}\"]")).expect_err("its account");
    assert!(problem.contains("is the policy itself, or its account"), "{problem}");
}

//! `retry` and `guardrails` of a policy's file: what they resolve to, and what an operator sees of a bad one.

use super::*;
use crate::guardrail::{Guardrails, Quota};
use crate::retry::RetrySettings;
use std::time::Duration;

fn resolved(lines: &str) -> Result<PolicySettings, String> {
    let text = NIGHTLY.replace("[[allow]]", &format!("{lines}\n[[allow]]"));
    load_policy("nightly.toml", "nightly", &text, &host()).map_err(|errors| shown(&errors))
}

#[test]
fn guardrails_are_there_unless_the_operator_lifts_or_changes_them() {
    let guardrails = |lines| resolved(lines).map(|settings| settings.guardrails);
    assert_eq!(guardrails(""), Ok(Guardrails::default()));
    let lifted = guardrails("guardrails = { once-effects = \"none\", cool-down = \"none\" }");
    let none =
        Guardrails { effects: None, once_effects: None, cool_down: Duration::ZERO, ..Guardrails::default() };
    assert_eq!(lifted, Ok(none));
    let changed =
        "guardrails = { once-effects = \"2/day\", cool-down = \"1h30m\", effects = \"100/minute\" }";
    assert_eq!(
        guardrails(changed),
        Ok(Guardrails {
            effects: Some(Quota { max: 100, per: Duration::from_secs(60) }),
            once_effects: Some(Quota { max: 2, per: Duration::from_secs(86_400) }),
            cool_down: Duration::from_secs(5400),
            ..Guardrails::default()
        })
    );
}

#[test]
fn a_bad_guardrail_is_shown_at_its_key() {
    let cases = [
        ("guardrails = { once-effects = \"ten\" }", "such as `10/hour`"),
        ("guardrails = { effects = \"0/hour\" }", "0 lets nothing through"),
        ("guardrails = { cool-down = \"2d\" }", "a day is not always 24 hours"),
        ("guardrails = { cool-down = \"800h\" }", "write at most `744h`"),
        ("guardrails = { cooldown = \"1h\" }", "unknown key `cooldown`"),
    ];
    for (lines, expected) in cases {
        let problem = resolved(lines).expect_err(lines);
        assert!(problem.contains(expected) && problem.contains("nightly.toml:6:"), "{problem}");
    }
}

#[test]
fn what_is_protected_holds_for_every_policy_of_its_account() {
    let protected = |lines: &str| {
        let host = load_host("opsward.toml", &format!("{HOST}\n{lines}")).map_err(|errors| shown(&errors))?;
        let settings = load_policy("n.toml", "n", NIGHTLY, &host).map_err(|errors| shown(&errors))?;
        Ok::<_, String>(settings.guardrails.protected.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let both = "[[protected]]\nresource = ['i-1', { tag = { env = 'prod' } }]\nregion = ['ap-shanghai']\n\
                [[protected]]\nresource = ['*']\naccount = 'prod'\n";
    let expected = "i-1, { tag = { env = \"prod\" } } in ap-shanghai";
    assert_eq!(protected(both), Ok(vec![expected.to_owned()]), "the other account's is not its business");
    let cases = [
        ("resource = []", "an empty list protects nothing"),
        ("resource = [{ }]", "an empty selector selects nothing"),
        ("resource = ['i-1,i-2']", "`i-1,i-2` is not a resource id"),
        ("resource = ['i-1']\naccount = 'prd'", "unknown account `prd`"),
        ("resource = ['i-1']\nregion = []", "leave `region` out for all regions"),
        ("resource = ['i-1']\nregion = ['cn-*']", "`cn-*` is not a region"),
        ("resources = ['i-1']", "unknown key `resources`"),
    ];
    for (lines, expected) in cases {
        let problem = protected(&format!("[[protected]]\n{lines}")).expect_err(lines);
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn retry_has_bounds_and_defaults() {
    let retry = |lines| resolved(lines).map(|settings| settings.retry);
    assert_eq!(retry(""), Ok(RetrySettings::default()));
    let changed =
        retry("retry = { attempts = 2, base = \"1m\", factor = 1.5, ceiling = \"2m\" }").expect("good");
    assert_eq!((changed.attempts, changed.ceiling), (2, Duration::from_secs(120)));
    let cases = [
        ("retry = { attempts = 0 }", "0 tries"),
        ("retry = { factor = 0.5 }", "a factor of 0.5"),
        ("retry = { base = \"25h\" }", "longer than a day"),
        ("retry = { base = \"2m\", ceiling = \"1m\" }", "shorter than `base`"),
    ];
    for (lines, expected) in cases {
        let problem = resolved(lines).expect_err(lines);
        assert!(problem.contains(expected), "{problem}");
    }
}

//! What each form of `credentials` resolves to, and what an operator is told of a wrong one.

use super::super::{ConfigError, load_host, load_policy};
use crate::secret::SecretRef;

fn host_file(provider: &str, credentials: &str) -> String {
    format!("[accounts.a]\nprovider = \"{provider}\"\ncredentials = {credentials}\n")
}

fn errors(provider: &str, credentials: &str) -> Vec<ConfigError> {
    load_host("opsward.toml", &host_file(provider, credentials)).expect_err(credentials)
}

#[test]
fn each_form_names_one_source() {
    const ARN: &str = "acs:ram::1:role/ops";
    const FAR: &str = "acs:ram::2:role/far";
    const KEYS: &str =
        r#"{ access-key-id = { systemd = "id" }, access-key-secret = { systemd = "secret" } }"#;
    let table = [
        (KEYS.to_owned(), "systemd secret"),
        (r#"{ profile = "prod" }"#.to_owned(), "profile prod"),
        (r#"{ instance-role = "host" }"#.to_owned(), "instance role host"),
        (format!(r#"{{ assume-role = {{ arn = "{ARN}", from = {KEYS} }} }}"#), "role ops by systemd secret"),
        (
            format!(
                r#"{{ assume-role = {{ arn = "{FAR}", session-name = "s-1", external-id = "x-1", duration = "15m", from = {{ assume-role = {{ arn = "{ARN}", from = {{ instance-role = "host" }} }} }} }} }}"#
            ),
            "role far by role ops by instance role host",
        ),
        (
            format!(r#"{{ oidc = {{ arn = "{ARN}", provider = "p", token-file = "/token" }} }}"#),
            "role ops by token",
        ),
    ];
    for (credentials, expected) in table {
        let host = load_host("opsward.toml", &host_file("alibaba", &credentials));
        let host = host.unwrap_or_else(|errors| panic!("{credentials}: {}", errors[0]));
        let account = host.accounts.values().next().expect("an account");
        assert_eq!(account.credentials.to_string(), expected);
    }
    let keys = load_host("opsward.toml", &host_file("alibaba", KEYS)).expect("good");
    let keys = keys.accounts.values().next().and_then(|account| account.credentials.keys().cloned());
    assert_eq!(keys.map(|keys| keys.key_id), Some(SecretRef::Systemd("id".into())));
}

#[test]
fn a_role_keeps_what_is_said_of_it() {
    let text = r#"{ assume-role = { arn = "qcs::cam::uin/1:roleName/ops", session-name = "s-1", external-id = "x-1", duration = "2h", from = { profile = "p" } } }"#;
    let host = load_host("opsward.toml", &host_file("tencent", text)).expect("good");
    let account = host.accounts.values().next().expect("an account");
    let crate::credential::CredentialSource::AssumeRole(assumed) = &account.credentials else {
        panic!("a role")
    };
    assert_eq!(assumed.role.session_name, "s-1");
    assert_eq!(assumed.role.external_id.as_deref(), Some("x-1"));
    assert_eq!(assumed.role.duration.as_secs(), 7200);
}

#[test]
fn a_wrong_form_is_told_with_its_place_and_the_fix() {
    let role = |inside: &str| format!(r#"{{ assume-role = {{ {inside}, from = {{ profile = "p" }} }} }}"#);
    let arn = r#"arn = "acs:ram::1:role/ops""#;
    let table = [
        (
            r#"{ profile = "p", instance-role = "r" }"#.to_owned(),
            "3:32 `instance-role` beside `profile`: a credential comes from one place; leave one of them out",
        ),
        (
            r#"{ profile = "p", access-key-id = { env = "A" } }"#.to_owned(),
            "3:32 `access-key-id` beside `profile`: a credential comes from one place; leave one of them out",
        ),
        (
            r#"{ profile = "../p" }"#.to_owned(),
            "3:27 `../p` cannot be the name of `profile`; use letters, digits, `.`, `@`, `-` and `_`",
        ),
        (
            r#"{ instance-role = "" }"#.to_owned(),
            "3:33 `` cannot be the name of `instance-role`; use letters, digits, `.`, `@`, `-` and `_`",
        ),
        (
            role(r#"arn = "qcs::cam::uin/1:roleName/x""#),
            "3:39 `qcs::cam::uin/1:roleName/x` is not a role of alibaba; write it as `acs:ram::<account>:role/<name>`",
        ),
        (
            role(&format!(r#"{arn}, session-name = "a b""#)),
            "3:77 `a b` is not the name of a session; use 2 to 64 letters, digits, `.`, `@`, `-` and `_`",
        ),
        (
            role(&format!(r#"{arn}, duration = "5m""#)),
            "3:73 no role lasts that long or short; write `15m` to `12h`, and no more than the role allows",
        ),
        (
            role(&format!(r#"{arn}, external-id = "x""#)),
            "3:76 an external id of 1 characters; write 2 to 1224 characters",
        ),
        (
            format!(r#"{{ assume-role = {{ {arn} }} }}"#),
            "3:31 missing key `from`; add `from = { instance-role = \"...\" }`",
        ),
        (
            format!(r#"{{ oidc = {{ {arn}, provider = "p", token-file = "" }} }}"#),
            "3:84 `token-file` is empty; write it, or leave `oidc` out",
        ),
        (r#"{ profil = { env = "A" } }"#.to_owned(), "3:17 unknown key `profil`; did you mean `profile`?"),
    ];
    for (credentials, expected) in table {
        let found = errors("alibaba", &credentials);
        let (line, column) = found[0].at.expect("a place");
        assert_eq!(format!("{line}:{column} {}; {}", found[0].message, found[0].fix), expected);
    }
}

#[test]
fn a_chain_of_roles_has_an_end_and_hides_keys_written_into_it() {
    let chain = |roles: usize, begin: &str| {
        let role = |from: String, _| {
            format!(r#"{{ assume-role = {{ arn = "acs:ram::1:role/r", from = {from} }} }}"#)
        };
        (0..roles).fold(begin.to_owned(), role)
    };
    let begin = r#"{ profile = "p" }"#;
    assert!(load_host("opsward.toml", &host_file("alibaba", &chain(5, begin))).is_ok());
    let long = errors("alibaba", &chain(6, begin));
    assert_eq!(long[0].message, "more than 5 roles one after the other");

    let literal = r#"{ access-key-id = "LTAI-hunter1", access-key-secret = "hunter2" }"#;
    let shown: String = errors("alibaba", &chain(2, literal)).iter().map(ToString::to_string).collect();
    assert!(shown.contains("written out") && !shown.contains("hunter"), "{shown}");
}

#[test]
fn a_narrowed_role_gives_each_policy_a_session_for_what_it_was_granted() {
    let narrowed = |inside: &str| {
        format!(r#"{{ assume-role = {{ arn = "acs:ram::1:role/ops", narrow = true, from = {inside} }} }}"#)
    };
    let host = load_host("opsward.toml", &host_file("alibaba", &narrowed(r#"{ profile = "p" }"#)));
    let host = host.expect("settings");
    let policy = |allow: &str| {
        let text = format!("plugin = \"p.wasm\"\naccount = \"a\"\non = []\n{allow}");
        load_policy("p.toml", "p", &text, &host)
    };
    let allow = "[[allow]]\naction = \"ecs:StopInstance\"\nresource = [{ tag = { env = \"lab\" } }]\n";
    let session = policy(allow).expect("a policy").session.expect("a session");
    for action in ["ecs:StopInstance", "ecs:DescribeInstances"] {
        assert!(session.document.contains(action), "{}", session.document);
    }
    assert_eq!(policy("").expect("a policy").session, None, "it may call nothing");

    let many: String =
        (0..100).map(|n| format!("[[allow]]\naction = \"ecs:DescribeSomethingOfNumber{n}\"\n")).collect();
    let problem = policy(&many).expect_err("too long")[0].to_string();
    assert!(problem.contains("2048 are allowed") && problem.contains("grant less"), "{problem}");

    let inner = errors("alibaba", &narrowed(&narrowed(r#"{ profile = "p" }"#)));
    assert!(inner[0].to_string().contains("only serves to take on another"), "{}", inner[0]);
    let oidc = r#"{ oidc = { arn = "qcs::cam::uin/1:roleName/x", provider = "p", token-file = "t", narrow = true } }"#;
    let token = errors("tencent", oidc);
    assert!(token[0].to_string().contains("takes no session policy"), "{}", token[0]);
}

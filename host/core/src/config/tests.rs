//! Tests of the two files: what a good one resolves to, and the text an operator sees of a bad one.

use super::*;
use crate::catalog::Provider;
use crate::secret::SecretRef;
use crate::sign::Scheme;
use crate::time::Timestamp;

mod admin;
mod approval;
mod fetched;
mod grants;
mod limits;
mod mapping;
mod schedules;

const HOST: &str = r#"[server]
listen = "127.0.0.1:7070"
[admin]
listen = "127.0.0.1:7071"
[store]
url = "sqlite:opsward.db"
[plugins]
dir = "plugins.d"
[accounts.prod]
provider = "alibaba"
credentials = { access-key-id = { env = "ALIBABA_AK" }, access-key-secret = { env = "ALIBABA_SK" }, security-token = { env = "ALIBABA_TOKEN" } }
endpoint = "http://127.0.0.1:9000"        # optional; plain http only for loopback
[accounts.lab]
provider = "tencent"
credentials = { secret-id = { env = "TENCENT_ID" }, secret-key = { file = "tencent.key" } }
[sources.cloudmonitor]
kind = "alibaba-cloudmonitor"
account = "prod"
token = { env = "CLOUDMONITOR_TOKEN" }     # POST /hooks/cloudmonitor/<token>
"#;

const SNAPSHOT: &str = r#"plugin = "snapshot-on-reboot.wasm"
account = "prod"
mode = "enforce"    # default: "dry-run"
on = [{ source = "cloudmonitor" }]
config = { retention-days = 7 }
[[allow]]
action = "ecs:DescribeDisks"
[[allow]]
action = "ecs:CreateSnapshot"
region = ["cn-hangzhou"]
"#;

const NIGHTLY: &str = r#"plugin = "nightly-reset.wasm"
account = "lab"
mode = "enforce"
schedule = [{ cron = "0 0 3 * * * *", dialect = "scf", zone = "Asia/Shanghai" }]
config = { instance-id = "ins-1", image-id = "img-1", region = "ap-shanghai" }
[[allow]]
action = "cvm:ResetInstance"
resource = ["ins-1"]
"#;

fn host() -> HostSettings {
    load_host("opsward.toml", HOST).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

fn shown(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_files_of_the_manual_resolve() {
    let host = host();
    let lab = &host.accounts[&"lab".parse().expect("a name")];
    assert_eq!((lab.provider, lab.scheme), (Provider::Tencent, Scheme::TencentTc3));
    let keys = lab.credentials.keys().expect("keys");
    assert_eq!(keys.key_id, SecretRef::Env("TENCENT_ID".into()));
    assert_eq!(keys.key_secret, SecretRef::File("tencent.key".into()));
    assert_eq!(keys.session_token, None);
    let prod = &host.accounts[&"prod".parse().expect("a name")];
    assert!(
        prod.endpoint.is_some() && prod.credentials.keys().is_some_and(|keys| keys.session_token.is_some())
    );
    let source = &host.sources[&"cloudmonitor".parse().expect("a name")];
    assert_eq!(source.account.as_ref().map(AccountName::as_str), Some("prod"));

    let snapshot = load_policy("s.toml", "snapshot-on-reboot", SNAPSHOT, &host).expect("good");
    assert_eq!(snapshot.mode, Mode::Enforce);
    assert_eq!(&*snapshot.config, r#"{"retention-days":7}"#);
    assert_eq!(snapshot.grants.rows().len(), 2);
    assert!(snapshot.patterns.is_some() && snapshot.warnings.is_empty());

    let nightly = load_policy("n.toml", "nightly-reset", NIGHTLY, &host).expect("good");
    let next = nightly.schedules[0].display_next(1, Timestamp::from_seconds(1_700_000_000));
    assert_eq!(next, ["2023-11-16 03:00:00 +08:00"]);
    assert_eq!(nightly.grants.rows()[1].action, "cvm:DescribeInstances");
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let host = load_host("opsward.toml", "").expect("an empty file is good");
    assert_eq!(host.server_listen.to_string(), defaults::SERVER_LISTEN);
    assert_eq!(host.admin, AdminSettings::default());
    assert_eq!(host.store, StoreSettings::Sqlite { path: "opsward.db".into() });
    assert_eq!(host.store_keep, std::time::Duration::from_secs(90 * 24 * 3600));
    assert_eq!(host.plugins, PluginSettings { dir: "plugins.d".into(), cache_dir: None });
    let policy = load_policy("p.toml", "p", "plugin = \"a.wasm\"", &host).expect("good");
    assert_eq!((policy.mode, &*policy.config), (Mode::DryRun, "{}"));
    assert!(policy.patterns.is_none() && policy.grants.is_empty());
}

#[test]
fn what_has_ended_is_kept_for_whole_days() {
    for (text, days) in [("31d", 31), ("3650d", 3650)] {
        let host = load_host("opsward.toml", &format!("[store]\nkeep = \"{text}\"\n")).expect("good");
        assert_eq!(host.store_keep.as_secs(), days * 24 * 3600);
    }
}

#[test]
fn an_unknown_key_is_shown_with_its_place_and_the_near_one() {
    let errors = load_policy("plugins.d/p.toml", "p", "plugin = \"a.wasm\"\nacount = \"prod\"\n", &host());
    let expected = r#"
error: unknown key `acount`
  --> plugins.d/p.toml:2:1
   |
 2 | acount = "prod"
   | ^^^^^^ did you mean `account`?"#;
    assert_eq!(shown(&errors.expect_err("bad")), expected.trim_start());
}

#[test]
fn a_literal_secret_is_refused_and_never_shown() {
    let text = HOST.replace("{ file = \"tencent.key\" }", "\"AKIDhunter2\"");
    let expected = r#"
error: `secret-key` is written out: secrets by reference only
   --> opsward.toml:15:53
    |
 15 | credentials = { secret-id = { env = "TENCENT_ID" }, secret-key = "***********" }
    |                                                     ^^^^^^^^^^ write `{ env = "NAME" }` or `{ file = "path" }`"#;
    assert_eq!(shown(&load_host("opsward.toml", &text).expect_err("bad")), expected.trim_start());

    let secrets = [
        HOST.replace("{ env = \"TENCENT_ID\" }", "{ env = \"hunter2-hunter2\" }"),
        HOST.replace("{ env = \"TENCENT_ID\" }", "'''hunter2'''"),
        HOST.replace("{ env = \"TENCENT_ID\" }", "[\"hunter2\"]"),
        HOST.replace("{ env = \"CLOUDMONITOR_TOKEN\" }", "'hunter2'"),
        // Not well-formed: there is no tree to tell secrets by.
        HOST.replace("{ env = \"CLOUDMONITOR_TOKEN\" }", "\"hunter2"),
        HOST.replace("{ env = \"CLOUDMONITOR_TOKEN\" }", "\"a\\\"hunter2\" x"),
        HOST.replace("{ env = \"CLOUDMONITOR_TOKEN\" }", "\"\"\"\nhunter2\" x"),
        HOST.replace("{ file = \"tencent.key\" } }", "\"hunter2\" oops }"),
        format!("{HOST}[secrets]\nlogin = \"hunter2\"\n"),
        format!("{HOST}[secrets]\nlogin = \"hunter2\" oops\n"),
        "secrets = { login = \"hunter2\" oops }\n".to_owned(),
    ];
    for text in secrets {
        let errors = shown(&load_host("opsward.toml", &text).expect_err("bad"));
        assert!(!errors.contains("hunter2"), "{errors}");
    }
    let policy = "plugin = \"a.wasm\"\nconfig = { password = \"hunter2\", ratio = inf }\n";
    let errors = shown(&load_policy("p.toml", "p", policy, &host()).expect_err("bad"));
    assert!(errors.contains("ratio = inf") && !errors.contains("hunter2"), "{errors}");
}

#[test]
fn findings_about_the_host_file() {
    let cases = [
        ("[server]\nlisten = 7070\n", "2:10 expected a string, found integer `7070`"),
        (
            "[server]\nlisten = \"localhost\"\n",
            "2:10 `localhost` is not an address and port; write `\"127.0.0.1:7070\"`",
        ),
        ("[store]\nurl = \"mysql://x\"\n", "2:7 not the URL of a store; write `\"sqlite:opsward.db\"`"),
        (
            "[store]\nkeep = \"90\"\n",
            "2:8 `90` is not a number of days; write days from `31d` to `3650d`, such as `90d`",
        ),
        (
            "[store]\nkeep = \"+40d\"\n",
            "2:8 `+40d` is not a number of days; write days from `31d` to `3650d`, such as `90d`",
        ),
        (
            "[store]\nkeep = \"30d\"\n",
            "2:8 `30d` is too short: natural keys need what happened for 30 days; write days from `31d` to `3650d`, such as `90d`",
        ),
        (
            "[store]\nkeep = \"3651d\"\n",
            "2:8 `3651d` is too long; write days from `31d` to `3650d`, such as `90d`",
        ),
        ("[store]\nkeep = 90\n", "2:8 expected a string, found integer `90`"),
        ("[plugins]\ncache-dir = \"\"\n", "2:13 `cache-dir` is empty; name a directory"),
        ("[server]\nlisten = \"a\n", "2:12 not well-formed TOML: invalid basic string, expected `\"`"),
        ("[accounts.a]\nprovider = \"alibab\"\n", "2:12 unknown value `alibab`; did you mean `alibaba`?"),
        (
            "[accounts.a]\nprovider = \"alibaba\"\n",
            "1:1 missing key `credentials`; add `credentials = { access-key-id = { env = \"...\" }, access-key-secret = { env = \"...\" } }`",
        ),
        (
            "[sources.a]\nkind = \"cloudevents\"\n",
            "1:10 missing key `token`; add `token = { env = \"CLOUDMONITOR_TOKEN\" }`",
        ),
        (
            "[sources.a]\nkind = \"cloudevents\"\ntoken = { envv = \"A\" }\n",
            "3:11 unknown key `envv`; did you mean `env`?",
        ),
        (
            "[sources.a]\nkind = \"cloudevent\"\ntoken = { env = \"A\" }\n",
            "2:8 unknown kind of source `cloudevent`; did you mean `cloudevents`?",
        ),
        (
            "[sources.manual]\nkind = \"cloudevents\"\ntoken = { env = \"A\" }\n",
            "1:10 `manual` is the source of the host's own events; choose another name",
        ),
        (
            "[sources.a]\nkind = \"cloudevents\"\ntoken = { env = \"A\" }\naccount = \"b\"\n",
            "4:11 unknown account `b`; `opsward.toml` has no `[accounts]`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(brief(&load_host("opsward.toml", text).expect_err(expected)), [expected]);
    }
}

#[test]
fn findings_about_accounts() {
    let lab = "[accounts.lab]\nprovider = \"tencent\"\ncredentials = { secret-id = { env = \"A\" }, secret-key = { env = \"B\" } }\n";
    let cases = [
        (
            lab.replace("accounts.lab", "accounts.Lab_1"),
            "1:11 `Lab_1` is not a valid account name: use 1 to 63 lower-case letters, digits and hyphens, beginning with a letter or digit",
        ),
        (
            lab.replace(", secret-key = { env = \"B\" }", ""),
            "3:1 missing key `secret-key`; add `secret-key = { env = \"NAME\" }`",
        ),
        (
            lab.replace("secret-key", "access-key-secret"),
            "3:44 `access-key-secret` is no credential of tencent; it has `secret-id`, `secret-key`, and `token` for temporary keys",
        ),
        (
            lab.replace("{ env = \"B\" }", "{ file = \"\" }"),
            "3:57 `secret-key` refers to nothing; name a variable or a file",
        ),
        (
            format!("{lab}signature = \"acs3\"\n"),
            "4:13 a tencent account has no other signature than its own; leave `signature` out",
        ),
        (
            format!("{lab}region = \"shanghai\"\n"),
            "4:10 `shanghai` is not a region; write it as in `cn-hangzhou`",
        ),
        (
            format!("{lab}endpoint = \"http://10.0.0.1\"\n"),
            "4:12 endpoint `http://10.0.0.1` uses plain http, which is allowed for loopback hosts only: use https",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(brief(&load_host("opsward.toml", &text).expect_err(expected)), [expected]);
    }
}

#[test]
fn findings_about_a_policy_file() {
    let swap = |file: &str, from: &str, to: &str| {
        assert!(file.contains(from), "{from}");
        file.replace(from, to)
    };
    let cases = [
        (String::new(), "missing key `plugin`; add `plugin = \"my-policy.wasm\"`"),
        (
            swap(SNAPSHOT, "snapshot-on-reboot.wasm", "../x.wasm"),
            "1:10 `../x.wasm` is not a plugin's file; write the file's name in this directory, such as `my-policy.wasm`",
        ),
        (swap(SNAPSHOT, "\"prod\"", "\"prd\""), "2:11 unknown account `prd`; did you mean `prod`?"),
        (
            swap(SNAPSHOT, "account = \"prod\"", ""),
            "6:1 grants without an account to make the calls with; add `account` with one of: lab, prod",
        ),
        (
            swap(SNAPSHOT, "\"enforce\"", "\"enforced\""),
            "3:8 unknown value `enforced`; did you mean `enforce`?",
        ),
        (
            swap(SNAPSHOT, "\"cloudmonitor\"", "\"cloudmoniter\""),
            "4:18 unknown source `cloudmoniter`; did you mean `cloudmonitor`?",
        ),
        (
            swap(SNAPSHOT, "\"cloudmonitor\"", "\"cloudmonitor\", transition = \"executd\""),
            "4:47 unknown transition `executd`: did you mean `executed`?",
        ),
        (
            swap(
                SNAPSHOT,
                "\"cloudmonitor\"",
                "\"cloudmonitor\", data = { a = 1, \"b.c\" = { min = 2, max = 1 } }",
            ),
            "4:58 the range of `b.c` has no number in it, and never matches",
        ),
        (
            swap(SNAPSHOT, "\"cloudmonitor\"", "\"cloudmonitor\", data = { a = { min = \"2\" } }"),
            "4:55 expected a number, found string \"2\"",
        ),
        (
            swap(SNAPSHOT, "\"cloudmonitor\"", "\"cloudmonitor\", data = { a = [1, { prefx = \"2\" }] }"),
            "4:51 unknown test `prefx`: did you mean `prefix`?",
        ),
        (
            swap(SNAPSHOT, "= 7", "= nan"),
            "5:29 `retention-days` holds a number that JSON cannot express; write a finite number",
        ),
        (
            swap(SNAPSHOT, "[\"cn-hangzhou\"]", "\"cn-hangzhou\""),
            "10:10 expected a list, found string \"cn-hangzhou\"; write `[\"cn-hangzhou\"]`",
        ),
        (
            swap(SNAPSHOT, "region = [\"cn-hangzhou\"]", "account = \"lab\""),
            "10:11 this policy's calls do not go to `lab`; leave it out: a policy has one `account`",
        ),
        (
            swap(SNAPSHOT, "ecs:DescribeDisks", "ecs:*"),
            "7:10 `ecs:*` may cover actions that change something; name each action; only reads may end in `*`: `Describe*`, `Get*`, `List*`",
        ),
        (
            swap(SNAPSHOT, "cn-hangzhou", "cn-*"),
            "10:11 `cn-*` is not a region; write each region out, such as `cn-hangzhou`; leave `region` out for any",
        ),
        (
            swap(NIGHTLY, "resource = [\"ins-1\"]", ""),
            "7:10 `cvm:ResetInstance` is of class once (it must never be repeated on a guess), so it is granted for named resources only; add `resource = [\"...\"]` with the ids it may act on",
        ),
        (
            swap(NIGHTLY, "[\"ins-1\"]", "[\"ins-1\", \"*\"]"),
            "8:22 `cvm:ResetInstance` is of class once, so `*` must be one resource's id; write out each id, or select by what a read shows: `{ tag = { env = \"lab\" } }`",
        ),
        (
            swap(NIGHTLY, "0 0 3 * * * *", "0 0 0 30 2 * *"),
            "4:22 `0 0 0 30 2 * *` can never fire: no day of any year from 1970 to 2099 matches it",
        ),
        (
            swap(NIGHTLY, "0 0 3 * * * *\", dialect = \"scf\"", "0 9 * * 1-5\""),
            "4:22 `1-5` in the day-of-week field is ambiguous: it means Monday-Friday in unix/scf/fc, Sunday-Thursday in quartz; add `dialect`, or use names such as MON-FRI",
        ),
        (
            swap(SNAPSHOT, "\"enforce\"", "\"approve\""),
            "3:8 nobody is named who may approve; add `[approval]` with `approvers = [\"alice\"]`: the people who may say yes",
        ),
        (
            swap(SNAPSHOT, "mode = \"enforce\"", "secrets = [\"lab-password\"]"),
            "3:12 unknown secret `lab-password`; `opsward.toml` has no `[secrets]`",
        ),
        (swap(NIGHTLY, "\"scf\"", "\"sfc\""), "4:49 unknown value `sfc`; did you mean `scf`?"),
    ];
    for (text, expected) in cases {
        assert_eq!(brief(&load_policy("p.toml", "p", &text, &host()).expect_err(expected)), [expected]);
    }
}

#[test]
fn all_faults_of_a_file_are_named_in_its_order() {
    let places = |text: &str| {
        let errors = load_policy("p.toml", "p", text, &host()).expect_err("bad");
        errors.iter().filter_map(|error| error.at).collect::<Vec<_>>()
    };
    let unknown_keys = "plugin = \"a.wasm\"\non = [{ xyz = \"x\" }]\nvolume = 3\n[[allow]]\nactoin = \"ecs:CreateSnapshot\"\n";
    assert_eq!(places(unknown_keys), [(2, 9), (3, 1), (5, 1)]);
    let meanings = NIGHTLY
        .replace("\"lab\"", "\"lab\"\non = [{ source = \"x\" }]")
        .replace("0 0 3", "99 0 3")
        .replace("[\"ins-1\"]", "[\"*\"]");
    assert_eq!(places(&meanings), [(3, 18), (5, 22), (9, 13)]);
}

#[test]
fn a_warning_comes_with_the_settings() {
    let text = SNAPSHOT.replace("ecs:DescribeDisks", "ecs:DescribeDisk");
    let settings = load_policy("p.toml", "p", &text, &host()).expect("good");
    assert!(settings.warnings.iter().all(|warning| warning.severity == Severity::Warning));
    assert_eq!(
        brief(&settings.warnings),
        [
            "7:10 `ecs:DescribeDisk` is not in the catalog; it counts as class read; did you mean `ecs:DescribeDisks`?"
        ]
    );
}

#[test]
fn a_caret_stands_under_its_place_whatever_the_line_holds() {
    let wide = "plugin = \"a.wasm\"\nconfig = { \"名称\" = \"快照\", x = inf }\n";
    let expected = "\
error: `x` holds a number that JSON cannot express
  --> p.toml:2:29
   |
 2 | config = { \"名称\" = \"快照\", x = inf }
   |                                 ^^^ write a finite number";
    assert_eq!(shown(&load_policy("p.toml", "p", wide, &host()).expect_err("bad")), expected);
    let long = format!("plugin = \"a.wasm\"\nconfig = {{ a = \"{}\", x = inf }}\n", "y".repeat(1000));
    let errors = shown(&load_policy("p.toml", "p", &long, &host()).expect_err("bad"));
    assert!(errors.lines().all(|line| line.len() < 150), "{errors}");
    assert!(errors.contains("x = inf }"), "{errors}");
    for text in ["plugin", "\u{feff}", "plugin = \"", "é", "[", "\"\"\""] {
        assert!(load_policy("p.toml", "p", text, &host()).is_err());
    }
    let large = " ".repeat(FILE_BYTES_MAX + 1);
    assert!(brief(&load_host("opsward.toml", &large).expect_err("large"))[0].contains("at most 1048576"));
}

/// Each finding as `line:column message; fix`.
fn brief(errors: &[ConfigError]) -> Vec<String> {
    errors
        .iter()
        .map(|error| {
            let at = error.at.map_or(String::new(), |(line, column)| format!("{line}:{column} "));
            let fix = if error.fix.is_empty() { String::new() } else { format!("; {}", error.fix) };
            format!("{at}{}{fix}", error.message)
        })
        .collect()
}

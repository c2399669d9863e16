//! What `opsward check` prints: of a good configuration, and of each kind of bad input.

use crate::harness::compiler;
use opsward::cli::check::run_at;
use opsward::cli::policy::show_at;
use opsward::cli::runs::Output;
use opsward::plugin::engine::{Engine, Limits};
use opsward_core::id::Digest;
use opsward_core::time::Timestamp;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;

const HOST: &str = r#"[store]
url = "sqlite:opsward.db"
[plugins]
dir = "plugins.d"
[accounts.prod]
provider = "alibaba"
credentials = { access-key-id = { file = "key" }, access-key-secret = { file = "key" } }
[accounts.lab]
provider = "tencent"
credentials = { secret-id = { file = "key" }, secret-key = { file = "key" } }
[sources.cloudmonitor]
kind = "alibaba-cloudmonitor"
account = "prod"
token = { file = "key" }
"#;

const SNAPSHOT: &str = r#"plugin = "snapshot-on-reboot.wasm"
account = "prod"
mode = "enforce"
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
schedule = [{ cron = "0 0 3 * * * *", dialect = "scf", zone = "Asia/Shanghai" }]
config = { instance-id = "ins-1", image-id = "img-1", region = "ap-shanghai" }
[[allow]]
action = "cvm:ResetInstance"
resource = ["ins-1"]
"#;

/// A configuration in a directory of its own, with both policies of the workspace.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("plugins.d")).expect("a directory");
        let site = Self(dir);
        site.write("opsward.toml", HOST);
        site.write("key", "not read");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(site.path().join("key"), private).expect("chmod");
        site.write("plugins.d/snapshot-on-reboot.toml", SNAPSHOT);
        site.write("plugins.d/nightly-reset.toml", NIGHTLY);
        for name in ["snapshot-on-reboot", "nightly-reset"] {
            let plugin = opsward_bundle::plugin(name).expect("in the workspace");
            site.write(&format!("plugins.d/{name}.wasm"), plugin.bytes);
        }
        site
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(file), content).expect("written");
    }

    fn swap(&self, file: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path().join(file)).expect("read");
        assert!(text.contains(from), "{from}");
        self.write(file, text.replace(from, to));
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// What is printed on 2023-11-15, less what differs from build to build: this directory, versions and digests.
    async fn check(&self, output: Output) -> (String, ExitCode) {
        let now = Timestamp::from_seconds(1_700_000_000);
        let mut printed = Vec::new();
        let config = self.path().join("opsward.toml");
        let code = run_at(&config, now, engine(), output, &mut printed).await.expect("checked");
        let mut text = String::from_utf8(printed).expect("UTF-8");
        text = text.replace(&format!("{}/", self.path().display()), "");
        for plugin in opsward_bundle::PLUGINS {
            text = text.replace(&Digest::of(plugin.bytes).short(), "<digest>    ");
        }
        (text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"), code)
    }

    /// What `opsward policy show` prints.
    async fn policy(&self, name: &str, output: Output) -> (String, ExitCode) {
        let now = Timestamp::from_seconds(1_700_000_000);
        let (mut printed, config) = (Vec::new(), self.path().join("opsward.toml"));
        let code = show_at(&config, name, now, engine(), output, &mut printed).await.expect("shown");
        (String::from_utf8(printed).expect("UTF-8"), code)
    }
}

/// Compiling takes most of the time of a check: the tests share what is compiled.
fn engine() -> Engine {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check-cache");
    Engine::new(Limits { instances: 1, ..Limits::default() }, &cache, compiler()).expect("an engine")
}

#[tokio::test]
async fn a_good_configuration_is_shown_as_what_each_policy_may_do_and_when() {
    let (text, code) = Site::new().check(Output::Table).await;
    insta::assert_snapshot!(text, @r#"
    PLUGIN                   VERSION  DIGEST        STATE
    nightly-reset.wasm       0.1.0    <digest>      good, used by nightly-reset
    snapshot-on-reboot.wasm  0.1.0    <digest>      good, used by snapshot-on-reboot

    POLICY              MODE     ACCOUNT  ACTION                 GRANTED                       CLASS  REGIONS      RESOURCES
    nightly-reset       dry-run  lab      cvm:ResetInstance      yes                           once   any          ins-1
                                          cvm:DescribeInstances  comes with cvm:ResetInstance  read   any          ins-1
    snapshot-on-reboot  enforce  prod     ecs:DescribeDisks      yes                           read   any          any
                                          ecs:CreateSnapshot     yes                           token  cn-hangzhou  any

    POLICY         SCHEDULE                           FIRES NEXT
    nightly-reset  scf:0 0 3 * * * *@Asia/Shanghai    2023-11-16 03:00:00 +08:00
                   every day at 03:00, Asia/Shanghai  2023-11-17 03:00:00 +08:00
                   每天 03:00(Asia/Shanghai)          2023-11-18 03:00:00 +08:00

    opsward.toml: 2 plugins, 2 policies, 0 errors, 0 warnings
    "#);
    assert_eq!(code, ExitCode::SUCCESS);
}

#[tokio::test]
async fn one_policy_is_shown_with_all_that_is_asked_for_and_all_that_is_granted() {
    let site = Site::new();
    let allow = "window = { from = \"01:00\", to = \"05:00\", zone = \"Asia/Shanghai\" }\n\
                 [[allow]]\naction = \"cvm:StopInstances\"\nresource = [{ tag = { env = \"lab\" } }]\n";
    site.write("plugins.d/nightly-reset.toml", format!("{NIGHTLY}{allow}"));
    let (text, code) = site.policy("nightly-reset", Output::Table).await;
    insta::assert_snapshot!(text, @r#"
    nightly-reset: dry-run, plugin nightly-reset.wasm, account lab
    guardrails: cool-down 20h, effects none, once-effects 10/hour

    ACTION                 GRANTED                       CLASS       REGIONS  RESOURCES                  WINDOW                     ASKED FOR
    cvm:ResetInstance      yes                           once        any      ins-1                      01:00-05:00 Asia/Shanghai  to reinstall the instance from its image, which erases its system disk
    cvm:DescribeInstances  comes with cvm:ResetInstance  read        any      ins-1                                                 to see when the reinstalled instance has settled
    cvm:StopInstances      not asked for                 convergent  any      { tag = { env = "lab" } }
    "#);
    assert_eq!(code, ExitCode::SUCCESS);

    let (text, _) = site.policy("nightly-reset", Output::Json).await;
    let shown: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let standing: Vec<_> =
        shown["grants"].as_array().expect("a list").iter().map(|row| &row["standing"]).collect();
    assert_eq!(standing, ["granted", "granted", "unused"]);
    assert_eq!(shown["grants"][0]["grant"]["window"], "01:00-05:00 Asia/Shanghai");
    assert_eq!(site.policy("nobody", Output::Table).await, (String::new(), ExitCode::from(66)));
    site.swap("plugins.d/nightly-reset.toml", "account", "acount");
    assert_eq!(site.policy("nightly-reset", Output::Table).await, (String::new(), ExitCode::FAILURE));
}

#[tokio::test]
async fn json_holds_the_same() {
    let site = Site::new();
    site.swap("plugins.d/nightly-reset.toml", "account", "acount");
    let (text, code) = site.check(Output::Json).await;
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["policies"][0]["may_call"][1]["action"], "ecs:CreateSnapshot");
    assert_eq!(report["findings"][0]["line"], 2);
    assert_eq!(report["findings"][0]["fix"], "did you mean `account`?");
    assert_eq!(code, ExitCode::FAILURE);
}

#[tokio::test]
async fn each_kind_of_bad_file_is_named_with_place_reason_and_remedy() {
    let site = Site::new();
    site.swap("plugins.d/snapshot-on-reboot.toml", "account = ", "acount = ");
    site.swap("plugins.d/nightly-reset.toml", "0 0 3 * * * *\", dialect = \"scf\"", "0 9 * * 1-5\"");
    site.write("plugins.d/never.toml", NIGHTLY.replace("0 0 3 * * * *", "0 0 0 30 2 * *"));
    site.write("plugins.d/open.toml", NIGHTLY.replace("resource = [\"ins-1\"]", ""));
    site.write("plugins.d/absent.toml", SNAPSHOT.replace("snapshot-on-reboot.wasm", "elsewhere.wasm"));
    site.write("plugins.d/garbage.wasm", "garbage");
    site.write("plugins.d/module.wasm", b"\0asm\x01\0\0\0");
    let (text, code) = site.check(Output::Table).await;
    insta::assert_snapshot!(text, @r#"
    PLUGIN                   VERSION  DIGEST        STATE
    garbage.wasm             -        795b6904e54f  refused, see below
    module.wasm              -        93a44bbb96c7  refused, see below
    nightly-reset.wasm       0.1.0    <digest>      good, used by no policy
    snapshot-on-reboot.wasm  0.1.0    <digest>      good, used by no policy

    error: the plugin is refused: it is not WebAssembly: a plugin is a component built for the `policy` world of `opsward:policy`
      --> plugins.d/garbage.wasm

    error: the plugin is refused: it is a core module, not a component: build it with the linker `wasm-component-ld`, or turn it into a component with `wasm-tools component new`
      --> plugins.d/module.wasm

    error: the policy is refused: its plugin `elsewhere.wasm` is not in the directory: copy it there, or correct `plugin`
      --> plugins.d/absent.toml

    error: `0 0 0 30 2 * *` can never fire: no day of any year from 1970 to 2099 matches it
      --> plugins.d/never.toml:3:22
       |
     3 | schedule = [{ cron = "0 0 0 30 2 * *", dialect = "scf", zone = "Asia/Shanghai" }]
       |                      ^^^^^^^^^^^^^^^^

    error: `1-5` in the day-of-week field is ambiguous: it means Monday-Friday in unix/scf/fc, Sunday-Thursday in quartz; add `dialect`, or use names such as MON-FRI
      --> plugins.d/nightly-reset.toml:3:22
       |
     3 | schedule = [{ cron = "0 9 * * 1-5", zone = "Asia/Shanghai" }]
       |                      ^^^^^^^^^^^^^

    error: `cvm:ResetInstance` is of class once (it must never be repeated on a guess), so it is granted for named resources only
      --> plugins.d/open.toml:6:10
       |
     6 | action = "cvm:ResetInstance"
       |          ^^^^^^^^^^^^^^^^^^^ add `resource = ["..."]` with the ids it may act on

    error: unknown key `acount`
      --> plugins.d/snapshot-on-reboot.toml:2:1
       |
     2 | acount = "prod"
       | ^^^^^^ did you mean `account`?

    opsward.toml: 4 plugins, 0 policies, 7 errors, 0 warnings
    "#);
    assert_eq!(code, ExitCode::FAILURE);
}

#[tokio::test]
async fn grants_and_what_the_plugin_asks_for_are_compared() {
    let site = Site::new();
    site.swap("plugins.d/snapshot-on-reboot.toml", "ecs:DescribeDisks", "ecs:DescribeDisk");
    let (text, code) = site.check(Output::Table).await;
    insta::assert_snapshot!(text, @r#"
    PLUGIN                   VERSION  DIGEST        STATE
    nightly-reset.wasm       0.1.0    <digest>      good, used by nightly-reset
    snapshot-on-reboot.wasm  0.1.0    <digest>      good, used by snapshot-on-reboot

    POLICY              MODE     ACCOUNT  ACTION                 GRANTED                       CLASS  REGIONS      RESOURCES
    nightly-reset       dry-run  lab      cvm:ResetInstance      yes                           once   any          ins-1
                                          cvm:DescribeInstances  comes with cvm:ResetInstance  read   any          ins-1
    snapshot-on-reboot  enforce  prod     ecs:CreateSnapshot     yes                           token  cn-hangzhou  any
                                          ecs:DescribeDisks      no                            -      -            -
                                          ecs:DescribeDisk       not asked for                 read   any          any

    POLICY         SCHEDULE                           FIRES NEXT
    nightly-reset  scf:0 0 3 * * * *@Asia/Shanghai    2023-11-16 03:00:00 +08:00
                   every day at 03:00, Asia/Shanghai  2023-11-17 03:00:00 +08:00
                   每天 03:00(Asia/Shanghai)          2023-11-18 03:00:00 +08:00

    warning: `ecs:DescribeDisk` is not in the catalog; it counts as class read
      --> plugins.d/snapshot-on-reboot.toml:7:10
       |
     7 | action = "ecs:DescribeDisk"
       |          ^^^^^^^^^^^^^^^^^^ did you mean `ecs:DescribeDisks`?

    warning: the plugin asks for `ecs:DescribeDisks`, which is not granted
      --> plugins.d/snapshot-on-reboot.toml
       = add `[[allow]]` with `action = "ecs:DescribeDisks"` if it should be

    warning: `ecs:DescribeDisk` is granted, but the plugin does not ask for it
      --> plugins.d/snapshot-on-reboot.toml
       = remove the entry

    opsward.toml: 2 plugins, 2 policies, 0 errors, 3 warnings
    "#);
    assert_eq!(code, ExitCode::SUCCESS);
}

#[tokio::test]
async fn a_granted_action_that_the_host_has_no_client_for_is_warned_of() {
    let site = Site::new();
    let granted =
        "action = \"mns:SendMessage\"\nresource = [\"q-1\"]\n[[allow]]\naction = \"ecs:DescribeDisks\"";
    site.swap("plugins.d/snapshot-on-reboot.toml", "action = \"ecs:DescribeDisks\"", granted);
    let (text, code) = site.check(Output::Table).await;
    let warning = "warning: `mns:SendMessage` is a REST call, and the host has no client for these yet";
    for expected in [warning, "plugins.d/snapshot-on-reboot.toml:7:10", "its calls will be refused"] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(code, ExitCode::SUCCESS);
}

#[tokio::test]
async fn a_bad_host_file_is_shown_alone_and_a_secret_in_it_never() {
    let site = Site::new();
    site.swap("opsward.toml", "secret-key = { file = \"key\" }", "secret-key = \"hunter2\"");
    let (text, code) = site.check(Output::Table).await;
    insta::assert_snapshot!(text, @r#"
    error: `secret-key` is written out: secrets by reference only
       --> opsward.toml:10:47
        |
     10 | credentials = { secret-id = { file = "key" }, secret-key = "*******" }
        |                                               ^^^^^^^^^^ write `{ env = "NAME" }` or `{ file = "path" }`

    opsward.toml: 0 plugins, 0 policies, 1 error, 0 warnings
    "#);
    assert_eq!(code, ExitCode::FAILURE);
    let (json, _) = site.check(Output::Json).await;
    assert!(!json.contains("hunter2"));
}

#[tokio::test]
async fn a_missing_secret_is_a_warning_and_a_missing_file_is_usage() {
    let site = Site::new();
    site.swap(
        "opsward.toml",
        "secret-key = { file = \"key\" }",
        "secret-key = { env = \"OPSWARD_TEST_NOT_SET\" }",
    );
    let (text, code) = site.check(Output::Table).await;
    assert!(
        text.contains("warning: accounts.lab: the key's secret is in the variable OPSWARD_TEST_NOT_SET"),
        "{text}"
    );
    assert_eq!(code, ExitCode::SUCCESS);
    let shared = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(site.path().join("key"), shared).expect("chmod");
    let (text, code) = site.check(Output::Table).await;
    assert!(
        text.contains("key, which others than its owner may read\n") && text.contains("`chmod 600` it"),
        "{text}"
    );
    assert_eq!(code, ExitCode::SUCCESS);
    std::fs::remove_file(site.path().join("opsward.toml")).expect("removed");
    assert_eq!(site.check(Output::Table).await, (String::new(), ExitCode::from(2)));
}

//! Sources that the host fetches from: where they resolve to, and what an operator sees of a bad one.

use super::*;

const PROD: &str = "[accounts.prod]\nprovider = \"alibaba\"\nregion = \"cn-hangzhou\"\n\
    credentials = { access-key-id = { env = \"A\" }, access-key-secret = { env = \"B\" } }\n";
const LAB: &str = "[accounts.lab]\nprovider = \"tencent\"\n\
    credentials = { secret-id = { env = \"C\" }, secret-key = { env = \"D\" } }\n";

fn resolved(lines: &str) -> Result<Comes, Vec<String>> {
    let text = format!("{PROD}{LAB}[sources.a]\n{lines}\n");
    let host = load_host("opsward.toml", &text).map_err(|errors| brief(&errors))?;
    Ok(host.sources.into_values().next().expect("a source").comes)
}

fn queue_at(queue: &str) -> String {
    match resolved(&format!("kind = \"alibaba-mns\"\naccount = \"prod\"\nqueue = {queue}")) {
        Ok(Comes::Queue(queue)) => format!("{} of {} at {}", queue.name, queue.account, queue.endpoint),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_queue_is_where_the_source_says_or_its_account_or_its_owner() {
    let owned = "{ name = \"q\", owner = \"12345\" }";
    assert_eq!(queue_at(owned), "q of prod at https://12345.mns.cn-hangzhou.aliyuncs.com");
    let elsewhere = "{ name = \"q\", owner = \"12345\", region = \"eu-west-1\" }";
    assert_eq!(queue_at(elsewhere), "q of prod at https://12345.mns.eu-west-1.aliyuncs.com");
    let named = "{ name = \"q\", endpoint = \"https://12345.mns.cn-hangzhou-internal.aliyuncs.com\" }";
    assert_eq!(queue_at(named), "q of prod at https://12345.mns.cn-hangzhou-internal.aliyuncs.com");
    let text = PROD.replace("region = \"cn-hangzhou\"", "endpoint = \"http://127.0.0.1:9\"");
    let source = "[sources.a]\nkind = \"alibaba-mns\"\naccount = \"prod\"\nqueue = { name = \"q\" }";
    let host = load_host("opsward.toml", &format!("{text}{source}")).expect("good");
    let Comes::Queue(queue) = &host.sources[&"a".parse().expect("a name")].comes else { panic!("a queue") };
    assert_eq!(queue.endpoint.to_string(), "http://127.0.0.1:9");
}

#[test]
fn findings_about_queues() {
    let queue = |lines: &str| format!("kind = \"alibaba-mns\"\n{lines}");
    let cases = [
        (
            queue("account = \"prod\""),
            "8:10 missing key `queue`; add `queue = { name = \"cms-events\", owner = \"1234567890123456\" }`",
        ),
        (
            queue("queue = { name = \"q\", owner = \"1\" }"),
            "8:10 missing key `account`; add `account = \"...\"`, one of `[accounts]`: its credential fetches the events",
        ),
        (
            queue("account = \"prod\"\nqueue = { name = \"q\" }"),
            "11:1 missing key `owner`; add `owner`, the number of the account that has the queue, or `endpoint` as the console shows it",
        ),
        (
            queue("account = \"prod\"\nqueue = { name = \"q/../x\", owner = \"1\" }"),
            "11:18 `q/../x` is not the name of a queue; write it as the console shows it: letters, digits and `-`",
        ),
        (
            queue("account = \"prod\"\nqueue = { name = \"q\", owner = \"me\" }"),
            "11:31 `me` is not the number of an account: it has up to 20 digits",
        ),
        (
            queue("account = \"prod\"\nqueue = { name = \"q\", owner = \"1\", region = \"x\" }"),
            "11:45 `x` is not a region: expected the form `cn-hangzhou`",
        ),
        (
            queue("account = \"lab\"\nqueue = { name = \"q\", owner = \"1\" }"),
            "10:11 `lab` is an account of another cloud than this kind of source; name an account with `provider = \"alibaba\"`",
        ),
        (
            "kind = \"cloudevents\"\ntoken = { env = \"T\" }\nqueue = { name = \"q\" }".to_owned(),
            "11:1 `queue` is for another kind of source than `cloudevents`; leave it out",
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(resolved(&lines).expect_err(expected), [expected]);
    }
}

#[test]
fn a_log_store_is_where_the_source_says_or_its_project_is() {
    let store = |table: &str| {
        resolved(&format!("kind = \"alibaba-sls\"\naccount = \"prod\"\nlog-store = {table}")).map(|comes| {
            match comes {
                Comes::LogStore(LogStoreSettings { account, name, endpoint, query, since }) => {
                    format!("{name} of {account} at {endpoint}, {query:?}, {since:?}")
                }
                other => panic!("{other:?}"),
            }
        })
    };
    for (table, expected) in [
        (
            "{ project = \"my-project\", name = \"events\" }",
            "events of prod at https://my-project.cn-hangzhou.log.aliyuncs.com, None, 0ns",
        ),
        (
            "{ name = \"events\", endpoint = \"https://p.cn-hangzhou-intranet.log.aliyuncs.com\", query = \"*\", since = \"2h\" }",
            "events of prod at https://p.cn-hangzhou-intranet.log.aliyuncs.com, Some(\"*\"), 7200s",
        ),
    ] {
        assert_eq!(store(table).as_deref(), Ok(expected));
    }
    for (table, expected) in [
        ("{ name = \"events\" }", "11:1 missing key `project`; add `project`, which has the log store"),
        (
            "{ name = \"a/b\", project = \"my-project\" }",
            "11:22 `a/b` is not the name of a log store; write it as the console shows it: letters, digits, `-` and `_`",
        ),
        (
            "{ name = \"a\", project = \"p\" }",
            "11:37 `p` is not a log project: it has 3 to 63 lower-case letters, digits and `-`",
        ),
        (
            "{ name = \"a\", project = \"my-project\", since = \"800h\" }",
            "11:59 is too long ago; write at most `744h`",
        ),
    ] {
        assert_eq!(store(table), Err(vec![expected.to_owned()]));
    }
}

#[test]
fn a_source_catches_up_where_there_is_a_history_and_an_account_to_ask_with() {
    let posted = "token = { env = \"T\" }\ncatch-up = [\"cn-hangzhou\"]";
    let text = format!("{PROD}[sources.a]\nkind = \"alibaba-cloudmonitor\"\naccount = \"prod\"\n{posted}\n");
    let host = load_host("opsward.toml", &text).expect("good");
    let catch_up = host.sources[&"a".parse().expect("a name")].catch_up.clone().expect("it opts in");
    assert_eq!(
        (catch_up.account.as_str(), catch_up.regions.as_slice()),
        ("prod", &["cn-hangzhou".to_owned()][..])
    );
    for (lines, expected) in [
        (
            format!("kind = \"cloudevents\"\naccount = \"prod\"\n{posted}"),
            "12:1 there is no history for a source of kind `cloudevents`; leave it out; it is for `alibaba-cloudmonitor`, \
             `alibaba-mns`, `alibaba-sls`, `tencent-monitor`, `tencent-eventbridge`",
        ),
        (
            format!(
                "kind = \"alibaba-cloudmonitor\"\naccount = \"prod\"\n{}",
                posted.replace("cn-hangzhou", "here")
            ),
            "12:12 `here` is not a region; write it as in `cn-hangzhou`",
        ),
        (
            format!("kind = \"alibaba-cloudmonitor\"\n{posted}"),
            "8:10 missing key `account`; add `account = \"...\"`, one of `[accounts]`: its credential fetches the events",
        ),
    ] {
        assert_eq!(resolved(&lines).expect_err(expected), [expected]);
    }
}

//! What proves the senders of a source: what it resolves to, and what an operator sees of a bad one.

use super::*;
use crate::sender::{Algorithm, Encoding, Proof, Trust};

const HEAD: &str = "[accounts.a]\nprovider = \"alibaba\"\nregion = \"cn-beijing\"\ncredentials = { access-key-id = { env = \"AK\" }, access-key-secret = { env = \"SK\" } }\n";

fn resolved(lines: &str) -> Result<PostedSettings, String> {
    let text = format!("{HEAD}[sources.s]\nkind = \"cloudevents\"\ntoken = {{ env = \"T\" }}\n{lines}\n");
    let host = load_host("opsward.toml", &text).map_err(|errors| shown(&errors))?;
    match &host.sources[&"s".parse().expect("a name")].comes {
        Comes::Posted(posted) => Ok(posted.clone()),
        other => panic!("comes otherwise: {other:?}"),
    }
}

#[test]
fn a_source_is_bare_unless_it_says_what_proves_its_senders() {
    let bare = resolved("").expect("good");
    assert!(matches!(bare.proof, Proof::None) && bare.addresses.is_empty());
    assert_eq!((bare.proof.trust(), bare.rate), (Trust::Hint, defaults::SOURCE_RATE));
    assert_eq!(bare.secrets(), [("the token", &SecretRef::Env("T".into()))]);

    let webhook = resolved(
        "signature = { scheme = \"standard-webhooks\", secret = { env = \"A\" }, old-secret = { file = \"b\" } }\naddresses = [\"47.74.206.0/26\", \"::1\"]\nrate = \"5/s\"",
    );
    let webhook = webhook.expect("good");
    assert_eq!((webhook.proof.trust(), webhook.rate, webhook.secrets().len()), (Trust::Proved, 5, 3));
    assert_eq!(
        webhook.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["47.74.206.0/26", "::1/128"]
    );

    let hmac = resolved(
        "signature = { scheme = \"hmac\", secret = { env = \"A\" }, header = \"X-Hub-Signature\", algorithm = \"sha1\", encoding = \"base64\", prefix = \"sha1=\" }",
    );
    let Proof::Hmac(header, secrets) = hmac.expect("good").proof else { panic!("another scheme") };
    assert_eq!(
        (header.name.as_str(), header.prefix.as_str(), secrets.len()),
        ("x-hub-signature", "sha1=", 1)
    );
    assert_eq!((header.algorithm, header.encoding), (Algorithm::Sha1, Encoding::Base64));

    let basic = resolved("basic-auth = { user = \"cm\", secret = { env = \"A\" } }").expect("good");
    assert_eq!((basic.proof.trust(), basic.secrets().len()), (Trust::Hint, 2));
}

#[test]
fn a_source_has_proved_events_and_hints_where_it_is_signed_or_catches_up() {
    let hmac = "signature = { scheme = \"hmac\", secret = { env = \"A\" }, header = \"x-s\" }";
    let catch_up = "account = \"a\"\ncatch-up = [\"cn-hangzhou\"]";
    let queue = "account = \"a\"\nqueue = { name = \"q\", owner = \"1234567890123456\" }";
    for (kind, lines, trust, is_mixed) in [
        ("cloudevents", "token = { env = \"T\" }".to_owned(), Trust::Hint, false),
        ("cloudevents", format!("token = {{ env = \"T\" }}\n{hmac}"), Trust::Proved, true),
        ("alibaba-cloudmonitor", format!("token = {{ env = \"T\" }}\n{catch_up}"), Trust::Hint, true),
        ("alibaba-mns", queue.to_owned(), Trust::Proved, false),
    ] {
        let text = format!("{HEAD}[sources.s]\nkind = \"{kind}\"\n{lines}\n");
        let host = load_host("opsward.toml", &text).map_err(|errors| shown(&errors)).expect("good");
        let source = &host.sources[&"s".parse().expect("a name")];
        assert_eq!((source.trust(), source.is_mixed()), (trust, is_mixed), "{lines}");
    }
}

#[test]
fn the_bus_of_a_source_is_that_of_its_own_region_or_its_accounts() {
    let of = |lines: &str| match resolved(lines).expect("good").proof {
        Proof::EventBridge(bus) => bus,
        other => panic!("another scheme: {other:?}"),
    };
    let bus =
        of("account = \"a\"\nsignature = { scheme = \"eventbridge\", url = \"https://ops.example.com/\" }");
    assert_eq!((bus.url.as_str(), bus.region.as_str()), ("https://ops.example.com", "cn-beijing"));
    let bus = of(
        "account = \"a\"\nsignature = { scheme = \"eventbridge\", url = \"https://ops.example.com/x\", region = \"cn-hangzhou\", token = { env = \"B\" }, certificates = \"http://127.0.0.1:9\" }",
    );
    assert_eq!((bus.url.as_str(), bus.region.as_str()), ("https://ops.example.com/x", "cn-hangzhou"));
    assert!(bus.token.is_some() && bus.certificates.is_some());
}

#[test]
fn a_bad_one_is_shown_at_its_key() {
    let cases = [
        ("signature = { scheme = \"standard\" }", "unknown signature scheme `standard`"),
        ("signature = { scheme = \"standard-webhooks\" }", "missing key `secret`"),
        (
            "signature = { scheme = \"standard-webhooks\", secret = { env = \"A\" }, header = \"x\" }",
            "`header` has no use with `standard-webhooks`",
        ),
        ("signature = { scheme = \"hmac\", secret = { env = \"A\" } }", "missing key `header`"),
        (
            "signature = { scheme = \"hmac\", secret = { env = \"A\" }, header = \"a b\" }",
            "not the name of a header",
        ),
        (
            "signature = { scheme = \"hmac\", secret = { env = \"A\" }, header = \"a\", algorithm = \"md5\" }",
            "write `sha256` or `sha1`",
        ),
        (
            "signature = { scheme = \"hmac\", secret = { env = \"A\" }, header = \"a\", encoding = \"utf8\" }",
            "write `hex` or `base64`",
        ),
        ("signature = { scheme = \"eventbridge\", region = \"cn-hangzhou\" }", "missing key `url`"),
        ("signature = { scheme = \"eventbridge\", url = \"https://a.example\" }", "missing key `region`"),
        (
            "signature = { scheme = \"eventbridge\", url = \"ops.example.com\", region = \"cn-hangzhou\" }",
            "not the beginning of a webhook's URL",
        ),
        (
            "signature = { scheme = \"eventbridge\", url = \"https://a.example/hooks/s/t\", region = \"cn-hangzhou\" }",
            "write what stands before `/hooks/`",
        ),
        (
            "signature = { scheme = \"eventbridge\", url = \"https://a.example\", region = \"cn-hangzhou\", certificates = \"http://10.0.0.1\" }",
            "which is allowed for loopback hosts only",
        ),
        ("basic-auth = { user = \"a:b\", secret = { env = \"A\" } }", "not a user of BasicAuth"),
        (
            "basic-auth = { user = \"a\", secret = { env = \"A\" } }\nsignature = { scheme = \"standard-webhooks\", secret = { env = \"A\" } }",
            "a source has `signature` or `basic-auth`",
        ),
        ("addresses = []", "a list of 1 to 256 ranges"),
        ("addresses = [\"::1\", \"47.74.206.1/26\"]", "write `47.74.206.0/26`"),
        ("rate = \"100\"", "`100` is not a rate"),
        ("rate = \"0/s\"", "`0/s` is not a rate"),
        ("rate = \"100/minute\"", "from `1/s` to `100000/s`"),
    ];
    for (lines, expected) in cases {
        let problem = resolved(lines).expect_err(expected);
        assert!(problem.contains(expected), "{problem}");
    }
    for (lines, expected) in [
        ("behind-proxy = [\"localhost\"]", "`localhost` is no range of addresses"),
        ("connections-per-address = 0", "0 lets nobody in"),
    ] {
        let problem = shown(&load_host("opsward.toml", &format!("[server]\n{lines}\n")).expect_err(expected));
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn a_secret_of_a_source_that_is_written_out_is_refused_and_never_shown() {
    for lines in [
        "signature = { scheme = \"standard-webhooks\", secret = \"whsec_hunter2\" }",
        "signature = { scheme = \"standard-webhooks\", secret = { env = \"whsec-hunter2\" } }",
        "signature = { scheme = \"hmac\", header = \"a\", secret = { env = \"A\" }, old-secret = [\"hunter2\"] }",
        "signature = { scheme = \"eventbridge\", token = \"hunter2\" }",
        "signature = \"hunter2\"",
        "basic-auth = { user = \"cm\", secret = \"hunter2\" }",
        "basic-auth = \"cm:hunter2\"",
    ] {
        let problem = resolved(lines).expect_err(lines);
        assert!(!problem.contains("hunter2"), "{problem}");
        assert!(
            problem.contains("secrets by reference only") || problem.contains("does not name"),
            "{problem}"
        );
    }
}

//! Answers that want the client elsewhere, or want its memory or its time; and calls whose words would be another host.

use super::*;

/// The verdict in a word, and its code.
fn told(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Answered(Ok(_)) => ("done", ""),
        Verdict::Answered(Err(error)) => ("refused", error.code.as_str()),
        Verdict::NotExecuted { error, .. } => ("not-executed", error.code.as_str()),
        Verdict::Unclear { error } => ("unclear", error.code.as_str()),
    }
}

/// What the client makes of `head` and of `body`, written again and again until the client hangs up or takes its answer.
async fn answered_with(
    head: String,
    body: Vec<u8>,
    times: usize,
    timeout: Duration,
) -> (&'static str, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().expect("address")));
    let serving = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        read_request(&mut connection).await;
        let mut is_read = connection.write_all(head.as_bytes()).await.is_ok();
        for _ in 0..times {
            is_read = is_read && connection.write_all(&body).await.is_ok();
            // So that one who is never done gives others their turn.
            tokio::task::yield_now().await;
        }
        // Until the client has read all and closes.
        drop(connection.read_buf(&mut Vec::new()).await);
    });
    let (client, account) = client(Some(endpoint.expect("loopback")), Scheme::AlibabaAcs3);
    let verdict = client.send(Caller::of(&account), &CALL, Some(timeout)).await;
    serving.abort();
    let (word, code) = told(&verdict);
    (word, code.to_owned())
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let canary = Server::start(reply("200 OK", "", "{}")).await;
    let elsewhere =
        [canary.endpoint.to_string(), "http://169.254.169.254/latest/".into(), "//100.100.100.200/".into()];
    for status in ["300", "301", "302", "303", "304", "305", "307", "308"] {
        for to in &elsewhere {
            for headers in [
                format!("location: {to}\r\n"),
                format!("refresh: 0;url={to}\r\n"),
                format!("location: {to}\r\nretry-after: 0\r\n"),
            ] {
                let server = Server::start(reply(&format!("{status} Away"), &headers, "")).await;
                let (client, account) = client(Some(server.endpoint.clone()), Scheme::AlibabaAcs3);
                let verdict = client.send(Caller::of(&account), &CALL, None).await;
                assert_eq!(told(&verdict), ("unclear", "opsward.unreadable-answer"), "{status} {headers}");
                assert_eq!(server.requests().len(), 1, "{status} {headers}");
            }
        }
    }
    assert!(canary.requests().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn an_answer_takes_no_more_memory_and_time_than_its_bounds() {
    const PATIENCE: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(300);
    const ENDLESS: usize = 1 << 20;
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{ok}transfer-encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x1_0000], b"\r\n"].concat();
    let many = (0..ANSWERED_HEADERS).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let huge = format!("content-length: {}\r\n\r\n", 1_u64 << 60);
    let deep = "[".repeat(1 << 20);
    let nested = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    let zeros = deflated_zeros();
    let whole = |body: &str| format!("{ok}content-length: {}\r\n\r\n{body}", body.len());
    for (what, head, body, times, patience, expected) in [
        ("a body without end", chunked.clone(), chunk.clone(), ENDLESS, PATIENCE, "opsward.answer-too-large"),
        (
            "a length beyond all",
            format!("{ok}{huge}"),
            vec![b' '; 0x1_0000],
            ENDLESS,
            PATIENCE,
            "opsward.answer-too-large",
        ),
        (
            "no length and no end",
            format!("{ok}\r\n"),
            vec![b' '; 0x1_0000],
            ENDLESS,
            PATIENCE,
            "opsward.answer-too-large",
        ),
        ("a body that drips", chunked.clone(), b"1\r\n \r\n".to_vec(), 3, SHORT, "opsward.timeout"),
        ("a head that drips", ok.to_owned(), b"x: 1\r\n".to_vec(), 3, SHORT, "opsward.timeout"),
        (
            "early answers without end",
            String::new(),
            b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
            1000,
            SHORT,
            "opsward.timeout",
        ),
        ("headers without end", ok.to_owned(), vec![b'x'; 0x1_0000], ENDLESS, PATIENCE, "opsward.no-answer"),
        (
            "too many headers",
            format!("{ok}{many}content-length: 2\r\n\r\n{{}}"),
            Vec::new(),
            0,
            PATIENCE,
            "opsward.no-answer",
        ),
        ("a list without end within", whole(&deep), Vec::new(), 0, PATIENCE, "opsward.unreadable-answer"),
        (
            "objects a hundred thousand deep",
            whole(&nested),
            Vec::new(),
            0,
            PATIENCE,
            "opsward.unreadable-answer",
        ),
        (
            "what becomes large when unpacked",
            format!("{ok}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", zeros.len()),
            zeros,
            1,
            PATIENCE,
            "opsward.unreadable-answer",
        ),
    ] {
        let (word, code) = answered_with(head, body, times, patience).await;
        assert_eq!((word, code.as_str()), ("unclear", expected), "{what}");
    }
}

/// More header fields than are taken.
const ANSWERED_HEADERS: usize = 65;

/// The beginning of a gzip file, and what would be some kilobytes of one byte, again and again.
fn deflated_zeros() -> Vec<u8> {
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let block = [0xec, 0xc1, 0x01, 0x01, 0x00, 0x00, 0x00, 0x80, 0x90, 0xfe, 0xaf, 0xee, 0x08, 0x0a];
    [head.as_slice(), &block.repeat(1000)].concat()
}

#[tokio::test]
async fn no_word_of_a_call_is_another_host() {
    let canary = Server::start(reply("200 OK", "", "{}")).await;
    let at = canary.endpoint.authority().to_owned();
    let long = "a".repeat(300);
    let words = [
        format!("{at}/"),
        format!("@{at}/"),
        format!("x@{at}/#"),
        "cn-hangzhou.evil.example#".to_owned(),
        format!("cn-hangzhou@{at}"),
        format!("cn-hangzhou/../@{at}"),
        format!("http://{at}/"),
        format!("//{at}/"),
        format!("cn-hangzhou\\@{at}"),
        format!("cn-hangzhou\r\nHost: {at}"),
        format!("cn-hangzhou%00.{at}"),
        format!("cn-hangzhou?{at}"),
        "CN-HANGZHOU".into(),
        "cn-hangzhou.".into(),
        ".cn-hangzhou".into(),
        "cn_hangzhou".into(),
        "cn-hangzhou ".into(),
        "\u{ff43}n-hangzhou".into(),
        "cn\u{3002}hangzhou".into(),
        "cn-h\u{430}ngzhou".into(),
        "169.254.169.254".into(),
        "0xa9fea9fe".into(),
        long,
    ];
    // With an endpoint, and with the table's, which no lookup must be made for.
    let server = Server::start(reply("200 OK", "", "{}")).await;
    for endpoint in [Some(server.endpoint.clone()), None] {
        let (client, account) = client(endpoint, Scheme::AlibabaAcs3);
        for word in &words {
            for call in
                [OutboundCall { region: word, ..CALL }, OutboundCall { region: word, service: "sts", ..CALL }]
            {
                let verdict = client.send(Caller::of(&account), &call, None).await;
                let expected = ["opsward.invalid-region", "opsward.no-endpoint"];
                assert!(
                    matches!(told(&verdict), ("refused", code) if expected.contains(&code)),
                    "{word}: {verdict:?}"
                );
            }
        }
    }
    let (to_table, account) = client(None, Scheme::AlibabaAcs3);
    for word in &words {
        let verdict =
            to_table.send(Caller::of(&account), &OutboundCall { service: word, ..CALL }, None).await;
        assert_eq!(told(&verdict), ("refused", "opsward.no-endpoint"), "{word}");
    }
    let (to_server, account) = client(Some(server.endpoint.clone()), Scheme::AlibabaAcs3);
    for word in &words {
        let params = serde_json::json!({ word.as_str(): word }).to_string();
        for call in [
            OutboundCall { service: word, ..CALL },
            OutboundCall { action: word, ..CALL },
            OutboundCall { version: word, ..CALL },
            OutboundCall { params: &params, ..CALL },
            OutboundCall { token: Some(("ClientToken", word)), ..CALL },
        ] {
            to_server.send(Caller::of(&account), &call, None).await;
        }
    }
    assert!(server.requests().len() >= 2 * words.len(), "what is no host is sent as what it is");
    assert!(canary.requests().is_empty(), "a word of a call became a host");
}

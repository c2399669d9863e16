//! Who may ask what: each route by each scope, tokens that are none, hosts and web pages, the socket, and a flood.

use super::*;
use opsward_core::access::{Token, token_text};
use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};

/// Every route but those that everybody may ask, and what it needs.
const ROUTES: [(&str, &str, Scope); 13] = [
    ("GET", "/metrics", Scope::Read),
    ("GET", "/api/v1/policies", Scope::Read),
    ("GET", "/api/v1/events", Scope::Read),
    ("GET", "/api/v1/runs", Scope::Read),
    ("GET", "/api/v1/runs/3f9a", Scope::Read),
    ("GET", "/api/v1/schedules", Scope::Read),
    ("GET", "/api/v1/halts", Scope::Read),
    ("GET", "/api/v1/approvals", Scope::Read),
    ("GET", "/api/v1/approvals/ffff", Scope::Read),
    ("POST", "/api/v1/approvals/ffff/decision", Scope::Approve),
    ("POST", "/api/v1/runs/ffff/decision", Scope::Operate),
    ("POST", "/api/v1/halt", Scope::Operate),
    ("POST", "/api/v1/resume", Scope::Operate),
];

const HOST: &str = "host: 127.0.0.1:7071\r\n";

impl Desk {
    /// Puts a token into the file, as the command does, and returns its text.
    fn token(&self, name: &str, scopes: &[Scope], expires_at: Option<Timestamp>) -> String {
        let text = token_text(Digest::of(name.as_bytes()).as_bytes()).expose().to_owned();
        let scopes: BTreeSet<Scope> = scopes.iter().copied().collect();
        let (name, sha256) = (name.parse().expect("a name"), Digest::of(text.as_bytes()));
        let token = Token { name, sha256, scopes, made_at: NOW, expires_at };
        tokens::change(&self.tokens(), |tokens| tokens.add(token)).expect("added");
        text
    }

    fn tokens(&self) -> PathBuf {
        tokens::path_of(&self.dir.path().join("opsward.db"))
    }

    /// Asks at the address with this token.
    async fn with_token(&self, method: &str, path: &str, token: &str) -> (u16, String) {
        let headers = format!("{HOST}authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
        let (status, _, body) = self.send_tcp(method, path, &headers, "{}").await;
        (status, body)
    }
}

#[tokio::test]
async fn each_route_is_open_to_its_scope_and_to_no_other() {
    let desk = Desk::open().await;
    let alone = Scope::ALL.map(|scope| (scope, desk.token(scope.as_str(), &[scope], None)));
    for (method, path, needed) in ROUTES {
        let (status, head, body) = desk.send_tcp(method, path, HOST, "").await;
        assert_eq!(status, 401, "{method} {path} without a token: {body}");
        assert!(head.contains("www-authenticate: bearer"), "{head}");
        for (scope, token) in &alone {
            let (status, body) = desk.with_token(method, path, token).await;
            match *scope == needed {
                true => assert!(
                    ![401, 403, 429].contains(&status),
                    "{method} {path} for {scope}: {status} {body}"
                ),
                false => {
                    assert_eq!(status, 403, "{method} {path} for {scope}: {body}");
                    let expected = format!("`token:{scope}` may {scope}; this needs `{needed}`");
                    assert!(body.contains(&expected), "{body}");
                }
            }
        }
        // Root's, or the service's own, which is whom this test runs as.
        let (status, body) = desk.send(method, path, "content-type: application/json\r\n", "{}").await;
        assert!(![401, 403, 429].contains(&status), "{method} {path} at the socket: {status} {body}");
    }
    for path in ["/livez", "/readyz"] {
        assert_ne!(desk.send_tcp("GET", path, HOST, "").await.0, 401, "{path}");
    }
    assert_eq!(desk.send_tcp("GET", "/api/v1/nothing", HOST, "").await.0, 404);
}

#[tokio::test]
async fn forged_expired_and_revoked_tokens_are_turned_away() {
    let desk = Desk::open().await;
    let runs = "/api/v1/runs";
    let good = desk.token("good", &[Scope::Read], Some(Timestamp::from_ms(NOW.ms() + 1000)));
    assert_eq!(desk.with_token("GET", runs, &good).await.0, 200);
    let (status, body) = desk.with_token("GET", runs, &good[..good.len() - 1]).await;
    assert!(status == 401 && body.contains("no such token"), "{body}");
    let hash = Digest::of(good.as_bytes()).to_string();
    assert_eq!(desk.with_token("GET", runs, &hash).await.0, 401, "the hash is no token");
    for headers in [
        format!("authorization: {good}\r\n"),
        format!("authorization: Basic {good}\r\n"),
        format!("authorization: Bearer {good}\r\nauthorization: Bearer {good}\r\n"),
        format!("x-authorization: Bearer {good}\r\n"),
        format!("cookie: authorization={good}\r\n"),
    ] {
        assert_eq!(desk.send_tcp("GET", runs, &format!("{HOST}{headers}"), "").await.0, 401, "{headers}");
    }
    for path in [format!("{runs}?token={good}"), format!("{runs}?access_token={good}")] {
        assert_eq!(desk.send_tcp("GET", &path, HOST, "").await.0, 401, "no token is taken from a URL");
    }

    desk.clock.set(NOW + std::time::Duration::from_secs(1));
    let (status, body) = desk.with_token("GET", runs, &good).await;
    assert!(status == 401 && body.contains("the token has expired"), "{body}");
    let other = desk.token("other", &[Scope::Read], None);
    assert_eq!(desk.with_token("GET", runs, &other).await.0, 200);
    let name = "other".parse().expect("a name");
    tokens::change(&desk.tokens(), |tokens| tokens.revoke(&name)).expect("revoked");
    assert_eq!(desk.with_token("GET", runs, &other).await.0, 401, "at once");
}

#[tokio::test]
async fn no_token_is_good_while_others_could_have_put_it_there() {
    let desk = Desk::open().await;
    let good = desk.token("good", &[Scope::Read], None);
    let file = desk.tokens();
    let set_mode =
        |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
    assert_eq!(std::fs::metadata(&file).expect("there").mode() & 0o777, 0o600);
    for (mode, status) in [(0o600, 200), (0o620, 401), (0o644, 401), (0o600, 200)] {
        set_mode(mode);
        assert_eq!(desk.with_token("GET", "/api/v1/runs", &good).await.0, status, "{mode:o}");
    }
    std::fs::write(&file, "[[token]]\nname = 'a'\n").expect("written");
    assert_eq!(desk.with_token("GET", "/api/v1/runs", &good).await.0, 401);
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(desk.with_token("GET", "/api/v1/runs", &good).await.0, 401);
}

#[tokio::test]
async fn what_a_browser_sends_for_another_page_is_refused() {
    let listen = Some("127.0.0.1:0".parse().expect("an address"));
    let hosts = vec!["opsward.example.com".to_owned()];
    let desk =
        Desk::with(AdminSettings { listen, hosts, open_metrics: true, ..AdminSettings::default() }).await;
    let good = desk.token("good", &[Scope::Read], None);
    let table = [
        ("host: 127.0.0.1:7071\r\n", 200),
        ("host: localhost\r\n", 200),
        ("host: opsward.example.com\r\n", 200),
        ("host: evil.example:7071\r\n", 421),
        ("host: 127.0.0.1.evil.example\r\n", 421),
        ("host: 127.0.0.1\r\nhost: evil.example\r\n", 421),
        ("", 421),
        ("host: 127.0.0.1\r\norigin: http://127.0.0.1:7071\r\n", 403),
        ("host: 127.0.0.1\r\norigin: null\r\n", 403),
    ];
    for path in ["/api/v1/runs", "/metrics", "/livez"] {
        for (headers, status) in table {
            let headers = format!("{headers}authorization: Bearer {good}\r\n");
            let (found, head, body) = desk.send_tcp("GET", path, &headers, "").await;
            // HTTP itself refuses a request without a host or with two, before it comes this far.
            let refused_sooner = status == 421 && found == 400;
            assert!(found == status || refused_sooner, "{path} {headers}: {found} {body}");
            assert!(!head.contains("access-control"), "{head}");
        }
    }
    let absolute = desk.send_tcp("GET", "http://evil.example/livez", HOST, "").await;
    assert_eq!(absolute.0, 421);
    let preflight = format!("{HOST}origin: http://evil.example\r\naccess-control-request-method: POST\r\n");
    let (status, head, _) = desk.send_tcp("OPTIONS", "/api/v1/halt", &preflight, "").await;
    assert!(status == 403 && !head.contains("access-control"), "{head}");
    assert_eq!(desk.send("GET", "/api/v1/runs", "origin: http://admin\r\n", "").await.0, 403);
    assert_eq!(desk.send_tcp("GET", "/metrics", HOST, "").await.0, 200, "open, as configured");
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_is_cut_short_and_locks_nobody_out() {
    let desk = Desk::open().await;
    let good = desk.token("good", &[Scope::Read], None);
    let mut statuses = Vec::new();
    for n in 0..30 {
        statuses.push(desk.with_token("GET", "/api/v1/runs", &format!("opsward_{n}")).await.0);
    }
    assert_eq!(statuses, [vec![401; 10], vec![429; 20]].concat());
    let (_, head, _) =
        desk.send_tcp("GET", "/api/v1/runs", &format!("{HOST}authorization: Bearer x\r\n"), "").await;
    assert!(head.contains("retry-after: 60"), "{head}");
    assert_eq!(desk.with_token("GET", "/api/v1/runs", &good).await.0, 200, "who has a token is let in");
    assert_eq!(desk.ask("GET", "/api/v1/runs").await.0, 200, "and so is the socket");
    desk.clock.set(NOW + std::time::Duration::from_secs(60));
    assert_eq!(
        desk.with_token("GET", "/api/v1/runs", "opsward_x").await.0,
        401,
        "a minute later it is forgotten"
    );
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_takes_the_place_of_nothing_else() {
    let desk = Desk::open().await;
    let socket = std::fs::symlink_metadata(&desk.socket).expect("there");
    assert_eq!((socket.mode() & 0o777, socket.file_type().is_socket()), (0o600, true));
    let (base, store) = (desk.dir.path(), desk.dir.path().join("opsward.db"));
    let problem = async |settings: &AdminSettings| match Listeners::bind(settings, base, &store).await {
        Ok(_) => String::new(),
        Err(problem) => problem.to_string(),
    };
    let said = problem(&AdminSettings::default()).await;
    assert!(said.contains("another process listens at"), "{said}");
    let named = |name: &str| AdminSettings { socket: Some(name.into()), ..AdminSettings::default() };
    let said = problem(&named("opsward.db")).await;
    assert!(said.contains("is there and no socket"), "{said}");
    assert!(store.is_file());
    let said = problem(&named(&"x".repeat(120))).await;
    assert!(said.contains("no longer than 107 bytes"), "{said}");
    // What a host leaves that was killed.
    drop(std::os::unix::net::UnixListener::bind(base.join("old.sock")).expect("bound"));
    assert_eq!(problem(&named("old.sock")).await, "");
}

#[tokio::test]
async fn what_is_recorded_names_the_caller_whatever_they_say() {
    let desk = Desk::open().await;
    let bot = desk.token("bot", &[Scope::Operate, Scope::Read], None);
    let halt = async |policy: &str, by: &str| {
        let body = format!(r#"{{"policy": "{policy}", "why": "test"{by}}}"#);
        let headers = format!("{HOST}authorization: Bearer {bot}\r\ncontent-type: application/json\r\n");
        desk.send_tcp("POST", "/api/v1/halt", &headers, &body).await
    };
    assert_eq!(halt("nobody", "").await.0, 404);
    let all = r#"{"why": "test", "by": "root"}"#;
    let headers = format!("{HOST}authorization: Bearer {bot}\r\ncontent-type: application/json\r\n");
    let (status, _, body) = desk.send_tcp("POST", "/api/v1/halt", &headers, all).await;
    assert!(status == 200 && body.contains(r#""by":"token:bot for root""#), "{body}");
    let (_, halts) = desk.json("/api/v1/halts").await;
    assert_eq!(halts["halts"][0]["by"], "token:bot for root");
    let retry = r#"{"decision": "retry", "by": "alice", "epoch": 1}"#;
    let path = "/api/v1/runs/3f9a00000000000000000000/decision";
    assert_eq!(desk.send_tcp("POST", path, &headers, retry).await.0, 200);
    let (_, run) = desk.json("/api/v1/runs/3f9a").await;
    assert!(run["ledger"].to_string().contains("token:bot for alice"), "{run}");
}

#[tokio::test]
async fn who_asks_without_end_is_cut_off_and_the_socket_still_answers() {
    let desk = Desk::open().await;
    // More than there is room for; each holds its place for the ten seconds that the head of a request may take.
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut connection = TcpStream::connect(desk.address).await.expect("connected");
        connection.write_all(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ").await.expect("begun");
        held.push(connection);
    }
    assert_eq!(desk.ask("GET", "/livez").await.0, 200);
    let mut rest = Vec::new();
    held[0].read_to_end(&mut rest).await.expect("ended");
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&rest));
}

//! `[admin]`: what it resolves to, and what an operator sees of a bad one.

use super::*;

fn resolved(lines: &str) -> Result<AdminSettings, String> {
    let text = HOST.replace("[admin]\nlisten = \"127.0.0.1:7071\"\n", &format!("[admin]\n{lines}\n"));
    load_host("opsward.toml", &text).map(|host| host.admin).map_err(|errors| shown(&errors))
}

#[test]
fn there_is_a_socket_and_an_address_only_where_one_is_named() {
    let none = AdminSettings::default();
    assert_eq!(resolved(""), Ok(none.clone()));
    let moved = AdminSettings { socket: Some("/run/opsward/admin.sock".into()), ..none.clone() };
    assert_eq!(resolved("listen = \"unix:/run/opsward/admin.sock\""), Ok(moved));
    let listen = |text: &str| Some(text.parse().expect("an address"));
    let loopback = AdminSettings { listen: listen("127.0.0.1:7071"), ..none.clone() };
    assert_eq!(resolved("listen = \"127.0.0.1:7071\""), Ok(loopback));
    let proxied = "listen = \"10.0.0.7:7071\"\ntls-in-front = true\nhosts = [\"opsward.example.com\"]\nopen-metrics = true";
    let hosts = vec!["opsward.example.com".to_owned()];
    assert_eq!(
        resolved(proxied),
        Ok(AdminSettings { socket: None, listen: listen("10.0.0.7:7071"), hosts, open_metrics: true })
    );
}

#[test]
fn a_bad_one_is_shown_at_its_key() {
    let cases = [
        ("listen = \"unix:\"", "`unix:` without a path"),
        ("listen = \"localhost\"", "`localhost` is neither a socket nor an address and port"),
        ("listen = \"0.0.0.0:7071\"", "0.0.0.0:7071 can be reached from other machines"),
        ("listen = \"[::]:7071\"", "say `tls-in-front = true` where one stands before this address"),
        ("listen = \"[::ffff:127.0.0.1]:7071\"", "can be reached from other machines"),
        ("listen = \"127.0.0.1:7070\"", "`[server]` and `[admin]` both listen on 127.0.0.1:7070"),
        ("hosts = [\"a.example\", \"https://b.example\"]", "`https://b.example` is not a host's name"),
        ("tokens = []", "unknown key `tokens`"),
    ];
    for (lines, expected) in cases {
        let problem = resolved(lines).expect_err(expected);
        assert!(problem.contains(expected), "{problem}");
    }
}

//! The admin listener of a whole host: commands on this machine by its socket, everybody else with a token that `opsward token`
//! made. Which scope opens what is in `host/src/admin/tests/access.rs`.

use crate::harness::{EXECUTED, Host, PATIENCE, World, eventually};
use opsward_core::access::Scope;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The user that is nobody's.
const NOBODY: u32 = 65_534;

/// What a command said, its output and its complaints, and whether all was well.
async fn opsward(world: &World, args: &[&str]) -> (bool, String, String) {
    let run = world.command(args).output();
    let told = tokio::time::timeout(PATIENCE, run).await.expect("ends in time").expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (told.status.success(), text(&told.stdout), text(&told.stderr))
}

/// The status of a request with that token, or with none.
async fn asked(host: &Host, path: &str, token: Option<&str>) -> u16 {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut request = client.get(format!("http://{}{path}", host.admin));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.expect("the host answers").status().as_u16()
}

/// Whether a host that is `wrong` in this way lets the holder of a token that may only read halt it.
pub(crate) async fn a_reader_halts_nothing(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    world.put_token("reader", "opsward_reader", &[Scope::Read], None);
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client.post(format!("http://{}/api/v1/halt", host.admin)).bearer_auth("opsward_reader");
    let request = request.header("content-type", "application/json").body("{}");
    let status = request.send().await.expect("the host answers").status().as_u16();
    let (_, halts, _) = opsward(&world, &["halt", "--list"]).await;
    match (status, halts.contains("nothing is halted")) {
        (403, true) => Ok(()),
        _ => Err(format!("a token that may only read was answered {status}: {halts}")),
    }
}

fn socket(world: &World) -> PathBuf {
    world.dir.path().join("opsward.db.sock")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_shown_once_good_at_once_and_revoked_at_once() {
    let world = World::new().await;
    let host = world.start().await;
    let new = ["token", "new", "--name", "alice", "--scope", "read,operate", "--expires", "90d"];
    let (good, token, told) = opsward(&world, &new).await;
    let token = token.trim_end();
    assert!(good && token.len() == 72 && token.starts_with("opsward_"), "{token} {told}");
    assert!(told.contains("the token of alice, for read, operate until 20"), "{told}");
    assert_eq!(asked(&host, "/api/v1/runs", Some(token)).await, 200);
    assert_eq!(asked(&host, "/api/v1/runs", None).await, 401);

    let (good, _, told) = opsward(&world, &new).await;
    assert!(
        !good && told.contains("there is a token `alice` already: `opsward token revoke alice`"),
        "{told}"
    );
    let (_, listed, _) = opsward(&world, &["token", "ls"]).await;
    assert!(listed.contains("NAME   SCOPES") && listed.contains("alice  read, operate"), "{listed}");
    let file = world.dir.path().join("opsward.db.tokens");
    let kept = std::fs::read_to_string(&file).expect("there");
    assert!(!listed.contains(&token[8..]) && !kept.contains(&token[8..]), "{listed}{kept}");
    assert_eq!(std::fs::metadata(&file).expect("there").mode() & 0o777, 0o600);

    let (good, said, _) = opsward(&world, &["token", "revoke", "alice"]).await;
    assert!(good && said.contains("token alice is known no more"), "{said}");
    assert_eq!(asked(&host, "/api/v1/runs", Some(token)).await, 401);
    let (good, _, told) = opsward(&world, &["token", "revoke", "alice"]).await;
    assert!(!good && told.contains("there is no token `alice`: `opsward token ls`"), "{told}");
    for (args, expected) in [
        (["--scope", "root", "--expires", "1d"], "`root` is not a scope: use read, operate or approve"),
        (["--scope", "read", "--expires", "0d"], "write days from `1d` to `3650d`"),
    ] {
        let (good, _, told) =
            opsward(&world, &[["token", "new", "--name", "b"].as_slice(), &args].concat()).await;
        assert!(!good && told.contains(expected), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_part_of_a_token_is_in_the_log_or_beside_the_store() {
    let world = World::new().await;
    world.put_token("old", "opsward_0ld5ecret", &[Scope::Read], Some(Default::default()));
    world.put_token("scopeless", "opsward_5copele55", &[], None);
    let host = world.start().await;
    let (_, token, _) = opsward(&world, &["token", "new", "--name", "alice", "--scope", "read"]).await;
    let token = token.trim_end();
    for n in 0..15 {
        asked(&host, "/api/v1/runs", Some(&format!("opsward_f0rged{n}"))).await;
    }
    for token in [token, "opsward_0ld5ecret", "opsward_5copele55"] {
        asked(&host, "/api/v1/runs", Some(token)).await;
        asked(&host, &format!("/api/v1/runs?token={token}"), None).await;
        asked(&host, &format!("/api/v1/runs/{token}"), Some(token)).await;
    }
    let log = eventually("the flood in the log", async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default();
        log.contains("the token has another scope").then_some(log)
    })
    .await;
    assert_eq!(log.matches("wrong token at the admin listener").count(), 10, "{log}");
    assert_eq!(log.matches("too many wrong tokens from there").count(), 1, "{log}");
    assert_eq!(host.terminate().await, Some(0));
    for file in std::fs::read_dir(world.dir.path()).expect("a directory").flatten() {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        for part in [&token[8..], &token[40..], "f0rged", "0ld5ecret", "5copele55"] {
            assert!(!text.contains(part), "{part} in {}", file.path().display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_need_no_token_and_no_address_but_a_socket_that_is_the_hosts_alone() {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    world.write("opsward.toml", &settings.replace("[admin]\nlisten = \"127.0.0.1:0\"\n", ""));
    // What a host leaves that was killed.
    let host = world.start().await;
    assert_eq!(host.admin, "", "nothing listens at an address");
    host.kill().await;
    assert!(socket(&world).exists());
    let host = world.start().await;
    assert_eq!(std::fs::metadata(socket(&world)).expect("there").mode() & 0o777, 0o600);

    let (good, said, told) = opsward(&world, &["halt", "--by", "alice", "--why", "test"]).await;
    assert!(good && said.contains("the running host obeys within a second"), "{said}{told}");
    let (_, listed, _) = opsward(&world, &["halt", "--list"]).await;
    assert!(listed.contains(" for alice"), "{listed}");
    if runs_as_root() {
        assert!(listed.contains("root for alice"), "{listed}");
        another_user_is_turned_away(&world).await;
    }
    let (good, said, _) = opsward(&world, &["resume"]).await;
    assert!(good && said.contains("all policies: no longer halted"), "{said}");
    let log = eventually("both changes in the log", async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default();
        (log.matches("changed through the admin listener").count() == 2).then_some(log)
    })
    .await;
    assert!(log.contains(r#""what":"halt""#) && log.contains(r#""what":"resume""#), "{log}");
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    assert_eq!(host.terminate().await, Some(0));
    assert!(!socket(&world).exists());
}

fn runs_as_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Even where the socket's mode does not keep them from it.
async fn another_user_is_turned_away(world: &World) {
    let set_mode = |path: PathBuf, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    };
    let ask = async || {
        let path = socket(world);
        tokio::task::spawn_blocking(move || answer_to_nobody(&path)).await.expect("asked")
    };
    set_mode(world.dir.path().to_owned(), 0o755);
    assert_eq!(ask().await, "", "the socket's mode keeps them out");
    set_mode(socket(world), 0o666);
    let answer = ask().await;
    assert!(answer.starts_with("HTTP/1.1 403"), "the kernel says who they are: {answer}");
    assert!(answer.contains("only root and the service's own user are known"), "{answer}");
}

/// What the socket answers to another user of this machine; nothing where they cannot connect. Only root can ask so.
fn answer_to_nobody(path: &Path) -> String {
    std::thread::scope(|threads| {
        let asked = threads.spawn(|| {
            // Of this thread alone, which ends soon.
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(NOBODY)).expect("root may");
            let Ok(mut socket) = UnixStream::connect(path) else { return String::new() };
            socket
                .write_all(b"GET /api/v1/runs HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .expect("asked");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).expect("answered");
            answer
        });
        asked.join().expect("asked")
    })
}

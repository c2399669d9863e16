//! One-use links: looking decides nothing, and a link decides once, on what it was made for, for whom it was made.

use super::{ONE, Stage, TWO};
use crate::harness::{Host, eventually};
use serde_json::json;

impl Stage {
    async fn link(&self, host: &Host, id: &str, by: &str) -> String {
        let base = format!("http://{}/", host.admin);
        let (good, link) = self.cli(&["approval", "link", id, "--for", by, "--base", &base]).await;
        assert!(good && link.starts_with(&base), "{link}");
        link.trim().to_owned()
    }

    async fn open(&self, link: &str) -> (u16, String) {
        let answer = anybody().get(link).send().await.expect("answered");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    async fn press(&self, link: &str) -> u16 {
        // As a browser's form does from a page that tells nobody where it was.
        anybody().post(link).header("origin", "null").send().await.expect("answered").status().as_u16()
    }

    /// The same link on the host as it listens by now.
    fn at(host: &Host, link: &str) -> String {
        let (_, path) = link.split_once("/approve/").expect("a link");
        format!("http://{}/approve/{path}", host.admin)
    }
}

/// Who has a link has no token.
fn anybody() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_looked_at_as_often_as_one_likes_and_used_once() {
    let stage = Stage::new(TWO).await;
    let host = stage.world.start().await;
    let mut data = stage.snapshots(1);
    data["calls"][1]["params"]["Description"] = json!("<script>alert(1)</script>");
    stage.send(&host, "e", data).await;
    let asked = stage.asked(&host, 1).await;
    let id = asked["id"].as_str().expect("an id");
    let alice = stage.link(&host, id, "alice").await;
    // As what scans mails does.
    for _ in 0..3 {
        let (status, page) = stage.open(&alice).await;
        assert_eq!(status, 200);
        assert!(
            page.contains("As alice:") && page.contains(asked["hash"].as_str().expect("a hash")),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    }
    assert_eq!(stage.asked(&host, 1).await["approved_by"], json!([]));
    assert_eq!([stage.press(&alice).await, stage.press(&alice).await], [200, 409]);
    // Also not by another host on the same store, nor by hand.
    host.kill().await;
    let host = stage.world.start().await;
    assert_eq!(stage.press(&Stage::at(&host, &alice)).await, 409);
    assert_eq!(stage.approve(&host, &asked, "alice").await, 409);
    assert_eq!(stage.effects().await, Vec::<String>::new());

    // Forged: another approver, another decision, another time, another run, cut off, of another key.
    let token = alice.rsplit('/').next().expect("a token");
    for (from, to) in
        [(".alice.", ".bob."), (".approve.", ".deny."), ("-", "."), (&id[..4], "0000"), ("v1.", "v2.")]
    {
        let forged = Stage::at(&host, &alice.replace(token, &token.replacen(from, to, 1)));
        if forged != Stage::at(&host, &alice) {
            assert_eq!((stage.press(&forged).await, stage.open(&forged).await.0), (403, 403), "{to}");
        }
    }
    let short = Stage::at(&host, &alice[..alice.len() - 1]);
    assert_eq!(stage.press(&short).await, 403);
    let hooks = Stage::at(&host, &alice).replace(&host.admin, &host.listen);
    assert_eq!(stage.press(&hooks).await, 404, "not on the public listener");
    let (good, said) = stage.cli(&["approval", "link", id, "--for", "mallory"]).await;
    assert!(!good && said.contains("`mallory` is not an approver"), "{said}");

    let bob = stage.link(&host, id, "bob").await;
    assert_eq!(stage.press(&bob).await, 200);
    let run = stage.ended(&host).await;
    // The cloud takes no such description; what matters is that it was asked once.
    let sent = stage.sent("CreateSnapshot").await;
    assert_eq!(sent, 1, "{run:#}");
    assert_eq!(stage.open(&bob).await.0, 410, "used up");
}

/// A link that was used is sent again once the run asks for something else.
pub(crate) async fn a_used_link_approves_nothing_more(wrong: &str) -> Result<(), String> {
    let stage = Stage::new(ONE).await;
    let host = stage.world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    stage.send(&host, "e", stage.snapshots(2)).await;
    let asked = stage.asked(&host, 1).await;
    let link = stage.link(&host, asked["id"].as_str().expect("an id"), "alice").await;
    stage
        .world
        .patch_state(json!({ "alibaba": { "disks": { &stage.disks[2]: { "size_gb": 4000 } } } }))
        .await;
    assert_eq!(stage.press(&link).await, 200);
    stage.asked(&host, 2).await;
    let again = stage.press(&link).await;
    if again == 200 {
        eventually("the end", async || (stage.world.runs(&host).await[0]["state"] == "done").then_some(()))
            .await;
    }
    match (again, stage.effects().await.as_slice()) {
        (409, []) => Ok(()),
        (status, effects) => Err(format!("a used link was answered with {status}, and made {effects:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_for_one_asking_is_none_for_the_next() {
    a_used_link_approves_nothing_more("").await.expect("refused");
}

//! What a policy is granted, judged outside the host: by the requests that the simulated clouds received. `selectors` is about
//! grants by what a read shows, `matrix` about every way to grant and to ask, `deputy` about events that name what is not
//! theirs to name.

mod deputy;
mod matrix;
mod selectors;

use crate::harness::{Host, SIGNED, TOKEN, World, eventually, signed};
use serde_json::{Value, json};

const CALLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-calls.wasm"));

/// A world without policies, with the guest that makes the calls its events name, and a source for them.
pub(crate) async fn world() -> World {
    let world = World::new().await;
    std::fs::remove_file(world.plugins().join("snapshot-on-reboot.toml")).expect("removed");
    std::fs::write(world.plugins().join("calls.wasm"), CALLS).expect("writable");
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let source = "\n[sources.hook]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\n";
    world.write("opsward.toml", &(settings + source + SIGNED));
    world
}

/// A policy file for the guest that makes calls, woken by events of the type `calls.<name>`.
pub(crate) fn policy(name: &str, account: &str, mode: &str, allow: &str) -> String {
    format!(
        "plugin = \"calls.wasm\"\naccount = \"{account}\"\nmode = \"{mode}\"\nretry = {{ attempts = 1 }}\n\
         on = [{{ source = \"hook\", type = \"calls.{name}\" }}]\n{allow}"
    )
}

pub(crate) async fn send(world: &World, host: &Host, id: &str, kind: &str, data: Value) {
    let event = json!({ "specversion": "1.0", "id": id, "source": "test", "type": kind, "data": data });
    let url = format!("http://{}/hooks/hook/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = signed(request, &event).send().await.expect("the host answers");
    assert_eq!(answer.status().as_u16(), 200, "{id} {kind}");
}

/// The run on the event `id`, once it has ended or waits for a person.
pub(crate) async fn ended(world: &World, host: &Host, id: &str) -> Value {
    eventually(&format!("the end of the run on {id}"), async || {
        let runs = world.runs(host).await;
        let run = runs.into_iter().find(|run| run["event_id"] == format!("{id} test"))?;
        ["done", "failed", "held", "dead"].contains(&run["state"].as_str()?).then_some(run)
    })
    .await
}

/// All requests so far.
pub(crate) async fn requests(world: &World) -> Vec<Value> {
    world.sim_get("requests").await.as_array().expect("a list").clone()
}

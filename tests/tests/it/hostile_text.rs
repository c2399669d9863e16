//! Text that a sender and a guest chose to forge lines with, steer terminals and turn text around: in the host's log, in `opsward run
//! ls|show`, and in exports it stays on its line. The form of the log for terminals is tested beside `telemetry::one_line`.

use crate::harness::{TOKEN, World};
use opsward_core::line::breaks_line;
use serde_json::{Value, json};

const HOSTILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-hostile.wasm"));
/// What is told apart from the host's own words by its mark.
const TEXT: &str = "MARK\r\n{\"message\":\"forged\"}\u{1b}[2J\u{1b}]0;t\u{7}\u{9b}31m\u{2028}\u{2029}\u{202e}\u{2066}\u{7f}\u{0}\u{e0041}=cmd()";
/// An event's own fields hold no control characters, or it is refused.
const FIELD: &str = "MARK\u{2028}\u{202e}\u{200f}field";
/// Longer than any line should be, and shorter than what a delivery may hold.
const LONG_CHARS: usize = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sender_or_a_guest_writes_stays_on_its_line() {
    let world = World::new().await;
    std::fs::write(world.plugins().join("hostile.wasm"), HOSTILE).expect("writable");
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let source = "\n[sources.hook]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\n";
    world.write("opsward.toml", &(settings + source));
    let policy = "plugin = \"hostile.wasm\"\naccount = \"prod\"\nmode = \"enforce\"\nretry = { attempts = 2 }\n\
                  on = [{ source = \"hook\" }]\n[[allow]]\naction = \"ecs:DescribeDisks\"\n";
    world.write("plugins.d/hostile.toml", policy);
    let host = world.start_with(&[crate::chaos::HASTE]).await.expect("ready");

    let long = TEXT.repeat(LONG_CHARS / TEXT.len());
    let datas = [json!({ "text": TEXT }), json!({ "text": TEXT, "panic": "yes" }), json!({ "text": long })];
    for (n, data) in datas.into_iter().enumerate() {
        let event = json!({
            "specversion": "1.0", "id": format!("{n}{FIELD}"), "source": "test", "type": "hostile.text",
            "subject": FIELD, "data": data,
        });
        assert_eq!(post(&world, &host.listen, &event).await, 200, "{n}");
    }
    let refused = json!({ "specversion": "1.0", "id": TEXT, "source": "test", "type": TEXT, "data": {} });
    assert_eq!(post(&world, &host.listen, &refused).await, 400);
    let runs = world.settled_runs(&host, 3).await;

    let opsward = async |args: &[&str]| {
        let output = world.command(args).output().await.expect("it runs");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8")
    };
    let listed = opsward(&["run", "ls"]).await;
    assert_eq!(listed.lines().count(), 1 + runs.len(), "{listed:?}");
    is_tame("run ls", &listed);
    for id in runs.iter().map(|run| run["id"].as_str().expect("an id")) {
        let shown = opsward(&["run", "show", id]).await;
        assert!(shown.contains("MARK") && shown.lines().all(|line| line.len() < 2000), "{shown:?}");
        is_tame("run show", &shown);
        let json = opsward(&["run", "show", id, "-o", "json"]).await;
        is_tame("run show -o json", &json);
        let run: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(run["event"]["subject"], FIELD, "nothing is lost");
    }
    is_tame("audit export", &opsward(&["audit", "export"]).await);
    is_tame("db check", &opsward(&["db", "check"]).await);

    assert_eq!(host.terminate().await, Some(0));
    let log = std::fs::read(world.dir.path().join("host.log")).expect("a log");
    let log = String::from_utf8(log).expect("UTF-8");
    is_tame("log", &log);
    for line in log.lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(record["level"].is_string() && record["message"] != "forged", "{line:?}");
        assert!(line.len() <= 64 * 1024, "{} bytes", line.len());
    }
    assert!(log.lines().filter(|line| line.contains("MARK")).count() >= 3, "{log}");
}

async fn post(world: &World, listen: &str, event: &Value) -> u16 {
    let url = format!("http://{listen}/hooks/hook/{TOKEN}");
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = request.body(event.to_string()).send().await.expect("the host answers");
    answer.status().as_u16()
}

fn is_tame(what: &str, text: &str) {
    let wild = text.lines().find(|line| line.contains(breaks_line));
    assert!(wild.is_none(), "{what}: {wild:?}");
}

//! Turns the packs of `tests/hostile-wat` into components. A guest is a fragment of a core module in text; what it does
//! not define comes from `frame.wat`, and the same encoder that toolchains use wraps it for the `policy` world. Leaves running
//! them to its parent. Tested by the guest `good`, which must work.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const FRAME: &str = include_str!("../../../hostile-wat/frame.wat");
const PACKS: [&str; 3] = [
    include_str!("../../../hostile-wat/bombs.wat"),
    include_str!("../../../hostile-wat/lies.wat"),
    include_str!("../../../hostile-wat/advisories.wat"),
];
const POLICY_WIT: &str = include_str!("../../../../wit/policy.wit");
/// What begins the line above each guest, and above each item of the frame.
const HEAD: &str = ";;! ";
/// The export that runs after `handle`; few guests have one.
const POST_RETURN: &str = "(export \"cabi_post_opsward:policy/handler@0.1.0#handle\" (func $post))";

/// A guest of a pack.
pub(super) struct Guest {
    pub(super) name: &'static str,
    /// How it must end, as written in its head.
    pub(super) end: &'static str,
    code: &'static str,
}

/// Every guest of every pack.
pub(super) fn guests() -> Vec<Guest> {
    PACKS
        .into_iter()
        .flat_map(sections)
        .map(|(head, code)| {
            let parts: Vec<&str> = head.split(" | ").collect();
            let [name, _tries, end] = parts[..] else { panic!("not `name | tries | end`: {head}") };
            Guest { name, end, code }
        })
        .collect()
}

impl Guest {
    /// Its component.
    pub(super) fn component(&self) -> Vec<u8> {
        let core = wat::parse_str(self.module()).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        wrap(core).unwrap_or_else(|e| panic!("{}: {e:?}", self.name))
    }

    /// Its core module in text.
    fn module(&self) -> String {
        let mut text = format!("(module\n{}", self.code);
        for (item, code) in sections(FRAME) {
            let defined = ["func", "memory"].iter().any(|kind| text.contains(&format!("({kind} ${item} ")));
            if item == "always" || !defined {
                text.push_str(code);
            }
        }
        if self.code.contains("(func $post ") {
            text.push_str(POST_RETURN);
        }
        text + ")"
    }
}

/// Makes a component for the `policy` world out of a core module.
pub(super) fn wrap(mut core: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", POLICY_WIT)?;
    let world = resolve.select_world(&[package], Some("policy"))?;
    embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8)?;
    // What it makes is judged by the host, not here.
    ComponentEncoder::default().validate(false).module(&core)?.encode()
}

/// The parts of a text, each with the rest of its head line.
fn sections(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    text.split(HEAD).skip(1).map(|part| part.split_once('\n').expect("a head line ends"))
}

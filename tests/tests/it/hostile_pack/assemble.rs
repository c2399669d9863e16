//! Turns the packs of `tests/hostile-wat` into components. A guest is a fragment of a core module in text; what it does
//! not define comes from `frame.wat`, and the same encoder that toolchains use wraps it for the `policy` world and what WASI it imports. Leaves running
//! them to its parent. Tested by the guest `good`, which must work.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const FRAME: &str = include_str!("../../../hostile-wat/frame.wat");
const PACKS: [(&str, StringEncoding); 5] = [
    (include_str!("../../../hostile-wat/bombs.wat"), StringEncoding::UTF8),
    (include_str!("../../../hostile-wat/lies.wat"), StringEncoding::UTF8),
    (include_str!("../../../hostile-wat/advisories.wat"), StringEncoding::UTF8),
    (include_str!("../../../hostile-wat/handles.wat"), StringEncoding::UTF8),
    (include_str!("../../../hostile-wat/utf16.wat"), StringEncoding::UTF16),
];
const POLICY_WIT: &str = include_str!("../../../../wit/policy.wit");
/// The world of policies, and what more a guest may import. Of a world only what a guest calls gets into its component.
const GUEST_WIT: &str = include_str!("../../../hostile-wat/wasi.wit");
/// How every component begins.
pub(super) const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
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
    /// How its texts are encoded.
    texts: StringEncoding,
}

/// Every guest of every pack.
pub(super) fn guests() -> Vec<Guest> {
    PACKS
        .into_iter()
        .flat_map(|(pack, texts)| sections(pack).map(move |section| (section, texts)))
        .map(|((head, code), texts)| {
            let parts: Vec<&str> = head.split(" | ").collect();
            let [name, _tries, end] = parts[..] else { panic!("not `name | tries | end`: {head}") };
            Guest { name, end, code, texts }
        })
        .collect()
}

impl Guest {
    /// Its component.
    pub(super) fn component(&self) -> Vec<u8> {
        let core = wat::parse_str(self.module()).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        wrap_with(core, self.texts).unwrap_or_else(|e| panic!("{}: {e:?}", self.name))
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
pub(super) fn wrap(core: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    wrap_with(core, StringEncoding::UTF8)
}

fn wrap_with(mut core: Vec<u8>, texts: StringEncoding) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    resolve.push_str("policy.wit", POLICY_WIT)?;
    let package = resolve.push_str("wasi.wit", GUEST_WIT)?;
    let world = resolve.select_world(&[package], Some("guest"))?;
    embed_component_metadata(&mut core, &resolve, world, texts)?;
    // What it makes is judged by the host, not here.
    ComponentEncoder::default().validate(false).module(&core)?.encode()
}

/// How a component begins whose first section has this many bytes.
pub(super) fn opening(section: u8, bytes: usize) -> Vec<u8> {
    let mut opening = [COMPONENT_HEADER, &[section]].concat();
    let mut left = bytes;
    while left > 0x7f {
        opening.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    opening.push(left as u8);
    opening
}

/// The parts of a text, each with the rest of its head line.
fn sections(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    text.split(HEAD).skip(1).map(|part| part.split_once('\n').expect("a head line ends"))
}

//! Words that are, or that some reader takes for, another host than the one that is meant. Each names a canary, or somebody who
//! must not be asked at all.

use std::net::{Ipv4Addr, SocketAddr};

/// Addresses that no call may go to, beside the canaries.
const FORBIDDEN: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(169, 254, 0, 23),
    Ipv4Addr::new(0, 0, 0, 0),
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(192, 168, 1, 1),
];

/// The words, each once.
pub(super) fn words(canaries: &[SocketAddr]) -> Vec<String> {
    let mut words: Vec<String> = PLAIN.iter().map(|word| (*word).to_owned()).collect();
    for canary in canaries {
        words.extend(forms(&canary.to_string()));
    }
    for address in FORBIDDEN {
        words.extend(spellings(address));
        words.extend(forms(&address.to_string()).into_iter().take(6));
    }
    words.push("a".repeat(300));
    words.push(format!("cn-{}", "a-".repeat(150)));
    words.push("http://169.254.169.254/".repeat(40));
    words.sort();
    words.dedup();
    words
}

/// Ways to put a host in where a part of one belongs.
fn forms(at: &str) -> Vec<String> {
    [
        "{at}",
        "http://{at}/",
        "https://{at}/latest/meta-data/",
        "//{at}/",
        "\\\\{at}\\",
        "@{at}",
        "@{at}/#",
        "cn-hangzhou@{at}",
        "cn-hangzhou@{at}/?",
        "cn-hangzhou:443@{at}",
        "cn-hangzhou/@{at}",
        "cn-hangzhou#@{at}",
        "cn-hangzhou?@{at}",
        "cn-hangzhou\\@{at}",
        "cn-hangzhou.{at}",
        "{at}/cn-hangzhou",
        "{at}#cn-hangzhou",
        "cn-hangzhou\r\nHost: {at}\r\n\r\n",
        "cn-hangzhou\nLocation: http://{at}/",
        "cn-hangzhou\u{0}{at}",
        "cn-hangzhou%00@{at}",
        "cn-hangzhou%40{at}",
        "cn-hangzhou%2f..%2f{at}",
        "cn-hangzhou\u{ff20}{at}",
        "cn-hangzhou\u{2044}{at}",
        "{\"$secret\":\"{at}\"}",
        "gopher://{at}/_GET",
        "file://{at}/etc/passwd",
        "unix:{at}",
        "socks5://{at}",
        "${jndi:ldap://{at}/a}",
        "acs:ecs:cn-hangzhou@{at}:1:instance/i-1",
    ]
    .map(|form| form.replace("{at}", at))
    .to_vec()
}

/// Ways to write an IPv4 address.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let ([a, b, c, d], whole) = (address.octets(), address.to_bits());
    vec![
        format!("{address}."),
        format!("{whole}"),
        format!("0x{whole:x}"),
        format!("0{whole:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{}", whole & 0xff_ffff),
        format!("[::ffff:{address}]"),
        format!("[64:ff9b::{address}]"),
        format!("[2002:{:x}:{:x}::]", whole >> 16, whole & 0xffff),
        address.to_string().replace('.', "\u{3002}"),
        address.to_string().replace('.', "%2e"),
        format!("{}.nip.io", address.to_string().replace('.', "-")),
    ]
}

/// Words that name nobody's address: names, schemes, bits of a URL, odd regions. Some have a region's form; they are looked up,
/// and what they stand for is judged.
const PLAIN: [&str; 62] = [
    "",
    " ",
    ".",
    "..",
    "/",
    "//",
    "@",
    "#",
    "?",
    ":",
    "\\",
    "%",
    "*",
    "\r\n",
    "\0",
    "-",
    "--",
    "cn",
    "cn-",
    "-cn",
    "cn--hangzhou",
    "cn-hangzhou-",
    "CN-HANGZHOU",
    "Cn-hangzhou",
    "cn_hangzhou",
    "cn-hangzhou.",
    ".cn-hangzhou",
    "cn-hangzhou..",
    "cn-hangzhou ",
    " cn-hangzhou",
    "cn-hangzhou\t",
    "cn-hangzhou,cn-beijing",
    "cn-hangzhou;cn-beijing",
    "cn-hangzhou/..",
    "cn-hangzhou/",
    "cn-hangzhou#",
    "cn-hangzhou?",
    "cn-hangzhou:80",
    "cn-hangzhou.evil.example#",
    "cn-hangzhou.evil.example/",
    "cn-hangzhou.aliyuncs.com.evil.example",
    "evil.example",
    "xn--cn-hangzhou",
    "cn-xn--fiqs8s",
    "cn-h\u{430}ngzhou",
    "\u{ff43}\u{ff4e}-hangzhou",
    "cn\u{2010}hangzhou",
    "cn-hangzhou\u{200b}",
    "cn-hangzhou\u{202e}",
    "\u{130}n-hangzhou",
    "cn-hang\u{df}hou",
    "localhost",
    "localhost.",
    "localtest.me",
    "metadata.tencentyun.com",
    "metadata.google.internal",
    "instance-data",
    "kubernetes.default.svc",
    "data:,x",
    "javascript:0",
    "zz-nowhere",
    "zz-169-254-169-254",
];

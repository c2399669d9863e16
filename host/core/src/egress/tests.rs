//! Addresses in all they may be wrapped in, and hosts in all spellings, against who may be asked.

use super::*;
use crate::endpoint::{Endpoint, EndpointError};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Addresses and what each is.
const KINDS: &[(Kind, &[&str])] = &[
    (
        Kind::Public,
        &[
            "8.8.8.8",
            "47.96.60.1",
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2400:3200::1",
            "2606:4700::1111",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
            "2001:200::1",
        ],
    ),
    (
        Kind::Private,
        &[
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "100.64.0.0",
            "100.100.0.7",
            "100.100.100.199",
            "100.100.100.201",
            "100.127.255.255",
            "fc00::1",
            "fd00::1",
            "fdff:ffff::1",
            "fd00:ec1::254",
            "::ffff:10.1.2.3",
            "64:ff9b::10.1.2.3",
            "64:ff9b::100.100.0.7",
        ],
    ),
    (Kind::Loopback, &["127.0.0.0", "127.0.0.1", "127.0.0.2", "127.255.255.255", "::1", "::ffff:127.0.0.1"]),
    (
        Kind::LinkLocal,
        &[
            "169.254.0.0",
            "169.254.0.22",
            "169.254.1.1",
            "169.254.255.255",
            "fe80::1",
            "febf:ffff::1",
            "::ffff:169.254.1.1",
            "64:ff9b::169.254.1.1",
        ],
    ),
    (
        Kind::Metadata,
        &[
            "100.100.100.200",
            "169.254.0.23",
            "169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::ffff:a9fe:a9fe",
            "::ffff:6464:64c8",
            "64:ff9b::169.254.169.254",
            "64:ff9b::a9fe:17",
            "64:ff9b::6464:64c8",
        ],
    ),
    (
        Kind::Special,
        &[
            "0.0.0.0",
            "0.0.0.1",
            "0.255.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::2",
            // An IPv4 address in the last bits, as once was done.
            "::127.0.0.1",
            "::169.254.169.254",
            "::8.8.8.8",
            // Translated, RFC 2765.
            "::ffff:0:169.254.169.254",
            // NAT64 of one's own.
            "64:ff9b:1::169.254.169.254",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1:a9fe:a9:fe00::",
            // 6to4, Teredo, ISATAP.
            "2002:a9fe:a9fe::1",
            "2002:7f00:1::1",
            "2001:0:a9fe:a9fe::1",
            "2001:4860:1:2:0:5efe:a9fe:a9fe",
            "2001:4860:1:2:200:5efe:10.0.0.1",
            "100::1",
            "2001:db8::1",
            "2001:10::1",
            "2001:20::1",
            "3fff::1",
            "5f00::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "4000::1",
        ],
    ),
];

#[test]
fn an_address_is_what_it_stands_for() {
    for (kind, addresses) in KINDS {
        for text in *addresses {
            let address: IpAddr = text.parse().expect(text);
            assert_eq!(kind_of(address), *kind, "{text}");
        }
    }
}

#[test]
fn who_named_a_host_decides_where_it_may_be() {
    const TABLE: &str = "ecs.cn-beijing.aliyuncs.com";
    let may = |host: &str, address: &str, reach| judge(host, address.parse().expect(address), reach).is_ok();
    for (kind, addresses) in KINDS {
        for address in *addresses {
            let named = matches!(kind, Kind::Public | Kind::Private);
            for (host, reach, expected) in [
                (TABLE, Reach::Table, *kind == Kind::Public),
                ("ecs-vpc.cn-beijing.aliyuncs.com", Reach::Named, named),
                ("gateway.example", Reach::Named, named),
                ("localhost", Reach::Loopback, *kind == Kind::Loopback),
                (
                    "metadata.tencentyun.com",
                    Reach::Metadata,
                    matches!(kind, Kind::Metadata | Kind::LinkLocal),
                ),
                // By its name, whatever it stands for.
                ("metadata.tencentyun.com", Reach::Named, false),
                // Not in the table's domains.
                ("ecs.aliyuncs.com.evil.example", Reach::Table, false),
                ("evilaliyuncs.com", Reach::Table, false),
            ] {
                assert_eq!(may(host, address, reach), expected, "{host} {address} {reach:?}");
            }
        }
    }
    // Tencent's own, for its machines; not its metadata service, nor a name that looks like it.
    for (host, address, expected) in [
        ("cvm.internal.tencentcloudapi.com", "169.254.0.30", true),
        ("cvm.internal.tencentcloudapi.com", "10.0.0.1", true),
        ("cvm.internal.tencentcloudapi.com", "169.254.0.23", false),
        ("cvm.internal.tencentcloudapi.com", "169.254.169.254", false),
        ("cvm.internal.tencentcloudapi.com", "fe80::1", false),
        ("cvm.internal.tencentcloudapi.com.example", "169.254.0.30", false),
    ] {
        assert_eq!(may(host, address, Reach::Named), expected, "{host} {address}");
    }
    assert!(!may("cvm.internal.tencentcloudapi.com", "169.254.0.30", Reach::Table));
}

#[test]
fn of_what_a_name_stands_for_only_the_admissible_is_left() {
    let found = |texts: &[&str]| -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().expect(text), 0)).collect()
    };
    let mixed = found(&["169.254.169.254", "8.8.8.8", "127.0.0.1", "1.1.1.1"]);
    let host = "cvm.tencentcloudapi.com";
    assert_eq!(admissible(host, mixed, Reach::Table), Ok(found(&["8.8.8.8", "1.1.1.1"])));
    assert_eq!(admissible(host, found(&[]), Reach::Table), Ok(Vec::new()));
    let refused = admissible(host, found(&["10.0.0.1", "127.0.0.1"]), Reach::Table).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "cvm.tencentcloudapi.com is not asked at 10.0.0.1, a private address: the vendors' hosts have public addresses; \
         where they are reached privately, name one as the account's `endpoint`"
    );
}

/// Ways to write an IPv4 address that one reader or another takes for it.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let whole = address.to_bits();
    let (last_two, last_three) = (whole & 0xffff, whole & 0xff_ffff);
    let wide = |text: &str| -> String {
        text.chars()
            .map(|c| char::from_u32(c as u32 + 0xfee0).filter(|_| c.is_ascii_digit()).unwrap_or(c))
            .collect()
    };
    let plain = address.to_string();
    let mut written = vec![
        format!("{plain}."),
        format!("{plain}.."),
        format!(".{plain}"),
        format!("{a}.{b}.{last_two}"),
        format!("{a}.{last_three}"),
        format!("{whole}"),
        format!("{whole}."),
        format!("0x{whole:x}"),
        format!("0X{whole:X}"),
        format!("0{whole:o}"),
        format!("{}", u64::from(whole) + (1 << 32)),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0x{a:02X}.0x{b:02X}.0x{c:02X}.0x{d:02X}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("000{a:o}.{b}.0x{c:x}.{d}"),
        format!("{a:03}.{b:03}.{c:03}.{d:03}"),
        format!("{a}.{b}.{c}.0x{d:x}"),
        format!("{a}.{b}.0x{last_two:x}"),
        format!("{a}.0{last_three:o}"),
        format!("{}.{b}.{c}.{d}", u32::from(a) + 256),
        format!("{a}.{b}.{c}.{d}.0"),
        wide(&plain),
        plain.replace('.', "\u{3002}"),
        plain.replace('.', "\u{ff0e}"),
        plain.replace('.', "\u{ff61}"),
        wide(&plain).replace('.', "\u{3002}"),
        plain.replacen('1', "\u{2460}", 1),
        plain.replacen('1', "\u{00b9}", 1),
        plain.replacen('1', "\u{0661}", 1),
        plain.replace('.', "%2e"),
        plain.bytes().map(|byte| format!("%{byte:02x}")).collect(),
        format!("%{:x}{}", plain.as_bytes()[0], &plain[1..]),
        format!("user@{plain}"),
        format!("user:word@{plain}"),
        format!("ecs.aliyuncs.com@{plain}"),
        format!("ecs.aliyuncs.com:443@{plain}"),
        format!("{plain}#ecs.aliyuncs.com"),
        format!("{plain}?ecs.aliyuncs.com"),
        format!("{plain}/ecs.aliyuncs.com"),
        format!("{plain}\\ecs.aliyuncs.com"),
        format!("{plain}\\@ecs.aliyuncs.com"),
        format!("{plain} "),
        format!(" {plain}"),
        format!("{plain}\t"),
        format!("{plain}\n"),
        format!("{plain}\0"),
        format!("{plain}%00"),
        format!("\u{200b}{plain}"),
        format!("{plain}\u{ad}"),
        format!("[::ffff:{plain}]"),
        format!("[::{plain}]"),
        format!("[::ffff:0:{plain}]"),
        format!("[64:ff9b:1::{plain}]"),
        format!("[2002:{:x}:{:x}::1]", whole >> 16, last_two),
        format!("[::ffff:{plain}%25lo]"),
        format!("[{plain}]"),
    ];
    let ports: Vec<String> = written.iter().map(|host| format!("{host}:8080")).collect();
    written.extend(ports);
    written
}

#[test]
fn no_spelling_of_an_address_gets_past_what_is_said_of_it() {
    let mut tried = 0;
    for address in ["169.254.169.254", "100.100.100.200", "169.254.0.23", "127.0.0.1", "0.0.0.0", "224.0.0.1"]
    {
        let address: Ipv4Addr = address.parse().expect("an address");
        for host in spellings(address) {
            for scheme in ["https", "http"] {
                let text = format!("{scheme}://{host}");
                let found = Endpoint::parse(&text);
                assert!(found.is_err(), "{text} is taken for {found:?}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 1_000, "{tried}");
    for (text, expected) in [
        (
            "https://169.254.1.1",
            "endpoint: 169.254.1.1 is not asked at 169.254.1.1, a link-local address: an account's `endpoint` has a public or a private address",
        ),
        (
            "https://[fe80::1]",
            "endpoint: [fe80::1] is not asked at fe80::1, a link-local address: an account's `endpoint` has a public or a private address",
        ),
        (
            "https://[fd00:ec2::254]",
            "endpoint `https://[fd00:ec2::254]` is a metadata service: calls never go there",
        ),
        (
            "https://[64:ff9b::a9fe:a9fe]",
            "endpoint `https://[64:ff9b::a9fe:a9fe]` is a metadata service: calls never go there",
        ),
        (
            "https://metadata.google.internal",
            "endpoint `https://metadata.google.internal` is a metadata service: calls never go there",
        ),
    ] {
        assert_eq!(Endpoint::parse(text).expect_err(text).to_string(), expected);
    }
}

#[test]
fn a_host_has_one_spelling() {
    let v6: Ipv6Addr = "2001:4860::1".parse().expect("an address");
    for (text, expected) in [
        ("ECS.aliyuncs.COM", Some(Host::Name("ecs.aliyuncs.com".into()))),
        ("xn--fiqs8s", Some(Host::Name("xn--fiqs8s".into()))),
        ("10.0.0.1", Some(Host::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))))),
        ("[2001:4860:0:0::1]", Some(Host::Address(IpAddr::V6(v6)))),
        ("1.example", Some(Host::Name("1.example".into()))),
        ("example.1", None),
        ("example.0x", None),
        ("example.0xab", None),
        ("a..b", None),
        ("a.", None),
        (".a", None),
        ("", None),
        ("a b", None),
        ("a%41", None),
        ("\u{ff41}.com", None),
        ("[::1", None),
        ("::1", None),
        ("[fe80::1%eth0]", None),
        ("[::ffff:8.8.8.8]", None),
    ] {
        assert_eq!(Host::parse(text), expected, "{text}");
    }
    for long in ["a".repeat(64), vec!["abcdefg"; 32].join(".")] {
        assert_eq!(Host::parse(&long), None, "{long}");
    }
    let reach = |text: &str| Endpoint::parse(text).map(|endpoint| endpoint.reach());
    assert_eq!(reach("https://gateway.example"), Ok(Reach::Named));
    assert_eq!(reach("https://10.0.0.1:08443"), Ok(Reach::Named));
    assert_eq!(reach("http://127.9.9.9:1"), Ok(Reach::Loopback));
    assert_eq!(reach("https://localhost"), Ok(Reach::Loopback));
    assert!(matches!(reach("http://0.0.0.0"), Err(EndpointError::Address(_))));
    let of_table =
        Endpoint::of(crate::catalog::Provider::Tencent, "cvm", "").map(|endpoint| endpoint.reach());
    assert_eq!(of_table, Ok(Reach::Table));
    let one = Endpoint::parse("https://10.0.0.1:08443").expect("an origin");
    assert_eq!((one.authority(), one.host()), ("10.0.0.1:8443", "10.0.0.1"));
}

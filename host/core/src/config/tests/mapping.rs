//! `map` of a `generic` source: what it resolves to, and what an operator sees of a bad one.

use super::*;

fn with(source: &str) -> Result<HostSettings, String> {
    let text = format!("{HOST}[sources.zabbix]\ntoken = {{ env = \"T\" }}\n{source}\n");
    load_host("opsward.toml", &text).map_err(|errors| shown(&errors))
}

#[test]
fn a_generic_source_has_its_map() {
    let map = "kind = \"generic\"\nmap = { id = \"$.event.id\", type = \"'zabbix.problem'\", transition = \"$.value\", \
               transitions = { 1 = \"firing\", 0 = \"resolved\" } }";
    let host = with(map).expect("valid");
    let maps = host.sources.iter().map(|(name, source)| (name.as_str(), source.map.is_some()));
    assert_eq!(maps.collect::<Vec<_>>(), [("cloudmonitor", false), ("zabbix", true)]);
}

#[test]
fn a_bad_map_is_shown_at_its_key() {
    for (source, expected) in [
        ("kind = \"generic\"", "missing key `map`"),
        ("kind = \"generic\"\nmap = {}", "`type` is missing"),
        ("kind = \"cloudevents\"\nmap = { type = \"'t'\" }", "`map` is for the kind `generic`"),
        ("kind = \"generic\"\nmap = { type = \"disk.full\" }", "write `$.disk.full` for a place in the body"),
        ("kind = \"generic\"\nmap = { typ = \"'t'\" }", "did you mean `type`?"),
        (
            "kind = \"generic\"\nmap = { type = \"'t'\", transition = \"$.s\", transitions = { OK = \"over\" } }",
            "`transitions.OK` is `over`, which is no transition",
        ),
    ] {
        let problem = with(source).expect_err(expected);
        assert!(problem.contains(expected) && problem.contains("opsward.toml:"), "{source}: {problem}");
    }
}

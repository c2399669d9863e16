//! Tests of what grants allow and how they deny.

use super::*;

fn grants(provider: Provider, allow: &str) -> Grants {
    #[derive(Deserialize)]
    struct File {
        allow: Vec<AllowEntry>,
    }
    let file: File = toml::from_str(allow).expect("well-formed");
    Grants::compile(&file.allow, provider).expect("compiles").0
}

fn ask(
    grants: &Grants,
    provider: Provider,
    action: &str,
    region: &str,
    resources: &[&str],
) -> Result<(), Denied> {
    let (service, action) = action.split_once(':').expect("service:Action");
    let resources: Vec<String> = resources.iter().map(|id| (*id).to_owned()).collect();
    grants.authorize(&question(provider, service, action, region, &resources), &Facts::new())
}

fn question<'a>(
    provider: Provider,
    service: &'a str,
    action: &'a str,
    region: &'a str,
    resources: &'a [String],
) -> Question<'a> {
    let class = catalog::class_of(provider, service, action);
    Question { provider, service, action, region, elsewhere: &[], resources, class, now: NOW }
}

/// 2026-11-27T12:00:00Z, a Friday.
const NOW: Timestamp = Timestamp::from_seconds(1_795_780_800);

const ARTICLE: &str = r#"
    [[allow]]
    action = "ecs:DescribeDisks"
    [[allow]]
    action = "ecs:CreateSnapshot"
    region = ["cn-hangzhou"]
"#;

const NIGHTLY: &str = r#"
    [[allow]]
    action = "cvm:ResetInstance"
    resource = ["ins-1"]
"#;

#[test]
fn what_is_granted_is_allowed_and_nothing_else() {
    let article = grants(Provider::Alibaba, ARTICLE);
    let cases = [
        ("ecs:DescribeDisks", "cn-beijing", vec!["i-1"], Ok(())),
        ("ecs:DescribeDisks", "cn-beijing", vec![], Ok(())),
        ("ecs:CreateSnapshot", "cn-hangzhou", vec!["d-1"], Ok(())),
        ("ecs:CreateSnapshot", "cn-beijing", vec!["d-1"], Err("opsward.RegionNotGranted")),
        ("ecs:CreateSnapshot", "", vec!["d-1"], Err("opsward.RegionNotGranted")),
        ("ecs:DeleteSnapshot", "cn-hangzhou", vec!["s-1"], Err("opsward.NotGranted")),
        ("ecs:createsnapshot", "cn-hangzhou", vec!["d-1"], Err("opsward.NotGranted")),
        ("ECS:CreateSnapshot", "cn-hangzhou", vec!["d-1"], Err("opsward.NotGranted")),
        ("cms:DescribeDisks", "cn-hangzhou", vec![], Err("opsward.NotGranted")),
        ("sts:AssumeRole", "cn-hangzhou", vec![], Err("opsward.Credentials")),
    ];
    for (action, region, resources, expected) in cases {
        let answer = ask(&article, Provider::Alibaba, action, region, &resources);
        assert_eq!(answer.map_err(|denied| denied.code), expected, "{action} {region} {resources:?}");
    }
}

#[test]
fn every_resource_of_a_call_must_be_covered() {
    let several = grants(
        Provider::Alibaba,
        r#"
        allow = [
          { action = "ecs:StartInstances", resource = ["i-1", "i-2"], region = ["cn-hangzhou"] },
          { action = "ecs:StartInstances", resource = ["i-3", "i-prod-*-web"] },
        ]"#,
    );
    let cases = [
        ("cn-hangzhou", vec!["i-1", "i-3"], true),
        ("cn-hangzhou", vec!["i-1", "i-4"], false),
        ("cn-beijing", vec!["i-3"], true),
        ("cn-beijing", vec!["i-1", "i-3"], false),
        ("cn-beijing", vec!["i-prod-7-web"], true),
        ("cn-beijing", vec!["i-prod-7-db"], false),
        ("cn-hangzhou", vec!["I-1"], false),
        ("cn-hangzhou", vec![], false),
    ];
    for (region, resources, allowed) in cases {
        let answer = ask(&several, Provider::Alibaba, "ecs:StartInstances", region, &resources);
        assert_eq!(answer.is_ok(), allowed, "{region} {resources:?}");
    }
}

#[test]
fn an_effect_brings_along_its_read_back_for_its_own_resources() {
    let nightly = grants(Provider::Tencent, NIGHTLY);
    let read = |resources: &[&str]| {
        ask(&nightly, Provider::Tencent, "cvm:DescribeInstances", "ap-shanghai", resources)
            .map_err(|d| d.code)
    };
    assert_eq!(read(&["ins-1"]), Ok(()));
    assert_eq!(read(&["ins-1", "ins-2"]), Err("opsward.ResourceNotGranted"));
    assert_eq!(read(&[]), Err("opsward.ResourceNotGranted"));
    let rows = nightly.rows();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].action, "cvm:DescribeInstances");
    assert_eq!(rows[1].implied_by, ["cvm:ResetInstance"]);

    let open = grants(
        Provider::Tencent,
        r#"allow = [
            { action = "cvm:Describe*" },
            { action = "cvm:StartInstances", region = ["ap-shanghai"] },
        ]"#,
    );
    assert_eq!(open.rows().len(), 2, "a read that is granted anyway is not repeated");

    let pair = grants(
        Provider::Tencent,
        r#"allow = [
            { action = "cvm:StartInstances", resource = ["ins-1"] },
            { action = "cvm:StopInstances", resource = ["ins-1"] },
        ]"#,
    );
    assert_eq!(pair.rows()[2].implied_by, ["cvm:StartInstances", "cvm:StopInstances"]);
}

#[test]
fn a_pattern_reaches_reads_only() {
    let reads =
        grants(Provider::Tencent, r#"allow = [{ action = "cvm:Get*" }, { action = "cvm:DescribeI*" }]"#);
    assert!(ask(&reads, Provider::Tencent, "cvm:GetThing", "ap-shanghai", &[]).is_ok());
    assert!(ask(&reads, Provider::Tencent, "cvm:DescribeImages", "ap-shanghai", &[]).is_ok());
    for action in ["cvm:DescribeDisks", "cvm:Getaway", "cvm:ResetInstance"] {
        let denied = ask(&reads, Provider::Tencent, action, "ap-shanghai", &[]).expect_err(action);
        assert_eq!(denied.code, "opsward.NotGranted");
    }
}

#[test]
fn a_denial_teaches_what_to_write() {
    let article = grants(Provider::Alibaba, ARTICLE);
    let nightly = grants(Provider::Tencent, NIGHTLY);
    let reason = |answer: Result<(), Denied>| answer.expect_err("denied").reason;
    assert_eq!(
        reason(ask(&article, Provider::Alibaba, "ecs:DeleteSnapshot", "cn-hangzhou", &["s-1"])),
        "`ecs:DeleteSnapshot` is not granted: add `[[allow]]` with `action = \"ecs:DeleteSnapshot\"`, \
         `region = [\"cn-hangzhou\"]`, `resource = [\"s-1\"]` to the policy's file"
    );
    assert_eq!(
        reason(ask(&article, Provider::Alibaba, "ecs:CreateSnapshot", "cn-beijing", &["d-1"])),
        "`ecs:CreateSnapshot` is granted for `cn-hangzhou`, not for `cn-beijing`: add \"cn-beijing\" to its `region` in \
         the policy's file"
    );
    assert_eq!(
        reason(ask(&nightly, Provider::Tencent, "cvm:ResetInstance", "ap-shanghai", &["ins-2"])),
        "`cvm:ResetInstance` is granted for `ins-1`, not for `ins-2`: add \"ins-2\" to its `resource` in the policy's file"
    );
    assert_eq!(
        reason(ask(&nightly, Provider::Tencent, "cvm:ResetInstance", "ap-shanghai", &[])),
        "`cvm:ResetInstance` is granted for `ins-1` only, and the call names no resource"
    );
}

#[test]
fn only_what_the_plugin_asks_for_is_effective() {
    let granted = grants(
        Provider::Alibaba,
        r#"allow = [
            { action = "ecs:Describe*" },
            { action = "ecs:CreateSnapshot" },
            { action = "ecs:StopInstance", resource = ["i-1"] },
        ]"#,
    );
    let asked =
        ["ecs:DescribeDisks".to_owned(), "ecs:CreateSnapshot".to_owned(), "ecs:DeleteSnapshot".to_owned()];
    let effective = granted.asked_by(&asked);
    let code = |action: &str| {
        ask(&effective, Provider::Alibaba, action, "cn-hangzhou", &["i-1"]).map_err(|denied| denied.code)
    };
    assert_eq!(code("ecs:DescribeDisks"), Ok(()));
    assert_eq!(code("ecs:CreateSnapshot"), Ok(()));
    assert_eq!(code("ecs:DescribeImages"), Err("opsward.NotAsked"));
    assert_eq!(code("ecs:StopInstance"), Err("opsward.NotAsked"));
    assert_eq!(code("ecs:DeleteSnapshot"), Err("opsward.NotGranted"));
    let actions: Vec<String> = effective.rows().into_iter().map(|row| row.action).collect();
    assert_eq!(actions, ["ecs:DescribeDisks", "ecs:CreateSnapshot"]);
    assert_eq!(granted.asked_not_granted(&asked), ["ecs:DeleteSnapshot"]);
    assert_eq!(granted.granted_not_asked(&asked), ["ecs:StopInstance"]);
}

#[test]
fn a_selector_allows_what_a_read_shows_and_nothing_that_none_has_shown() {
    let granted = grants(
        Provider::Alibaba,
        r#"allow = [{ action = "ecs:StopInstances", resource = ["i-1", { tag = { env = "lab" } }] }]"#,
    );
    let tagged = |env: &str| catalog::ResourceFacts {
        tags: [("env".to_owned(), env.to_owned())].into(),
        ..catalog::ResourceFacts::default()
    };
    let facts = Facts::from([("i-2".to_owned(), tagged("lab")), ("i-3".to_owned(), tagged("prod"))]);
    const NOT_GRANTED: Result<(), &str> = Err("opsward.ResourceNotGranted");
    let check = |resources: &[&str], allowed: Result<(), &str>, wanted: &[&str]| {
        let resources: Vec<String> = resources.iter().map(|id| (*id).to_owned()).collect();
        let question = question(Provider::Alibaba, "ecs", "StopInstances", "cn-hangzhou", &resources);
        assert_eq!(granted.facts_wanted(&question), wanted, "{resources:?}");
        let answer = granted.authorize(&question, &facts).map_err(|denied| denied.code);
        assert_eq!(answer, allowed, "{resources:?}");
    };
    check(&["i-1"], Ok(()), &[]);
    check(&["i-2"], Ok(()), &["i-2"]);
    check(&["i-1", "i-2"], Ok(()), &["i-2"]);
    check(&["i-2", "i-3"], NOT_GRANTED, &["i-2", "i-3"]);
    check(&["i-4"], NOT_GRANTED, &["i-4"]);
    check(&[], NOT_GRANTED, &[]);
    let denied = ask(&granted, Provider::Alibaba, "ecs:StopInstances", "cn-hangzhou", &["i-4"]);
    assert_eq!(
        denied.expect_err("denied").reason,
        "`ecs:StopInstances` is granted for `i-1`, `{ tag = { env = \"lab\" } }`, not for `i-4`, nor by what a read shows \
         of it: add \"i-4\" to its `resource` in the policy's file"
    );
    let elsewhere = ["i-2".to_owned()];
    let other = question(Provider::Alibaba, "ecs", "DeleteInstances", "cn-hangzhou", &elsewhere);
    assert!(granted.facts_wanted(&other).is_empty(), "nothing is read for what is denied anyway");
}

#[test]
fn outside_its_window_a_grant_says_when_it_opens() {
    let granted = grants(
        Provider::Alibaba,
        r#"allow = [
            { action = "ecs:StopInstance", resource = ["i-1"], window = { from = "22:00", to = "06:00", zone = "Asia/Shanghai" } },
            { action = "ecs:StopInstance", resource = ["i-2"] },
        ]"#,
    );
    let at = |hours: u64, id: &str| {
        let ids = [id.to_owned()];
        let asked = question(Provider::Alibaba, "ecs", "StopInstance", "cn-hangzhou", &ids);
        let asked = Question { now: NOW + std::time::Duration::from_secs(hours * 3600), ..asked };
        granted.authorize(&asked, &Facts::new()).map_err(|denied| (denied.code, denied.reason))
    };
    let closed = at(0, "i-1").expect_err("it is eight in the evening");
    assert_eq!(closed.0, "opsward.OutsideWindow");
    assert_eq!(
        closed.1,
        "`ecs:StopInstance` is not granted now: its window, 22:00-06:00 Asia/Shanghai, opens at 2026-11-27 22:00 +08:00 \
         (Asia/Shanghai)"
    );
    assert_eq!(at(2, "i-1"), Ok(()));
    assert_eq!(at(0, "i-2"), Ok(()));
    assert_eq!(at(0, "i-3").expect_err("never granted").0, "opsward.ResourceNotGranted");
}

#[test]
fn a_copy_is_granted_for_both_of_its_regions_by_one_entry() {
    let granted = grants(
        Provider::Alibaba,
        r#"allow = [
            { action = "ecs:CopyImage", region = ["cn-hangzhou", "cn-beijing"], resource = ["m-1"] },
            { action = "ecs:CopyImage", region = ["cn-hangzhou"] },
        ]"#,
    );
    let ask = |id: &str, to: &str| {
        let (ids, elsewhere) = ([id.to_owned()], [to.to_owned()]);
        let asked = question(Provider::Alibaba, "ecs", "CopyImage", "cn-hangzhou", &ids);
        let asked = Question { elsewhere: &elsewhere, ..asked };
        granted.authorize(&asked, &Facts::new()).map_err(|denied| denied.code)
    };
    assert_eq!(ask("m-1", "cn-beijing"), Ok(()));
    assert_eq!(ask("m-2", "cn-hangzhou"), Ok(()));
    assert_eq!(ask("m-2", "cn-beijing"), Err("opsward.ResourceNotGranted"));
    assert_eq!(ask("m-1", "cn-shanghai"), Err("opsward.RegionNotGranted"));
}

#[test]
fn an_effect_that_is_not_asked_for_brings_no_read_along() {
    let granted = grants(
        Provider::Tencent,
        r#"allow = [
            { action = "cvm:StopInstances", resource = ["ins-1"] },
            { action = "cvm:ResetInstance", resource = ["ins-2"] },
        ]"#,
    );
    let effective = granted.asked_by(&["cvm:ResetInstance".to_owned(), "cvm:DescribeInstances".to_owned()]);
    let read = |id: &str| {
        ask(&effective, Provider::Tencent, "cvm:DescribeInstances", "ap-shanghai", &[id]).map_err(|d| d.code)
    };
    assert_eq!(read("ins-2"), Ok(()));
    assert_eq!(read("ins-1"), Err("opsward.ResourceNotGranted"));
    assert_eq!(effective.rows().len(), 2);
}

#[test]
fn the_matrix_holds_all_that_is_asked_for_and_all_that_is_granted() {
    let granted = grants(
        Provider::Alibaba,
        r#"allow = [{ action = "ecs:Describe*" }, { action = "ecs:StopInstance", resource = ["i-1"] }]"#,
    );
    let asked = ["ecs:DescribeDisks".to_owned(), "ecs:CreateSnapshot".to_owned()];
    let rows = granted.matrix(&asked);
    let shown: Vec<_> =
        rows.iter().map(|row| (row.action.as_str(), row.standing, row.grant.is_some())).collect();
    assert_eq!(
        shown,
        [
            ("ecs:DescribeDisks", Standing::Granted, true),
            ("ecs:CreateSnapshot", Standing::NotGranted, false),
            ("ecs:StopInstance", Standing::Unused, true),
        ]
    );
}

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
    let class = catalog::class_of(provider, service, action);
    grants.authorize(&Question { provider, service, action, region, resources: &resources, class })
}

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
          { action = "ecs:StopInstances", resource = ["i-1", "i-2"], region = ["cn-hangzhou"] },
          { action = "ecs:StopInstances", resource = ["i-3", "i-prod-*-web"] },
        ]"#,
    );
    let cases = [
        ("cn-hangzhou", vec!["i-1", "i-3"], true),
        ("cn-hangzhou", vec!["i-1", "i-4"], false),
        ("cn-beijing", vec!["i-3"], true),
        ("cn-beijing", vec!["i-1", "i-3"], false),
        ("cn-beijing", vec!["i-prod-7-web"], true),
        ("cn-beijing", vec!["i-prod-7-db"], false),
        ("cn-beijing", vec!["i-prod-1-web,i-9-web"], false),
        ("cn-hangzhou", vec!["I-1"], false),
        ("cn-hangzhou", vec![], false),
    ];
    for (region, resources, allowed) in cases {
        let answer = ask(&several, Provider::Alibaba, "ecs:StopInstances", region, &resources);
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
        r#"allow = [{ action = "cvm:StartInstances" }, { action = "cvm:StopInstances" }]"#,
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
fn globs() {
    let cases = [
        ("i-1", "i-1", true),
        ("i-1", "i-12", false),
        ("i-*", "i-", true),
        ("*", "", true),
        ("a*b*c", "a-b-c", true),
        ("a*b*c", "abc", true),
        ("a*b*c", "ac", false),
        ("a*a", "a", false),
        ("*a*", "bab", true),
        ("é*", "éa", true),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(glob_matches(pattern, text), expected, "{pattern} {text}");
    }
}

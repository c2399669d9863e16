//! The services whose hosts are known, and the regions that break the rule. Data only.

/// One service.
pub(super) struct Service {
    /// Product code.
    pub(super) name: &'static str,
    /// First label of its hosts.
    pub(super) host_label: &'static str,
    /// The host where no region is given.
    pub(super) central: Option<&'static str>,
    /// Hosts that serve other regions than their name says.
    pub(super) exceptions: &'static [(&'static str, &'static [&'static str])],
}

/// Regions that only their own hosts serve.
pub(super) const TENCENT_REGIONAL_ONLY: [&str; 2] = ["ap-shanghai-fsi", "ap-shenzhen-fsi"];

/// Tencent Cloud: one host a service for all regions.
pub(super) const TENCENT: &[Service] =
    &[tencent("cvm"), tencent("cbs"), tencent("as"), tencent("monitor"), tencent("sts"), tencent("cam")];

const fn tencent(name: &'static str) -> Service {
    Service { name, host_label: name, central: None, exceptions: &[] }
}

/// Alibaba Cloud: `<label>.<region>.aliyuncs.com`, but for the exceptions.
pub(super) const ALIBABA: &[Service] = &[
    Service {
        name: "ecs",
        host_label: "ecs",
        central: None,
        exceptions: &[
            (
                "ecs.aliyuncs.com",
                &[
                    "ap-northeast-2-pop",
                    "cn-beijing-finance-pop",
                    "cn-beijing-gov-1",
                    "cn-hangzhou-finance",
                    "cn-hongkong-finance-pop",
                    "cn-north-2-gov-1",
                    "cn-shanghai-inner",
                    "cn-shenzhen-inner",
                    "cn-wuhan",
                    "cn-yushanfang",
                    "cn-zhangbei",
                ],
            ),
            (
                "ecs-cn-hangzhou.aliyuncs.com",
                &[
                    "cn-beijing-nu16-b01",
                    "cn-fujian",
                    "cn-haidian-cm12-c01",
                    "cn-hangzhou",
                    "cn-hangzhou-bj-b01",
                    "cn-hangzhou-internal-prod-1",
                    "cn-hangzhou-internal-test-1",
                    "cn-hangzhou-internal-test-2",
                    "cn-hangzhou-internal-test-3",
                    "cn-hangzhou-test-306",
                    "cn-shanghai-et15-b01",
                    "cn-shanghai-et2-b01",
                    "cn-shanghai-finance-1",
                    "cn-shanghai-internal-test-1",
                    "cn-shenzhen-finance-1",
                    "cn-shenzhen-st4-d01",
                    "cn-shenzhen-su18-b01",
                    "cn-zhangbei-na61-b01",
                ],
            ),
            (
                "ecs.cn-qingdao-nebula.aliyuncs.com",
                &["cn-edge-1", "cn-huhehaote-nebula-1", "cn-zhengzhou-nebula-1"],
            ),
            ("ecs.cn-zhangjiakou.aliyuncs.com", &["cn-zhangjiakou-na62-a01"]),
            ("ecs.cn-shenzhen-cloudstone.aliyuncs.com", &["eu-west-1-oxs"]),
        ],
    },
    Service {
        name: "sts",
        host_label: "sts",
        central: Some("sts.aliyuncs.com"),
        exceptions: &[(
            "sts.aliyuncs.com",
            &[
                "ap-northeast-2-pop",
                "ap-south-1",
                "ap-southeast-2",
                "cn-beijing-finance-pop",
                "cn-beijing-gov-1",
                "cn-beijing-nu16-b01",
                "cn-edge-1",
                "cn-fujian",
                "cn-haidian-cm12-c01",
                "cn-hangzhou-bj-b01",
                "cn-hangzhou-internal-prod-1",
                "cn-hangzhou-internal-test-1",
                "cn-hangzhou-internal-test-2",
                "cn-hangzhou-internal-test-3",
                "cn-hangzhou-test-306",
                "cn-hongkong-finance-pop",
                "cn-huhehaote-nebula-1",
                "cn-shanghai-et15-b01",
                "cn-shanghai-et2-b01",
                "cn-shanghai-inner",
                "cn-shanghai-internal-test-1",
                "cn-shenzhen-inner",
                "cn-shenzhen-st4-d01",
                "cn-shenzhen-su18-b01",
                "cn-wuhan",
                "cn-yushanfang",
                "cn-zhangbei",
                "cn-zhangbei-na61-b01",
                "cn-zhangjiakou-na62-a01",
                "cn-zhengzhou-nebula-1",
                "eu-west-1-oxs",
            ],
        )],
    },
    Service { name: "cms", host_label: "metrics", central: None, exceptions: &[] },
    Service {
        name: "ess",
        host_label: "ess",
        central: None,
        exceptions: &[(
            "ess.aliyuncs.com",
            &[
                "ap-northeast-2-pop",
                "ap-southeast-1",
                "cn-beijing",
                "cn-beijing-finance-1",
                "cn-beijing-finance-pop",
                "cn-beijing-gov-1",
                "cn-beijing-nu16-b01",
                "cn-edge-1",
                "cn-fujian",
                "cn-haidian-cm12-c01",
                "cn-hangzhou",
                "cn-hangzhou-bj-b01",
                "cn-hangzhou-finance",
                "cn-hangzhou-internal-prod-1",
                "cn-hangzhou-internal-test-1",
                "cn-hangzhou-internal-test-2",
                "cn-hangzhou-internal-test-3",
                "cn-hangzhou-test-306",
                "cn-hongkong",
                "cn-hongkong-finance-pop",
                "cn-huhehaote-nebula-1",
                "cn-nanjing",
                "cn-north-2-gov-1",
                "cn-qingdao",
                "cn-qingdao-nebula",
                "cn-shanghai",
                "cn-shanghai-et15-b01",
                "cn-shanghai-et2-b01",
                "cn-shanghai-finance-1",
                "cn-shanghai-inner",
                "cn-shanghai-internal-test-1",
                "cn-shenzhen",
                "cn-shenzhen-finance-1",
                "cn-shenzhen-inner",
                "cn-shenzhen-st4-d01",
                "cn-shenzhen-su18-b01",
                "cn-wuhan",
                "cn-yushanfang",
                "cn-zhangbei",
                "cn-zhangbei-na61-b01",
                "cn-zhangjiakou-na62-a01",
                "cn-zhengzhou-nebula-1",
                "eu-west-1-oxs",
                "us-east-1",
                "us-west-1",
            ],
        )],
    },
];

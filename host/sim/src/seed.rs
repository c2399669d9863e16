//! What exists when the simulator starts. Ids are fixed, so that examples and samples of the documents name things
//! that exist: `i-bp18l0uopocfc98xxxx` is the instance of the CloudMonitor sample events.

use crate::state::{
    Alibaba, CbsDisk, CvmInstance, CvmState, EcsDisk, EcsInstance, EcsStatus, Image, ImageKind, Limits,
    Metadata, Settle, Staged, Tencent, World,
};
use opsward_core::time::Timestamp;
use std::collections::BTreeMap;

/// The accounts at the start.
pub(crate) fn world(settle: Settle, limits: Limits) -> World {
    World {
        clock_offset_ms: 0,
        settle,
        limits,
        metadata: Metadata::default(),
        alibaba: alibaba(),
        tencent: tencent(),
    }
}

/// The account of the documents' sample events.
const ALIBABA_ACCOUNT: &str = "1234567890123456";
const TENCENT_UIN: &str = "100000000001";
/// 2018-01-01T00:00:00Z
const CREATED: Timestamp = Timestamp::from_seconds(1_514_764_800);

/// (id, name, region, zone, status, disk id stem, number of disks, category)
type EcsRow =
    (&'static str, &'static str, &'static str, &'static str, EcsStatus, &'static str, u64, &'static str);

const ECS: [EcsRow; 5] = [
    (
        "i-bp18l0uopocfc98xxxx",
        "timewarp",
        "cn-hangzhou",
        "g",
        EcsStatus::Running,
        "d-bp18l0uopocfc98x",
        12,
        ESSD,
    ),
    (
        "i-bp1h6jymt9ki9web0001",
        "web-1",
        "cn-hangzhou",
        "h",
        EcsStatus::Running,
        "d-bp1h6jymt9ki9web",
        3,
        ESSD,
    ),
    (
        "i-bp1h6jymt9ki9job0001",
        "batch-1",
        "cn-hangzhou",
        "h",
        EcsStatus::Stopped,
        "d-bp1h6jymt9ki9job",
        2,
        ULTRA,
    ),
    (
        "i-bp1h6jymt9ki9tmp0001",
        "scratch",
        "cn-hangzhou",
        "i",
        EcsStatus::Running,
        "d-bp1h6jymt9ki9tmp",
        1,
        ESSD,
    ),
    ("i-uf6b0kz5xq1m7db00001", "db-1", "cn-shanghai", "b", EcsStatus::Running, "d-uf6b0kz5xq1m7db0", 2, ESSD),
];
const ESSD: &str = "cloud_essd";
const ULTRA: &str = "cloud_efficiency";

fn alibaba() -> Alibaba {
    let mut instances = BTreeMap::new();
    let mut disks = BTreeMap::new();
    for (nth, (id, name, region, zone, status, stem, count, category)) in ECS.into_iter().enumerate() {
        let zone = format!("{region}-{zone}");
        let instance = EcsInstance {
            name: name.into(),
            region: region.into(),
            zone: zone.clone(),
            status: Staged::settled(status),
            image_id: "aliyun_3_x64_20G_alibase_20240819.vhd".into(),
            instance_type: "ecs.g7.large".into(),
            private_ip: format!("172.16.0.{}", nth + 10),
            created: CREATED,
            started: CREATED,
            tags: BTreeMap::from([("env".into(), if nth == 3 { "scratch" } else { "prod" }.into())]),
        };
        instances.insert(id.to_owned(), instance);
        for slot in 1..=count {
            let system = slot == 1;
            let disk = EcsDisk {
                name: format!("{name}-{slot}"),
                region: region.into(),
                zone: zone.clone(),
                instance_id: Some(id.into()),
                device: device(slot),
                kind: if system { "system" } else { "data" }.into(),
                category: category.into(),
                size_gb: if system { 40 } else { 100 },
                status: "In_use".into(),
                reiniting_until: None,
                ever_attached: true,
                created: CREATED,
                tags: BTreeMap::new(),
            };
            disks.insert(format!("{stem}{slot:04}"), disk);
        }
    }
    let spare = disks.values().next().cloned();
    if let Some(disk) = spare {
        let unattached = EcsDisk {
            name: "spare".into(),
            instance_id: None,
            device: String::new(),
            kind: "data".into(),
            status: "Available".into(),
            ever_attached: false,
            ..disk
        };
        disks.insert("d-bp1spare9ki9new0001".into(), unattached);
    }
    Alibaba { account_id: ALIBABA_ACCOUNT.into(), instances, disks, snapshots: BTreeMap::new() }
}

fn device(slot: u64) -> String {
    let letter = u8::try_from(slot - 1).map_or('z', |n| char::from(b'a' + n.min(25)));
    format!("/dev/xvd{letter}")
}

/// (id, name, region, zone number, state, image id, disk id stem, number of disks)
type CvmRow = (&'static str, &'static str, &'static str, u8, CvmState, &'static str, &'static str, u64);

const CVM: [CvmRow; 4] = [
    ("ins-1", "lab-1", "ap-shanghai", 2, CvmState::Running, "img-1", "disk-lab1", 2),
    ("ins-r8hr2upy", "lab-2", "ap-shanghai", 2, CvmState::Running, "img-pmqg1cw7", "disk-lzrg2pw", 1),
    ("ins-5d8a23rs", "lab-3", "ap-shanghai", 3, CvmState::Stopped, "img-eb30mz89", "disk-f4cbs4n", 1),
    ("ins-00lycyy6", "edge-1", "ap-singapore", 4, CvmState::Running, "img-eb30mz89", "disk-3i2gnf0", 3),
];

fn tencent() -> Tencent {
    let mut instances = BTreeMap::new();
    let mut disks = BTreeMap::new();
    for (nth, (id, name, region, zone, state, image, stem, count)) in CVM.into_iter().enumerate() {
        let zone = format!("{region}-{zone}");
        let instance = CvmInstance {
            name: name.into(),
            region: region.into(),
            zone: zone.clone(),
            state: Staged::settled(state),
            image_id: image.into(),
            instance_type: "SA2.MEDIUM4".into(),
            private_ip: format!("192.168.0.{}", nth + 8),
            key_ids: vec!["skey-83mjf79v".into()],
            latest_operation: None,
            created: CREATED,
            tags: BTreeMap::new(),
        };
        instances.insert(id.to_owned(), instance);
        for slot in 1..=count {
            let system = slot == 1;
            let disk = CbsDisk {
                name: format!("{name}-{slot}"),
                region: region.into(),
                zone: zone.clone(),
                instance_id: Some(id.into()),
                usage: if system { "SYSTEM_DISK" } else { "DATA_DISK" }.into(),
                disk_type: "CLOUD_PREMIUM".into(),
                size_gb: if system { 50 } else { 100 },
                snapshot_ability: true,
                created: CREATED,
                tags: BTreeMap::new(),
            };
            disks.insert(format!("{stem}{slot}"), disk);
        }
    }
    let image = |name: &str, kind| Image { name: name.into(), os: "TencentOS Server 3.1 (TK4)".into(), kind };
    let images = BTreeMap::from([
        ("img-1".into(), image("lab-golden", ImageKind::Private)),
        ("img-pmqg1cw7".into(), image("lab-shared", ImageKind::Shared)),
        ("img-eb30mz89".into(), image("TencentOS Server 3.1 (TK4)", ImageKind::Public)),
    ]);
    Tencent {
        uin: TENCENT_UIN.into(),
        instances,
        disks,
        snapshots: BTreeMap::new(),
        images,
        tasks: BTreeMap::new(),
    }
}

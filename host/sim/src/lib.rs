//! Simulated Alibaba and Tencent clouds over plain HTTP on one port: signatures are verified, state is kept, answers
//! have the vendors' shapes, so that the real client, signer and retry code is what runs against them.
//!
//! Alibaba calls are told apart by `Action` and `Version` (query, form body or `x-acs-*` headers), Tencent calls by
//! their `X-TC-*` headers, message queues by the path `/queues/*`, log stores by `/logstores/*`; `/_sim/*` is the control interface (see `control`), `/latest/*` the metadata services.
//! Leaves RAM and CAM permissions,
//! billing and every action not listed in `ecs`, `cms`, `sts`, `sts_tencent`, `cvm` and `cbs` out. Tested by `tests/tests/it/sim.rs` and,
//! against the vendors' own SDKs, by `tests/peers`.

// `json!` recurses once a token, and a CBS disk has 45 fields.
#![recursion_limit = "256"]

mod answer;
mod cbs;
mod clock;
mod cloud;
mod cms;
mod control;
mod cut;
mod cvm;
mod cvm_tasks;
mod deliver;
mod ecs;
mod ecs_history;
mod ecs_snapshot;
mod emit;
mod faults;
mod flat;
mod ids;
mod json_params;
mod keys;
mod lies;
mod logs;
mod metadata;
mod mns;
mod past;
mod queues;
mod request;
mod seed;
mod server;
mod sls;
mod state;
mod sts;
mod sts_tencent;
mod traffic;
mod verify;

pub use keys::{AlibabaKey, AlibabaStsKey, Keys, TencentKey, TencentStsKey};
pub use server::{Sim, SimOptions};
pub use state::{Limits, Settle};

//! The opsward host: every effect on the outside world lives here; every decision lives in `opsward-core`.
//!
//! An event flows trigger -> accept -> worker -> broker -> cloud -> finish; see `docs/architecture.md`.

pub mod admin;
pub mod approve;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod failpoint;
pub mod notify;
pub mod plugin;
pub mod policy;
pub mod resolve;
pub mod runner;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod trigger;
pub mod worker;

//! What is known of each cloud action: its class, token field, resource parameters, read-back. Data in
//! `host/core/catalog/*.toml`, compiled in. Leaves who may call it to `grant`.

use serde::{Deserialize, Serialize};

/// What repeating a call may do; decides what happens after an ambiguous result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Changes nothing: ask again.
    Read,
    /// The cloud takes an idempotency token: send again with the same token and parameters.
    Token,
    /// Repeating reaches the same state: read the state first, send again if the goal is unmet.
    Convergent,
    /// Must never be sent on a guess.
    Once,
}

/// The vendors whose API is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Alibaba Cloud.
    Alibaba,
    /// Tencent Cloud.
    Tencent,
}

//! What a policy may call: action x account x region x resource. Leaves budgets to `guardrail` and asking to the broker.
// Skeleton: the names below are relied on elsewhere.

use serde::Deserialize;

/// One `[[allow]]` entry as typed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowEntry {}

/// The compiled grants of one policy.
#[derive(Debug, Clone, Default)]
pub struct Grants {}

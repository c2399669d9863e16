//! Which policies an event wakes: `on` entries compiled once, and an index over all policies so that the cost of a match
//! does not grow with their number. Leaves decoding to `event`.
//!
//! What is decided here: within an entry every condition must hold; within a condition one of its values; a policy is
//! woken once however many of its entries match. An entry that names only where events come from (source, account, region)
//! takes the event types the plugin proposes.

mod compile;
mod glob;
mod index;
mod typed;
mod wanted;

pub use compile::{PatternError, Patterns};
pub use index::Index;
pub use typed::{DataTests, OnEntry, OneOrMany, Scalar};

#[cfg(test)]
mod tests;

//! Which policies an event wakes: `on` entries compiled once, and an index over all policies so that the cost of a match
//! does not grow with their number. Leaves decoding to `event`, and which notices of an incident are news to `event::incident`.
//!
//! What is decided here: within an entry every condition must hold; within a condition one of its values; a policy is
//! woken once however many of its entries match. An entry that names only where events come from (source, account, region)
//! takes the event types the plugin proposes.

mod asked;
mod bucket;
mod compile;
mod data;
mod explain;
mod facts;
mod glob;
mod index;
mod lexicon;
mod ranges;
mod typed;
mod wanted;

pub use compile::{PatternError, Patterns};
pub use data::{AnyOf, DataTest, DataTests, Scalar, TestTable};
pub use explain::{Miss, Verdict, explain};
pub use index::{Index, Woken};
pub use typed::{OnEntry, OneOrMany};

#[cfg(test)]
mod tests;

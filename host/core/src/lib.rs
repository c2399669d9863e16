//! The decisions of opsward: pure and synchronous. State, input and the present time come in as values; what to do
//! comes out as a value. No IO, no clock, no environment, no randomness: those live in the crate `opsward`.
//!
//! One module per noun of the manual; see `docs/architecture.md` for how an event flows through them.

pub mod access;
pub mod admit;
pub mod answer;
pub mod approval;
pub mod audit;
pub mod call;
pub mod catalog;
pub mod config;
pub mod credential;
pub mod egress;
pub mod endpoint;
pub mod event;
pub mod grant;
pub mod guardrail;
pub mod id;
pub mod line;
pub mod overlay;
pub mod pace;
pub mod pattern;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod sender;
pub mod sign;
pub mod source;
mod suggest;
pub mod tail;
pub mod time;

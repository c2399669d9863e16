//! What starts runs: requests from outside, lines of logs, and the clock. Each trigger hands events to the store; none decides what a
//! policy does with them.

pub mod accept;
pub mod catch_up;
pub mod http;
pub mod log_file;
pub mod log_store;
mod pulling;
pub mod queue;
pub mod seen;
pub mod timer;
mod told;

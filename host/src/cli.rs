//! To be written.

pub mod runs;
pub mod sim;

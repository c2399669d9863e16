//! To be written.

pub mod runs;

//! The `opsward` binary.
fn main() {}

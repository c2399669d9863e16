//! What tests share with fuzzers. Besides, this package has the binary `opsward-under-test`, which is `opsward` with failpoints and
//! wrong variants compiled in.

pub mod fuzz;

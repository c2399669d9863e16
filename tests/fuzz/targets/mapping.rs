//! See `mapping` in `tests/src/fuzz.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| opsward_fuzz::mapping(bytes));

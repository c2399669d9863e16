//! Chains made and spoiled by hand; a thousand random ways to spoil a whole store are in `tests/tests/it/audit.rs`.

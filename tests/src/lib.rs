//! The tests' own library is empty; what it is for is the binary `opsward-under-test`, which is `opsward` with failpoints and
//! wrong variants compiled in.

//! `opsward` as the tests run it: with failpoints and wrong variants compiled in.

use std::process::ExitCode;

fn main() -> ExitCode {
    opsward::cli::main()
}

//! The `opsward` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    opsward::cli::main()
}

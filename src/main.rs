//! The `satchel` program: parse the command line, run the command, print what went wrong.

use std::process::ExitCode;

fn main() -> ExitCode {
    satchel::cli::main()
}

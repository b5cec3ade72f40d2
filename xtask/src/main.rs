//! `cargo xtask`: one command for a person and for CI.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main(std::env::args().skip(1))
}

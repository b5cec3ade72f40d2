//! The demonstration: three datacenters on one machine.

use std::process::ExitCode;

/// Options of `anabranch demo`.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> ExitCode {
    ExitCode::SUCCESS
}

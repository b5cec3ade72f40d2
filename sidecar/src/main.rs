//! The `anabranch` binary.

mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A replicated document store: every datacenter writes on its own, all come to one state.
#[derive(Parser)]
#[command(name = "anabranch", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run three datacenters on this machine, cut one off, heal, and compare.
    Demo(demo::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(args),
    }
}

//! The `anabranch` binary.

mod client;
mod config;
mod demo;
mod http;
mod init;
mod limits;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use mimalloc::MiMalloc;

/// Half the time of a write goes into allocations, and documents are made of many small ones.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
    /// Run a node
    Serve(Box<serve::Args>),
    /// Make a cluster's CA, or a node's certificate under it
    Init(init::Args),
    #[command(flatten)]
    Client(client::Command),
    /// Print a shell's completions for this command
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::Serve(args) => serve::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Client(command) => client::run(&command),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "anabranch",
                &mut std::io::stdout(),
            );
            ExitCode::SUCCESS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

//! The figures of `docs/benchmarks.md`, each with the bare floor measured in the same run.
//!
//! ```text
//! cargo build --release && cargo run --release -p anabranch-benches -- writes
//! cargo build --release && cargo run --release -p anabranch-benches -- http
//! cargo run --release -p anabranch-benches -- lag
//! cargo run --release -p anabranch-benches -- costs
//! ```

mod carts;
mod costs;
mod floor;
mod http;
mod lag;
mod spread;
mod writes;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
struct Cli {
    /// Seconds per measurement.
    #[arg(long, default_value_t = 5, global = true)]
    seconds: u64,
    /// Carts that are written to.
    #[arg(long, default_value_t = 2_000, global = true)]
    carts: usize,
    #[command(subcommand)]
    figures: Figures,
}

#[derive(Subcommand)]
enum Figures {
    /// Durable writes of one embedded node, 1 and 64 callers, against bare commits of the store.
    Writes,
    /// Durable writes over HTTP, 1 and 64 clients, against the same node process.
    Http {
        /// The program to serve with [default: `anabranch` beside this one].
        #[arg(long)]
        program: Option<std::path::PathBuf>,
    },
    /// What a document costs in time and bytes, against raw automerge and other ways to give containers
    /// one identity.
    Costs,
    /// From the beginning of a write to its visibility in two other datacenters.
    Lag {
        /// Writes per second under load.
        #[arg(long, default_value_t = 500)]
        rate: u32,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.figures {
        Figures::Writes => writes::measure(cli.carts, cli.seconds).await,
        Figures::Http { program } => http::measure(program, cli.carts, cli.seconds).await,
        Figures::Costs => costs::measure(),
        Figures::Lag { rate } => lag::measure(rate, cli.seconds).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error}");
            ExitCode::FAILURE
        }
    }
}

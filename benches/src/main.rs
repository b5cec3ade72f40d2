//! The figures of `docs/benchmarks.md`, each with the bare floor measured in the same run.
//!
//! ```text
//! cargo build --release && cargo build --release -p anabranch-benches
//! target/release/figures writes --carts 100000
//! target/release/figures http --carts 100000 --memory-mib 1024
//! target/release/figures footprint --carts 10000,100000,1000000
//! target/release/figures disk --carts 100000 --seconds 30
//! target/release/figures pace --carts 100000 --memory-mib 1024 --seconds 90
//! target/release/figures lag
//! target/release/figures idle --seconds 300
//! target/release/figures repair --carts 1000000
//! target/release/figures costs
//! target/release/figures convergence --out found
//! ```
//!
//! Data is kept below `TMPDIR`: the disk there is the disk that is measured.

mod callers;
mod carts;
mod client;
mod convergence;
mod costs;
mod disk;
mod floor;
mod footprint;
mod http;
mod idle;
mod lag;
mod pace;
mod pipeline;
mod procfs;
mod repair;
mod served;
mod spread;
mod writes;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// As in the `anabranch` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
struct Cli {
    /// Seconds per measurement.
    #[arg(long, default_value_t = 5, global = true)]
    seconds: u64,
    /// Carts that are there; for `footprint` several numbers, one run each.
    #[arg(
        long,
        default_value = "10000",
        value_delimiter = ',',
        global = true,
        value_parser = clap::value_parser!(u64).range(100..=10_000_000)
    )]
    carts: Vec<u64>,
    /// What nodes may take, in MiB [default: the node's own, and for `writes` what holds 100,000 carts].
    #[arg(long, global = true)]
    memory_mib: Option<usize>,
    #[command(subcommand)]
    figures: Figures,
}

#[derive(Subcommand)]
enum Figures {
    /// Durable writes of one embedded node, by tips and through documents, against one bare commit and the bare
    /// pipeline.
    Writes,
    /// Durable writes over HTTP, 1, 64 and 256 clients, against the same node process.
    Http {
        /// The program to serve with [default: `anabranch` beside this one].
        #[arg(long)]
        program: Option<PathBuf>,
    },
    /// Many carts in a node process: disk, memory, time to start, cold reads.
    Footprint {
        /// The program to serve with [default: `anabranch` beside this one].
        #[arg(long)]
        program: Option<PathBuf>,
    },
    /// Bytes that go to the disk for a durable write, against a layout of random keys.
    Disk,
    /// How long writes take at a steady rate, with and without folding behind the log.
    Pace {
        /// Writes per second.
        #[arg(long, default_value_t = 2_000)]
        rate: u32,
    },
    /// What a document costs in time and bytes, against raw automerge and other ways to give containers
    /// one identity.
    Costs,
    /// What nodes say while nothing happens, for whole minutes, and how soon a silent link is known.
    Idle,
    /// What a repair costs: a new replica, and 1,000 carts that changed while one was away, without a log.
    Repair,
    /// How fast node processes converge over a wide-area network: lag, cuts, losses, new replicas. Writes a JSON
    /// file and a page.
    Convergence(convergence::Options),
    /// From the beginning of a write to its visibility in two other datacenters.
    Lag {
        /// Writes per second under load.
        #[arg(long, default_value_t = 500)]
        rate: u32,
    },
}

async fn measure(cli: Cli) -> Outcome<()> {
    let sizes = cli.carts.iter().map(|carts| usize::try_from(*carts));
    let sizes = sizes.collect::<Result<Vec<_>, _>>()?;
    let (seconds, memory_mib) = (cli.seconds, cli.memory_mib);
    let carts = match (&cli.figures, &*sizes) {
        (Figures::Footprint { .. }, _) | (_, []) => 0,
        (_, [carts]) => *carts,
        _ => return Err("several numbers of carts are for `footprint` alone".into()),
    };
    match cli.figures {
        Figures::Writes => writes::measure(carts, seconds, memory_mib).await,
        Figures::Http { program } => http::measure(program, carts, seconds, memory_mib).await,
        Figures::Footprint { program } => footprint::measure(program, &sizes, memory_mib).await,
        Figures::Disk => disk::measure(carts, seconds, memory_mib).await,
        Figures::Pace { rate } => pace::measure(carts, rate, seconds, memory_mib).await,
        Figures::Costs => costs::measure(),
        Figures::Repair => repair::measure(carts).await,
        Figures::Idle => idle::measure(seconds).await,
        Figures::Convergence(options) => {
            convergence::measure(options, seconds, carts, memory_mib).await
        }
        Figures::Lag { rate } => lag::measure(rate, seconds).await,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error}");
            ExitCode::FAILURE
        }
    }
}

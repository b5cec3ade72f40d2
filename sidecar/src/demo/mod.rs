//! The demonstration: datacenters on one machine, with the distances between real cities put in between.
//!
//! They take carts, one of them is cut off, all go on writing, the cut heals, and in the end every cart in
//! every datacenter must hold exactly what was ordered.

mod board;
mod cities;
mod cluster;
mod goods;
mod invoices;
mod sample;
mod story;
mod verdict;
mod view;
mod workload;

use std::fmt;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

const NAMESPACE: &str = "carts";

/// Options of `anabranch demo`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// How many datacenters take part.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=8))]
    datacenters: u8,

    /// Seconds of writing. A replay lasts as long as its rows do.
    #[arg(long, default_value_t = 12.0, value_parser = seconds, conflicts_with = "replay")]
    duration: f64,

    /// Writes per second in each datacenter [default: 200; a replay: as fast as they are taken].
    #[arg(long, value_parser = per_second)]
    rate: Option<f64>,

    /// Replay invoices (CSV, plain or gzipped: InvoiceNo, StockCode, Quantity, UnitPrice, CustomerID, Country)
    /// instead of making carts up.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,

    /// Keep the datacenters' data here, in a directory each [default: a temporary directory].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// How to show it [default: live on a terminal, lines elsewhere].
    #[arg(long, value_enum)]
    output: Option<Output>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// A picture on a terminal, lines elsewhere.
    Text,
    /// Lines, also on a terminal.
    Lines,
    /// One JSON object per line, the verdict last.
    Json,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (1.0..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give a number of seconds from 1 to 3600".to_owned()),
    }
}

fn per_second(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("give a number of writes per second from 0.1 to 100000".to_owned()),
    }
}

/// Why the demonstration could not be given.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Exit status 0 if all datacenters ended equal, 1 if not or if anything failed.
pub(crate) fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("anabranch: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let told = runtime.block_on(async {
        tokio::select! {
            told = story::tell(args) => told,
            _ = tokio::signal::ctrl_c() => Err("stopped before the end".into()),
        }
    });
    match told {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("anabranch: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn view(args: &Args) -> Result<view::View, Failure> {
    let live = std::io::stdout().is_terminal();
    Ok(match args.output {
        Some(Output::Json) => view::View::Json,
        Some(Output::Lines) => view::View::Lines,
        Some(Output::Text) | None if !live => view::View::Lines,
        Some(Output::Text) | None => {
            let ends_s = args.replay.is_none().then_some(args.duration);
            view::View::live(args.datacenters.into(), ends_s)?
        }
    })
}

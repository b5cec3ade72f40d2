//! The commands that speak to a running node, and those for its backups.

mod backup;
mod connection;
mod documents;
mod error;
mod feed;
mod history;
mod input;
mod leave;
mod members;
mod output;
mod placing;
mod porting;
mod session;
mod status;
mod verify;
mod watch;
mod writing;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use self::connection::Connection;
use self::error::ClientError;
use self::output::{Format, Output};

/// Commands over HTTP.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Print a document
    Get(documents::Get),
    /// Make a document equal to a JSON object, writing only what differs
    Put(documents::Put),
    /// Change a document by a JSON Patch or a merge patch
    Patch(documents::Patch),
    /// Change a document by edits with their intent
    Ops(documents::Ops),
    /// Write several documents of a namespace, all or none
    Batch(writing::Batch),
    /// List a document's versions, newest first
    History(history::History),
    /// Print what changed from one version of a document to another
    Diff(history::Diff),
    /// Delete a document
    Rm(documents::Rm),
    /// List documents
    Ls(documents::Ls),
    /// Write documents out as JSON lines
    Export(porting::Export),
    /// Read documents in from JSON lines
    Import(porting::Import),
    /// Take a backup of a running node, or look at backups
    Backup(backup::Backup),
    /// Make a data directory from backups
    Restore(backup::Restore),
    /// Print changes as they become visible at a node
    Watch(watch::Watch),
    /// Show the cluster as a node sees it
    Status(status::Status),
    /// Take a node out of its cluster for good, and stop it
    Leave(leave::Leave),
    /// Compare what all datacenters hold of a namespace, and repair what differs
    Verify(verify::Verify),
    /// List the cluster's other members, set one aside, or welcome it
    Members(members::Members),
    /// List namespaces and the datacenters that they are in
    Namespaces(placing::Namespaces),
    /// Say in which datacenters a namespace is
    Place(placing::Place),
}

/// What all of them take.
#[derive(clap::Args)]
struct Common {
    /// Where nodes serve HTTP, with commas between them; the first that can be reached is asked
    #[arg(
        long,
        value_name = "URL,..",
        env = "ANABRANCH_URL",
        default_value = "http://127.0.0.1:7171"
    )]
    url: String,
    /// How to print
    #[arg(
        long,
        value_name = "FORMAT",
        env = "ANABRANCH_OUTPUT",
        default_value = "text"
    )]
    output: Format,
}

impl Common {
    fn open(&self) -> Result<(Connection, Output), ClientError> {
        Ok((
            Connection::new(&self.url, Duration::ZERO)?,
            Output::new(self.output),
        ))
    }
}

pub(crate) fn run(command: &Command) -> ExitCode {
    let result = match command {
        Command::Get(command) => command.run(),
        Command::Put(command) => command.run(),
        Command::Patch(command) => command.run(),
        Command::Ops(command) => command.run(),
        Command::Batch(command) => command.run(),
        Command::History(command) => command.run(),
        Command::Diff(command) => command.run(),
        Command::Rm(command) => command.run(),
        Command::Ls(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Import(command) => command.run(),
        Command::Backup(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::Watch(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Leave(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Members(command) => command.run(),
        Command::Namespaces(command) => command.run(),
        Command::Place(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "anabranch: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

//! The project's own tasks, as `cargo xtask <task>`.
//!
//! * [`workspace`] asks cargo what the workspace is made of;
//! * [`cargo`] builds the commands, free of what the surrounding `cargo run` leaves behind;
//! * [`steps`] is the table of what `test` and `ci` do;
//! * [`deny`] finds or installs cargo-deny;
//! * [`runner`] runs a table and keeps the results;
//! * [`report`] prints all of it.
//!
//! The repository's rules about itself are tests of this crate: `tests/architecture`.

pub mod cargo;
pub mod deny;
pub mod report;
pub mod runner;
pub mod steps;
pub mod workspace;

use std::process::ExitCode;

use report::Report;
use workspace::Workspace;

/// What is printed when the task is missing or unknown.
pub const USAGE: &str = "\
The project's own tasks.

Usage: cargo xtask <task>

Tasks:
  test   every test: unit, integration, documentation, and the simulator
  ci     format, clippy, documentation and dependency checks, then exactly `cargo xtask test`
  help   this text

Environment:
  CI=true                  test with the `ci` profile of .config/nextest.toml
  NO_COLOR=1               no colour, even on a terminal
  ANABRANCH_ADVISORIES=1   let `ci` check security advisories too; needs the network
";

/// The status of a call that was wrong in itself.
const USAGE_STATUS: u8 = 2;

/// Runs the task that the arguments (without the program's name) ask for.
#[must_use]
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    let task = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => steps::test,
        ["ci"] => steps::ci,
        ["help" | "-h" | "--help"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [] => {
            eprint!("{USAGE}");
            return ExitCode::from(USAGE_STATUS);
        }
        _ => {
            eprintln!("no such task: {}\n\n{USAGE}", arguments.join(" "));
            return ExitCode::from(USAGE_STATUS);
        }
    };
    match Workspace::load() {
        Ok(workspace) => {
            let report = Report::to_stdout();
            let outcomes = runner::run(&task(), &workspace, &report);
            report.summary(&outcomes);
            ExitCode::from(runner::status(&outcomes))
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

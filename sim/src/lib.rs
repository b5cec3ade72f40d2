//! Anabranch's deterministic simulator: several replicas, one thread, one seed, virtual time.
//!
//! It drives the core's real replica and the real store as a driver would, over links and disks that fail
//! in every way that a crash, a cable or a backup can make them fail. [`run`] takes a seed to its end and
//! says what it came to; equal seeds give equal digests.
//!
//! * `plan`, `schedule`, `world`: what a seed decides, virtual time, the loop.
//! * `machine`, `process`, `driving`: a replica's machine, its starts and ends, inputs and outputs.
//! * `disk`, `wires`, `chaos`: what fails.
//! * `workload`, `clients`: what is asked.
//! * Checkers: `ledger` (nothing lost, nothing from nowhere, counters), `feed` (change feeds),
//!   `convergence` (equal changes read the same), `finale` (all become equal, everything is answered), and
//!   at the seam itself `clients` and `driving` (nothing acknowledged or shown before it is durable) and
//!   `process` (what was durable survives; nothing is sent before it is durable).

mod chaos;
mod clients;
mod convergence;
mod disk;
mod driving;
mod feed;
mod finale;
mod ledger;
mod machine;
mod plan;
mod process;
mod random;
mod schedule;
mod tally;
mod trace;
mod wires;
mod workload;
mod world;

pub use plan::Options;
#[cfg(feature = "planted")]
pub use plan::Planted;
pub use tally::Tally;
pub use trace::{Line, Topic, site_name};
pub use world::{Outcome, Violation, run};

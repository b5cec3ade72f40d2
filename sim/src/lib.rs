//! Anabranch's deterministic simulator: several replicas, one thread, one seed, virtual time.
//!
//! It drives the core's real replica and the real store as a driver would, over links and disks that fail
//! in every way that a crash, a cable, a backup, want of room or a flipped bit can make them fail. [`run`] takes a seed to its end and
//! says what it came to; equal seeds give equal digests.
//!
//! * `plan`, `schedule`, `world`: what a seed decides, virtual time, the loop.
//! * `machine`, `process`, `driving`: a replica's machine, its starts and ends, inputs and outputs.
//! * `commits`, `upkeep`: what the store's threads do.
//! * `medium`, `wires`, `chaos`: what fails.
//! * `workload`, `anything`, `clients`, `wording`: what is asked, by whom, and what is asked again.
//! * `moving`: a namespace that is placed here and there, with checkers of its own.
//! * `marks`, `ledger`: what writes leave in documents, what became of each, and what its writer had seen.
//! * Checkers: `accounts` (what is read is what was written and not removed), `sessions` (what sessions have
//!   seen), `acknowledgements` (who is said to hold a write holds it), `past` (versions read as they did), `feed` (change feeds), `convergence` (equal changes read the
//!   same), `finale` (all become equal, everything is answered), and at the seam itself `replies` and `driving`
//!   (nothing acknowledged or shown before it is durable, or twice, or in part) and `process` (what was durable
//!   survives; nothing is sent before it is durable).

mod accounts;
mod acknowledgements;
mod anything;
mod chaos;
mod clients;
mod commits;
mod convergence;
mod driving;
mod feed;
mod finale;
mod ledger;
mod machine;
mod marks;
mod medium;
mod moving;
mod past;
mod plan;
mod process;
mod random;
mod replies;
mod schedule;
mod sessions;
mod tally;
mod trace;
mod upkeep;
mod wires;
mod wording;
mod workload;
mod world;

pub use plan::Options;
#[cfg(feature = "planted")]
pub use plan::Planted;
pub use tally::Tally;
pub use trace::{Line, Topic, site_name};
pub use world::{Outcome, Violation, run};

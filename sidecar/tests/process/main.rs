//! The binary as real processes: what it says, how it ends, and what it keeps.
#![allow(clippy::unwrap_used)]

mod acknowledgements;
mod backup;
mod certificates;
mod client;
mod command_line;
mod command_sessions;
mod crash;
mod full_disk;
mod members;
mod node;
mod placement;
mod porting;
mod sessions;
mod startup;

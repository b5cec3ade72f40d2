#![allow(clippy::unwrap_used)]

mod liars;
mod lives;
mod world;

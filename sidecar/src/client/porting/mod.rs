//! Documents out of a node and into one, as JSON lines.
//!
//! * [`export`]: pages of a listing, into a [`destination`] that is never half an export;
//! * [`import`]: a [`source`] of lines, read as [`record`]s, gathered into [`batches`], a few of which are under way at
//!   a time ([`pipeline`]), each brought in by [`delivery`]; [`progress`] to people and [`position`] for going on later;
//! * [`complaints`]: lines that were left out; [`patience`]: with a node that is busy or away.

mod batches;
mod complaints;
mod delivery;
pub(super) mod destination;
mod export;
mod import;
mod patience;
mod pipeline;
mod position;
pub(super) mod progress;
mod record;
mod source;

pub(super) use self::export::Export;
pub(super) use self::import::Import;

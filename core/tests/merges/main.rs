//! Proves `docs/types.md`: the replica against a model of its table of types that knows nothing of how
//! documents are kept.
//!
//! * [`model`] says what edits mean, [`reading`] which readings are allowed;
//! * [`bed`] runs three replicas, [`trial`] one document on them and in the model;
//! * [`cases`] tries all pairs and triples of concurrent edits of [`table`], [`programs`] random programs;
//! * [`real_data`] replays what people did, against what must come of it.

mod bed;
mod cases;
mod model;
mod programs;
mod reading;
mod real_data;
mod table;
mod trial;

//! Turns a panic of the engine into an error.
//!
//! The engine asserts what it believes of its own pages, so a damaged page can make it panic. At
//! this seam that is an input like any other: it must come out as an error and leave other reads
//! alone.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::engine::Fault;

/// Runs `act`, which reads or writes through the engine.
///
/// `AssertUnwindSafe` is right here because nothing of ours outlives the call half changed: reads
/// only build their answer, which is dropped with the panic, and after a failed write the engine is started
/// again. The engine itself marks a transaction that a panic cut short.
pub(crate) fn shielded<T>(act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let message = message(&*panic);
        tracing::error!(message, "the storage engine panicked; taken as damage");
        Err(Fault::damaged(format!(
            "a page makes no sense to the engine ({message})"
        )))
    })
}

/// What a panic has to say.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

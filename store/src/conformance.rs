//! What every engine behind the seam must do: one function per promise of [`Engine`].
//!
//! An engine brings a [`Bed`], which opens it on a medium of its own, and has the macro
//! [`conformance!`](crate::conformance!) make a test of each:
//!
//! ```ignore
//! anabranch_store::conformance!(MyBed::new());
//! ```
//!
//! The functions panic when a promise is broken: they are for tests.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests, for crates that can't have them in their own"
)]

mod asking;
mod documents;
mod log;
mod model;
mod pages;
mod receipts;
mod recovery;
mod room;

use anabranch_core::Incarnation;
use anabranch_core::persist::{Recovery, StoredDocument};
use bytes::Bytes;

use crate::error::OpenError;
use crate::seam::Engine;

pub use asking::{content, document, log, page, receipt, record, stored_receipt};
pub use documents::*;
pub use log::*;
pub use model::a_random_program_does_what_its_model_does;
pub use pages::*;
pub use receipts::*;
pub use recovery::*;
pub use room::*;

/// Where an engine is tried out: a medium with nothing on it, at first.
pub trait Bed {
    /// What is tried out.
    type Engine: Engine;

    /// Opens the engine on the medium; it compacts with [`compact`], and begins with `fresh` where it must.
    ///
    /// # Errors
    /// When the engine refuses.
    fn open(&mut self, fresh: Incarnation) -> Result<(Self::Engine, Recovery), OpenError>;

    /// Lets the engine die as it would by a crash: what it has not reported may be gone.
    fn crash(&mut self, engine: Self::Engine);

    /// Puts a copy of the medium in its place, as a backup does that is restored. No engine is open.
    fn copy(&mut self);

    /// Whether it can be shown here that a medium is still the same. If not, every opening begins a new incarnation.
    fn proves_continuity(&self) -> bool {
        true
    }

    /// From now on there is no room, or there is again. No if that can't be arranged.
    fn set_full(&mut self, full: bool) -> bool {
        let _ = full;
        false
    }
}

/// A change that no document can be compacted with.
pub const INDIGESTIBLE: &[u8] = b"indigestible";

/// What documents are made of in these tests: a state is the list of its changes, each once. A document whose last
/// change begins with `-` is deleted.
///
/// # Errors
/// When a change is [`INDIGESTIBLE`], or the state is not one that this has made.
pub fn compact(stored: &StoredDocument) -> Result<StoredDocument, String> {
    let mut changes = unpack(&stored.state).ok_or("that is no state")?;
    for change in &stored.changes {
        if **change == *INDIGESTIBLE {
            return Err("it can't be digested".to_owned());
        }
        if !changes.contains(change) {
            changes.push(change.clone());
        }
    }
    let present = changes.last().map(|last| !last.starts_with(b"-"));
    Ok(StoredDocument {
        state: pack(&changes).into(),
        changes: Vec::new(),
        present: present.or(stored.present),
        sum: Some(changes.len() as u64),
    })
}

fn pack(changes: &[Bytes]) -> Vec<u8> {
    let mut state = Vec::new();
    for change in changes {
        state.extend_from_slice(&(change.len() as u64).to_le_bytes());
        state.extend_from_slice(change);
    }
    state
}

fn unpack(state: &Bytes) -> Option<Vec<Bytes>> {
    let mut rest = state.clone();
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let len = rest.get(..8)?.try_into().ok()?;
        let len = usize::try_from(u64::from_le_bytes(len)).ok()?;
        if rest.len() < 8 + len {
            return None;
        }
        let _ = rest.split_to(8);
        changes.push(rest.split_to(len));
    }
    Some(changes)
}

/// Makes a test of each promise. What it is given is evaluated anew for each, and must make a [`Bed`].
#[macro_export]
macro_rules! conformance {
    ($bed:expr) => {
        $crate::conformance!(@each $bed;
            records_come_back_in_order
            the_log_is_given_out_in_portions
            a_record_that_does_not_follow_is_refused
            a_group_is_there_as_a_whole
            a_folded_document_is_found_and_no_other
            changes_add_up
            a_fold_with_time_compacts_what_it_touches
            many_changes_are_compacted_in_any_hurry
            a_document_that_does_not_compact_is_kept
            a_fold_may_be_repeated
            a_repair_takes_the_place_of_its_range
            a_fold_that_makes_no_sense_is_refused
            pages_are_in_key_order_within_one_namespace
            a_page_ends_at_its_limits
            presence_is_listed_without_content
            sums_are_listed_without_states
            documents_are_picked_by_their_places
            folds_and_fetches_go_on_beside_commits
            a_receipt_is_found_and_no_other
            the_oldest_receipts_are_forgotten_by_number
            the_oldest_receipts_are_forgotten_by_age
            receipts_of_what_is_not_stable_are_not_forgotten_by_age
            a_receipt_that_takes_anothers_place_is_as_young_as_its_own_record
            one_fold_forgets_a_bounded_number_of_receipts
            an_incarnation_goes_on_only_on_the_same_medium
            a_commit_can_replace_the_incarnation
            a_checkpoint_is_found_again
            what_is_released_may_go_and_nothing_else
            nothing_is_lost_by_a_crash_between_two_calls
            a_full_log_takes_nothing_and_goes_on_when_there_is_room
            a_fold_without_room_can_be_given_again
            a_random_program_does_what_its_model_does
        );
    };
    (@each $bed:expr; $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::conformance::$promise(&mut $bed);
            }
        )*
    };
}

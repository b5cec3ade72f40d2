//! Summaries: a few bytes by which two replicas find the documents in which they differ.
//!
//! Per document a **sum** is kept over the changes in it: the first eight bytes of every change's hash, added up modulo
//! 2^64. A change adds a term without anything being read, and a term can be taken off again: so replicas at different
//! frontiers can be compared at a common one. Over the sums lies a **trie**: a document has a *place*, a hash of its name,
//! and a node stands for the places that begin alike. Its value is the sum of what a keyed function makes of place and
//! sum of each document below it (keyed, since whoever writes documents must not be able to make two sets of them
//! look the same; sums and not XOR, which linear algebra defeats). What is sent of a node are four bytes, salted anew for
//! each comparison, so that a collision that hides a difference once does not hide it twice.
//!
//! This is a Merkle tree (Merkle 1987) in which the hash over children is a sum of a keyed pseudo-random function, an
//! incremental multiset hash (Bellare, Micciancio 1997; Clarke et al. 2003): order does not matter, and a leaf changes
//! without its neighbours being known. Such a sum finds differences; that what is then fetched is what somebody wrote, the hashes
//! of the changes show.

mod descent;
mod sketch;
#[cfg(test)]
mod tests;
mod trie;
#[cfg(any(test, feature = "measure"))]
pub(crate) mod walk;

pub(crate) use descent::{Descent, Digest, Found, leaf_bits, start_bits};
pub(crate) use sketch::{CELLS_MAX, COUNTERS, Cell, PREFIX_BITS, estimate, width_for, width_of};
pub(crate) use trie::{Offsets, Summary, View};

use sha2::{Digest as _, Sha256};

use crate::DocumentId;
use crate::document::is_plain_change;

/// Where a document stands in the trie: a hash of its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place(pub u64);

impl Place {
    /// The first eight bytes of BLAKE3 over namespace, 0 and key.
    #[must_use]
    pub fn of(id: &DocumentId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(id.namespace.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(id.key.as_str().as_bytes());
        Self(first_eight(hasher.finalize().as_bytes()))
    }

    /// The same of a name whose namespace, 0 and key stand one after the other already.
    #[must_use]
    pub fn of_joined(name: &[u8]) -> Self {
        Self(first_eight(blake3::hash(name).as_bytes()))
    }
}

/// What one change adds to its document's sum, by its hash.
pub(crate) fn term(hash: &[u8; 32]) -> u64 {
    first_eight(hash)
}

/// The hash of an encoded change is that over all that follows its magic number and its check
/// (<https://automerge.org/automerge-binary-format-spec/>).
const HASHED_FROM: usize = 8;
/// Where the check stands: the first bytes of the hash.
const CHECK: std::ops::Range<usize> = 4..HASHED_FROM;

/// What an encoded, uncompressed change adds to its document's sum: nothing if it is none, since no document takes it in.
pub(crate) fn term_of_change(change: &[u8]) -> u64 {
    if !is_plain_change(change) {
        return 0;
    }
    let hash: [u8; 32] = Sha256::digest(&change[HASHED_FROM..]).into();
    match change[CHECK] == hash[..CHECK.len()] {
        true => term(&hash),
        false => 0,
    }
}

/// Spreads numbers that may be alike (the finalizer of MurmurHash3).
fn mix(number: u64) -> u64 {
    let mut mixed = number;
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    mixed ^ mixed >> 33
}

fn first_eight(hash: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first)
}

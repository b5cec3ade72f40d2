//! The trie over the places of one namespace.

use std::collections::BTreeMap;

use super::sketch::{Sketch, WIDTH};
use super::{Place, first_eight};

/// Levels are two bits apart: the fewest flights that cost no more bytes per bit than single bits do.
const LEVEL_BITS: u32 = 2;
/// So many documents per bucket on average, and the trie grows by a level.
const BUCKET_DOCUMENTS: usize = 16;
/// Most levels: 2^24 buckets.
const LEVELS_MAX: usize = 12;
/// From so many documents on a sketch is kept; one of fewer is made when it is asked for, in two or three milliseconds.
const SKETCHED_DOCUMENTS: u64 = 16_384;

#[derive(Clone, Copy)]
struct Leaf {
    place: u64,
    sum: u64,
}

/// The sums of all documents of a namespace. Less than 30 bytes per document, and 1.3 MB if there are many.
pub(crate) struct Summary {
    key: [u8; 32],
    /// Documents by the first bits of their place, in each bucket by rising place.
    buckets: Vec<Vec<Leaf>>,
    /// Of each level the values of its nodes; the last has a node for every bucket.
    levels: Vec<Vec<u64>>,
    documents: u64,
    sketch: Option<Sketch>,
}

/// Amounts to be added to the sums of documents, modulo 2^64.
pub(crate) type Offsets = BTreeMap<Place, u64>;

/// The first `bits` bits of a place.
fn prefix(place: u64, bits: u32) -> u64 {
    place.checked_shr(64 - bits).unwrap_or(0)
}

/// The first and the last place below a node.
pub(super) fn span(bits: u32, index: u64) -> (u64, u64) {
    let low = index.checked_shl(64 - bits).unwrap_or(0);
    (low, low | u64::MAX.checked_shr(bits).unwrap_or(0))
}

impl Summary {
    /// Of no documents. Replicas that are to be compared need the same key.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self {
            key,
            buckets: vec![Vec::new()],
            levels: vec![vec![0]],
            documents: 0,
            sketch: None,
        }
    }

    /// How many documents have changes.
    pub(crate) fn documents(&self) -> u64 {
        self.documents
    }

    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        let leaves: usize = self.buckets.iter().map(Vec::capacity).sum();
        let sketch = self.sketch.as_ref().map_or(0, Sketch::bytes);
        leaves * size_of::<Leaf>() + self.buckets.len() * (size_of::<Vec<Leaf>>() + 11) + sketch
    }

    /// What a document contributes to the nodes above it; nothing if it has no changes.
    pub(super) fn contribution(&self, place: u64, sum: u64) -> u64 {
        if sum == 0 {
            return 0;
        }
        let mut message = [0; 16];
        message[..8].copy_from_slice(&place.to_le_bytes());
        message[8..].copy_from_slice(&sum.to_le_bytes());
        first_eight(blake3::keyed_hash(&self.key, &message).as_bytes())
    }

    fn bits(&self) -> u32 {
        let levels = u32::try_from(self.levels.len()).unwrap_or(u32::MAX);
        (levels - 1) * LEVEL_BITS
    }

    fn bucket(&self, place: u64) -> usize {
        usize::try_from(prefix(place, self.bits())).unwrap_or_default()
    }

    /// A document's sum.
    pub(crate) fn sum(&self, place: Place) -> u64 {
        let bucket = &self.buckets[self.bucket(place.0)];
        let found = bucket.binary_search_by_key(&place.0, |leaf| leaf.place);
        found.map_or(0, |at| bucket[at].sum)
    }

    /// Adds to a document's sum.
    pub(crate) fn add(&mut self, place: Place, amount: u64) {
        let number = self.bucket(place.0);
        let bucket = &mut self.buckets[number];
        let found = bucket.binary_search_by_key(&place.0, |leaf| leaf.place);
        let before = found.map_or(0, |at| bucket[at].sum);
        let after = before.wrapping_add(amount);
        match (found, after) {
            (Ok(at), 0) => {
                bucket.remove(at);
                self.documents -= 1;
            }
            (Ok(at), sum) => bucket[at].sum = sum,
            (Err(_), 0) => {}
            (Err(at), sum) => {
                if bucket.len() == bucket.capacity() {
                    // Doubling would leave a third of it unused.
                    bucket.reserve_exact(4);
                }
                let place = place.0;
                bucket.insert(at, Leaf { place, sum });
                self.documents += 1;
            }
        }
        let [before, after] = [before, after].map(|sum| self.contribution(place.0, sum));
        let change = after.wrapping_sub(before);
        match &mut self.sketch {
            Some(sketch) => sketch.note(place.0, before, after),
            None if self.documents >= SKETCHED_DOCUMENTS => {
                self.sketch = Some(self.sketched(WIDTH));
            }
            None => {}
        }
        let mut node = number;
        for level in self.levels.iter_mut().rev() {
            level[node] = level[node].wrapping_add(change);
            node >>= LEVEL_BITS;
        }
        let full = usize::try_from(self.documents).unwrap_or(usize::MAX)
            > self.buckets.len() * BUCKET_DOCUMENTS;
        if full && self.levels.len() <= LEVELS_MAX {
            self.grow();
        }
    }

    pub(super) fn kept_sketch(&self) -> Option<&Sketch> {
        self.sketch.as_ref()
    }

    /// A sketch, made by going through all documents.
    pub(super) fn sketched(&self, width: usize) -> Sketch {
        let mut sketch = Sketch::new(first_eight(&self.key), width);
        for leaf in self.buckets.iter().flatten() {
            sketch.note(leaf.place, 0, self.contribution(leaf.place, leaf.sum));
        }
        sketch
    }

    /// One more level.
    fn grow(&mut self) {
        let bits = self.bits() + LEVEL_BITS;
        let children = 1 << LEVEL_BITS;
        let mut buckets = Vec::with_capacity(self.buckets.len() * children);
        let mut level = Vec::with_capacity(self.buckets.len() * children);
        for bucket in std::mem::take(&mut self.buckets) {
            let mut rest = bucket.as_slice();
            for _ in 0..children {
                let number = buckets.len() as u64;
                let count = rest.partition_point(|leaf| prefix(leaf.place, bits) <= number);
                let (own, others) = rest.split_at(count);
                rest = others;
                let values = own
                    .iter()
                    .map(|leaf| self.contribution(leaf.place, leaf.sum));
                level.push(values.fold(0, u64::wrapping_add));
                buckets.push(own.to_vec());
            }
        }
        self.buckets = buckets;
        self.levels.push(level);
    }

    /// The documents whose places lie between two, both included, by rising place, with their sums.
    fn leaves(&self, (low, high): (u64, u64)) -> impl Iterator<Item = (Place, u64)> {
        let (first, last) = (self.bucket(low), self.bucket(high));
        let leaves = self.buckets[first..=last].iter().flatten();
        leaves
            .filter(move |leaf| leaf.place >= low && leaf.place <= high)
            .map(|leaf| (Place(leaf.place), leaf.sum))
    }

    fn node(&self, bits: u32, index: u64) -> u64 {
        let level = (bits.is_multiple_of(LEVEL_BITS))
            .then(|| self.levels.get((bits / LEVEL_BITS) as usize))
            .flatten();
        match level {
            Some(level) => usize::try_from(index)
                .ok()
                .and_then(|index| level.get(index).copied())
                .unwrap_or(0),
            None => {
                let leaves = self.leaves(span(bits, index));
                let values = leaves.map(|(place, sum)| self.contribution(place.0, sum));
                values.fold(0, u64::wrapping_add)
            }
        }
    }
}

/// A summary as it would be with other sums: at another frontier, or with what is about to come.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) summary: &'a Summary,
    pub(crate) offsets: &'a Offsets,
}

impl View<'_> {
    /// The value of a node: of those places whose first `bits` bits are `index`.
    pub(crate) fn node(&self, bits: u32, index: u64) -> u64 {
        let (low, high) = span(bits, index);
        let offsets = self.offsets.range(Place(low)..=Place(high));
        offsets.fold(self.summary.node(bits, index), |value, (place, offset)| {
            let now = self.summary.sum(*place);
            let then = now.wrapping_add(*offset);
            value
                .wrapping_add(self.summary.contribution(place.0, then))
                .wrapping_sub(self.summary.contribution(place.0, now))
        })
    }

    /// The value over everything.
    pub(crate) fn root(&self) -> u64 {
        self.node(0, 0)
    }

    /// The documents below a node, with their sums, by rising place.
    pub(crate) fn leaves(&self, bits: u32, index: u64) -> Vec<(Place, u64)> {
        let (low, high) = span(bits, index);
        let offsets = self.offsets.range(Place(low)..=Place(high));
        let mut leaves: BTreeMap<_, _> = self.summary.leaves((low, high)).collect();
        for (place, offset) in offsets {
            let sum = leaves.entry(*place).or_insert(0);
            *sum = sum.wrapping_add(*offset);
        }
        leaves.into_iter().filter(|(_, sum)| *sum != 0).collect()
    }
}

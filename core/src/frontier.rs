//! What a replica holds of each origin, per namespace: a version vector over batches.

use std::collections::BTreeMap;
use std::collections::btree_map;

use crate::{Origin, Seq};

/// Maps each origin to the highest batch held without a gap. An origin that is not named is at 0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier(BTreeMap<Origin, Seq>);

impl Frontier {
    /// Up to where `origin` is held.
    #[must_use]
    pub fn of(&self, origin: &Origin) -> Seq {
        self.0.get(origin).copied().unwrap_or(Seq(0))
    }

    /// Raises `origin` to `seq`; never lowers it. Says whether that changed anything.
    pub fn raise(&mut self, origin: Origin, seq: Seq) -> bool {
        if seq <= self.of(&origin) {
            return false;
        }
        self.0.insert(origin, seq);
        true
    }

    /// The origins with their positions, in order.
    pub fn iter(&self) -> btree_map::Iter<'_, Origin, Seq> {
        self.0.iter()
    }

    /// True when this holds everything that `other` holds.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(origin, seq)| self.of(origin) >= *seq)
    }

    /// How many origins it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when it names no origin.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Of a set of batches that is closed under their causes: the origins' latest batches that no other one of
/// the set comes after. Whoever holds these holds all of the set, so they are all that need be said of it.
#[derive(Clone, Default)]
pub(crate) struct Heads(BTreeMap<Origin, Seq>);

impl Heads {
    /// Adds an origin's next batch, after everything that it names as a cause.
    pub(crate) fn add(&mut self, origin: Origin, seq: Seq, causes: &[(Origin, Seq)]) {
        for (cause, seen) in causes {
            if self.0.get(cause).is_some_and(|head| head <= seen) {
                self.0.remove(cause);
            }
        }
        self.0.insert(origin, seq);
    }

    /// Adds all of another such set. Either set is told by its frontier.
    pub(crate) fn join(&mut self, own: &Frontier, other: &Self, others: &Frontier) {
        let heads = std::mem::take(&mut self.0);
        let still = |(origin, seq): &(&Origin, &Seq), set: &Self, frontier: &Frontier| {
            // What the other set holds and is none of its heads, something there comes after.
            **seq > frontier.of(origin) || set.0.get(origin) == Some(seq)
        };
        let ours = Self(heads);
        let kept = ours.0.iter().filter(|head| still(head, other, others));
        let added = other.0.iter().filter(|head| still(head, &ours, own));
        let mut joined = BTreeMap::new();
        for (origin, seq) in kept.chain(added) {
            let last = joined.entry(*origin).or_insert(*seq);
            *last = (*last).max(*seq);
        }
        self.0 = joined;
    }

    pub(crate) fn iter(&self) -> btree_map::Iter<'_, Origin, Seq> {
        self.0.iter()
    }

    pub(crate) fn contains(&self, origin: &Origin) -> bool {
        self.0.contains_key(origin)
    }
}

impl FromIterator<(Origin, Seq)> for Frontier {
    fn from_iter<I: IntoIterator<Item = (Origin, Seq)>>(entries: I) -> Self {
        let mut frontier = Self::default();
        for (origin, seq) in entries {
            frontier.raise(origin, seq);
        }
        frontier
    }
}

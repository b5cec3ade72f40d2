//! Whose turn it is: deficit round robin (Shreedhar and Varghese 1995) over namespaces, and over origins within one.
//!
//! Whoever is at the front may send while it has credit, and goes to the back with new credit when that is spent. What is overdrawn counts
//! against the next turn, so it need not be known beforehand how large the next piece is.

use std::collections::{BTreeMap, VecDeque};

use crate::{Namespace, Origin};

/// A stream: an origin's batches in one namespace.
pub(super) type Name = (Namespace, Origin);

/// Streams that have something to send, in turns.
#[derive(Default)]
pub(super) struct Lanes {
    namespaces: Turns<Namespace>,
    origins: BTreeMap<Namespace, Turns<Origin>>,
}

impl Lanes {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        let origins = self.origins.get(&name.0);
        origins.is_some_and(|origins| origins.credit.contains_key(&name.1))
    }

    /// At the back, unless it is there already.
    pub(super) fn insert(&mut self, name: &Name) {
        self.namespaces.insert(&name.0);
        let origins = self.origins.entry(name.0.clone()).or_default();
        origins.insert(&name.1);
    }

    pub(super) fn remove(&mut self, name: &Name) {
        let Some(origins) = self.origins.get_mut(&name.0) else {
            return;
        };
        origins.remove(&name.1);
        if origins.queue.is_empty() {
            self.origins.remove(&name.0);
            self.namespaces.remove(&name.0);
        }
    }

    /// Whose turn it is, and how many bytes it may send before it is another's. A turn is worth `quantum` bytes.
    pub(super) fn turn(&mut self, quantum: usize) -> Option<(Name, usize)> {
        let (namespace, shared) = self.namespaces.turn(quantum)?;
        let (origin, own) = self.origins.get_mut(&namespace)?.turn(quantum)?;
        Some(((namespace, origin), shared.min(own)))
    }

    /// It has sent so much.
    pub(super) fn spend(&mut self, name: &Name, bytes: usize) {
        self.namespaces.spend(&name.0, bytes);
        if let Some(origins) = self.origins.get_mut(&name.0) {
            origins.spend(&name.1, bytes);
        }
    }
}

struct Turns<K> {
    queue: VecDeque<K>,
    /// Of each that is in the queue; none: it has come since the last turn.
    credit: BTreeMap<K, Option<i64>>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            credit: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Turns<K> {
    fn insert(&mut self, key: &K) {
        if !self.credit.contains_key(key) {
            self.credit.insert(key.clone(), None);
            self.queue.push_back(key.clone());
        }
    }

    fn remove(&mut self, key: &K) {
        if self.credit.remove(key).is_none() {
            return;
        }
        // Who has nothing left to send is nearly always who has just sent.
        if self.queue.front() == Some(key) {
            self.queue.pop_front();
        } else {
            self.queue.retain(|queued| queued != key);
        }
    }

    fn turn(&mut self, quantum: usize) -> Option<(K, usize)> {
        let quantum = i64::try_from(quantum.max(1)).unwrap_or(i64::MAX);
        // Ends: each time round, everybody's credit has grown.
        loop {
            let key = self.queue.front()?;
            let credit = self.credit.get_mut(key)?.get_or_insert(quantum);
            if let Some(left) = usize::try_from(*credit).ok().filter(|left| *left > 0) {
                return Some((key.clone(), left));
            }
            *credit = credit.saturating_add(quantum);
            self.queue.rotate_left(1);
        }
    }

    fn spend(&mut self, key: &K, bytes: usize) {
        if let Some(Some(credit)) = self.credit.get_mut(key) {
            *credit = credit.saturating_sub_unsigned(bytes as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::replica::tests::bed::{namespace, origin};

    fn name(index: usize, replica: u8) -> Name {
        (namespace(index), origin(replica, 1))
    }

    proptest! {
        /// However large the pieces of each are, all that are waiting send as much as any other, to within what one piece overdraws.
        #[test]
        fn who_waits_gets_a_fair_share(pieces in prop::collection::vec(1_usize..5_000, 2..12), quantum in 50_usize..2_000) {
            let mut lanes = Lanes::default();
            for index in 0..pieces.len() { lanes.insert(&name(index, 1)) }
            let mut sent = vec![0; pieces.len()];
            let rounds = 400_000;
            let mut total = 0;
            while total < rounds {
                let (next, credit) = lanes.turn(quantum).unwrap();
                prop_assert!(credit > 0);
                let index = (0..pieces.len()).find(|index| namespace(*index) == next.0).unwrap();
                lanes.spend(&next, pieces[index]);
                sent[index] += pieces[index];
                total += pieces[index];
            }
            let bound = 2 * (5_000 + quantum);
            let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
            prop_assert!(most - least <= bound, "{:?}", sent);
        }

        #[test]
        fn nobody_is_lost_or_there_twice(steps in prop::collection::vec((0_usize..4, 0_u8..4, 0_u8..3), 0..200)) {
            let mut lanes = Lanes::default();
            let mut model = std::collections::BTreeSet::new();
            for (index, replica, step) in steps {
                let name = name(index, replica);
                match step {
                    0 => { lanes.insert(&name); model.insert(name); }
                    1 => { lanes.remove(&name); model.remove(&name); }
                    _ => if let Some((next, _)) = lanes.turn(10) { lanes.spend(&next, 25) },
                }
                prop_assert_eq!(lanes.is_empty(), model.is_empty());
                prop_assert!(model.iter().all(|name| lanes.contains(name)));
            }
            let mut left = 0;
            while let Some((next, _)) = lanes.turn(10) {
                prop_assert!(model.remove(&next));
                lanes.remove(&next);
                left += 1;
                prop_assert!(left < 100);
            }
            prop_assert!(model.is_empty());
        }
    }

    #[test]
    fn one_namespace_with_many_origins_gets_no_more_than_another() {
        let mut lanes = Lanes::default();
        (0..10).for_each(|replica| lanes.insert(&name(0, replica)));
        lanes.insert(&name(1, 0));
        let mut sent = [0_usize; 2];
        for _ in 0..1_000 {
            let (next, _) = lanes.turn(100).unwrap();
            lanes.spend(&next, 30);
            sent[usize::from(next.0 == namespace(1))] += 30;
        }
        assert!(sent[0].abs_diff(sent[1]) <= 400, "{sent:?}");
    }
}

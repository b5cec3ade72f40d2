#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::walk::{descend, scatter};
use super::*;
use crate::limits;

const KEY: [u8; 32] = [7; 32];

fn summary_of(documents: &BTreeMap<u64, u64>) -> Summary {
    let mut summary = Summary::new(KEY);
    for (place, sum) in documents {
        summary.add(Place(*place), *sum);
    }
    summary
}

fn root(summary: &Summary) -> u64 {
    let offsets = Offsets::new();
    View {
        summary,
        offsets: &offsets,
    }
    .root()
}

/// Changes to documents: a few documents, so that they meet.
fn changes() -> impl Strategy<Value = BTreeSet<(u64, u64)>> {
    prop::collection::btree_set((0_u64..200, 1_u64..5), 0..400)
}

fn sums(changes: &BTreeSet<(u64, u64)>) -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    for (document, change) in changes {
        let sum: &mut u64 = sums.entry(scatter(*document)).or_default();
        *sum = sum.wrapping_add(scatter(document << 32 | change));
    }
    sums
}

proptest! {
    /// Equal roots exactly when the sets of changes are equal.
    #[test]
    fn roots_are_equal_exactly_when_the_sets_are(one in changes(), other in changes()) {
        let roots = [&one, &other].map(|set| root(&summary_of(&sums(set))));
        prop_assert_eq!(one == other, roots[0] == roots[1]);
    }

    /// One that lacks a change, or has one more, is never taken for the same.
    #[test]
    fn a_single_change_shows(set in changes(), at in any::<prop::sample::Index>()) {
        prop_assume!(!set.is_empty());
        let mut less = set.clone();
        less.remove(at.get(&set.iter().copied().collect::<Vec<_>>()));
        prop_assert_ne!(root(&summary_of(&sums(&set))), root(&summary_of(&sums(&less))));
    }

    /// Changes may come in any order, and be taken off again.
    #[test]
    fn order_does_not_matter(set in changes(), gone in changes(), order in any::<u64>()) {
        let mut list: Vec<_> = set.iter().chain(gone.iter()).copied().collect();
        list.sort_by_key(|(document, change)| scatter(order ^ document ^ change << 40));
        let mut summary = Summary::new(KEY);
        let amount = |(document, change): (u64, u64)| scatter(document << 32 | change);
        for change in list {
            summary.add(Place(scatter(change.0)), amount(change));
        }
        for change in &gone {
            summary.add(Place(scatter(change.0)), 0_u64.wrapping_sub(amount(*change)));
        }
        let straight = summary_of(&sums(&set));
        prop_assert_eq!(root(&summary), root(&straight));
        prop_assert_eq!(summary.documents(), straight.documents());
    }

    /// A view at another frontier is what a summary at that frontier is, at every node.
    #[test]
    fn offsets_are_as_good_as_changes(set in changes(), more in changes(), bits in 0_u32..12) {
        let beyond: BTreeSet<_> = more.difference(&set).copied().collect();
        let offsets: Offsets = sums(&beyond).into_iter().map(|(place, sum)| (Place(place), sum)).collect();
        let (before, after) = (summary_of(&sums(&set)), summary_of(&sums(&set.union(&more).copied().collect())));
        let moved = View { summary: &before, offsets: &offsets };
        let none = Offsets::new();
        let plain = View { summary: &after, offsets: &none };
        for node in 0..1_u64 << bits {
            prop_assert_eq!(moved.node(bits, node), plain.node(bits, node));
            prop_assert_eq!(moved.leaves(bits, node), plain.leaves(bits, node));
        }
        prop_assert_eq!(moved.root(), plain.root());
    }

    /// All that differs is found, on either side.
    #[test]
    fn every_difference_is_found(one in changes(), other in changes(), expected in 0_u64..1_000, salt in any::<u64>()) {
        let (one, other) = (sums(&one), sums(&other));
        let differing: BTreeSet<_> = one.keys().chain(other.keys()).filter(|place| one.get(place) != other.get(place)).copied().collect();
        let (seeker, source) = (summary_of(&one), summary_of(&other));
        let none = Offsets::new();
        let view = |summary| View { summary, offsets: &none };
        let (found, _, _) = descend(view(&seeker), view(&source), expected, salt);
        prop_assert!(differing.iter().all(|place| found.contains(&Place(*place))));
    }

    #[test]
    fn nonsense_is_noticed(digests in 0_usize..100, bits in 0_u32..64, positions in prop::collection::vec(0_usize..40, 0..20)) {
        if let Some(mut descent) = Descent::join(1, bits, digests) {
            let sorted = positions.is_sorted_by(|a, b| a < b);
            let known = positions.iter().all(|at| *at < descent.nodes().len());
            prop_assert_eq!(descent.told(&positions, true).is_some(), sorted && known);
        }
    }
}

#[test]
fn a_trie_of_many_grows_and_stays_what_it_was() {
    let mut summary = Summary::new(KEY);
    let mut total = 0_u64;
    for n in 0..20_000 {
        let (place, sum) = (scatter(n), scatter(!n));
        summary.add(Place(place), sum);
        total = total.wrapping_add(summary.contribution_for_test(place, sum));
    }
    assert_eq!(summary.documents(), 20_000);
    assert_eq!(root(&summary), total);
    assert!(summary.bytes() < 20_000 * 30, "{} bytes", summary.bytes());
    let offsets = Offsets::new();
    let view = View {
        summary: &summary,
        offsets: &offsets,
    };
    for bits in [1, 2, 3, 7, 12, 16] {
        let nodes = (0..1_u64 << bits).map(|node| view.node(bits, node));
        assert_eq!(nodes.fold(0, u64::wrapping_add), total, "{bits} bits");
    }
}

/// The goal: at most 150 bytes for each and four round trips, of a million documents with a thousand differing. A
/// sixteenth of that here, with the same ratio, which is what the depth depends on.
#[test]
fn finding_what_differs_costs_what_differs() {
    let mut documents: BTreeMap<u64, u64> =
        (0..62_500).map(|n| (scatter(n), scatter(!n))).collect();
    let seeker = summary_of(&documents);
    for n in 0..62 {
        *documents.get_mut(&scatter(n * 1_000)).unwrap() += 1;
    }
    let source = summary_of(&documents);
    let none = Offsets::new();
    let view = |summary| View {
        summary,
        offsets: &none,
    };
    let (found, bytes, flights) = descend(view(&seeker), view(&source), 62, 3);
    assert!(found.len() >= 62 && found.len() < 200, "{}", found.len());
    assert!(bytes <= 150 * 62, "{bytes} bytes");
    assert!(flights <= 8, "{flights} flights");
}

#[test]
fn more_than_is_looked_into_at_once_is_cut_short() {
    let documents: BTreeMap<u64, u64> = (0..70_000).map(|n| (scatter(n), 1)).collect();
    let source = summary_of(&documents);
    let seeker = Summary::new(KEY);
    let none = Offsets::new();
    let view = |summary| View {
        summary,
        offsets: &none,
    };
    let (_, digests) = Descent::begin(view(&source), 1, 16);
    let mut descent = Descent::join(1, 16, digests.len()).unwrap();
    let Found::Differ { positions, .. } = descent.compare(view(&seeker), &digests, true) else {
        panic!("it keeps to the rules");
    };
    assert_eq!(positions.len(), limits::NODES_MAX);
    assert!(descent.cut_short);
}

#[test]
fn the_term_of_a_change_is_its_hash() {
    use automerge::transaction::Transactable as _;
    let mut doc = automerge::AutoCommit::new();
    doc.put(automerge::ROOT, "a", 1).unwrap();
    let change = doc.get_last_local_change().unwrap();
    assert_eq!(term_of_change(change.raw_bytes()), term(&change.hash().0));
}

/// Seed 10 with a peer that lies: a change that no document takes in was counted by whoever had got it and not by whoever had folded it, and
/// replicas that held the same had different roots for good.
#[test]
fn what_no_document_takes_in_adds_nothing() {
    assert_eq!(term_of_change(b"no change at all"), 0);
    assert_eq!(term_of_change(&[]), 0);
    let empty = [0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1, 0];
    assert_eq!(term_of_change(&empty), 0);
}

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::walk::{descend, scatter, sketched};
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

static NONE: Offsets = Offsets::new();

fn plain(summary: &Summary) -> View<'_> {
    View {
        summary,
        offsets: &NONE,
    }
}

fn root(summary: &Summary) -> u64 {
    plain(summary).root()
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
        total = total.wrapping_add(summary.contribution(place, sum));
    }
    assert_eq!(summary.documents(), 20_000);
    assert_eq!(root(&summary), total);
    assert!(
        summary.bytes() < 20_000 * 30 + 1_350_000,
        "{} bytes",
        summary.bytes()
    );
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

/// Two sets of documents: so many that both have, and so many that differ, of which some are one side's alone.
fn two_that_differ(seed: u64, alike: u64, differing: u64) -> [Summary; 2] {
    let mut summaries = [Summary::new(KEY), Summary::new(KEY)];
    let name = |n| Place(scatter(seed << 40 | n));
    for n in 0..alike {
        for summary in &mut summaries {
            summary.add(name(n), scatter(!n));
        }
    }
    for n in alike..alike + differing {
        let [one, other] = &mut summaries;
        match n % 4 {
            0 => one.add(name(n), n),
            1 => other.add(name(n), n),
            _ => {
                one.add(name(n), n);
                other.add(name(n), scatter(n));
            }
        }
    }
    summaries
}

/// What it finds is what differs, or it says that it can't tell; and that it hardly ever says.
#[test]
fn a_sketch_tells_what_differs_or_that_it_does_not() {
    for (differing, times) in [(1, 200), (10, 200), (60, 100), (400, 40)] {
        let mut failed = 0;
        for seed in 0..times {
            let [one, other] = two_that_differ(seed << 20 | differing, 500, differing);
            let told = sketched(plain(&one), plain(&other)).unwrap();
            let Some(found) = told.found else {
                failed += 1;
                continue;
            };
            let all = (500..500 + differing).map(|n| scatter((seed << 20 | differing) << 40 | n));
            let all: BTreeSet<_> = all.map(|place| place >> 20).collect();
            assert_eq!(found, all, "{differing} that differ, seed {seed}");
        }
        assert!(failed * 20 <= times, "{failed} of {times} failed");
    }
}

/// The goal: 32 bytes for each, of a million documents with a thousand differing. What a sketch costs does not depend on how many are alike.
#[test]
fn a_sketch_costs_what_differs() {
    let mut bytes = 0;
    for seed in 0..10 {
        let [one, other] = two_that_differ(seed, 20_000, 1_000);
        let told = sketched(plain(&one), plain(&other)).unwrap();
        assert_eq!(told.found.unwrap().len(), 1_000);
        bytes += told.bytes_finding;
    }
    assert!(
        bytes <= 32 * 1_000 * 10,
        "{} bytes for each",
        bytes / 10_000
    );
}

/// A sketch that is too narrow tells nothing, and nothing wrong; and comes to an end.
#[test]
fn a_sketch_that_is_too_narrow_tells_nothing() {
    for seed in 0..20 {
        let [one, other] = two_that_differ(seed, 100, 2_000);
        for width in [20, 84, 420] {
            let theirs = plain(&other).sketch(width);
            let told = plain(&one).sketch(width).differing(theirs.cells());
            assert_eq!(told, None);
        }
    }
}

/// From some number of documents on a sketch is kept, and it is the one that would be made.
#[test]
fn the_sketch_that_is_kept_is_that_of_all_documents() {
    let mut summary = Summary::new(KEY);
    for n in 0..16_500 {
        summary.add(Place(scatter(n)), scatter(!n));
    }
    for n in 0..300 {
        let whole = scatter(!n);
        let amount = if n % 2 == 0 {
            0_u64.wrapping_sub(whole)
        } else {
            n
        };
        summary.add(Place(scatter(n)), amount);
    }
    let kept = summary.kept_sketch().expect("there are enough");
    let made = summary.sketched(sketch::WIDTH);
    assert_eq!(kept.cells(), made.cells());
    assert_eq!(kept.counters(), made.counters());
    for width in [1, 20, 77, 13_860] {
        assert_eq!(
            plain(&summary).sketch(width).cells(),
            summary.sketched(width).cells()
        );
    }
}

/// Of two that differ the sums may have the quotient of a third that stands in the same cell. It is taken off, and taken off again
/// when they are found elsewhere.
#[test]
fn one_that_two_look_like_does_not_differ() {
    use sketch::{Sketch, inverses, minus, times};
    let mut ours = Sketch::new(1, 20);
    let theirs = ours.clone();
    let [cell, ..] = ours.stands_in(1);
    // Together in the first row, apart in the others.
    let mut together: Vec<u64> = vec![1];
    for prefix in 2.. {
        let [first, second, third] = ours.stands_in(prefix);
        let is_apart = together.iter().all(|other| {
            let [_, a, b] = ours.stands_in(*other);
            a != second && b != third
        });
        if first == cell && is_apart {
            together.push(prefix);
        }
        if together.len() == 3 {
            break;
        }
    }
    let [one, other, third] = together[..] else {
        panic!("three of them");
    };
    let a = 1 << 40;
    let [inverse] = inverses(&[minus(other, third)])[..] else {
        panic!("one for one");
    };
    let b = minus(0, times(a, times(minus(one, third), inverse)));
    for (prefix, value) in [(one, a), (other, b)] {
        ours.note(prefix << (u64::BITS - PREFIX_BITS), 0, value);
    }
    let [values, products] = ours.cells()[cell].sums();
    assert_eq!(times(values, third), products, "they look like it");
    assert_eq!(ours.differing(theirs.cells()), Some([one, other].into()));
}

proptest! {
    /// A sketch at another frontier is what it is at that frontier.
    #[test]
    fn sketches_are_linear(set in changes(), more in changes(), width in prop::sample::select(vec![1_usize, 20, 84])) {
        let beyond: BTreeSet<_> = more.difference(&set).copied().collect();
        let offsets: Offsets = sums(&beyond).into_iter().map(|(place, sum)| (Place(place), sum)).collect();
        let (before, after) = (summary_of(&sums(&set)), summary_of(&sums(&set.union(&more).copied().collect())));
        let moved = View { summary: &before, offsets: &offsets }.sketch(width);
        let there = plain(&after).sketch(width);
        prop_assert_eq!(moved.cells(), there.cells());
        prop_assert_eq!(moved.counters(), there.counters());
    }

    /// Whatever a peer says, a sketch gives an answer and comes to an end.
    #[test]
    fn any_cells_are_borne(set in changes(), width in 1_usize..100, seed in any::<u64>()) {
        let summary = summary_of(&sums(&set));
        let cells: Vec<Cell> = (0..3 * width as u64).filter_map(|n| Cell::new(scatter(seed ^ n) >> 3, scatter(!seed ^ n) >> 3)).collect();
        let ours = plain(&summary).sketch(width);
        prop_assert!(ours.differing(&cells).is_none_or(|found| found.len() <= cells.len()));
        prop_assert_eq!(ours.differing(&cells[1..]), None);
    }
}

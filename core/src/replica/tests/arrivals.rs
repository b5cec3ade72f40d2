//! What comes between the end of a repair and the moment from which it counts.

use proptest::prelude::*;
use serde_json::json;

use super::bed::{batch, increment, namespace, origin, read, writing};
use super::pairs::{Pair, forgetful};
use crate::document::Document;
use crate::effect::Request;
use crate::replica::{Replica, Room};
use crate::{Batch, Intent, Key, Seq, Token};

/// A batch of a third replica's to the document `k`.
fn third() -> Batch {
    let mut document = Document::empty(&origin(3, 1));
    let changes = document.write(&Intent::Replace(json!({"m": 1})), 0);
    batch(origin(3, 1), 1, changes.map_err(|f| f.error).unwrap())
}

/// A pair of which the second has got all that it lacks, and the record from which on it counts is on its way to the disk.
/// Before that record stands a batch that came by itself, which the repair has brought as well.
fn about_to_arrive() -> Pair {
    let mut pair = Pair::new(forgetful());
    for n in 0..50 {
        pair.put(0, &format!("k{n}"), json!({"n": n}));
    }
    pair.pass(1_000);
    // Nothing is compared before the summary is there.
    pair.beds[1].hold_fetches = true;
    pair.beds[1].restart();
    pair.link();
    pair.linked = false;
    pair.beds[0].hear(third());
    pair.exchange();
    pair.linked = true;
    pair.beds[1].hold_commits = true;
    pair.beds[1].hold_fetches = false;
    pair.beds[1].fetch();
    pair.pass(600);
    assert_eq!(pair.beds[1].commits.len(), 1, "all that came is on its way");
    pair.beds[1].hear(third());
    assert_eq!(pair.beds[1].commits.len(), 2);
    pair.beds[1].sync_one();
    assert_eq!(pair.beds[1].commits.len(), 2, "it counts from a third on");
    pair.beds[1].sync_one();
    let held = pair.beds[1].replica.durable_frontier(&namespace(0));
    assert_eq!(held.of(&origin(3, 1)), Seq(1));
    assert_eq!(there(&mut pair), 1);
    pair
}

/// How many of the 51 documents there are at the second.
fn there(pair: &mut Pair) -> usize {
    let keys = (0..50).map(|n| format!("k{n}")).chain(["k".to_owned()]);
    let bed = &mut pair.beds[1];
    keys.filter(|key| bed.read(key).is_some()).count()
}

#[test]
fn a_repair_counts_although_its_source_goes() {
    let mut pair = about_to_arrive();
    pair.cut();
    pair.beds[1].sync();
    pair.beds[1].hold_commits = false;
    assert_eq!(there(&mut pair), 51, "what the frontier says is there");
    let frontiers = [0, 1].map(|at| pair.beds[at].replica.durable_frontier(&namespace(0)));
    assert_eq!(frontiers[0], frontiers[1]);
    pair.link();
    pair.pass(5_000);
    pair.assert_equal();
}

/// What comes after a repair builds on it, and is in memory at once.
#[test]
fn a_listing_waits_for_what_came_while_the_store_was_asked() {
    let mut pair = about_to_arrive();
    pair.cut();
    let bed = &mut pair.beds[1];
    bed.hold_fetches = true;
    let request = Request::Scan {
        namespace: namespace(0),
        prefix: String::new(),
        after: None,
        limit: 100,
        values: true,
    };
    let listing = bed.ask(request, &Token::default());
    bed.hold_commits = false;
    bed.sync();
    bed.fetch_one();
    assert_eq!(bed.answer(listing), None, "not all is in place");
    bed.hold_fetches = false;
    bed.fetch();
    bed.run_until(bed.now_ms + 2_000);
    let answer = format!("{:?}", bed.answer(listing).unwrap().unwrap());
    assert!(answer.contains("\"k49\""), "{answer}");
}

/// A document that was put in place early may be in the store alone, and the summaries know nothing of it yet.
#[test]
fn nothing_is_taken_for_new_before_all_that_came_is_in_place() {
    let mut pair = about_to_arrive();
    pair.cut();
    let bed = &mut pair.beds[1];
    bed.hold_fetches = true;
    bed.hold_commits = false;
    bed.sync();
    let id = Replica::address(&namespace(0), &Key::new("new").unwrap());
    bed.replica.follow_if_new(&id);
    assert!(bed.replica.shelf.get(&id).is_none());
    bed.hold_fetches = false;
    bed.fetch();
    bed.run_until(bed.now_ms + 5_000);
    bed.replica.follow_if_new(&id);
    assert!(bed.replica.shelf.get(&id).is_some());
}

/// Decisions about members are written down with a checkpoint, and there is none before all that came is in place.
#[test]
fn nothing_is_folded_over_and_over_for_a_decision_that_waits() {
    let mut pair = about_to_arrive();
    pair.cut();
    let bed = &mut pair.beds[1];
    bed.hold_folds = true;
    // What is not durable can't be folded.
    let request = writing(vec![increment("own", "/n")]);
    bed.ask(request, &Token::default());
    let decided = bed.decide(1, true);
    let folds = (0..10).take_while(|_| bed.fold_one()).count();
    assert!(folds < 10, "nothing came meanwhile");
    assert_eq!(bed.answer(decided), None);
    bed.hold_folds = false;
    bed.hold_commits = false;
    bed.sync();
    bed.fold();
    bed.run_until(bed.now_ms + 5_000);
    assert!(bed.answer(decided).is_some(), "all is in place");
    pair.link();
    pair.pass(5_000);
    pair.assert_equal();
}

/// Two records have something for one document. It is asked for while the first of them is being read for all.
#[test]
fn a_document_that_is_asked_for_gets_all_that_came_for_it() {
    let mut pair = Pair::new(Room {
        log_read_bytes_max: 1,
        ..forgetful()
    });
    for n in 10..40 {
        let value = json!({"n": 0, "text": "x".repeat(20_000)});
        pair.put(0, &format!("k{n}"), value);
    }
    pair.pass(1_000);
    pair.beds[1].hold_commits = true;
    pair.link();
    pair.pass(600);
    pair.beds[1].sync_one();
    pair.cut();
    pair.beds[1].hold_commits = false;
    pair.beds[1].sync();
    pair.count(0, "k10");
    pair.pass(1_000);
    pair.beds[1].hold_commits = true;
    pair.link();
    pair.pass(3_000);
    pair.beds[1].hold_fetches = true;
    let theirs = pair.beds[0].replica.durable_frontier(&namespace(0));
    while pair.beds[1].replica.durable_frontier(&namespace(0)) != theirs {
        assert!(pair.beds[1].sync_one());
        pair.exchange();
    }
    assert_eq!(pair.beds[1].fetches.len(), 1, "the first record is read");
    let bed = &mut pair.beds[1];
    let reading = bed.ask(read("k10"), &Token::default());
    bed.hold_commits = false;
    bed.hold_fetches = false;
    bed.fetch();
    let answer = format!("{:?}", bed.answer(reading).unwrap());
    assert!(answer.contains("Number(1)"), "the count is there");
    pair.pass(5_000);
    pair.assert_equal();
}

/// What happens to a pair, to one of which a third replica's batches come by themselves.
#[derive(Clone, Debug)]
enum Step {
    Count(usize, u8),
    Third,
    Hear(usize),
    /// Nothing becomes durable by itself.
    Hold(usize),
    /// The oldest commit does.
    Sync(usize),
    Release(usize),
    Link,
    Cut,
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..2, 0_u8..6).prop_map(|(at, key)| Step::Count(at, key)),
        3 => Just(Step::Third),
        5 => (0_usize..2).prop_map(Step::Hear),
        3 => (0_usize..2).prop_map(Step::Hold),
        8 => (0_usize..2).prop_map(Step::Sync),
        1 => (0_usize..2).prop_map(Step::Release),
        3 => Just(Step::Link),
        2 => Just(Step::Cut),
        5 => (1_u16..1_500).prop_map(Step::Pass),
    ]
}

/// The third's writes, each of which builds on those before it.
struct Third {
    document: Document,
    batches: Vec<Batch>,
    /// How many of them each has been sent.
    heard: [usize; 2],
}

impl Third {
    fn write(&mut self) {
        let seq = self.batches.len() as u64 + 1;
        let changes = self.document.write(&Intent::Replace(json!({"n": seq})), 0);
        let changes = changes.map_err(|failed| failed.error).unwrap();
        self.batches.push(batch(origin(3, 1), seq, changes));
    }

    fn tell(&mut self, pair: &mut Pair, at: usize) {
        if pair.linked && self.heard[at] < self.batches.len() {
            pair.beds[at].hear(self.batches[self.heard[at]].clone());
            self.heard[at] += 1;
        }
    }
}

fn take(pair: &mut Pair, third: &mut Third, step: &Step) {
    match *step {
        Step::Count(at, key) => {
            let request = writing(vec![increment(&format!("k{key}"), "/n")]);
            pair.beds[at].ask(request, &Token::default());
        }
        Step::Third => third.write(),
        Step::Hear(at) => third.tell(pair, at),
        Step::Hold(at) => pair.beds[at].hold_commits = true,
        Step::Sync(at) => {
            pair.beds[at].sync_one();
        }
        Step::Release(at) => {
            pair.beds[at].hold_commits = false;
            pair.beds[at].sync();
        }
        Step::Link if !pair.linked => pair.link(),
        Step::Cut if pair.linked => pair.cut(),
        Step::Link | Step::Cut => {}
        Step::Pass(ms) => pair.pass(ms.into()),
    }
}

fn goes_well(before: u8, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(forgetful());
    let mut third = Third {
        document: Document::empty(&origin(3, 1)),
        batches: Vec::new(),
        heard: [0, 0],
    };
    for n in 0..before {
        let step = Step::Count(usize::from(n % 2), n % 6);
        take(&mut pair, &mut third, &step);
    }
    pair.pass(1_000);
    for step in steps {
        take(&mut pair, &mut third, step);
        pair.exchange();
    }
    for at in [0, 1] {
        take(&mut pair, &mut third, &Step::Release(at));
    }
    take(&mut pair, &mut third, &Step::Link);
    while third.heard[0] < third.batches.len() {
        third.tell(&mut pair, 0);
    }
    pair.pass(120_000);
    pair.assert_equal();
    let counters = pair.beds.each_ref().map(|bed| bed.replica.counters);
    let counted = counters.map(|counters| (counters.comparisons_refused, counters.roots_different));
    prop_assert_eq!(counted, [(0, 0), (0, 0)]);
    Ok(())
}

/// A write that was not durable yet when all that was durable was counted.
#[test]
fn what_a_repair_brings_and_was_on_its_way_is_counted_once() {
    use Step::{Count, Hold, Link};
    let steps = [
        Count(0, 4),
        Count(0, 0),
        Hold(1),
        Count(0, 0),
        Hold(0),
        Count(1, 4),
        Link,
    ];
    goes_well(4, &steps).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What comes otherwise meanwhile, in whatever order it gets to the disk: nobody's frontier ever covers what is not there.
    #[test]
    fn a_frontier_covers_nothing_that_is_not_there(before in 0_u8..20, steps in prop::collection::vec(step(), 1..80)) {
        goes_well(before, &steps)?;
    }
}

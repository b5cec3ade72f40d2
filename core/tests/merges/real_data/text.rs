//! Two people writing one text at the same time, keystroke by keystroke (josephg/editing-traces, CC BY 4.0).

use anabranch_core::{Edit, Intent, Key, Path, Room};
use serde::Deserialize;
use serde_json::json;

use super::real;
use crate::bed::Bed;

/// Of virtual time, from one keystroke to the next.
const KEYSTROKE_MS: u64 = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    end_content: String,
    num_agents: usize,
    txns: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    /// The transactions that its writer had seen last.
    parents: Vec<usize>,
    agent: usize,
    /// Position, characters deleted, characters inserted; in order.
    patches: Vec<(usize, usize, String)>,
}

/// How many transactions of each writer, in order, each transaction comes after.
fn seen(trace: &Trace) -> Vec<[u64; 2]> {
    let mut ends: Vec<[u64; 2]> = Vec::new();
    let mut seen: Vec<[u64; 2]> = Vec::new();
    let mut written = [0; 2];
    for transaction in &trace.txns {
        let mut before = [0; 2];
        for parent in &transaction.parents {
            let parent: [u64; 2] = ends[*parent];
            before = [before[0].max(parent[0]), before[1].max(parent[1])];
        }
        let own = transaction.agent;
        assert_eq!(before[own], written[own], "a writer forgot its own writing");
        written[own] += 1;
        seen.push(before);
        before[own] += 1;
        ends.push(before);
    }
    seen
}

fn edits(patches: &[(usize, usize, String)], path: &Path) -> Intent {
    let edit = |(at, delete, insert): &(usize, usize, String)| Edit::Splice {
        path: path.clone(),
        at: *at,
        delete: *delete,
        insert: insert.clone(),
    };
    Intent::Edits(patches.iter().map(edit).collect())
}

/// Every keystroke is a write at its writer's replica, which has then received exactly what the writer had seen.
#[test]
fn a_text_that_two_people_wrote_at_once_ends_as_they_left_it() {
    let Some(text) = real("friendsforever.json.gz") else {
        return;
    };
    let trace: Trace = serde_json::from_str(&text).expect("an editing trace");
    assert_eq!((trace.num_agents, trace.txns.len()), (2, 26_078));
    // One batch in a frame, so that any number of them can be delivered.
    let mut bed = Bed::with_room(Room {
        frame_bytes_target: 1,
        ..Room::default()
    });
    let key = Key::new("friends").expect("a key");
    let path = Path::parse("/text").expect("a path");
    bed.link(0, 1);
    while bed.deliver(0, 1) | bed.deliver(1, 0) {}
    for (transaction, seen) in trace.txns.iter().zip(seen(&trace)) {
        let (own, other) = (transaction.agent, 1 - transaction.agent);
        while bed.held(own)[other] < seen[other] {
            assert!(bed.deliver(other, own), "{own} lacks what {other} wrote");
        }
        assert_eq!(bed.held(own)[..2], seen, "{own} has seen something else");
        let written = bed.write(own, &key, &edits(&transaction.patches, &path));
        assert!(written.expect("it fits the text").changed);
        bed.pass(KEYSTROKE_MS);
    }
    bed.sync(0, 1);
    let expected = Some(json!({ "text": trace.end_content }));
    let (shown, version) = bed.read(0, &key);
    assert!(
        shown.value == expected && shown.conflicts.is_empty(),
        "{shown}"
    );
    let expected = (shown, version);
    for site in [1, 0] {
        assert!(bed.folds(site) > 0, "{site} never folded");
        assert!(bed.read(site, &key) == expected, "{site} differs");
        bed.compact(site);
        bed.restart(site);
        assert!(
            bed.read(site, &key) == expected,
            "{site} differs after a restart"
        );
    }
}

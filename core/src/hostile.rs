//! What a peer with a valid certificate may say that is no replica: every frame there is, with whatever in it, and what it can make
//! of the frames that it hears. For the simulator's liar; nothing of it is in a shipped build.

use std::sync::{Arc, OnceLock};

use automerge::transaction::Transactable as _;
use automerge::{ActorId, AutoCommit, ObjType, ROOT, ScalarValue};
use bytes::Bytes;

use crate::codec::Writer;
use crate::message::{Given, Hello, Message, PROTOCOL_NEWEST, PROTOCOL_OLDEST, Part, Want};
use crate::persist::DocumentRange;
use crate::repair_message::{GivenDocument, Leaf, Reason, RepairMessage};
use crate::summary::{COUNTERS, Cell};
use crate::{Batch, Incarnation, Key, Namespace, Origin, Seq, limits};

/// Positions in one namespace.
pub type Positions = Vec<(Origin, Seq)>;

/// What a frame says, as far as an answer to it needs to know.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A comparison is asked for.
    Compare {
        /// The asker's number for it.
        number: u64,
        /// Where.
        namespace: Namespace,
        /// What the asker holds.
        positions: Positions,
    },
    /// A root is asked for, or whether these positions are held.
    Root {
        /// The asker's number for it.
        number: u64,
        /// No root is asked for.
        confirms: bool,
    },
    /// Some other message of a comparison.
    Comparison {
        /// The seeker's number for it.
        number: u64,
        /// As many digests as it has.
        digests: usize,
    },
    /// Documents are asked for.
    Documents {
        /// The asker's number for it.
        number: u64,
    },
    /// What the speaker says that it holds.
    Holds(Vec<(Namespace, Positions)>),
    /// Batches.
    Batches(Vec<Arc<Batch>>),
    /// Anything else.
    Other,
}

/// Reads what a replica says. None: it can't be read.
#[must_use]
pub fn hear(frame: &Bytes) -> Option<Heard> {
    Some(match Message::decode(frame).ok()? {
        Message::Frontier { sections, .. } => Heard::Holds(sections),
        Message::Delta(batches) | Message::Backlog { batches, .. } => Heard::Batches(batches),
        Message::Ask { number, .. } => Heard::Documents { number },
        Message::Repair(message) => match message {
            RepairMessage::Compare {
                number,
                namespace,
                positions,
                ..
            } => Heard::Compare {
                number,
                namespace,
                positions,
            },
            RepairMessage::AskRoot { number, root, .. } => Heard::Root {
                number,
                confirms: root.is_none(),
            },
            RepairMessage::Cut {
                number,
                digests,
                cells,
                ..
            } => Heard::Comparison {
                number,
                digests: digests.len() + cells.len(),
            },
            RepairMessage::Differ {
                number, children, ..
            } => Heard::Comparison {
                number,
                digests: children.len(),
            },
            RepairMessage::Leaves { number, .. }
            | RepairMessage::Sums { number, .. }
            | RepairMessage::Documents { number, .. }
            | RepairMessage::Heads { number, .. } => Heard::Comparison { number, digests: 0 },
            RepairMessage::Taken { .. }
            | RepairMessage::End { .. }
            | RepairMessage::Root { .. }
            | RepairMessage::Behind(_) => Heard::Other,
        },
        _ => Heard::Other,
    })
}

/// Who speaks, and that it speaks the newest protocol.
#[must_use]
pub fn hello(name: &str, datacenter: &str, incarnation: Incarnation) -> [Bytes; 2] {
    let hello = Hello {
        oldest: PROTOCOL_OLDEST,
        name: name.to_owned(),
        datacenter: datacenter.to_owned(),
        incarnation,
        heard: true,
    };
    let newest = PROTOCOL_NEWEST;
    [
        Message::Hello(hello).encode(),
        Message::Speaks { newest }.encode(),
    ]
}

/// What is held; `whole`: that is all.
#[must_use]
pub fn frontier(whole: bool, sections: Vec<(Namespace, Positions)>) -> Bytes {
    Message::Frontier { whole, sections }.encode()
}

/// Batches.
#[must_use]
pub fn delta(batches: Vec<Batch>) -> Bytes {
    Message::Delta(batches.into_iter().map(Arc::new).collect()).encode()
}

/// A part of a batch of `count` parts, full of zeros.
#[must_use]
pub fn part(namespace: &Namespace, origin: Origin, seq: Seq, count: usize, index: usize) -> Bytes {
    let part_bytes = 300;
    Message::Part(Part {
        bulk: seq.0,
        late: index.is_multiple_of(2),
        namespace: namespace.clone(),
        origin,
        seq,
        total: part_bytes * count,
        part_bytes,
        index,
        bytes: vec![0; part_bytes].into(),
    })
    .encode()
}

/// Asks for batches after a position; none: no more of them.
#[must_use]
pub fn want(wants: Vec<(Namespace, Origin, Option<Seq>)>) -> Bytes {
    let wants = wants.into_iter().map(|(namespace, origin, after)| Want {
        namespace,
        origin,
        after,
    });
    Message::Want(wants.collect()).encode()
}

/// Asks for all documents.
#[must_use]
pub fn ask(number: u64) -> Bytes {
    let (from, before) = (None, None);
    let range = DocumentRange { from, before };
    Message::Ask { number, range }.encode()
}

/// There are no documents where they were asked for, as of a frontier.
#[must_use]
pub fn given(number: u64, frontiers: Vec<(Namespace, Positions)>) -> Bytes {
    Message::Given(Given {
        number,
        frontiers,
        documents: Some(Vec::new()),
    })
    .encode()
}

/// Somebody waits until these are held.
#[must_use]
pub fn awaits(sections: Vec<(Namespace, Positions)>) -> Bytes {
    Message::Await(sections).encode()
}

/// What is held has this digest.
#[must_use]
pub fn standing(digest: [u8; 16]) -> Bytes {
    Message::Standing { digest }.encode()
}

/// Say all of it again.
#[must_use]
pub fn restate() -> Bytes {
    Message::Restate.encode()
}

/// What is bulk was taken.
#[must_use]
pub fn taken(bulk: u64) -> Bytes {
    Message::Taken { bulk }.encode()
}

fn repair(message: RepairMessage) -> Bytes {
    Message::Repair(message).encode()
}

/// Asks to be compared.
#[must_use]
pub fn compare(number: u64, namespace: Namespace, positions: Positions, whole: bool) -> Bytes {
    repair(RepairMessage::Compare {
        number,
        namespace,
        positions,
        documents: number.wrapping_mul(number),
        expected: u64::MAX >> (number % 64),
        whole,
        since_ms: 0,
        follows: number % 3,
        counters: match number % 3 {
            0 => Vec::new(),
            1 => vec![1; COUNTERS],
            _ => vec![i16::MAX; usize::try_from(number % 256).unwrap_or_default()],
        },
    })
}

/// Begins a comparison that was asked for: at these positions, to this depth, with digests that begin at this one.
#[must_use]
pub fn cut(number: u64, positions: Positions, leaf_bits: u8, bits: u8, from: u32) -> Bytes {
    let heads = (0..positions.len()).collect();
    let nodes = 1_u32 << bits.min(12);
    repair(RepairMessage::Cut {
        number,
        positions,
        heads,
        documents: 1 << leaf_bits.min(40),
        root: u64::from(from) | 1,
        salt: from.into(),
        leaf_bits,
        bits,
        digests: (0..nodes).map(|node| node.wrapping_add(from)).collect(),
        cells: Vec::new(),
    })
}

/// Begins a comparison that was asked for: at these positions, with a sketch of so many cells that is one of nothing that there is.
#[must_use]
pub fn sketched_cut(number: u64, positions: Positions, cells: usize, from: u64) -> Bytes {
    let cell = |at: u64| {
        let of = from.wrapping_mul(at | 1) >> 3;
        // One in four without values, of which no quotient can be taken.
        let values = if at.is_multiple_of(4) { 0 } else { of };
        Cell::new(values, of / 2).unwrap_or_default()
    };
    repair(RepairMessage::Cut {
        number,
        heads: (0..positions.len()).collect(),
        positions,
        documents: cells as u64,
        root: from | 1,
        salt: from,
        leaf_bits: 8,
        bits: 4,
        digests: Vec::new(),
        cells: (0..cells as u64).map(cell).collect(),
    })
}

/// So many documents that differ by their sketches.
#[must_use]
pub fn sums(number: u64, documents: u64) -> Bytes {
    repair(RepairMessage::Sums {
        number,
        prefixes: (0..documents).collect(),
        sums: (0..documents).collect(),
    })
}

/// All of the last flight's nodes differ, of which there were so many.
#[must_use]
pub fn differ(number: u64, nodes: usize, children_of_each: usize) -> Bytes {
    let children = nodes * children_of_each;
    repair(RepairMessage::Differ {
        number,
        positions: (0..nodes).collect(),
        children: vec![7; children],
    })
}

/// So many documents below each of so many nodes.
#[must_use]
pub fn leaves(number: u64, nodes: usize, documents: u64) -> Bytes {
    let leaf = |rest| Leaf { rest, sum: rest };
    repair(RepairMessage::Leaves {
        number,
        positions: (0..nodes).collect(),
        nodes: vec![(0..documents).map(leaf).collect(); nodes],
    })
}

/// One document with these pieces, said to come to a sum; no document if there is no key.
#[must_use]
pub fn documents(
    number: u64,
    part: u64,
    document: Option<(Key, u64, Vec<Bytes>)>,
    unclear: Vec<Key>,
    last: bool,
) -> Bytes {
    let given = |(key, sum, pieces)| GivenDocument {
        key,
        sum: Some(sum),
        pieces,
    };
    repair(RepairMessage::Documents {
        number,
        part,
        documents: document.into_iter().map(given).collect(),
        receipts: Vec::new(),
        unclear,
        last,
    })
}

/// A part is durable.
#[must_use]
pub fn part_taken(number: u64, part: u64) -> Bytes {
    repair(RepairMessage::Taken { number, part })
}

/// Where documents stand.
#[must_use]
pub fn heads(number: u64, documents: Vec<(Key, Vec<u64>)>) -> Bytes {
    repair(RepairMessage::Heads { number, documents })
}

/// A comparison ends, for want of something.
#[must_use]
pub fn end(number: u64) -> Bytes {
    let reasons = [
        Reason::Busy,
        Reason::NotReady,
        Reason::Unknown,
        Reason::Outdated,
        Reason::Unreadable,
    ];
    let at = usize::try_from(number).unwrap_or_default() % reasons.len();
    let reason = reasons[at];
    repair(RepairMessage::End { number, reason })
}

/// Asks for a root, and says one's own; none: asks only whether positions are held.
#[must_use]
pub fn ask_root(
    number: u64,
    namespace: Namespace,
    positions: Positions,
    root: Option<u64>,
) -> Bytes {
    repair(RepairMessage::AskRoot {
        number,
        namespace,
        positions,
        root: root.map(|root| (root, root % 1_000)),
    })
}

/// Says a root.
#[must_use]
pub fn root(number: u64, root: Option<u64>) -> Bytes {
    let root = root.map(|root| (root, root % 1_000));
    repair(RepairMessage::Root { number, root })
}

/// What the other one waits for is not there any more.
#[must_use]
pub fn behind(entries: Vec<(Namespace, Origin, Seq)>) -> Bytes {
    repair(RepairMessage::Behind(entries))
}

/// A compressed frame that says to be of a size.
#[must_use]
pub fn compressed(size: u64, block: &[u8]) -> Bytes {
    let mut writer = Writer::default();
    writer.u8(20);
    writer.number(size);
    writer.rest(block);
    writer.finish()
}

fn made(write: impl FnOnce(&mut AutoCommit)) -> AutoCommit {
    let mut document = AutoCommit::new().with_actor(ActorId::from([9; 8]));
    write(&mut document);
    document.commit();
    document
}

/// Changes that no replica lets into a document: none at all, one that is compressed, few bytes with more operations than may be, and
/// one of which the end is missing.
#[must_use]
pub fn refused_changes() -> &'static [Bytes] {
    static MADE: OnceLock<Vec<Bytes>> = OnceLock::new();
    MADE.get_or_init(|| {
        let text = "a".repeat(10_000);
        let mut large = made(|document| {
            let _ = document.put(ROOT, "text", text.as_str());
        });
        let ones = usize::try_from(limits::CHANGE_OPS_MAX).unwrap_or_default();
        let mut bomb = made(|document| {
            if let Ok(list) = document.put_object(ROOT, "list", ObjType::List) {
                let ones = vec![ScalarValue::Boolean(true); ones];
                let _ = document.splice(list, 0, 0, ones);
            }
        });
        let whole = Bytes::from(large.save());
        let compressed = large
            .get_last_local_change()
            .map(|mut change| change.bytes().into_owned());
        let bomb = bomb.get_last_local_change();
        let bomb = bomb.map(|change| Bytes::copy_from_slice(change.raw_bytes()));
        let cut = bomb.as_ref().map(|bomb| bomb.slice(..bomb.len() - 3));
        let compressed = compressed.map(Bytes::from);
        [
            Some(Bytes::from_static(b"no change at all")),
            compressed,
            bomb,
            cut,
            Some(whole),
        ]
        .into_iter()
        .flatten()
        .collect()
    })
}

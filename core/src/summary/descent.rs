//! Two replicas going down their tries together, in alternating flights of two bits.
//!
//! The one that is asked (the *source*) sends the digests of all nodes at a depth that suits how much is thought to differ.
//! The one that asks (the *seeker*) answers with the digests of the children of those that differ, and so on in turn, until
//! nodes hold about one document; then the seeker says what it has below those that differ. A flight names nodes by where they
//! stood in the flight before it, a byte or two each. With d of N documents differing that is about (16 + 17 log4(N/d) / 2 + 20) bytes
//! for each, and log4(N/d) flights.

use super::mix;
use super::trie::View;
use crate::limits;

/// A flight goes deeper by so many bits.
pub(crate) const STEP_BITS: u32 = 2;
const CHILDREN: u64 = 1 << STEP_BITS;
/// A source begins with at most so many nodes: 2^16 digests are 256 KiB.
const START_BITS_MAX: u32 = 16;
/// Deeper than this no trie is looked at: 2^40 nodes.
pub(crate) const BITS_MAX: u32 = 40;

/// What is sent of a node.
pub(crate) type Digest = u32;
/// A node's number among those of its depth.
pub(crate) type Node = u64;

/// How deep to go until a node holds about one document.
pub(crate) fn leaf_bits(documents: u64) -> u32 {
    let bits = u64::BITS - documents.leading_zeros();
    bits.next_multiple_of(STEP_BITS).min(BITS_MAX)
}

/// How deep a source begins, so that its flights end at `leaf_bits`, with about as many nodes as are thought to differ.
pub(crate) fn start_bits(leaf_bits: u32, expected: u64) -> u32 {
    let wanted = (u64::BITS - expected.leading_zeros()).clamp(4, START_BITS_MAX);
    // Every other flight is the source's.
    let round = 2 * STEP_BITS;
    let mut bits = leaf_bits;
    while bits > START_BITS_MAX || bits >= wanted + round {
        bits -= round.min(bits);
    }
    bits
}

/// Four bytes of a node's value. The value comes of a keyed function, so mixing suffices.
pub(crate) fn digest(value: u64, salt: u64) -> Digest {
    let mixed = mix(value ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    Digest::try_from(mixed >> 32).unwrap_or_default()
}

/// What a flight has brought to light.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// These of the flight's nodes differ; with the digests of their children, if they are to be looked into.
    Differ {
        positions: Vec<usize>,
        children: Vec<Digest>,
    },
    /// The other one does not keep to the rules.
    Nonsense(&'static str),
}

/// One end's part of a descent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Descent {
    salt: u64,
    /// The nodes of the last flight, whichever end sent it, and their depth.
    bits: u32,
    nodes: Vec<Node>,
    /// More nodes differed than are looked into at once.
    pub(crate) cut_short: bool,
}

impl Descent {
    /// The source begins: the digests of all its nodes at a depth.
    pub(crate) fn begin(view: View<'_>, salt: u64, bits: u32) -> (Self, Vec<Digest>) {
        let nodes: Vec<Node> = (0..1 << bits).collect();
        let digests = nodes
            .iter()
            .map(|node| digest(view.node(bits, *node), salt));
        let digests = digests.collect();
        let descent = Self {
            salt,
            bits,
            nodes,
            cut_short: false,
        };
        (descent, digests)
    }

    /// The seeker has been sent them.
    pub(crate) fn join(salt: u64, bits: u32, digests: usize) -> Option<Self> {
        let whole = bits <= START_BITS_MAX && digests as u64 == 1 << bits;
        whole.then(|| Self {
            salt,
            bits,
            nodes: (0..1 << bits).collect(),
            cut_short: false,
        })
    }

    /// How deep the last flight was.
    pub(crate) fn bits(&self) -> u32 {
        self.bits
    }

    /// The nodes of the last flight.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Compares the digests of the last flight, which the other one sent, with one's own. Goes down by one step, if it
    /// is to, and gives the next flight.
    pub(crate) fn compare(&mut self, view: View<'_>, digests: &[Digest], deeper: bool) -> Found {
        if digests.len() != self.nodes.len() {
            return Found::Nonsense("as many digests as nodes are expected");
        }
        if deeper && self.bits + STEP_BITS > BITS_MAX {
            return Found::Nonsense("a summary without an end");
        }
        let own = |node: &Node| digest(view.node(self.bits, *node), self.salt);
        let differs = |at: &usize| own(&self.nodes[*at]) != digests[*at];
        let mut positions: Vec<usize> = (0..digests.len()).filter(differs).collect();
        self.cut_short |= positions.len() > limits::NODES_MAX;
        positions.truncate(limits::NODES_MAX);
        let mut children = Vec::new();
        if deeper {
            self.descend(&positions);
            children.extend(
                self.nodes
                    .iter()
                    .map(own_digest(view, self.bits, self.salt)),
            );
        } else {
            self.nodes = positions.iter().map(|at| self.nodes[*at]).collect();
        }
        Found::Differ {
            positions,
            children,
        }
    }

    /// The other one says which nodes of the last flight differ. None: it does not keep to the rules.
    pub(crate) fn told(&mut self, positions: &[usize], deeper: bool) -> Option<()> {
        let rising = positions.is_sorted_by(|a, b| a < b);
        let known = positions.last().is_none_or(|last| *last < self.nodes.len());
        let deep = deeper && self.bits + STEP_BITS > BITS_MAX;
        if !rising || !known || deep || positions.len() > limits::NODES_MAX {
            return None;
        }
        if deeper {
            self.descend(positions);
        } else {
            self.nodes = positions.iter().map(|at| self.nodes[*at]).collect();
        }
        Some(())
    }

    fn descend(&mut self, positions: &[usize]) {
        let parents = positions.iter().map(|at| self.nodes[*at]);
        self.nodes = parents
            .flat_map(|node| (0..CHILDREN).map(move |child| node << STEP_BITS | child))
            .collect();
        self.bits += STEP_BITS;
    }
}

fn own_digest(view: View<'_>, bits: u32, salt: u64) -> impl Fn(&Node) -> Digest + '_ {
    move |node| digest(view.node(bits, *node), salt)
}

//! Batches that come in parts, until they are whole.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Replica;
use super::lanes::Name;
use crate::batch;
use crate::codec::DecodeError;
use crate::effect::{LinkId, Now};
use crate::message::{Message, Part};
use crate::{ReplicaId, Seq};

/// What keeping a part costs beside its bytes, and what keeping track of a batch does.
const PART_OVERHEAD_BYTES: usize = 96;
const PARTIAL_OVERHEAD_BYTES: usize = 384;

/// Parts from one peer.
#[derive(Default)]
pub(super) struct Assembly {
    /// The oldest first.
    partials: VecDeque<Partial>,
    bytes: usize,
}

struct Partial {
    name: Name,
    seq: Seq,
    total: usize,
    part_bytes: usize,
    count: usize,
    parts: BTreeMap<usize, Bytes>,
    /// What it takes of memory.
    bytes: usize,
}

impl Partial {
    fn of(part: &Part) -> Self {
        Self {
            name: (part.namespace.clone(), part.origin),
            seq: part.seq,
            total: part.total,
            part_bytes: part.part_bytes,
            count: part.count(),
            parts: BTreeMap::new(),
            bytes: PARTIAL_OVERHEAD_BYTES,
        }
    }

    fn is_of(&self, part: &Part) -> bool {
        self.seq == part.seq && self.name.1 == part.origin && self.name.0 == part.namespace
    }

    fn is_cut_like(&self, part: &Part) -> bool {
        (self.total, self.part_bytes) == (part.total, part.part_bytes)
    }
}

/// What a part led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Assembled {
    /// The packet, if that was all of it.
    pub(super) whole: Option<Bytes>,
    /// Batches of which parts were let go for want of room.
    pub(super) dropped: Vec<(Name, Seq)>,
}

impl Assembly {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets go of batches that are not wanted any more.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Name, Seq) -> bool) {
        self.partials
            .retain(|partial| wanted(&partial.name, partial.seq));
        self.bytes = self.partials.iter().map(|partial| partial.bytes).sum();
    }

    /// Takes a part, in any order, any number of times.
    pub(super) fn take(&mut self, part: Part, bytes_max: usize) -> Assembled {
        let known = |partial: &Partial| partial.is_of(&part);
        let mut at = self.partials.iter().position(known);
        if let Some(index) = at
            && !self.partials[index].is_cut_like(&part)
        {
            // The sender has begun anew, in another way.
            self.remove(index);
            at = None;
        }
        let at = at.unwrap_or_else(|| {
            let partial = Partial::of(&part);
            self.bytes += partial.bytes;
            self.partials.push_back(partial);
            self.partials.len() - 1
        });
        let partial = &mut self.partials[at];
        let bytes = part.bytes.len() + PART_OVERHEAD_BYTES;
        if partial.parts.insert(part.index, part.bytes).is_none() {
            partial.bytes += bytes;
            self.bytes += bytes;
        }
        if partial.parts.len() == partial.count {
            return Assembled {
                whole: self.remove(at).map(|partial| joined(&partial)),
                dropped: Vec::new(),
            };
        }
        let dropped = self.make_room(at, bytes_max);
        Assembled {
            whole: None,
            dropped,
        }
    }

    fn remove(&mut self, at: usize) -> Option<Partial> {
        let partial = self.partials.remove(at)?;
        self.bytes -= partial.bytes;
        Some(partial)
    }

    /// The oldest go, but not the one that has just grown: alone it may be as large as a batch may be.
    fn make_room(&mut self, mut kept: usize, bytes_max: usize) -> Vec<(Name, Seq)> {
        let mut dropped = Vec::new();
        while self.bytes > bytes_max && self.partials.len() > 1 {
            let oldest = usize::from(kept == 0);
            if let Some(partial) = self.remove(oldest) {
                dropped.push((partial.name, partial.seq));
            }
            kept -= usize::from(kept > oldest);
        }
        dropped
    }
}

fn joined(partial: &Partial) -> Bytes {
    let mut whole = Vec::with_capacity(partial.total);
    for part in partial.parts.values() {
        whole.extend_from_slice(part);
    }
    whole.into()
}

impl Replica {
    /// A part of a batch from a peer.
    pub(super) fn part(
        &mut self,
        now: Now,
        peer: ReplicaId,
        link: LinkId,
        part: Part,
    ) -> Result<(), DecodeError> {
        self.say(peer, link, &Message::Taken { bulk: part.bulk });
        let (history, bytes_max) = (&self.history, self.config.room.partial_bytes_max);
        let Some(session) = self.peers.session(peer) else {
            return Ok(());
        };
        let is_new = |name: &Name, seq: Seq| seq > history.accepted(&name.0, &name.1);
        session.assembly.retain(is_new);
        let name = (part.namespace.clone(), part.origin);
        let seq = part.seq;
        if !is_new(&name, seq) {
            return Ok(());
        }
        let Assembled { whole, dropped } = session.assembly.take(part, bytes_max);
        for (name, seq) in dropped {
            self.counters.parts_dropped += 1;
            self.ask_from(now, link, name, seq.before());
        }
        let Some(packet) = whole else {
            return Ok(());
        };
        let batches = batch::decode(packet)?;
        match &batches[..] {
            [batch] if (&batch.namespace, batch.origin, batch.seq) == (&name.0, name.1, seq) => {
                self.receive(now, link, batch);
                Ok(())
            }
            _ => Err(DecodeError::Unknown {
                what: "parts of batches",
                value: batches.len() as u64,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::replica::tests::bed::{namespace, origin};

    const ROOM: usize = 10_000;

    fn parts(stream: u8, seq: u64, whole: &[u8], part_bytes: usize) -> Vec<Part> {
        let pieces = whole.chunks(part_bytes).enumerate();
        let part = |(index, bytes): (usize, &[u8])| Part {
            bulk: 0,
            late: false,
            namespace: namespace(0),
            origin: origin(stream, 1),
            seq: Seq(seq),
            total: whole.len(),
            part_bytes,
            index,
            bytes: Bytes::copy_from_slice(bytes),
        };
        pieces.map(part).collect()
    }

    proptest! {
        /// Parts of several batches, each some times and in any order: every batch comes out as it was, and no memory is left behind.
        #[test]
        fn any_order_and_number_of_parts_gives_the_whole(
            lengths in prop::collection::vec(1_usize..900, 1..5), part_bytes in 20_usize..300, order in any::<u64>(), again in 0_usize..3,
        ) {
            let wholes: Vec<Vec<u8>> = lengths.iter().enumerate()
                .map(|(n, len)| (0..*len).map(|at| u8::try_from((at * 7 + n) % 251).unwrap()).collect()).collect();
            let mut all: Vec<(usize, Part)> = Vec::new();
            for (n, whole) in wholes.iter().enumerate() {
                for _ in 0..=again {
                    all.extend(parts(u8::try_from(n).unwrap(), 1, whole, part_bytes).into_iter().map(|part| (n, part)));
                }
            }
            let mut seed = order;
            for at in (1..all.len()).rev() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                all.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
            }
            let mut assembly = Assembly::default();
            let mut got = vec![0; wholes.len()];
            for (n, part) in all {
                if got[n] > 0 { continue }
                let assembled = assembly.take(part, 1 << 20);
                prop_assert!(assembled.dropped.is_empty());
                if let Some(whole) = assembled.whole {
                    prop_assert_eq!(&whole[..], &wholes[n][..]);
                    got[n] += 1;
                }
            }
            prop_assert!(got.iter().all(|times| *times == 1));
            prop_assert_eq!(assembly.bytes(), 0);
        }

        #[test]
        fn the_room_is_kept_whatever_comes(
            steps in prop::collection::vec((0_u8..40, 1_u64..4, 1_usize..20, any::<prop::sample::Index>()), 1..300),
        ) {
            let mut assembly = Assembly::default();
            for (stream, seq, part_bytes, index) in steps {
                let all = parts(stream, seq, &vec![stream; 400], part_bytes * 20);
                let part = all[index.index(all.len())].clone();
                assembly.take(part, ROOM);
                prop_assert!(assembly.bytes() <= ROOM || assembly.partials.len() == 1);
                let counted: usize = assembly.partials.iter().map(|partial| partial.bytes).sum();
                prop_assert_eq!(counted, assembly.bytes());
            }
        }
    }

    #[test]
    fn the_oldest_goes_and_is_named() {
        let mut assembly = Assembly::default();
        for stream in 0..3 {
            let first = parts(stream, 5, &[0; 8_000], 4_000).remove(0);
            let assembled = assembly.take(first, ROOM);
            let dropped = match stream {
                0 | 1 => vec![],
                stream => vec![((namespace(0), origin(stream - 2, 1)), Seq(5))],
            };
            assert_eq!(assembled.dropped, dropped);
        }
        let grown = parts(1, 5, &[0; 8_000], 4_000).remove(1);
        assert!(assembly.take(grown, ROOM).whole.is_some());
    }

    #[test]
    fn a_batch_cut_in_another_way_begins_anew() {
        let mut assembly = Assembly::default();
        let whole: Vec<u8> = (0..100).collect();
        assembly.take(parts(1, 1, &whole, 60).remove(0), ROOM);
        let [first, second] = [0, 1].map(|at| parts(1, 1, &whole, 50).remove(at));
        assert_eq!(assembly.take(second, ROOM).whole, None);
        assert_eq!(assembly.take(first, ROOM).whole.unwrap(), whole);
    }
}

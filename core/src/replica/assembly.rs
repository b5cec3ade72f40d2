//! Batches that come in parts, until they are whole.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Replica;
use super::lanes::Name;
use crate::batch;
use crate::codec::DecodeError;
use crate::effect::{LinkId, Now};
use crate::message::{Message, Part};
use crate::{ReplicaId, Seq, limits};

/// What keeping a part costs beside its bytes, and what keeping track of a batch does.
const PART_OVERHEAD_BYTES: usize = 96;
const PARTIAL_OVERHEAD_BYTES: usize = 384;

/// A batch that has not grown while so many parts of others came is not being sent any more.
const STALE_AFTER_PARTS: u64 = 1_024;

/// Parts from one peer. Room is set aside for the whole of a batch with its first part, and others wait for their turn: if they pushed
/// each other out, none would ever be whole.
#[derive(Default)]
pub(super) struct Assembly {
    /// In the order in which they began.
    partials: VecDeque<Partial>,
    bytes: usize,
    reserved: usize,
    parts_taken: u64,
    /// Streams for which there was no room: the first batch, and what it takes.
    turned_away: BTreeMap<Name, (Seq, usize)>,
    /// Streams whose batch was whole and could not be taken in, such as while it waited for others: those that were turned away go first, or
    /// it would take all room again and keep out what it waits for.
    not_due: BTreeMap<Name, Seq>,
}

struct Partial {
    name: Name,
    seq: Seq,
    total: usize,
    part_bytes: usize,
    count: usize,
    parts: BTreeMap<usize, Bytes>,
    /// What it takes of memory now,
    bytes: usize,
    /// and when it is whole.
    reserved: usize,
    grown_at: u64,
}

/// What a batch takes of memory once all parts are there.
fn reserved_for(part: &Part) -> usize {
    part.total + part.count() * PART_OVERHEAD_BYTES + PARTIAL_OVERHEAD_BYTES
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
            reserved: reserved_for(part),
            grown_at: 0,
        }
    }

    fn is_of(&self, part: &Part) -> bool {
        self.seq == part.seq && self.name.1 == part.origin && self.name.0 == part.namespace
    }

    /// Whether it is a later batch of the same stream.
    fn follows(&self, part: &Part) -> bool {
        self.seq > part.seq && self.name.1 == part.origin && self.name.0 == part.namespace
    }

    fn is_cut_like(&self, part: &Part) -> bool {
        (self.total, self.part_bytes) == (part.total, part.part_bytes)
    }
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
        self.reserved = self.partials.iter().map(|partial| partial.reserved).sum();
        self.turned_away.retain(|name, (seq, _)| wanted(name, *seq));
        self.not_due.retain(|name, seq| wanted(name, *seq));
    }

    /// A batch that was whole could not be taken in yet.
    fn was_not_due(&mut self, name: &Name, seq: Seq) {
        let room = self.not_due.len() < limits::ORIGINS_MAX;
        if room || self.not_due.contains_key(name) {
            self.not_due.insert(name.clone(), seq);
        }
    }

    fn goes_first(&self, name: &Name, seq: Seq) -> bool {
        self.not_due.get(name).is_none_or(|not_due| seq < *not_due)
    }

    /// Whether some that have not had their turn wait for it. If none do, all have their turn again.
    fn others_go_first(&mut self) -> bool {
        let mut turned_away = self.turned_away.iter();
        let waits = turned_away.any(|(name, (seq, _))| self.goes_first(name, *seq));
        if !waits {
            self.not_due.clear();
        }
        waits
    }

    /// Takes a part, in any order, any number of times. Gives the packet when that was all of it.
    pub(super) fn take(&mut self, part: Part, bytes_max: usize) -> Option<Bytes> {
        self.parts_taken += 1;
        let known = |partial: &Partial| partial.is_of(&part);
        let mut at = self.partials.iter().position(known);
        if let Some(index) = at
            && !self.partials[index].is_cut_like(&part)
        {
            // The sender has begun anew, in another way.
            self.remove(index);
            at = None;
        }
        let at = match at {
            Some(at) => at,
            None => self.begin(&part, bytes_max)?,
        };
        let partial = &mut self.partials[at];
        partial.grown_at = self.parts_taken;
        let bytes = part.bytes.len() + PART_OVERHEAD_BYTES;
        if partial.parts.insert(part.index, part.bytes).is_none() {
            partial.bytes += bytes;
            self.bytes += bytes;
        }
        if partial.parts.len() < partial.count {
            return None;
        }
        self.remove(at).map(|partial| joined(&partial))
    }

    /// Sets room aside, if there is some. One alone may be as large as a batch may be.
    fn begin(&mut self, part: &Part, bytes_max: usize) -> Option<usize> {
        let reserved = reserved_for(part);
        let name = (part.namespace.clone(), part.origin);
        if !self.goes_first(&name, part.seq) && self.others_go_first() {
            self.turn_away(part, reserved);
            return None;
        }
        let stale_before = self.parts_taken.saturating_sub(STALE_AFTER_PARTS);
        while !self.partials.is_empty() && self.reserved + reserved > bytes_max {
            // A batch is of no use before the one that it follows.
            let is_stale =
                |partial: &Partial| partial.grown_at < stale_before || partial.follows(part);
            let Some(stale) = self.partials.iter().position(is_stale) else {
                self.turn_away(part, reserved);
                return None;
            };
            if let Some(partial) = self.remove(stale)
                && !partial.follows(part)
            {
                let first = (partial.seq, partial.reserved);
                self.turned_away.insert(partial.name, first);
            }
        }
        let partial = Partial::of(part);
        self.bytes += partial.bytes;
        self.reserved += partial.reserved;
        self.partials.push_back(partial);
        Some(self.partials.len() - 1)
    }

    fn turn_away(&mut self, part: &Part, reserved: usize) {
        let name = (part.namespace.clone(), part.origin);
        let room = self.turned_away.len() < limits::ORIGINS_MAX;
        match self.turned_away.get_mut(&name) {
            Some(first) if first.0 <= part.seq => {}
            Some(first) => *first = (part.seq, reserved),
            None if room => {
                self.turned_away.insert(name, (part.seq, reserved));
            }
            None => {}
        }
    }

    /// Batches for which there was no room and now is: they are to be asked for.
    pub(super) fn admitted(&mut self, bytes_max: usize) -> Vec<(Name, Seq)> {
        let mut promised = self.reserved;
        let mut admitted = Vec::new();
        let mut turned_away = std::mem::take(&mut self.turned_away);
        turned_away.retain(|name, (seq, reserved)| {
            let has_turn = self.goes_first(name, *seq);
            let fits = has_turn && (promised == 0 || promised + *reserved <= bytes_max);
            if fits {
                promised += *reserved;
                admitted.push((name.clone(), *seq));
            }
            !fits
        });
        self.turned_away = turned_away;
        admitted
    }

    fn remove(&mut self, at: usize) -> Option<Partial> {
        let partial = self.partials.remove(at)?;
        self.bytes -= partial.bytes;
        self.reserved -= partial.reserved;
        Some(partial)
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
        let whole = session.assembly.take(part, bytes_max);
        for (name, seq) in session.assembly.admitted(bytes_max) {
            self.counters.parts_dropped += 1;
            self.ask_from(now, link, name, seq.before());
        }
        let Some(mut packet) = whole else {
            return Ok(());
        };
        if self.planted_mix_parts() {
            let second = packet.split_off(packet.len() / 2);
            packet = [&second[..], &packet[..]].concat().into();
        }
        let batches = batch::decode(packet)?;
        match &batches[..] {
            [batch] if (&batch.namespace, batch.origin, batch.seq) == (&name.0, name.1, seq) => {
                self.receive(now, link, batch);
                if seq > self.history.accepted(&name.0, &name.1)
                    && let Some(session) = self.peers.session(peer)
                {
                    session.assembly.was_not_due(&name, seq);
                }
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
                if let Some(whole) = assembly.take(part, 1 << 20) {
                    prop_assert_eq!(&whole[..], &wholes[n][..]);
                    got[n] += 1;
                }
            }
            prop_assert!(got.iter().all(|times| *times == 1));
            prop_assert_eq!((assembly.bytes(), assembly.reserved), (0, 0));
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
                prop_assert!(assembly.reserved <= ROOM || assembly.partials.len() == 1);
                let counted: usize = assembly.partials.iter().map(|partial| partial.bytes).sum();
                prop_assert_eq!(counted, assembly.bytes());
                prop_assert!(counted <= assembly.reserved);
            }
        }
    }

    /// Three that do not fit at once, a part of each in turn, and each from its beginning when it is asked for.
    #[test]
    fn those_without_room_have_their_turn() {
        let mut assembly = Assembly::default();
        let all = |stream| parts(stream, 5, &[stream; 8_000], 1_000);
        let mut sent: VecDeque<Part> = VecDeque::new();
        for index in 0..8 {
            sent.extend((0..3).map(|stream| all(stream).remove(index)));
        }
        let mut got = Vec::new();
        let mut count = 0;
        while let Some(part) = sent.pop_front() {
            count += 1;
            let stream = part.origin.replica.0[0];
            if got.contains(&stream) {
                continue;
            }
            if assembly.take(part, ROOM).is_some() {
                got.push(stream);
            }
            for ((_, origin), seq) in assembly.admitted(ROOM) {
                assert_eq!(seq, Seq(5));
                sent.extend(all(origin.replica.0[0]));
            }
        }
        assert_eq!(got, [0, 1, 2]);
        assert!(count <= 6 * 8, "{count} parts");
    }

    #[test]
    fn one_that_is_not_sent_any_more_gives_way() {
        let mut assembly = Assembly::default();
        let first = |stream| parts(stream, 5, &[0; 8_000], 4_000).remove(0);
        assembly.take(first(1), ROOM);
        for _ in 0..STALE_AFTER_PARTS {
            assembly.take(first(2), ROOM);
            assert!(assembly.admitted(ROOM).is_empty());
        }
        assembly.take(first(2), ROOM);
        assembly.take(first(2), ROOM);
        let rest = parts(2, 5, &[0; 8_000], 4_000).remove(1);
        assert!(assembly.take(rest, ROOM).is_some());
        let turned_away = ((namespace(0), origin(1, 1)), Seq(5));
        assert!(assembly.admitted(ROOM).contains(&turned_away));
    }

    /// Its last part came late, and begins it anew each time that the one before it is about to come.
    #[test]
    fn a_later_batch_of_the_same_stream_gives_way() {
        let mut assembly = Assembly::default();
        let late = parts(1, 6, &[0; 300], 100).remove(2);
        assert_eq!(assembly.take(late, ROOM), None);
        let whole = [0; 12_000];
        let before = parts(1, 5, &whole, 1_000).into_iter();
        let mut whole_of = before.filter_map(|part| assembly.take(part, ROOM));
        assert_eq!(whole_of.next().unwrap().len(), whole.len());
        assert_eq!(assembly.admitted(ROOM), []);
    }

    /// It waits for what the other brings, and there is no room to hold it back: its late parts do not take the other's place.
    #[test]
    fn what_was_not_due_lets_others_go_first() {
        let mut assembly = Assembly::default();
        let all = |stream| parts(stream, 5, &[stream; 12_000], 4_000);
        let name = (namespace(0), origin(1, 1));
        assembly.take(all(1).remove(0), ROOM);
        assembly.take(all(2).remove(0), ROOM);
        let rest = all(1).into_iter().skip(1);
        let whole = rest.filter_map(|part| assembly.take(part, ROOM)).count();
        assert_eq!(whole, 1);
        assembly.was_not_due(&name, Seq(5));
        for _ in 0..2 {
            assert_eq!(assembly.take(all(1).remove(2), ROOM), None);
        }
        assert_eq!(assembly.admitted(ROOM).len(), 1, "the other is asked for");
        let taken = all(2)
            .into_iter()
            .filter_map(|part| assembly.take(part, ROOM));
        assert_eq!(taken.count(), 1, "and comes");
        assert_eq!(assembly.take(all(1).remove(0), ROOM), None);
        assert_eq!(assembly.partials.len(), 1, "then it may come again");
    }

    #[test]
    fn a_batch_cut_in_another_way_begins_anew() {
        let mut assembly = Assembly::default();
        let whole: Vec<u8> = (0..100).collect();
        assembly.take(parts(1, 1, &whole, 60).remove(0), ROOM);
        let [first, second] = [0, 1].map(|at| parts(1, 1, &whole, 50).remove(at));
        assert_eq!(assembly.take(second, ROOM), None);
        assert_eq!(assembly.take(first, ROOM).unwrap(), whole);
    }
}

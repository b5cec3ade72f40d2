//! A batch that is too large to be sent at once, on its way piece by piece.

use bytes::Bytes;

use super::lanes::Name;
use super::{Room, Session};
use crate::message::Part;
use crate::{Batch, Seq, batch, limits};

/// What is left to send of one batch.
pub(super) struct Parting {
    pub(super) seq: Seq,
    late: bool,
    packet: Bytes,
    part_bytes: usize,
    index: usize,
}

impl Parting {
    fn new(batch: &Batch, late: bool, part_bytes: usize) -> Self {
        let packet = batch::encode([batch]);
        Self {
            seq: batch.seq,
            late,
            part_bytes: part_bytes.max(packet.len().div_ceil(limits::PARTS_MAX)),
            packet,
            index: 0,
        }
    }

    /// Bytes that have not been given out.
    pub(super) fn left(&self) -> usize {
        self.packet
            .len()
            .saturating_sub(self.index * self.part_bytes)
    }

    fn next(&mut self, name: &Name, bulk: u64) -> Part {
        let at = self.index * self.part_bytes;
        let end = self.packet.len().min(at + self.part_bytes);
        let part = Part {
            bulk,
            late: self.late,
            namespace: name.0.clone(),
            origin: name.1,
            seq: self.seq,
            total: self.packet.len(),
            part_bytes: self.part_bytes,
            index: self.index,
            bytes: self.packet.slice(at..end),
        };
        self.index += 1;
        part
    }
}

impl Session {
    /// Whether a batch goes in parts to this peer.
    pub(super) fn goes_in_parts(&self, batch: &Batch, room: &Room) -> bool {
        self.speaks >= 2 && batch.bytes() > room.part_bytes
    }

    /// Whether a batch of that size may be begun: as many as the peer has room for, or one alone.
    fn has_room_for_parts(&self, begun: usize, bytes: usize, room: &Room) -> bool {
        let begun = self.parts_bytes + begun;
        begun == 0 || begun + bytes <= room.partial_bytes_max / 2
    }

    /// The next batch of a stream, which is in no lane now, begins to go in parts, or waits until it may. Says whether it has begun.
    pub(super) fn begin_parts(
        &mut self,
        name: &Name,
        batch: &Batch,
        late: bool,
        room: &Room,
    ) -> bool {
        let bytes = batch.bytes();
        if !self.has_room_for_parts(0, bytes, room) {
            self.large.push_back((name.clone(), bytes));
            return false;
        }
        let Some(stream) = self.streams.get_mut(name) else {
            return false;
        };
        let parting = Parting::new(batch, late, room.part_bytes);
        self.parts_bytes += parting.packet.len();
        stream.parting = Some(parting);
        self.bulk.insert(name);
        true
    }

    /// The next part of a stream's batch, if one is on its way.
    pub(super) fn next_part(&mut self, name: &Name) -> Option<Part> {
        let bulk = self.pace.next();
        let parting = self.streams.get_mut(name)?.parting.as_mut()?;
        let part = parting.next(name, bulk);
        let done = parting.left() == 0;
        self.bulk.spend(name, part.bytes.len());
        if done {
            self.end_parts(name);
            self.bulk.remove(name);
            if self.large.is_empty() {
                self.stir(name);
            } else {
                // Its next may be as large: those who waited meanwhile have their turn first.
                self.large.push_back((name.clone(), 0));
            }
        }
        Some(part)
    }

    /// No more parts of that stream's batch.
    pub(super) fn end_parts(&mut self, name: &Name) {
        let stream = self.streams.get_mut(name);
        if let Some(parting) = stream.and_then(|stream| stream.parting.take()) {
            self.parts_bytes -= parting.packet.len();
        }
    }

    /// Streams that waited to begin a large batch go back to where they take turns, as far as there is room now.
    pub(super) fn admit_large(&mut self, room: &Room) {
        let mut begun = 0;
        while let Some((_, bytes)) = self.large.front()
            && self.has_room_for_parts(begun, *bytes, room)
            && let Some((name, bytes)) = self.large.pop_front()
        {
            begun += bytes;
            self.stir(&name);
        }
    }
}

//! Who belongs to the cluster, as far as is known here, and for how long the log is kept for them.

use super::Replica;
use super::peers::{Peer, Peers};
use crate::codec::{DecodeError, Reader, Writer};
use crate::{Lsn, ReplicaId, limits};

const FORMAT: u8 = 1;

impl Peers {
    /// Every replica that was ever met, and what it has said that it holds.
    pub(super) fn encode_members(&self, writer: &mut Writer) {
        writer.u8(FORMAT);
        writer.count(self.by_id.len());
        for (id, peer) in &self.by_id {
            writer.array(&id.0);
            writer.bytes(peer.name.as_bytes());
            writer.bytes(peer.datacenter.as_bytes());
            writer.count(peer.holds.len());
            for (namespace, frontier) in &peer.holds {
                writer.bytes(namespace.as_str().as_bytes());
                writer.count(frontier.len());
                for (origin, seq) in frontier.iter() {
                    writer.origin(origin);
                    writer.number(seq.0);
                }
            }
        }
    }

    /// What is restored from a peer's backup finds itself among the others, and leaves itself out.
    pub(super) fn decode_members(reader: &mut Reader, own: ReplicaId) -> Result<Self, DecodeError> {
        reader.format("members format", FORMAT)?;
        let mut peers = Self::default();
        for _ in 0..reader.count("members", usize::MAX)? {
            let id = ReplicaId(reader.array("member")?);
            let mut peer = Peer {
                name: reader.text("name", limits::FRAME_BYTES_MAX)?,
                datacenter: reader.text("datacenter", limits::FRAME_BYTES_MAX)?,
                ..Peer::default()
            };
            for _ in 0..reader.count("namespaces", usize::MAX)? {
                let frontier = peer.holds.entry(reader.namespace()?).or_default();
                for _ in 0..reader.count("origins", usize::MAX)? {
                    let origin = reader.origin()?;
                    frontier.raise(origin, reader.seq()?);
                }
            }
            if id != own {
                peers.by_id.insert(id, peer);
            }
        }
        Ok(peers)
    }
}

impl Replica {
    /// Lets go of the log's old end, now that the documents before a position are stored: what no member
    /// needs any more beyond what is kept in any case, and whatever is too much. Gives where it begins then, if that
    /// has changed.
    pub(super) fn release_log(&mut self, stored_before: Lsn) -> Option<Lsn> {
        let room = &self.config.room;
        let extent = &self.history.extent;
        let kept = extent.last_bytes(room.log_bytes_kept);
        let too_much = extent.last_bytes(room.log_bytes_max);
        let needed = self
            .peers
            .by_id
            .values()
            .map(|peer| {
                self.history
                    .needed_by(|namespace, origin| peer.holds(namespace, origin))
            })
            .min()
            .unwrap_or(stored_before);
        let needed = if self.planted_release_needed() {
            stored_before
        } else {
            needed
        };
        let first = needed.min(kept).max(too_much).min(stored_before);
        if first <= extent.first {
            return None;
        }
        self.history.release_before(first);
        Some(first)
    }
}

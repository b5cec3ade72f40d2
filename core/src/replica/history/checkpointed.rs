//! What of the history is written down with a checkpoint.

use std::collections::VecDeque;

use super::{Extent, History, Space};
use crate::Lsn;
use crate::codec::{DecodeError, Reader, Writer};

const FORMAT: u8 = 4;
/// Those before: namespaces were everywhere,
const FORMAT_WITHOUT_PLACEMENTS: u8 = 3;
/// and nothing had come by a repair.
const FORMAT_WITHOUT_LEAPS: u8 = 2;

impl History {
    /// What is durable, for a checkpoint.
    pub(in crate::replica) fn encode(&self, writer: &mut Writer) {
        writer.u8(FORMAT);
        writer.number(self.durable_end.0);
        self.extent.encode(writer);
        writer.count(self.spaces.len());
        for (namespace, space) in &self.spaces {
            writer.bytes(namespace.as_str().as_bytes());
            writer.count(space.durable.len());
            for (origin, seq) in space.durable.iter() {
                writer.origin(origin);
                writer.number(seq.0);
                writer.u8(space.durable_heads.contains(origin).into());
                let index = space.index.get(origin).map_or(&[][..], Vec::as_slice);
                let durable = index.partition_point(|(_, lsn)| *lsn <= self.durable_end);
                writer.count(durable);
                for (seq, lsn) in &index[..durable] {
                    writer.number(seq.0);
                    writer.number(lsn.0);
                }
                let leaps = space.logged_from.get(origin);
                writer.count(leaps.map_or(0, VecDeque::len));
                for (from, arrival) in leaps.into_iter().flatten() {
                    writer.number(from.0);
                    writer.number(arrival.0);
                }
                writer.number(space.times.get(origin).copied().unwrap_or(0));
            }
        }
    }

    /// Reads back what [`Self::encode`] wrote, and says whether placements come after it in the checkpoint. All of it is durable. What was let in once is read again,
    /// whatever the limits are now: a replica over one of them must still start.
    pub(in crate::replica) fn decode(reader: &mut Reader) -> Result<(Self, bool), DecodeError> {
        let format = reader.format_up_to("checkpoint format", FORMAT)?;
        if format < FORMAT_WITHOUT_LEAPS {
            let (what, value) = ("checkpoint format", format.into());
            return Err(DecodeError::Unknown { what, value });
        }
        let end = Lsn(reader.number("log end")?);
        let mut history = Self {
            log_end: end,
            durable_end: end,
            extent: Extent::decode(reader)?,
            ..Self::default()
        };
        for _ in 0..reader.count("namespaces", usize::MAX)? {
            let namespace = reader.namespace()?;
            let mut space = Space::default();
            for _ in 0..reader.count("origins", usize::MAX)? {
                let origin = reader.origin()?;
                let seq = reader.seq()?;
                space.accepted.raise(origin, seq);
                history.tag(origin);
                if reader.u8("head")? != 0 {
                    space.accepted_heads.add(origin, seq, &[]);
                }
                let count = reader.count("index entries", usize::MAX)?;
                let index = space.index.entry(origin).or_default();
                for _ in 0..count {
                    index.push((reader.seq()?, Lsn(reader.number("lsn")?)));
                }
                if format == FORMAT_WITHOUT_LEAPS {
                    continue;
                }
                for _ in 0..reader.count("leaps", usize::MAX)? {
                    let leap = (reader.seq()?, Lsn(reader.number("arrival")?));
                    let leaps = space.logged_from.entry(origin).or_default();
                    leaps.push_back(leap);
                }
                let time_ms = reader.number("time")?;
                if time_ms > 0 {
                    space.times.insert(origin, time_ms);
                }
            }
            space.durable = space.accepted.clone();
            space.durable_heads = space.accepted_heads.clone();
            history.spaces.insert(namespace, space);
        }
        Ok((history, format > FORMAT_WITHOUT_PLACEMENTS))
    }
}

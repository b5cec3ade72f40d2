//! Pieces of a batch that is too large to be sent at once.

use bytes::Bytes;

use super::flag;
use crate::codec::{DecodeError, Reader, Writer};
use crate::{Namespace, Origin, Seq, limits};

/// One piece. All pieces of a batch but the last are of one size, so each says alone where it belongs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// Numbers what is bulk on a link.
    pub(crate) bulk: u64,
    /// Whether the batch was read from the log, for a stream that had fallen behind.
    pub(crate) late: bool,
    pub(crate) namespace: Namespace,
    pub(crate) origin: Origin,
    pub(crate) seq: Seq,
    /// Bytes of the whole: a packet of that one batch.
    pub(crate) total: usize,
    /// Bytes of each piece but the last.
    pub(crate) part_bytes: usize,
    pub(crate) index: usize,
    pub(crate) bytes: Bytes,
}

impl Part {
    /// How many pieces there are of the batch.
    pub(crate) fn count(&self) -> usize {
        self.total.div_ceil(self.part_bytes)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.number(self.bulk);
        writer.u8(self.late.into());
        writer.bytes(self.namespace.as_str().as_bytes());
        writer.origin(&self.origin);
        writer.number(self.seq.0);
        writer.count(self.total);
        writer.count(self.part_bytes);
        writer.count(self.index);
        writer.rest(&self.bytes);
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let bulk = reader.number("bulk")?;
        let late = flag(reader, "late")?;
        let namespace = reader.namespace()?;
        let origin = reader.origin()?;
        let seq = reader.seq()?;
        let total = within(reader, "total", limits::FRAME_BYTES_MAX)?;
        let part_bytes = within(reader, "bytes of a part", limits::FRAME_BYTES_MAX)?;
        if part_bytes.saturating_mul(limits::PARTS_MAX) < total {
            return Err(DecodeError::OverLimit {
                what: "parts",
                value: total.div_ceil(part_bytes) as u64,
                max: limits::PARTS_MAX as u64,
            });
        }
        let index = reader.number("part")?;
        let at = usize::try_from(index)
            .ok()
            .and_then(|index| index.checked_mul(part_bytes))
            .filter(|at| *at < total)
            .ok_or(DecodeError::Unknown {
                what: "part",
                value: index,
            })?;
        let bytes = reader.rest();
        if bytes.len() != part_bytes.min(total - at) {
            return Err(DecodeError::Unknown {
                what: "length of a part",
                value: bytes.len() as u64,
            });
        }
        Ok(Self {
            bulk,
            late,
            namespace,
            origin,
            seq,
            total,
            part_bytes,
            index: at / part_bytes,
            bytes,
        })
    }
}

fn within(reader: &mut Reader, what: &'static str, max: usize) -> Result<usize, DecodeError> {
    let value = reader.number(what)?;
    match usize::try_from(value) {
        Ok(0) => Err(DecodeError::Unknown { what, value }),
        Ok(number) if number <= max => Ok(number),
        _ => Err(DecodeError::OverLimit {
            what,
            value,
            max: max as u64,
        }),
    }
}

#[cfg(test)]
pub(super) fn sample() -> Part {
    Part {
        bulk: 7,
        late: true,
        namespace: Namespace::new("carts").expect("a name"),
        origin: Origin {
            replica: crate::ReplicaId([7; 16]),
            incarnation: crate::Incarnation(1),
        },
        seq: Seq(3),
        total: 25,
        part_bytes: 10,
        index: 2,
        bytes: vec![5; 5].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Part)) -> String {
        let mut part = sample();
        change(&mut part);
        let mut writer = Writer::default();
        part.encode(&mut writer);
        let decoded = Part::decode(&mut Reader::new(writer.finish()));
        decoded.expect_err("it is refused").to_string()
    }

    #[test]
    fn a_part_is_where_it_says() {
        assert!(refused(|part| part.index = 3).contains("part: 3"));
        assert!(refused(|part| part.index = usize::MAX).contains("part"));
        assert!(refused(|part| part.bytes = vec![5; 6].into()).contains("length of a part: 6"));
        assert!(refused(|part| part.bytes = Bytes::new()).contains("length of a part: 0"));
        assert!(refused(|part| part.index = 1).contains("length of a part: 5"));
        assert!(refused(|part| part.part_bytes = 0).contains("bytes of a part"));
        assert!(refused(|part| part.total = 0).contains("total"));
    }

    #[test]
    fn neither_more_nor_smaller_parts_than_may_be() {
        let over = limits::FRAME_BYTES_MAX + 1;
        assert!(refused(|part| part.total = over).contains("over the limit"));
        let small = |part: &mut Part| {
            part.part_bytes = 1;
            part.total = limits::PARTS_MAX + 1;
        };
        assert!(refused(small).contains("parts: 4097 is over the limit of 4096"));
    }
}

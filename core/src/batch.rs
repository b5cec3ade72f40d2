//! Batches: what one write changed, as it stands in the log and travels between replicas.
//!
//! ```text
//! packet    = format:u8  origins:[origin]  namespaces:[text]  batches:[batch]
//! batch     = namespace:index  origin:index  seq  time_ms  causes:[origin:index seq]  writes:[write]  receipt
//! write     = key:text  changes:[bytes]
//! receipt   = 0  or  1 key:16 answer:bytes
//! ```
//! Origins and namespaces are named once per packet. A log record is a packet of one batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::document::is_whole;
use crate::persist::{LogRecord, ReceiptKey};
use crate::record::Record;
use crate::{Key, Namespace, Origin, Seq, limits};

const FORMAT: u8 = 1;

/// Changes as large as one write may make, and room for what frames them.
const BYTES_MAX: usize = limits::BATCH_BYTES_MAX + (1 << 20);

/// One origin's next step in one namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Where.
    pub namespace: Namespace,
    /// Whose.
    pub origin: Origin,
    /// Which step.
    pub seq: Seq,
    /// Wall clock of the writer, in milliseconds since 1970. For people and lag figures; never decides anything.
    pub time_ms: u64,
    /// What the writer had seen of other origins since its batch before this one. With that batch, these
    /// are what must be here before this batch may be.
    pub causes: Vec<(Origin, Seq)>,
    /// Changes by document. Applied together or not at all. None for a write that changed nothing and is
    /// remembered only.
    pub writes: Vec<DocumentWrite>,
    /// So that a repetition of the request gets the same answer, here and wherever the batch has arrived.
    pub receipt: Option<Receipt>,
}

/// What a batch says about the request that it came of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// A hash over namespace and idempotency key.
    pub key: ReceiptKey,
    /// The fingerprint of the request, and its answer, encoded.
    pub answer: Bytes,
}

impl DocumentWrite {
    /// About how many bytes it takes encoded.
    pub(crate) fn bytes(&self) -> usize {
        let changes = self.changes.iter().map(|change| change.len() + 3);
        self.key.as_str().len() + 4 + changes.sum::<usize>()
    }
}

impl Receipt {
    /// About how many bytes it takes encoded.
    pub(crate) fn bytes(&self) -> usize {
        self.answer.len() + 20
    }
}

/// One document's part of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DocumentWrite {
    /// The document.
    pub key: Key,
    /// Encoded, uncompressed CRDT changes in causal order.
    pub changes: Vec<Bytes>,
}

impl Batch {
    /// The batches of a log record, for what looks at a log from outside; none of a record that holds something else.
    ///
    /// # Errors
    /// When the record can't be read.
    pub fn of_record(record: &LogRecord) -> Result<Vec<Arc<Self>>, DecodeError> {
        Record::batches(&record.bytes)
    }

    /// About how many bytes it takes encoded.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let writes: usize = self.writes.iter().map(DocumentWrite::bytes).sum();
        let receipt = self.receipt.as_ref().map_or(1, Receipt::bytes);
        24 + self.causes.len() * 8 + writes + receipt
    }
}

/// Encodes batches into one packet.
pub(crate) fn encode<'a>(batches: impl IntoIterator<Item = &'a Batch> + Clone) -> Bytes {
    let mut origins = Table::default();
    let mut namespaces = Table::default();
    let bytes = batches.clone().into_iter().map(Batch::bytes).sum();
    let mut body = Writer::with_capacity(bytes);
    let mut count = 0_usize;
    for batch in batches {
        count += 1;
        body.count(namespaces.index(&batch.namespace));
        body.count(origins.index(&batch.origin));
        body.number(batch.seq.0);
        body.number(batch.time_ms);
        body.count(batch.causes.len());
        for (origin, seq) in &batch.causes {
            body.count(origins.index(origin));
            body.number(seq.0);
        }
        body.count(batch.writes.len());
        for write in &batch.writes {
            body.bytes(write.key.as_str().as_bytes());
            body.count(write.changes.len());
            for change in &write.changes {
                body.bytes(change);
            }
        }
        match &batch.receipt {
            None => body.u8(0),
            Some(receipt) => {
                body.u8(1);
                body.array(&receipt.key.0);
                body.bytes(&receipt.answer);
            }
        }
    }
    let mut head = Writer::with_capacity(64 + origins.items.len() * 24);
    head.u8(FORMAT);
    head.count(origins.items.len());
    origins.items.iter().for_each(|origin| head.origin(origin));
    head.count(namespaces.items.len());
    namespaces
        .items
        .iter()
        .for_each(|namespace| head.bytes(namespace.as_str().as_bytes()));
    head.count(count);
    head.append(&body);
    head.finish()
}

/// Decodes a packet.
pub(crate) fn decode(packet: Bytes) -> Result<Vec<Arc<Batch>>, DecodeError> {
    let mut reader = Reader::of_peer(packet);
    reader.format("packet format", FORMAT)?;
    let count = reader.count("origins", limits::ORIGINS_MAX)?;
    let origins = (0..count)
        .map(|_| reader.origin())
        .collect::<Result<Vec<_>, _>>()?;
    let count = reader.count("namespaces", limits::NAMESPACES_MAX)?;
    let namespaces = (0..count)
        .map(|_| reader.namespace())
        .collect::<Result<Vec<_>, _>>()?;
    let count = reader.count("batches", limits::FRAME_BYTES_MAX)?;
    let mut batches = Vec::new();
    for _ in 0..count {
        batches.push(Arc::new(decode_batch(&mut reader, &origins, &namespaces)?));
    }
    reader.finish()?;
    Ok(batches)
}

fn decode_batch(
    reader: &mut Reader,
    origins: &[Origin],
    namespaces: &[Namespace],
) -> Result<Batch, DecodeError> {
    let namespace = pick(reader, "namespace index", namespaces)?.clone();
    let origin = *pick(reader, "origin index", origins)?;
    let seq = reader.seq()?;
    let time_ms = reader.number("time")?;
    let count = reader.count("causes", limits::ORIGINS_MAX)?;
    let mut causes = Vec::new();
    for _ in 0..count {
        causes.push((*pick(reader, "cause", origins)?, reader.seq()?));
    }
    let count = reader.count("writes", limits::FRAME_BYTES_MAX)?;
    let mut writes = Vec::new();
    for _ in 0..count {
        let key = reader.key()?;
        let count = reader.count("changes", limits::FRAME_BYTES_MAX)?;
        let mut changes = Vec::new();
        for _ in 0..count {
            let change = reader.bytes("change", limits::BATCH_BYTES_MAX)?;
            if is_whole(&change) {
                // Repairs bring documents. In a batch one would bring what others wrote under its own name.
                let (what, value) = ("change", 0);
                return Err(DecodeError::Unknown { what, value });
            }
            changes.push(change);
        }
        writes.push(DocumentWrite { key, changes });
    }
    let receipt = match reader.u8("receipt")? {
        0 => None,
        1 => Some(Receipt {
            key: ReceiptKey(reader.array("receipt key")?),
            answer: reader.bytes("receipt", limits::RECEIPT_BYTES_MAX)?,
        }),
        other => {
            return Err(DecodeError::Unknown {
                what: "receipt",
                value: other.into(),
            });
        }
    };
    let batch = Batch {
        namespace,
        origin,
        seq,
        time_ms,
        causes,
        writes,
        receipt,
    };
    // More could not be passed on in one frame with what else goes into it.
    if batch.bytes() > BYTES_MAX {
        return Err(DecodeError::OverLimit {
            what: "batch",
            value: batch.bytes() as u64,
            max: BYTES_MAX as u64,
        });
    }
    Ok(batch)
}

fn pick<'a, T>(
    reader: &mut Reader,
    what: &'static str,
    items: &'a [T],
) -> Result<&'a T, DecodeError> {
    let value = reader.number(what)?;
    let item = usize::try_from(value)
        .ok()
        .and_then(|index| items.get(index));
    item.ok_or(DecodeError::Unknown { what, value })
}

/// So many are looked through one by one: most packets name one origin and one namespace.
const LOOKED_THROUGH: usize = 8;

struct Table<T> {
    items: Vec<T>,
    /// Of all items, once there are more than are looked through.
    indices: BTreeMap<T, usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            indices: BTreeMap::new(),
        }
    }
}

impl<T: Ord + Clone> Table<T> {
    fn index(&mut self, item: &T) -> usize {
        let known = if self.items.len() <= LOOKED_THROUGH {
            self.items.iter().position(|known| known == item)
        } else {
            self.indices.get(item).copied()
        };
        if let Some(index) = known {
            return index;
        }
        let index = self.items.len();
        self.items.push(item.clone());
        match index {
            ..LOOKED_THROUGH => {}
            LOOKED_THROUGH => self.indices.extend(self.items.iter().cloned().zip(0..)),
            _ => {
                self.indices.insert(item.clone(), index);
            }
        }
        index
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::{Incarnation, ReplicaId};

    fn origin() -> impl Strategy<Value = Origin> {
        (0_u8..4, 0_u64..3).prop_map(|(r, i)| Origin {
            replica: ReplicaId([r; 16]),
            incarnation: Incarnation(i),
        })
    }

    fn batch() -> impl Strategy<Value = Batch> {
        let write = (
            "[a-z/]{1,20}",
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4),
        )
            .prop_map(|(key, changes)| DocumentWrite {
                key: Key::new(&key).unwrap(),
                changes: changes.into_iter().map(Bytes::from).collect(),
            });
        let receipt = (
            any::<[u8; 16]>(),
            prop::collection::vec(any::<u8>(), 0..100),
        )
            .prop_map(|(key, answer)| Receipt {
                key: ReceiptKey(key),
                answer: answer.into(),
            });
        let cause = (origin(), 1_u64..1 << 40).prop_map(|(o, s)| (o, Seq(s)));
        (
            "[a-z]{1,8}",
            origin(),
            1_u64..1 << 40,
            any::<u64>(),
            prop::collection::vec(cause, 0..4),
            prop::collection::vec(write, 0..4),
            prop::option::of(receipt),
        )
            .prop_map(
                |(namespace, origin, seq, time_ms, causes, writes, receipt)| Batch {
                    namespace: Namespace::new(&namespace).unwrap(),
                    origin,
                    seq: Seq(seq),
                    time_ms,
                    causes,
                    writes,
                    receipt,
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(batches in prop::collection::vec(batch(), 0..6)) {
            let read = decode(encode(&batches)).unwrap();
            prop_assert_eq!(read.iter().map(|b| (**b).clone()).collect::<Vec<_>>(), batches);
        }

        #[test]
        fn a_damaged_packet_is_refused_or_read_but_never_panics(
            batches in prop::collection::vec(batch(), 1..4), at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<bool>(),
        ) {
            let mut bytes = encode(&batches).to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] = with }
            let _ = decode(bytes.into());
        }

        #[test]
        fn every_cut_is_noticed(batches in prop::collection::vec(batch(), 1..3), at in any::<prop::sample::Index>()) {
            let bytes = encode(&batches);
            let at = at.index(bytes.len());
            prop_assert!(decode(bytes.slice(..at)).is_err());
        }
    }

    #[test]
    fn an_answer_over_its_limit_is_refused() {
        let of = |len| Batch {
            namespace: Namespace::new("n").unwrap(),
            origin: Origin {
                replica: ReplicaId([1; 16]),
                incarnation: Incarnation(1),
            },
            seq: Seq(1),
            time_ms: 0,
            causes: Vec::new(),
            writes: Vec::new(),
            receipt: Some(Receipt {
                key: ReceiptKey([1; 16]),
                answer: vec![0; len].into(),
            }),
        };
        let max = limits::RECEIPT_BYTES_MAX;
        assert!(decode(encode([&of(max)])).is_ok());
        assert!(of(max).bytes() > max, "an answer counts");
        let refused = decode(encode([&of(max + 1)])).unwrap_err();
        assert!(matches!(
            refused,
            DecodeError::OverLimit {
                what: "receipt",
                ..
            }
        ));
    }

    #[test]
    fn a_count_is_not_believed_before_its_bytes_are_there() {
        let mut writer = Writer::default();
        writer.u8(FORMAT);
        writer.number(limits::ORIGINS_MAX as u64);
        assert!(matches!(
            decode(writer.finish()),
            Err(DecodeError::CutShort {
                what: "origins",
                ..
            })
        ));
    }
}

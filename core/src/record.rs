//! Records of the log: batches, and what a repair has brought.
//!
//! ```text
//! record  = packet (see batch)  |  import  |  arrival
//! import  = 2  namespace:text  documents:[given]  receipts:[key:16 time answer:bytes]
//! given   = key:text  amount:8  pieces:[bytes]
//! arrival = 3  namespace:text  entries:[origin seq head:u8]  whole:u8  keys:[text]
//! ```
//! What comes by a repair is put into the log piece by piece as it comes, so that it is durable and a crash in between loses
//! none of it. It counts only once its **arrival** is in the log: then all of it is there at once.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::repair_message::GivenReceipt;
use crate::{Batch, Key, Namespace, Origin, Seq, batch, limits};

const IMPORT: u8 = 2;
const ARRIVAL: u8 = 3;

/// One record.
pub(crate) enum Record {
    Batches(Vec<Arc<Batch>>),
    Import(Import),
    Arrival(Arrival),
}

/// Documents that a peer has given, or parts of some.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Import {
    pub(crate) namespace: Namespace,
    pub(crate) documents: Vec<Imported>,
    pub(crate) receipts: Vec<GivenReceipt>,
}

/// What has come of one document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Imported {
    pub(crate) key: Key,
    /// What it adds to the document's sum.
    pub(crate) amount: u64,
    /// Changes, or a whole document.
    pub(crate) pieces: Vec<Bytes>,
}

/// Everything imported into a namespace counts from here on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arrival {
    pub(crate) namespace: Namespace,
    /// What the peer held when it gave it, and of each origin whether its last batch is one that no other comes after.
    pub(crate) positions: Vec<(Origin, Seq, bool)>,
    /// The documents that have changed by it, if `whole`; else some of them.
    pub(crate) keys: Vec<Key>,
    pub(crate) whole: bool,
}

impl Record {
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes.clone());
        let record = match bytes.first() {
            Some(&IMPORT) => {
                reader.u8("record")?;
                let namespace = reader.namespace()?;
                let count = reader.count("documents", limits::FRAME_BYTES_MAX)?;
                let documents = (0..count).map(|_| Imported::decode(&mut reader));
                let documents = documents.collect::<Result<_, _>>()?;
                let count = reader.count("receipts", limits::FRAME_BYTES_MAX)?;
                let receipts = (0..count).map(|_| GivenReceipt::decode(&mut reader));
                Self::Import(Import {
                    namespace,
                    documents,
                    receipts: receipts.collect::<Result<_, _>>()?,
                })
            }
            Some(&ARRIVAL) => {
                reader.u8("record")?;
                Self::Arrival(Arrival::decode(&mut reader)?)
            }
            _ => return batch::decode(bytes.clone()).map(Self::Batches),
        };
        reader.finish()?;
        Ok(record)
    }

    /// The batches of a record; none if it has something else.
    pub(crate) fn batches(bytes: &Bytes) -> Result<Vec<Arc<Batch>>, DecodeError> {
        match Self::decode(bytes)? {
            Self::Batches(batches) => Ok(batches),
            Self::Import(_) | Self::Arrival(_) => Ok(Vec::new()),
        }
    }
}

impl Import {
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.u8(IMPORT);
        writer.bytes(self.namespace.as_str().as_bytes());
        writer.count(self.documents.len());
        for imported in &self.documents {
            writer.bytes(imported.key.as_str().as_bytes());
            writer.array(&imported.amount.to_le_bytes());
            writer.count(imported.pieces.len());
            imported.pieces.iter().for_each(|piece| writer.bytes(piece));
        }
        writer.count(self.receipts.len());
        self.receipts
            .iter()
            .for_each(|receipt| receipt.encode(&mut writer));
        writer.finish()
    }
}

impl Imported {
    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let key = reader.key()?;
        let amount = u64::from_le_bytes(reader.array("amount")?);
        let count = reader.count("pieces", limits::FRAME_BYTES_MAX)?;
        let pieces = (0..count).map(|_| reader.bytes("piece", limits::FRAME_BYTES_MAX));
        Ok(Self {
            key,
            amount,
            pieces: pieces.collect::<Result<_, _>>()?,
        })
    }
}

impl Arrival {
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.u8(ARRIVAL);
        writer.bytes(self.namespace.as_str().as_bytes());
        writer.count(self.positions.len());
        for (origin, seq, head) in &self.positions {
            writer.origin(origin);
            writer.number(seq.0);
            writer.u8((*head).into());
        }
        writer.u8(self.whole.into());
        writer.count(self.keys.len());
        self.keys
            .iter()
            .for_each(|key| writer.bytes(key.as_str().as_bytes()));
        writer.finish()
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let namespace = reader.namespace()?;
        let count = reader.count("positions", limits::ORIGINS_MAX)?;
        let positions = (0..count)
            .map(|_| Ok((reader.origin()?, reader.seq()?, reader.u8("head")? != 0)))
            .collect::<Result<_, DecodeError>>()?;
        let whole = reader.u8("whole")? != 0;
        let count = reader.count("keys", limits::ARRIVED_KEYS_MAX)?;
        let keys = (0..count).map(|_| reader.key());
        Ok(Self {
            namespace,
            positions,
            whole,
            keys: keys.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::{Incarnation, ReplicaId};

    #[test]
    fn what_is_written_is_read() {
        let namespace = Namespace::new("n").unwrap();
        let import = Import {
            namespace: namespace.clone(),
            documents: vec![Imported {
                key: Key::new("k").unwrap(),
                amount: u64::MAX,
                pieces: vec![Bytes::from_static(b"one"), Bytes::new()],
            }],
            receipts: Vec::new(),
        };
        let Record::Import(read) = Record::decode(&import.encode()).unwrap() else {
            panic!("an import was written");
        };
        assert_eq!(read, import);
        let arrival = Arrival {
            namespace,
            positions: vec![(
                Origin {
                    replica: ReplicaId([1; 16]),
                    incarnation: Incarnation(2),
                },
                Seq(3),
                true,
            )],
            keys: vec![Key::new("k").unwrap()],
            whole: false,
        };
        let Record::Arrival(read) = Record::decode(&arrival.encode()).unwrap() else {
            panic!("an arrival was written");
        };
        assert_eq!(read, arrival);
        assert!(Record::batches(&arrival.encode()).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(kind in 0_u8..5, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut record = vec![kind];
            record.extend(bytes);
            let _ = Record::decode(&record.into());
        }
    }
}

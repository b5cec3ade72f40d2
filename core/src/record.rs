//! Records of the log: batches, and what a repair has brought.
//!
//! ```text
//! record  = packet (see batch)  |  import  |  arrival  |  placed  |  let go  |  cleared
//! import  = 2  namespace:text  began  documents:[given]  receipts:[key:16 time answer:bytes]
//! given   = key:text  amount:8  pieces:[bytes]
//! arrival = 3  namespace:text  began + 1 | 0  entries:[origin seq head:u8]  whole:u8  keys:[text]
//! placed  = 4  namespace:text  placing (see placement)
//! let go  = 5  namespace:text  left:[origin seq]
//! cleared = 6  namespace:text  left:[origin seq]
//! ```
//! What comes by a repair is put into the log piece by piece as it comes, so that it is durable
//! before it counts. It counts only once its **arrival** is in the log: then all of it is there at once. What was begun and then given up,
//! since it does not go with what came later, is told by where it began.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::placement::Placing;
use crate::repair_message::GivenReceipt;
use crate::{Batch, Key, Lsn, Namespace, Origin, Seq, batch, limits};

const IMPORT: u8 = 2;
const ARRIVAL: u8 = 3;
const PLACED: u8 = 4;
const LET_GO: u8 = 5;
const CLEARED: u8 = 6;

/// One record.
pub(crate) enum Record {
    Batches(Vec<Arc<Batch>>),
    Import(Import),
    Arrival(Arrival),
    Placed(Placed),
    LetGo(LetGo),
}

/// Where a namespace is, as far as this replica knows from here on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    pub(crate) namespace: Namespace,
    pub(crate) placing: Placing,
}

/// From here on nothing counts that is before in the log, or in the store's documents, of a namespace that others keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LetGo {
    pub(crate) namespace: Namespace,
    /// What this replica itself had written: these numbers must not be used for anything else.
    pub(crate) left: Vec<(Origin, Seq)>,
    /// Nor is there anything in the store's documents any more.
    pub(crate) cleared: bool,
}

/// Documents that a peer has given, or parts of some.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Import {
    pub(crate) namespace: Namespace,
    /// The record of the first import that it belongs with; perhaps its own.
    pub(crate) began: Lsn,
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
    /// Where what counts began; none: there is nothing but positions.
    pub(crate) began: Option<Lsn>,
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
                let began = Lsn(reader.number("began")?);
                let count = reader.count("documents", limits::FRAME_BYTES_MAX)?;
                let documents = (0..count).map(|_| Imported::decode(&mut reader));
                let documents = documents.collect::<Result<_, _>>()?;
                let count = reader.count("receipts", limits::FRAME_BYTES_MAX)?;
                let receipts = (0..count).map(|_| GivenReceipt::decode(&mut reader));
                Self::Import(Import {
                    namespace,
                    began,
                    documents,
                    receipts: receipts.collect::<Result<_, _>>()?,
                })
            }
            Some(&ARRIVAL) => {
                reader.u8("record")?;
                Self::Arrival(Arrival::decode(&mut reader)?)
            }
            Some(&PLACED) => {
                reader.u8("record")?;
                Self::Placed(Placed {
                    namespace: reader.namespace()?,
                    placing: Placing::decode(&mut reader)?,
                })
            }
            Some(&(LET_GO | CLEARED)) => Self::LetGo(LetGo::decode(&mut reader)?),
            _ => return batch::decode(bytes.clone()).map(Self::Batches),
        };
        reader.finish()?;
        Ok(record)
    }

    /// The batches of a record; none if it has something else.
    pub(crate) fn batches(bytes: &Bytes) -> Result<Vec<Arc<Batch>>, DecodeError> {
        match Self::decode(bytes)? {
            Self::Batches(batches) => Ok(batches),
            Self::Import(_) | Self::Arrival(_) | Self::Placed(_) | Self::LetGo(_) => Ok(Vec::new()),
        }
    }
}

impl Import {
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.u8(IMPORT);
        writer.bytes(self.namespace.as_str().as_bytes());
        writer.number(self.began.0);
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

impl Placed {
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.u8(PLACED);
        writer.bytes(self.namespace.as_str().as_bytes());
        self.placing.encode(&mut writer);
        writer.finish()
    }
}

impl LetGo {
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.u8(if self.cleared { CLEARED } else { LET_GO });
        writer.bytes(self.namespace.as_str().as_bytes());
        writer.count(self.left.len());
        for (origin, seq) in &self.left {
            writer.origin(origin);
            writer.number(seq.0);
        }
        writer.finish()
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let cleared = reader.u8("record")? == CLEARED;
        let namespace = reader.namespace()?;
        let count = reader.count("positions", limits::FRAME_BYTES_MAX)?;
        let left = (0..count).map(|_| Ok((reader.origin()?, reader.seq()?)));
        Ok(Self {
            namespace,
            left: left.collect::<Result<_, DecodeError>>()?,
            cleared,
        })
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
        writer.number(self.began.map_or(0, |began| began.0 + 1));
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
        let began = reader.number("began")?.checked_sub(1).map(Lsn);
        let count = reader.count("positions", limits::ORIGINS_MAX)?;
        let positions = (0..count)
            .map(|_| Ok((reader.origin()?, reader.seq()?, reader.u8("head")? != 0)))
            .collect::<Result<_, DecodeError>>()?;
        let whole = reader.u8("whole")? != 0;
        let count = reader.count("keys", limits::ARRIVED_KEYS_MAX)?;
        let keys = (0..count).map(|_| reader.key());
        Ok(Self {
            namespace,
            began,
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
    use crate::placement::{Datacenters, Setting};
    use crate::{Incarnation, ReplicaId};

    #[test]
    fn what_is_written_is_read() {
        let namespace = Namespace::new("n").unwrap();
        let import = Import {
            namespace: namespace.clone(),
            began: Lsn(7),
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
            began: Some(Lsn(0)),
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

    #[test]
    fn what_is_written_of_placements_is_read() {
        let namespace = Namespace::new("n").unwrap();
        let setting = Setting {
            version: 3,
            by: ReplicaId([1; 16]),
            datacenters: None,
        };
        for setting in [None, Some(setting)] {
            let placed = Placed {
                namespace: namespace.clone(),
                placing: Placing {
                    setting,
                    configured: Datacenters::new(["eu", "us"]).ok(),
                },
            };
            let Record::Placed(read) = Record::decode(&placed.encode()).unwrap() else {
                panic!("a placement was written");
            };
            assert_eq!(read, placed);
        }
        let origin = Origin {
            replica: ReplicaId([1; 16]),
            incarnation: Incarnation(2),
        };
        for cleared in [false, true] {
            let let_go = LetGo {
                namespace: namespace.clone(),
                left: vec![(origin, Seq(7))],
                cleared,
            };
            let Record::LetGo(read) = Record::decode(&let_go.encode()).unwrap() else {
                panic!("it was let go");
            };
            assert_eq!(read, let_go);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(kind in 0_u8..8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut record = vec![kind];
            record.extend(bytes);
            let _ = Record::decode(&record.into());
        }
    }
}

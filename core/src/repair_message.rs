//! What replicas say to each other while they compare and repair a namespace.
//!
//! ```text
//! compare   = number namespace:text positions documents expected whole:u8 since follows counters:[zigzag]
//! cut       = number positions heads:[index] documents root:8 salt:8 leaf bits:u8 bits:u8 digests cells:[8 8]
//! differ    = number positions:[rising] digests
//! leaves    = number positions:[rising] nodes:[[place:5 sum:8]]
//! sums      = number prefixes:[rising] sums:[8]
//! documents = number part documents:[key:text sum:(0|1 8) pieces:[bytes]] receipts:[key:16 time answer:bytes]
//!             unclear:[key:text] last:u8
//! taken     = number part
//! heads     = number documents:[key:text heads:[8]]
//! end       = number reason:u8
//! ask root  = number namespace:text positions (0 | 1 root:8 documents)
//! root      = number (0 | 1 root:8 documents)
//! behind    = entries:[namespace:text origin seq]
//! positions = [origin seq]      digests = [4]
//! ```
//! One *seeker* asks one *source*. Answers come in the order of the link; a comparison that loses one is begun anew.

mod fields;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::persist::ReceiptKey;
use crate::summary::{Cell, Digest};
use crate::{Key, Namespace, Origin, Seq, limits};
use fields::{
    cells, counters, digests, eight, flag, nodes, positions, put_cells, put_counters, put_digests,
    put_positions, put_rising, put_root, put_sums, rising, root, sums,
};

/// The kinds of frames that this module reads.
pub(crate) const KINDS: std::ops::RangeInclusive<u8> = 7..=18;

/// Of a place below a node that both know, these many bytes are sent.
const PLACE_BYTES: usize = 5;

/// One message about a comparison, under the seeker's number for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RepairMessage {
    /// The seeker begins.
    Compare {
        number: u64,
        namespace: Namespace,
        /// What it holds.
        positions: Vec<(Origin, Seq)>,
        documents: u64,
        /// How many documents it thinks to lack something of.
        expected: u64,
        /// It has nothing: everything is to be sent.
        whole: bool,
        /// It lacks receipts of writes that are not older, in milliseconds since 1970.
        since_ms: u64,
        /// The comparison before this one, of the same repair, which has brought all receipts of that moment; 0: there is none.
        follows: u64,
        /// By which the source sees how much differs; none: it is to be found by digests.
        counters: Vec<i16>,
    },
    /// The source says at which frontier it is compared, and begins.
    Cut {
        number: u64,
        positions: Vec<(Origin, Seq)>,
        /// Those positions that no other comes after, by index.
        heads: Vec<usize>,
        documents: u64,
        root: u64,
        salt: u64,
        leaf_bits: u8,
        bits: u8,
        digests: Vec<Digest>,
        /// A sketch instead of digests, if there are any.
        cells: Vec<Cell>,
    },
    /// Of the last flight's nodes these differ; their children.
    Differ {
        number: u64,
        positions: Vec<usize>,
        children: Vec<Digest>,
    },
    /// Of the last flight's nodes these differ; what the seeker has below each.
    Leaves {
        number: u64,
        positions: Vec<usize>,
        nodes: Vec<Vec<Leaf>>,
    },
    /// Those that differ by their sketches, and their sums at the seeker; 0 of what it does not have.
    Sums {
        number: u64,
        prefixes: Vec<u64>,
        sums: Vec<u64>,
    },
    /// What the seeker lacks, a part of it.
    Documents {
        number: u64,
        part: u64,
        documents: Vec<GivenDocument>,
        receipts: Vec<GivenReceipt>,
        /// Of these the source needs the heads.
        unclear: Vec<Key>,
        last: bool,
    },
    /// A part is durable at the seeker.
    Taken { number: u64, part: u64 },
    /// The starts of the hashes of documents' heads at the seeker.
    Heads {
        number: u64,
        documents: Vec<(Key, Vec<u64>)>,
    },
    /// No more of this.
    End { number: u64, reason: Reason },
    /// What is the other's root at this frontier? With the asker's own, and how many documents it has; without them the
    /// question is only whether the other one holds these positions.
    AskRoot {
        number: u64,
        namespace: Namespace,
        positions: Vec<(Origin, Seq)>,
        root: Option<(u64, u64)>,
    },
    /// The root at that frontier, with the number of documents; none: it can't be told.
    Root {
        number: u64,
        root: Option<(u64, u64)>,
    },
    /// What the other one waits for is not in the log any more.
    Behind(Vec<(Namespace, Origin, Seq)>),
}

/// One document at the seeker: what of its place is not said by the node, and its sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leaf {
    pub(crate) rest: u64,
    pub(crate) sum: u64,
}

impl Leaf {
    /// What follows the first bits of a place, as far as it is sent.
    pub(crate) fn rest_of(place: u64, bits: u32) -> u64 {
        place.checked_shl(bits).unwrap_or(0) >> (64 - 8 * PLACE_BYTES)
    }
}

/// A document on its way to the seeker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GivenDocument {
    pub(crate) key: Key,
    /// The sum that the document then has, if this is all that was missing of it.
    pub(crate) sum: Option<u64>,
    pub(crate) pieces: Vec<Bytes>,
}

/// What is remembered of a write that is not to be done again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GivenReceipt {
    pub(crate) key: ReceiptKey,
    pub(crate) time_ms: u64,
    /// With the position of the write, as it is stored.
    pub(crate) answer: Bytes,
}

impl GivenReceipt {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.array(&self.key.0);
        writer.number(self.time_ms);
        writer.bytes(&self.answer);
    }

    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            key: ReceiptKey(reader.array("receipt key")?),
            time_ms: reader.number("time")?,
            answer: reader.bytes("receipt", limits::RECEIPT_BYTES_MAX)?,
        })
    }
}

/// Why a comparison ends early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// There are too many at once.
    Busy,
    /// The summary is being built, or documents are being put in place.
    NotReady,
    /// Nothing is known under that number (any more).
    Unknown,
    /// It took too long, or too much changed meanwhile.
    Outdated,
    /// Documents can't be read.
    Unreadable,
}

impl Reason {
    const ALL: [Self; 5] = [
        Self::Busy,
        Self::NotReady,
        Self::Unknown,
        Self::Outdated,
        Self::Unreadable,
    ];
}

impl RepairMessage {
    pub(crate) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Compare {
                number,
                namespace,
                positions,
                documents,
                expected,
                whole,
                since_ms,
                follows,
                counters,
            } => {
                writer.u8(7);
                writer.number(*number);
                writer.bytes(namespace.as_str().as_bytes());
                put_positions(writer, positions);
                writer.number(*documents);
                writer.number(*expected);
                writer.u8((*whole).into());
                writer.number(*since_ms);
                writer.number(*follows);
                put_counters(writer, counters);
            }
            Self::Cut {
                number,
                positions,
                heads,
                documents,
                root,
                salt,
                leaf_bits,
                bits,
                digests,
                cells,
            } => {
                writer.u8(8);
                writer.number(*number);
                put_positions(writer, positions);
                put_rising(writer, heads);
                writer.number(*documents);
                writer.array(&root.to_le_bytes());
                writer.array(&salt.to_le_bytes());
                writer.u8(*leaf_bits);
                writer.u8(*bits);
                put_digests(writer, digests);
                put_cells(writer, cells);
            }
            Self::Differ {
                number,
                positions,
                children,
            } => {
                writer.u8(9);
                writer.number(*number);
                put_rising(writer, positions);
                put_digests(writer, children);
            }
            Self::Leaves {
                number,
                positions,
                nodes,
            } => {
                writer.u8(10);
                writer.number(*number);
                put_rising(writer, positions);
                writer.count(nodes.len());
                for leaves in nodes {
                    writer.count(leaves.len());
                    for leaf in leaves {
                        let rest = leaf.rest.to_be_bytes();
                        let mut sent = [0; PLACE_BYTES];
                        sent.copy_from_slice(&rest[8 - PLACE_BYTES..]);
                        writer.array(&sent);
                        writer.array(&leaf.sum.to_le_bytes());
                    }
                }
            }
            Self::Sums {
                number,
                prefixes,
                sums,
            } => {
                writer.u8(18);
                writer.number(*number);
                put_sums(writer, prefixes, sums);
            }
            Self::Documents { .. } => self.encode_documents(writer),
            Self::Taken { number, part } => {
                writer.u8(12);
                writer.number(*number);
                writer.number(*part);
            }
            Self::Heads { number, documents } => {
                writer.u8(13);
                writer.number(*number);
                writer.count(documents.len());
                for (key, heads) in documents {
                    writer.bytes(key.as_str().as_bytes());
                    writer.count(heads.len());
                    heads
                        .iter()
                        .for_each(|head| writer.array(&head.to_le_bytes()));
                }
            }
            Self::End { number, reason } => {
                writer.u8(14);
                writer.number(*number);
                let code = Reason::ALL.iter().position(|known| known == reason);
                writer.count(code.unwrap_or_default());
            }
            Self::AskRoot {
                number,
                namespace,
                positions,
                root,
            } => {
                writer.u8(15);
                writer.number(*number);
                writer.bytes(namespace.as_str().as_bytes());
                put_positions(writer, positions);
                put_root(writer, *root);
            }
            Self::Root { number, root } => {
                writer.u8(16);
                writer.number(*number);
                put_root(writer, *root);
            }
            Self::Behind(entries) => {
                writer.u8(17);
                writer.count(entries.len());
                for (namespace, origin, seq) in entries {
                    writer.bytes(namespace.as_str().as_bytes());
                    writer.origin(origin);
                    writer.number(seq.0);
                }
            }
        }
    }

    fn encode_documents(&self, writer: &mut Writer) {
        let Self::Documents {
            number,
            part,
            documents,
            receipts,
            unclear,
            last,
        } = self
        else {
            return;
        };
        writer.u8(11);
        writer.number(*number);
        writer.number(*part);
        writer.count(documents.len());
        for given in documents {
            writer.bytes(given.key.as_str().as_bytes());
            writer.u8(given.sum.is_some().into());
            if let Some(sum) = given.sum {
                writer.array(&sum.to_le_bytes());
            }
            writer.count(given.pieces.len());
            given.pieces.iter().for_each(|piece| writer.bytes(piece));
        }
        writer.count(receipts.len());
        receipts.iter().for_each(|receipt| receipt.encode(writer));
        writer.count(unclear.len());
        unclear
            .iter()
            .for_each(|key| writer.bytes(key.as_str().as_bytes()));
        writer.u8((*last).into());
    }

    pub(crate) fn decode(kind: u8, reader: &mut Reader) -> Result<Self, DecodeError> {
        if kind == 17 {
            let count = reader.count("entries", limits::ORIGINS_MAX)?;
            let entries = (0..count)
                .map(|_| Ok((reader.namespace()?, reader.origin()?, reader.seq()?)))
                .collect::<Result<_, DecodeError>>()?;
            return Ok(Self::Behind(entries));
        }
        let number = reader.number("number")?;
        Ok(match kind {
            7 => Self::Compare {
                number,
                namespace: reader.namespace()?,
                positions: positions(reader)?,
                documents: reader.number("documents")?,
                expected: reader.number("expected")?,
                whole: flag(reader)?,
                since_ms: reader.number("since")?,
                follows: reader.number("follows")?,
                counters: counters(reader)?,
            },
            8 => Self::Cut {
                number,
                positions: positions(reader)?,
                heads: rising(reader, limits::ORIGINS_MAX)?,
                documents: reader.number("documents")?,
                root: eight(reader)?,
                salt: eight(reader)?,
                leaf_bits: reader.u8("leaf bits")?,
                bits: reader.u8("bits")?,
                digests: digests(reader)?,
                cells: cells(reader)?,
            },
            9 => Self::Differ {
                number,
                positions: rising(reader, limits::NODES_MAX)?,
                children: digests(reader)?,
            },
            10 => Self::Leaves {
                number,
                positions: rising(reader, limits::NODES_MAX)?,
                nodes: nodes(reader)?,
            },
            11 => Self::decode_documents(number, reader)?,
            12 => Self::Taken {
                number,
                part: reader.number("part")?,
            },
            13 => {
                let count = reader.count("documents", limits::UNCLEAR_MAX)?;
                let documents = (0..count).map(|_| {
                    let key = reader.key()?;
                    let count = reader.count("heads", limits::FRAME_BYTES_MAX / 8)?;
                    let heads = (0..count).map(|_| eight(reader));
                    Ok((key, heads.collect::<Result<_, _>>()?))
                });
                Self::Heads {
                    number,
                    documents: documents.collect::<Result<_, DecodeError>>()?,
                }
            }
            14 => {
                let code = reader.number("reason")?;
                let known = usize::try_from(code)
                    .ok()
                    .and_then(|code| Reason::ALL.get(code));
                let unknown = DecodeError::Unknown {
                    what: "reason",
                    value: code,
                };
                Self::End {
                    number,
                    reason: *known.ok_or(unknown)?,
                }
            }
            15 => Self::AskRoot {
                number,
                namespace: reader.namespace()?,
                positions: positions(reader)?,
                root: root(reader)?,
            },
            16 => Self::Root {
                number,
                root: root(reader)?,
            },
            18 => {
                let (prefixes, sums) = sums(reader)?;
                Self::Sums {
                    number,
                    prefixes,
                    sums,
                }
            }
            other => {
                return Err(DecodeError::Unknown {
                    what: "message kind",
                    value: other.into(),
                });
            }
        })
    }

    fn decode_documents(number: u64, reader: &mut Reader) -> Result<Self, DecodeError> {
        let part = reader.number("part")?;
        let count = reader.count("documents", limits::FRAME_BYTES_MAX)?;
        let documents = (0..count).map(|_| {
            let key = reader.key()?;
            let sum = match flag(reader)? {
                true => Some(eight(reader)?),
                false => None,
            };
            let count = reader.count("pieces", limits::FRAME_BYTES_MAX)?;
            let pieces = (0..count).map(|_| reader.bytes("piece", limits::FRAME_BYTES_MAX));
            Ok(GivenDocument {
                key,
                sum,
                pieces: pieces.collect::<Result<_, _>>()?,
            })
        });
        let documents = documents.collect::<Result<_, DecodeError>>()?;
        let count = reader.count("receipts", limits::FRAME_BYTES_MAX)?;
        let receipts = (0..count).map(|_| GivenReceipt::decode(reader));
        let receipts = receipts.collect::<Result<_, _>>()?;
        let count = reader.count("unclear", limits::UNCLEAR_MAX)?;
        let unclear = (0..count).map(|_| reader.key());
        Ok(Self::Documents {
            number,
            part,
            documents,
            receipts,
            unclear: unclear.collect::<Result<_, _>>()?,
            last: flag(reader)?,
        })
    }
}

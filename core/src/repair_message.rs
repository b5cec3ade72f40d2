//! What replicas say to each other while they compare and repair a namespace.
//!
//! ```text
//! compare   = number namespace:text positions documents expected whole:u8 since
//! cut       = number positions heads:[index] documents root:8 salt:8 leaf bits:u8 bits:u8 digests
//! differ    = number positions:[rising] digests
//! leaves    = number positions:[rising] nodes:[[place:5 sum:8]]
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

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::persist::ReceiptKey;
use crate::summary::Digest;
use crate::{Key, Namespace, Origin, Seq, limits};

/// The kinds of frames that this module reads.
pub(crate) const KINDS: std::ops::RangeInclusive<u8> = 7..=17;

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
            } => {
                writer.u8(7);
                writer.number(*number);
                writer.bytes(namespace.as_str().as_bytes());
                put_positions(writer, positions);
                writer.number(*documents);
                writer.number(*expected);
                writer.u8((*whole).into());
                writer.number(*since_ms);
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

fn put_positions(writer: &mut Writer, positions: &[(Origin, Seq)]) {
    writer.count(positions.len());
    for (origin, seq) in positions {
        writer.origin(origin);
        writer.number(seq.0);
    }
}

fn positions(reader: &mut Reader) -> Result<Vec<(Origin, Seq)>, DecodeError> {
    let count = reader.count("positions", limits::ORIGINS_MAX)?;
    (0..count)
        .map(|_| Ok((reader.origin()?, reader.seq()?)))
        .collect()
}

/// Rising numbers, each as the distance from the one before.
fn put_rising(writer: &mut Writer, numbers: &[usize]) {
    writer.count(numbers.len());
    let mut next = 0;
    for number in numbers {
        writer.count(number - next);
        next = number + 1;
    }
}

fn rising(reader: &mut Reader, max: usize) -> Result<Vec<usize>, DecodeError> {
    let count = reader.count("numbers", max)?;
    let mut next = 0_usize;
    let mut numbers = Vec::new();
    for _ in 0..count {
        let distance = reader.number("distance")?;
        let over = DecodeError::OverLimit {
            what: "distance",
            value: distance,
            max: u64::from(u32::MAX),
        };
        let distance = u32::try_from(distance).map_err(|_| over)? as usize;
        numbers.push(next + distance);
        next += distance + 1;
    }
    Ok(numbers)
}

fn put_digests(writer: &mut Writer, digests: &[Digest]) {
    writer.count(digests.len());
    digests
        .iter()
        .for_each(|digest| writer.array(&digest.to_le_bytes()));
}

fn digests(reader: &mut Reader) -> Result<Vec<Digest>, DecodeError> {
    let count = reader.count("digests", limits::DIGESTS_MAX)?;
    (0..count)
        .map(|_| reader.array("digest").map(Digest::from_le_bytes))
        .collect()
}

fn nodes(reader: &mut Reader) -> Result<Vec<Vec<Leaf>>, DecodeError> {
    let count = reader.count("nodes", limits::NODES_MAX)?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        let count = reader.count("leaves", limits::FRAME_BYTES_MAX / (PLACE_BYTES + 8))?;
        let mut leaves = Vec::new();
        for _ in 0..count {
            let sent: [u8; PLACE_BYTES] = reader.array("place")?;
            let mut rest = [0; 8];
            rest[8 - PLACE_BYTES..].copy_from_slice(&sent);
            leaves.push(Leaf {
                rest: u64::from_be_bytes(rest),
                sum: eight(reader)?,
            });
        }
        nodes.push(leaves);
    }
    Ok(nodes)
}

fn put_root(writer: &mut Writer, root: Option<(u64, u64)>) {
    writer.u8(root.is_some().into());
    if let Some((root, documents)) = root {
        writer.array(&root.to_le_bytes());
        writer.number(documents);
    }
}

fn root(reader: &mut Reader) -> Result<Option<(u64, u64)>, DecodeError> {
    Ok(match flag(reader)? {
        true => Some((eight(reader)?, reader.number("documents")?)),
        false => None,
    })
}

fn eight(reader: &mut Reader) -> Result<u64, DecodeError> {
    reader.array("number").map(u64::from_le_bytes)
}

fn flag(reader: &mut Reader) -> Result<bool, DecodeError> {
    match reader.u8("flag")? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Unknown {
            what: "flag",
            value: other.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::{Incarnation, ReplicaId};

    fn encoded(message: &RepairMessage) -> Bytes {
        let mut writer = Writer::default();
        message.encode(&mut writer);
        writer.finish()
    }

    fn decoded(bytes: Bytes) -> Result<RepairMessage, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8("kind")?;
        let message = RepairMessage::decode(kind, &mut reader)?;
        reader.finish()?;
        Ok(message)
    }

    #[test]
    fn every_message_survives_its_encoding() {
        let origin = Origin {
            replica: ReplicaId([7; 16]),
            incarnation: Incarnation(3),
        };
        let namespace = Namespace::new("carts").unwrap();
        let key = Key::new("k").unwrap();
        let positions = vec![(origin, Seq(9))];
        let mut messages = vec![
            RepairMessage::Compare {
                number: 1,
                namespace: namespace.clone(),
                positions: positions.clone(),
                documents: 5,
                expected: 1 << 40,
                whole: true,
                since_ms: 7,
            },
            RepairMessage::Cut {
                number: 1,
                positions: positions.clone(),
                heads: vec![0],
                documents: 7,
                root: u64::MAX,
                salt: 1,
                leaf_bits: 4,
                bits: 2,
                digests: vec![1, 2, 3, u32::MAX],
            },
            RepairMessage::Differ {
                number: 1,
                positions: vec![0, 3, 4, 900],
                children: vec![4],
            },
            RepairMessage::Leaves {
                number: 1,
                positions: vec![2],
                nodes: vec![
                    vec![
                        Leaf { rest: 0, sum: 1 },
                        Leaf {
                            rest: Leaf::rest_of(u64::MAX, 4),
                            sum: 2,
                        },
                    ],
                    vec![],
                ],
            },
            RepairMessage::Documents {
                number: 1,
                part: 2,
                documents: vec![GivenDocument {
                    key: key.clone(),
                    sum: Some(3),
                    pieces: vec![Bytes::from_static(b"x"), Bytes::new()],
                }],
                receipts: vec![GivenReceipt {
                    key: ReceiptKey([3; 16]),
                    time_ms: 5,
                    answer: Bytes::from_static(b"done"),
                }],
                unclear: vec![key.clone()],
                last: true,
            },
            RepairMessage::Taken { number: 1, part: 2 },
            RepairMessage::Heads {
                number: 1,
                documents: vec![(key, vec![1, 2])],
            },
            RepairMessage::AskRoot {
                number: 1,
                namespace: namespace.clone(),
                positions: positions.clone(),
                root: Some((3, 4)),
            },
            RepairMessage::AskRoot {
                number: 1,
                namespace: namespace.clone(),
                positions,
                root: None,
            },
            RepairMessage::Root {
                number: 1,
                root: Some((2, 3)),
            },
            RepairMessage::Root {
                number: 1,
                root: None,
            },
            RepairMessage::Behind(vec![(namespace, origin, Seq(3))]),
        ];
        messages.extend(Reason::ALL.map(|reason| RepairMessage::End { number: 1, reason }));
        for message in messages {
            let bytes = encoded(&message);
            assert!(KINDS.contains(&bytes[0]));
            assert_eq!(decoded(bytes).unwrap(), message);
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(kind in KINDS, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut frame = vec![kind];
            frame.extend(bytes);
            let _ = decoded(frame.into());
        }
    }
}

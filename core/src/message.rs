//! What replicas say to each other over a link.
//!
//! ```text
//! frame    = kind:u8 body
//! hello    = protocol  name:text  datacenter:text  incarnation:8  heard:u8
//! frontier = whole:u8  sections:[namespace:text  entries:[origin seq]]
//! delta    = packet (see batch)
//! want     = entries:[namespace:text  origin  after+1 | 0 for stop]
//! ask      = number  from:bound  before:bound
//! 7 to 17  = see repair_message
//! await    = sections:[namespace:text  entries:[origin seq]]
//! given    = number  sections:[namespace:text  entries:[origin seq]]  0 | 1 documents:[document]
//! bound    = 0 | 1 namespace:text key:text
//! document = namespace:text key:text  state:bytes  changes:[bytes]  present:u8 (0 no, 1 yes, 2 unknown)
//! speaks   = given, with a number that nobody asks under and nothing in it (see below)
//!
//! since protocol 2:
//! compressed = 20 size:number block (see compression)
//! backlog  = bulk  packet
//! part     = bulk  late:u8  namespace:text origin seq  total  part_bytes  index  bytes to the end
//! taken    = bulk
//! standing = digest:16
//! restate  =
//! placements = settings:[namespace:text setting]  0 | 1 digest:16     (setting: see placement)
//! ask kept = number  namespace:text  setting  entries:[origin seq]
//! kept     = number
//! ```
//! Any of them may be lost, doubled or late: each can be acted on alone.
//!
//! **Versions.** A hello begins with the *oldest* protocol that its speaker knows and is written as in protocol 1. `speaks` names the newest: a
//! speaker of protocol 1 takes it for an answer to a question that it has forgotten. Both ends speak the lower of their two newest, and
//! protocol 1 until they know.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{self, Batch};
use crate::codec::{DecodeError, Reader, Writer};
use crate::persist::DocumentRange;
use crate::repair_message::{self, RepairMessage};
use crate::{DocumentId, Namespace, Origin, Seq, compression, limits};

mod given;
mod hello;
mod part;
mod placements;

pub(crate) use given::Given;
pub(crate) use hello::Hello;
pub(crate) use part::Part;
pub(crate) use placements::{AskKept, Placements};

/// The newest version of what replicas say to each other that is known here,
pub const PROTOCOL_NEWEST: u64 = 2;
/// and the oldest.
pub const PROTOCOL_OLDEST: u64 = 1;

/// Questions are numbered from 1; from here on stands what a replica speaks.
const SPEAKS: u64 = 1 << 63;

/// Bytes of a digest of what is held.
pub(crate) const DIGEST_BYTES: usize = 16;

/// Asks for an origin's batches, or for no more of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Want {
    pub(crate) namespace: Namespace,
    pub(crate) origin: Origin,
    /// From the batch after this one on; none: stop.
    pub(crate) after: Option<Seq>,
}

/// Positions in one namespace.
pub(crate) type Section = (Namespace, Vec<(Origin, Seq)>);

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    Hello(Hello),
    /// What the speaker holds durably; `whole` when this closes a statement of everything it holds.
    Frontier {
        whole: bool,
        sections: Vec<Section>,
    },
    Delta(Vec<Arc<Batch>>),
    Want(Vec<Want>),
    /// Asks for documents that the speaker can't read.
    Ask {
        number: u64,
        range: DocumentRange,
    },
    Given(Given),
    Repair(RepairMessage),
    /// Somebody at the speaker's waits until the other holds this: it is to say so at once.
    Await(Vec<Section>),
    /// The newest protocol that the speaker knows. Said with every hello.
    Speaks {
        newest: u64,
    },
    /// Batches that were read from the log, for a stream that had fallen behind.
    Backlog {
        /// Numbers what is bulk on a link.
        bulk: u64,
        batches: Vec<Arc<Batch>>,
    },
    /// A piece of a batch that is too large to go at once.
    Part(Part),
    /// Up to here the speaker has taken what is bulk.
    Taken {
        bulk: u64,
    },
    /// What the speaker holds is what it has said so far: its digest.
    Standing {
        digest: [u8; DIGEST_BYTES],
    },
    /// That is not what has arrived: say all of it again.
    Restate,
    /// Where namespaces are.
    Placements(Placements),
    AskKept(AskKept),
    /// Yes, to the question of that number.
    Kept {
        number: u64,
    },
}

/// What a frame is for, as far as bytes are counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Traffic {
    /// Batches that are sent as they become durable.
    Push,
    /// Batches from the log, for who had fallen behind.
    CatchUp,
    /// Documents, and what it takes to find out which.
    Repair,
    /// All the rest: who is there, who holds what.
    Control,
}

impl Message {
    /// What it is counted as.
    pub(crate) fn traffic(&self) -> Traffic {
        match self {
            Self::Delta(_) => Traffic::Push,
            Self::Part(part) if !part.late => Traffic::Push,
            Self::Part(_) | Self::Backlog { .. } => Traffic::CatchUp,
            Self::Ask { .. } | Self::Given(_) | Self::Repair(_) => Traffic::Repair,
            Self::Hello(_)
            | Self::Frontier { .. }
            | Self::Want(_)
            | Self::Await(_)
            | Self::Speaks { .. }
            | Self::Taken { .. }
            | Self::Standing { .. }
            | Self::Restate
            | Self::Placements(_)
            | Self::AskKept(_)
            | Self::Kept { .. } => Traffic::Control,
        }
    }

    /// The protocol that a frame belongs to: whoever speaks an older one can't read it.
    pub(crate) fn protocol_of(frame: &[u8]) -> u64 {
        match frame.first() {
            Some(..=6) | None => 1,
            Some(_) => 2,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        match self {
            Self::Hello(hello) => {
                writer.u8(1);
                hello.encode(&mut writer);
            }
            Self::Frontier { whole, sections } => {
                writer.u8(2);
                writer.u8((*whole).into());
                writer.count(sections.len());
                sections
                    .iter()
                    .for_each(|section| encode_section(&mut writer, section));
            }
            Self::Delta(batches) => {
                writer.u8(3);
                return with_packet(writer, batches);
            }
            Self::Want(wants) => {
                writer.u8(4);
                writer.count(wants.len());
                for want in wants {
                    writer.bytes(want.namespace.as_str().as_bytes());
                    writer.origin(&want.origin);
                    writer.number(want.after.map_or(0, |after| after.0 + 1));
                }
            }
            Self::Ask { number, range } => {
                writer.u8(5);
                writer.number(*number);
                encode_bound(&mut writer, range.from.as_ref());
                encode_bound(&mut writer, range.before.as_ref());
            }
            Self::Given(given) => {
                writer.u8(6);
                given.encode(&mut writer);
            }
            Self::Repair(message) => message.encode(&mut writer),
            Self::Await(sections) => {
                writer.u8(26);
                writer.count(sections.len());
                sections
                    .iter()
                    .for_each(|section| encode_section(&mut writer, section));
            }
            Self::Speaks { newest } => {
                writer.u8(6);
                let empty = Given {
                    number: SPEAKS | *newest,
                    frontiers: Vec::new(),
                    documents: None,
                };
                empty.encode(&mut writer);
            }
            Self::Backlog { bulk, batches } => {
                writer.u8(21);
                writer.number(*bulk);
                return with_packet(writer, batches);
            }
            Self::Part(part) => {
                writer.u8(22);
                part.encode(&mut writer);
            }
            Self::Taken { bulk } => {
                writer.u8(23);
                writer.number(*bulk);
            }
            Self::Standing { digest } => {
                writer.u8(24);
                writer.array(digest);
            }
            Self::Restate => writer.u8(25),
            Self::Placements(placements) => {
                writer.u8(27);
                placements.encode(&mut writer);
            }
            Self::AskKept(asked) => {
                writer.u8(28);
                asked.encode(&mut writer);
            }
            Self::Kept { number } => {
                writer.u8(29);
                writer.number(*number);
            }
        }
        writer.finish()
    }

    /// Reads a frame, compressed or not.
    pub(crate) fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let frame = compression::unwrap(frame)?;
        let mut reader = Reader::of_peer(frame.clone());
        let message = match reader.u8("message kind")? {
            1 => Self::Hello(Hello::decode(&mut reader)?),
            2 => {
                let whole = flag(&mut reader, "whole")?;
                let count = reader.count("sections", limits::NAMESPACES_MAX)?;
                let sections = (0..count)
                    .map(|_| decode_section(&mut reader))
                    .collect::<Result<_, _>>()?;
                Self::Frontier { whole, sections }
            }
            3 => return batch::decode(frame.slice(1..)).map(Self::Delta),
            4 => {
                let count = reader.count("wants", limits::ORIGINS_MAX)?;
                Self::Want(
                    (0..count)
                        .map(|_| decode_want(&mut reader))
                        .collect::<Result<_, _>>()?,
                )
            }
            5 => Self::Ask {
                number: reader.number("number")?,
                range: DocumentRange {
                    from: decode_bound(&mut reader)?,
                    before: decode_bound(&mut reader)?,
                },
            },
            kind if repair_message::KINDS.contains(&kind) => {
                Self::Repair(RepairMessage::decode(kind, &mut reader)?)
            }
            26 => {
                let count = reader.count("sections", limits::AWAITED_MAX)?;
                let sections = (0..count).map(|_| decode_section(&mut reader));
                Self::Await(sections.collect::<Result<_, _>>()?)
            }
            6 => match Given::decode(&mut reader)? {
                given if given.number & SPEAKS != 0 => Self::Speaks {
                    newest: given.number & !SPEAKS,
                },
                given => Self::Given(given),
            },
            21 => {
                let bulk = reader.number("bulk")?;
                let batches = batch::decode(reader.rest())?;
                Self::Backlog { bulk, batches }
            }
            22 => Self::Part(Part::decode(&mut reader)?),
            23 => Self::Taken {
                bulk: reader.number("bulk")?,
            },
            24 => Self::Standing {
                digest: reader.array("digest")?,
            },
            25 => Self::Restate,
            27 => Self::Placements(Placements::decode(&mut reader)?),
            28 => Self::AskKept(AskKept::decode(&mut reader)?),
            29 => Self::Kept {
                number: reader.number("number")?,
            },
            other => {
                return Err(DecodeError::Unknown {
                    what: "message kind",
                    value: other.into(),
                });
            }
        };
        reader.finish()?;
        Ok(message)
    }
}

fn with_packet(head: Writer, batches: &[Arc<Batch>]) -> Bytes {
    let packet = batch::encode(batches.iter().map(|batch| &**batch).collect::<Vec<_>>());
    let head = head.finish();
    let mut frame = Vec::with_capacity(head.len() + packet.len());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(&packet);
    frame.into()
}

fn encode_section(writer: &mut Writer, (namespace, entries): &Section) {
    writer.bytes(namespace.as_str().as_bytes());
    writer.count(entries.len());
    for (origin, seq) in entries {
        writer.origin(origin);
        writer.number(seq.0);
    }
}

fn encode_id(writer: &mut Writer, id: &DocumentId) {
    writer.bytes(id.namespace.as_str().as_bytes());
    writer.bytes(id.key.as_str().as_bytes());
}

fn decode_id(reader: &mut Reader) -> Result<DocumentId, DecodeError> {
    Ok(DocumentId {
        namespace: reader.namespace()?,
        key: reader.key()?,
    })
}

fn encode_bound(writer: &mut Writer, bound: Option<&DocumentId>) {
    writer.u8(bound.is_some().into());
    if let Some(id) = bound {
        encode_id(writer, id);
    }
}

fn decode_bound(reader: &mut Reader) -> Result<Option<DocumentId>, DecodeError> {
    if flag(reader, "bound")? {
        decode_id(reader).map(Some)
    } else {
        Ok(None)
    }
}

fn decode_section(reader: &mut Reader) -> Result<Section, DecodeError> {
    let namespace = reader.namespace()?;
    let count = reader.count("positions", limits::ORIGINS_MAX)?;
    let entries = (0..count)
        .map(|_| Ok((reader.origin()?, reader.seq()?)))
        .collect::<Result<_, DecodeError>>()?;
    Ok((namespace, entries))
}

fn decode_want(reader: &mut Reader) -> Result<Want, DecodeError> {
    let namespace = reader.namespace()?;
    let origin = reader.origin()?;
    let after = reader.number("after")?.checked_sub(1).map(Seq);
    Ok(Want {
        namespace,
        origin,
        after,
    })
}

fn flag(reader: &mut Reader, what: &'static str) -> Result<bool, DecodeError> {
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Unknown {
            what,
            value: other.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::persist::StoredDocument;
    use crate::placement::{Datacenters, Setting};
    use crate::{Incarnation, ReplicaId};

    #[test]
    fn every_message_survives_its_encoding() {
        let origin = Origin {
            replica: ReplicaId([7; 16]),
            incarnation: Incarnation(u64::MAX),
        };
        let namespace = Namespace::new("carts").unwrap();
        for message in [
            Message::Hello(Hello {
                oldest: PROTOCOL_OLDEST,
                name: "eu-1".into(),
                datacenter: "eu".into(),
                incarnation: Incarnation(3),
                heard: true,
            }),
            Message::Frontier {
                whole: true,
                sections: vec![(
                    namespace.clone(),
                    vec![(origin, Seq(1)), (origin, Seq(300))],
                )],
            },
            Message::Delta(Vec::new()),
            Message::Want(vec![
                Want {
                    namespace: namespace.clone(),
                    origin,
                    after: Some(Seq(0)),
                },
                Want {
                    namespace: namespace.clone(),
                    origin,
                    after: None,
                },
            ]),
            Message::Ask {
                number: 3,
                range: DocumentRange {
                    from: None,
                    before: Some(DocumentId::new("carts", "b").unwrap()),
                },
            },
            Message::Given(Given {
                number: 3,
                frontiers: vec![(namespace, vec![(origin, Seq(1))])],
                documents: Some(vec![(
                    DocumentId::new("carts", "a").unwrap(),
                    StoredDocument {
                        state: vec![1; 40].into(),
                        changes: vec![vec![2; 3].into()],
                        present: None,
                        sum: None,
                    },
                )]),
            }),
            Message::Await(vec![(
                Namespace::new("carts").unwrap(),
                vec![(origin, Seq(7))],
            )]),
            Message::Given(Given {
                number: 4,
                frontiers: Vec::new(),
                documents: None,
            }),
            Message::Speaks { newest: 2 },
            Message::Backlog {
                bulk: 300,
                batches: Vec::new(),
            },
            Message::Part(part::sample()),
            Message::Taken { bulk: 300 },
            Message::Standing {
                digest: [9; DIGEST_BYTES],
            },
            Message::Restate,
            Message::Placements(Placements {
                settings: vec![
                    (Namespace::new("carts").unwrap(), setting(&["eu", "us"])),
                    (Namespace::new("wishes").unwrap(), setting(&[])),
                ],
                digest: Some([9; DIGEST_BYTES]),
            }),
            Message::AskKept(AskKept {
                number: 5,
                namespace: Namespace::new("carts").unwrap(),
                setting: setting(&["eu"]),
                positions: vec![(origin, Seq(3))],
            }),
            Message::Kept { number: 5 },
        ] {
            assert_eq!(Message::decode(&message.encode()).unwrap(), message);
        }
    }

    fn setting(names: &[&str]) -> Setting {
        Setting {
            version: 300,
            by: ReplicaId([4; 16]),
            datacenters: Datacenters::new(names.iter().copied()).ok(),
        }
    }

    /// One setting has one form: names rise, none is empty, and versions have an end.
    #[test]
    fn a_setting_that_nobody_writes_is_not_read() {
        let of = |version: u64, names: &[&str]| {
            let mut writer = Writer::default();
            writer.u8(27);
            writer.count(1);
            writer.bytes(b"carts");
            writer.number(version);
            writer.array(&[4; 16]);
            writer.count(names.len());
            names.iter().for_each(|name| writer.bytes(name.as_bytes()));
            writer.u8(0);
            Message::decode(&writer.finish())
        };
        assert!(of(1, &["eu", "us"]).is_ok());
        let long = "x".repeat(limits::DATACENTER_BYTES_MAX + 1);
        for names in [&["us", "eu"][..], &["eu", "eu"], &[""], &["e\nu"], &[&long]] {
            assert!(of(1, names).is_err(), "{names:?}");
        }
        assert!(of(0, &["eu"]).is_err());
        assert!(of(u64::MAX, &["eu"]).is_err());
    }

    /// Byte for byte what the first version wrote, and so what it can read.
    #[test]
    fn a_hello_is_written_as_it_always_was() {
        let hello = Hello {
            oldest: 1,
            name: "b".to_owned(),
            datacenter: "eu".to_owned(),
            incarnation: Incarnation(300),
            heard: true,
        };
        let written = Message::Hello(hello).encode();
        assert_eq!(&written[..], b"\x01\x01\x01b\x02eu\xac\x02\x01");
        let speaks = Message::Speaks { newest: 2 }.encode();
        assert_eq!(
            &speaks[..],
            [6, 0x82, 128, 128, 128, 128, 128, 128, 128, 128, 1, 0, 0]
        );
        assert_eq!(Message::protocol_of(&speaks), 1);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::decode(&bytes.into());
        }
    }
}

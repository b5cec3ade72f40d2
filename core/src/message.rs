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
//! given    = number  sections:[namespace:text  entries:[origin seq]]  0 | 1 documents:[document]
//! bound    = 0 | 1 namespace:text key:text
//! document = namespace:text key:text  state:bytes  changes:[bytes]  present:u8 (0 no, 1 yes, 2 unknown)
//! ```
//! Any of them may be lost, doubled or late: each can be acted on alone.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{self, Batch};
use crate::codec::{DecodeError, Reader, Writer};
use crate::persist::{DocumentRange, StoredDocument};
use crate::repair_message::{self, RepairMessage};
use crate::{DocumentId, Incarnation, Namespace, Origin, Seq, limits};

/// The version of the whole exchange; both ends must speak the same.
pub(crate) const PROTOCOL: u64 = 1;

const NAME_BYTES_MAX: usize = 256;

/// Says who speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    pub(crate) protocol: u64,
    pub(crate) name: String,
    pub(crate) datacenter: String,
    pub(crate) incarnation: Incarnation,
    /// Whether the speaker has heard on this link what the other holds; if not, the other says it again.
    pub(crate) heard: bool,
}

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
}

/// Answers [`Message::Ask`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    pub(crate) number: u64,
    /// What the documents contain.
    pub(crate) frontiers: Vec<Section>,
    /// All there are; none if they can't be given.
    pub(crate) documents: Option<Vec<(DocumentId, StoredDocument)>>,
}

impl Message {
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        match self {
            Self::Hello(hello) => {
                writer.u8(1);
                writer.number(hello.protocol);
                writer.bytes(hello.name.as_bytes());
                writer.bytes(hello.datacenter.as_bytes());
                writer.number(hello.incarnation.0);
                writer.u8(hello.heard.into());
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
                let packet =
                    batch::encode(batches.iter().map(|batch| &**batch).collect::<Vec<_>>());
                let mut frame = Vec::with_capacity(packet.len() + 1);
                frame.push(3);
                frame.extend_from_slice(&packet);
                return frame.into();
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
        }
        writer.finish()
    }

    pub(crate) fn decode(frame: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame.clone());
        let message = match reader.u8("message kind")? {
            1 => Self::Hello(decode_hello(&mut reader)?),
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
            6 => Self::Given(Given::decode(&mut reader)?),
            kind if repair_message::KINDS.contains(&kind) => {
                Self::Repair(RepairMessage::decode(kind, &mut reader)?)
            }
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

impl Given {
    fn encode(&self, writer: &mut Writer) {
        writer.number(self.number);
        writer.count(self.frontiers.len());
        for section in &self.frontiers {
            encode_section(writer, section);
        }
        let Some(documents) = &self.documents else {
            return writer.u8(0);
        };
        writer.u8(1);
        writer.count(documents.len());
        for (id, stored) in documents {
            encode_id(writer, id);
            writer.bytes(&stored.state);
            writer.count(stored.changes.len());
            stored
                .changes
                .iter()
                .for_each(|change| writer.bytes(change));
            writer.u8(stored.present.map_or(2, u8::from));
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let number = reader.number("number")?;
        let count = reader.count("sections", limits::NAMESPACES_MAX)?;
        let frontiers = (0..count)
            .map(|_| decode_section(reader))
            .collect::<Result<_, _>>()?;
        let documents = if flag(reader, "documents")? {
            let count = reader.count("documents", limits::FRAME_BYTES_MAX)?;
            let documents = (0..count).map(|_| decode_document(reader));
            Some(documents.collect::<Result<_, _>>()?)
        } else {
            None
        };
        Ok(Self {
            number,
            frontiers,
            documents,
        })
    }
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

fn decode_document(reader: &mut Reader) -> Result<(DocumentId, StoredDocument), DecodeError> {
    let id = decode_id(reader)?;
    let state = reader.bytes("state", limits::FRAME_BYTES_MAX)?;
    let count = reader.count("changes", limits::FRAME_BYTES_MAX)?;
    let changes = (0..count)
        .map(|_| reader.bytes("change", limits::BATCH_BYTES_MAX))
        .collect::<Result<_, _>>()?;
    let present = match reader.u8("presence")? {
        0 => Some(false),
        1 => Some(true),
        2 => None,
        other => {
            return Err(DecodeError::Unknown {
                what: "presence",
                value: other.into(),
            });
        }
    };
    let stored = StoredDocument {
        state,
        changes,
        present,
        sum: None,
    };
    Ok((id, stored))
}

fn decode_hello(reader: &mut Reader) -> Result<Hello, DecodeError> {
    let protocol = reader.number("protocol")?;
    if protocol != PROTOCOL {
        return Err(DecodeError::Unknown {
            what: "protocol version",
            value: protocol,
        });
    }
    Ok(Hello {
        protocol,
        name: reader.text("name", NAME_BYTES_MAX)?,
        datacenter: reader.text("datacenter", NAME_BYTES_MAX)?,
        incarnation: Incarnation(reader.number("incarnation")?),
        heard: flag(reader, "heard")?,
    })
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
    use crate::ReplicaId;

    #[test]
    fn every_message_survives_its_encoding() {
        let origin = Origin {
            replica: ReplicaId([7; 16]),
            incarnation: Incarnation(u64::MAX),
        };
        let namespace = Namespace::new("carts").unwrap();
        for message in [
            Message::Hello(Hello {
                protocol: PROTOCOL,
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
            Message::Given(Given {
                number: 4,
                frontiers: Vec::new(),
                documents: None,
            }),
        ] {
            assert_eq!(Message::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn another_protocol_is_named() {
        let hello = Hello {
            protocol: 9,
            name: String::new(),
            datacenter: String::new(),
            incarnation: Incarnation(0),
            heard: false,
        };
        let error = Message::decode(&Message::Hello(hello).encode()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "protocol version: 9 is not a known value"
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::decode(&bytes.into());
        }
    }
}

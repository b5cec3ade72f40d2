//! Documents for a peer that can't read its own.

use super::{Section, decode_id, decode_section, encode_id, encode_section, flag};
use crate::codec::{DecodeError, Reader, Writer};
use crate::persist::StoredDocument;
use crate::{DocumentId, limits};

/// Answers [`Message::Ask`](super::Message::Ask).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    pub(crate) number: u64,
    /// What the documents contain.
    pub(crate) frontiers: Vec<Section>,
    /// All there are; none if they can't be given.
    pub(crate) documents: Option<Vec<(DocumentId, StoredDocument)>>,
}

impl Given {
    pub(super) fn encode(&self, writer: &mut Writer) {
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

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
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

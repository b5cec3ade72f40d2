//! Where namespaces are, and whether what is let go elsewhere is held.

use super::{DIGEST_BYTES, flag};
use crate::codec::{DecodeError, Reader, Writer};
use crate::placement::Setting;
use crate::{Namespace, Origin, Seq, limits};

/// Some of what the speaker knows of where namespaces are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placements {
    pub(crate) settings: Vec<(Namespace, Setting)>,
    /// Of all that the speaker knows: who knows something else says it.
    pub(crate) digest: Option<[u8; DIGEST_BYTES]>,
}

impl Placements {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.count(self.settings.len());
        for (namespace, setting) in &self.settings {
            writer.bytes(namespace.as_str().as_bytes());
            setting.encode(writer);
        }
        writer.u8(self.digest.is_some().into());
        if let Some(digest) = &self.digest {
            writer.array(digest);
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let count = reader.count("placements", limits::NAMESPACES_MAX)?;
        let settings = (0..count)
            .map(|_| Ok((reader.namespace()?, Setting::decode(reader)?)))
            .collect::<Result<_, DecodeError>>()?;
        let digest = match flag(reader, "digest")? {
            true => Some(reader.array("digest")?),
            false => None,
        };
        Ok(Self { settings, digest })
    }
}

/// The speaker is to let go of a namespace that is placed elsewhere. Does the other one hold all of it, and is it one of those who keep
/// it, by exactly this setting?
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AskKept {
    pub(crate) number: u64,
    pub(crate) namespace: Namespace,
    pub(crate) setting: Setting,
    pub(crate) positions: Vec<(Origin, Seq)>,
}

impl AskKept {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.number(self.number);
        writer.bytes(self.namespace.as_str().as_bytes());
        self.setting.encode(writer);
        writer.count(self.positions.len());
        for (origin, seq) in &self.positions {
            writer.origin(origin);
            writer.number(seq.0);
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let number = reader.number("number")?;
        let namespace = reader.namespace()?;
        let setting = Setting::decode(reader)?;
        let count = reader.count("positions", limits::ORIGINS_MAX)?;
        let positions = (0..count)
            .map(|_| Ok((reader.origin()?, reader.seq()?)))
            .collect::<Result<_, DecodeError>>()?;
        Ok(Self {
            number,
            namespace,
            setting,
            positions,
        })
    }
}

//! Who speaks.

use super::flag;
use crate::Incarnation;
use crate::codec::{DecodeError, Reader, Writer};

const NAME_BYTES_MAX: usize = 256;

/// Says who speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    /// The oldest protocol that the speaker knows.
    pub(crate) oldest: u64,
    pub(crate) name: String,
    pub(crate) datacenter: String,
    pub(crate) incarnation: Incarnation,
    /// Whether the speaker has heard on this link what the other holds; if not, the other says it again.
    pub(crate) heard: bool,
}

impl Hello {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.number(self.oldest);
        writer.bytes(self.name.as_bytes());
        writer.bytes(self.datacenter.as_bytes());
        writer.number(self.incarnation.0);
        writer.u8(self.heard.into());
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            oldest: reader.number("protocol")?,
            name: reader.text("name", NAME_BYTES_MAX)?,
            datacenter: reader.text("datacenter", NAME_BYTES_MAX)?,
            incarnation: Incarnation(reader.number("incarnation")?),
            heard: flag(reader, "heard")?,
        })
    }
}

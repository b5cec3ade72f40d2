//! Reading and writing of binary forms. Integers are unsigned LEB128, byte strings carry their length
//! first, and no length is believed before the bytes are seen to be there.

use bytes::Bytes;

use crate::{Incarnation, Key, NameError, Namespace, Origin, ReplicaId, Seq};

/// Why bytes from a peer or from the log could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A length or a field points past the end.
    #[error("cut short: {what} needs {needed} bytes and {left} are left")]
    CutShort {
        /// The field.
        what: &'static str,
        /// Bytes it announces.
        needed: u64,
        /// Bytes there are.
        left: usize,
    },
    /// Bytes after the last field.
    #[error("{0} bytes too many at the end")]
    Trailing(usize),
    /// A count over its limit.
    #[error("{what}: {value} is over the limit of {max}")]
    OverLimit {
        /// The field.
        what: &'static str,
        /// What it says.
        value: u64,
        /// What it may say.
        max: u64,
    },
    /// A value that no writer of this version produces.
    #[error("{what}: {value} is not a known value")]
    Unknown {
        /// The field.
        what: &'static str,
        /// What it says.
        value: u64,
    },
    /// Written by a later version of this software.
    #[error("{what} {found} is of a newer program; this one knows {known}")]
    Newer {
        /// Which format.
        what: &'static str,
        /// The number that was found.
        found: u8,
        /// The newest one known here.
        known: u8,
    },
    /// A number of more than 64 bits, or not in its shortest form.
    #[error("{0}: not a proper number")]
    Number(&'static str),
    /// A compressed frame that does not hold what it says.
    #[error("compressed frame: {0}")]
    Compressed(&'static str),
    /// Text that is not UTF-8.
    #[error("{0}: not UTF-8")]
    Text(&'static str),
    /// A namespace or key that breaks the rules for names.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Appends fields to a buffer.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    pub(crate) fn count(&mut self, value: usize) {
        self.number(value as u64);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Bytes whose number both sides know.
    pub(crate) fn array<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn origin(&mut self, origin: &Origin) {
        self.0.extend_from_slice(&origin.replica.0);
        self.0
            .extend_from_slice(&origin.incarnation.0.to_be_bytes());
    }

    /// Bytes up to the end, which says how many they are.
    pub(crate) fn rest(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// Takes fields off the front of a buffer; byte strings share its memory.
pub(crate) struct Reader {
    left: Bytes,
    /// How many items may still be counted.
    items: u64,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        let items = u64::MAX;
        Self { left: bytes, items }
    }

    /// Reads what a peer says: of small items, too, there may be so many only, since each takes far more memory than bytes.
    pub(crate) fn of_peer(bytes: Bytes) -> Self {
        let items = crate::limits::PACKET_ITEMS_MAX as u64;
        Self { left: bytes, items }
    }

    fn take(&mut self, what: &'static str, needed: u64) -> Result<Bytes, DecodeError> {
        match usize::try_from(needed) {
            Ok(len) if len <= self.left.len() => Ok(self.left.split_to(len)),
            _ => Err(DecodeError::CutShort {
                what,
                needed,
                left: self.left.len(),
            }),
        }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(what, 1)?[0])
    }

    /// The number of a format, which has to be the known one.
    pub(crate) fn format(&mut self, what: &'static str, known: u8) -> Result<(), DecodeError> {
        match self.u8(what)? {
            found if found == known => Ok(()),
            found if found > known => Err(DecodeError::Newer { what, found, known }),
            other => {
                let value = other.into();
                Err(DecodeError::Unknown { what, value })
            }
        }
    }

    /// The number of a format, of which all up to the newest are known.
    pub(crate) fn format_up_to(
        &mut self,
        what: &'static str,
        known: u8,
    ) -> Result<u8, DecodeError> {
        match self.u8(what)? {
            found if found > known => Err(DecodeError::Newer { what, found, known }),
            0 => Err(DecodeError::Unknown { what, value: 0 }),
            found => Ok(found),
        }
    }

    pub(crate) fn number(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Number(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                // One number has one form, so equal messages are equal bytes.
                return if byte == 0 && shift > 0 {
                    Err(DecodeError::Number(what))
                } else {
                    Ok(value)
                };
            }
        }
        Err(DecodeError::Number(what))
    }

    /// A number of items that follow, each of which takes at least one byte.
    pub(crate) fn count(&mut self, what: &'static str, max: usize) -> Result<usize, DecodeError> {
        let value = self.number(what)?;
        if value > max as u64 {
            return Err(DecodeError::OverLimit {
                what,
                value,
                max: max as u64,
            });
        }
        if value > self.left.len() as u64 {
            return Err(DecodeError::CutShort {
                what,
                needed: value,
                left: self.left.len(),
            });
        }
        self.items = self
            .items
            .checked_sub(value)
            .ok_or(DecodeError::OverLimit {
                what: "items in all",
                value,
                max: self.items,
            })?;
        usize::try_from(value).map_err(|_| DecodeError::Number(what))
    }

    pub(crate) fn bytes(&mut self, what: &'static str, max: usize) -> Result<Bytes, DecodeError> {
        let len = self.number(what)?;
        if len > max as u64 {
            return Err(DecodeError::OverLimit {
                what,
                value: len,
                max: max as u64,
            });
        }
        self.take(what, len)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(what, N as u64)?);
        Ok(array)
    }

    pub(crate) fn text(&mut self, what: &'static str, max: usize) -> Result<String, DecodeError> {
        let bytes = self.bytes(what, max)?;
        std::str::from_utf8(&bytes)
            .map(str::to_owned)
            .map_err(|_| DecodeError::Text(what))
    }

    pub(crate) fn namespace(&mut self) -> Result<Namespace, DecodeError> {
        Ok(Namespace::new(
            &self.text("namespace", crate::limits::NAMESPACE_BYTES_MAX)?,
        )?)
    }

    pub(crate) fn key(&mut self) -> Result<Key, DecodeError> {
        Ok(Key::new(&self.text("key", crate::limits::KEY_BYTES_MAX)?)?)
    }

    pub(crate) fn origin(&mut self) -> Result<Origin, DecodeError> {
        let bytes = self.take("origin", 24)?;
        let mut replica = [0; 16];
        let mut incarnation = [0; 8];
        replica.copy_from_slice(&bytes[..16]);
        incarnation.copy_from_slice(&bytes[16..]);
        Ok(Origin {
            replica: ReplicaId(replica),
            incarnation: Incarnation(u64::from_be_bytes(incarnation)),
        })
    }

    /// A position; 0 is not one.
    pub(crate) fn seq(&mut self) -> Result<Seq, DecodeError> {
        match self.number("seq")? {
            value @ (0 | u64::MAX) => Err(DecodeError::Unknown { what: "seq", value }),
            value => Ok(Seq(value)),
        }
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> Bytes {
        self.left.split_off(0)
    }

    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing(self.left.len()))
        }
    }
}

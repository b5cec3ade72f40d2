//! What a tip knows of single places.

use automerge::ScalarValue;

use super::Id;
use crate::document::slots::Kind;

/// One place: an entry of a map, or an element of a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Stands for its path.
    pub(super) trail: [u8; 16],
    pub(super) known: Known,
}

/// What stands at a place.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Known {
    Map {
        /// Where new entries go.
        object: Id,
        /// Whether all its entries are places of the tip.
        whole: bool,
    },
    List {
        object: Id,
        /// The element that new ones follow at the end, [`Id::ROOT`] in an empty list; none if it is not known.
        last: Option<Id>,
    },
    Set {
        object: Id,
        whole: bool,
    },
    /// An element of a set.
    Element {
        put: Id,
        value: bool,
    },
    Number(Number),
    Register {
        map: Id,
        put: Id,
        value: Held,
        /// Whether there is no trace of anything else at this entry.
        bare: bool,
    },
    /// Something that takes the document itself to edit.
    Other,
}

/// A counter or a quantity.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Number {
    pub(super) kind: Kind,
    /// Whether it is counted under the entry's own name.
    pub(super) own_name: bool,
    /// Whether anything else stands under the key, so that a change of its own has to say what is meant.
    pub(super) beside: bool,
    pub(super) map: Id,
    /// What is counted: the operation that put it there.
    pub(super) counter: Id,
    /// As it reads.
    pub(super) total: i64,
}

/// A scalar, as far as its equal can be told, and an integer can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Held([u8; 16]);

impl Held {
    /// Begins what is an integer. No hash begins so.
    const INTEGER: [u8; 8] = [0xff; 8];

    pub(super) fn of(scalar: &ScalarValue) -> Self {
        if let ScalarValue::Int(n) = scalar {
            let mut held = [0xff; 16];
            held[8..].copy_from_slice(&n.to_le_bytes());
            return Self(held);
        }
        let mut hasher = blake3::Hasher::new();
        match scalar {
            ScalarValue::Bytes(bytes) => hasher.update(b"b").update(bytes),
            ScalarValue::Str(text) => hasher.update(b"s").update(text.as_bytes()),
            ScalarValue::Int(n) => hasher.update(b"i").update(&n.to_le_bytes()),
            ScalarValue::Uint(n) => hasher.update(b"u").update(&n.to_le_bytes()),
            ScalarValue::F64(n) => hasher.update(b"f").update(&n.to_bits().to_le_bytes()),
            ScalarValue::Counter(n) => hasher.update(b"c").update(&i64::from(n).to_le_bytes()),
            ScalarValue::Timestamp(n) => hasher.update(b"t").update(&n.to_le_bytes()),
            ScalarValue::Boolean(flag) => hasher.update(if *flag { b"T" } else { b"F" }),
            ScalarValue::Unknown { type_code, bytes } => {
                hasher.update(&[b'?', *type_code]).update(bytes)
            }
            ScalarValue::Null => hasher.update(b"0"),
        };
        let mut held = [0; 16];
        held.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        held[0] &= 0x7f;
        Self(held)
    }

    pub(super) fn integer(self) -> Option<i64> {
        let (mark, value) = self.0.split_first_chunk()?;
        let value = value.try_into().ok().map(i64::from_le_bytes);
        value.filter(|_| *mark == Self::INTEGER)
    }
}

/// What stands for a path: the first 16 bytes of the BLAKE3 hash of what stands for the path above it and of its last
/// name. So a place leads to those inside it, whatever led to it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Trail([u8; 16]);

impl Trail {
    /// Tells the elements of a set from the entries of a map.
    const ENTRY: u8 = 0;
    const ELEMENT: u8 = 1;

    pub(super) fn of(parts: &[String]) -> Self {
        let root = Self::default();
        parts.iter().fold(root, |trail, name| trail.child(name))
    }

    pub(super) fn at(place: [u8; 16]) -> Self {
        Self(place)
    }

    pub(super) fn child(self, name: &str) -> Self {
        Self(self.step(Self::ENTRY, name))
    }

    /// Of the place itself.
    pub(super) fn end(self) -> [u8; 16] {
        self.0
    }

    /// Of an element of the set at the place.
    pub(super) fn element(self, key: &str) -> [u8; 16] {
        self.step(Self::ELEMENT, key)
    }

    fn step(self, kind: u8, name: &str) -> [u8; 16] {
        const ROOM: usize = 128;
        let len = 17 + name.len();
        let mut room = [0; ROOM];
        let mut long = Vec::new();
        let bytes = match room.get_mut(..len) {
            Some(bytes) => bytes,
            None => {
                long.resize(len, 0);
                &mut long[..]
            }
        };
        bytes[..16].copy_from_slice(&self.0);
        bytes[16] = kind;
        bytes[17..].copy_from_slice(name.as_bytes());
        let mut end = [0; 16];
        end.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        end
    }
}

//! Names of things: replicas, origins, namespaces, keys, positions.
//!
//! All are parsed once, at the edge, and valid from then on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// One replica, bound to its certificate's key: the first 16 bytes of the BLAKE3 hash of the
/// certificate's SubjectPublicKeyInfo. Renewing a certificate under the same key keeps the id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub [u8; 16]);

impl ReplicaId {
    /// The id that belongs to a public key, given as a DER-encoded SubjectPublicKeyInfo.
    #[must_use]
    pub fn of_public_key(spki_der: &[u8]) -> Self {
        let hash = blake3::hash(spki_der);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(id)
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 32];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaId({self})")
    }
}

impl Serialize for ReplicaId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Tells apart the histories that one replica began. Drawn at random by whoever opens the store,
/// whenever the store can't prove that it continues the history that it holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

/// One replica's unbroken history. Per namespace it numbers its batches 1, 2, 3 and so on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// The replica that wrote.
    pub replica: ReplicaId,
    /// Which of its histories.
    pub incarnation: Incarnation,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.replica, self.incarnation)
    }
}

impl Origin {
    /// Eight bytes that stand for it where it is named often: in documents, as their actor, and in session
    /// tokens.
    #[must_use]
    pub fn tag(&self) -> OriginTag {
        let mut hasher = blake3::Hasher::new_derive_key("anabranch 2026-11 actor of an origin");
        hasher
            .update(&self.replica.0)
            .update(&self.incarnation.0.to_be_bytes());
        let mut tag = [0; 8];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        OriginTag(tag)
    }
}

/// Stands for an [`Origin`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OriginTag(pub [u8; 8]);

/// Position of a batch in its origin's history of one namespace; the first is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Seq(pub u64);

impl Seq {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position before this one; before the first, 0.
    #[must_use]
    pub(crate) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

/// Position in this store's commit log; the first is 1, and 0 comes before all. Means nothing on another replica.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

fn article(noun: &str) -> &'static str {
    match noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        true => "an",
        false => "a",
    }
}

/// Why a namespace or a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing there.
    #[error("{} {what} must not be empty", article(what))]
    Empty {
        /// Namespace or key.
        what: &'static str,
    },
    /// Over the limit.
    #[error(
        "{} {what} may have {max} bytes of UTF-8 at most; this one has {len}",
        article(what)
    )]
    TooLong {
        /// Namespace or key.
        what: &'static str,
        /// Bytes allowed.
        max: usize,
        /// Bytes given.
        len: usize,
    },
    /// A character that would make the name ambiguous or unprintable.
    #[error("{} {what} may not contain {character:?}: {why}", article(what))]
    Character {
        /// Namespace or key.
        what: &'static str,
        /// The character.
        character: char,
        /// The reason.
        why: &'static str,
    },
}

pub(crate) fn check(what: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > max {
        return Err(NameError::TooLong {
            what,
            max,
            len: name.len(),
        });
    }
    match name.chars().find(|c| c.is_control()) {
        Some(character) => Err(NameError::Character {
            what,
            character,
            why: "control characters are not printable",
        }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A set of documents that replicate together; the unit of placement and of causal order.
    Namespace
}

name! {
    /// A document's name within its namespace. May contain `/`.
    Key
}

impl Namespace {
    /// Checks and takes a namespace.
    ///
    /// # Errors
    /// When it is empty, over 128 bytes, or contains `/` or a control character.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let what = "namespace";
        check(what, name, limits::NAMESPACE_BYTES_MAX)?;
        if name.contains('/') {
            let why = "it separates the namespace from the key";
            return Err(NameError::Character {
                what,
                character: '/',
                why,
            });
        }
        Ok(Self(name.into()))
    }
}

impl Key {
    /// Checks and takes a key.
    ///
    /// # Errors
    /// When it is empty, over 1,024 bytes, or contains a control character.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check("key", name, limits::KEY_BYTES_MAX)?;
        Ok(Self(name.into()))
    }
}

impl Key {
    /// Not after any key that begins with `prefix`: where a range of keys starts.
    pub(crate) fn floor(prefix: &str) -> Self {
        Self(prefix.into())
    }

    /// Before every key that comes after this one: where a range that ends with it ends.
    pub(crate) fn ceiling(&self) -> Self {
        // No key contains it, and nothing sorts between.
        Self(format!("{self}\0").into())
    }
}

/// A document's address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct DocumentId {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its key there.
    pub key: Key,
}

impl DocumentId {
    /// Puts an address together.
    ///
    /// # Errors
    /// When either part is not a valid name.
    pub fn new(namespace: &str, key: &str) -> Result<Self, NameError> {
        Ok(Self {
            namespace: Namespace::new(namespace)?,
            key: Key::new(key)?,
        })
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.key)
    }
}

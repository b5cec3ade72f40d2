//! Fields that are counted: [`Counter`] and [`Quantity`].

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tree;

/// What only counts: likes, views. Two datacenters that add at the same time come to the sum.
///
/// Missing in a document, or null, it reads as 0. Beyond ±2^53 it can't be written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Counter(i64);

/// What is put in and taken out: the pieces of a cart line, seats. Two datacenters that adjust at the same
/// time come to the sum; a removal takes what its writer saw, and no more.
///
/// Missing in a document, or null, it reads as 0. Beyond ±2^53 it can't be written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Quantity(i64);

impl Counter {
    /// Adds; a negative number takes away.
    pub fn add(&mut self, n: i64) {
        // What leaves 64 bits is out of range for a document by far, so writing it is refused.
        self.0 = self.0.saturating_add(n);
    }

    /// How far it has counted.
    #[must_use]
    pub fn value(self) -> i64 {
        self.0
    }
}

impl Quantity {
    /// Puts in; a negative number takes out.
    pub fn adjust(&mut self, n: i64) {
        self.0 = self.0.saturating_add(n);
    }

    /// How much there is.
    #[must_use]
    pub fn value(self) -> i64 {
        self.0
    }
}

/// What both are to the world.
macro_rules! number {
    ($type:ident, $name:expr) => {
        impl From<i64> for $type {
            fn from(value: i64) -> Self {
                Self(value)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct($name, &self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                super::or_empty(deserializer).map(Self)
            }
        }
    };
}

number!(Counter, tree::COUNTER);
number!(Quantity, tree::QUANTITY);

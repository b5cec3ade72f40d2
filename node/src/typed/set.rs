//! Fields that are sets: [`Set`].

use std::collections::{BTreeSet, btree_set};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tree;

/// A set: tags, coupons, followers. Two datacenters that add at the same time come to both elements; an element
/// that is added in one and removed in another stays.
///
/// Missing in a document, or null, it reads as empty. In JSON it is an array.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Set<T>(BTreeSet<T>);

impl<T: Ord> Set<T> {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an element. False if it was there already.
    pub fn insert(&mut self, element: impl Into<T>) -> bool {
        self.0.insert(element.into())
    }

    /// Takes an element out. False if it was not there.
    pub fn remove<Q>(&mut self, element: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.0.remove(element)
    }

    /// Whether an element is there.
    #[must_use]
    pub fn contains<Q>(&self, element: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.0.contains(element)
    }

    /// Takes out all elements.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<T> Set<T> {
    /// The elements, in their order.
    pub fn iter(&self) -> btree_set::Iter<'_, T> {
        self.0.iter()
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self(elements.into_iter().collect())
    }
}

impl<T: Ord> Extend<T> for Set<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        self.0.extend(elements);
    }
}

impl<T> IntoIterator for Set<T> {
    type Item = T;
    type IntoIter = btree_set::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Set<T> {
    type Item = &'a T;
    type IntoIter = btree_set::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Serialize> Serialize for Set<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(tree::SET, &self.0)
    }
}

impl<'de, T: Deserialize<'de> + Ord> Deserialize<'de> for Set<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::or_empty(deserializer).map(Self)
    }
}

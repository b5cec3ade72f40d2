//! The tables of the documents' file, and how their keys are written.

use std::ops::Bound;

use anabranch_core::persist::DocumentRange;
use anabranch_core::{DocumentId, Key, Namespace};
use redb::{ReadOnlyTable, Table, TableDefinition};

/// A table whose keys and values are bytes.
pub(crate) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
/// One of them in a read transaction.
pub(crate) type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;
/// One of them in a write transaction.
pub(crate) type RowsMut<'transaction> = Table<'transaction, &'static [u8], &'static [u8]>;

/// Tiles of documents, by namespace and key of where each begins.
pub(crate) const TILES: Definition = TableDefinition::new("tiles");
/// What belongs into tiles that can't be read.
pub(crate) const QUARANTINE: Definition = TableDefinition::new("quarantine");
/// Tiles of receipts, by the key of where each begins.
pub(crate) const RECEIPTS: Definition = TableDefinition::new("receipts");
/// Position and key of each receipt to its time: the order in which they are forgotten.
pub(crate) const RECEIPT_ORDER: Definition = TableDefinition::new("receipt order");
/// Checks of the tiles of documents and receipts, and of `meta`: a second opinion on which version of them is the
/// newest.
pub(crate) const DIRECTORY: Definition = TableDefinition::new("directory");
/// What the store knows of itself.
pub(crate) const META: Definition = TableDefinition::new("meta");

/// Stands between namespace and key. No name contains a control character, so it is unambiguous,
/// and it sorts before every character, so order is by namespace first and then by key.
const SEPARATOR: u8 = 0;

/// Writes a document's row key into `row_key`, in place of what was there.
pub(crate) fn document_key(id: &DocumentId, row_key: &mut Vec<u8>) {
    row_key.clear();
    extend_row_key(row_key, &id.namespace, id.key.as_str());
}

fn extend_row_key(row_key: &mut Vec<u8>, namespace: &Namespace, key: &str) {
    row_key.reserve(namespace.as_str().len() + 1 + key.len());
    row_key.extend_from_slice(namespace.as_str().as_bytes());
    row_key.push(SEPARATOR);
    row_key.extend_from_slice(key.as_bytes());
}

/// The document that a row key names, or nothing when no document has this row key.
pub(crate) fn document_id(row_key: &[u8]) -> Option<DocumentId> {
    let at = row_key.iter().position(|byte| *byte == SEPARATOR)?;
    let namespace = std::str::from_utf8(&row_key[..at]).ok()?;
    let key = std::str::from_utf8(&row_key[at + 1..]).ok()?;
    Some(DocumentId {
        namespace: Namespace::new(namespace).ok()?,
        key: Key::new(key).ok()?,
    })
}

/// The row key where a range begins; the empty one comes before all.
pub(crate) fn range_from(range: &DocumentRange) -> Vec<u8> {
    let mut row_key = Vec::new();
    if let Some(from) = &range.from {
        document_key(from, &mut row_key);
    }
    row_key
}

/// The row key where a range ends, if it does.
pub(crate) fn range_before(range: &DocumentRange) -> Option<Vec<u8>> {
    let mut row_key = Vec::new();
    document_key(range.before.as_ref()?, &mut row_key);
    Some(row_key)
}

/// Past every row key: none begins with this byte.
const PAST_ALL: u8 = 0xFF;

/// The row keys of one page: where they begin and the first row key past them.
#[derive(Debug)]
pub(crate) struct PageRange {
    pub(crate) start: Bound<Vec<u8>>,
    pub(crate) end: Vec<u8>,
}

impl PageRange {
    /// Of documents of any namespaces.
    pub(crate) fn of(range: &DocumentRange) -> Self {
        let row_key = |id: &DocumentId| {
            let mut row_key = Vec::new();
            document_key(id, &mut row_key);
            row_key
        };
        Self {
            start: Bound::Included(range.from.as_ref().map_or_else(Vec::new, row_key)),
            end: range
                .before
                .as_ref()
                .map_or_else(|| vec![PAST_ALL], row_key),
        }
    }

    /// Nothing when no row can be in it.
    pub(crate) fn new(namespace: &Namespace, prefix: &str, after: Option<&Key>) -> Option<Self> {
        let mut first = Vec::new();
        extend_row_key(&mut first, namespace, prefix);
        let mut end = first.clone();
        // Neither the separator nor a byte of UTF-8 is 0xFF, so the last byte can always be raised.
        let last = end.last_mut()?;
        *last += 1;
        let start = match after {
            Some(after) => {
                let mut row_key = Vec::new();
                extend_row_key(&mut row_key, namespace, after.as_str());
                if row_key < first {
                    Bound::Included(first)
                } else {
                    Bound::Excluded(row_key)
                }
            }
            None => Bound::Included(first),
        };
        match &start {
            Bound::Excluded(row_key) if *row_key >= end => None,
            Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => Some(Self { start, end }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row_key(namespace: &str, key: &str) -> Vec<u8> {
        let mut row_key = Vec::new();
        document_key(&DocumentId::new(namespace, key).unwrap(), &mut row_key);
        row_key
    }

    #[test]
    fn order_is_by_namespace_then_key() {
        let sorted = [
            ("a", "z"),
            ("a", "é"),
            ("a!", "a"),
            ("ab", "a"),
            ("ab", "a/b"),
            ("b", "a"),
        ];
        for pair in sorted.windows(2) {
            assert!(
                row_key(pair[0].0, pair[0].1) < row_key(pair[1].0, pair[1].1),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn a_row_key_names_its_document() {
        let id = DocumentId::new("carts", "17850/x").unwrap();
        assert_eq!(document_id(&row_key("carts", "17850/x")), Some(id));
        assert_eq!(document_id(b"carts"), None, "no separator");
        assert_eq!(document_id(b"carts\0"), None, "no key");
        assert_eq!(document_id(b"carts\0\xFF"), None, "not UTF-8");
    }

    #[test]
    fn a_page_past_its_prefix_is_empty() {
        let namespace = Namespace::new("carts").unwrap();
        let key = |name: &str| Key::new(name).unwrap();
        assert!(PageRange::new(&namespace, "a", Some(&key("b"))).is_none());
        assert!(PageRange::new(&namespace, "a", Some(&key("a~"))).is_some());
        let early = PageRange::new(&namespace, "b", Some(&key("a"))).unwrap();
        assert_eq!(early.start, Bound::Included(b"carts\0b".to_vec()));
        assert_eq!(
            PageRange::new(&namespace, "", None).unwrap().end,
            b"carts\x01"
        );
    }
}

//! The five tables and how their keys are written.

use std::ops::Bound;

use anabranch_core::{DocumentId, Key, Namespace};
use redb::TableDefinition;

/// Position to record.
pub(crate) const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
/// Namespace and key to state.
pub(crate) const DOCUMENTS: TableDefinition<'static, &[u8], &[u8]> =
    TableDefinition::new("documents");
/// Key of a receipt to position, time and answer.
pub(crate) const RECEIPTS: TableDefinition<'static, &[u8], &[u8]> =
    TableDefinition::new("receipts");
/// Position and key of each receipt to its time: the order in which they are forgotten.
pub(crate) const RECEIPT_ORDER: TableDefinition<'static, &[u8], &[u8]> =
    TableDefinition::new("receipt order");
/// What the store knows of itself.
pub(crate) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

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

/// The row keys of one page: where they begin and the first row key past them.
#[derive(Debug)]
pub(crate) struct PageRange {
    pub(crate) start: Bound<Vec<u8>>,
    pub(crate) end: Vec<u8>,
}

impl PageRange {
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

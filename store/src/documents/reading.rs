//! Reading: every answer is shown by a tile, and no view of the data outlives a call.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use anabranch_core::persist::{DocumentRange, Place, StoredDocument};
use anabranch_core::{DocumentId, Key, Namespace, limits};
use bytes::Bytes;
use redb::ReadTransaction;

use super::listed::{DOCUMENT_TILES, Listed, Walk};
use super::quarantine::{self, Waiting};
use super::tile::Content;
use super::{Documents, record};
use crate::engine::Fault;
use crate::tables::{PageRange, QUARANTINE, document_id, document_key};

/// Documents in key order, and whether there may be more after them.
pub(crate) type Listing = (Vec<(Key, StoredDocument)>, bool);

/// Documents in key order, and the last key that was looked at, if there may be more after it.
pub(crate) type Pick = (Vec<(Key, StoredDocument)>, Option<Key>);

impl Documents {
    /// One document, if the store ever held it.
    pub(crate) fn document(&self, id: &DocumentId) -> Result<Option<StoredDocument>, Fault> {
        let mut row_key = Vec::new();
        document_key(id, &mut row_key);
        self.naming(&row_key, |view| {
            let waiting = view.open_table(QUARANTINE)?;
            if quarantine::find(&waiting, Waiting::Document, &row_key)?.is_some() {
                return Err(lost(&row_key));
            }
            let tiles = Listed::view(DOCUMENT_TILES, view)?;
            let found = tiles.find(&row_key)?.ok_or_else(|| lost(&row_key))?;
            let decoded = found.map(|found| record::decode(&found).ok_or_else(|| lost(&row_key)));
            decoded.transpose()
        })
    }

    /// Documents of a namespace in key order, and whether there may be more after them.
    pub(crate) fn page(
        &self,
        namespace: &Namespace,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
        bytes_max: usize,
        values: bool,
    ) -> Result<Listing, Fault> {
        let Some(range) = PageRange::new(namespace, prefix, after) else {
            return Ok((Vec::new(), false));
        };
        let page = Page {
            range,
            limit,
            bytes_left: bytes_max,
            wanted: match values {
                true => Wanted::Values,
                false => Wanted::Presence,
            },
            documents: Vec::new(),
            passed: Vec::new(),
            looked_at: 0,
        };
        let (documents, more) = self.turn(page)?;
        let keys = documents.into_iter().map(|(id, stored)| (id.key, stored));
        Ok((keys.collect(), more))
    }

    /// Documents of any namespaces by rising id, and whether there may be more after them.
    pub(crate) fn range(
        &self,
        range: &DocumentRange,
        bytes_max: usize,
    ) -> Result<(Vec<(DocumentId, StoredDocument)>, bool), Fault> {
        self.turn(Page {
            range: PageRange::of(range),
            limit: usize::MAX,
            bytes_left: bytes_max,
            wanted: Wanted::Values,
            documents: Vec::new(),
            passed: Vec::new(),
            looked_at: 0,
        })
    }

    /// Documents of any namespaces after one, or from the beginning, by rising id, and whether there may be more after
    /// them.
    pub(crate) fn after(
        &self,
        after: Option<&DocumentId>,
        bytes_max: usize,
    ) -> Result<(Vec<(DocumentId, StoredDocument)>, bool), Fault> {
        let mut range = PageRange::of(&DocumentRange {
            from: None,
            before: None,
        });
        if let Some(after) = after {
            let mut row_key = Vec::new();
            document_key(after, &mut row_key);
            range.start = Bound::Excluded(row_key);
        }
        self.turn(Page {
            range,
            limit: usize::MAX,
            bytes_left: bytes_max,
            wanted: Wanted::Values,
            documents: Vec::new(),
            passed: Vec::new(),
            looked_at: 0,
        })
    }

    /// Sums of documents of any namespaces from one on, by rising id, and whether there may be more after them.
    pub(crate) fn sums(
        &self,
        from: Bound<&DocumentId>,
        limit: usize,
    ) -> Result<(Vec<(DocumentId, StoredDocument)>, bool), Fault> {
        let mut range = PageRange::of(&DocumentRange {
            from: None,
            before: None,
        });
        let row_key = |id: &DocumentId| {
            let mut row_key = Vec::new();
            document_key(id, &mut row_key);
            row_key
        };
        match from {
            Bound::Unbounded => {}
            from => range.start = from.map(row_key),
        }
        self.turn(Page {
            range,
            limit,
            bytes_left: limits::PAGE_BYTES_MAX,
            wanted: Wanted::Sums,
            documents: Vec::new(),
            passed: Vec::new(),
            looked_at: 0,
        })
    }

    /// Documents of a namespace whose places are among some, and the last key that was looked at, if there may be more
    /// after it.
    pub(crate) fn picked(
        &self,
        namespace: &Namespace,
        places: Option<&Arc<BTreeSet<Place>>>,
        after: Option<&Key>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Pick, Fault> {
        let Some(range) = PageRange::new(namespace, "", after) else {
            return Ok((Vec::new(), None));
        };
        let mut page = Page {
            range,
            limit,
            bytes_left: bytes_max,
            wanted: places.map_or(Wanted::Values, |places| Wanted::Picked(places.clone())),
            documents: Vec::new(),
            passed: Vec::new(),
            looked_at: 0,
        };
        let mut at = page.first_key();
        let more = self
            .read(|view| page.fill(view, &mut at))
            .map_err(|fault| self.named(&at, fault))?;
        let passed = document_id(&page.passed);
        let documents = page.documents.into_iter();
        let documents = documents.map(|(id, stored)| (id.key, stored)).collect();
        Ok((documents, passed.filter(|_| more).map(|id| id.key)))
    }

    fn turn(&self, mut page: Page) -> Result<(Vec<(DocumentId, StoredDocument)>, bool), Fault> {
        // Where it stands, to name the damage if there is any.
        let mut at = page.first_key();
        let more = self.read(|view| page.fill(view, &mut at));
        match more {
            Ok(more) => Ok((page.documents, more)),
            // What comes before the damage can be given.
            Err(Fault::Damaged { .. }) if !page.documents.is_empty() => Ok((page.documents, true)),
            Err(fault) => Err(self.named(&at, fault)),
        }
    }

    /// Answers, and names the range when the tile of this key turns out to be damaged.
    fn naming<T>(
        &self,
        row_key: &[u8],
        act: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.read(act).map_err(|fault| self.named(row_key, fault))
    }

    pub(super) fn named(&self, row_key: &[u8], fault: Fault) -> Fault {
        match fault {
            Fault::Damaged { range: None, what } => Fault::Damaged {
                range: Some(self.damaged_range(row_key)),
                what,
            },
            named @ Fault::Damaged { .. } => named,
            other @ (Fault::Full(_) | Fault::Io(_) | Fault::Engine(_)) => other,
        }
    }

    /// Around a key: from where the last tile before it ends to where the next one begins. Where none can be found
    /// it goes on to the end.
    pub(super) fn damaged_range(&self, row_key: &[u8]) -> DocumentRange {
        let side = |look: &Look| self.view(look).unwrap_or_default();
        let from = side(&|view| {
            let tiles = Listed::view(DOCUMENT_TILES, view)?;
            Ok(match tiles.spanning(row_key)? {
                Some(tile) => Some(tile.low),
                None => tiles.before(row_key)?.and_then(|tile| tile.high),
            })
        });
        let before = side(&|view| {
            let tiles = Listed::view(DOCUMENT_TILES, view)?;
            Ok(match tiles.spanning(row_key)? {
                Some(tile) => tile.high,
                None => tiles.after(row_key)?.map(|tile| tile.low),
            })
        });
        DocumentRange {
            from: from.as_deref().and_then(document_id),
            before: before.as_deref().and_then(document_id),
        }
    }
}

/// Looks for a key in a view.
type Look<'a> = dyn Fn(&ReadTransaction) -> Result<Option<Vec<u8>>, Fault> + 'a;

fn lost(row_key: &[u8]) -> Fault {
    let near =
        document_id(row_key).map_or_else(|| "the first ones".to_owned(), |id| id.to_string());
    Fault::damaged(format!("documents near {near} are not what was written"))
}

/// What is wanted of each document.
enum Wanted {
    /// All of it.
    Values,
    /// Whether it is there.
    Presence,
    /// All but a state that is all there is, if its sum is known.
    Sums,
    /// All of it, of those whose places are among these; nothing of the others.
    Picked(Arc<BTreeSet<Place>>),
}

struct Page {
    range: PageRange,
    limit: usize,
    bytes_left: usize,
    wanted: Wanted,
    documents: Vec<(DocumentId, StoredDocument)>,
    /// The last row that was looked at, if any was.
    passed: Vec<u8>,
    looked_at: usize,
}

impl Page {
    fn first_key(&self) -> Vec<u8> {
        match &self.range.start {
            Bound::Included(key) | Bound::Excluded(key) => key.clone(),
            Bound::Unbounded => Vec::new(),
        }
    }

    fn is_wanted(&self, key: &[u8]) -> bool {
        match &self.range.start {
            Bound::Included(start) => key >= start.as_slice(),
            Bound::Excluded(start) => key > start.as_slice(),
            Bound::Unbounded => true,
        }
    }

    fn is_full(&self) -> bool {
        self.looked_at >= self.limit || (self.bytes_left == 0 && !self.documents.is_empty())
    }

    /// Takes documents from tile after tile, each of which must begin where the one before ends.
    fn fill(&mut self, view: &ReadTransaction, at: &mut Vec<u8>) -> Result<bool, Fault> {
        let waiting = view.open_table(QUARANTINE)?;
        let waiting = quarantine::first(&waiting, at, Some(&self.range.end))?;
        let mut tiles = Walk::new(DOCUMENT_TILES, view)?;
        let mut tile = tiles.spanning(at)?.ok_or_else(|| lost(at))?;
        let mut following = tiles.after(&tile.low)?;
        loop {
            while !tile.is_over() {
                tile.advance().ok_or_else(|| lost(at))?;
                let key = tile.key();
                if key >= self.range.end.as_slice() {
                    return Ok(false);
                }
                if !self.is_wanted(key) {
                    continue;
                }
                if self.is_full() {
                    return Ok(true);
                }
                if waiting.as_deref().is_some_and(|waiting| waiting <= key) {
                    *at = key.to_vec();
                    return Err(lost(at));
                }
                self.take(&tile)?;
            }
            let Some(high) = tile.high.take().filter(|high| *high < self.range.end) else {
                break;
            };
            if self.is_full() {
                return Ok(true);
            }
            *at = high;
            let next = following.next().ok_or_else(|| lost(at))?;
            let next = tiles.read(next)?.filter(|tile| tile.low == *at);
            tile = next.ok_or_else(|| lost(at))?;
        }
        match waiting {
            Some(waiting) => {
                *at = waiting;
                Err(lost(at))
            }
            None => Ok(false),
        }
    }

    /// Takes the document on which a tile stands.
    fn take(&mut self, row: &Content) -> Result<(), Fault> {
        let row_key = row.key();
        self.looked_at += 1;
        self.passed.clear();
        self.passed.extend_from_slice(row_key);
        // Most are not: nothing is made of them.
        if let Wanted::Picked(places) = &self.wanted
            && !places.contains(&Place::of_joined(row_key))
        {
            return Ok(());
        }
        let id = document_id(row_key).ok_or_else(|| lost(row_key))?;
        let value = &row.value();
        let document = match &self.wanted {
            Wanted::Values | Wanted::Picked(_) => {
                record::decode(value).ok_or_else(|| lost(row_key))?
            }
            Wanted::Presence => match record::glance(value).ok_or_else(|| lost(row_key))? {
                (None, _) => record::decode(value).ok_or_else(|| lost(row_key))?,
                (present, _) => StoredDocument {
                    present,
                    ..StoredDocument::default()
                },
            },
            Wanted::Sums => {
                let mut document = record::decode(value).ok_or_else(|| lost(row_key))?;
                // A change may come again after a crash, and then is in the state and beside it.
                if document.sum.is_some() && document.changes.is_empty() {
                    document.state = Bytes::new();
                }
                document
            }
        };
        let content: usize = document.changes.iter().map(Bytes::len).sum();
        let bytes = id.key.as_str().len() + document.state.len() + content;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.documents.push((id, document));
        Ok(())
    }
}

//! One document in memory.

use bytes::Bytes;

use super::documents::Job;
use super::shelf::eviction::Weight;
use crate::document::{Document, Refusal, Tip};
use crate::persist::{FoldId, Ticket};
use crate::{Intent, Lsn, Origin};

/// What an entry costs beside its document and its changes: names, and its place in the maps.
const ENTRY_BYTES: usize = 400;
/// After so many writes in a row that a tip was not enough for, none is made: the document has what tips don't know.
const UNCLEAR_MAX: u8 = 4;

/// What is known of one document beyond what the store has.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) loaded: Option<Box<Document>>,
    /// The end of its history, with all that was written; enough for most writes, whether it is loaded or not.
    pub(super) tip: Option<Box<Tip>>,
    /// Writes in a row for which the tip was not enough.
    pub(super) unclear: u8,
    /// What document and tip were taken to weigh last.
    pub(super) weight: Weight,
    /// The document was used since the hand last came by,
    pub(super) used: bool,
    /// and the tip.
    pub(super) written: bool,
    /// Changes that the store's document lacks, in log order.
    pub(super) unfolded: Vec<(Lsn, Bytes)>,
    /// How many of those the loaded document has taken in.
    pub(super) absorbed: usize,
    /// The commit that carries the newest change.
    pub(super) newest: Ticket,
    /// The fold that carries changes to the store, and how many of them.
    pub(super) folding: Option<(FoldId, usize)>,
    /// Whether its stored state has been asked for.
    pub(super) fetching: bool,
    /// How many changes reached the store while it was asked, which may have answered without them.
    pub(super) folded_meanwhile: usize,
    /// What to do once it is loaded.
    pub(super) waiting: Vec<Job>,
    /// Writes to several documents that need this one to stay until the others are there.
    pub(super) pins: usize,
}

impl Entry {
    /// The loaded document, with everything taken in that was written since.
    pub(super) fn current(&mut self) -> Option<(&mut Document, Vec<Refusal>)> {
        let document = self.loaded.as_mut()?;
        let refused = if self.absorbed < self.unfolded.len() {
            document.absorb(
                self.unfolded[self.absorbed..]
                    .iter()
                    .map(|(_, change)| change),
            )
        } else {
            Vec::new()
        };
        self.absorbed = self.unfolded.len();
        Some((document, refused))
    }

    pub(super) fn unfolded(&self) -> impl Iterator<Item = &Bytes> {
        self.unfolded.iter().map(|(_, change)| change)
    }

    pub(super) fn first(&self) -> Option<Lsn> {
        self.unfolded.first().map(|(lsn, _)| *lsn)
    }

    /// A tip to write by, if there is one or the loaded document can give one.
    pub(super) fn tip(&mut self) -> Option<&mut Tip> {
        self.written = true;
        if self.tip.is_none() && self.unclear < UNCLEAR_MAX {
            self.tip = self.make_tip();
        }
        self.tip.as_deref_mut()
    }

    /// Others have written to the document: the tip goes along if it can, without the document.
    pub(super) fn follow(&mut self, changes: &[Bytes]) {
        let follows = |tip: &mut Box<Tip>| changes.iter().all(|change| tip.follow(change));
        if !self.tip.as_mut().is_some_and(follows) {
            self.tip = None;
        }
    }

    /// The document is written to by itself.
    pub(super) fn drop_tip(&mut self) {
        self.tip = None;
    }

    /// The document has carried out a write that its tip was not enough for, as it may be for the next of its kind.
    pub(super) fn learn(&mut self, intent: &Intent) {
        let before = std::mem::take(&mut self.unclear);
        if before > 0
            && before < UNCLEAR_MAX
            && let Some(mut tip) = self.tip.take().or_else(|| self.make_tip())
            && let Some(document) = &self.loaded
        {
            document.learn(&mut tip, intent);
            self.tip = Some(tip);
        }
        self.unclear = before;
    }

    pub(super) fn make_tip(&mut self) -> Option<Box<Tip>> {
        self.current();
        let document = self.loaded.as_mut()?;
        let mut tip = document.tip();
        document.survey(&mut tip);
        Some(Box::new(tip))
    }

    /// The tip was enough for a write, or was not.
    pub(super) fn tip_was_enough(&mut self, enough: bool) {
        self.unclear = if enough {
            0
        } else {
            self.unclear.saturating_add(1)
        };
    }

    /// The store has nothing of the document.
    pub(super) fn is_nothing(&mut self, origin: &Origin) {
        if self.unfolded.is_empty() {
            self.tip = Some(Box::new(Tip::of_nothing(origin)));
        }
    }

    pub(super) fn weigh(&self) -> Weight {
        let entry_beside = |bytes: usize| bytes + ENTRY_BYTES;
        Weight {
            documents: self
                .loaded
                .as_ref()
                .map_or(0, |document| entry_beside(document.weight())),
            tips: self.tip.as_ref().map_or(0, |tip| match &self.loaded {
                Some(_) => tip.bytes(),
                None => entry_beside(tip.bytes()),
            }),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.loaded.is_none()
            && self.tip.is_none()
            && self.unfolded.is_empty()
            && self.waiting.is_empty()
            && !self.fetching
            && self.pins == 0
    }

    /// Whether it can be told if the document is there.
    pub(super) fn knows_presence(&self) -> bool {
        self.loaded.is_some() || self.tip.is_some()
    }

    /// Whether the document is there, if that can be told without taking anything in.
    pub(super) fn presence(&mut self) -> Option<bool> {
        if let Some(tip) = &self.tip {
            return Some(tip.present());
        }
        let document = self.loaded.as_mut()?;
        (self.absorbed == self.unfolded.len()).then(|| document.present())
    }
}

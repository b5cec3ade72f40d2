//! Which documents and tips stay in memory.
//!
//! A document is many times as large as its tip, and whoever only writes needs the tip alone. So documents give way first, until they have
//! their share left, and then tips. Either is let go of by the CLOCK algorithm (Corbató 1968): a hand goes round, takes the mark off what was
//! used since it came by last, and lets go of what was not. A use costs nothing but the mark.

use super::Shelf;
use crate::DocumentId;
use crate::replica::entry::Entry;

/// One part in so many of the room stays with documents that are used, however many tips there are.
const DOCUMENTS_SHARE: usize = 4;

/// Bytes in memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::replica) struct Weight {
    pub(in crate::replica) documents: usize,
    pub(in crate::replica) tips: usize,
}

impl Weight {
    pub(in crate::replica) fn sum(self) -> usize {
        self.documents + self.tips
    }

    pub(super) fn replace(&mut self, before: Self, after: Self) {
        self.documents = self.documents + after.documents - before.documents;
        self.tips = self.tips + after.tips - before.tips;
    }
}

impl Shelf {
    /// About how many bytes documents and tips take.
    pub(in crate::replica) fn loaded_bytes(&self) -> usize {
        self.weight.sum()
    }

    /// Whether one more tip would take the place of nothing but documents beyond their share.
    pub(in crate::replica) fn has_room_for_tips(&self, bytes_max: usize) -> bool {
        self.tips_max(bytes_max) > self.weight.tips
    }

    /// What is left for tips. What documents have beyond their share is held on to by somebody, and not for long.
    fn tips_max(&self, bytes_max: usize) -> usize {
        bytes_max - self.weight.documents.min(bytes_max / DOCUMENTS_SHARE)
    }

    /// A document or its tip has grown, come or gone.
    pub(super) fn weigh(&mut self, id: &DocumentId) {
        if let Some(entry) = self.entries.get_mut(id) {
            let weight = entry.weigh();
            self.weight.replace(entry.weight, weight);
            entry.weight = weight;
        }
    }

    /// Lets go of what was not used lately while all of it takes more than `bytes_max`. The one in hand stays, or whoever asked for it
    /// would get no answer.
    pub(in crate::replica) fn evict(&mut self, bytes_max: usize, in_hand: Option<&DocumentId>) {
        let is_free = |id: &DocumentId, entry: &Entry| {
            entry.waiting.is_empty() && entry.pins == 0 && Some(id) != in_hand
        };
        let share = bytes_max / DOCUMENTS_SHARE;
        // Once round to take the marks off, and once more. Where one is gone, another has taken its place.
        let mut steps = self.loaded.len() * 2;
        while self.weight.sum() > bytes_max && self.weight.documents > share && steps > 0 {
            steps -= 1;
            self.loaded_hand %= self.loaded.len().max(1);
            let Some(id) = self.loaded.get_index(self.loaded_hand).cloned() else {
                break;
            };
            let entry = self.entries.get_mut(&id);
            let goes = |entry: &mut Entry| is_free(&id, entry) && !std::mem::take(&mut entry.used);
            if entry.is_some_and(goes) {
                self.unload(&id);
            } else {
                self.loaded_hand += 1;
            }
        }
        let mut steps = self.entries.len() * 2;
        while self.weight.tips > self.tips_max(bytes_max) && steps > 0 {
            steps -= 1;
            self.hand %= self.entries.len().max(1);
            let Some((id, entry)) = self.entries.get_index_mut(self.hand) else {
                break;
            };
            self.hand += 1;
            // Its weight may be that of a tip that has gone since.
            let is_free = entry.weight.tips > 0 && is_free(id, entry);
            if is_free && !std::mem::take(&mut entry.written) {
                entry.tip = None;
                let id = id.clone();
                self.weigh(&id);
                self.tidy(&id);
            }
        }
    }
}

//! Writing to a document that is not loaded.
//!
//! A change names what it follows by hash, and what it edits by the ids of operations. Whoever holds these few can
//! make the change without the rest of the document: a [`Tip`] holds them for one document, and of its places those
//! that are simple. What it makes is, byte for byte, what the loaded document would have made (its tests compare the
//! two); where it does not hold what an edit needs, it says so and does nothing.
//!
//! A tip holds as long as nothing but itself writes to the document, or it can follow who does.

mod decoding;
mod draft;
mod edits;
mod encoding;
mod following;
mod ground;
mod making;
mod recent;
mod survey;
#[cfg(test)]
mod tests;

use std::mem::size_of;

use automerge::{ActorId, ChangeHash, ObjId};
use bytes::Bytes;

use super::{Document, Version, actor};
use crate::{EditError, Intent, Origin};
use draft::{Draft, Halt};
use ground::{Known, Place, Trail};
use recent::{Passed, Recent};

/// Of so many places a tip keeps what it knows; a write that would make it more is left to the document.
const PLACES_MAX: usize = 256;

/// The writer, among a tip's actors.
const WRITER: u16 = 0;

/// An operation: the one that made an object or put a value. Automerge counts them in 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Id {
    /// 0: the root, which nothing made; or the head of a list.
    counter: u32,
    /// Among the tip's actors.
    actor: u16,
}

impl Id {
    const ROOT: Self = Self {
        counter: 0,
        actor: 0,
    };
}

/// The end of a document's history, and what is known of its places.
pub(crate) struct Tip {
    end: End,
    /// First the writer.
    actors: Vec<ActorId>,
    /// In the order of their trails.
    places: Vec<Place>,
    recent: Recent,
}

/// What the next change follows.
struct End {
    /// In order.
    heads: Vec<ChangeHash>,
    /// Of the writer's next change.
    seq: u64,
    /// Of the next operation.
    next_op: u64,
    present: bool,
}

impl Tip {
    /// Of a document that nobody has written yet.
    pub(crate) fn of_nothing(origin: &Origin) -> Self {
        let mut tip = Self {
            end: End {
                heads: Vec::new(),
                seq: 1,
                next_op: 1,
                present: false,
            },
            actors: vec![actor(origin)],
            places: Vec::new(),
            recent: Recent::default(),
        };
        let root = Known::Map {
            object: Id::ROOT,
            whole: true,
        };
        tip.note(Trail::default().end(), Some(root));
        tip
    }

    /// Carries out one write and gives the changes that it made, none if it changed nothing; or says that it takes
    /// the document itself, and has then done nothing.
    ///
    /// # Errors
    /// When the document would refuse it likewise.
    pub(crate) fn write(
        &mut self,
        intent: &Intent,
        time_s: i64,
    ) -> Result<Option<Vec<Bytes>>, EditError> {
        let mut draft = Draft::new(self, time_s);
        match draft.carry_out(intent).and_then(|()| draft.commit(true)) {
            Ok(()) => Ok(Some(draft.finish())),
            Err(halt) => {
                draft.abandon();
                match halt {
                    Halt::Unclear => Ok(None),
                    Halt::Refused(error) => Err(error),
                }
            }
        }
    }

    /// As the document's own.
    pub(crate) fn version(&self) -> Version {
        Version(
            self.end
                .heads
                .iter()
                .map(|ChangeHash(hash)| *hash)
                .collect(),
        )
    }

    /// Whether the document is there.
    pub(crate) fn present(&self) -> bool {
        self.end.present
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        const ALLOCATION: usize = 16;
        size_of::<Self>()
            + ALLOCATION
            + self.recent.bytes()
            + ALLOCATION
            + self.end.heads.capacity() * size_of::<ChangeHash>()
            + ALLOCATION
            + self.actors.capacity() * size_of::<ActorId>()
            + ALLOCATION
            + self.places.capacity() * size_of::<Place>()
    }

    /// What is known of a place.
    fn known(&self, trail: [u8; 16]) -> Option<Known> {
        let at = self.search(trail).ok()?;
        self.places.get(at).map(|place| place.known)
    }

    /// Where a place is, or where it would be.
    ///
    /// Trails are hashes, spread evenly over all that there can be, so a place lies close to where it would be if they
    /// were spread perfectly (interpolation search, Peterson 1957). What lies close is fetched from memory together,
    /// and of many tips none is in the processor's cache.
    fn search(&self, trail: [u8; 16]) -> Result<usize, usize> {
        let [first, second, ..] = trail;
        let part = usize::from(u16::from_be_bytes([first, second]));
        let mut at = (part * self.places.len()) >> 16;
        while let Some(place) = self.places.get(at)
            && place.trail < trail
        {
            at += 1;
        }
        while let Some(before) = at.checked_sub(1)
            && let Some(place) = self.places.get(before)
            && place.trail >= trail
        {
            at = before;
        }
        match self.places.get(at) {
            Some(place) if place.trail == trail => Ok(at),
            _ => Err(at),
        }
    }

    /// Notes what is known of a place, or forgets it. Gives what was known before.
    fn note(&mut self, trail: [u8; 16], known: Option<Known>) -> Option<Known> {
        match (self.search(trail), known) {
            (Ok(at), Some(known)) => {
                let place = self.places.get_mut(at)?;
                Some(std::mem::replace(&mut place.known, known))
            }
            (Ok(at), None) => Some(self.places.remove(at).known),
            (Err(at), Some(known)) => {
                self.places.insert(at, Place { trail, known });
                None
            }
            (Err(_), None) => None,
        }
    }

    /// An operation of the document's; none where it is out of the order that operations ought to have.
    fn id(&mut self, id: &ObjId) -> Option<Id> {
        let ObjId::Id(counter, actor, _) = id else {
            return Some(Id::ROOT);
        };
        if *counter >= self.end.next_op {
            return None;
        }
        self.id_of(*counter, actor)
    }

    fn id_of(&mut self, counter: u64, actor: &ActorId) -> Option<Id> {
        Some(Id {
            counter: u32::try_from(counter).ok()?,
            actor: self.index_of(actor)?,
        })
    }

    /// Where an actor stands among the tip's.
    fn index_of(&mut self, actor: &ActorId) -> Option<u16> {
        let known = self.actors.iter().position(|known| known == actor);
        let index = known.unwrap_or(self.actors.len());
        if known.is_none() {
            self.actors.push(actor.clone());
        }
        u16::try_from(index).ok()
    }
}

impl Document {
    /// The end of its history as it is now; nothing is known of its places yet.
    pub(crate) fn tip(&mut self) -> Tip {
        let present = self.present();
        let mut heads = self.doc.get_heads();
        heads.sort_unstable();
        // The document looks its own actor up only when it is told.
        let actor = self.doc.get_actor().clone();
        self.doc.set_actor(actor.clone());
        let (mut seq, mut max_op) = (0, 0);
        for head in &heads {
            if let Some(meta) = self.doc.get_change_meta_by_hash(head) {
                max_op = max_op.max(meta.max_op);
                if *meta.actor == actor {
                    seq = meta.seq;
                }
            }
        }
        let mut own = None;
        if seq == 0
            && let Some(last) = self.doc.get_last_local_change()
        {
            seq = last.seq();
            max_op = max_op.max(last.max_op());
            own = Some((last.hash(), last.seq(), last.max_op()));
        }
        let mut tip = Tip {
            end: End {
                heads,
                seq: seq + 1,
                next_op: max_op + 1,
                present,
            },
            actors: vec![actor],
            places: Vec::new(),
            recent: Recent::default(),
        };
        // Automerge names it beside the heads, also where those follow it.
        let own = own.and_then(|own| Passed::of(WRITER, own));
        tip.look_back(&mut self.doc, own);
        tip
    }
}

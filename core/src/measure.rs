//! A document by itself, without a replica around it: for benchmarks that compare it with what it is built on.

use bytes::Bytes;
use serde_json::Value;

use crate::document::{Document, Tip};
use crate::{EditError, Incarnation, Intent, Origin, ReplicaId};

const TIME_S: i64 = 1_790_000_000;

/// A loaded document.
pub struct Bare {
    document: Document,
    origin: Origin,
    tip: Option<Tip>,
}

impl Bare {
    /// A document that nobody has written yet, in the hands of some replica.
    #[must_use]
    pub fn new(replica: u8) -> Self {
        let origin = Origin {
            replica: ReplicaId([replica; 16]),
            incarnation: Incarnation(1),
        };
        Self {
            document: Document::empty(&origin),
            origin,
            tip: None,
        }
    }

    /// Carries out one write and gives the changes that it made, encoded.
    ///
    /// # Errors
    /// When an edit does not fit the document.
    pub fn write(&mut self, intent: &Intent) -> Result<Vec<Bytes>, EditError> {
        self.tip = None;
        let written = self.document.write(intent, TIME_S);
        written.map_err(|failed| failed.error)
    }

    /// Notes the end of the history and what is at the document's places. Says how many bytes that takes.
    pub fn survey(&mut self) -> usize {
        let mut tip = self.document.tip();
        self.document.survey(&mut tip);
        let bytes = tip.bytes();
        self.tip = Some(tip);
        bytes
    }

    /// Adds to what was noted the places that a write edits.
    pub fn learn(&mut self, intent: &Intent) {
        let tip = self.tip.get_or_insert_with(|| self.document.tip());
        self.document.learn(tip, intent);
    }

    /// Carries out one write without the document, which learns of it when it absorbs the changes; none if what was
    /// noted does not suffice.
    ///
    /// # Errors
    /// When an edit does not fit the document.
    pub fn write_by_tip(&mut self, intent: &Intent) -> Result<Option<Vec<Bytes>>, EditError> {
        match &mut self.tip {
            Some(tip) => tip.write(intent, TIME_S),
            None => Ok(None),
        }
    }

    /// Takes in changes that another made.
    ///
    /// # Panics
    /// When one is refused.
    pub fn absorb(&mut self, changes: &[Bytes]) {
        assert_eq!(
            self.document.absorb(changes),
            [],
            "changes of our own making fit"
        );
    }

    /// The JSON reading.
    #[must_use]
    pub fn read(&mut self) -> Option<Value> {
        self.document.read()
    }

    /// The compacted form.
    #[must_use]
    pub fn save(&mut self) -> Vec<u8> {
        self.document.save()
    }

    /// Saved and loaded again.
    ///
    /// # Panics
    /// When it does not load.
    pub fn reload(&mut self) {
        let state = self.save();
        self.document = match Document::load(&self.origin, &state) {
            Ok(document) => document,
            Err(error) => panic!("{error}"),
        };
    }
}

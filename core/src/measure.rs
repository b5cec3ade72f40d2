//! A document by itself, without a replica around it: for benchmarks that compare it with what it is built on.

use bytes::Bytes;
use serde_json::Value;

use crate::document::Document;
use crate::{EditError, Incarnation, Intent, Origin, ReplicaId};

/// A loaded document.
pub struct Bare {
    document: Document,
    origin: Origin,
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
        }
    }

    /// Carries out one write and gives the changes that it made, encoded.
    ///
    /// # Errors
    /// When an edit does not fit the document.
    pub fn write(&mut self, intent: &Intent) -> Result<Vec<Bytes>, EditError> {
        let written = self.document.write(intent, 1_790_000_000);
        written.map_err(|failed| failed.error)
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
    pub fn read(&self) -> Option<Value> {
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

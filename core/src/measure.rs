//! A document by itself, without a replica around it, and frames without a link: for benchmarks.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::document::{Document, Tip};
use crate::message::Message;
use crate::summary::walk::{descend, scatter, sketched};
use crate::summary::{Offsets, Place, Summary, View};
use crate::{
    Batch, DocumentWrite, EditError, Incarnation, Intent, Namespace, Origin, ReplicaId, Seq,
};
use crate::{Key, compression};

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

/// A frame as it is before it is compressed: one write to a document each.
#[must_use]
pub fn frame(namespace: &Namespace, writes: Vec<(Key, Vec<Bytes>)>) -> Bytes {
    let origin = Origin {
        replica: ReplicaId::of_public_key(b"someone"),
        incarnation: Incarnation(0x5c91_3e07_c80d_4d2a),
    };
    let batch = |((key, changes), seq): ((Key, Vec<Bytes>), u64)| {
        Arc::new(Batch {
            namespace: namespace.clone(),
            origin,
            seq: Seq(seq),
            time_ms: 1_790_000_000_000 + seq / 8,
            causes: Vec::new(),
            writes: vec![DocumentWrite { key, changes }],
            receipt: None,
        })
    };
    let batches = writes.into_iter().zip(2_000..).map(batch);
    Message::Delta(batches.collect()).encode()
}

/// A frame as it goes over a link.
#[must_use]
pub fn compress(frame: &Bytes) -> Bytes {
    compression::wrap(frame.clone())
}

/// What [`compress`] was given.
///
/// # Panics
/// When it is something else.
#[must_use]
pub fn decompress(frame: &Bytes) -> Bytes {
    match compression::unwrap(frame) {
        Ok(frame) => frame,
        Err(error) => panic!("{error}"),
    }
}

/// The batches that a frame carries, a part of a large one counted as the batch. None if it can't be read.
#[must_use]
pub fn carried(frame: &Bytes) -> Option<Vec<(Namespace, Origin, Seq)>> {
    let batches = match Message::decode(frame).ok()? {
        Message::Delta(batches) | Message::Backlog { batches, .. } => batches,
        Message::Part(part) => return Some(vec![(part.namespace, part.origin, part.seq)]),
        _ => Vec::new(),
    };
    let name = |batch: &Arc<Batch>| (batch.namespace.clone(), batch.origin, batch.seq);
    Some(batches.iter().map(name).collect())
}

/// Two summaries of a namespace at replicas that compare it.
pub struct Summaries {
    seeker: Summary,
    source: Summary,
}

impl Summaries {
    /// Equal ones over so many documents.
    #[must_use]
    pub fn new(documents: u64) -> Self {
        let [mut seeker, mut source] = [(); 2].map(|()| Summary::new([7; 32]));
        for n in 0..documents {
            seeker.add(Place(scatter(n)), scatter(!n));
            source.add(Place(scatter(n)), scatter(!n));
        }
        Self { seeker, source }
    }

    /// The source gets a change of a document that the seeker lacks.
    pub fn change(&mut self, document: u64, change: u64) {
        self.source.add(Place(scatter(document)), scatter(change));
    }

    /// What one of them takes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.source.bytes()
    }

    /// Goes down both where they differ: how many documents have to be looked at, the bytes of all that is said, and in how many flights,
    /// each one way.
    #[must_use]
    pub fn descend(&self, expected: u64, salt: u64) -> (usize, usize, usize) {
        let offsets = Offsets::new();
        let view = |summary| View {
            summary,
            offsets: &offsets,
        };
        let (found, bytes, flights) =
            descend(view(&self.seeker), view(&self.source), expected, salt);
        (found.len(), bytes, flights)
    }

    /// Finds by sketches where they differ: how many documents, the bytes of what is said for that, and of asking for them. None: the sketch
    /// does not tell.
    #[must_use]
    pub fn sketched(&self) -> Option<(usize, usize, usize)> {
        let offsets = Offsets::new();
        let view = |summary| View {
            summary,
            offsets: &offsets,
        };
        let told = sketched(view(&self.seeker), view(&self.source))?;
        Some((told.found?.len(), told.bytes_finding, told.bytes_asking))
    }
}

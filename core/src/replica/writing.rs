//! Writes: all of one happens, in one batch, or nothing of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Replica;
use super::asking::{Caller, Shows};
use super::documents::Job;
use super::receipts::{Promise, encode_answer};
use super::shelf::Made;
use crate::document::{Failed, FailedOn, Version};
use crate::effect::{Now, Reply, RequestError, Write, Written};
use crate::persist::Ticket;
use crate::{
    Batch, DocumentId, DocumentWrite, EditError, Guard, Key, Namespace, Receipt, Seq, limits,
};

/// A write that somebody asked for.
pub(super) struct Writing {
    pub(super) caller: Caller,
    pub(super) namespace: Namespace,
    pub(super) writes: Vec<Write>,
    /// That it is done once only.
    pub(super) promise: Option<Promise>,
}

impl Writing {
    pub(super) fn new(caller: Caller, namespace: Namespace, writes: Vec<Write>) -> Self {
        Self {
            caller,
            namespace,
            writes,
            promise: None,
        }
    }

    /// Its documents, each once.
    pub(super) fn documents(&self) -> Vec<DocumentId> {
        let mut keys: Vec<_> = self.writes.iter().map(|write| &write.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let address = |key| Replica::address(&self.namespace, key);
        keys.into_iter().map(address).collect()
    }
}

/// So many documents of one write are looked through one by one.
const LOOKED_THROUGH: usize = 8;

/// What a write has come to so far, in loaded documents alone.
#[derive(Default)]
struct Draft {
    written: Vec<Written>,
    documents: Vec<DocumentWrite>,
    /// Of each document, who made its changes.
    made: Vec<Made>,
    /// Where each stands, once there are more than are looked through.
    places: BTreeMap<Key, usize>,
    receipt: Option<Receipt>,
}

impl Draft {
    fn add(&mut self, key: &Key, written: Written, changes: Vec<Bytes>, made: Made) {
        self.written.push(written);
        if changes.is_empty() {
            return;
        }
        let place = if self.documents.len() <= LOOKED_THROUGH {
            self.documents.iter().position(|write| write.key == *key)
        } else {
            self.places.get(key).copied()
        };
        match place {
            Some(place) => self.documents[place].changes.extend(changes),
            None => {
                let key = key.clone();
                match self.documents.len() {
                    ..LOOKED_THROUGH => {}
                    LOOKED_THROUGH => {
                        let keys = self.documents.iter().map(|write| write.key.clone());
                        self.places.extend(keys.zip(0..));
                        self.places.insert(key.clone(), LOOKED_THROUGH);
                    }
                    place => {
                        self.places.insert(key.clone(), place);
                    }
                }
                self.documents.push(DocumentWrite { key, changes });
                self.made.push(made);
            }
        }
    }

    /// What is to be remembered of it, if it is to be done once only.
    fn promise(&mut self, promise: Option<&Promise>) {
        self.receipt = promise.map(|promise| Receipt {
            key: promise.key,
            answer: encode_answer(promise, &self.written),
        });
    }

    /// Everything that must fit into one batch, since that is what arrives elsewhere as a whole.
    fn check_size(&self) -> Result<(), EditError> {
        let over = |what, value: usize, max: usize| {
            if value > max {
                Err(EditError::TooLarge { what, value, max })
            } else {
                Ok(())
            }
        };
        let answer = self
            .receipt
            .as_ref()
            .map_or(0, |receipt| receipt.answer.len());
        let what = "bytes of the answer to remember with the idempotency key";
        over(what, answer, limits::RECEIPT_BYTES_MAX)?;
        let writes = self.documents.iter().map(DocumentWrite::bytes);
        let bytes = writes.sum::<usize>() + self.receipt.as_ref().map_or(0, Receipt::bytes);
        over(
            "bytes of changes in one write",
            bytes,
            limits::BATCH_BYTES_MAX,
        )
    }
}

/// A write to one document that failed.
struct Refused {
    error: RequestError,
    /// Whether it left traces in the loaded document.
    spoilt: bool,
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        let spoilt = false;
        Self { error, spoilt }
    }
}

impl From<Failed> for Refused {
    fn from(Failed { error, spoilt }: Failed) -> Self {
        let error = error.into();
        Self { error, spoilt }
    }
}

impl Replica {
    /// Writes as soon as all the documents are loaded.
    pub(super) fn write(&mut self, now: Now, writing: Writing) {
        if let Some(error) = self.refuses_namespace(&writing.namespace, true) {
            return self.written(writing, Ticket(0), Err(error));
        }
        let Some((first, others)) = writing.writes.split_first() else {
            return;
        };
        if others.iter().all(|other| other.key == first.key) {
            let id = Self::address(&writing.namespace, &first.key);
            let Some(writing) = self.write_by_tip(now, &id, writing) else {
                return;
            };
            self.with_document(now, &id, Job::Write(Box::new(writing)));
        } else {
            self.queue_gathering(writing);
        }
    }

    /// Carries a write to a single document out without the document, if its tip is enough for it; otherwise gives
    /// the write back.
    fn write_by_tip(&mut self, now: Now, id: &DocumentId, writing: Writing) -> Option<Writing> {
        // The same write may have arrived from elsewhere meanwhile.
        let writing = self.unless_repeated(now, writing)?;
        let [write] = &writing.writes[..] else {
            return Some(writing);
        };
        if !self.history.has_room_for(&writing.namespace) {
            return Some(writing);
        }
        let outcome = match self.try_tip(now, id, write) {
            Ok(None) => return Some(writing),
            Ok(Some(outcome)) => Ok(outcome),
            Err(error) => Err(error),
        };
        // What it shows may not be durable yet, also if it changed nothing.
        let newest = match &outcome {
            Ok((_, changes)) if !changes.is_empty() => None,
            _ => self.shelf.get(id).map(|entry| entry.newest),
        };
        let drafted = outcome.and_then(|(written, changes)| {
            let mut draft = Draft::default();
            draft.add(&write.key, written, changes, Made::ByTip);
            draft.promise(writing.promise.as_ref());
            match draft.check_size() {
                Ok(()) => Ok(draft),
                Err(error) => {
                    self.shelf.forget(id);
                    Err(error.into())
                }
            }
        });
        let (ticket, result) = match drafted {
            Ok(draft) => self.commit_own(now, &writing.namespace, draft),
            Err(error) => (Ticket(0), Err(error)),
        };
        self.written(writing, ticket.max(newest.unwrap_or_default()), result);
        None
    }

    /// Carries one write out by the document's tip; none if that is not enough.
    fn try_tip(
        &mut self,
        now: Now,
        id: &DocumentId,
        write: &Write,
    ) -> Result<Option<(Written, Vec<Bytes>)>, RequestError> {
        if !self.config.room.tips {
            return Ok(None);
        }
        let Some(entry) = self.shelf.get(id) else {
            return Ok(None);
        };
        let Some(tip) = entry.tip() else {
            return Ok(None);
        };
        let was_present = tip.present();
        let guarded = write.guard.is_some() || write.base.is_some();
        let before = guarded.then(|| tip.version());
        if write.base.is_some() && write.base != before {
            return Ok(None);
        }
        let shown = before.as_ref().filter(|_| was_present);
        check_guard(write.guard.as_ref(), shown)?;
        let Some(changes) = tip.write(&write.intent, seconds(now))? else {
            entry.tip_was_enough(false);
            return Ok(None);
        };
        let present = tip.present();
        let written = Written {
            version: tip.version(),
            changed: !changes.is_empty(),
            created: present && !was_present,
            present,
        };
        entry.tip_was_enough(true);
        Ok(Some((written, changes)))
    }

    /// Writes to documents that are loaded.
    pub(super) fn write_now(&mut self, now: Now, writing: Writing) {
        // It may have been placed elsewhere while its documents were loaded.
        if let Some(error) = self.refuses_namespace(&writing.namespace, true) {
            return self.written(writing, Ticket(0), Err(error));
        }
        let documents = writing.documents();
        let written = match &documents[..] {
            [id] => self.write_by_tip(now, id, writing),
            _ => self.unless_repeated(now, writing),
        };
        let Some(writing) = written else {
            return;
        };
        documents.iter().for_each(|id| self.bring_up_to_date(id));
        let newest = |id| self.shelf.get(id).map(|entry| entry.newest);
        let newest = documents.iter().filter_map(newest).max();
        let newest = newest.unwrap_or_default();
        let (ticket, result) = match self.draft(now, &writing) {
            Ok(draft) => self.commit_own(now, &writing.namespace, draft),
            Err(error) => (Ticket(0), Err(error)),
        };
        self.written(writing, ticket.max(newest), result);
    }

    /// Tells the writer, and lets the next one with the same idempotency key have its turn.
    pub(super) fn written(
        &mut self,
        writing: Writing,
        after: Ticket,
        result: Result<(Reply, Shows), RequestError>,
    ) {
        let Writing {
            caller, promise, ..
        } = writing;
        match result {
            Ok((reply, shows)) => self.answer_showing(caller, after, shows, Ok(reply)),
            Err(error) => self.answer(caller, after, Err(error)),
        }
        if let Some(promise) = promise {
            self.receipts.release(promise.key);
        }
    }

    /// Carries all of it out in the loaded documents, or leaves no trace.
    fn draft(&mut self, now: Now, writing: &Writing) -> Result<Draft, RequestError> {
        if !self.history.has_room_for(&writing.namespace) {
            let max = limits::NAMESPACES_MAX;
            return Err(RequestError::Edit(EditError::TooLarge {
                what: "namespaces in one replica",
                value: max + 1,
                max,
            }));
        }
        let seq = self.history.next_seq(&writing.namespace, &self.origin);
        let mut draft = Draft::default();
        let mut several: BTreeMap<&Key, usize> = BTreeMap::new();
        for write in &writing.writes {
            *several.entry(&write.key).or_default() += 1;
        }
        for (index, write) in writing.writes.iter().enumerate() {
            let id = Self::address(&writing.namespace, &write.key);
            let alone = several.get(&write.key) == Some(&1);
            match self.write_one(now, &id, write, nonce(seq, index), alone) {
                Ok((written, changes, made)) => draft.add(&write.key, written, changes, made),
                Err(Refused { error, spoilt }) => {
                    if spoilt {
                        self.shelf.forget(&id);
                    }
                    self.discard(&writing.namespace, &draft);
                    return Err(match writing.writes.len() {
                        1 => error,
                        _ => RequestError::OneOf {
                            index,
                            key: write.key.clone(),
                            error: Box::new(error),
                        },
                    });
                }
            }
        }
        draft.promise(writing.promise.as_ref());
        if let Err(error) = draft.check_size() {
            self.discard(&writing.namespace, &draft);
            return Err(error.into());
        }
        Ok(draft)
    }

    /// Nothing of it has left the loaded documents, so they are loaded again when they are needed.
    fn discard(&mut self, namespace: &Namespace, draft: &Draft) {
        for write in &draft.documents {
            self.shelf.forget(&Self::address(namespace, &write.key));
        }
    }

    fn write_one(
        &mut self,
        now: Now,
        id: &DocumentId,
        write: &Write,
        nonce: u64,
        alone: bool,
    ) -> Result<(Written, Vec<Bytes>, Made), Refused> {
        // Of several writes to one document, the later ones would not see what the tip has written before.
        if alone && let Some((written, changes)) = self.try_tip(now, id, write)? {
            return Ok((written, changes, Made::ByTip));
        }
        let entry = self.shelf.entry(id);
        entry.drop_tip();
        let Some((document, _)) = entry.current() else {
            return Err(RequestError::Busy.into());
        };
        let was_present = document.present();
        let before = document.version();
        check_guard(write.guard.as_ref(), was_present.then_some(&before))?;
        let time_s = seconds(now);
        let changes = match &write.base {
            Some(base) if *base != before => document
                .write_on(base, &write.intent, time_s, nonce)
                .map_err(|failed| match failed {
                    FailedOn::Write(failed) => failed.into(),
                    FailedOn::UnknownVersion => Refused::from(RequestError::UnknownVersion {
                        version: base.clone(),
                    }),
                })?,
            _ => document.write(&write.intent, time_s)?,
        };
        let present = document.present();
        let written = Written {
            version: document.version(),
            changed: !changes.is_empty(),
            created: present && !was_present,
            present,
        };
        if alone {
            entry.learn(&write.intent);
        }
        Ok((written, changes, Made::ByDocument))
    }

    fn commit_own(
        &mut self,
        now: Now,
        namespace: &Namespace,
        #[cfg_attr(
            not(feature = "planted"),
            expect(unused_mut, reason = "for a planted bug")
        )]
        mut draft: Draft,
    ) -> (Ticket, Result<(Reply, Shows), RequestError>) {
        let reply = Reply::Written {
            documents: draft.written,
            repeated: false,
            acknowledged: None,
        };
        if draft.documents.is_empty() && draft.receipt.is_none() {
            return (Ticket(0), Ok((reply, Shows::Durable)));
        }
        if !draft.documents.is_empty() {
            self.counters.writes += 1;
        }
        let (seq, causes) = self.history.next_own(namespace, &self.origin);
        let batch = Batch {
            namespace: namespace.clone(),
            origin: self.origin,
            seq,
            time_ms: now.wall_ms,
            causes,
            writes: draft.documents,
            receipt: draft.receipt,
        };
        #[cfg(feature = "planted")]
        let batch = self.planted_split(now, batch, &mut draft.made);
        let (origin, seq) = (batch.origin, batch.seq);
        let ticket = self.admit(now, &Arc::new(batch), &draft.made);
        (ticket, Ok((reply, Shows::Own(origin, seq))))
    }

    /// Hands all but the last document out on their own.
    #[cfg(feature = "planted")]
    fn planted_split(&mut self, now: Now, mut batch: Batch, made: &mut Vec<Made>) -> Batch {
        if self.config.planted != Some(super::Planted::SplitBatch) || batch.writes.len() < 2 {
            return batch;
        }
        let last = batch.writes.split_off(batch.writes.len() - 1);
        let receipt = batch.receipt.take();
        let rest = Batch {
            seq: batch.seq.next(),
            causes: Vec::new(),
            writes: last,
            receipt,
            ..batch.clone()
        };
        let last = made.split_off(made.len() - 1);
        self.admit(now, &Arc::new(batch), &std::mem::replace(made, last));
        rest
    }
}

fn seconds(now: Now) -> i64 {
    i64::try_from(now.wall_ms / 1_000).unwrap_or(0)
}

/// Differs from one write of an origin to a document to the next.
fn nonce(seq: Seq, index: usize) -> u64 {
    const _: () = assert!(limits::WRITES_MAX <= 1 << 10, "an index has ten bits");
    (seq.0 << 10) | index as u64
}

fn check_guard(guard: Option<&Guard>, version: Option<&Version>) -> Result<(), RequestError> {
    let is = |versions: &[String]| {
        version.is_some_and(|version| versions.contains(&version.to_string()))
    };
    let holds = match guard {
        None => true,
        Some(Guard::Exists) => version.is_some(),
        Some(Guard::Absent) => version.is_none(),
        Some(Guard::AnyOf(versions)) => is(versions),
        Some(Guard::NoneOf(versions)) => !is(versions),
    };
    if holds {
        Ok(())
    } else {
        let version = version.cloned();
        Err(RequestError::Guard { version })
    }
}

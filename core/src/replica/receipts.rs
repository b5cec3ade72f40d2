//! Writes that are done once, however often they are asked for.
//!
//! A write with an idempotency key leaves a receipt in its batch: what was asked, as a hash, and what was
//! answered. It is stored with the batch's record wherever the batch arrives.
//!
//! ```text
//! answer  = 1  fingerprint:16  written:[written]
//! written = flags:u8 (1 changed, 2 created, 4 present)  heads:[32 bytes]
//! stored  = answer | 2 origin:24 seq answer | 3 namespace:text origin:24 seq answer
//! ```
//! In the batch, the answer stands alone; in the store, it comes with the batch's position, so that a repeat can wait
//! until others hold that, and a repair of a namespace can bring its receipts and no others: one without its batch would
//! have a replica say that it holds what it does not. Earlier versions stored less.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::asking::Shows;
use super::writing::Writing;
use super::{Awaited, Replica};
use crate::codec::{DecodeError, Reader, Writer};
use crate::document::normalised;
use crate::effect::{IdempotencyKey, Now, Reply, RequestError, Write, Written};
use crate::persist::{Fetch, FoldId, ReceiptKey, Retention, StoredReceipt, Ticket};
use crate::repair_message::GivenReceipt;
use crate::{Batch, EditError, Lsn, Namespace, Origin, Seq, limits};

const FORMAT: u8 = 1;
/// Of an answer with its position,
const FORMAT_PLACED: u8 = 2;
/// and with the namespace that it is a position of.
const FORMAT_NAMED: u8 = 3;
/// Old receipts are forgotten when this much time has passed since.
const FORGET_EVERY_MS: u64 = 1_000;

/// Under which key a write is remembered, and what it asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Promise {
    pub(super) key: ReceiptKey,
    fingerprint: [u8; 16],
}

impl Promise {
    fn new(
        namespace: &Namespace,
        writes: &[Write],
        key: &IdempotencyKey,
    ) -> Result<Self, serde_json::Error> {
        let mut hasher = blake3::Hasher::new_derive_key("anabranch 2026-11 idempotency key");
        // No name contains the zero.
        hasher.update(namespace.as_str().as_bytes()).update(&[0]);
        hasher.update(key.as_str().as_bytes());
        let hash = hasher.finalize();
        let mut hasher = blake3::Hasher::new_derive_key("anabranch 2026-11 write fingerprint");
        // How the JSON was written does not count: 1.0 is 1.
        let asked = serde_json::to_value((namespace, writes))?;
        hasher.update(normalised(&asked).to_string().as_bytes());
        Ok(Self {
            key: ReceiptKey(front(&hash)),
            fingerprint: front(&hasher.finalize()),
        })
    }
}

fn front(hash: &blake3::Hash) -> [u8; 16] {
    let mut front = [0; 16];
    front.copy_from_slice(&hash.as_bytes()[..16]);
    front
}

pub(super) fn encode_answer(promise: &Promise, written: &[Written]) -> Bytes {
    let mut writer = Writer::default();
    writer.u8(FORMAT);
    writer.array(&promise.fingerprint);
    writer.count(written.len());
    for written in written {
        let flags = [written.changed, written.created, written.present];
        let flags = flags.iter().enumerate();
        writer.u8(flags.fold(0, |all, (bit, set)| all | (u8::from(*set) << bit)));
        let version = written.version.to_string();
        let heads: Vec<_> = version.split('-').filter_map(parse_head).collect();
        writer.count(heads.len());
        heads.iter().for_each(|head| writer.array(head));
    }
    writer.finish()
}

fn parse_head(digits: &str) -> Option<[u8; 32]> {
    let mut head = [0; 32];
    for (index, byte) in head.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(head)
}

fn decode_answer(bytes: Bytes) -> Result<([u8; 16], Vec<Written>), DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.format("receipt format", FORMAT)?;
    let fingerprint = reader.array("fingerprint")?;
    let mut written = Vec::new();
    for _ in 0..reader.count("answers", limits::WRITES_MAX)? {
        let flags = reader.u8("answer")?;
        let mut heads = Vec::new();
        for _ in 0..reader.count("heads", limits::RECEIPT_BYTES_MAX)? {
            let head: [u8; 32] = reader.array("head")?;
            heads.push(hex::encode(head));
        }
        // None for a document that nobody has written yet.
        let version = heads.join("-").parse().unwrap_or_default();
        written.push(Written {
            version,
            changed: flags & 1 != 0,
            created: flags & 2 != 0,
            present: flags & 4 != 0,
        });
    }
    reader.finish()?;
    Ok((fingerprint, written))
}

/// Where the batch of a receipt stands.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Placed {
    namespace: Namespace,
    origin: Origin,
    seq: Seq,
}

impl Placed {
    fn encode(&self, answer: &Bytes) -> Bytes {
        let mut writer = Writer::with_capacity(answer.len() + 60);
        writer.u8(FORMAT_NAMED);
        writer.bytes(self.namespace.as_str().as_bytes());
        writer.origin(&self.origin);
        writer.number(self.seq.0);
        writer.rest(answer);
        writer.finish()
    }

    /// None for one that was stored by an earlier version.
    fn decode(bytes: &Bytes) -> Result<Option<(Self, Bytes)>, DecodeError> {
        if bytes.first() != Some(&FORMAT_NAMED) {
            return Ok(None);
        }
        let mut reader = Reader::new(bytes.slice(1..));
        let placed = Self {
            namespace: reader.namespace()?,
            origin: reader.origin()?,
            seq: reader.seq()?,
        };
        Ok(Some((placed, reader.rest())))
    }
}

/// Whether a stored receipt is one of a namespace's writes. Of those of earlier versions it is not known.
pub(super) fn is_of(receipt: &StoredReceipt, namespace: &Namespace) -> bool {
    let placed = Placed::decode(&receipt.bytes).ok().flatten();
    placed.is_some_and(|(placed, _)| placed.namespace == *namespace)
}

/// A receipt's position, if it is known, and its answer.
fn decode_stored(bytes: &Bytes) -> Result<(Option<(Origin, Seq)>, Bytes), DecodeError> {
    if let Some((placed, answer)) = Placed::decode(bytes)? {
        return Ok((Some((placed.origin, placed.seq)), answer));
    }
    if bytes.first() != Some(&FORMAT_PLACED) {
        return Ok((None, bytes.clone()));
    }
    let mut reader = Reader::new(bytes.slice(1..));
    let position = (reader.origin()?, reader.seq()?);
    Ok((Some(position), reader.rest()))
}

/// A receipt that a fetch may not find, because it was not in the store when the fetch was issued.
struct Fresh {
    ticket: Ticket,
    lsn: Lsn,
    placed: Placed,
    time_ms: u64,
    answer: Bytes,
    /// The fold that carries it to the store.
    folding: Option<FoldId>,
    /// It is in the store.
    folded: bool,
}

/// When to forget, as far as is known: the store does not say what it holds.
struct Forgetting {
    due_ms: u64,
    /// When the newest came; none: not since the start, so they may be of any age.
    newest_ms: Option<u64>,
    /// Rounds after which there can be none left once all are too old.
    rounds_left: u64,
}

#[derive(Default)]
pub(super) struct Receipts {
    fresh: BTreeMap<ReceiptKey, Fresh>,
    /// Of those, the ones that the store lacks, in log order.
    unfolded: BTreeSet<(Lsn, ReceiptKey)>,
    unfolded_bytes: usize,
    in_fold: Vec<(Lsn, ReceiptKey)>,
    /// Keys for which a write is being looked up or carried out, and those who ask for the same meanwhile.
    under_way: BTreeMap<ReceiptKey, VecDeque<Writing>>,
    /// Of those, the ones whose write has ended.
    released: VecDeque<ReceiptKey>,
    forgetting: Option<Forgetting>,
}

impl Receipts {
    /// A batch with a receipt is on its way into the log, or has been read from it at start.
    pub(super) fn came(&mut self, batch: &Batch, lsn: Lsn, ticket: Ticket) {
        let Some(receipt) = &batch.receipt else {
            return;
        };
        let fresh = Fresh {
            ticket,
            lsn,
            placed: Placed {
                namespace: batch.namespace.clone(),
                origin: batch.origin,
                seq: batch.seq,
            },
            time_ms: batch.time_ms,
            answer: receipt.answer.clone(),
            folding: None,
            folded: false,
        };
        self.unfolded_bytes += weight_of(&fresh);
        self.unfolded.insert((lsn, receipt.key));
        if let Some(before) = self.fresh.insert(receipt.key, fresh) {
            self.forget_unfolded(&before, receipt.key);
        }
        if let Some(forgetting) = &mut self.forgetting {
            forgetting.newest_ms = None;
        }
    }

    /// What others remember of a write has come by a repair of its namespace, and counts from a record of the log on.
    pub(super) fn came_by_repair(
        &mut self,
        namespace: &Namespace,
        receipt: GivenReceipt,
        lsn: Lsn,
    ) {
        let GivenReceipt {
            key,
            time_ms,
            answer,
        } = receipt;
        // Whether the batch of another one is here is not known.
        let Ok(Some((placed, answer))) = Placed::decode(&answer) else {
            return;
        };
        if placed.namespace != *namespace || self.fresh.contains_key(&key) {
            return;
        }
        let fresh = Fresh {
            ticket: Ticket(0),
            lsn,
            time_ms,
            placed,
            answer,
            folding: None,
            folded: false,
        };
        self.unfolded_bytes += weight_of(&fresh);
        self.unfolded.insert((lsn, key));
        self.fresh.insert(key, fresh);
        if let Some(forgetting) = &mut self.forgetting {
            forgetting.newest_ms = None;
        }
    }

    /// What is remembered of a namespace and not in the store yet, of writes that are not older; which came after one place in the log and up
    /// to another.
    pub(super) fn unfolded_since(
        &self,
        namespace: &Namespace,
        since_ms: u64,
        (after, durable): (Lsn, Lsn),
    ) -> Vec<GivenReceipt> {
        let unfolded = self.unfolded.iter().take_while(|(lsn, _)| *lsn <= durable);
        let unfolded = unfolded.skip_while(|(lsn, _)| *lsn <= after);
        let fresh = unfolded.filter_map(|(_, key)| Some((key, self.fresh.get(key)?)));
        let young = fresh
            .filter(|(_, fresh)| fresh.time_ms >= since_ms && fresh.placed.namespace == *namespace);
        young
            .map(|(key, fresh)| GivenReceipt {
                key: *key,
                time_ms: fresh.time_ms,
                answer: fresh.placed.encode(&fresh.answer),
            })
            .collect()
    }

    fn forget_unfolded(&mut self, fresh: &Fresh, key: ReceiptKey) {
        if self.unfolded.remove(&(fresh.lsn, key)) {
            self.unfolded_bytes -= weight_of(fresh);
        }
    }

    pub(super) fn unfolded_bytes(&self) -> usize {
        self.unfolded_bytes
    }

    pub(super) fn oldest_unfolded(&self) -> Option<Lsn> {
        self.unfolded.first().map(|(lsn, _)| *lsn)
    }

    /// The next receipts to be stored, of records up to a position.
    pub(super) fn begin_fold(
        &mut self,
        fold: FoldId,
        through: Lsn,
        most: usize,
        wall_ms: u64,
    ) -> Vec<StoredReceipt> {
        let mut receipts = Vec::new();
        for (lsn, key) in &self.unfolded {
            let Some(fresh) = self.fresh.get_mut(key) else {
                continue;
            };
            if *lsn > through || receipts.len() >= most {
                break;
            }
            fresh.folding = Some(fold);
            self.in_fold.push((*lsn, *key));
            receipts.push(StoredReceipt {
                key: *key,
                lsn: *lsn,
                // A writer whose clock is ahead must not keep it, and those after it, beyond their time.
                time_ms: fresh.time_ms.min(wall_ms),
                bytes: fresh.placed.encode(&fresh.answer),
            });
        }
        receipts
    }

    /// Whether all receipts up to a position are in the store once the fold under way is.
    pub(super) fn is_folded_through(&self, through: Lsn) -> bool {
        let old = self.unfolded.iter().take_while(|(lsn, _)| *lsn <= through);
        let fresh = old.filter_map(|(_, key)| self.fresh.get(key));
        fresh.into_iter().all(|fresh| fresh.folding.is_some())
    }

    pub(super) fn end_fold(&mut self, fold: FoldId, done: bool) {
        for (lsn, key) in std::mem::take(&mut self.in_fold) {
            let Some(fresh) = self.fresh.get_mut(&key).filter(|fresh| fresh.lsn == lsn) else {
                continue;
            };
            if fresh.folding.take_if(|of| *of == fold).is_none() || !done {
                continue;
            }
            fresh.folded = true;
            self.unfolded_bytes -= weight_of(fresh);
            self.unfolded.remove(&(lsn, key));
            // A look-up that was issued before may not have seen it.
            if !self.under_way.contains_key(&key) {
                self.fresh.remove(&key);
            }
        }
    }

    fn drop_folded(&mut self, key: ReceiptKey) {
        if self.fresh.get(&key).is_some_and(|fresh| fresh.folded) {
            self.fresh.remove(&key);
        }
    }

    /// The batch never became durable, and never will.
    pub(super) fn take_back(&mut self, batch: &Batch, lsn: Lsn) {
        let Some(receipt) = &batch.receipt else {
            return;
        };
        if let Some(fresh) = self.fresh.remove(&receipt.key) {
            if fresh.lsn == lsn {
                self.forget_unfolded(&fresh, receipt.key);
            } else {
                self.fresh.insert(receipt.key, fresh);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        let waits = self.fresh.len() == self.unfolded.len();
        waits && self.under_way.is_empty() && self.released.is_empty()
    }

    /// The write that was under way for this key has ended.
    pub(super) fn release(&mut self, key: ReceiptKey) {
        self.released.push_back(key);
    }
}

impl Replica {
    /// Writes unless it was written before.
    pub(super) fn write_once(&mut self, now: Now, mut writing: Writing, key: &IdempotencyKey) {
        let promise = match Promise::new(&writing.namespace, &writing.writes, key) {
            Ok(promise) => promise,
            Err(error) => {
                let error = EditError::Internal(error.to_string()).into();
                return self.answer(writing.caller, Ticket(0), Err(error));
            }
        };
        if self.salvage.holds_key(&promise.key) {
            // It was done, and does not count yet: it can't be told whether it will.
            return self.answer(writing.caller, Ticket(0), Err(RequestError::Busy));
        }
        writing.promise = Some(promise);
        if let Some(queue) = self.receipts.under_way.get_mut(&promise.key) {
            return queue.push_back(writing);
        }
        self.receipts.under_way.insert(promise.key, VecDeque::new());
        self.look_up(now, writing, promise.key);
    }

    fn look_up(&mut self, now: Now, writing: Writing, key: ReceiptKey) {
        if let Some(writing) = self.unless_repeated(now, writing) {
            self.fetch(Fetch::Receipt(key), Awaited::Receipt(Box::new(writing)));
        }
    }

    pub(super) fn receipt_fetched(
        &mut self,
        now: Now,
        writing: Writing,
        stored: Option<StoredReceipt>,
    ) {
        let Some(stored) = stored else {
            return self.write(now, writing);
        };
        let decoded = decode_stored(&stored.bytes);
        let position = decoded.as_ref().ok().and_then(|(position, _)| *position);
        if self.is_expired(now, &writing.namespace, stored.time_ms, position) {
            return self.write(now, writing);
        }
        // The store may show a batch before it says that it is durable: then the answer waits, and with it goes a
        // token that covers the batch.
        if let Some(writing) = self.unless_repeated(now, writing) {
            let decoded = decoded.and_then(|(_, answer)| decode_answer(answer));
            self.repeat(writing, Ticket(0), position, decoded);
        }
    }

    /// Gives the write back, unless a batch that is not durable yet (or was not when it was looked up) has it.
    pub(super) fn unless_repeated(&mut self, now: Now, writing: Writing) -> Option<Writing> {
        let fresh = writing
            .promise
            .and_then(|promise| self.receipts.fresh.get(&promise.key))
            .filter(|fresh| {
                let position = Some((fresh.placed.origin, fresh.placed.seq));
                !self.is_expired(now, &writing.namespace, fresh.time_ms, position)
            });
        let Some(fresh) = fresh else {
            return Some(writing);
        };
        let (ticket, position) = (fresh.ticket, (fresh.placed.origin, fresh.placed.seq));
        let decoded = decode_answer(fresh.answer.clone());
        self.repeat(writing, ticket, Some(position), decoded);
        None
    }

    /// Answers as the first write was answered.
    fn repeat(
        &mut self,
        writing: Writing,
        after: Ticket,
        position: Option<(Origin, Seq)>,
        decoded: Result<([u8; 16], Vec<Written>), DecodeError>,
    ) {
        if position.is_some_and(|position| self.is_to_come_back(&writing.namespace, position)) {
            // It was done, and what was done has not come back yet.
            let namespace = writing.namespace.clone();
            let error = RequestError::MovingIn { namespace };
            return self.written(writing, Ticket(0), Err(error));
        }
        let asked = writing.promise.map(|promise| promise.fingerprint);
        let result = match decoded {
            Ok((fingerprint, documents)) if asked == Some(fingerprint) => {
                let reply = Reply::Written {
                    documents,
                    repeated: true,
                    acknowledged: None,
                };
                let shows =
                    position.map_or(Shows::Durable, |(origin, seq)| Shows::Repeated(origin, seq));
                Ok((reply, shows))
            }
            Ok(_) => Err(RequestError::KeyReused),
            Err(error) => Err(RequestError::Store(format!(
                "what is remembered of this idempotency key can't be read: {error}"
            ))),
        };
        self.written(writing, after, result);
    }

    /// Whether a receipt counts as forgotten: it is old, and wherever the same write may be asked for it is known.
    fn is_expired(
        &self,
        now: Now,
        namespace: &Namespace,
        time_ms: u64,
        position: Option<(Origin, Seq)>,
    ) -> bool {
        time_ms.saturating_add(self.config.room.receipts_kept_ms) <= now.wall_ms
            && position.is_none_or(|(origin, seq)| self.is_stable(namespace, &origin, seq))
    }

    /// Whether a batch was let go of with its namespace and is not here again.
    fn is_to_come_back(&self, namespace: &Namespace, (origin, seq): (Origin, Seq)) -> bool {
        self.departures.has_left(namespace) && seq > self.history.accepted(namespace, &origin)
    }

    /// Those who waited for another write with their key have their turn, one at a time.
    pub(super) fn serve_released(&mut self, now: Now) {
        while let Some(key) = self.receipts.released.pop_front() {
            let queue = self.receipts.under_way.get_mut(&key);
            match queue.and_then(VecDeque::pop_front) {
                None => {
                    self.receipts.under_way.remove(&key);
                    self.receipts.drop_folded(key);
                }
                Some(writing) => match &self.failed {
                    Some(error) => {
                        let error = RequestError::Store(error.clone());
                        self.written(writing, Ticket(0), Err(error));
                    }
                    None => self.look_up(now, writing, key),
                },
            }
        }
    }

    /// What to forget, now and then.
    pub(super) fn forget_old(&mut self, now: Now) -> Option<Retention> {
        let (count_max, kept_ms) = (
            self.config.room.receipts_max,
            self.config.room.receipts_kept_ms,
        );
        let (stable_before, log_end) = (self.needed_by_members(), self.history.durable_end);
        let rounds = count_max / limits::RECEIPTS_FORGOTTEN_PER_FOLD_MAX as u64 + 2;
        let forgetting = self.receipts.forgetting.get_or_insert(Forgetting {
            due_ms: now.mono_ms,
            newest_ms: None,
            rounds_left: rounds,
        });
        if forgetting.newest_ms.is_none() {
            forgetting.rounds_left = rounds;
        }
        let newest_ms = *forgetting.newest_ms.get_or_insert(now.wall_ms);
        if now.mono_ms < forgetting.due_ms || forgetting.rounds_left == 0 {
            return None;
        }
        forgetting.due_ms = now.mono_ms + FORGET_EVERY_MS;
        // What somebody may still ask for does not go by age, however old it is.
        if newest_ms.saturating_add(kept_ms) < now.wall_ms && stable_before > log_end {
            forgetting.rounds_left -= 1;
        }
        Some(Retention {
            count_max,
            not_before_ms: now.wall_ms.saturating_sub(kept_ms),
            stable_before,
        })
    }
}

/// What a receipt takes in memory while it waits.
fn weight_of(fresh: &Fresh) -> usize {
    fresh.answer.len() + fresh.placed.namespace.as_str().len() + 160
}

//! The bare pipeline: carts as raw automerge documents or as the ends of their histories, one thread, a
//! sequential log in redb. What a replica can't beat without being cleverer than both.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{
    ActorId, AutoCommit, Change, ChangeHash, ExpandedChange, ObjId, ObjType, ROOT, ReadDoc,
    ScalarValue, TextEncoding,
};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::Outcome;
use crate::carts::{self, ITEMS};
use crate::floor::SequentialLog;

/// Records in one commit.
pub(crate) const PER_COMMIT: usize = 512;
const TIME: i64 = 1_790_000_000;

/// A cart as automerge has it, made by one change.
pub(crate) fn cart(cart: usize) -> Outcome<AutoCommit> {
    let actor = ActorId::from([1, 2, 3, 4, 5, 6, 7, 8]);
    let mut doc = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(actor);
    let items = doc.put_object(ROOT, "items", ObjType::Map)?;
    for at in 0..ITEMS {
        let line = doc.put_object(&items, carts::item(cart, at), ObjType::Map)?;
        doc.put(&line, "price", carts::price(cart, at))?;
        doc.put(&line, "qty", ScalarValue::counter(1))?;
    }
    doc.commit_with(CommitOptions::default().with_time(TIME));
    Ok(doc)
}

/// Its compact form, in bytes: the mean over some carts.
pub(crate) fn saved_bytes(carts: usize) -> Outcome<f64> {
    let some = carts.min(1_000);
    let mut bytes = 0;
    for at in 0..some {
        bytes += cart(at * carts / some)?.save().len();
    }
    Ok(bytes as f64 / some as f64)
}

/// One more of an item, through the document; the change's bytes.
fn one_more(doc: &mut AutoCommit, cart: usize, at: usize) -> Outcome<(ChangeHash, Vec<u8>)> {
    let items = child(doc, &ROOT, "items")?;
    let line = child(doc, &items, &carts::item(cart, at))?;
    doc.increment(&line, "qty", 1)?;
    let hash = doc
        .commit_with(CommitOptions::default().with_time(TIME))
        .ok_or("nothing changed")?;
    let change = doc.get_change_by_hash(&hash).ok_or("it was just made")?;
    Ok((hash, change.raw_bytes().to_vec()))
}

fn child(doc: &AutoCommit, map: &ObjId, name: &str) -> Outcome<ObjId> {
    Ok(doc.get(map, name)?.ok_or("it is there")?.1)
}

/// The end of a cart's history: all that its next increment has to name.
pub(crate) struct BareTip {
    head: ChangeHash,
    actor: ActorId,
    seq: u64,
    max_op: u64,
    /// By line: the number of the operation that made it, and of that which made its quantity.
    lines: [(u64, u64); ITEMS],
}

impl BareTip {
    pub(crate) fn of(doc: &mut AutoCommit, cart: usize) -> Outcome<Self> {
        let head = *doc.get_heads().first().ok_or("the cart was written")?;
        let meta = doc
            .get_change_meta_by_hash(&head)
            .ok_or("the head is there")?;
        let mut tip = Self {
            head,
            actor: meta.actor.clone().into_owned(),
            seq: meta.seq,
            max_op: meta.max_op,
            lines: [(0, 0); ITEMS],
        };
        let items = child(doc, &ROOT, "items")?;
        for (at, line) in tip.lines.iter_mut().enumerate() {
            let object = child(doc, &items, &carts::item(cart, at))?;
            *line = (number(&object)?, number(&child(doc, &object, "qty")?)?);
        }
        Ok(tip)
    }

    fn one_more(&mut self, at: usize) -> Outcome<Vec<u8>> {
        let (line, quantity) = self.lines[at];
        self.seq += 1;
        self.max_op += 1;
        let change = Change::from(ExpandedChange {
            operations: vec![Op {
                action: OpType::Increment(1),
                obj: ObjectId::Id(OpId::new(line, &self.actor)),
                key: Key::Map("qty".into()),
                pred: SortedVec::from(vec![OpId::new(quantity, &self.actor)]),
                insert: false,
            }],
            actor_id: self.actor.clone(),
            hash: None,
            seq: self.seq,
            start_op: NonZeroU64::new(self.max_op).ok_or("operations count from 1")?,
            time: TIME,
            message: None,
            deps: vec![self.head],
            extra_bytes: Vec::new(),
            author: None,
        });
        self.head = change.hash();
        Ok(change.raw_bytes().to_vec())
    }
}

fn number(id: &ObjId) -> Outcome<u64> {
    match id {
        ObjId::Root => Err("the root was made by nobody".into()),
        ObjId::Id(counter, ..) => Ok(*counter),
    }
}

/// That tips write what automerge writes, or their figure means nothing.
pub(crate) fn check() -> Outcome<()> {
    let mut doc = cart(1)?;
    let mut tip = BareTip::of(&mut doc, 1)?;
    for at in [3, 3, 0, 9, 3] {
        let (hash, bytes) = one_more(&mut doc, 1, at)?;
        if tip.one_more(at)? != bytes || tip.head != hash {
            return Err("the bare tips write something else than automerge".into());
        }
    }
    Ok(())
}

/// Increments through loaded documents, durable: how many per second.
pub(crate) fn through_documents(docs: &mut [AutoCommit], time: Duration) -> Outcome<f64> {
    let carts = docs.len();
    pump(carts, time, |cart, at| {
        Ok(one_more(&mut docs[cart], cart, at)?.1)
    })
}

/// The same by tips.
pub(crate) fn by_tips(tips: &mut [BareTip], time: Duration) -> Outcome<f64> {
    let carts = tips.len();
    pump(carts, time, |cart, at| tips[cart].one_more(at))
}

fn pump(
    carts: usize,
    time: Duration,
    mut write: impl FnMut(usize, usize) -> Outcome<Vec<u8>>,
) -> Outcome<f64> {
    let mut log = SequentialLog::create()?;
    let mut random = SmallRng::seed_from_u64(1);
    let mut records = Vec::with_capacity(PER_COMMIT);
    let mut written = 0;
    let started = Instant::now();
    while started.elapsed() < time {
        records.clear();
        for _ in 0..PER_COMMIT {
            let (cart, at) = (random.random_range(0..carts), random.random_range(0..ITEMS));
            records.push(write(cart, at)?);
        }
        log.append(&records)?;
        written += records.len();
    }
    Ok(written as f64 / started.elapsed().as_secs_f64())
}

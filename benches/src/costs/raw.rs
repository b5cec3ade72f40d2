//! The same with automerge alone: as it comes, with a shared first change, and with an actor per container.

use std::num::NonZeroU64;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{
    ActorId, AutoCommit, Change, ChangeHash, ExpandedChange, ObjId, ObjType, ROOT, ReadDoc,
    ScalarValue, TextEncoding,
};

use super::{Cart, Feed, name, sku, words};
use crate::Outcome;

fn document() -> AutoCommit {
    AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(ActorId::from([1; 8]))
}

/// Ends a change, and takes its bytes out as a replica would to log and send them.
fn commit(doc: &mut AutoCommit) -> Outcome<usize> {
    let hash = doc.commit_with(CommitOptions::default().with_time(1_790_000_000));
    let change = hash
        .and_then(|hash| doc.get_change_by_hash(&hash))
        .ok_or("nothing changed")?;
    Ok(change.raw_bytes().to_vec().len())
}

fn child(doc: &AutoCommit, map: &ObjId, name: &str) -> Outcome<ObjId> {
    Ok(doc.get(map, name)?.ok_or("it is there")?.1)
}

fn map_at(doc: &mut AutoCommit, map: &ObjId, name: &str) -> Outcome<ObjId> {
    Ok(match doc.get(map, name)? {
        Some((_, id)) => id,
        None => doc.put_object(map, name, ObjType::Map)?,
    })
}

fn fields(doc: &mut AutoCommit, line: &ObjId, at: usize) -> Outcome<()> {
    doc.put(line, "name", name(at))?;
    doc.put(line, "price", 2.55)?;
    Ok(())
}

fn one_more(doc: &mut AutoCommit, at: usize) -> Outcome<usize> {
    let items = child(doc, &ROOT, "items")?;
    let line = child(doc, &items, &sku(at))?;
    doc.increment(&line, "qty", 1)?;
    commit(doc)
}

fn add_line(doc: &mut AutoCommit, at: usize) -> Outcome<usize> {
    let items = map_at(doc, &ROOT, "items")?;
    let line = map_at(doc, &items, &sku(at))?;
    fields(doc, &line, at)?;
    doc.put(&line, "qty", ScalarValue::counter(1))?;
    commit(doc)
}

/// As it comes.
pub(super) type Plain = Raw<false>;
/// `/items` in a first change that is the same everywhere; the lines themselves still differ.
pub(super) type Declared = Raw<true>;

pub(super) struct Raw<const DECLARED: bool>(AutoCommit);

impl<const DECLARED: bool> Cart for Raw<DECLARED> {
    fn new() -> Self {
        if !DECLARED {
            return Self(document());
        }
        let mut doc = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint)
            .with_actor(ActorId::from([0; 8]));
        let made = doc.put_object(ROOT, "items", ObjType::Map);
        debug_assert!(made.is_ok(), "an empty document takes anything");
        doc.commit_with(CommitOptions::default().with_time(0));
        Self(doc.with_actor(ActorId::from([1; 8])))
    }

    fn add_line(&mut self, at: usize) -> Outcome<usize> {
        add_line(&mut self.0, at)
    }

    fn one_more(&mut self, at: usize) -> Outcome<usize> {
        one_more(&mut self.0, at)
    }

    fn saved(&mut self) -> usize {
        self.0.save().len()
    }
}

/// Every map and counter in a change of its own, by an actor that follows from its parent and name.
pub(super) struct Derived(AutoCommit);

impl Derived {
    fn derive(&mut self, parent: &ObjId, name: &str, action: OpType) -> Outcome<usize> {
        let doc = &mut self.0;
        let (obj, deps, start): (_, Vec<ChangeHash>, _) = match parent {
            ObjId::Root => (ObjectId::Root, Vec::new(), 1),
            ObjId::Id(counter, actor, _) => {
                let hash = doc.hash_for_opid(parent).ok_or("the parent is there")?;
                let meta = doc
                    .get_change_meta_by_hash(&hash)
                    .ok_or("the parent is there")?;
                (
                    ObjectId::Id(OpId::new(*counter, actor)),
                    vec![hash],
                    meta.max_op + 1,
                )
            }
        };
        let actor = blake3::hash(format!("{parent}/{name}").as_bytes());
        let change = Change::from(ExpandedChange {
            operations: vec![Op {
                action,
                obj,
                key: Key::Map(name.into()),
                pred: SortedVec::new(),
                insert: false,
            }],
            actor_id: ActorId::from(&actor.as_bytes()[..8]),
            hash: None,
            seq: 1,
            start_op: NonZeroU64::new(start).ok_or("operations count from 1")?,
            time: 0,
            message: None,
            deps,
            extra_bytes: Vec::new(),
            author: None,
        });
        let bytes = change.raw_bytes().to_vec().len();
        doc.apply_changes([change])?;
        Ok(bytes)
    }
}

impl Cart for Derived {
    fn new() -> Self {
        Self(document())
    }

    fn add_line(&mut self, at: usize) -> Outcome<usize> {
        let mut bytes = 0;
        if self.0.get(ROOT, "items")?.is_none() {
            bytes += self.derive(&ROOT, "items", OpType::Make(ObjType::Map))?;
        }
        let items = child(&self.0, &ROOT, "items")?;
        bytes += self.derive(&items, &sku(at), OpType::Make(ObjType::Map))?;
        let line = child(&self.0, &items, &sku(at))?;
        bytes += self.derive(&line, "qty", OpType::Put(ScalarValue::counter(0)))?;
        fields(&mut self.0, &line, at)?;
        self.0.increment(&line, "qty", 1)?;
        Ok(bytes + commit(&mut self.0)?)
    }

    fn one_more(&mut self, at: usize) -> Outcome<usize> {
        one_more(&mut self.0, at)
    }

    fn saved(&mut self) -> usize {
        self.0.save().len()
    }
}

pub(super) struct Posts(AutoCommit);

impl Feed for Posts {
    fn new() -> Self {
        Self(document())
    }

    fn append(&mut self, at: usize) -> Outcome<usize> {
        let doc = &mut self.0;
        let posts = match doc.get(ROOT, "posts")? {
            Some((_, id)) => id,
            None => doc.put_object(ROOT, "posts", ObjType::List)?,
        };
        let len = doc.length(&posts);
        let post = doc.insert_object(&posts, len, ObjType::Map)?;
        doc.put(&post, "author", "alice")?;
        doc.put(&post, "text", words(at))?;
        commit(doc)
    }

    fn like(&mut self, at: usize) -> Outcome<usize> {
        let doc = &mut self.0;
        let posts = child(doc, &ROOT, "posts")?;
        let post = doc.get(&posts, at)?.ok_or("it is there")?.1;
        if doc.get(&post, "likes")?.is_some() {
            doc.increment(&post, "likes", 1)?;
        } else {
            doc.put(&post, "likes", ScalarValue::counter(1))?;
        }
        commit(doc)
    }

    fn saved(&mut self) -> usize {
        self.0.save().len()
    }
}

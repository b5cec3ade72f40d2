//! Containers with one identity.
//!
//! Two datacenters that create `/items` at the same time must mean one and the same map: raw automerge
//! would keep two and show one, and goods would vanish from carts. So a container (or counter) that an edit
//! creates on its path comes into being by a change of its own, whose bytes follow from nothing but the
//! identity of its parent, its name there, its kind and its generation. Whoever makes it makes the same
//! bytes, and applying the same change twice is applying it once.
//!
//! The generation counts how often the name has been given to a container of this kind and taken away again
//! in the history at hand: who re-creates what was removed begins the next generation.

use std::num::NonZeroU64;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::{
    ActorId, AutoCommit, Change, ChangeHash, ExpandedChange, ObjId, ObjType, ScalarValue,
};

/// What an edit may create on its path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Map,
    List,
    Text,
    Counter,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Map => "a map",
            Self::List => "a list",
            Self::Text => "a text",
            Self::Counter => "a counter",
        }
    }

    fn action(self) -> OpType {
        match self {
            Self::Map => OpType::Make(ObjType::Map),
            Self::List => OpType::Make(ObjType::List),
            Self::Text => OpType::Make(ObjType::Text),
            Self::Counter => OpType::Put(ScalarValue::counter(0)),
        }
    }
}

/// Where the first operation of a change that names only `parent` may stand, and on what it depends.
struct Parent {
    object: ObjectId,
    deps: Vec<ChangeHash>,
    start_op: NonZeroU64,
}

impl Parent {
    fn of(doc: &mut AutoCommit, parent: &ObjId) -> Option<Self> {
        let ObjId::Id(counter, actor, _) = parent else {
            return Some(Self {
                object: ObjectId::Root,
                deps: Vec::new(),
                start_op: NonZeroU64::MIN,
            });
        };
        let hash = doc.hash_for_opid(parent)?;
        let max_op = doc.get_change_by_hash(&hash)?.max_op();
        Some(Self {
            object: ObjectId::Id(OpId::new(*counter, actor)),
            deps: vec![hash],
            start_op: NonZeroU64::new(max_op.checked_add(1)?)?,
        })
    }
}

/// The change that creates `name` in `parent` as a `kind`, in the first generation that `doc` does not hold.
/// None if `doc` does not know the parent.
pub(super) fn change(
    doc: &mut AutoCommit,
    parent: &ObjId,
    name: &str,
    kind: Kind,
) -> Option<Change> {
    let known = Parent::of(doc, parent)?;
    (0..)
        .map(|generation| build(&known, name, kind, generation))
        .find(|change| doc.get_change_meta_by_hash(&change.hash()).is_none())
}

fn build(parent: &Parent, name: &str, kind: Kind, generation: u64) -> Change {
    Change::from(ExpandedChange {
        operations: vec![Op {
            action: kind.action(),
            obj: parent.object.clone(),
            key: Key::Map(name.into()),
            pred: SortedVec::new(),
            insert: false,
        }],
        actor_id: actor(parent, name, kind, generation),
        hash: None,
        seq: 1,
        start_op: parent.start_op,
        time: 0,
        message: None,
        deps: parent.deps.clone(),
        extra_bytes: Vec::new(),
        author: None,
    })
}

fn actor(parent: &Parent, name: &str, kind: Kind, generation: u64) -> ActorId {
    let mut hasher = blake3::Hasher::new_derive_key("anabranch 2026-11 container identity");
    match &parent.object {
        ObjectId::Root => hasher.update(&[0]),
        ObjectId::Id(id) => {
            let actor = id.actor().to_bytes();
            hasher
                .update(&[1, u8::try_from(actor.len()).unwrap_or(u8::MAX)])
                .update(actor)
                .update(&id.counter().to_be_bytes())
        }
    };
    hasher
        .update(&[kind as u8])
        .update(&generation.to_be_bytes())
        .update(name.as_bytes());
    ActorId::from(&hasher.finalize().as_bytes()[..8])
}

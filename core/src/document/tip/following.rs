//! Taking in what others wrote, without the document.
//!
//! A change from elsewhere is followed where the tip is certain what the document will make of it: the change comes
//! after others that the tip knows, in the number and from the operation on that are next, and it does to places
//! what a tip would do to them. That is what replicas do to carts and feeds that don't do the same at the same
//! time. Anything else, conflicts above all, is the document's to take in, and the tip is of no more use.

use automerge::legacy::OpType;
use automerge::{ActorId, ObjType, ScalarValue};
use bytes::Bytes;

use super::decoding::{self, Read};
use super::encoding::{Key, Operation};
use super::ground::{Held, Known, Number, Trail};
use super::recent::Passed;
use super::{Id, PLACES_MAX, Tip, WRITER};
use crate::document::slots::{Kind, Slot};

/// A history with more ends than that is the document's to write to.
const HEADS_MAX: usize = 4;

impl Tip {
    /// Takes in a change that somebody else made. If it says no, the tip holds no longer.
    pub(crate) fn follow(&mut self, change: &Bytes) -> bool {
        // What is wrong with it, the document will say.
        decoding::change(change).is_some_and(|change| self.take_in(&change).is_some())
    }

    fn take_in(&mut self, change: &Read) -> Option<()> {
        if self.recent.find(&change.hash).is_some() {
            return Some(());
        }
        let index = |actor: &ActorId| self.index_of(actor);
        let actors: Vec<u16> = change.actors.iter().map(index).collect::<Option<_>>()?;
        let writer = *actors.first()?;
        let passed = self.in_order(change, writer)?;
        let mut following = Following {
            is_latest: change.header.start_op >= self.end.next_op,
            tip: self,
            actors,
            inside: Vec::new(),
        };
        for (operation, counter) in change.operations.iter().zip(change.header.start_op..) {
            let counter = u32::try_from(counter).ok()?;
            let actor = writer;
            following.operation(operation, Id { counter, actor })?;
        }
        let end = &mut self.end;
        end.heads.retain(|head| !change.header.deps.contains(head));
        end.heads.push(change.hash);
        end.heads.sort_unstable();
        end.next_op = end.next_op.max(u64::from(passed.max_op) + 1);
        end.present = true;
        self.recent.note(passed);
        (end.heads.len() <= HEADS_MAX && self.places.len() <= PLACES_MAX).then_some(())
    }

    /// The change as one of the latest, if it is what its actor does next, after others that are known.
    fn in_order(&self, change: &Read, actor: u16) -> Option<Passed> {
        let header = &change.header;
        // The writer's own come from itself.
        if actor == WRITER || change.operations.is_empty() {
            return None;
        }
        let last = header
            .start_op
            .checked_add(change.operations.len() as u64 - 1)?;
        let passed = Passed::of(actor, (change.hash, header.seq, last))?;
        let (seq, own) = match self.recent.latest(actor) {
            Some(latest) => (latest.seq.checked_add(1)?, latest.max_op),
            None if self.recent.strangers => return None,
            None => (1, 0),
        };
        let mut before = 0;
        for dep in &header.deps {
            before = before.max(self.recent.find(dep)?.max_op);
        }
        let start = u64::from(before) + 1;
        let follows = passed.seq == seq && before >= own && header.start_op == start;
        follows.then_some(passed)
    }
}

struct Following<'t> {
    tip: &'t mut Tip,
    /// Whether no operation that is known comes after it.
    is_latest: bool,
    /// The change's actors, among the tip's.
    actors: Vec<u16>,
    /// What it made where the tip knows no places.
    inside: Vec<Id>,
}

impl Following<'_> {
    fn operation(&mut self, operation: &Operation, id: Id) -> Option<()> {
        let object = self.id(operation.object)?;
        let replaced = match operation.replaced {
            Some(replaced) => Some(self.id(replaced)?),
            None => None,
        };
        if self.inside.contains(&object) {
            if let OpType::Make(_) = operation.action {
                self.inside.push(id);
            }
            return replaced.is_none().then_some(());
        }
        let (trail, known) = self.container(object)?;
        let doing = Doing {
            object,
            id,
            action: &operation.action,
            replaced,
        };
        match (known, &operation.key) {
            (Known::Map { whole, .. }, Key::Entry(key)) => match Slot::parse(key) {
                Slot::Entry(name) => self.entry(trail.child(name), whole, &doing),
                Slot::Part(kind, name) => self.part(trail.child(name), whole, kind, &doing),
                Slot::Grave(..) | Slot::Revival(..) | Slot::Other => None,
            },
            (Known::Set { whole, .. }, Key::Entry(key)) => {
                self.element(trail.element(key), whole, &doing)
            }
            (Known::List { last, .. }, Key::After(after)) => {
                let after = self.id(*after)?;
                self.insertion(trail, last, after, &doing)
            }
            _ => None,
        }
    }

    /// An operation as the tip names it.
    fn id(&self, id: Id) -> Option<Id> {
        if id == Id::ROOT {
            return Some(id);
        }
        let actor = *self.actors.get(usize::from(id.actor))?;
        Some(Id { actor, ..id })
    }

    /// The place of a container that the tip knows.
    fn container(&self, object: Id) -> Option<(Trail, Known)> {
        let is_it = |known: &Known| match known {
            Known::Map { object: it, .. }
            | Known::List { object: it, .. }
            | Known::Set { object: it, .. } => *it == object,
            Known::Element { .. } | Known::Number(_) | Known::Register { .. } | Known::Other => {
                false
            }
        };
        let place = self.tip.places.iter().find(|place| is_it(&place.known))?;
        Some((Trail::at(place.trail), place.known))
    }

    fn note(&mut self, trail: [u8; 16], known: Option<Known>) {
        self.tip.note(trail, known);
    }

    /// Something under an entry's own name.
    fn entry(&mut self, trail: Trail, whole: bool, doing: &Doing<'_>) -> Option<()> {
        let known = match (self.tip.known(trail.end()), doing.replaced) {
            (None, None) if whole => self.appears(doing)?,
            (Some(Known::Register { map, put, bare, .. }), Some(replaced))
                if put == replaced && map == doing.object =>
            {
                doing.on_register(map, bare)?
            }
            (Some(Known::Number(number)), Some(replaced)) if number.own_name => {
                Some(doing.counted(number, replaced)?)
            }
            _ => return None,
        };
        self.note(trail.end(), known);
        Some(())
    }

    /// What comes to stand at an entry where nothing ever was.
    fn appears(&mut self, doing: &Doing<'_>) -> Option<Option<Known>> {
        let object = doing.id;
        Some(Some(match doing.action {
            OpType::Make(ObjType::Map) => Known::Map {
                object,
                whole: true,
            },
            OpType::Make(ObjType::List) => Known::List {
                object,
                last: Some(Id::ROOT),
            },
            OpType::Make(ObjType::Text) => {
                self.inside.push(object);
                Known::Other
            }
            OpType::Put(ScalarValue::Counter(by)) => {
                Known::Number(doing.number((Kind::Counter, true), i64::from(by)))
            }
            OpType::Put(value) => doing.register(doing.object, value, true),
            _ => return None,
        }))
    }

    /// Something where the parts of numbers and sets stand.
    fn part(&mut self, trail: Trail, whole: bool, kind: Kind, doing: &Doing<'_>) -> Option<()> {
        let known = match (self.tip.known(trail.end()), doing.replaced, doing.action) {
            (None, None, OpType::Put(ScalarValue::Counter(by))) if whole && kind != Kind::Set => {
                Known::Number(doing.number((kind, false), i64::from(by)))
            }
            (None, None, OpType::Make(ObjType::Map)) if whole && kind == Kind::Set => Known::Set {
                object: doing.id,
                whole: true,
            },
            // An integer is where a number begins.
            (
                Some(Known::Register {
                    value, bare: true, ..
                }),
                None,
                OpType::Put(ScalarValue::Counter(by)),
            ) if kind != Kind::Set => {
                let total = value.integer()?.checked_add(i64::from(by))?;
                Known::Number(doing.number((kind, false), total))
            }
            (Some(Known::Number(number)), Some(replaced), _)
                if number.kind == kind && !number.own_name =>
            {
                doing.counted(number, replaced)?
            }
            _ => return None,
        };
        self.note(trail.end(), Some(known));
        Some(())
    }

    fn element(&mut self, place: [u8; 16], whole: bool, doing: &Doing<'_>) -> Option<()> {
        match (self.tip.known(place), doing.replaced) {
            (None, None) if whole => {}
            (Some(Known::Element { put, .. }), Some(replaced)) if put == replaced => {}
            _ => return None,
        }
        let put = doing.id;
        let known = match doing.action {
            OpType::Put(ScalarValue::Boolean(value)) => Some(Known::Element { put, value: *value }),
            OpType::Delete if doing.replaced.is_some() => None,
            _ => return None,
        };
        self.note(place, known);
        Some(())
    }

    /// Where elements come after others that the tip does not know, it can't tell where they come to stand.
    fn insertion(
        &mut self,
        trail: Trail,
        last: Option<Id>,
        after: Id,
        doing: &Doing<'_>,
    ) -> Option<()> {
        if doing.replaced.is_some() {
            return None;
        }
        match doing.action {
            OpType::Make(_) => self.inside.push(doing.id),
            OpType::Put(_) => {}
            _ => return None,
        }
        let last = match last {
            Some(last) if last == after => Some(doing.id),
            // Of what was inserted at one place, what is latest comes first.
            last if after == Id::ROOT && self.is_latest => last,
            _ if after == Id::ROOT => None,
            // One of this change's own, at the end as they are made one after the other, was `last`.
            _ => return None,
        };
        let object = doing.object;
        self.note(trail.end(), Some(Known::List { object, last }));
        Some(())
    }
}

/// One operation.
struct Doing<'o> {
    object: Id,
    id: Id,
    action: &'o OpType,
    replaced: Option<Id>,
}

impl Doing<'_> {
    fn number(&self, (kind, own_name): (Kind, bool), total: i64) -> Number {
        Number {
            kind,
            own_name,
            beside: false,
            map: self.object,
            counter: self.id,
            total,
        }
    }

    fn register(&self, map: Id, value: &ScalarValue, bare: bool) -> Known {
        Known::Register {
            map,
            put: self.id,
            value: Held::of(value),
            bare,
        }
    }

    /// What a register becomes that it replaces.
    fn on_register(&self, map: Id, bare: bool) -> Option<Option<Known>> {
        match self.action {
            OpType::Put(ScalarValue::Counter(_)) => None,
            OpType::Put(value) => Some(Some(self.register(map, value, bare))),
            OpType::Delete => Some((!bare).then_some(Known::Other)),
            _ => None,
        }
    }

    /// A number that it adds to.
    fn counted(&self, number: Number, replaced: Id) -> Option<Known> {
        let OpType::Increment(by) = self.action else {
            return None;
        };
        if number.counter != replaced || number.map != self.object {
            return None;
        }
        let total = number.total.checked_add(*by)?;
        Some(Known::Number(Number { total, ..number }))
    }
}

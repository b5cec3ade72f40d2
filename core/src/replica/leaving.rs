//! Letting go of a namespace that is placed elsewhere.
//!
//! It is refused to everybody at once, and kept, and sent to those who are to have it, until each member that counts there has said that
//! it **keeps** all that is here: that it holds it durably, and is one of those who are to hold it *by the very setting* that sends it
//! away from here. What a member said earlier that it holds does not do: by a setting of its own it may have let go since. So whoever
//! lets go has been answered by somebody who lets go only by a later setting, and then has been answered in turn; and who was on the way
//! to letting go answers nobody. Hence, however settings follow upon each other, some replica holds what was written.
//!
//! Then a record of the log takes it out of account, all at once, and the store's documents are deleted in steps. Until that is done
//! nothing of the namespace is taken in, whatever is said meanwhile of where it is; a second record says that it is done. That one waits
//! for a checkpoint after the first: replaying what was before the first could put documents back.
//!
//! The numbers of this replica's own batches are not used twice: the records keep how far they went, and if the namespace comes back,
//! nothing is written until they have come back, too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::history::History;
use super::{Awaited, Carried, Replica};
use crate::codec::{DecodeError, Reader, Writer};
use crate::effect::{LinkId, Notice, Now, Output};
use crate::message::{AskKept, Message};
use crate::persist::{DocumentRange, Fetch, Fold, Repair, StoredDocument};
use crate::placement::Setting;
use crate::record::LetGo;
use crate::{DocumentId, Frontier, Key, Lsn, Namespace, Origin, ReplicaId, Seq};

/// Members are asked again, and steps that could not be taken are tried again, after this long.
const RETRY_MS: u64 = 1_000;
/// While something else is being folded it is looked again after this long.
const BUSY_MS: u64 = 5;

/// A namespace that others are to keep.
struct Leaving {
    setting: Setting,
    frontier: Frontier,
    /// Under which members are asked.
    number: u64,
    kept_by: BTreeSet<ReplicaId>,
}

/// A namespace whose documents are being deleted.
#[derive(Default)]
struct Clearing {
    /// The record that let it go.
    since: Lsn,
    /// The store is being asked for what is left.
    asked: bool,
    /// What is to be deleted next, and whether that is on its way.
    range: Option<DocumentRange>,
    folding: bool,
    /// What was to be deleted last.
    last: Option<DocumentRange>,
    /// The record that ends it is on its way.
    ending: bool,
    due_ms: u64,
}

/// What was let go of, and where.
#[derive(Clone, Default)]
struct Left {
    at: Lsn,
    /// How far this replica's own numbers went.
    numbers: Frontier,
}

#[derive(Default)]
pub(super) struct Departures {
    numbers: u64,
    leaving: BTreeMap<Namespace, Leaving>,
    /// Those whose record is on its way into the log.
    going: BTreeSet<Namespace>,
    clearing: BTreeMap<Namespace, Clearing>,
    left: BTreeMap<Namespace, Left>,
    /// When to look next; none: there is nothing to be let go.
    due_ms: Option<u64>,
}

impl Departures {
    pub(super) fn wake_at(&self) -> u64 {
        self.due_ms.unwrap_or(u64::MAX)
    }

    /// The replay is over; what was under way goes on.
    pub(super) fn begin(&mut self) {
        self.due_ms = Some(0);
    }

    /// Something has come about that lets it go on.
    pub(super) fn hasten(&mut self, now: Now) {
        self.due_ms = Some(now.mono_ms + 1);
    }

    /// Whether a namespace is not on its way out of the log or the store.
    pub(super) fn is_at_rest(&self, namespace: &Namespace) -> bool {
        !self.going.contains(namespace) && !self.clearing.contains_key(namespace)
    }

    pub(super) fn is_clearing(&self, namespace: &Namespace) -> bool {
        self.clearing.contains_key(namespace)
    }

    /// Up to where this replica had used an origin's numbers when it let go.
    pub(super) fn left(&self, namespace: &Namespace, origin: &Origin) -> Seq {
        let left = self.left.get(namespace);
        left.map_or(Seq(0), |left| left.numbers.of(origin))
    }

    /// Whether it was ever let go of.
    pub(super) fn has_left(&self, namespace: &Namespace) -> bool {
        self.left.contains_key(namespace)
    }

    /// Whether a record of the log was let go of with its namespace.
    pub(super) fn is_gone(&self, namespace: &Namespace, lsn: Lsn) -> bool {
        let left = self.left.get(namespace);
        left.is_some_and(|left| lsn <= left.at)
    }

    /// What was on its way into the log will never be there.
    pub(super) fn take_back(&mut self) {
        self.going.clear();
        for clearing in self.clearing.values_mut() {
            clearing.ending = false;
        }
    }

    /// A record of the namespace that came later says that it had been cleared by then: until then none is taken in.
    pub(super) fn replayed(&mut self, namespace: &Namespace) {
        self.clearing.remove(namespace);
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.count(self.left.len());
        for (namespace, left) in &self.left {
            writer.bytes(namespace.as_str().as_bytes());
            writer.number(left.at.0);
            writer.u8(self.clearing.contains_key(namespace).into());
            writer.count(left.numbers.len());
            for (origin, seq) in left.numbers.iter() {
                writer.origin(origin);
                writer.number(seq.0);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut departures = Self::default();
        for _ in 0..reader.count("namespaces let go", usize::MAX)? {
            let namespace = reader.namespace()?;
            let at = Lsn(reader.number("let go at")?);
            if reader.u8("clearing")? != 0 {
                let clearing = Clearing {
                    since: at,
                    ..Clearing::default()
                };
                departures.clearing.insert(namespace.clone(), clearing);
            }
            let mut numbers = Frontier::default();
            for _ in 0..reader.count("origins", usize::MAX)? {
                let origin = reader.origin()?;
                numbers.raise(origin, reader.seq()?);
            }
            departures.left.insert(namespace, Left { at, numbers });
        }
        Ok(departures)
    }

    /// How far the numbers of one replica's histories went.
    fn numbers_of(
        &self,
        history: &History,
        namespace: &Namespace,
        own: ReplicaId,
    ) -> Vec<(Origin, Seq)> {
        let mut numbers = self
            .left
            .get(namespace)
            .cloned()
            .unwrap_or_default()
            .numbers;
        let space = history.space(namespace);
        let held = space.into_iter().flat_map(|space| space.accepted.iter());
        for (origin, seq) in held.filter(|(origin, _)| origin.replica == own) {
            numbers.raise(*origin, *seq);
        }
        numbers
            .iter()
            .map(|(origin, seq)| (*origin, *seq))
            .collect()
    }
}

impl Replica {
    /// Whether a namespace is placed elsewhere, and some of it is here still.
    #[must_use]
    pub fn is_leaving(&self, namespace: &Namespace) -> bool {
        let space = self.history.space(namespace);
        let holds = space.is_some_and(|space| !space.accepted.is_empty());
        !self.is_placed_here(namespace) && holds || self.departures.is_clearing(namespace)
    }

    pub(super) fn tick_departures(&mut self, now: Now) {
        if self.failed.is_some() || self.departures.wake_at() > now.mono_ms {
            return;
        }
        let mut next = None;
        for namespace in self.placements.outside(&self.config.datacenter) {
            if self.is_leaving(&namespace) && self.departures.is_at_rest(&namespace) {
                self.leave(now, &namespace);
                next = Some(now.mono_ms + RETRY_MS);
            }
        }
        let clearing: Vec<_> = self.departures.clearing.keys().cloned().collect();
        for namespace in clearing {
            self.clear(now, &namespace);
            let due = self.departures.clearing.get(&namespace);
            let due = due.map(|clearing| clearing.due_ms.max(now.mono_ms + BUSY_MS));
            next = next.into_iter().chain(due).min();
        }
        self.departures.due_ms = next;
    }

    /// Asks those who are to hold it whether they keep all of it, and lets it go if all do.
    fn leave(&mut self, now: Now, namespace: &Namespace) {
        let (Some(setting), Some(space)) = (
            self.placements.setting(namespace).cloned(),
            self.history.space(namespace),
        ) else {
            return;
        };
        if space.accepted != space.durable || self.is_in_use(namespace) {
            return;
        }
        let frontier = space.durable.clone();
        let departures = &mut self.departures;
        let same = |leaving: &Leaving| leaving.setting == setting && leaving.frontier == frontier;
        if !departures.leaving.get(namespace).is_some_and(same) {
            departures.numbers += 1;
            let leaving = Leaving {
                setting,
                frontier,
                number: departures.numbers,
                kept_by: BTreeSet::new(),
            };
            departures.leaving.insert(namespace.clone(), leaving);
        }
        let Some(leaving) = self.departures.leaving.get(namespace) else {
            return;
        };
        let members = self.peers.counted();
        let members = members.filter(|(_, peer)| self.is_to_hold(peer, namespace));
        let (mut kept, mut unsure) = (false, Vec::new());
        for (id, peer) in members {
            if leaving.kept_by.contains(id) {
                kept |= !peer.datacenter.is_empty();
            } else {
                let positions = leaving.frontier.iter();
                let mut positions = positions.map(|(origin, seq)| (origin, *seq));
                let holds = positions.all(|(origin, seq)| peer.holds(namespace, origin) >= seq);
                unsure.push((*id, holds));
            }
        }
        if kept && unsure.is_empty() && !self.pauses(now) {
            return self.put_let_go(namespace, false);
        }
        let positions = leaving.frontier.iter();
        let asked = AskKept {
            number: leaving.number,
            namespace: namespace.clone(),
            setting: leaving.setting.clone(),
            positions: positions.map(|(origin, seq)| (*origin, *seq)).collect(),
        };
        // Who has said that it lacks something is not asked yet.
        for (peer, _) in unsure.into_iter().filter(|(_, holds)| *holds) {
            if let Some(link) = self.peers.session(peer).map(|session| session.link) {
                self.say(peer, link, &Message::AskKept(asked.clone()));
            }
        }
    }

    /// Whether something here is still at work on a namespace, or is to be written into it.
    fn is_in_use(&self, namespace: &Namespace) -> bool {
        let asked = |awaited: &Awaited| match awaited {
            Awaited::Document(id) | Awaited::ImportsOf(id, _) => id.namespace == *namespace,
            Awaited::Page(scan) => scan.namespace == *namespace,
            Awaited::Receipt(writing) => writing.namespace == *namespace,
            Awaited::Imports(of) => of == namespace,
            Awaited::Picked(picking) => self.gives_of(picking, namespace),
            Awaited::Changes { .. }
            | Awaited::Backlog { .. }
            | Awaited::Range(_)
            | Awaited::PassedOver(_)
            | Awaited::Sums(_)
            | Awaited::Clearing(_)
            | Awaited::Receipts { .. } => false,
        };
        self.comparisons.seeks(namespace)
            || self.imports.is_pending(namespace)
            || self.imports.has_staged(namespace)
            || self.imports.is_arriving(namespace)
            || self.salvage.is_under_way(self.durable)
            || self.fetches.values().any(asked)
            || self.shelf.is_in_use(namespace)
    }

    /// A member is to let go of a namespace, and asks whether it is kept here.
    pub(super) fn asked_whether_kept(
        &mut self,
        now: Now,
        peer: ReplicaId,
        link: LinkId,
        asked: AskKept,
    ) {
        let AskKept {
            number,
            namespace,
            setting,
            positions,
        } = asked;
        let known = self.placements.setting(&namespace);
        if known.is_some_and(|known| *known > setting) {
            return self.say_placement(now, peer, &namespace);
        }
        let mut positions = positions.iter();
        let is_kept = known == Some(&setting)
            && self.takes_in(&namespace)
            && positions.all(|(origin, seq)| self.history.durable(&namespace, origin) >= *seq);
        if is_kept {
            self.say(peer, link, &Message::Kept { number });
        } else {
            self.learn(now, &namespace, setting);
        }
    }

    /// A member keeps what it was asked about.
    pub(super) fn is_kept(&mut self, now: Now, peer: ReplicaId, number: u64) {
        let mut leaving = self.departures.leaving.values_mut();
        if let Some(leaving) = leaving.find(|leaving| leaving.number == number)
            && leaving.kept_by.insert(peer)
        {
            self.departures.due_ms = Some(now.mono_ms);
            self.tick_departures(now);
        }
    }

    fn put_let_go(&mut self, namespace: &Namespace, cleared: bool) {
        let own = self.config.replica;
        let let_go = LetGo {
            namespace: namespace.clone(),
            left: self.departures.numbers_of(&self.history, namespace, own),
            cleared,
        };
        if !cleared {
            self.departures.leaving.remove(namespace);
            self.departures.going.insert(namespace.clone());
        }
        self.admit_record(let_go.encode(), |lsn| Carried::LetGo(lsn, let_go));
    }

    /// Takes a namespace out of account.
    fn forget(&mut self, lsn: Lsn, let_go: &LetGo) {
        let namespace = &let_go.namespace;
        let left = self.departures.left.entry(namespace.clone()).or_default();
        for (origin, seq) in &let_go.left {
            left.numbers.raise(*origin, *seq);
        }
        left.at = lsn;
        self.departures.going.remove(namespace);
        self.departures.leaving.remove(namespace);
        self.history.forget(namespace);
        self.shelf.forget_namespace(namespace);
        self.imports.forget(namespace);
        self.summaries.forget(namespace);
        self.scans.forget(namespace);
        self.stability.forget(namespace);
        if let_go.cleared {
            self.departures.clearing.remove(namespace);
        } else {
            let clearing = Clearing {
                since: lsn,
                ..Clearing::default()
            };
            self.departures.clearing.insert(namespace.clone(), clearing);
        }
    }

    pub(super) fn replay_let_go(&mut self, lsn: Lsn, let_go: &LetGo) {
        self.forget(lsn, let_go);
    }

    /// It is durable: now it is gone.
    pub(super) fn let_go_of(&mut self, now: Now, lsn: Lsn, let_go: &LetGo) {
        let namespace = &let_go.namespace;
        self.departures.hasten(now);
        if let_go.cleared {
            // Nothing has been taken in since the other record.
            self.departures.clearing.remove(namespace);
            self.peers.behind = true;
            self.peers.wants_due = now.mono_ms + 1;
            return;
        }
        self.forget(lsn, let_go);
        self.end_serving(namespace);
        self.comparisons.verifying.forget(namespace);
        self.damage_looked_at_anew(now);
        for peer in self.peers.linked() {
            if let Some(session) = self.peers.session(peer) {
                session.forget(namespace);
            }
            // What was said before is true no more.
            self.state_everything(now, peer);
        }
        let namespace = namespace.clone();
        self.outputs
            .push_back(Output::Notice(Notice::LetGo { namespace }));
        // The documents' deletion ends with a checkpoint.
        self.members_changed(now, now.mono_ms);
    }

    /// The next step of deleting a namespace's documents.
    fn clear(&mut self, now: Now, namespace: &Namespace) {
        let busy = self.folding.is_under_way() || self.summaries.is_asking();
        let Some(clearing) = self.departures.clearing.get_mut(namespace) else {
            return;
        };
        if clearing.asked || clearing.range.is_some() || clearing.ending {
            clearing.due_ms = now.mono_ms + RETRY_MS;
            return;
        }
        if clearing.due_ms > now.mono_ms || busy {
            return;
        }
        clearing.asked = true;
        let from = Self::address(namespace, &Key::floor(""));
        let fetch = Fetch::Sums {
            from: Bound::Included(from),
            limit: self.config.room.fold_documents.max(1),
        };
        self.fetch(fetch, Awaited::Clearing(namespace.clone()));
    }

    /// What is left of the documents, or none: they can't be read now.
    pub(super) fn left_overs_fetched(
        &mut self,
        now: Now,
        namespace: &Namespace,
        documents: Option<Vec<(DocumentId, StoredDocument)>>,
    ) {
        let checkpoint = self.folding.checkpoint();
        let pauses = self.pauses(now);
        let Some(clearing) = self.departures.clearing.get_mut(namespace) else {
            return;
        };
        clearing.asked = false;
        clearing.due_ms = now.mono_ms + RETRY_MS;
        let Some(documents) = documents else {
            return;
        };
        let ids = documents.into_iter().map(|(id, _)| id);
        let ids: Vec<_> = ids.filter(|id| id.namespace == *namespace).collect();
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            let range = Some(DocumentRange {
                from: Some(first.clone()),
                before: Some(Self::address(namespace, &last.key.ceiling())),
            });
            if clearing.last.take() != range {
                clearing.range = range;
                self.tick_folding(now);
            }
        } else if checkpoint <= clearing.since {
            // What would be replayed could put some of them back.
            self.members_changed(now, now.mono_ms);
            self.tick_folding(now);
        } else if !pauses {
            clearing.ending = true;
            self.put_let_go(namespace, true);
        }
    }

    /// Hands documents that are to be deleted to the store.
    pub(super) fn clearing_in(&mut self, fold: &mut Fold) -> bool {
        let mut clearing = self.departures.clearing.values_mut();
        let Some((clearing, range)) =
            clearing.find_map(|clearing| clearing.range.clone().map(|range| (clearing, range)))
        else {
            return false;
        };
        clearing.folding = true;
        fold.repair = Some(Repair {
            range,
            documents: Vec::new(),
        });
        true
    }

    /// The fold under way has ended.
    pub(super) fn cleared_some(&mut self, now: Now, done: bool) {
        for clearing in self.departures.clearing.values_mut() {
            if !std::mem::take(&mut clearing.folding) {
                continue;
            }
            // What could not be deleted, since it can't be read, is found again, and tried again a little later.
            clearing.last = clearing.range.take();
            clearing.due_ms = now.mono_ms + if done { BUSY_MS } else { RETRY_MS };
            self.departures.due_ms = Some(now.mono_ms + BUSY_MS);
        }
    }
}

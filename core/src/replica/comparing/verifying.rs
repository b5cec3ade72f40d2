//! Comparing roots: whether two replicas hold the same, and whether all do.
//!
//! The asker's root is that of the moment when it asks. Whoever is asked waits until it holds as much, takes off again what
//! it holds beyond, and says its own. Both then know. That happens now and then by itself, where something has been written since,
//! and for all members at once when an operator asks.

use std::collections::{BTreeMap, VecDeque};

use super::{Lack, Replica};
use crate::effect::{
    Compared, LinkId, Notice, Now, Output, Reply, RequestError, Verified, VerifiedPeer,
};
use crate::persist::Ticket;
use crate::repair_message::RepairMessage;
use crate::replica::asking::Caller;
use crate::replica::summaries::without;
use crate::{Frontier, Key, Namespace, Origin, ReplicaId, Seq};

/// A namespace that was written to is compared with somebody this often.
const EVERY_MS: u64 = 60_000;
/// Whoever is asked for a root waits this long until it holds as much as the asker.
const PATIENCE_MS: u64 = 5_000;
/// An operator's question is answered after this long at the latest, in milliseconds.
const VERIFY_MS: u64 = 10_000;
/// and after this long, if differences are being looked for.
const REPAIR_MS: u64 = 60_000;
/// Questions for roots that wait.
const QUESTIONS_MAX: usize = 256;
/// Of those, questions of one peer.
const QUESTIONS_OF_ONE_MAX: usize = 64;
/// That a peer's root is another one is looked into no more often than this.
const ALARM_EVERY_MS: u64 = 10_000;

/// Somebody asks for the root at a frontier that is not reached yet, perhaps.
struct Question {
    peer: ReplicaId,
    link: LinkId,
    number: u64,
    namespace: Namespace,
    frontier: Frontier,
    root: Option<(u64, u64)>,
    until_ms: u64,
}

/// A root that was asked for.
struct Asked {
    peer: ReplicaId,
    namespace: Namespace,
    /// What it was compared with.
    root: u64,
    frontier: Frontier,
    until_ms: u64,
    operator: bool,
}

/// An operator's question.
struct Operator {
    caller: Caller,
    root: u64,
    documents: u64,
    until_ms: u64,
    peers: BTreeMap<ReplicaId, Compared>,
}

#[derive(Default)]
pub(in crate::replica) struct Verifying {
    questions: VecDeque<Question>,
    asked: BTreeMap<u64, Asked>,
    operators: BTreeMap<Namespace, Vec<Operator>>,
    /// When to compare with the next peer; none: nothing has changed since the last time.
    due_ms: Option<u64>,
    last_peer: Option<ReplicaId>,
    /// What was found equal, with whom.
    equal: BTreeMap<(Namespace, ReplicaId), (Frontier, u64)>,
    /// When somebody's root was last found to be another one.
    alarms: BTreeMap<(Namespace, ReplicaId), u64>,
}

impl Verifying {
    pub(super) fn wake_at(&self) -> u64 {
        let questions = self.questions.iter().map(|question| question.until_ms);
        let asked = self.asked.values().map(|asked| asked.until_ms);
        let operators = self.operators.values().flatten();
        let operators = operators.map(|operator| operator.until_ms);
        let due = questions.chain(asked).chain(operators).min();
        due.unwrap_or(u64::MAX).min(self.due_ms.unwrap_or(u64::MAX))
    }

    /// There is something to compare.
    pub(in crate::replica) fn stir(&mut self, now: Now) {
        self.due_ms.get_or_insert(now.mono_ms + EVERY_MS);
    }

    /// Nothing of a namespace is here any more.
    pub(in crate::replica) fn forget(&mut self, namespace: &Namespace) {
        self.equal.retain(|(of, _), _| of != namespace);
    }

    pub(super) fn lose(&mut self, peer: ReplicaId) {
        self.questions.retain(|question| question.peer != peer);
    }

    /// When a namespace was last found to be equal somewhere, by the monotonic clock in milliseconds.
    pub(in crate::replica) fn last_equal(&self, namespace: &Namespace) -> Option<u64> {
        let of = |((of, _), (_, at)): (&(Namespace, ReplicaId), &(Frontier, u64))| {
            (of == namespace).then_some(*at)
        };
        self.equal.iter().filter_map(of).max()
    }
}

impl Replica {
    /// The root of what is held here at a frontier, and of how many documents; none if that can't be told.
    fn root_at(&mut self, namespace: &Namespace, frontier: &Frontier) -> Option<(u64, u64)> {
        if !self.summaries.is_whole() {
            return None;
        }
        let durable = self.durable_frontier(namespace);
        let (beyond, true) = self.summaries.beyond(namespace, frontier, &durable) else {
            return None;
        };
        let offsets = without(&beyond);
        let view = self.summaries.view_with(namespace, &offsets);
        Some((view.root(), view.summary.documents()))
    }

    /// An operator wants to know whether all members hold the same.
    pub(in crate::replica) fn verify(&mut self, now: Now, caller: Caller, namespace: &Namespace) {
        let Some((root, documents)) = self.summaries.root(namespace) else {
            return self.answer(caller, Ticket(0), Err(RequestError::NotReady));
        };
        let mut others = self.peers.by_id.values();
        let is_known = self.history.space(namespace).is_some()
            || self.placements.setting(namespace).is_some()
            || others.any(|peer| peer.holds.contains_key(namespace));
        if !is_known {
            let namespace = namespace.clone();
            let error = RequestError::NamespaceNotFound { namespace };
            return self.answer(caller, Ticket(0), Err(error));
        }
        let mut peers = BTreeMap::new();
        let members = self.peers.by_id.iter();
        let members = members.filter(|(_, peer)| self.is_to_hold(peer, namespace));
        for peer in members.map(|(id, _)| *id).collect::<Vec<_>>() {
            let is_there = self.peers.is_stated(&peer) && self.goes_to(namespace, &peer);
            peers.insert(
                peer,
                match is_there {
                    true => Compared::Silent,
                    false => Compared::Away,
                },
            );
            if is_there {
                self.ask_root(now, peer, namespace, true);
            }
        }
        let operator = Operator {
            caller,
            root,
            documents,
            until_ms: now.mono_ms + VERIFY_MS,
            peers,
        };
        let verifying = &mut self.comparisons.verifying;
        let operators = verifying.operators.entry(namespace.clone()).or_default();
        operators.push(operator);
        self.answer_operators(now, namespace);
    }

    fn ask_root(&mut self, now: Now, peer: ReplicaId, namespace: &Namespace, operator: bool) {
        let Some(root) = self.summaries.root(namespace) else {
            return;
        };
        let number = self.comparisons.next_number();
        let frontier = self.durable_frontier(namespace);
        let positions = frontier.iter().map(|(origin, seq)| (*origin, *seq));
        let message = RepairMessage::AskRoot {
            number,
            namespace: namespace.clone(),
            positions: positions.collect(),
            root: Some(root),
        };
        let asked = Asked {
            peer,
            namespace: namespace.clone(),
            root: root.0,
            frontier,
            until_ms: now.mono_ms + VERIFY_MS,
            operator,
        };
        self.comparisons.verifying.asked.insert(number, asked);
        self.say_of_repair(peer, message);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(super) fn asked_for_root(
        &mut self,
        now: Now,
        peer: ReplicaId,
        link: LinkId,
        number: u64,
        namespace: Namespace,
        positions: Vec<(Origin, Seq)>,
        root: Option<(u64, u64)>,
    ) {
        let question = Question {
            peer,
            link,
            number,
            namespace,
            frontier: positions.into_iter().collect(),
            root,
            until_ms: now.mono_ms + PATIENCE_MS,
        };
        if let Some(question) = self.answer_question(now, question) {
            let questions = &mut self.comparisons.verifying.questions;
            let of_peer = questions.iter().filter(|of| of.peer == peer).count();
            if questions.len() < QUESTIONS_MAX && of_peer < QUESTIONS_OF_ONE_MAX {
                questions.push_back(question);
            }
        }
    }

    /// Answers, or gives the question back if it is too early.
    fn answer_question(&mut self, now: Now, question: Question) -> Option<Question> {
        let held = self.durable_frontier(&question.namespace);
        let number = question.number;
        let late = now.mono_ms >= question.until_ms;
        // What is written here is known here, and what was.
        let written = |origin: &Origin| {
            let left = self.departures.left(&question.namespace, origin);
            held.of(origin).max(left)
        };
        let mut own = question.frontier.iter();
        let forged = own
            .any(|(origin, seq)| origin.replica == self.config.replica && *seq > written(origin));
        let mut positions = question.frontier.iter();
        let covers = match question.root {
            None => positions.all(|(origin, seq)| *seq <= written(origin)),
            Some(_) => held.covers(&question.frontier),
        };
        let may_tell = question.root.is_none() || self.goes_to(&question.namespace, &question.peer);
        if !covers && !late && !forged && may_tell && self.takes_in(&question.namespace) {
            return Some(question);
        }
        let root = match (covers && may_tell, question.root) {
            (false, _) => None,
            (true, None) => Some((0, 0)),
            (true, Some(_)) => self.root_at(&question.namespace, &question.frontier),
        };
        let message = RepairMessage::Root { number, root };
        if self.peers.of_link(question.link) == Some(question.peer) {
            self.say_of_repair(question.peer, message);
        }
        if let (Some(theirs), Some(ours)) = (question.root, root) {
            let Question {
                peer,
                namespace,
                frontier,
                ..
            } = question;
            self.roots_compared(now, peer, &namespace, frontier, theirs.0 == ours.0);
        }
        None
    }

    /// More is durable now: questions may have their answers.
    pub(in crate::replica) fn answer_questions(&mut self, now: Now) {
        for _ in 0..self.comparisons.verifying.questions.len() {
            let Some(question) = self.comparisons.verifying.questions.pop_front() else {
                return;
            };
            if let Some(question) = self.answer_question(now, question) {
                self.comparisons.verifying.questions.push_back(question);
            }
        }
    }

    pub(super) fn root_given(
        &mut self,
        now: Now,
        peer: ReplicaId,
        number: u64,
        root: Option<(u64, u64)>,
    ) {
        if self.confirmed(now, peer, number, root.is_some()) {
            return;
        }
        let asked = self.comparisons.verifying.asked.remove(&number);
        let Some(asked) = asked.filter(|asked| asked.peer == peer) else {
            return;
        };
        let Some((theirs, documents)) = root else {
            return self.note_compared(now, &asked, &Compared::Unknown);
        };
        let equal = theirs == asked.root;
        let compared = match equal {
            true => Compared::Equal { documents },
            false => Compared::Different {
                documents,
                repaired: None,
            },
        };
        let frontier = asked.frontier.clone();
        self.roots_compared(now, peer, &asked.namespace, frontier, equal);
        self.note_compared(now, &asked, &compared);
    }

    fn note_compared(&mut self, now: Now, asked: &Asked, compared: &Compared) {
        let verifying = &mut self.comparisons.verifying;
        if asked.operator {
            let operators = verifying
                .operators
                .entry(asked.namespace.clone())
                .or_default();
            for operator in operators {
                if matches!(compared, Compared::Different { .. }) {
                    operator.until_ms = operator.until_ms.max(now.mono_ms + REPAIR_MS);
                }
                operator.peers.insert(asked.peer, compared.clone());
            }
        }
        let namespace = asked.namespace.clone();
        self.answer_operators(now, &namespace);
    }

    /// At one and the same frontier two replicas are equal, or something is broken.
    fn roots_compared(
        &mut self,
        now: Now,
        peer: ReplicaId,
        namespace: &Namespace,
        frontier: Frontier,
        equal: bool,
    ) {
        if self.history.space(namespace).is_none() {
            // Anybody can make up a name.
            return;
        }
        self.counters.roots_compared += 1;
        let name = (namespace.clone(), peer);
        if equal {
            let noted = (frontier, now.mono_ms);
            self.comparisons.verifying.equal.insert(name, noted);
            return;
        }
        let verifying = &mut self.comparisons.verifying;
        verifying.equal.remove(&name);
        let last = verifying.alarms.get(&name);
        let again = last.is_some_and(|last| now.mono_ms < last + ALARM_EVERY_MS);
        if again || self.comparisons.seeks(namespace) {
            return;
        }
        self.comparisons.verifying.alarms.insert(name, now.mono_ms);
        self.counters.roots_different += 1;
        let notice = Notice::RootsDiffer {
            peer,
            namespace: namespace.clone(),
        };
        self.outputs.push_back(Output::Notice(notice));
        let lack = Lack {
            peer,
            due_ms: now.mono_ms,
            tries: 0,
            turn: 0,
        };
        let lacks = &mut self.comparisons.lacks;
        lacks.entry(namespace.clone()).or_insert(lack);
        self.tick_comparisons(now);
    }

    /// A repair has come to its end, perhaps one that an operator waits for.
    pub(super) fn verified_by_repair(
        &mut self,
        now: Now,
        namespace: &Namespace,
        from: ReplicaId,
        keys: &[Key],
    ) {
        let operators = self.comparisons.verifying.operators.get_mut(namespace);
        for operator in operators.into_iter().flatten() {
            if let Some(Compared::Different { repaired, .. }) = operator.peers.get_mut(&from) {
                *repaired = Some(keys.to_vec());
            }
        }
        self.answer_operators(now, namespace);
    }

    /// Answers operators of whose questions nothing is open.
    fn answer_operators(&mut self, now: Now, namespace: &Namespace) {
        let verifying = &mut self.comparisons.verifying;
        let Some(operators) = verifying.operators.remove(namespace) else {
            return;
        };
        let asked = verifying.asked.values();
        let open: Vec<_> = asked
            .filter(|asked| asked.operator && asked.namespace == *namespace)
            .map(|asked| asked.peer)
            .collect();
        let mut left = Vec::new();
        for operator in operators {
            let waits = operator
                .peers
                .iter()
                .any(|(peer, compared)| match compared {
                    Compared::Silent => open.contains(peer),
                    Compared::Different { repaired, .. } => {
                        repaired.is_none() && self.comparisons.lacks.contains_key(namespace)
                    }
                    Compared::Equal { .. } | Compared::Away | Compared::Unknown => false,
                });
            if waits && now.mono_ms < operator.until_ms {
                left.push(operator);
                continue;
            }
            let peers = operator.peers.into_iter().map(|(replica, compared)| {
                let (name, datacenter) = self.introduce(&replica);
                VerifiedPeer {
                    replica,
                    name,
                    datacenter,
                    compared,
                }
            });
            let verified = Verified {
                namespace: namespace.clone(),
                root: format!("{:016x}", operator.root),
                documents: operator.documents,
                peers: peers.collect(),
            };
            self.answer(operator.caller, Ticket(0), Ok(Reply::Verified(verified)));
        }
        if !left.is_empty() {
            let operators = &mut self.comparisons.verifying.operators;
            operators.insert(namespace.clone(), left);
        }
    }

    pub(super) fn tick_verifying(&mut self, now: Now) {
        if self.comparisons.verifying.wake_at() > now.mono_ms {
            return;
        }
        self.answer_questions(now);
        let late = |asked: &Asked| asked.until_ms <= now.mono_ms;
        self.comparisons
            .verifying
            .asked
            .retain(|_, asked| !late(asked));
        let namespaces = self.comparisons.verifying.operators.keys();
        for namespace in namespaces.cloned().collect::<Vec<_>>() {
            self.answer_operators(now, &namespace);
        }
        let due = |due: &mut u64| *due <= now.mono_ms;
        if self.comparisons.verifying.due_ms.take_if(due).is_some() {
            self.compare_in_the_background(now);
        }
    }

    /// Compares with one peer, in turn, what has changed since it was last found to be equal.
    fn compare_in_the_background(&mut self, now: Now) {
        if !self.summaries.is_whole() {
            return self.comparisons.verifying.stir(now);
        }
        let linked: Vec<_> = self
            .peers
            .linked()
            .into_iter()
            .filter(|peer| self.peers.is_stated(peer))
            .collect();
        let last = self.comparisons.verifying.last_peer;
        let next = linked.iter().find(|peer| Some(**peer) > last);
        let Some(peer) = next.or(linked.first()).copied() else {
            return;
        };
        self.comparisons.verifying.last_peer = Some(peer);
        let spaces = self.history.spaces();
        let spaces: Vec<_> = spaces
            .map(|(namespace, space)| (namespace.clone(), space.durable.clone()))
            .collect();
        for (namespace, durable) in spaces {
            if !self.takes_in(&namespace) {
                continue;
            }
            let fits = |peer: &&ReplicaId| self.goes_to(&namespace, peer);
            let linked: Vec<_> = linked.iter().filter(fits).collect();
            let is_known = |peer: &ReplicaId| {
                let name = (namespace.clone(), *peer);
                let known = self.comparisons.verifying.equal.get(&name);
                known.is_some_and(|(frontier, _)| *frontier == durable)
            };
            let known = is_known(&peer) || !linked.contains(&&peer);
            let all_known = linked.iter().all(|peer| is_known(peer));
            if !all_known {
                // Until each has been found to hold the same.
                self.comparisons.verifying.stir(now);
            }
            if !known {
                self.ask_root(now, peer, &namespace, false);
            }
        }
    }

    /// The store failed: operators are told.
    pub(in crate::replica) fn stop_verifying(&mut self, error: &str) {
        let operators = std::mem::take(&mut self.comparisons.verifying.operators);
        for operator in operators.into_values().flatten() {
            let error = RequestError::Store(error.to_owned());
            self.answer(operator.caller, Ticket(0), Err(error));
        }
    }
}

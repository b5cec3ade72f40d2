//! Documents that can't be read from the disk, fetched again from other replicas.
//!
//! The store names a run of documents that it can't read. A peer that holds everything that was durable here when
//! that was found is asked for its documents of that run, and says at which frontier they are. Once this replica has
//! come to the same frontier itself, so that nobody sees a batch before its time, they take the place of what was
//! lost. Changes that came here meanwhile were kept beside them.

use std::collections::{BTreeMap, BTreeSet};

use super::Replica;
use crate::document::Document;
use crate::effect::{LinkId, Notice, Now, Output};
use crate::message::{Given, Message, Section};
use crate::persist::{DocumentRange, Fetch, Fold, Repair, StoredDocument};
use crate::{DocumentId, Frontier, Namespace, Origin, ReplicaId, Seq, limits};

/// Most runs of documents that are remembered as damaged.
const RANGES_MAX: usize = 1_024;
/// Without an answer for this long, somebody else is asked.
const PATIENCE_MS: u64 = 5_000;
/// When nobody could be asked, or what came was of no use, it is tried again after this long.
const RETRY_MS: u64 = 1_000;
/// Questions of peers that are answered at once.
const ANSWERS_MAX: usize = 16;
/// How often a page is read again because documents were folded under it.
const REREADS_MAX: u8 = 8;

/// A run of documents that can't be read.
struct Damage {
    range: DocumentRange,
    what: String,
    /// What was durable here when it was found, or when changes were last begun to be folded: whoever has all of it
    /// has all that was lost, and all that a repair would take the place of.
    lost_by: BTreeMap<Namespace, Frontier>,
    step: Step,
}

impl Damage {
    /// Whether somebody who is there has all that is wanted.
    fn is_in(&self, frontiers: &[Section]) -> bool {
        let held = |namespace: &Namespace, origin: &Origin| {
            let section = frontiers.iter().find(|(named, _)| named == namespace);
            let mut positions = section.into_iter().flat_map(|(_, positions)| positions);
            positions
                .find(|(named, _)| named == origin)
                .map_or(Seq(0), |(_, seq)| *seq)
        };
        self.lost_by.iter().all(|(namespace, frontier)| {
            let mut positions = frontier.iter();
            positions.all(|(origin, seq)| held(namespace, origin) >= *seq)
        })
    }
}

enum Step {
    /// Somebody is asked at that time.
    Wait { until_ms: u64 },
    Asked {
        number: u64,
        peer: ReplicaId,
        until_ms: u64,
    },
    /// The documents are here; this replica must have come so far before they may be shown.
    Come {
        peer: ReplicaId,
        frontiers: Vec<Section>,
        documents: Vec<(DocumentId, StoredDocument)>,
    },
    /// They are on their way to the store.
    Folded { peer: ReplicaId, documents: usize },
}

/// A question of a peer's that the store is being asked.
pub(super) struct Asking {
    peer: ReplicaId,
    link: LinkId,
    number: u64,
    range: DocumentRange,
    /// Folds that had ended when the store was asked.
    folds: u64,
    rereads: u8,
}

#[derive(Default)]
pub(super) struct Repairs {
    damage: Vec<Damage>,
    asked: u64,
    last_peer: Option<ReplicaId>,
    answering: usize,
}

impl Repairs {
    /// What is damaged, for people.
    pub(super) fn open(&self) -> Vec<String> {
        let what = self.damage.iter().map(|damage| damage.what.clone());
        what.collect()
    }

    pub(super) fn wake_at(&self) -> u64 {
        let due = self.damage.iter().map(|damage| match damage.step {
            Step::Wait { until_ms } | Step::Asked { until_ms, .. } => until_ms,
            // Both end with something that comes in.
            Step::Come { .. } | Step::Folded { .. } => u64::MAX,
        });
        due.min().unwrap_or(u64::MAX)
    }
}

/// The namespaces that a range may have documents of.
fn spans(range: &DocumentRange, namespace: &Namespace) -> bool {
    let from = range.from.as_ref().map(|id| &id.namespace);
    let before = range.before.as_ref().map(|id| &id.namespace);
    from.is_none_or(|from| namespace >= from) && before.is_none_or(|before| namespace <= before)
}

impl Replica {
    fn durable_in(&self, range: &DocumentRange) -> BTreeMap<Namespace, Frontier> {
        let spaces = self.history.spaces();
        spaces
            .filter(|(namespace, _)| spans(range, namespace))
            .map(|(namespace, space)| (namespace.clone(), space.durable.clone()))
            .collect()
    }

    pub(super) fn documents_damaged(&mut self, now: Now, range: DocumentRange, what: String) {
        let mut damage = self.repairs.damage.iter();
        if damage.any(|damage| damage.range == range) || self.repairs.damage.len() >= RANGES_MAX {
            return;
        }
        self.repairs.damage.push(Damage {
            lost_by: self.durable_in(&range),
            range: range.clone(),
            what: what.clone(),
            step: Step::Wait {
                until_ms: now.mono_ms,
            },
        });
        let notice = Notice::DocumentsDamaged { range, what };
        self.outputs.push_back(Output::Notice(notice));
        self.tick_repairs(now);
    }

    /// Changes are about to be folded, perhaps into what was damaged and can be read again. What is put in its place
    /// must have them.
    pub(super) fn repairs_need_all_so_far(&mut self) {
        for index in 0..self.repairs.damage.len() {
            let lost_by = self.durable_in(&self.repairs.damage[index].range);
            self.repairs.damage[index].lost_by = lost_by;
        }
    }

    /// Namespaces have come or gone: what is asked for is another thing now.
    pub(super) fn damage_looked_at_anew(&mut self, now: Now) {
        self.repairs_need_all_so_far();
        for damage in &mut self.repairs.damage {
            if matches!(damage.step, Step::Asked { .. } | Step::Come { .. }) {
                let until_ms = now.mono_ms + RETRY_MS;
                damage.step = Step::Wait { until_ms };
            }
        }
    }

    pub(super) fn tick_repairs(&mut self, now: Now) {
        if self.failed.is_some() {
            return;
        }
        for index in 0..self.repairs.damage.len() {
            let due = match self.repairs.damage[index].step {
                Step::Wait { until_ms } | Step::Asked { until_ms, .. } => until_ms <= now.mono_ms,
                Step::Come { .. } | Step::Folded { .. } => false,
            };
            if due {
                self.ask_for_documents(now, index);
            }
        }
    }

    /// Asks the next peer that has all that was lost.
    fn ask_for_documents(&mut self, now: Now, index: usize) {
        let damage = &self.repairs.damage[index];
        let has_all = |peer: &ReplicaId| {
            let held = |namespace, origin| self.peers.by_id[peer].holds(namespace, origin);
            damage.lost_by.iter().all(|(namespace, frontier)| {
                let mut positions = frontier.iter();
                positions.all(|(origin, seq)| held(namespace, origin) >= *seq)
            })
        };
        let fit: Vec<_> = self
            .peers
            .linked()
            .into_iter()
            .filter(|peer| self.peers.is_stated(peer) && has_all(peer))
            .collect();
        let after = self.repairs.last_peer;
        let next = fit.iter().find(|peer| Some(**peer) > after).or(fit.first());
        let link = next
            .copied()
            .and_then(|peer| Some((peer, self.peers.session(peer)?.link)));
        let Some((peer, link)) = link else {
            let until_ms = now.mono_ms + RETRY_MS;
            self.repairs.damage[index].step = Step::Wait { until_ms };
            return;
        };
        self.repairs.asked += 1;
        let number = self.repairs.asked;
        self.repairs.last_peer = Some(peer);
        let damage = &mut self.repairs.damage[index];
        damage.step = Step::Asked {
            number,
            peer,
            until_ms: now.mono_ms + PATIENCE_MS,
        };
        let range = damage.range.clone();
        self.say(peer, link, &Message::Ask { number, range });
    }

    /// A peer asks for documents.
    pub(super) fn asked_for_documents(
        &mut self,
        peer: ReplicaId,
        link: LinkId,
        number: u64,
        range: DocumentRange,
    ) {
        // Whoever is not answered asks again.
        if self.repairs.answering >= ANSWERS_MAX {
            return;
        }
        self.repairs.answering += 1;
        self.read_range(Asking {
            peer,
            link,
            number,
            range,
            folds: 0,
            rereads: 0,
        });
    }

    fn read_range(&mut self, mut asking: Asking) {
        asking.folds = self.folding.ended;
        let fetch = Fetch::Range {
            range: asking.range.clone(),
            bytes_max: limits::REPAIR_BYTES_MAX,
        };
        self.fetch(fetch, super::Awaited::Range(asking));
    }

    pub(super) fn range_fetched(
        &mut self,
        mut asking: Asking,
        stored: Option<(Vec<(DocumentId, StoredDocument)>, bool)>,
    ) {
        // What was folded since may be missing in the answer, and is not in memory any more.
        let stale = asking.folds != self.folding.ended;
        if stale && asking.rereads < REREADS_MAX {
            asking.rereads += 1;
            return self.read_range(asking);
        }
        self.repairs.answering = self.repairs.answering.saturating_sub(1);
        // What is not in its place yet can't be given.
        let stale = stale || self.imports.has_pending();
        let whole = stored.filter(|(_, more)| !more && !stale);
        // What may not go there, or is on its way out, is left out with its frontier: who holds it sees that it is missing.
        let held = self.durable_in(&asking.range);
        let given = |namespace: &Namespace| {
            let is_here = held.contains_key(namespace) && self.departures.is_at_rest(namespace);
            is_here && self.goes_to(namespace, &asking.peer)
        };
        let given: BTreeSet<_> = held.keys().filter(|of| given(of)).cloned().collect();
        let documents = whole.map(|(documents, _)| {
            let mut documents = self.with_unfolded(&asking.range, documents);
            documents.retain(|(id, _)| given.contains(&id.namespace));
            documents
        });
        let bytes = |documents: &Vec<(DocumentId, StoredDocument)>| -> usize {
            documents.iter().map(|(_, stored)| stored.bytes()).sum()
        };
        let documents = documents.filter(|found| bytes(found) <= limits::REPAIR_BYTES_MAX);
        let frontiers = held.into_iter().filter(|(of, _)| given.contains(of));
        let frontiers = frontiers.map(|(namespace, frontier)| {
            let positions = frontier.iter().map(|(origin, seq)| (*origin, *seq));
            (namespace, positions.collect())
        });
        let given = Given {
            number: asking.number,
            frontiers: frontiers.collect(),
            documents,
        };
        self.say(asking.peer, asking.link, &Message::Given(given));
    }

    /// Lays what is durable and not in the store's documents yet over them.
    fn with_unfolded(
        &mut self,
        range: &DocumentRange,
        stored: Vec<(DocumentId, StoredDocument)>,
    ) -> Vec<(DocumentId, StoredDocument)> {
        let mut documents: BTreeMap<_, _> = stored.into_iter().collect();
        let durable = self.history.durable_end;
        for (id, changes) in self.shelf.unfolded_in(range, durable) {
            let document = documents.entry(id).or_default();
            document.changes.extend(changes);
            document.present = None;
        }
        documents.into_iter().collect()
    }

    /// A peer has answered.
    pub(super) fn documents_given(&mut self, now: Now, from: ReplicaId, given: Given) {
        let asked = self.repairs.damage.iter_mut().find(|damage| {
            matches!(damage.step, Step::Asked { number, peer, .. } if number == given.number && peer == from)
        });
        let Some(damage) = asked else { return };
        let mut given = given;
        // What is not placed here is not to come back by this way.
        let (placements, own) = (&self.placements, self.config.datacenter.as_str());
        let held = |namespace: &Namespace| {
            placements.is_in(namespace, own) || damage.lost_by.contains_key(namespace)
        };
        given.frontiers.retain(|(namespace, _)| held(namespace));
        let frontiers = &given.frontiers;
        let of = |id: &DocumentId| {
            frontiers
                .iter()
                .any(|(namespace, _)| *namespace == id.namespace)
        };
        if let Some(documents) = &mut given.documents {
            documents.retain(|(id, _)| of(id));
        }
        let has_all = damage.is_in(&given.frontiers);
        let origin = &self.origin;
        let range = &damage.range;
        let usable = given.documents.filter(|documents| {
            let rising = documents.is_sorted_by(|(a, _), (b, _)| a < b);
            let all = documents.iter().all(|(id, stored)| {
                range.contains(id) && Document::of_stored(origin, Some(stored)).is_ok()
            });
            has_all && rising && all
        });
        damage.step = match usable {
            Some(documents) => Step::Come {
                peer: from,
                frontiers: given.frontiers,
                documents,
            },
            None => Step::Wait {
                until_ms: now.mono_ms + RETRY_MS,
            },
        };
        self.tick_folding(now);
    }

    /// Documents that have come, and whose time has.
    pub(super) fn repair_in(&mut self, now: Now, fold: &mut Fold) -> bool {
        let history = &self.history;
        let is_due = |damage: &&mut Damage| match &damage.step {
            Step::Come { frontiers, .. } => frontiers.iter().all(|(namespace, positions)| {
                let mut positions = positions.iter();
                positions.all(|(origin, seq)| history.durable(namespace, origin) >= *seq)
            }),
            Step::Wait { .. } | Step::Asked { .. } | Step::Folded { .. } => false,
        };
        let Some(damage) = self.repairs.damage.iter_mut().find(is_due) else {
            return false;
        };
        let until_ms = now.mono_ms + RETRY_MS;
        let Step::Come {
            peer,
            frontiers,
            documents,
        } = std::mem::replace(&mut damage.step, Step::Wait { until_ms })
        else {
            return false;
        };
        if !damage.is_in(&frontiers) {
            // Something was folded since, perhaps into what can be read again.
            return false;
        }
        damage.step = Step::Folded {
            peer,
            documents: documents.len(),
        };
        fold.repair = Some(Repair {
            range: damage.range.clone(),
            documents,
        });
        true
    }

    /// Whether documents have come that wait for their time.
    pub(super) fn has_repairs(&self) -> bool {
        let mut damage = self.repairs.damage.iter();
        damage.any(|damage| matches!(damage.step, Step::Come { .. }))
    }

    /// The fold that carried them has ended.
    pub(super) fn repaired(&mut self, now: Now, done: bool) {
        let mut open = Vec::new();
        for mut damage in std::mem::take(&mut self.repairs.damage) {
            let Step::Folded { peer, documents } = damage.step else {
                open.push(damage);
                continue;
            };
            if done {
                let notice = Notice::DocumentsRepaired {
                    range: damage.range,
                    peer,
                    documents,
                };
                self.outputs.push_back(Output::Notice(notice));
                self.counters.documents_repaired += documents as u64;
                if self.summaries.is_incomplete() {
                    self.count_anew(now);
                }
                self.salvage.stir(now);
            } else {
                let until_ms = now.mono_ms + RETRY_MS;
                damage.step = Step::Wait { until_ms };
                open.push(damage);
            }
        }
        self.repairs.damage = open;
    }
}

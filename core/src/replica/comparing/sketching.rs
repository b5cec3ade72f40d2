//! Finding what differs in one round trip, by sketches: how much that is the seeker's counters tell the source, which sends a sketch
//! that is wide enough; the seeker takes its own off it, and has the documents that differ. If that fails, digests find them.

use std::collections::BTreeMap;

use super::giving::Giving;
use super::seeker::Attempt;
use super::source::Asked;
use super::{Replica, SOURCE_PATIENCE_MS};
use crate::effect::Now;
use crate::repair_message::{Reason, RepairMessage};
use crate::summary::{Cell, Offsets, View, estimate, width_for, width_of};
use crate::{Namespace, ReplicaId, limits};

/// Of fewer documents all are told with as few bytes by digests.
const DOCUMENTS_MIN: u64 = 32;
/// If more than one in so many differs, digests cost less.
const DIFFERING_SHARE: u64 = 4;

/// The cells to send to a seeker. None: digests are better.
pub(super) fn sketch_for(view: View<'_>, asked: &Asked) -> Option<Vec<Cell>> {
    if asked.whole || asked.counters.is_empty() {
        return None;
    }
    let differing = estimate(&view.counters(), &asked.counters)?;
    let documents = view.summary.documents().max(asked.documents);
    if differing.checked_mul(DIFFERING_SHARE)? > documents {
        return None;
    }
    Some(view.sketch(width_for(differing)?).cells().to_vec())
}

impl Replica {
    /// What tells a source how much differs; nothing if there is little here anyway.
    pub(super) fn counters_of(&mut self, namespace: &Namespace, documents: u64) -> Vec<i16> {
        if documents < DOCUMENTS_MIN {
            return Vec::new();
        }
        let offsets = self.imports.offsets(namespace);
        self.summaries.view_with(namespace, &offsets).counters()
    }

    /// The source has sent a sketch: asks for what differs from one's own.
    pub(super) fn sketch_given(
        &mut self,
        now: Now,
        namespace: &Namespace,
        offsets: &Offsets,
        cells: &[Cell],
    ) {
        let Some(seeker) = self.comparisons.seeking.get_mut(namespace) else {
            return;
        };
        let (peer, number) = (seeker.peer, seeker.number);
        let Some(width) = width_of(cells.len()).filter(|_| seeker.offers_sketch) else {
            let why = "its sketch is as wide as none, or was not asked for";
            return self.distrust(now, peer, namespace, why);
        };
        let view = self.summaries.view_with(namespace, offsets);
        let differing = view.sketch(width).differing(cells);
        // None although roots differ: what differs in one document is what differs in another.
        let Some(mut prefixes) = differing.filter(|found| !found.is_empty()) else {
            return self.seek_by_digests(now, namespace);
        };
        while prefixes.len() > limits::NODES_MAX {
            // What is left is found by the comparison after this one.
            prefixes.pop_last();
        }
        let mut sums = Vec::with_capacity(prefixes.len());
        for prefix in &prefixes {
            let leaves = view.with_prefix(*prefix);
            seeker.said.extend(leaves.iter().copied());
            // Of two that begin alike the source can't make anything of this, and asks for heads.
            let sum = leaves
                .iter()
                .fold(0, |all: u64, (_, sum)| all.wrapping_add(*sum));
            sums.push(sum);
        }
        seeker.said_all = true;
        let prefixes = prefixes.into_iter().collect();
        let message = RepairMessage::Sums {
            number,
            prefixes,
            sums,
        };
        self.say_as_seeker(namespace, peer, message);
    }

    /// The sketch does not tell what differs.
    fn seek_by_digests(&mut self, now: Now, namespace: &Namespace) {
        self.counters.sketches_failed += 1;
        let Some(seeker) = self.comparisons.seeking.get(namespace) else {
            return;
        };
        let (peer, number) = (seeker.peer, seeker.number);
        let again = Attempt {
            by_digests: true,
            ..seeker.attempt.clone()
        };
        self.end_comparison(peer, number, Reason::Outdated);
        self.seek_from(now, namespace, peer, again);
    }

    /// The seeker says what it has of the documents that differ.
    pub(super) fn source_shown_sums(
        &mut self,
        now: Now,
        peer: ReplicaId,
        number: u64,
        prefixes: &[u64],
        sums: &[u64],
    ) {
        let Some(source) = self.comparisons.serving.get_mut(&(peer, number)) else {
            return self.end_comparison(peer, number, Reason::Unknown);
        };
        source.until_ms = now.mono_ms + SOURCE_PATIENCE_MS;
        if !std::mem::take(&mut source.is_sketched) {
            return self.refuse_seeker(peer, number);
        }
        let view = self.summaries.view_with(&source.namespace, &source.offsets);
        let mut theirs = BTreeMap::new();
        for (prefix, their_sum) in prefixes.iter().zip(sums) {
            let leaves = view.with_prefix(*prefix).into_iter();
            let differing = leaves.filter(|(_, sum)| sum != their_sum);
            theirs.extend(differing.map(|(place, _)| (place, *their_sum)));
        }
        if self.planted_overlook_difference() {
            theirs.pop_last();
        }
        self.begin_giving(now, peer, number, Giving::by_sums(theirs));
    }
}

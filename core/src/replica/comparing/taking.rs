//! What a source gives: looked at, put into the log, and asked about where its sums do not tell.

use super::giving::sum_of_changes;
use super::seeker::Seeker;
use super::{Replica, SEEKER_PATIENCE_MS};
use crate::document::{is_whole, sum_of_piece};
use crate::effect::Now;
use crate::persist::Place;
use crate::record::Imported;
use crate::repair_message::{GivenDocument, GivenReceipt, Reason, RepairMessage};
use crate::replica::documents::Job;
use crate::summary::term_of_change;
use crate::{DocumentId, Key, Namespace, ReplicaId, limits};

/// One message with documents.
pub(super) struct Part {
    pub(super) part: u64,
    pub(super) documents: Vec<GivenDocument>,
    pub(super) receipts: Vec<GivenReceipt>,
    /// Those of which the source needs the heads.
    pub(super) unclear: Vec<Key>,
    pub(super) last: bool,
}

impl Replica {
    /// Documents have come.
    pub(super) fn part_given(&mut self, now: Now, peer: ReplicaId, number: u64, given: Part) {
        let Part {
            part,
            documents,
            receipts,
            unclear,
            last,
        } = given;
        let Some(namespace) = self.sought(now, peer, number) else {
            return self.end_comparison(peer, number, Reason::Unknown);
        };
        let Some(seeker) = self.comparisons.seeking.get_mut(&namespace) else {
            return;
        };
        if seeker.cut.is_empty() || seeker.all_given || part != seeker.next_part {
            return self.give_up(now, &namespace);
        }
        seeker.next_part += 1;
        let mut imported = Vec::new();
        let mut bytes = 0;
        for given in documents {
            bytes += given.pieces.iter().map(bytes::Bytes::len).sum::<usize>();
            match weigh(seeker, &namespace, given) {
                Ok(document) if document.pieces.is_empty() => {}
                Ok(document) => imported.push(document),
                Err(why) => return self.distrust(now, peer, &namespace, &why),
            }
        }
        let documents = imported.len() as u64;
        let keys: Vec<Key> = imported
            .iter()
            .map(|imported| imported.key.clone())
            .collect();
        bytes += receipts
            .iter()
            .map(|receipt| receipt.answer.len() + 24)
            .sum::<usize>();
        let lsn = (!imported.is_empty() || !receipts.is_empty())
            .then(|| self.import(namespace.clone(), imported, receipts));
        let Some(seeker) = self.comparisons.seeking.get_mut(&namespace) else {
            return;
        };
        seeker.learnt += documents;
        seeker.attempt.status.documents += documents;
        seeker.attempt.status.bytes_documents += bytes as u64;
        if seeker.keys.len() < limits::ARRIVED_KEYS_MAX {
            seeker.keys.extend(keys);
        }
        match lsn {
            Some(lsn) => {
                seeker.unsettled.insert(lsn, part);
            }
            None => {
                let message = RepairMessage::Taken { number, part };
                self.say_of_repair(peer, message);
            }
        }
        if !last {
            return;
        }
        let seeker = self.comparisons.seeking.get_mut(&namespace);
        if let Some(seeker) = seeker {
            seeker.all_given = unclear.is_empty();
            seeker.heads_wanted = unclear.iter().cloned().collect();
        }
        for id in Self::ids(&namespace, &unclear) {
            self.with_document(now, &id, Job::Heads(number));
        }
        self.conclude(now, &namespace);
    }

    /// A document is loaded whose heads the source wants to know. None: it can't be read.
    pub(in crate::replica) fn heads_known(
        &mut self,
        now: Now,
        id: &DocumentId,
        number: u64,
        known: Option<(Vec<u64>, Vec<u64>)>,
    ) {
        let mut seeking = self.comparisons.seeking.iter_mut();
        let Some((namespace, seeker)) = seeking.find(|(_, seeker)| seeker.number == number) else {
            return;
        };
        let (namespace, peer) = (namespace.clone(), seeker.peer);
        if !seeker.heads_wanted.remove(&id.key) {
            return;
        }
        seeker.until_ms = now.mono_ms + SEEKER_PATIENCE_MS;
        if let Some((heads, terms)) = known {
            seeker.heads_known.push((id.key.clone(), heads));
            let known = seeker.terms.entry(Place::of(id)).or_default();
            known.extend(terms);
        }
        if seeker.heads_wanted.is_empty() {
            let documents = std::mem::take(&mut seeker.heads_known);
            self.say_as_seeker(&namespace, peer, RepairMessage::Heads { number, documents });
        }
    }
}

/// Looks at what was given of a document before it is let in anywhere: it must be what it is said to be.
fn weigh(
    seeker: &mut Seeker,
    namespace: &Namespace,
    given: GivenDocument,
) -> Result<Imported, String> {
    let place = Place::of(&Replica::address(namespace, &given.key));
    let said = seeker.said_of(place);
    let mut total = 0_u64;
    let mut given = given;
    let is_all = given.pieces.iter().any(|piece| is_whole(piece));
    let mut told = seeker.terms.get_mut(&place).filter(|_| !is_all);
    if let Some(known) = &mut told {
        // The source does not know of all that is here.
        given
            .pieces
            .retain(|piece| known.insert(term_of_change(piece)));
    }
    for piece in &given.pieces {
        let sum = sum_of_piece(piece)
            .map_err(|why| format!("what it gave of a document is none: {why}"))?;
        total = total.wrapping_add(sum);
    }
    let amount = match given.sum.filter(|_| told.is_none()) {
        Some(sum) => {
            let fits = match &given.pieces[..] {
                [piece] if is_whole(piece) => total == sum,
                changes => sum_of_changes(changes).wrapping_add(said) == sum,
            };
            if !fits {
                return Err("what it gave of a document is not what its summary says".to_owned());
            }
            sum.wrapping_sub(said)
        }
        None => total,
    };
    Ok(Imported {
        key: given.key,
        amount,
        pieces: given.pieces,
    })
}

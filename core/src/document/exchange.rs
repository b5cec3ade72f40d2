//! What one replica gives another of a document: whole, or the changes that the other one lacks.
//!
//! A whole document is automerge's own saved form without its compression: that inflates without a limit, so it is not
//! taken from anybody. What is sent is compressed by the frame that carries it, and measured before it is loaded. The form is
//! that of <https://automerge.org/automerge-binary-format-spec/>.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{AutoCommit, ChangeHash, LoadOptions, TextEncoding};
use bytes::Bytes;

use super::Document;
use super::intake::{CHUNK_DOCUMENT, Cursor, MAGIC, guarded, parse, rows};
use crate::limits;
use crate::summary::{term, term_of_change};

/// Set in the name of a column that is compressed.
const COLUMN_COMPRESSED: u64 = 0x08;
const COLUMN_ACTOR: u64 = 0x01;
const COLUMN_DEPENDENCIES: u64 = 0x40;
const COLUMN_ACTION: u64 = 0x42;
const COLUMN_SUCCESSORS: u64 = 0x80;

/// The first bytes of a change's hash: enough to tell the changes of one document apart.
pub(crate) type HashStart = u64;

impl Document {
    /// The sum over all of its changes.
    pub(crate) fn sum(&mut self) -> u64 {
        let terms = self.terms();
        terms.into_iter().fold(0, u64::wrapping_add)
    }

    /// What each of its changes adds to its sum.
    pub(crate) fn terms(&mut self) -> Vec<u64> {
        let changes = self.doc.get_changes_meta(&[]);
        changes.iter().map(|change| term(&change.hash.0)).collect()
    }

    /// Of some terms those of changes that it has.
    pub(crate) fn terms_among(&mut self, some: &BTreeSet<u64>) -> Vec<u64> {
        if some.is_empty() {
            return Vec::new();
        }
        let terms = self.terms();
        terms
            .into_iter()
            .filter(|term| some.contains(term))
            .collect()
    }

    /// The starts of the hashes of its latest changes.
    pub(crate) fn head_starts(&mut self) -> Vec<HashStart> {
        let heads = self.doc.get_heads();
        heads.iter().map(|head| term(&head.0)).collect()
    }

    /// All of it, in a form that others accept.
    pub(crate) fn whole(&mut self) -> Bytes {
        self.doc.save_nocompress().into()
    }

    /// The changes that somebody lacks who has a set of changes with this sum, some of our own left out of account.
    /// None if that can't be told: then they have to say more.
    ///
    /// Whoever lacks something mostly lacks the end of the history, or the end of what one origin has written, or one or
    /// two changes: that can be read off the difference of the sums.
    pub(crate) fn lacking(&mut self, their_sum: u64, beyond: &BTreeSet<u64>) -> Option<Vec<Bytes>> {
        let changes = self.doc.get_changes_meta(&[]);
        let ours = changes
            .iter()
            .map(|change| (change.hash, change.actor.to_bytes().to_vec()))
            .filter(|(hash, _)| !beyond.contains(&term(&hash.0)));
        let ours: Vec<(ChangeHash, Vec<u8>)> = ours.collect();
        let total = ours.iter().map(|(hash, _)| term(&hash.0));
        let missing = total.fold(0, u64::wrapping_add).wrapping_sub(their_sum);
        let hashes: Vec<ChangeHash> = ours.iter().map(|(hash, _)| *hash).collect();
        let found = match () {
            () if missing == 0 => Some(Vec::new()),
            () if their_sum == 0 => Some(hashes),
            () => ending(&hashes, missing)
                .or_else(|| ending_of_one(&ours, missing))
                .or_else(|| one_or_two(&hashes, missing)),
        }?;
        Some(self.encoded(&found))
    }

    /// The changes that somebody lacks who has these, and what they build on.
    pub(crate) fn lacking_after(
        &mut self,
        heads: &[HashStart],
        beyond: &BTreeSet<u64>,
    ) -> Vec<Bytes> {
        let heads: BTreeSet<_> = heads.iter().collect();
        let changes = self.doc.get_changes_meta(&[]);
        let mut held: BTreeSet<ChangeHash> = BTreeSet::new();
        // A change comes after all that it builds on, so going backwards each is known when its turn comes.
        for change in changes.iter().rev() {
            if held.contains(&change.hash) || heads.contains(&term(&change.hash.0)) {
                held.insert(change.hash);
                held.extend(change.deps.iter().copied());
            }
        }
        let lacking = changes.iter().map(|change| change.hash);
        let lacking: Vec<_> = lacking
            .filter(|hash| !held.contains(hash) && !beyond.contains(&term(&hash.0)))
            .collect();
        self.encoded(&lacking)
    }

    fn encoded(&mut self, hashes: &[ChangeHash]) -> Vec<Bytes> {
        let changes = hashes
            .iter()
            .filter_map(|hash| self.doc.get_change_by_hash(hash));
        changes
            .map(|change| Bytes::copy_from_slice(change.raw_bytes()))
            .collect()
    }
}

/// The last ones that add up to it.
fn ending(hashes: &[ChangeHash], sum: u64) -> Option<Vec<ChangeHash>> {
    let mut left = sum;
    for (at, hash) in hashes.iter().enumerate().rev() {
        left = left.wrapping_sub(term(&hash.0));
        if left == 0 {
            return Some(hashes[at..].to_vec());
        }
    }
    None
}

/// The last ones of a single origin that add up to it.
fn ending_of_one(changes: &[(ChangeHash, Vec<u8>)], sum: u64) -> Option<Vec<ChangeHash>> {
    let mut by_actor: BTreeMap<&[u8], Vec<ChangeHash>> = BTreeMap::new();
    for (hash, actor) in changes {
        by_actor.entry(actor).or_default().push(*hash);
    }
    by_actor.values().find_map(|hashes| ending(hashes, sum))
}

/// One or two that add up to it.
fn one_or_two(hashes: &[ChangeHash], sum: u64) -> Option<Vec<ChangeHash>> {
    let terms: BTreeMap<u64, ChangeHash> =
        hashes.iter().map(|hash| (term(&hash.0), *hash)).collect();
    if let Some(hash) = terms.get(&sum) {
        return Some(vec![*hash]);
    }
    hashes.iter().find_map(|hash| {
        let other = terms.get(&sum.wrapping_sub(term(&hash.0)))?;
        let mut both = vec![*hash, *other];
        // In the order of the history.
        both.sort_by_key(|hash| hashes.iter().position(|known| known == hash));
        (hash != other).then_some(both)
    })
}

/// Whether this is a whole document, and not a change.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    bytes.get(..4) == Some(&MAGIC) && bytes.get(8) == Some(&CHUNK_DOCUMENT)
}

/// Whether a saved state may be given to others as it is.
pub(crate) fn is_acceptable(state: &[u8]) -> bool {
    measure_whole(state).is_some_and(|size| size <= limits::DOCUMENT_OPS_MAX)
}

/// Loads a whole document, unless it is over a limit.
pub(super) fn load_whole(bytes: &[u8]) -> Result<AutoCommit, String> {
    let size = measure_whole(bytes).ok_or("not an uncompressed automerge document")?;
    if size > limits::DOCUMENT_OPS_MAX {
        return Err(format!(
            "{size} operations in one document, {} is the limit for one that comes from elsewhere",
            limits::DOCUMENT_OPS_MAX
        ));
    }
    let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
    AutoCommit::load_with_options(bytes, options).map_err(|error| error.to_string())
}

/// What a piece that came from a peer adds to a document's sum, once it is certain that it can be taken in.
///
/// # Errors
/// When it can't be read, or is over a limit.
pub(crate) fn sum_of_piece(piece: &Bytes) -> Result<u64, String> {
    if is_whole(piece) {
        return guarded(|| {
            let mut doc = load_whole(piece)?;
            let changes = doc.get_changes_meta(&[]);
            let terms = changes.iter().map(|change| term(&change.hash.0));
            Ok(terms.fold(0, u64::wrapping_add))
        });
    }
    guarded(|| parse(piece).map(|_| term_of_change(piece)))
}

/// How many operations, successors, changes or dependencies a saved document has, whichever are most; none if it is
/// not one, or is compressed.
fn measure_whole(bytes: &[u8]) -> Option<u64> {
    let mut cursor = Cursor(bytes);
    if cursor.take(4)? != MAGIC {
        return None;
    }
    cursor.take(4)?;
    if cursor.take(1)? != [CHUNK_DOCUMENT] {
        return None;
    }
    if cursor.unsigned()? != cursor.0.len() as u64 {
        return None;
    }
    for _ in 0..cursor.unsigned()? {
        cursor.sized()?; // an actor
    }
    let heads = cursor.unsigned()?;
    cursor.take(heads.checked_mul(32)?)?;
    let changes = columns(&mut cursor)?;
    let operations = columns(&mut cursor)?;
    let mut most = 0;
    for (spec, len) in changes {
        let column = cursor.take(len)?;
        most = most.max(match spec {
            COLUMN_ACTOR => rows(column, false)?,
            COLUMN_DEPENDENCIES => rows(column, true)?,
            _ => 0,
        });
    }
    for (spec, len) in operations {
        let column = cursor.take(len)?;
        most = most.max(match spec {
            COLUMN_ACTION => rows(column, false)?,
            COLUMN_SUCCESSORS => rows(column, true)?,
            _ => 0,
        });
    }
    Some(most)
}

/// Names and lengths of columns; none if one is compressed.
fn columns(cursor: &mut Cursor<'_>) -> Option<Vec<(u64, u64)>> {
    let mut columns = Vec::new();
    for _ in 0..cursor.unsigned()? {
        let (spec, len) = (cursor.unsigned()?, cursor.unsigned()?);
        if spec & COLUMN_COMPRESSED != 0 {
            return None;
        }
        columns.push((spec, len));
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use automerge::transaction::Transactable as _;
    use automerge::{ActorId, ROOT};
    use proptest::prelude::*;

    use super::*;
    use crate::{Incarnation, Origin, ReplicaId};

    fn document(doc: AutoCommit) -> Document {
        let origin = Origin {
            replica: ReplicaId([1; 16]),
            incarnation: Incarnation(1),
        };
        Document {
            doc,
            origin,
            unburied: false,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// Three actors that write by turns and see of each other what the program says.
    fn program(steps: &[(u8, bool)]) -> AutoCommit {
        let actors = [1_u8, 2, 3].map(|actor| ActorId::from([actor; 8]));
        let mut docs: Vec<_> = actors
            .iter()
            .map(|actor| AutoCommit::new().with_actor(actor.clone()))
            .collect();
        for (at, (who, meets)) in steps.iter().enumerate() {
            let who = usize::from(*who) % 3;
            if *meets {
                let mut other = docs[(who + 1) % 3].clone();
                docs[who].merge(&mut other).unwrap();
            }
            docs[who]
                .put(ROOT, format!("k{}", at % 4), at as i64)
                .unwrap();
            docs[who].commit();
        }
        let (mut all, mut rest) = (docs.remove(0), docs);
        rest.iter_mut().for_each(|doc| {
            all.merge(doc).unwrap();
        });
        all
    }

    proptest! {
        #[test]
        fn whoever_lacks_something_gets_exactly_that(
            steps in prop::collection::vec((any::<u8>(), any::<bool>()), 1..40), kept in any::<prop::sample::Index>(), beyond in any::<prop::sample::Index>(),
        ) {
            let all = program(&steps);
            let mut source = document(all.clone());
            let mut doc = all;
            let changes = doc.get_changes(&[]);
            // They have the start of a history; some of ours is later than what they are to have.
            let kept = kept.index(changes.len() + 1);
            let until = kept + beyond.index(changes.len() - kept + 1);
            let late: BTreeSet<u64> = changes[until..].iter().map(|change| term(&change.hash().0)).collect();
            let mut theirs = AutoCommit::new();
            theirs.apply_changes(changes[..kept].to_vec()).unwrap();
            let mut theirs = document(theirs);
            let their_sum = theirs.sum();
            let expected: Vec<Bytes> = changes[kept..until].iter().map(|c| Bytes::copy_from_slice(c.raw_bytes())).collect();
            let given = source.lacking(their_sum, &late);
            prop_assert_eq!(given.as_ref(), Some(&expected), "the end of a history is always told from its sum");
            let heads = theirs.head_starts();
            prop_assert_eq!(source.lacking_after(&heads, &late), expected.clone());
            prop_assert!(theirs.absorb(&expected).is_empty());
            let given: u64 = expected.iter().map(|piece| sum_of_piece(piece).unwrap()).fold(their_sum, u64::wrapping_add);
            prop_assert_eq!(theirs.sum(), given);
        }

        #[test]
        fn a_whole_document_is_taken_in(steps in prop::collection::vec((any::<u8>(), any::<bool>()), 1..40), before in 0_usize..40) {
            let mut all = program(&steps);
            let changes = all.get_changes(&[]);
            let mut source = document(all);
            let whole = source.whole();
            prop_assert!(is_whole(&whole) && is_acceptable(&whole));
            prop_assert_eq!(sum_of_piece(&whole), Ok(source.sum()));
            let mut theirs = AutoCommit::new();
            theirs.apply_changes(changes[..before.min(changes.len())].to_vec()).unwrap();
            let mut theirs = document(theirs);
            let refused = theirs.absorb(&[whole]);
            prop_assert_eq!(refused, []);
            prop_assert_eq!(theirs.sum(), source.sum());
            prop_assert_eq!(theirs.version(), source.version());
        }

        #[test]
        fn garbage_is_refused(steps in prop::collection::vec((any::<u8>(), any::<bool>()), 1..20), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut whole = document(program(&steps)).whole().to_vec();
            let at = at.index(whole.len());
            prop_assume!(whole[at] != with);
            whole[at] = with;
            prop_assert!(sum_of_piece(&whole.into()).is_err());
        }
    }

    #[test]
    fn changes_missing_in_the_middle_are_told_from_the_sum_if_they_are_few() {
        let mut all = program(&[(0, false), (1, false), (2, false), (0, false), (1, false)]);
        let changes = all.get_changes(&[]);
        let mut source = document(all);
        let total = source.sum();
        let without = |gone: &[usize]| {
            let terms = gone.iter().map(|at| term(&changes[*at].hash().0));
            terms.fold(total, u64::wrapping_sub)
        };
        for gone in [&[1][..], &[0, 4], &[2, 3]] {
            let given = source.lacking(without(gone), &BTreeSet::new()).unwrap();
            let expected: Vec<_> = gone
                .iter()
                .map(|at| changes[*at].raw_bytes().to_vec())
                .collect();
            assert_eq!(given, expected, "{gone:?}");
        }
        assert_eq!(source.lacking(without(&[0, 2, 4]), &BTreeSet::new()), None);
        assert_eq!(source.lacking(17, &BTreeSet::new()), None);
    }

    #[test]
    fn compression_is_not_accepted() {
        let mut doc = AutoCommit::new();
        doc.put(ROOT, "text", "a".repeat(10_000)).unwrap();
        let bomb = Bytes::from(doc.save());
        assert!(is_whole(&bomb) && !is_acceptable(&bomb));
        assert!(sum_of_piece(&bomb).unwrap_err().contains("uncompressed"));
        assert!(sum_of_piece(&document(doc).whole()).is_ok());
    }
}

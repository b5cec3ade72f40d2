//! What a store must hold, as far as that is certain, and what it may hold besides.

use std::collections::BTreeMap;

use anabranch_core::persist::{
    Checkpoint, Commit, Continuity, DocumentFold, DocumentRange, Fetch, Fetched, Fold, FoldId,
    LogRecord, Recovery, Retention, StoreError, StoredReceipt, Ticket,
};
use anabranch_core::{DocumentId, Incarnation, Lsn};
use anabranch_store::Store;
use anabranch_store::conformance::{content, receipt, stored_receipt};
use anabranch_store::faulty::Random;
use bytes::Bytes;

/// Each record changes one of them.
const DOCUMENTS: u64 = 18;
/// Each third record comes with a receipt, under one of these keys.
const RECEIPT_KEYS: u64 = 7;
/// A change is the beginning of its record.
const CHANGE_BYTES_MAX: usize = 900;

/// The store's whole knowledge of who it is.
pub(crate) type Identity = (u64, Incarnation);

/// What a fold's last transaction changes, as one.
#[derive(Clone, Default, PartialEq, Debug)]
struct Closed {
    receipts: BTreeMap<u64, StoredReceipt>,
    checkpoint: Option<Checkpoint>,
    released_before: u64,
}

/// One document.
#[derive(Clone, Default, Debug)]
struct Changes {
    /// Of all records, by position.
    all: Vec<(u64, Bytes)>,
    /// So many of them are certain to be in the document,
    certain: usize,
    /// and so many at most are in it.
    reached: usize,
}

/// What came of something that was asked of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Done,
    /// Nothing was done, but for what may come first.
    Refused,
    Unknown,
}

/// A group of commits on its way.
pub(crate) struct Group {
    pub(crate) commits: Vec<Commit>,
}

/// A fold on its way, and up to where it goes.
pub(crate) struct Folding {
    pub(crate) fold: Fold,
    until: u64,
}

/// All that is known of a store.
#[derive(Default)]
pub(crate) struct Model {
    written: u64,
    log: Vec<Bytes>,
    /// Records of a group whose outcome is unknown, and the incarnation that came with them.
    unknown: Vec<Bytes>,
    unknown_incarnation: Option<Incarnation>,
    /// Who it may be; none: nothing was made yet.
    held: Vec<Option<Identity>>,
    documents: BTreeMap<DocumentId, Changes>,
    /// What it may be: more than one after a fold of unknown outcome.
    closed: Vec<Closed>,
    /// Folded by this process, or before the checkpoint that it found.
    folded: u64,
    /// Newest position that any checkpoint allows to let go, as the process knows.
    replay_from: u64,
    folds: u64,
}

impl std::fmt::Display for Folding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { fold, until } = self;
        let checkpoint = fold.checkpoint.is_some();
        write!(
            f,
            "fold {} up to {until}: {} documents, {} receipts, checkpoint: {checkpoint}, release: {:?}",
            fold.id.0,
            fold.documents.len(),
            fold.receipts.len(),
            fold.release_before
        )
    }
}

fn document_of(lsn: u64) -> DocumentId {
    let number = Random(lsn).below(DOCUMENTS);
    let namespace = if number.is_multiple_of(3) { "a" } else { "b" };
    DocumentId::new(namespace, &format!("document-{number:02}")).unwrap()
}

fn change_of(record: &Bytes) -> Bytes {
    record.slice(..record.len().min(CHANGE_BYTES_MAX))
}

fn is_present(change: &Bytes) -> bool {
    !change.starts_with(b"-")
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            held: vec![None],
            closed: vec![Closed::default()],
            replay_from: 1,
            ..Self::default()
        }
    }

    pub(crate) fn log_end(&self) -> u64 {
        self.log.len() as u64
    }

    /// Bytes that no other record has, in sizes that fill sectors and pages in all ways.
    fn record(&mut self, small: bool, random: &mut Random) -> Bytes {
        self.written += 1;
        let len = match random.below(40) {
            _ if small => 10 + random.below(60),
            0 => 20_000 + random.below(30_000),
            1..4 => 2_000 + random.below(7_000),
            4..24 => 100 + random.below(900),
            _ => 10 + random.below(60),
        };
        let mut bytes = if random.below(8) == 0 { b"-" } else { b"+" }.to_vec();
        bytes.extend(self.written.to_le_bytes());
        let mut noise = Random(self.written);
        let words = (0..len.min(1_000) / 8).flat_map(|_| noise.draw().to_le_bytes());
        bytes.extend(words);
        bytes.resize(usize::try_from(len).unwrap().max(bytes.len()), b'.');
        bytes.into()
    }

    pub(crate) fn group(&mut self, random: &mut Random, incarnation: Option<Incarnation>) -> Group {
        let mut commits = Vec::new();
        let mut lsn = self.log_end();
        // A small one leaves what a larger one has left behind it as it is.
        let small = random.below(3) == 0;
        let (commits_max, records_max) = if small { (1, 2) } else { (3, 4) };
        for _ in 0..1 + random.below(commits_max) {
            let mut commit = Commit::new(Ticket(self.written));
            for _ in 0..random.below(records_max) {
                lsn += 1;
                let bytes = self.record(small, random);
                commit.log.push(LogRecord {
                    lsn: Lsn(lsn),
                    bytes,
                });
            }
            commits.push(commit);
        }
        let at = usize::try_from(random.below(commits.len() as u64)).unwrap();
        commits[at].incarnation = incarnation;
        Group { commits }
    }

    pub(crate) fn committed(&mut self, group: Group, outcome: Outcome) {
        let incarnation = group.commits.iter().find_map(|commit| commit.incarnation);
        let records = group.commits.into_iter().flat_map(|commit| commit.log);
        let records: Vec<Bytes> = records.map(|record| record.bytes).collect();
        if let Some(incarnation) = incarnation {
            // It comes first, so it may be there without the rest.
            let renamed = self
                .held
                .iter()
                .flatten()
                .map(|(medium, _)| (*medium, incarnation));
            let renamed: Vec<_> = renamed.map(Some).collect();
            match outcome {
                Outcome::Done => self.held = renamed,
                Outcome::Refused | Outcome::Unknown => self.held.extend(renamed),
            }
        }
        match outcome {
            Outcome::Done => self.append(records),
            Outcome::Refused => {}
            Outcome::Unknown => {
                self.unknown = records;
                self.unknown_incarnation = incarnation;
            }
        }
    }

    fn append(&mut self, records: Vec<Bytes>) {
        for bytes in records {
            self.log.push(bytes.clone());
            let lsn = self.log_end();
            let document = self.documents.entry(document_of(lsn)).or_default();
            document.all.push((lsn, change_of(&bytes)));
        }
    }

    /// The next records on their way to their documents.
    pub(crate) fn fold(&mut self, random: &mut Random) -> Folding {
        self.folds += 1;
        let mut fold = Fold::new(FoldId(self.folds));
        let new = self.log_end() - self.folded;
        let until = self.folded + new - random.below(new + 1) / 2;
        let new = |lsn: u64| self.folded < lsn && lsn <= until;
        for (id, document) in &self.documents {
            let changes = document.all.iter().filter(|(lsn, _)| new(*lsn));
            let changes: Vec<Bytes> = changes.map(|(_, change)| change.clone()).collect();
            if let Some(last) = changes.last() {
                fold.documents.push(DocumentFold {
                    id: id.clone(),
                    present: Some(is_present(last)),
                    changes,
                });
            }
        }
        let with_receipt = (self.folded + 1..=until).filter(|lsn| lsn.is_multiple_of(3));
        fold.receipts = with_receipt
            .map(|lsn| stored_receipt(lsn / 3 % RECEIPT_KEYS, lsn, lsn, lsn.to_le_bytes()))
            .collect();
        fold.compact = random.coin();
        fold.retain_receipts = (random.below(3) == 0).then(|| Retention {
            count_max: 2 + random.below(RECEIPT_KEYS),
            not_before_ms: until.saturating_sub(random.below(60)),
            stable_before: Lsn(until.saturating_sub(random.below(60))),
        });
        if random.coin() {
            let mut state = self.folds.to_le_bytes().to_vec();
            state.resize(usize::try_from(8 + random.below(300)).unwrap(), 7);
            fold.checkpoint = Some(Checkpoint {
                replay_from: Lsn(until + 1),
                state: state.into(),
            });
        }
        if random.coin() {
            let replay_from = fold.checkpoint.as_ref();
            let replay_from = replay_from.map_or(self.replay_from, |to| to.replay_from.0);
            let released = self
                .closed
                .iter()
                .map(|closed| closed.released_before)
                .max();
            let kept = random.below(12);
            let before = replay_from.saturating_sub(kept).max(released.unwrap_or(0));
            fold.release_before = Some(Lsn(before.min(replay_from)));
        }
        Folding { fold, until }
    }

    pub(crate) fn has_folded(&mut self, folding: &Folding, outcome: Outcome) {
        let Folding { fold, until } = folding;
        for document in &fold.documents {
            let changes = self.documents.get_mut(&document.id).unwrap();
            let count = changes.all.partition_point(|(lsn, _)| lsn <= until);
            changes.reached = changes.reached.max(count);
            if outcome == Outcome::Done {
                changes.certain = changes.certain.max(count);
            }
        }
        let after: Vec<Closed> = self
            .closed
            .iter()
            .map(|closed| closed.after(fold))
            .collect();
        match outcome {
            Outcome::Done => {
                self.closed = after;
                self.folded = *until;
                if let Some(checkpoint) = &fold.checkpoint {
                    self.replay_from = checkpoint.replay_from.0;
                }
            }
            Outcome::Refused => {}
            Outcome::Unknown => self.closed.extend(after),
        }
    }

    /// Notes that an opening was tried, which may have changed who it is.
    pub(crate) fn opening(&mut self, medium: u64, fresh: Incarnation) {
        let renamed = |held: &Option<Identity>| held.is_none_or(|(known, _)| known != medium);
        if self.held.iter().any(renamed) {
            self.held.push(Some((medium, fresh)));
            self.unknown_incarnation = None;
        }
    }

    /// Holds what an opening reports against what may be. What it reports is certain from now on. Whether a group of
    /// unknown outcome is there, and whether one is not.
    pub(crate) fn recovered(
        &mut self,
        medium: u64,
        fresh: Incarnation,
        recovery: &Recovery,
    ) -> (bool, bool) {
        let found = (recovery.continuity, recovery.incarnation);
        let possible = self.held.iter().map(|held| match held {
            None => (Continuity::New, fresh),
            Some((known, incarnation)) if *known == medium => (Continuity::Proven, *incarnation),
            Some(_) => (Continuity::Broken, fresh),
        });
        let possible: Vec<_> = possible.collect();
        assert!(
            possible.contains(&found),
            "{found:?} is none of {possible:?}"
        );
        self.held = vec![Some((medium, recovery.incarnation))];

        let end = recovery.log_end.map_or(0, |lsn| lsn.0);
        let unknown = std::mem::take(&mut self.unknown);
        let there = end != self.log_end();
        let gone = !there && !unknown.is_empty();
        if there {
            let whole = self.log_end() + unknown.len() as u64;
            assert_eq!(end, whole, "the log ended at {}", self.log_end());
            let with_them = self
                .unknown_incarnation
                .filter(|_| found.0 == Continuity::Proven);
            let with_them = with_them.is_none_or(|incarnation| incarnation == found.1);
            assert!(
                with_them,
                "records without the incarnation that came with them"
            );
            self.append(unknown);
        }
        self.unknown_incarnation = None;

        let was = self.closed.clone();
        let same = |closed: &Closed| closed.checkpoint == recovery.checkpoint;
        self.closed.retain(same);
        assert!(
            !self.closed.is_empty(),
            "{:?} is of none of {was:?}",
            recovery.checkpoint
        );
        self.replay_from = recovery
            .checkpoint
            .as_ref()
            .map_or(1, |to| to.replay_from.0);
        self.folded = self.replay_from - 1;
        (there, gone)
    }

    /// Holds the log, as it was given out, against what must be in it.
    pub(crate) fn verify_log(&self, found: &[LogRecord]) {
        // Any of them may be the case; what all of them keep has to be there.
        let kept = self
            .closed
            .iter()
            .map(|closed| closed.released_before)
            .max();
        let kept = kept.unwrap_or(0).max(1);
        assert!(found.is_sorted_by(|a, b| a.lsn < b.lsn));
        for record in found {
            let at = usize::try_from(record.lsn.0 - 1).unwrap();
            let written = self.log.get(at);
            assert_eq!(
                written,
                Some(&record.bytes),
                "record {} is none",
                record.lsn.0
            );
        }
        let needed = found.iter().filter(|record| record.lsn.0 >= kept).count() as u64;
        let expected = (self.log_end() + 1).saturating_sub(kept);
        assert_eq!(needed, expected, "of the records from {kept} on");
    }

    /// Holds documents and receipts against what must be. After an opening, what is there is certain.
    pub(crate) fn verify_documents(
        &mut self,
        store: &Store,
        opened: bool,
    ) -> Result<(), StoreError> {
        let range = DocumentRange {
            from: None,
            before: None,
        };
        let bytes_max = usize::MAX;
        let Fetched::Range { documents, more } = store.fetch(&Fetch::Range { range, bytes_max })?
        else {
            panic!("asked for a range");
        };
        assert!(!more);
        let mut found: BTreeMap<_, _> = documents.into_iter().collect();
        for (id, changes) in &mut self.documents {
            let stored = found.remove(id);
            let held = stored.as_ref().map(content).unwrap_or_default();
            let expected: Vec<&Bytes> = changes.all.iter().map(|(_, change)| change).collect();
            let is_part = held.len() <= expected.len() && held.iter().eq(&expected[..held.len()]);
            assert!(
                is_part,
                "{id} holds what was never written, or not in its order"
            );
            assert!(
                (changes.certain..=changes.reached).contains(&held.len()),
                "{id} has {} changes; {} are certain, {} were written",
                held.len(),
                changes.certain,
                changes.reached
            );
            let last_lsn = held.len().checked_sub(1).map(|at| changes.all[at].0);
            if last_lsn.is_some_and(|lsn| lsn <= self.folded) {
                // What was folded further, and is folded again in smaller pieces, may say what was true on the way.
                let present = stored.as_ref().and_then(|stored| stored.present);
                assert_eq!(present, held.last().map(is_present), "{id}");
            }
            if opened {
                (changes.certain, changes.reached) = (held.len(), held.len());
            }
        }
        assert!(found.is_empty(), "{:?} were never written", found.keys());
        self.verify_receipts(store, opened)
    }

    fn verify_receipts(&mut self, store: &Store, opened: bool) -> Result<(), StoreError> {
        let mut found = BTreeMap::new();
        for key in 0..=RECEIPT_KEYS {
            found.extend(receipt(store, key)?.map(|receipt| (key, receipt)));
        }
        let fits = |closed: &Closed| closed.receipts == found;
        let fitting = self.closed.iter().any(fits);
        assert!(fitting, "receipts {found:?} are none of {:?}", self.closed);
        if opened {
            self.closed.retain(fits);
        }
        Ok(())
    }
}

impl Closed {
    /// As a fold leaves it.
    fn after(&self, fold: &Fold) -> Self {
        let mut closed = self.clone();
        for receipt in &fold.receipts {
            let key = receipt.lsn.0 / 3 % RECEIPT_KEYS;
            closed.receipts.insert(key, receipt.clone());
        }
        if let Some(retention) = fold.retain_receipts {
            while let Some(oldest) = closed.receipts.values().min_by_key(|receipt| receipt.lsn) {
                let surplus = closed.receipts.len() as u64 > retention.count_max;
                let old = oldest.time_ms < retention.not_before_ms
                    && oldest.lsn < retention.stable_before;
                if !surplus && !old {
                    break;
                }
                let lsn = oldest.lsn;
                closed.receipts.retain(|_, receipt| receipt.lsn != lsn);
            }
        }
        if fold.checkpoint.is_some() {
            closed.checkpoint.clone_from(&fold.checkpoint);
        }
        if let Some(lsn) = fold.release_before {
            closed.released_before = lsn.0;
        }
        closed
    }
}

//! Folding: changes come from the log to their documents, sorted, many at a time.
//!
//! A large fold goes in slices of one transaction each, so that neither memory nor the pages that wait to be free grow
//! with it. A slice may be durable before the rest: the same changes folded again change nothing. Everything that
//! lets the log go comes with the last one.

use anabranch_core::DocumentId;
use anabranch_core::persist::{Compact, DocumentRange, Fold, StoredDocument};
use bytes::Bytes;
use redb::{ReadableTableMetadata as _, WriteTransaction};

use super::directory;
use super::listed::{DOCUMENT_TILES, Listed};
use super::packing::Packer;
use super::quarantine::{self, Waiting};
use super::revision::{Change, Reviser, Written};
use super::{Documents, Writer, record};
use crate::engine::Fault;
use crate::limits;
use crate::meta::MetaWriter;
use crate::receipts;
use crate::tables::{META, QUARANTINE, document_id, document_key};

/// What a fold did, and what it could not do.
#[derive(Default, Debug)]
pub(crate) struct Folded {
    /// Tiles written, and bytes in them.
    pub(crate) tiles: u64,
    pub(crate) bytes: u64,
    /// Documents compacted.
    pub(crate) compacted: u64,
    /// Documents that could not be compacted, and why; they are kept as they were.
    pub(crate) uncompacted: Vec<(DocumentId, String)>,
    /// Documents whose changes wait in quarantine, since their tile can't be read.
    pub(crate) quarantined: Vec<DocumentId>,
    /// Where those tiles are, and a repair that did not fit.
    pub(crate) damaged: Vec<(DocumentRange, String)>,
    /// A part of the directory could not be read.
    pub(super) directory_lost: bool,
}

impl Folded {
    pub(super) fn add(&mut self, other: Self) {
        self.tiles += other.tiles;
        self.bytes += other.bytes;
        self.compacted += other.compacted;
        self.uncompacted.extend(other.uncompacted);
        self.quarantined.extend(other.quarantined);
        self.damaged.extend(other.damaged);
        self.directory_lost |= other.directory_lost;
    }

    pub(super) fn note(&mut self, written: &Written) {
        self.tiles += written.tiles;
        self.bytes += written.bytes as u64;
        self.directory_lost |= written.directory_lost;
    }
}

/// What is to be done to one document.
pub(super) struct Edit {
    pub(super) key: Vec<u8>,
    pub(super) changes: Vec<Bytes>,
    pub(super) present: Option<bool>,
    /// Some of the changes are in quarantine, and leave it now.
    pub(super) waited: bool,
}

/// How documents are compacted.
#[derive(Clone, Copy)]
pub(super) struct Compaction {
    pub(super) compact: Compact,
    /// Every document that is touched, or only those whose changes have become many.
    pub(super) all: bool,
}

impl Documents {
    /// Carries a fold out; durable on return. After [`Fault::Full`] some documents may have been written, which does no
    /// harm: the fold is to be given again.
    pub(crate) fn fold(&self, fold: &Fold, compact: Compact) -> Result<Folded, Fault> {
        let mut writer = self.writer_ready()?;
        let mut folded = Folded::default();
        let done = self.carry_out(fold, compact, &mut writer, &mut folded);
        if let Err(fault) = &done {
            self.recover_from(fault, &mut writer);
        }
        done.map(|()| folded)
    }

    fn carry_out(
        &self,
        fold: &Fold,
        compact: Compact,
        writer: &mut Writer,
        folded: &mut Folded,
    ) -> Result<(), Fault> {
        if let Some(repair) = &fold.repair {
            self.repair(repair, writer, folded)?;
        }
        let edits = self.edits(fold)?;
        let all = fold.compact;
        let compaction = Compaction { compact, all };
        let written = self.write_edits(&edits, compaction, Some(fold), writer, folded);
        if matches!(written, Err(Fault::Damaged { .. })) {
            // A part of the directory that every closing fold needs can be made anew, like the rest of it.
            self.restart_if_possible(writer)?;
            if !self.transact(|transaction| directory::rebuild(transaction, &mut writer.packer))? {
                return written;
            }
            self.write_edits(&edits, compaction, Some(fold), writer, folded)?;
        } else {
            written?;
        }
        if folded.directory_lost {
            self.transact(|transaction| directory::rebuild(transaction, &mut writer.packer))?;
        }
        for id in &folded.quarantined {
            let mut row_key = Vec::new();
            document_key(id, &mut row_key);
            let range = self.damaged_range(&row_key);
            if !folded.damaged.iter().any(|(known, _)| *known == range) {
                let what = format!("documents near {id} are not what was written");
                folded.damaged.push((range, what));
            }
        }
        Ok(())
    }

    /// The documents of a fold, and those in quarantine whose tile can be read again.
    fn edits(&self, fold: &Fold) -> Result<Vec<Edit>, Fault> {
        let mut edits: Vec<Edit> = Vec::with_capacity(fold.documents.len());
        for document in &fold.documents {
            let mut key = Vec::new();
            document_key(&document.id, &mut key);
            edits.push(Edit {
                key,
                changes: document.changes.clone(),
                present: document.present,
                waited: false,
            });
        }
        edits.sort_by(|one, other| one.key.cmp(&other.key));
        let waiting = self.view(|view| {
            let table = view.open_table(QUARANTINE)?;
            if table.is_empty()? {
                return Ok(Vec::new());
            }
            let tiles = Listed::view(DOCUMENT_TILES, view)?;
            let mut waiting = quarantine::documents(&table, &[], None, limits::WAITING_FOLDED_MAX)?;
            let mut failed = None;
            waiting.retain(|(key, _)| match tiles.spanning(key) {
                Ok(tile) => tile.is_some(),
                Err(fault) => {
                    failed = Some(fault);
                    false
                }
            });
            failed.map_or(Ok(waiting), Err)
        });
        // Damage there is no reason to keep the rest waiting.
        for (key, waiting) in waiting.unwrap_or_default() {
            let StoredDocument {
                changes, present, ..
            } = waiting;
            match edits.binary_search_by(|edit| edit.key.cmp(&key)) {
                Ok(at) => {
                    edits[at].changes.splice(..0, changes);
                    edits[at].waited = true;
                }
                Err(at) => edits.insert(
                    at,
                    Edit {
                        key,
                        changes,
                        present,
                        waited: true,
                    },
                ),
            }
        }
        Ok(edits)
    }

    /// Writes documents in slices, and the rest of the fold with the last of them. Where the engine itself loses its way, slices
    /// become smaller until it is known which documents it can't reach; those go to quarantine.
    pub(super) fn write_edits(
        &self,
        edits: &[Edit],
        compaction: Compaction,
        closing: Option<&Fold>,
        writer: &mut Writer,
        folded: &mut Folded,
    ) -> Result<(), Fault> {
        let mut rest = edits;
        let mut most = usize::MAX;
        loop {
            let slice = &rest[..rest.len().min(most)];
            let is_last = slice.len() == rest.len();
            let mut closes = false;
            let written = self.transact(|transaction| {
                let bytes_max = self.slice_bytes;
                let packer = &mut writer.packer;
                let (done, mut report) =
                    write_slice(transaction, packer, slice, compaction, bytes_max)?;
                if let Some(fold) = closing.filter(|_| is_last && done == slice.len()) {
                    closes = true;
                    report.directory_lost |= close(transaction, &mut writer.packer, fold)?;
                }
                report.quarantined.dedup();
                Ok((done, report))
            });
            match written {
                Ok((done, report)) => {
                    folded.add(report);
                    rest = &rest[done..];
                    most = most.saturating_mul(2);
                    if rest.is_empty() && (closes || closing.is_none()) {
                        return Ok(());
                    }
                }
                Err(fault @ Fault::Damaged { .. }) => {
                    if closes || slice.is_empty() {
                        return Err(fault);
                    }
                    self.restart_if_possible(writer)?;
                    if slice.len() > 1 {
                        most = slice.len().div_ceil(4);
                        continue;
                    }
                    let edit = &slice[0];
                    self.transact(|transaction| set_aside(transaction, edit))?;
                    folded.quarantined.extend(document_id(&edit.key));
                    rest = &rest[1..];
                }
                Err(fault) => return Err(fault),
            }
        }
    }
}

/// Writes as many of the documents as go into one transaction; how many, and what came of it.
fn write_slice(
    transaction: &WriteTransaction,
    packer: &mut Packer,
    edits: &[Edit],
    compaction: Compaction,
    bytes_max: usize,
) -> Result<(usize, Folded), Fault> {
    let mut report = Folded::default();
    if edits.is_empty() {
        return Ok((0, report));
    }
    let mut lost = Vec::new();
    let mut reviser = Reviser::new(DOCUMENT_TILES, transaction, packer, bytes_max)?;
    let mut left = edits.iter().map(|edit| (edit.key.clone(), edit)).peekable();
    let mut unreadable = Vec::new();
    reviser.revise(
        &mut left,
        |_, before, edit| {
            revised(before, edit, compaction, &mut report).unwrap_or_else(|| {
                unreadable.push(edit);
                Change::Keep
            })
        },
        |_, edit| {
            lost.push(edit);
            Ok(())
        },
    )?;
    report.note(&reviser.done()?);
    let done = edits.len() - left.len();
    lost.append(&mut unreadable);
    for edit in &lost {
        set_aside(transaction, edit)?;
        report.quarantined.extend(document_id(&edit.key));
    }
    if edits[..done].iter().any(|edit| edit.waited) {
        let mut waiting = transaction.open_table(QUARANTINE)?;
        for edit in edits[..done].iter().filter(|edit| edit.waited) {
            if !lost.iter().any(|lost| lost.key == edit.key) {
                quarantine::take(&mut waiting, Waiting::Document, &edit.key)?;
            }
        }
    }
    Ok((done, report))
}

/// What an edit makes of a document; nothing when what is stored is none.
fn revised(
    before: Option<&Bytes>,
    edit: &Edit,
    compaction: Compaction,
    report: &mut Folded,
) -> Option<Change> {
    if before.is_none() && edit.changes.is_empty() {
        return Some(Change::Keep);
    }
    let mut document = match before {
        Some(value) => record::decode(value)?,
        None => StoredDocument::default(),
    };
    record::extend(&mut document, &edit.changes, edit.present);
    if !document.changes.is_empty() && (compaction.all || record::is_overgrown(&document)) {
        match record::compacted(&document, compaction.compact) {
            Ok(compacted) => {
                document = compacted;
                report.compacted += 1;
            }
            Err(why) => {
                let failed = document_id(&edit.key).map(|id| (id, why));
                report.uncompacted.extend(failed);
            }
        }
    }
    Some(Change::Put(record::encode(&document)))
}

/// Puts an edit into quarantine.
fn set_aside(transaction: &WriteTransaction, edit: &Edit) -> Result<(), Fault> {
    let mut waiting = transaction.open_table(QUARANTINE)?;
    quarantine::add_changes(&mut waiting, &edit.key, &edit.changes, edit.present)
}

/// The part of a fold that counts only once all else in it is there. True when a part of the directory could not be
/// read.
fn close(transaction: &WriteTransaction, packer: &mut Packer, fold: &Fold) -> Result<bool, Fault> {
    let lost = receipts::write(transaction, packer, &fold.receipts, fold.retain_receipts)?;
    if fold.checkpoint.is_none() && fold.release_before.is_none() {
        return Ok(lost);
    }
    let mut row = Vec::new();
    let mut meta = MetaWriter {
        table: transaction.open_table(META)?,
        row: &mut row,
    };
    if fold.checkpoint.is_some() {
        meta.checkpoint(fold.checkpoint.as_ref())?;
    }
    if let Some(lsn) = fold.release_before {
        meta.released_before(lsn)?;
    }
    drop(meta);
    directory::list_meta(transaction, packer)?;
    Ok(lost)
}

//! Reading: documents as they are and as they were, and what has become visible.

use std::sync::Arc;

use super::asking::Caller;
use super::{Awaited, Replica};
use crate::document::{UnknownVersion, Version};
use crate::effect::{
    Author, Claim, Conflict, Notice, Output, Reply, RequestError, Snapshot, VersionInfo, Versions,
    Visible,
};
use crate::persist::{Fetch, LogRecord, Ticket};
use crate::record::Record;
use crate::{Batch, DocumentId, Lsn, OriginTag};

impl Replica {
    pub(super) fn read(
        &mut self,
        id: &DocumentId,
        caller: Caller,
        at: Option<&Version>,
        conflicts: bool,
    ) {
        let entry = self.shelf.entry(id);
        let newest = entry.newest;
        let Some((document, _)) = entry.current() else {
            return self.answer(caller, Ticket(0), Err(RequestError::Busy));
        };
        let value = match at {
            None => Ok(document.read()),
            Some(version) => document.read_at(version),
        };
        let version = || at.cloned().unwrap_or_default();
        let reply = match value {
            Err(UnknownVersion) => Err(RequestError::UnknownVersion { version: version() }),
            Ok(value) => {
                let version = at.map_or_else(|| document.version(), Version::clone);
                let snapshot = value.map(|value| Snapshot { version, value });
                let found = if conflicts {
                    document.conflicts()
                } else {
                    Vec::new()
                };
                let conflicts = found.into_iter().map(|conflict| self.signed(conflict));
                let conflicts = conflicts.collect();
                Ok(Reply::Document {
                    snapshot,
                    conflicts,
                })
            }
        };
        self.answer(caller, newest, reply);
    }

    pub(super) fn list_versions(
        &mut self,
        id: &DocumentId,
        caller: Caller,
        skip: usize,
        limit: usize,
    ) {
        let entry = self.shelf.entry(id);
        let newest = entry.newest;
        let Some((document, _)) = entry.current() else {
            return self.answer(caller, Ticket(0), Err(RequestError::Busy));
        };
        let Versions { versions, more } = document.versions(skip, limit);
        let versions = versions.into_iter().map(|info| VersionInfo {
            by: self.named(info.by),
            ..info
        });
        let versions = versions.collect();
        let reply = Reply::Versions(Versions { versions, more });
        self.answer(caller, newest, Ok(reply));
    }

    pub(super) fn compare(
        &mut self,
        id: &DocumentId,
        caller: Caller,
        from: &Version,
        to: Option<&Version>,
    ) {
        let entry = self.shelf.entry(id);
        let newest = entry.newest;
        let reply = match entry.current() {
            Some((document, _)) => document.diff(from, to).map(Reply::Diff),
            None => Err(RequestError::Busy),
        };
        self.answer(caller, newest, reply);
    }

    fn signed(&self, conflict: Conflict) -> Conflict {
        let signed = |claim: Claim| Claim {
            by: self.named(claim.by),
            ..claim
        };
        Conflict {
            path: conflict.path,
            winner: signed(conflict.winner),
            losers: conflict.losers.into_iter().map(signed).collect(),
        }
    }

    /// Says who an actor is, if it is one that stands for an origin.
    fn named(&self, author: Author) -> Author {
        let origin = tag_of_actor(&author.actor).and_then(|tag| self.history.tagged(&tag));
        let Some(origin) = origin else {
            return author;
        };
        let (name, datacenter) = self.introduce(&origin.replica);
        Author {
            replica: Some(origin.replica),
            name,
            datacenter,
            ..author
        }
    }

    pub(super) fn read_changes(&mut self, caller: Caller, after: Lsn) {
        let first = self.history.extent.first;
        // 0 stands for all that there is.
        if after > Lsn(0) && after.next() < first {
            let error = RequestError::Released { after, first };
            return self.answer(caller, Ticket(0), Err(error));
        }
        let fetch = Fetch::Log {
            from: after.next(),
            bytes_max: self.config.room.log_read_bytes_max,
        };
        self.fetch(fetch, Awaited::Changes { caller, after });
    }

    pub(super) fn changes_fetched(&mut self, caller: Caller, after: Lsn, records: Vec<LogRecord>) {
        let mut visible = Vec::new();
        let mut next = after;
        if after == Lsn(0) {
            next = Lsn(self.history.extent.first.0 - 1).max(after);
        }
        if let Some(first) = records.first().map(|record| record.lsn)
            && first > next.next()
        {
            // They can't be read any more. Whoever follows must not pass over them.
            let error = RequestError::Released { after, first };
            return self.answer(caller, Ticket(0), Err(error));
        }
        for record in records {
            if record.lsn > next.next() {
                break;
            }
            if !self.is_settled(record.lsn) {
                break;
            }
            match Record::decode(&record.bytes) {
                Ok(Record::Batches(batches)) => {
                    let new = |batch: &&Arc<Batch>| {
                        self.is_placed_here(&batch.namespace)
                            && !self.history.came_before(batch, record.lsn)
                    };
                    let batches = batches.iter().filter(new);
                    visible.extend(batches.map(|batch| self.visible(record.lsn, batch)));
                }
                Ok(Record::Import(_) | Record::Placed(_) | Record::LetGo(_)) => {}
                Ok(Record::Arrival(arrival)) if !self.is_placed_here(&arrival.namespace) => {}
                Ok(Record::Arrival(arrival)) => {
                    visible.push(self.arrival_visible(record.lsn, &arrival));
                }
                Err(error) => {
                    let notice = Notice::BadRecord {
                        lsn: record.lsn,
                        reason: error.to_string(),
                    };
                    self.outputs.push_back(Output::Notice(notice));
                }
            }
            next = record.lsn;
        }
        self.answer(caller, Ticket(0), Ok(Reply::Changes { visible, next }));
    }

    pub(super) fn visible(&self, lsn: Lsn, batch: &Batch) -> Visible {
        let writes = batch.writes.iter();
        Visible {
            lsn,
            namespace: batch.namespace.clone(),
            origin: batch.origin,
            seq: batch.seq,
            time_ms: batch.time_ms,
            local: batch.origin.replica == self.config.replica,
            documents: writes
                .map(|write| Self::address(&batch.namespace, &write.key))
                .collect(),
            repaired: None,
        }
    }
}

/// An actor that stands for an origin begins with its tag; what may come after tells its branches apart.
fn tag_of_actor(actor: &str) -> Option<OriginTag> {
    let mut tag = [0; 8];
    for (index, byte) in tag.iter_mut().enumerate() {
        *byte = u8::from_str_radix(actor.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(OriginTag(tag))
}

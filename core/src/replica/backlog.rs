//! Batches that are not in memory any more, read from the log for peers that have fallen behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::lanes::Name;
use super::session::Session;
use super::{Awaited, Replica};
use crate::effect::{LinkId, Notice, Now, Output};
use crate::message::Message;
use crate::persist::{Fetch, LogRecord};
use crate::record::Record;
use crate::repair_message::RepairMessage;
use crate::{Batch, Lsn, ReplicaId, Seq};

/// Batches that were read for a peer and wait to be sent, by stream.
#[derive(Default)]
pub(super) struct Backlog {
    batches: BTreeMap<Name, VecDeque<Arc<Batch>>>,
    bytes: usize,
}

impl Backlog {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, name: &Name) -> bool {
        self.batches.contains_key(name)
    }

    pub(super) fn front(&self, name: &Name) -> Option<&Arc<Batch>> {
        self.batches.get(name)?.front()
    }

    pub(super) fn first(&self, name: &Name) -> Option<Seq> {
        self.front(name).map(|batch| batch.seq)
    }

    fn push(&mut self, name: Name, batch: Arc<Batch>) {
        self.bytes += batch.bytes();
        self.batches.entry(name).or_default().push_back(batch);
    }

    pub(super) fn pop(&mut self, name: &Name) -> Option<Arc<Batch>> {
        let queue = self.batches.get_mut(name)?;
        let batch = queue.pop_front()?;
        if queue.is_empty() {
            self.batches.remove(name);
        }
        self.bytes -= batch.bytes();
        Some(batch)
    }

    pub(super) fn remove(&mut self, name: &Name) {
        while self.pop(name).is_some() {}
    }
}

impl Replica {
    /// Reads on in the log for a peer whose streams wait for that, unless enough has been read.
    pub(super) fn read_backlog(&mut self, peer: ReplicaId) {
        let room = &self.config.room;
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        if session.starved.is_empty()
            || session.reading
            || session.in_flight.bytes() >= room.link_window_bytes
            || session.fetched.bytes() >= room.log_read_bytes_max
        {
            return;
        }
        session.reading = true;
        let link = session.link;
        let starts = session.starved.iter().filter_map(|name| {
            let stream = session.streams.get(name)?;
            Some(self.history.begin_of(name, stream))
        });
        let from = starts.min().unwrap_or(Lsn(1));
        let fetch = Fetch::Log {
            from,
            bytes_max: room.log_read_bytes_max,
        };
        self.fetch(fetch, Awaited::Backlog { peer, link, from });
    }

    /// Sends on from the log what streams are waiting for.
    pub(super) fn backlog_fetched(
        &mut self,
        now: Now,
        peer: ReplicaId,
        link: LinkId,
        from: Lsn,
        mut records: Vec<LogRecord>,
    ) {
        let asked_on = |session: &&mut Session| session.link == link;
        let Some(session) = self.peers.session(peer).filter(asked_on) else {
            return;
        };
        session.reading = false;
        // What has just become durable may be among them before that is known here. Peers would hold more of what this replica wrote than it
        // says itself, which looks like a lie.
        records.retain(|record| self.is_settled(record.lsn));
        let end = records.last().map(|record| record.lsn);
        let due = self.batches_of(records);
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return;
        };
        let Some(session) = entry.session.as_mut() else {
            return;
        };
        let starved = std::mem::take(&mut session.starved);
        let covered: Vec<_> = starved
            .iter()
            .map(|name| {
                // What began to wait or went back during the read may stand before it.
                let stream = session.streams.get(name);
                stream.is_some_and(|stream| self.history.begin_of(name, stream) >= from)
            })
            .collect();
        for batch in due {
            keep_next(session, &starved, batch);
        }
        let mut too_short = Vec::new();
        for (name, covered) in starved.into_iter().zip(covered) {
            match (session.streams.get_mut(&name), end) {
                (Some(stream), Some(end)) if covered => {
                    stream.scanned = stream.scanned.max(end.next());
                }
                // Durable, and yet not in the log any more: nothing to be done from here.
                (Some(stream), None) if covered => {
                    let holds = entry.holds.get(&name.0);
                    let held = holds.map_or(Seq(0), |frontier| frontier.of(&name.1));
                    if held >= stream.next {
                        // It has come there by another way, and was let go for that.
                        session.rewind(&name, held.next());
                        continue;
                    }
                    stream.stalled_at = u64::MAX;
                    too_short.push((name, stream.next));
                    continue;
                }
                _ => {}
            }
            session.stir(&name);
        }
        self.tell_behind(peer, too_short);
        self.pump(now, peer);
    }

    /// What a peer waits for is not in the log any more: it has to come by a repair.
    fn tell_behind(&mut self, peer: ReplicaId, too_short: Vec<(Name, Seq)>) {
        if too_short.is_empty() {
            return;
        }
        for ((namespace, origin), seq) in &too_short {
            self.outputs.push_back(Output::Notice(Notice::LogTooShort {
                peer,
                namespace: namespace.clone(),
                origin: *origin,
                seq: *seq,
            }));
        }
        let entries = too_short.into_iter();
        let entries = entries.map(|((namespace, origin), seq)| (namespace, origin, seq));
        let Some(link) = self.peers.session(peer).map(|session| session.link) else {
            return;
        };
        let message = Message::Repair(RepairMessage::Behind(entries.collect()));
        self.say(peer, link, &message);
    }

    fn batches_of(&mut self, records: Vec<LogRecord>) -> Vec<Arc<Batch>> {
        let mut batches = Vec::new();
        for record in records {
            match Record::batches(&record.bytes) {
                Ok(decoded) => batches.extend(decoded),
                Err(error) => {
                    let notice = Notice::BadRecord {
                        lsn: record.lsn,
                        reason: error.to_string(),
                    };
                    self.outputs.push_back(Output::Notice(notice));
                }
            }
        }
        batches
    }

    pub(super) fn backlog_failed(&mut self, peer: ReplicaId, link: LinkId, error: &str) {
        let asked_on = |session: &&mut Session| session.link == link;
        let Some(session) = self.peers.session(peer).filter(asked_on) else {
            return;
        };
        session.reading = false;
        session.starved.clear();
        self.outputs.push_back(Output::Disconnect {
            link,
            reason: format!("the log can't be read: {error}"),
        });
    }
}

/// Keeps a batch if it is the next of a stream that waits for it; the stream then moves past it.
fn keep_next(session: &mut Session, starved: &BTreeSet<Name>, batch: Arc<Batch>) {
    let name = (batch.namespace.clone(), batch.origin);
    if !starved.contains(&name) {
        return;
    }
    if let Some(stream) = session.streams.get_mut(&name)
        && stream.next == batch.seq
    {
        stream.next = stream.next.next();
        session.fetched.push(name, batch);
    }
}

//! Streaming batches to peers: pushed while fresh, read from the log for a link that has fallen behind,
//! never more than a window at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::session::{STALL_MS_MAX, Session};
use super::{Awaited, Replica};
use crate::effect::{LinkId, Notice, Now, Output};
use crate::message::Message;
use crate::persist::{Fetch, LogRecord};
use crate::record::Record;
use crate::repair_message::RepairMessage;
use crate::{Batch, Lsn, Namespace, Origin, ReplicaId};

impl Replica {
    pub(super) fn sent(&mut self, now: Now, link: LinkId, bytes: usize) {
        let Some(peer) = self.peers.of_link(link) else {
            return;
        };
        if let Some(session) = self.peers.session(peer) {
            session.in_flight = session.in_flight.saturating_sub(bytes);
        }
        self.pump(now, peer);
    }

    pub(super) fn pump_all(&mut self, now: Now) {
        for peer in self.peers.linked() {
            self.pump(now, peer);
        }
    }

    /// Sends a peer what it lacks, as far as its link takes it.
    pub(super) fn pump(&mut self, now: Now, peer: ReplicaId) {
        if self.failed.is_some() {
            return;
        }
        while let Some(batches) = self.gather(peer) {
            self.deliver(now, peer, batches);
        }
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        if session.starved.is_empty()
            || session.reading
            || session.in_flight >= self.config.room.link_window_bytes
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
            bytes_max: self.config.room.log_read_bytes_max,
        };
        self.fetch(fetch, Awaited::Backlog { peer, link, from });
    }

    /// Takes one frame's worth of batches off the streams that are ready.
    fn gather(&mut self, peer: ReplicaId) -> Option<Vec<Arc<Batch>>> {
        let session = self.peers.by_id.get_mut(&peer)?.session.as_mut()?;
        if session.in_flight >= self.config.room.link_window_bytes {
            return None;
        }
        let mut batches = Vec::new();
        let mut bytes = 0;
        while bytes < self.config.room.frame_bytes_target
            && let Some(name) = session.ready.pop_first()
        {
            let Some(stream) = session.streams.get_mut(&name) else {
                continue;
            };
            let tip = self.history.durable(&name.0, &name.1);
            while stream.next <= tip && bytes < self.config.room.frame_bytes_target {
                let Some(batch) = self.history.recent(&name.0, &name.1, stream.next) else {
                    session.starved.insert(name.clone());
                    break;
                };
                bytes += batch.bytes();
                batches.push(batch.clone());
                stream.next = stream.next.next();
            }
            if stream.next <= tip && !session.starved.contains(&name) {
                session.ready.insert(name);
            }
        }
        (!batches.is_empty()).then_some(batches)
    }

    fn deliver(&mut self, now: Now, peer: ReplicaId, batches: Vec<Arc<Batch>>) {
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        for batch in &batches {
            let name = (batch.namespace.clone(), batch.origin);
            if let Some(stream) = session.streams.get_mut(&name) {
                let patient_until = now.mono_ms + stream.patience_ms;
                stream.stalled_at = match stream.stalled_at {
                    u64::MAX => patient_until,
                    at => at.max(patient_until),
                };
            }
        }
        self.counters.batches_sent += batches.len() as u64;
        let frame = Message::Delta(batches).encode();
        session.in_flight += frame.len();
        let link = session.link;
        self.send(link, frame);
    }

    /// Sends on from the log what streams are waiting for.
    pub(super) fn backlog_fetched(
        &mut self,
        now: Now,
        peer: ReplicaId,
        link: LinkId,
        from: Lsn,
        records: Vec<LogRecord>,
    ) {
        let asked_on = |session: &&mut Session| session.link == link;
        let Some(session) = self.peers.session(peer).filter(asked_on) else {
            return;
        };
        session.reading = false;
        let end = records.last().map(|record| record.lsn);
        let mut due = self.batches_of(records);
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
        due.retain(|batch| advance(session, &starved, batch));
        let mut too_short = Vec::new();
        for (name, covered) in starved.into_iter().zip(covered) {
            match (session.streams.get_mut(&name), end) {
                (Some(stream), Some(end)) if covered => {
                    stream.scanned = stream.scanned.max(end.next());
                }
                // Durable, and yet not in the log any more: nothing to be done from here.
                (Some(stream), None) if covered => {
                    let holds = entry.holds.get(&name.0);
                    let held = holds.map_or(crate::Seq(0), |frontier| frontier.of(&name.1));
                    if held >= stream.next {
                        // It has come there by another way, and was let go for that.
                        stream.rewind(held.next());
                        session.ready.insert(name);
                        continue;
                    }
                    stream.stalled_at = u64::MAX;
                    too_short.push((name, stream.next));
                    continue;
                }
                _ => {}
            }
            session.ready.insert(name);
        }
        self.tell_behind(peer, too_short);
        self.deliver_in_frames(now, peer, due);
        self.pump(now, peer);
    }

    /// What a peer waits for is not in the log any more: it has to come by a repair.
    fn tell_behind(&mut self, peer: ReplicaId, too_short: Vec<((Namespace, Origin), crate::Seq)>) {
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

    fn deliver_in_frames(&mut self, now: Now, peer: ReplicaId, batches: Vec<Arc<Batch>>) {
        let mut frame = Vec::new();
        let mut bytes = 0;
        for batch in batches {
            bytes += batch.bytes();
            frame.push(batch);
            if bytes >= self.config.room.frame_bytes_target {
                self.deliver(now, peer, std::mem::take(&mut frame));
                bytes = 0;
            }
        }
        if !frame.is_empty() {
            self.deliver(now, peer, frame);
        }
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

    /// What got no sign of arrival for long is sent again from where the peer says it is.
    pub(super) fn send_stalled_again(&mut self, now: Now, peer: ReplicaId) {
        let Some(entry) = self.peers.by_id.get_mut(&peer) else {
            return;
        };
        let Some(session) = &mut entry.session else {
            return;
        };
        let mut again = false;
        for (name, stream) in &mut session.streams {
            if stream.stalled_at > now.mono_ms {
                continue;
            }
            let holds = entry
                .holds
                .get(&name.0)
                .map_or(crate::Seq(0), |frontier| frontier.of(&name.1));
            if holds.next() >= stream.next {
                // All that was sent has arrived; nothing to wait for.
                stream.stalled_at = u64::MAX;
                continue;
            }
            stream.patience_ms = (stream.patience_ms * 2).min(STALL_MS_MAX);
            stream.stalled_at = now.mono_ms + stream.patience_ms;
            if session.in_flight == 0 {
                stream.rewind(holds.next());
                session.starved.remove(name);
                session.ready.insert(name.clone());
                again = true;
            }
        }
        if again {
            self.counters.stalls += 1;
            self.pump(now, peer);
        }
    }

    #[cfg(feature = "planted")]
    pub(super) fn push(&mut self, now: Now, batch: &Arc<Batch>) {
        self.arrived(now, batch);
        self.pump_all(now);
    }
}

/// True if the batch is the next of its stream; the stream then moves past it.
fn advance(session: &mut Session, starved: &BTreeSet<(Namespace, Origin)>, batch: &Batch) -> bool {
    let name = (batch.namespace.clone(), batch.origin);
    if !starved.contains(&name) {
        return false;
    }
    match session.streams.get_mut(&name) {
        Some(stream) if stream.next == batch.seq => {
            stream.next = stream.next.next();
            true
        }
        _ => false,
    }
}

//! Who is known, by whose word, and until when.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use anabranch_core::ReplicaId;
use bytes::Bytes;

use super::announcement::Signed;
use super::wire::{HOLDINGS_MAX, Holding, Message};
use crate::limits::{
    FORGOTTEN_MAX, LEFT_KEPT, MEMBER_ADDRESSES_MAX, MEMBERS_MAX, SEEN_KEPT, UNSEEN_KEPT,
};
use crate::member::KnownMember;

/// What is known of another node.
#[derive(Default)]
pub(crate) struct Entry {
    /// In its certificate, once there was a link.
    name: Option<String>,
    pub(crate) signed: Option<Signed>,
    /// Where it was dialled and answered, the latest first.
    reached: Vec<SocketAddr>,
    pub(crate) last_seen_ms: Option<u64>,
    /// When something new was learnt of it.
    renewed_ms: u64,
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        let announced = || self.signed.as_ref().map(|signed| &*signed.said.name);
        self.name.as_deref().or_else(announced).unwrap_or_default()
    }

    pub(crate) fn datacenter(&self) -> &str {
        let announced = self.signed.as_ref();
        announced.map_or("", |signed| &*signed.said.datacenter)
    }

    pub(crate) fn has_left(&self) -> bool {
        self.signed.as_ref().is_some_and(|signed| signed.said.left)
    }

    /// Where to dial it: where it says first.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let announced = self.signed.iter().flat_map(|signed| &signed.said.addresses);
        let mut addresses: Vec<String> = announced.cloned().collect();
        for reached in &self.reached {
            let reached = reached.to_string();
            if !addresses.contains(&reached) {
                addresses.push(reached);
            }
        }
        addresses
    }

    fn kept(&self) -> Duration {
        if self.has_left() {
            LEFT_KEPT
        } else if self.last_seen_ms.is_some() {
            SEEN_KEPT
        } else {
            UNSEEN_KEPT
        }
    }

    fn fresh_ms(&self) -> u64 {
        self.renewed_ms.max(self.last_seen_ms.unwrap_or_default())
    }
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    /// It is new, or newer than what was held.
    Taken,
    /// This one or a newer one is held.
    Known,
    /// There is no room, or it was forgotten as too old.
    Refused,
}

pub(crate) struct Table {
    /// This node's own.
    own: Signed,
    entries: BTreeMap<ReplicaId, Entry>,
    /// Versions that were forgotten here and may still go round, the oldest first.
    forgotten: VecDeque<Holding>,
    digest: Option<u64>,
}

impl Table {
    pub(crate) fn new(own: Signed) -> Self {
        Self {
            own,
            entries: BTreeMap::new(),
            forgotten: VecDeque::new(),
            digest: None,
        }
    }

    pub(crate) fn own(&self) -> &Signed {
        &self.own
    }

    pub(crate) fn set_own(&mut self, own: Signed) {
        self.own = own;
        self.digest = None;
    }

    pub(crate) fn entries(&self) -> &BTreeMap<ReplicaId, Entry> {
        &self.entries
    }

    pub(crate) fn get(&self, replica: ReplicaId) -> Option<&Entry> {
        self.entries.get(&replica)
    }

    pub(crate) fn version(&self, replica: ReplicaId) -> Option<u64> {
        let signed = self.entries.get(&replica)?.signed.as_ref()?;
        Some(signed.said.version)
    }

    /// Takes an announcement of another node, if it is news and there is room.
    pub(crate) fn merge(&mut self, signed: Signed, now_ms: u64) -> Merged {
        let (replica, version) = (signed.replica, signed.said.version);
        let is_old = |held: &Holding| held.0 == replica && held.1 >= version;
        if replica == self.own.replica || self.forgotten.iter().any(is_old) {
            return Merged::Refused;
        }
        if self.version(replica).is_some_and(|held| held >= version) {
            return Merged::Known;
        }
        if !self.entries.contains_key(&replica) && self.entries.len() >= MEMBERS_MAX {
            return Merged::Refused;
        }
        let entry = self.entries.entry(replica).or_default();
        entry.signed = Some(signed);
        entry.renewed_ms = now_ms;
        self.digest = None;
        Merged::Taken
    }

    /// There is or was a link with it a moment ago. `reached` is where it was dialled, if it was.
    pub(crate) fn seen(
        &mut self,
        peer: ReplicaId,
        name: &str,
        reached: Option<SocketAddr>,
        now_ms: u64,
    ) {
        if !self.entries.contains_key(&peer) && !self.make_room() {
            return;
        }
        let entry = self.entries.entry(peer).or_default();
        entry.name = Some(name.to_owned());
        entry.last_seen_ms = Some(now_ms);
        if let Some(reached) = reached {
            entry.reached.retain(|known| *known != reached);
            entry.reached.insert(0, reached);
            entry.reached.truncate(MEMBER_ADDRESSES_MAX);
        }
    }

    /// Room for one more, if need be that of the member known by hearsay which was renewed longest ago.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < MEMBERS_MAX {
            return true;
        }
        let unseen = self.entries.iter();
        let unseen = unseen.filter(|(_, entry)| entry.last_seen_ms.is_none());
        let Some(oldest) = unseen
            .min_by_key(|(_, entry)| entry.renewed_ms)
            .map(|(replica, _)| *replica)
        else {
            return false;
        };
        self.entries.remove(&oldest);
        self.digest = None;
        true
    }

    /// Forgets members of which nothing was heard for long. True if there were any.
    pub(crate) fn expire(&mut self, now_ms: u64, is_linked: impl Fn(ReplicaId) -> bool) -> bool {
        let is_old = |replica: ReplicaId, entry: &Entry| {
            let age = Duration::from_millis(now_ms.saturating_sub(entry.fresh_ms()));
            age > entry.kept() && !is_linked(replica)
        };
        let old: Vec<_> = self
            .entries
            .iter()
            .filter(|(replica, entry)| is_old(**replica, entry))
            .map(|(replica, _)| *replica)
            .collect();
        for replica in &old {
            if let Some(version) = self.version(*replica) {
                self.forgotten.retain(|(known, _)| known != replica);
                self.forgotten.push_back((*replica, version));
            }
            self.entries.remove(replica);
            self.digest = None;
        }
        while self.forgotten.len() > FORGOTTEN_MAX {
            self.forgotten.pop_front();
        }
        !old.is_empty()
    }

    fn held(&self) -> impl Iterator<Item = &Signed> {
        let others = self.entries.values();
        std::iter::once(&self.own).chain(others.filter_map(|entry| entry.signed.as_ref()))
    }

    fn holdings(&self) -> Vec<Holding> {
        let holding = |signed: &Signed| (signed.replica, signed.said.version);
        let mut holdings: Vec<_> = self.held().map(holding).collect();
        holdings.sort_unstable();
        holdings
    }

    /// Equal on two nodes that hold the same announcements.
    pub(crate) fn digest(&mut self) -> u64 {
        if let Some(digest) = self.digest {
            return digest;
        }
        let mut hasher = blake3::Hasher::new();
        for (replica, version) in self.holdings() {
            hasher.update(&replica.0);
            hasher.update(&version.to_le_bytes());
        }
        let hash = hasher.finalize();
        let digest = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        *self.digest.insert(u64::from_le_bytes(digest))
    }

    /// All that is held of the replicas between two, in parts that together cover them.
    pub(crate) fn have(&self, from: ReplicaId, through: ReplicaId, answer: bool) -> Vec<Message> {
        let mut holdings = self.holdings();
        holdings.retain(|(replica, _)| (from..=through).contains(replica));
        let mut parts: Vec<_> = holdings.chunks(HOLDINGS_MAX).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let before = |part: &[Holding]| {
            let first = part.first().map(|(id, _)| u128::from_be_bytes(id.0));
            // None is smaller than those of the part before it.
            first.map(|first| ReplicaId(first.saturating_sub(1).to_be_bytes()))
        };
        let have = |(at, part): (usize, &&[Holding])| Message::Have {
            answer,
            from: match part.first() {
                Some((first, _)) if at > 0 => *first,
                _ => from,
            },
            through: parts
                .get(at + 1)
                .and_then(|next| before(next))
                .unwrap_or(through),
            holdings: part.to_vec(),
        };
        parts.iter().enumerate().map(have).collect()
    }

    /// What somebody lacks who has said what they hold of the replicas between two.
    pub(crate) fn lacking(
        &self,
        from: ReplicaId,
        through: ReplicaId,
        theirs: &[Holding],
    ) -> Vec<Bytes> {
        let theirs: BTreeMap<_, _> = theirs.iter().copied().collect();
        self.held()
            .filter(|signed| (from..=through).contains(&signed.replica))
            .filter(|signed| {
                let held = theirs.get(&signed.replica);
                held.is_none_or(|held| *held < signed.said.version)
            })
            .map(|signed| signed.bytes.clone())
            .collect()
    }

    /// What to remember from one run to the next.
    pub(crate) fn known(&self) -> Vec<KnownMember> {
        let own = Entry {
            signed: Some(self.own.clone()),
            ..Entry::default()
        };
        let others = self.entries.iter();
        std::iter::once((&self.own.replica, &own))
            .chain(others)
            .map(|(replica, entry)| KnownMember {
                replica: *replica,
                name: entry.name().to_owned(),
                datacenter: entry.datacenter().to_owned(),
                reached: entry.reached.iter().map(ToString::to_string).collect(),
                addresses: entry
                    .signed
                    .iter()
                    .flat_map(|signed| signed.said.addresses.clone())
                    .collect(),
                last_seen_ms: entry.last_seen_ms,
                left: entry.has_left(),
                announcement: entry.signed.as_ref().map(|signed| signed.bytes.to_vec()),
            })
            .collect()
    }

    /// Takes back what an earlier run knew. What can't be read of it is left out.
    pub(crate) fn remember(&mut self, known: Vec<KnownMember>, now_ms: u64) {
        for member in known.into_iter().take(MEMBERS_MAX + 1) {
            if member.replica == self.own.replica {
                continue;
            }
            let signed = member.announcement.and_then(|bytes| {
                let read = Signed::read(bytes.into());
                read.inspect_err(|error| {
                    tracing::warn!(
                        member = member.name,
                        "remembered by its last address only: {error}"
                    );
                })
                .ok()
            });
            let reached = member.reached.iter();
            let entry = Entry {
                name: member.last_seen_ms.map(|_| member.name),
                signed: signed.filter(|signed| signed.replica == member.replica),
                reached: reached
                    .filter_map(|address| address.parse().ok())
                    .take(MEMBER_ADDRESSES_MAX)
                    .collect(),
                // A clock that was ahead must not keep it for ever.
                last_seen_ms: member.last_seen_ms.map(|seen| seen.min(now_ms)),
                // An outage of this node is not held against the others.
                renewed_ms: now_ms,
            };
            self.entries.insert(member.replica, entry);
        }
        self.digest = None;
    }
}

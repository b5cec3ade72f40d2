//! Where namespaces are, as far as this replica knows, and what follows of it.
//!
//! What is known is a table that all replicas come to share: of what two have said of a namespace the greater counts (see
//! [`crate::placement`]). It stands in the log and in the checkpoint, and it counts, and is passed on, once it is durable: whatever is
//! let go for what a setting says, no crash takes that back.
//!
//! A namespace that is not placed in a peer's datacenter is not spoken of with that peer, but for positions: whoever was taken out must
//! learn who holds what. Here, one that is not placed in this replica's own datacenter is neither read nor written nor taken in. What
//! was here already is kept until others have it: see [`super::leaving`].

use std::collections::{BTreeMap, BTreeSet};

use super::asking::Caller;
use super::peers::Peer;
use super::{Carried, Replica};
use crate::codec::{DecodeError, Reader, Writer};
use crate::effect::{LinkId, Notice, Now, Output, Reply, RequestError};
use crate::message::{DIGEST_BYTES, Message, Placements as Said};
use crate::persist::Ticket;
use crate::placement::{Datacenters, Placing, Setting};
use crate::record::Placed;
use crate::{EditError, Namespace, Origin, ReplicaId, limits};

/// Everything is said to a peer that knows something else at most this often.
const SAY_EVERY_MS: u64 = 1_000;
/// What somebody asks for counts more than what a configuration says that nobody has heard of: whoever joins with an old one takes
/// nothing back.
const VERSION_ASKED_MIN: u64 = 2;

/// What is known of each namespace, and a digest of what is known to all.
#[derive(Clone, Default)]
struct Table {
    by_namespace: BTreeMap<Namespace, Placing>,
    /// Over the settings, each by itself, so that one can be taken off.
    sum: u128,
}

impl Table {
    fn setting(&self, namespace: &Namespace) -> Option<&Setting> {
        self.by_namespace.get(namespace)?.setting.as_ref()
    }

    fn put(&mut self, namespace: &Namespace, placing: Placing) {
        if let Some(before) = self.setting(namespace) {
            self.sum = self.sum.wrapping_sub(term(namespace, before));
        }
        if let Some(setting) = &placing.setting {
            self.sum = self.sum.wrapping_add(term(namespace, setting));
        }
        self.by_namespace.insert(namespace.clone(), placing);
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        self.sum.to_le_bytes()
    }

    fn has_room_for(&self, namespace: &Namespace) -> bool {
        self.by_namespace.len() < limits::NAMESPACES_MAX
            || self.by_namespace.contains_key(namespace)
    }
}

fn term(namespace: &Namespace, setting: &Setting) -> u128 {
    let mut writer = Writer::default();
    writer.bytes(namespace.as_str().as_bytes());
    setting.encode(&mut writer);
    let hash = blake3::hash(&writer.finish());
    let mut front = [0; DIGEST_BYTES];
    front.copy_from_slice(&hash.as_bytes()[..DIGEST_BYTES]);
    u128::from_le_bytes(front)
}

#[derive(Default)]
pub(super) struct Placements {
    /// What counts.
    durable: Table,
    /// With what is on its way into the log.
    accepted: Table,
}

impl Placements {
    pub(super) fn setting(&self, namespace: &Namespace) -> Option<&Setting> {
        self.durable.setting(namespace)
    }

    /// Whether a namespace is placed in a datacenter.
    pub(super) fn is_in(&self, namespace: &Namespace, datacenter: &str) -> bool {
        let setting = self.setting(namespace);
        setting.is_none_or(|setting| setting.is_in(datacenter))
    }

    /// The namespaces that are not placed in a datacenter.
    pub(super) fn outside(&self, datacenter: &str) -> Vec<Namespace> {
        let all = self.durable.by_namespace.iter();
        let outside = all.filter(|(_, placing)| {
            let setting = placing.setting.as_ref();
            setting.is_some_and(|setting| !setting.is_in(datacenter))
        });
        outside.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// The namespaces that somebody has placed.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        let all = self.durable.by_namespace.iter();
        let set = all.filter(|(_, placing)| placing.setting.is_some());
        set.map(|(namespace, _)| namespace)
    }

    /// What was on its way into the log will never be there.
    pub(super) fn take_back(&mut self) {
        self.accepted = self.durable.clone();
    }

    /// What stands in the log, or has just become durable.
    pub(super) fn settle(&mut self, placed: &Placed) {
        let placing = placed.placing.clone();
        self.durable.put(&placed.namespace, placing);
    }

    /// The replay is over.
    pub(super) fn begin(&mut self) {
        self.accepted = self.durable.clone();
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.count(self.durable.by_namespace.len());
        for (namespace, placing) in &self.durable.by_namespace {
            writer.bytes(namespace.as_str().as_bytes());
            placing.encode(writer);
        }
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut durable = Table::default();
        for _ in 0..reader.count("placements", usize::MAX)? {
            let namespace = reader.namespace()?;
            durable.put(&namespace, Placing::decode(reader)?);
        }
        let accepted = durable.clone();
        Ok(Self { durable, accepted })
    }
}

impl Replica {
    /// In which datacenters a namespace is; none: in all.
    #[must_use]
    pub fn datacenters_of(&self, namespace: &Namespace) -> Option<&Datacenters> {
        self.placements.setting(namespace)?.datacenters.as_ref()
    }

    /// What decides where a namespace is, as far as this replica knows: of two settings the greater counts. None: nobody has said anything.
    #[must_use]
    pub fn placed_by(&self, namespace: &Namespace) -> Option<(u64, ReplicaId)> {
        let setting = self.placements.setting(namespace)?;
        Some((setting.version, setting.by))
    }

    /// Whether a namespace is placed in this replica's datacenter.
    #[must_use]
    pub fn is_placed_here(&self, namespace: &Namespace) -> bool {
        self.placements.is_in(namespace, &self.config.datacenter)
    }

    /// Whether what is in a namespace may go to a peer. One that has not said yet on its link where it is gets nothing of what is not
    /// everywhere.
    pub(super) fn goes_to(&self, namespace: &Namespace, peer: &ReplicaId) -> bool {
        if self.datacenters_of(namespace).is_none() {
            return true;
        }
        let Some(entry) = self.peers.by_id.get(peer) else {
            return false;
        };
        let session = entry.session.as_ref();
        session.is_some_and(|session| session.introduced)
            && self.placements.is_in(namespace, &entry.datacenter)
    }

    /// Whether a member is one of those who are to hold a namespace. One that has never said where it is may be.
    pub(super) fn is_to_hold(&self, peer: &Peer, namespace: &Namespace) -> bool {
        peer.datacenter.is_empty() || self.placements.is_in(namespace, &peer.datacenter)
    }

    /// Whether anything of a namespace is taken in now.
    pub(super) fn takes_in(&self, namespace: &Namespace) -> bool {
        self.is_placed_here(namespace) && self.departures.is_at_rest(namespace)
    }

    /// Why nothing is read or written in a namespace now, if that is so.
    pub(super) fn refuses_namespace(
        &self,
        namespace: &Namespace,
        to_write: bool,
    ) -> Option<RequestError> {
        if !self.is_placed_here(namespace) {
            let datacenters = self.datacenters_of(namespace);
            let datacenters = datacenters.into_iter().flat_map(Datacenters::iter);
            return Some(RequestError::NotPlacedHere {
                namespace: namespace.clone(),
                datacenters: datacenters.map(str::to_owned).collect(),
            });
        }
        let numbers = self.departures.left(namespace, &self.origin);
        let has_numbers = self.history.accepted(namespace, &self.origin) >= numbers;
        if self.departures.is_at_rest(namespace) && (has_numbers || !to_write) {
            return None;
        }
        let namespace = namespace.clone();
        Some(RequestError::MovingIn { namespace })
    }

    /// The datacenters of which anybody is known to be in.
    fn known_datacenters(&self) -> BTreeSet<String> {
        let peers = self.peers.by_id.values();
        let theirs = peers.map(|peer| peer.datacenter.clone());
        let all = theirs.chain([self.config.datacenter.clone()]);
        all.filter(|name| !name.is_empty()).collect()
    }

    /// Somebody asks for a namespace to be placed.
    pub(super) fn place(
        &mut self,
        now: Now,
        caller: Caller,
        namespace: &Namespace,
        datacenters: Option<Datacenters>,
        force: bool,
    ) {
        let known = self.known_datacenters();
        let named = datacenters.iter().flat_map(Datacenters::iter);
        let strange: Vec<_> = named
            .filter(|name| !known.contains(*name))
            .map(str::to_owned)
            .collect();
        if !strange.is_empty() && !force {
            let known = known.into_iter().collect();
            let error = RequestError::NoDatacenter { strange, known };
            return self.answer(caller, Ticket(0), Err(error));
        }
        let before = self.placements.accepted.by_namespace.get(namespace);
        let placing = before.cloned().unwrap_or_default();
        let changed = placing
            .setting
            .as_ref()
            .is_none_or(|setting| setting.datacenters != datacenters);
        if !changed || placing.setting.is_none() && datacenters.is_none() {
            let reply = Reply::Placed { changed: false };
            return self.answer(caller, self.newest(), Ok(reply));
        }
        let setting = self.next_setting(&placing, datacenters, VERSION_ASKED_MIN);
        let put = setting.and_then(|setting| {
            let setting = Some(setting);
            self.put_placing(now, namespace, Placing { setting, ..placing })
        });
        let reply = put.map(|()| Reply::Placed { changed: true });
        self.answer(caller, self.newest(), reply);
    }

    /// This replica's configuration says where namespaces are. What it said at the last start already says nothing new, or an old
    /// configuration would take back what somebody has asked for since.
    pub(super) fn configure(
        &mut self,
        now: Now,
        caller: Caller,
        configured: BTreeMap<Namespace, Datacenters>,
    ) {
        let table = &self.placements.accepted.by_namespace;
        let gone = table.iter().filter(|(namespace, placing)| {
            placing.configured.is_some() && !configured.contains_key(*namespace)
        });
        let gone = gone.map(|(namespace, placing)| {
            let configured = None;
            let setting = placing.setting.clone();
            let placing = Placing {
                setting,
                configured,
            };
            (namespace.clone(), placing)
        });
        let mut changes: Vec<_> = gone.collect();
        let mut reply = Ok(());
        for (namespace, datacenters) in configured {
            let before = table.get(&namespace).cloned().unwrap_or_default();
            let datacenters = Some(datacenters);
            if before.configured == datacenters {
                continue;
            }
            let is_so = |setting: &Setting| setting.datacenters == datacenters;
            let setting = match before.setting.as_ref().is_some_and(is_so) {
                true => before.setting,
                false => match self.next_setting(&before, datacenters.clone(), 1) {
                    Ok(setting) => Some(setting),
                    Err(error) => {
                        reply = Err(error);
                        continue;
                    }
                },
            };
            let configured = datacenters;
            let placing = Placing {
                setting,
                configured,
            };
            changes.push((namespace, placing));
        }
        let changed = !changes.is_empty();
        for (namespace, placing) in changes {
            if let Err(error) = self.put_placing(now, &namespace, placing) {
                reply = Err(error);
            }
        }
        let reply = reply.map(|()| Reply::Placed { changed });
        self.answer(caller, self.newest(), reply);
    }

    fn next_setting(
        &self,
        before: &Placing,
        datacenters: Option<Datacenters>,
        at_least: u64,
    ) -> Result<Setting, RequestError> {
        let version = Setting::version_after(before.setting.as_ref(), at_least);
        let version = version.ok_or_else(|| {
            let what = "changes of a namespace's placement";
            let max = usize::MAX;
            RequestError::Edit(EditError::TooLarge {
                what,
                value: max,
                max,
            })
        })?;
        Ok(Setting {
            version,
            by: self.config.replica,
            datacenters,
        })
    }

    /// Puts into the log what is known of a namespace now.
    fn put_placing(
        &mut self,
        now: Now,
        namespace: &Namespace,
        placing: Placing,
    ) -> Result<(), RequestError> {
        if !self.placements.accepted.has_room_for(namespace) {
            let max = limits::NAMESPACES_MAX;
            return Err(RequestError::Edit(EditError::TooLarge {
                what: "namespaces with a placement",
                value: max + 1,
                max,
            }));
        }
        self.placements.accepted.put(namespace, placing.clone());
        let namespace = namespace.clone();
        let placed = Placed { namespace, placing };
        self.admit_record(placed.encode(), |lsn| Carried::Placed(lsn, placed));
        self.folding.written(now, self.config.room.fold_idle_ms);
        Ok(())
    }

    /// Somebody else has said where a namespace is.
    pub(super) fn learn(&mut self, now: Now, namespace: &Namespace, setting: Setting) {
        let before = self.placements.accepted.by_namespace.get(namespace);
        let known = before.and_then(|placing| placing.setting.as_ref());
        if known.is_some_and(|known| *known >= setting) || self.pauses(now) {
            return;
        }
        let configured = before.and_then(|placing| placing.configured.clone());
        let setting = Some(setting);
        let placing = Placing {
            setting,
            configured,
        };
        // One too many is not taken in, whoever says it.
        let _ = self.put_placing(now, namespace, placing);
    }

    pub(super) fn placements_heard(
        &mut self,
        now: Now,
        peer: ReplicaId,
        link: LinkId,
        heard: Said,
    ) {
        for (namespace, setting) in heard.settings {
            self.learn(now, &namespace, setting);
        }
        let known = self.placements.accepted.digest();
        if heard.digest.is_some_and(|digest| digest != known) {
            self.say_placements(now, peer, link);
        }
    }

    /// Says all that is known of where namespaces are, not too often.
    pub(super) fn say_placements(&mut self, now: Now, peer: ReplicaId, link: LinkId) {
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        let last = session.placements_said_ms;
        if last.is_some_and(|last| now.mono_ms < last + SAY_EVERY_MS) {
            return;
        }
        session.placements_said_ms = Some(now.mono_ms);
        let table = &self.placements.durable;
        let settings = table
            .by_namespace
            .iter()
            .filter_map(|(namespace, placing)| {
                let setting = placing.setting.clone()?;
                Some((namespace.clone(), setting))
            });
        let settings: Vec<_> = settings.collect();
        let digest = table.digest();
        for some in settings.chunks(limits::PLACEMENTS_PER_FRAME) {
            let said = Said {
                settings: some.to_vec(),
                digest: None,
            };
            self.say(peer, link, &Message::Placements(said));
        }
        self.say_digest_of_placements(peer, link, digest);
    }

    /// Says what is known once more, in short.
    pub(super) fn say_placements_again(&mut self, peer: ReplicaId, link: LinkId) {
        if !self.placements.durable.by_namespace.is_empty() {
            let digest = self.placements.durable.digest();
            self.say_digest_of_placements(peer, link, digest);
        }
    }

    fn say_digest_of_placements(
        &mut self,
        peer: ReplicaId,
        link: LinkId,
        digest: [u8; DIGEST_BYTES],
    ) {
        let said = Said {
            settings: Vec::new(),
            digest: Some(digest),
        };
        self.say(peer, link, &Message::Placements(said));
    }

    /// Says one setting, if there is one.
    pub(super) fn say_placement(&mut self, now: Now, peer: ReplicaId, namespace: &Namespace) {
        let Some(session) = self.peers.session(peer) else {
            return;
        };
        session.restate_soon(now.mono_ms);
        let link = session.link;
        if let Some(setting) = self.placements.setting(namespace).cloned() {
            let said = Said {
                settings: vec![(namespace.clone(), setting)],
                digest: None,
            };
            self.say(peer, link, &Message::Placements(said));
        }
    }

    /// It is durable: now it counts.
    pub(super) fn placed(&mut self, now: Now, placed: &Placed) {
        let namespace = &placed.namespace;
        let before = self.placements.setting(namespace).cloned();
        if before == placed.placing.setting {
            return self.placements.settle(placed);
        }
        // What was stable among those who were to hold it stays so.
        self.advance_stability();
        self.placements.settle(placed);
        for peer in self.peers.linked() {
            self.say_placement(now, peer, namespace);
        }
        let datacenters = |setting: Option<Setting>| setting.and_then(|s| s.datacenters);
        if datacenters(before) != datacenters(placed.placing.setting.clone()) {
            self.placement_changed(now, namespace);
        }
        // Whoever asks whether it is kept asks by the newest setting.
        self.departures.hasten(now);
    }

    fn placement_changed(&mut self, now: Now, namespace: &Namespace) {
        let here = self.is_placed_here(namespace);
        self.outputs.push_back(Output::Notice(Notice::Placed {
            namespace: namespace.clone(),
            datacenters: self.datacenters_of(namespace).cloned(),
            here,
        }));
        if !here {
            self.stop_taking_in(now, namespace);
        }
        for peer in self.peers.by_id.keys().copied().collect::<Vec<_>>() {
            self.place_streams(now, peer, Some(namespace));
        }
        let placements = &self.placements;
        for peer in self.peers.by_id.values_mut() {
            let datacenter = &peer.datacenter;
            if let Some(homecoming) = &mut peer.homecoming {
                homecoming.retain(|namespace| placements.is_in(namespace, datacenter));
            }
        }
        for peer in self.peers.linked() {
            self.welcome_home(now, peer);
        }
        self.damage_looked_at_anew(now);
        self.count_acknowledgements();
        self.comparisons.verifying.stir(now);
        self.peers.behind = true;
        self.peers.wants_due = now.mono_ms + 1;
    }

    /// What is on its way here of a namespace is not waited for any more.
    fn stop_taking_in(&mut self, now: Now, namespace: &Namespace) {
        self.history.drop_held_back(namespace);
        self.peers.wanted.retain(|(of, _), _| of != namespace);
        for peer in self.peers.linked() {
            if let Some(session) = self.peers.session(peer) {
                session.assembly.retain(|name, _| name.0 != *namespace);
            }
        }
        self.stop_seeking(namespace);
        for (caller, request) in self.waits.take_all_of(namespace) {
            // They are refused by the same rule as all others.
            self.carry_out(now, caller, request);
        }
    }

    /// Streams to a peer begin or end by where it is: those of one namespace, or all.
    pub(super) fn place_streams(
        &mut self,
        now: Now,
        peer: ReplicaId,
        namespace: Option<&Namespace>,
    ) {
        let is_meant = |of: &Namespace| namespace.is_none_or(|namespace| namespace == of);
        let session = self.peers.session(peer);
        let streams = session
            .into_iter()
            .flat_map(|session| session.streams.keys());
        let meant: Vec<_> = streams.filter(|name| is_meant(&name.0)).cloned().collect();
        for name in meant {
            if !self.goes_to(&name.0, &peer)
                && let Some(session) = self.peers.session(peer)
            {
                session.put_away(&name);
                session.streams.remove(&name);
            }
        }
        self.comparisons_leave(now, peer);
        let own = |origin: &Origin| origin.replica == self.config.replica;
        let spaces = self.history.spaces().filter(|(of, _)| is_meant(of));
        let open: Vec<_> = spaces
            .flat_map(|(of, space)| {
                let origins = space.durable.iter().map(|(origin, _)| *origin);
                origins.filter(own).map(|origin| (of.clone(), origin))
            })
            .collect();
        for name in open {
            self.open_stream(now, peer, &name);
        }
        self.pump(now, peer);
    }
}

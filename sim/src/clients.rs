//! Clients ask, keep their sessions, go from replica to replica, and repeat what was not answered.

use std::collections::VecDeque;

use anabranch_core::{
    Ack, DocumentId, Frontier, IdempotencyKey, Input, Key, Lsn, Namespace, Request, RequestId,
    Session, Version, Write,
};

use crate::random::Random;
use crate::schedule::Event;
use crate::sessions::{Owed, Seen};
use crate::trace::Topic;
use crate::wording::{Shown, Whose};
use crate::workload::{self, Draft, Drafting};
use crate::world::{Phase, World};

/// Versions that a client remembers.
pub(crate) const VERSIONS_REMEMBERED: usize = 8;
/// A write is asked for so often at most.
const TRIES_MAX: usize = 4;

pub(crate) struct Client {
    pub(crate) site: usize,
    pub(crate) random: Random,
    waiting: Option<RequestId>,
    /// None: it keeps no token.
    pub(crate) session: Option<Seen>,
    pub(crate) versions: VecDeque<(DocumentId, Version)>,
    /// A write under an idempotency key that it may ask for again.
    pub(crate) repeat: Option<Repeat>,
}

/// A write that can be asked for again.
#[derive(Clone)]
pub(crate) struct Repeat {
    pub(crate) number: usize,
    request: Request,
    poison: Option<usize>,
    tries: usize,
}

impl Client {
    pub(crate) fn new(site: usize, mut random: Random) -> Self {
        let session = random.chance(700).then(Seen::default);
        Self {
            site,
            random,
            waiting: None,
            session,
            versions: VecDeque::new(),
            repeat: None,
        }
    }
}

/// A request that has not been answered.
pub(crate) struct Pending {
    pub(crate) site: usize,
    /// None: nobody waits for the answer any more.
    pub(crate) client: Option<usize>,
    pub(crate) asked: Asked,
    pub(crate) asked_us: u64,
    /// How long it is willing to wait for others.
    pub(crate) wait_ms: u64,
    /// What was durable there, and what the session had seen.
    pub(crate) low: Frontier,
    pub(crate) session: Option<Owed>,
}

pub(crate) enum Asked {
    Read {
        document: DocumentId,
        at: Option<Version>,
    },
    Write {
        number: usize,
        namespace: Namespace,
        /// The write of it that can't but fail.
        poison: Option<usize>,
        /// Under a key, and if so one that came with another write.
        key: Option<Reused>,
        based: bool,
    },
    Scan {
        namespace: Namespace,
        prefix: String,
        after: Option<Key>,
        limit: usize,
        values: bool,
    },
    Versions(DocumentId),
    Diff(DocumentId, [Version; 2]),
    Changes {
        after: Lsn,
    },
    /// One is to be set aside.
    SetAside,
    /// Of the namespace that moves.
    Moving(crate::moving::Turn),
    /// The simulator's own, answered on the spot.
    Probe,
}

/// Whether an idempotency key came with another write before.
pub(crate) type Reused = bool;

impl Pending {
    /// Whether it is the subscriber's, which never ends.
    pub(crate) fn is_feed(&self) -> bool {
        matches!(self.asked, Asked::Changes { .. })
    }

    pub(crate) fn write(&self) -> Option<usize> {
        match self.asked {
            Asked::Write { number, .. } => Some(number),
            _ => None,
        }
    }

    pub(crate) fn namespace(&self) -> Option<&Namespace> {
        match &self.asked {
            Asked::Read { document, .. } | Asked::Versions(document) | Asked::Diff(document, _) => {
                Some(&document.namespace)
            }
            Asked::Write { namespace, .. } | Asked::Scan { namespace, .. } => Some(namespace),
            Asked::Changes { .. } | Asked::SetAside | Asked::Moving(_) | Asked::Probe => None,
        }
    }
}

impl World {
    /// A client's turn: it asks for something unless it still waits or its replica is down.
    pub(crate) fn client(&mut self, index: usize) {
        if self.phase != Phase::Chaos {
            return;
        }
        let client = &mut self.clients[index];
        let pause = client.random.tail(1_000, self.plan.think_us_max * 2);
        self.schedule.after(pause, Event::Client(index));
        self.lose_patience(index);
        if self.clients[index].waiting.is_some() {
            return;
        }
        self.wander(index);
        let site = self.clients[index].site;
        if self.machines[site].process.is_none() {
            return;
        }
        if let Some((request, asked)) = self.wish(index, site) {
            self.ask_as(index, site, asked, request);
        }
    }

    /// Whoever has a key waits no longer than they like, and asks again.
    fn lose_patience(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let (Some(id), Some(_)) = (client.waiting, &client.repeat)
            && client.random.chance(250)
        {
            client.waiting = None;
            if let Some(pending) = self.requests.get_mut(&id) {
                pending.client = None;
            }
            self.tally.given_up += 1;
        }
    }

    /// Now and then a client goes to another replica, wherever that stands, or meets another client.
    fn wander(&mut self, index: usize) {
        let down = self.machines[self.clients[index].site].process.is_none();
        let replicas = self.machines.len();
        let clients = self.clients.len();
        let client = &mut self.clients[index];
        if client.random.chance(if down { 500 } else { 120 }) {
            let site = client.random.index(replicas);
            self.tally.hops += u64::from(site != client.site);
            client.site = site;
        }
        if client.random.chance(20) {
            let other = client.random.index(clients);
            let theirs = self.clients[other].session.clone();
            if let (Some(mine), Some(theirs)) = (&mut self.clients[index].session, theirs) {
                mine.merge(&theirs);
            }
        }
    }

    fn wish(&mut self, index: usize, site: usize) -> Option<(Request, Asked)> {
        if self.clients[index].repeat.is_some() && self.clients[index].random.chance(800) {
            return self.ask_again(index);
        }
        match self.clients[index].random.between(0, 99) {
            0..52 => Some(self.wish_write(index)),
            52..54 => self.wish_reused_key(index, site),
            54..80 => {
                let client = &mut self.clients[index];
                let document = workload::any_document(&mut client.random, &self.plan);
                let request = Request::Read {
                    document: document.clone(),
                    at: None,
                    conflicts: client.random.chance(150),
                };
                let at = None;
                Some((request, Asked::Read { document, at }))
            }
            80..88 => self.wish_history(index),
            _ => {
                let request = workload::listing(&mut self.clients[index].random);
                let asked = Asked::of_scan(&request)?;
                Some((request, asked))
            }
        }
    }

    fn draft(&mut self, index: usize, namespace: Namespace, sure: bool) -> Draft {
        let client = &mut self.clients[index];
        let versions = client.versions.iter();
        let drafting = Drafting {
            plan: &self.plan,
            ledger: &self.ledger,
            number: self.ledger.writes.len(),
            versions: versions.map(|(_, version)| version.to_string()).collect(),
        };
        drafting.draft(&mut client.random, namespace, sure)
    }

    fn wish_write(&mut self, index: usize) -> (Request, Asked) {
        let keyed = self.clients[index].random.chance(250);
        // Now and then of a write that may well change nothing, and is remembered nevertheless.
        let sure = keyed && self.clients[index].random.chance(800);
        let namespace = workload::namespace(&mut self.clients[index].random);
        let mut draft = self.draft(index, namespace, sure);
        let based = self.lay_on_versions(index, &mut draft.writes, &draft.namespace);
        let Draft {
            namespace,
            writes,
            parts,
            poison,
        } = draft;
        let site = self.clients[index].site;
        // Of others it is not known which batch they became.
        let signed = parts.iter().any(crate::ledger::Part::is_sure);
        let random = &mut self.clients[index].random;
        let ack = match signed && random.chance(300) {
            true => *random.pick(&acks()),
            false => Ack::Local,
        };
        let number = self.ledger.open(site, namespace.clone(), parts);
        self.ledger.writes[number].ack = ack;
        let key = keyed.then(|| idempotency_key(number));
        self.tally.writes_of_several += u64::from(writes.len() > 1);
        let request = Request::Write {
            namespace: namespace.clone(),
            writes,
            idempotency: key,
            ack,
        };
        self.clients[index].repeat = keyed.then(|| Repeat {
            number,
            request: request.clone(),
            poison,
            tries: 1,
        });
        let asked = Asked::Write {
            number,
            namespace,
            poison,
            key: keyed.then_some(false),
            based,
        };
        (request, asked)
    }

    /// Puts some writes on top of versions that the client has seen.
    fn lay_on_versions(&mut self, index: usize, writes: &mut [Write], of: &Namespace) -> bool {
        let client = &mut self.clients[index];
        let mut based = false;
        for write in writes {
            // What a removal had seen is then not what the replica had.
            let class = write.key.as_str().split('/').next();
            let fits = matches!(class, Some("set" | "feed" | "cart" | "cold"));
            if !fits || !client.random.chance(150) {
                continue;
            }
            let mut known = client.versions.iter();
            let version = known.find(|(id, _)| id.namespace == *of && id.key == write.key);
            write.base = version.map(|(_, version)| version.clone());
            based |= write.base.is_some();
        }
        self.tally.writes_on_versions += u64::from(based);
        based
    }

    fn ask_again(&mut self, index: usize) -> Option<(Request, Asked)> {
        let repeat = self.clients[index].repeat.as_mut()?;
        repeat.tries += 1;
        let last = repeat.tries >= TRIES_MAX;
        let Repeat {
            number,
            request,
            poison,
            ..
        } = repeat.clone();
        if last {
            self.clients[index].repeat = None;
        }
        self.tally.writes_asked_again += 1;
        let namespace = self.ledger.writes[number].namespace.clone();
        let based = matches!(&request, Request::Write { writes, .. } if writes.iter().any(|write| write.base.is_some()));
        let key = Some(false);
        let asked = Asked::Write {
            number,
            namespace,
            poison,
            key,
            based,
        };
        Some((request, asked))
    }

    /// Another write under a key that was used, where that is known.
    fn wish_reused_key(&mut self, index: usize, site: usize) -> Option<(Request, Asked)> {
        let other = self.clients[index].repeat.as_ref()?.number;
        let write = &self.ledger.writes[other];
        let namespace = write.namespace.clone();
        let here = self.durable(site, &namespace);
        let known = |at| crate::ledger::is_in(at, &here);
        if !write.positions.iter().any(known) {
            return None;
        }
        let draft = self.draft(index, namespace, true);
        let poison = draft.poison;
        let namespace = draft.namespace;
        let number = self.ledger.open(site, namespace.clone(), draft.parts);
        let request = Request::Write {
            namespace: namespace.clone(),
            writes: draft.writes,
            idempotency: Some(idempotency_key(other)),
            ack: Ack::Local,
        };
        let asked = Asked::Write {
            number,
            namespace,
            poison,
            key: Some(true),
            based: false,
        };
        Some((request, asked))
    }

    fn wish_history(&mut self, index: usize) -> Option<(Request, Asked)> {
        let client = &mut self.clients[index];
        let versions: Vec<_> = client.versions.iter().cloned().collect();
        if versions.is_empty() {
            return None;
        }
        let (document, version) = client.random.pick(&versions).clone();
        let same = versions.iter().filter(|(id, _)| *id == document);
        let same: Vec<_> = same.map(|(_, version)| version.clone()).collect();
        Some(match client.random.between(0, 3) {
            0 => {
                let request = Request::Versions {
                    document: document.clone(),
                    skip: client.random.index(4),
                    limit: *client.random.pick(&[1, 5, 100]),
                };
                (request, Asked::Versions(document))
            }
            1 => {
                let to = client.random.pick(&same).clone();
                let request = Request::Diff {
                    document: document.clone(),
                    from: version.clone(),
                    to: Some(to.clone()),
                };
                (request, Asked::Diff(document, [version, to]))
            }
            _ => {
                let at = Some(version);
                let request = Request::Read {
                    document: document.clone(),
                    at: at.clone(),
                    conflicts: false,
                };
                (request, Asked::Read { document, at })
            }
        })
    }

    fn ask_as(&mut self, index: usize, site: usize, asked: Asked, request: Request) {
        let client = &mut self.clients[index];
        let session = client.session.as_ref();
        let session = session.map(|seen| (seen.ask(&mut client.random), seen.clone()));
        let id = self.ask(site, Some(index), asked, &request);
        let asked = match session {
            None => Session {
                wait_ms: *self.clients[index].random.pick(&[0, 20, 300, 2_000]),
                ..Session::default()
            },
            Some((session, seen)) => {
                self.owe(id, &seen, session.wait_ms);
                session
            }
        };
        self.clients[index].waiting = Some(id);
        if let Some(pending) = self.requests.get_mut(&id) {
            pending.wait_ms = asked.wait_ms;
        }
        let session = asked;
        self.feed(
            site,
            Input::Request {
                id,
                request,
                session,
            },
        );
    }

    /// Notes what a session is owed.
    fn owe(&mut self, id: RequestId, session: &Seen, wait_ms: u64) {
        let Some(pending) = self.requests.get_mut(&id) else {
            return;
        };
        let Some(namespace) = pending.namespace() else {
            return;
        };
        let seen = session.of(namespace);
        let at_once = pending.low.covers(&seen);
        crate::ledger::join(&mut pending.low, &seen);
        pending.session = Some(Owed {
            seen,
            wait_ms,
            at_once,
        });
    }

    pub(crate) fn ask(
        &mut self,
        site: usize,
        client: Option<usize>,
        asked: Asked,
        request: &Request,
    ) -> RequestId {
        self.names_used += 1;
        let id = RequestId(self.names_used);
        self.note(
            Some(site),
            Topic::Client,
            format_args!("#{} {}{}", id.0, Whose(client, &asked), Shown(request)),
        );
        let mut pending = Pending {
            site,
            client,
            asked,
            asked_us: self.schedule.now_us,
            wait_ms: 0,
            low: Frontier::default(),
            session: None,
        };
        if let Some(namespace) = pending.namespace() {
            pending.low = self.durable(site, namespace);
        }
        self.requests.insert(id, pending);
        id
    }

    /// The subscriber that outlives restarts asks for what is new.
    pub(crate) fn subscriber(&mut self, site: usize) {
        let pause = self.random.between(100_000, 600_000);
        self.schedule.after(pause, Event::Subscriber(site));
        let waits = self
            .requests
            .values()
            .any(|pending| pending.site == site && pending.is_feed());
        if self.machines[site].process.is_none() || waits {
            return;
        }
        let goes = self.plan.releases || self.plan.truncates;
        if goes && self.machines[site].subscriber.at == Lsn(0) {
            // The log may not reach back that far.
            self.resubscribe(site);
            if self.machines[site].subscriber.at == Lsn(0) {
                return;
            }
        }
        let after = self.machines[site].subscriber.at;
        let request = Request::Changes {
            after,
            namespace: None,
        };
        self.request(site, Asked::Changes { after }, request);
    }

    /// Asks a replica for something, in no client's name and without a session.
    pub(crate) fn request(&mut self, site: usize, asked: Asked, request: Request) {
        let id = self.ask(site, None, asked, &request);
        let session = Session::default();
        self.feed(
            site,
            Input::Request {
                id,
                request,
                session,
            },
        );
    }

    /// The subscriber reads the documents, and follows from there.
    pub(crate) fn resubscribe(&mut self, site: usize) {
        let machine = &mut self.machines[site];
        if let Some(process) = machine.process.as_ref().filter(|p| p.live.at > Lsn(0)) {
            machine.subscriber = process.live.clone();
        }
    }

    pub(crate) fn free_client(&mut self, id: RequestId, pending: &Pending) {
        if let Some(index) = pending.client {
            let client = &mut self.clients[index];
            if client.waiting == Some(id) {
                client.waiting = None;
            }
        }
    }
}

impl Asked {
    pub(crate) fn of_scan(request: &Request) -> Option<Self> {
        let Request::Scan {
            namespace,
            prefix,
            after,
            limit,
            values,
        } = request
        else {
            return None;
        };
        Some(Self::Scan {
            namespace: namespace.clone(),
            prefix: prefix.clone(),
            after: after.clone(),
            limit: *limit,
            values: *values,
        })
    }
}

/// What writers ask for who don't trust one datacenter.
fn acks() -> [Ack; 5] {
    [
        Ack::Datacenters(2),
        Ack::Datacenters(2),
        Ack::Datacenters(3),
        Ack::Datacenters(6),
        Ack::All,
    ]
}

fn idempotency_key(number: usize) -> IdempotencyKey {
    IdempotencyKey::new(&format!("k{number}")).expect("a letter and a number make a valid key")
}

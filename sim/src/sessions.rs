//! Sessions: what each has seen, kept apart from what its token says, and whether replicas act on it.
//!
//! A session that has been answered has seen all that was durable where the answer came from, or, after a
//! write, all that came before the write. Whoever serves it later must hold that (read your writes, monotonic
//! reads and writes, writes follow reads), must not make it wait if it does, and turns it away only if not.

use anabranch_core::{Answer, Frontier, Missing, Namespace, Session, Token};

use crate::clients::Pending;
use crate::ledger::{Position, join};
use crate::machine::Holdings;
use crate::random::Random;
use crate::trace::{Topic, site_name};
use crate::world::World;

/// A session that was turned away so often has lost what it has seen for good, as far as a client can tell.
const PATIENCE: u32 = 4;

/// A client's session.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) token: Token,
    pub(crate) holdings: Holdings,
    turned_away: u32,
}

/// What a session was owed when it asked.
pub(crate) struct Owed {
    pub(crate) seen: Frontier,
    pub(crate) wait_ms: u64,
    /// The replica held it all already.
    pub(crate) at_once: bool,
}

impl Seen {
    pub(crate) fn of(&self, namespace: &Namespace) -> Frontier {
        self.holdings.get(namespace).cloned().unwrap_or_default()
    }

    /// Two clients tell each other what they have seen.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.token.merge(&other.token);
        for (namespace, frontier) in &other.holdings {
            join(
                self.holdings.entry(namespace.clone()).or_default(),
                frontier,
            );
        }
    }

    pub(crate) fn ask(&self, random: &mut Random) -> Session {
        Session {
            token: self.token.clone(),
            wait_ms: *random.pick(&[0, 20, 300, 2_000, 8_000]),
        }
    }
}

impl World {
    /// Checker: whoever answers a session holds what it has seen.
    pub(crate) fn served(&mut self, pending: &Pending) {
        let (Some(owed), Some(namespace)) = (&pending.session, pending.namespace()) else {
            return;
        };
        let here = self.durable(pending.site, namespace);
        if !here.covers(&owed.seen) {
            let found = format!(
                "{} answers in {namespace}, where it holds {here:?} and the session has seen {:?}",
                site_name(pending.site),
                owed.seen
            );
            return self.fail(
                "a session is served by those who hold what it has seen",
                found,
            );
        }
        self.tally.sessions_waited += u64::from(!owed.at_once);
    }

    /// Checker: only a replica that is behind says so, and only when the time is up.
    pub(crate) fn turned_away(&mut self, pending: &Pending, missing: &[Missing]) {
        let promise = "only those who are behind turn a session away";
        self.tally.sessions_behind += 1;
        let (Some(owed), Some(namespace)) = (&pending.session, pending.namespace()) else {
            return self.fail(promise, "there was no session".to_owned());
        };
        let waited_ms = (self.schedule.now_us / 1_000).saturating_sub(pending.asked_us / 1_000);
        let here = self.durable(pending.site, namespace);
        let counted = missing.iter().all(|missing| missing.batches > 0);
        if here.covers(&owed.seen) || waited_ms < owed.wait_ms || missing.is_empty() || !counted {
            let found = format!(
                "{} says after {waited_ms} of {} ms that it lacks {missing:?}; it holds {here:?}, the session has seen {:?}",
                site_name(pending.site),
                owed.wait_ms,
                owed.seen
            );
            return self.fail(promise, found);
        }
        let Some(client) = pending.client.map(|index| &mut self.clients[index]) else {
            return;
        };
        let Some(session) = &mut client.session else {
            return;
        };
        session.turned_away += 1;
        if session.turned_away > PATIENCE {
            *session = Seen::default();
            client.versions.clear();
            client.repeat = None;
            self.tally.sessions_ended += 1;
            self.note(
                Some(pending.site),
                Topic::Client,
                format_args!("begins a new session"),
            );
        }
    }

    /// What a session has seen with an answer. `wrote`: the batch that it is the answer to.
    pub(crate) fn saw(&mut self, pending: &Pending, token: &Token, wrote: Option<Position>) {
        let text = token.to_string();
        if text.parse().ok().as_ref() != Some(token) {
            return self.fail("tokens read", text);
        }
        let Some(namespace) = pending.namespace() else {
            return;
        };
        let issued = wrote.and_then(|at| Some((at, self.ledger.issued(namespace, &at)?)));
        let frontier = match issued {
            Some(((origin, seq), issued)) => {
                if let Some(owed) = &pending.session
                    && !issued.past.covers(&owed.seen)
                {
                    let found = format!(
                        "batch {} of {origin} in {namespace} comes after {:?}, and its session has seen {:?}",
                        seq.0, issued.past, owed.seen
                    );
                    return self.fail("writes follow what their session has seen", found);
                }
                let mut frontier = issued.past.clone();
                frontier.raise(origin, seq);
                frontier
            }
            None => self.durable(pending.site, namespace),
        };
        let namespace = namespace.clone();
        let client = pending.client.map(|index| &mut self.clients[index]);
        if let Some(session) = client.and_then(|client| client.session.as_mut()) {
            session.token = token.clone();
            session.turned_away = 0;
            session.holdings.insert(namespace, frontier);
        }
    }

    /// Somebody's session that needs nothing that is not here, or a new one.
    pub(crate) fn satisfied_session(&mut self, namespace: &Namespace, here: &Frontier) -> Session {
        let index = self.random.index(self.clients.len());
        let session = self.clients[index].session.as_ref();
        let token = session
            .filter(|session| here.covers(&session.of(namespace)))
            .map(|session| session.token.clone());
        Session {
            token: token.unwrap_or_default(),
            wait_ms: 5_000,
        }
    }

    /// What is durable at a replica; nothing if it is down.
    pub(crate) fn durable(&self, site: usize, namespace: &Namespace) -> Frontier {
        let process = self.machines[site].process.as_ref();
        process.map_or_else(Frontier::default, |process| {
            process.replica.durable_frontier(namespace)
        })
    }

    /// In the end every session is served everywhere, unless what it has seen was lost with a disk.
    pub(crate) fn check_sessions(&mut self) {
        for index in 0..self.clients.len() {
            let Some(session) = self.clients[index].session.clone() else {
                continue;
            };
            for (namespace, seen) in session.holdings.clone() {
                let sites = self.sites();
                let site = *self.random.pick(&sites);
                let whole = self.durable(site, &namespace).covers(&seen);
                let lost = self.tally.disks_lost + self.tally.disks_restored > 0;
                if !whole && !lost {
                    let found = format!(
                        "client {index} has seen {seen:?} in {namespace}, which {} lacks",
                        site_name(site)
                    );
                    return self.fail("no session outlives what it has seen", found);
                }
                let asked = Session {
                    token: session.token.clone(),
                    wait_ms: 0,
                };
                let Some(answer) = self.read_something(site, &namespace, asked) else {
                    return;
                };
                let served = answer.map(|Answer { .. }| ());
                if served.is_ok() != whole {
                    let found = format!(
                        "{}: {served:?}, and it holds what was seen: {whole}",
                        site_name(site)
                    );
                    return self.fail("sessions are served in the end", found);
                }
            }
        }
    }
}

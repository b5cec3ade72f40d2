//! Clients ask, and what they are told is checked.

use std::collections::VecDeque;

use anabranch_core::{
    Answer, DocumentId, EditError, Input, Lsn, Namespace, Page, Reply, Request, RequestError,
    RequestId, Session, Snapshot, Visible, Write, Written,
};

use crate::ledger::{Fate, Mark};
use crate::random::Random;
use crate::schedule::Event;
use crate::trace::Topic;
use crate::workload;
use crate::world::{Phase, World};

/// Versions that a client remembers, for guards.
const VERSIONS_REMEMBERED: usize = 4;

pub(crate) struct Client {
    pub(crate) site: usize,
    random: Random,
    waiting: Option<RequestId>,
    versions: VecDeque<String>,
}

impl Client {
    pub(crate) fn new(site: usize, random: Random) -> Self {
        Self {
            site,
            random,
            waiting: None,
            versions: VecDeque::new(),
        }
    }
}

/// A request that has not been answered.
pub(crate) struct Pending {
    pub(crate) site: usize,
    client: Option<usize>,
    asked: Asked,
}

enum Asked {
    Read {
        document: DocumentId,
        owed: usize,
    },
    Write {
        number: usize,
    },
    Scan {
        namespace: Namespace,
        values: bool,
        limit: usize,
    },
    Changes {
        after: Lsn,
    },
    Probe,
}

impl Pending {
    /// Whether it is the subscriber's, which never ends.
    pub(crate) fn is_feed(&self) -> bool {
        matches!(self.asked, Asked::Changes { .. })
    }

    pub(crate) fn write(&self) -> Option<usize> {
        match self.asked {
            Asked::Write { number } => Some(number),
            Asked::Read { .. } | Asked::Scan { .. } | Asked::Changes { .. } | Asked::Probe => None,
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
        let site = client.site;
        if client.waiting.is_some() || self.machines[site].process.is_none() {
            return;
        }
        let (request, asked) = match client.random.between(0, 99) {
            0..58 => {
                let number = self.ledger.writes.len();
                let versions: Vec<_> = client.versions.iter().cloned().collect();
                let draft = workload::draft(&mut client.random, &self.plan, number, &versions);
                self.ledger.open(site, draft.document.clone(), draft.mark);
                let write = Write {
                    key: draft.document.key,
                    intent: draft.intent,
                    guard: draft.guard,
                    base: None,
                };
                let request = Request::Write {
                    namespace: draft.document.namespace,
                    writes: vec![write],
                    idempotency: None,
                };
                (request, Asked::Write { number })
            }
            58..92 => {
                let document = workload::any_document(&mut client.random, &self.plan);
                let owed = self.ledger.acknowledged_here(site, &document);
                (
                    Request::Read {
                        document: document.clone(),
                        at: None,
                        conflicts: false,
                    },
                    Asked::Read { document, owed },
                )
            }
            _ => {
                let request = workload::listing(&mut client.random);
                let Request::Scan {
                    namespace,
                    values,
                    limit,
                    ..
                } = &request
                else {
                    return;
                };
                let asked = Asked::Scan {
                    namespace: namespace.clone(),
                    values: *values,
                    limit: *limit,
                };
                (request, asked)
            }
        };
        let id = self.ask(site, Some(index), asked, &request);
        self.clients[index].waiting = Some(id);
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

    fn ask(
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
            format_args!("#{} {}", id.0, Shown(request)),
        );
        self.requests.insert(
            id,
            Pending {
                site,
                client,
                asked,
            },
        );
        id
    }

    /// The subscriber that outlives restarts asks for what is new.
    pub(crate) fn subscriber(&mut self, site: usize) {
        let pause = self.random.between(100_000, 600_000);
        self.schedule.after(pause, Event::Subscriber(site));
        let waits = self
            .requests
            .values()
            .any(|pending| pending.site == site && matches!(pending.asked, Asked::Changes { .. }));
        if self.machines[site].process.is_none() || waits {
            return;
        }
        self.ask_for_changes(site);
    }

    fn ask_for_changes(&mut self, site: usize) {
        let after = self.machines[site].subscriber.at;
        let request = Request::Changes { after };
        let id = self.ask(site, None, Asked::Changes { after }, &request);
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

    /// A reading of a whole namespace, right now.
    pub(crate) fn ask_probe(&mut self, site: usize, namespace: &Namespace) -> (RequestId, Request) {
        let request = Request::Scan {
            namespace: namespace.clone(),
            prefix: String::new(),
            after: None,
            limit: 1_000,
            values: true,
        };
        (self.ask(site, None, Asked::Probe, &request), request)
    }

    pub(crate) fn free_client(&mut self, id: RequestId, pending: &Pending) {
        if let Some(index) = pending.client {
            let client = &mut self.clients[index];
            if client.waiting == Some(id) {
                client.waiting = None;
            }
        }
    }

    pub(crate) fn reply(
        &mut self,
        site: usize,
        id: RequestId,
        reply: Result<Answer, RequestError>,
    ) {
        let reply = reply.map(|answer| answer.reply);
        let Some(pending) = self.requests.remove(&id) else {
            return self.fail(
                "one answer to each request",
                format!("#{} is answered twice", id.0),
            );
        };
        self.free_client(id, &pending);
        let outcome = match &reply {
            Ok(Reply::Written { documents, .. }) => {
                let changed: Vec<_> = documents.iter().map(|written| written.changed).collect();
                format!("written, changed: {changed:?}")
            }
            Ok(Reply::Document { snapshot, .. }) => {
                format!("document, there: {}", snapshot.is_some())
            }
            Ok(Reply::Versions(versions)) => format!("{} versions", versions.versions.len()),
            Ok(Reply::Diff(operations)) => format!("{} differences", operations.len()),
            Ok(Reply::Page(page)) => format!("page of {}", page.documents.len()),
            Ok(Reply::Changes { visible, .. }) => format!("{} batches", visible.len()),
            Err(error) => format!("refused: {error}"),
        };
        self.note(
            Some(site),
            Topic::Client,
            format_args!("#{} {outcome}", id.0),
        );
        match (pending.asked, reply) {
            (Asked::Write { number }, Ok(Reply::Written { documents, .. })) => {
                let [written] = &documents[..] else {
                    let found = format!("w{number} is answered {} times", documents.len());
                    return self.fail("requests are answered", found);
                };
                self.written(site, number, written);
                self.remember(pending.client, &written.version.to_string());
            }
            (Asked::Write { number }, Err(error)) => self.refused(site, number, &error),
            (Asked::Read { document, owed }, Ok(Reply::Document { snapshot, .. })) => {
                self.read(site, pending.client, &document, snapshot.as_ref(), owed);
            }
            (
                Asked::Scan {
                    namespace,
                    values,
                    limit,
                },
                Ok(Reply::Page(page)),
            ) => {
                self.page(site, &namespace, values, limit, &page);
            }
            (Asked::Changes { after }, Ok(Reply::Changes { visible, next })) => {
                self.subscribed(site, after, &visible, next);
            }
            (Asked::Probe, Ok(Reply::Page(page))) => {
                if let Some(probe) = &mut self.convergence.probing {
                    probe.page = Some(page);
                }
            }
            (_, Err(RequestError::Store(_))) => self.tally.reads += 1,
            (_, Err(error)) => self.fail("requests are answered", error.to_string()),
            (_, Ok(_)) => {
                self.fail(
                    "requests are answered",
                    format!("#{} gets another's answer", id.0),
                );
            }
        }
    }

    fn remember(&mut self, client: Option<usize>, version: &str) {
        if let Some(client) = client.map(|index| &mut self.clients[index]) {
            client.versions.push_front(version.to_owned());
            client.versions.truncate(VERSIONS_REMEMBERED);
        }
    }

    /// Checker: a write is acknowledged once its change is durable and shown, not before.
    fn written(&mut self, site: usize, number: usize, written: &Written) {
        self.tally.writes_acknowledged += 1;
        if !written.changed {
            if self.ledger.writes[number].mark != Mark::Value {
                let found = format!("w{number} adds something and is said to change nothing");
                return self.fail("a write does what it says", found);
            }
            return self.ledger.acknowledge(number, None);
        }
        let announced = self.machines[site]
            .process
            .as_mut()
            .and_then(|process| process.announced.pop_front());
        match announced {
            Some((documents, origin, seq))
                if documents[..] == [self.ledger.writes[number].document.clone()] =>
            {
                self.ledger.acknowledge(number, Some((origin, seq)));
            }
            other => {
                let found = format!("w{number} is acknowledged, and durable is {other:?}");
                self.fail("nothing is acknowledged before it is durable", found);
            }
        }
    }

    fn refused(&mut self, site: usize, number: usize, error: &RequestError) {
        let write = &mut self.ledger.writes[number];
        let additive = write.mark != Mark::Value;
        match error {
            RequestError::Store(_) => {
                // Whether it survives is not known: the replica may have handed it out already.
                write.fate = Fate::Unknown;
                self.tally.writes_unknown += 1;
                return;
            }
            RequestError::Edit(EditError::Internal(what)) => {
                let found = format!("w{number} to {}: {what}", write.document);
                return self.fail("no internal errors", found);
            }
            RequestError::Edit(_) | RequestError::Guard { .. } if !additive => {}
            error => {
                let found = format!(
                    "w{number} to {} at {} can't fail and is refused: {error}",
                    write.document,
                    crate::site_name(site)
                );
                return self.fail("a write does what it says", found);
            }
        }
        write.fate = Fate::Refused;
        self.tally.writes_refused += 1;
    }

    /// Checker: a reader finds what was acknowledged here, and nothing that nobody wrote.
    fn read(
        &mut self,
        site: usize,
        client: Option<usize>,
        document: &DocumentId,
        snapshot: Option<&Snapshot>,
        owed: usize,
    ) {
        self.tally.reads += 1;
        if let Some(snapshot) = snapshot {
            self.remember(client, &snapshot.version.to_string());
        }
        let value = snapshot.map(|snapshot| &snapshot.value);
        let result = self.ledger.read(site, document, value, owed);
        self.check("what is read was written", result);
    }

    fn page(
        &mut self,
        site: usize,
        namespace: &Namespace,
        values: bool,
        limit: usize,
        page: &Page,
    ) {
        self.tally.reads += 1;
        let sorted = page
            .documents
            .windows(2)
            .all(|pair| pair[0].key < pair[1].key);
        let whole = page
            .documents
            .iter()
            .all(|listed| listed.snapshot.is_some() == values);
        if !sorted || !whole || page.documents.len() > limit {
            self.fail("listings are in order", format!("{page:?}"));
        }
        for listed in &page.documents {
            let document = DocumentId {
                namespace: namespace.clone(),
                key: listed.key.clone(),
            };
            if let Some(snapshot) = &listed.snapshot {
                let result = self.ledger.read(site, &document, Some(&snapshot.value), 0);
                self.check("what is read was written", result);
            }
        }
    }

    fn subscribed(&mut self, site: usize, after: Lsn, changes: &[Visible], next: Lsn) {
        let own = self.machines[site].origin;
        let machine = &mut self.machines[site];
        if machine.subscriber.at != after {
            return;
        }
        for change in changes {
            let source = own == Some(change.origin);
            let taken = machine
                .subscriber
                .take(change, &mut self.provenance, source);
            if let Err(found) = taken {
                return self.fail("the change feed is whole", format!("subscriber: {found}"));
            }
        }
        if next < machine.subscriber.at {
            let found = format!(
                "to go on from {}, after {} was shown",
                next.0, machine.subscriber.at.0
            );
            return self.fail("the change feed is whole", found);
        }
        machine.subscriber.at = next;
    }
}

/// A request in short form.
struct Shown<'a>(&'a Request);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Request::Read { document, .. } => write!(f, "read {document}"),
            Request::Versions { document, .. } => write!(f, "versions of {document}"),
            Request::Diff { document, .. } => write!(f, "compare {document}"),
            Request::Write {
                namespace, writes, ..
            } => {
                write!(f, "write")?;
                for Write {
                    key, intent, guard, ..
                } in writes
                {
                    write!(f, " {namespace}/{key} {intent:?}")?;
                    if let Some(guard) = guard {
                        write!(f, " if {guard:?}")?;
                    }
                }
                Ok(())
            }
            Request::Scan {
                namespace,
                prefix,
                after,
                limit,
                values,
            } => {
                write!(
                    f,
                    "list {namespace}/{prefix}* after {after:?}, {limit}, values: {values}"
                )
            }
            Request::Changes { after } => write!(f, "changes after {}", after.0),
        }
    }
}

//! Callers and their answers.
//!
//! An answer may contain what is not durable yet (the document in memory runs ahead of the store), so it
//! waits for the commit that carries the newest change in it. With it goes the session's token: what the
//! caller had seen, and what this answer shows.

use super::Replica;
use super::acknowledgement::Wish;
use super::documents::Job;
use super::listing::Scan;
use super::writing::Writing;
use crate::effect::{Answer, Now, Output, Reply, Request, RequestError, RequestId, Session};
use crate::persist::Ticket;
use crate::{DocumentId, Namespace, Origin, Seq, Token, limits};

/// Who asked, and what they have seen.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) id: RequestId,
    /// What the request is about; none for the change feed, which has a position of its own.
    pub(super) namespace: Option<Namespace>,
    pub(super) token: Token,
    /// What else the answer to a write is to wait for.
    pub(super) wish: Option<Wish>,
}

/// What an answer shows of its namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shows {
    /// Something, of all that is durable.
    Durable,
    /// A batch of our own, and with it all that it came after.
    Own(Origin, Seq),
    /// What was done before, in this batch.
    Repeated(Origin, Seq),
}

/// An answer that waits to be given.
pub(super) struct Owed {
    caller: Caller,
    pub(super) reply: Result<Reply, RequestError>,
    pub(super) shows: Shows,
}

impl Owed {
    pub(super) fn wish(&self) -> Option<Wish> {
        self.caller.wish
    }

    pub(super) fn namespace(&self) -> Option<&Namespace> {
        self.caller.namespace.as_ref()
    }
}

impl Request {
    fn namespace(&self) -> Option<&Namespace> {
        match self {
            Self::Read { document, .. }
            | Self::Versions { document, .. }
            | Self::Diff { document, .. } => Some(&document.namespace),
            Self::Write { namespace, .. }
            | Self::Scan { namespace, .. }
            | Self::Verify { namespace } => Some(namespace),
            Self::Changes { .. }
            | Self::SetAside { .. }
            | Self::Place { .. }
            | Self::Configure { .. } => None,
        }
    }

    /// Whether the log is written to for it.
    fn writes(&self) -> bool {
        matches!(
            self,
            Self::Write { .. } | Self::Place { .. } | Self::Configure { .. }
        )
    }

    /// What can be told without looking at anything.
    fn check(&self) -> Result<(), RequestError> {
        let limit = |asked: usize, max: usize| match asked {
            0 => Err(RequestError::Limit { asked, max }),
            _ if asked > max => Err(RequestError::Limit { asked, max }),
            _ => Ok(()),
        };
        match self {
            Self::Scan { limit: asked, .. } => limit(*asked, limits::PAGE_DOCUMENTS_MAX),
            Self::Versions { limit: asked, .. } => limit(*asked, limits::VERSIONS_MAX),
            Self::Read {
                at: Some(_),
                conflicts: true,
                ..
            } => Err(RequestError::ConflictsThen),
            Self::Write { writes, .. } => match writes.len() {
                1..=limits::WRITES_MAX => Ok(()),
                count => Err(RequestError::Count {
                    count,
                    max: limits::WRITES_MAX,
                }),
            },
            Self::Read { .. }
            | Self::Diff { .. }
            | Self::Changes { .. }
            | Self::Verify { .. }
            | Self::SetAside { .. }
            | Self::Place { .. }
            | Self::Configure { .. } => Ok(()),
        }
    }
}

impl Replica {
    pub(super) fn request(&mut self, now: Now, id: RequestId, request: Request, session: Session) {
        let namespace = request.namespace().cloned();
        let refused = match &self.failed {
            Some(error) => Some(RequestError::Store(error.clone())),
            None if self.requests_open >= limits::REQUESTS_MAX => Some(RequestError::Busy),
            None if request.writes() => self.refuses_writes(now).or_else(|| request.check().err()),
            None => request.check().err(),
        };
        let refused = refused.or_else(|| self.refuses_as_placed(&request));
        if let Some(error) = refused {
            let reply = Err(error);
            return self.outputs.push_back(Output::Reply { id, reply });
        }
        self.requests_open += 1;
        // One deadline for all that it waits for.
        let wait_ms = session.wait_ms.min(self.config.room.session_wait_ms_max);
        let deadline_ms = now.mono_ms.saturating_add(wait_ms);
        let wish = match &request {
            Request::Write { ack, .. } if !ack.is_local() => Some(Wish {
                ack: *ack,
                deadline_ms,
            }),
            _ => None,
        };
        let caller = Caller {
            id,
            namespace,
            token: session.token,
            wish,
        };
        if let Some(first) = self.first_unseen(&caller) {
            return self.wait_for_session(now, caller, request, wait_ms, first);
        }
        self.carry_out(now, caller, request);
    }

    fn refuses_as_placed(&self, request: &Request) -> Option<RequestError> {
        let to_write = matches!(request, Request::Write { .. });
        match request {
            Request::Changes {
                namespace: Some(namespace),
                ..
            } => self.refuses_namespace(namespace, false),
            _ => self.refuses_namespace(request.namespace()?, to_write),
        }
    }

    /// Does what was asked, now that everything is here that the session has seen.
    pub(super) fn carry_out(&mut self, now: Now, caller: Caller, request: Request) {
        if let Some(error) = self.refuses_as_placed(&request) {
            return self.answer(caller, Ticket(0), Err(error));
        }
        match request {
            Request::Read {
                document,
                at,
                conflicts,
            } => {
                let job = Job::Read {
                    caller,
                    at,
                    conflicts,
                };
                self.with_document(now, &document, job);
            }
            Request::Versions {
                document,
                skip,
                limit,
            } => {
                let job = Job::Versions {
                    caller,
                    skip,
                    limit,
                };
                self.with_document(now, &document, job);
            }
            Request::Diff { document, from, to } => {
                self.with_document(now, &document, Job::Diff { caller, from, to });
            }
            Request::Write {
                namespace,
                writes,
                idempotency,
                ack: _,
            } => {
                let max = limits::TOKEN_BYTES_MAX;
                let bytes = caller.token.text_bytes_with_one(&namespace);
                if bytes > max {
                    // Once it is written it is too late to say so.
                    let error = RequestError::SessionTooLong { bytes, max };
                    return self.answer(caller, Ticket(0), Err(error));
                }
                let writing = Writing::new(caller, namespace, writes);
                match idempotency {
                    Some(key) => self.write_once(now, writing, &key),
                    None => self.write(now, writing),
                }
            }
            Request::Scan {
                namespace,
                prefix,
                after,
                limit,
                values,
            } => self.scan(Scan {
                caller,
                namespace,
                prefix,
                after,
                limit,
                values,
                whole: false,
                found: Vec::new(),
            }),
            Request::Changes { after, .. } => self.read_changes(caller, after),
            Request::Verify { namespace } => self.verify(now, caller, &namespace),
            Request::SetAside { member, aside } => self.decide(now, caller, member, aside),
            Request::Place {
                namespace,
                datacenters,
                force,
            } => self.place(now, caller, &namespace, datacenters, force),
            Request::Configure { placements } => self.configure(now, caller, placements),
        }
    }

    /// Gives an answer once everything up to `after` is durable.
    pub(super) fn answer(
        &mut self,
        caller: Caller,
        after: Ticket,
        reply: Result<Reply, RequestError>,
    ) {
        self.answer_showing(caller, after, Shows::Durable, reply);
    }

    pub(super) fn answer_showing(
        &mut self,
        caller: Caller,
        after: Ticket,
        shows: Shows,
        reply: Result<Reply, RequestError>,
    ) {
        let owed = Owed {
            caller,
            reply,
            shows,
        };
        if after > self.durable && !self.planted_acknowledge_early() {
            self.held_replies.entry(after).or_default().push(owed);
        } else {
            self.give_out(owed);
        }
    }

    /// Gives an answer of which all is durable, unless it is to wait for others.
    pub(super) fn give_out(&mut self, owed: Owed) {
        if let Some(owed) = self.unless_acknowledgements_lack(owed) {
            self.give_away(owed);
        }
    }

    pub(super) fn give_away(&mut self, owed: Owed) {
        let Owed {
            caller,
            reply,
            shows,
        } = owed;
        self.requests_open -= 1;
        let id = caller.id;
        let reply = reply.and_then(|reply| {
            let token = self.token_after(caller, shows)?;
            Ok(Answer { reply, token })
        });
        self.outputs.push_back(Output::Reply { id, reply });
    }

    /// The store failed before the answer was safe to give.
    pub(super) fn refuse_owed(&mut self, owed: Owed, error: RequestError) {
        let reply = Err(error);
        self.give_away(Owed { reply, ..owed });
    }

    /// What the caller has seen of the namespace before is durable here, or it would not have been served;
    /// so what is durable now, or what a batch of our own came after, says all of it.
    fn token_after(&self, caller: Caller, shows: Shows) -> Result<Token, RequestError> {
        let Caller {
            namespace,
            mut token,
            ..
        } = caller;
        let Some(namespace) = namespace else {
            return Ok(token);
        };
        match shows {
            Shows::Own(origin, seq) => {
                let tag = self.history.tag_of(&origin);
                token.set(&namespace, [(tag, seq)]);
                Ok(token)
            }
            Shows::Durable | Shows::Repeated(..) => {
                let space = self.history.space(&namespace);
                let heads = space
                    .into_iter()
                    .flat_map(|space| space.durable_heads.iter());
                let heads = heads.map(|(origin, seq)| (self.history.tag_of(origin), *seq));
                token.set(&namespace, heads);
                let (bytes, max) = (token.text_bytes(), limits::TOKEN_BYTES_MAX);
                if bytes > max {
                    return Err(RequestError::SessionTooLong { bytes, max });
                }
                Ok(token)
            }
        }
    }

    /// A document's address within what a caller asked about.
    pub(super) fn address(namespace: &Namespace, key: &crate::Key) -> DocumentId {
        DocumentId {
            namespace: namespace.clone(),
            key: key.clone(),
        }
    }
}

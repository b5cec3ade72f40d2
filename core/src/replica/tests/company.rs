//! Several peers at once, each on a link of its own.

use std::sync::Arc;

use super::bed::{Bed, namespace};
use crate::effect::{Ack, Input, LinkId, Output, Reply, Request, RequestId, Session};
use crate::message::{Hello, Message, PROTOCOL_NEWEST, PROTOCOL_OLDEST};
use crate::{Acknowledged, Batch, Incarnation, Origin, ReplicaId, Seq, Token};

fn link(peer: u8) -> LinkId {
    LinkId(100 + u64::from(peer))
}

pub(super) fn id(peer: u8) -> ReplicaId {
    ReplicaId([peer; 16])
}

/// The same, for who is to wait.
pub(super) fn asking(ack: Ack, request: Request) -> Request {
    match request {
        Request::Write {
            namespace,
            writes,
            idempotency,
            ..
        } => Request::Write {
            namespace,
            writes,
            idempotency,
            ack,
        },
        other => panic!("not a write: {other:?}"),
    }
}

impl Bed {
    /// Links a peer, which says who it is and what it holds in the namespace that tests write to.
    pub(super) fn meet_as(&mut self, peer: u8, datacenter: &str, holds: &[(Origin, u64)]) {
        self.link_to(peer);
        self.hello_of(peer, datacenter);
        self.state(peer, holds);
    }

    pub(super) fn link_to(&mut self, peer: u8) {
        let (link, peer) = (link(peer), id(peer));
        self.give(Input::LinkUp { link, peer });
    }

    pub(super) fn hello_of(&mut self, peer: u8, datacenter: &str) {
        let hello = Hello {
            oldest: PROTOCOL_OLDEST,
            name: format!("{datacenter}-{peer}"),
            datacenter: datacenter.to_owned(),
            incarnation: Incarnation(1),
            heard: true,
        };
        self.tell_as(peer, &Message::Hello(hello));
        let newest = PROTOCOL_NEWEST;
        self.tell_as(peer, &Message::Speaks { newest });
    }

    /// The peer says everything that it holds.
    pub(super) fn state(&mut self, peer: u8, holds: &[(Origin, u64)]) {
        self.say_held(peer, true, holds);
    }

    /// The peer says that it holds more.
    pub(super) fn acknowledge(&mut self, peer: u8, holds: &[(Origin, u64)]) {
        self.say_held(peer, false, holds);
    }

    fn say_held(&mut self, peer: u8, whole: bool, holds: &[(Origin, u64)]) {
        let held = holds.iter().filter(|(_, seq)| *seq > 0);
        let held = held.map(|(origin, seq)| (*origin, Seq(*seq)));
        let sections = vec![(namespace(0), held.collect())];
        self.tell_as(peer, &Message::Frontier { whole, sections });
    }

    pub(super) fn tell_as(&mut self, peer: u8, message: &Message) {
        let (link, bytes) = (link(peer), message.encode());
        self.give(Input::Frame { link, bytes });
    }

    /// A batch comes from a peer.
    pub(super) fn hear_as(&mut self, peer: u8, batch: Batch) {
        self.tell_as(peer, &Message::Delta(vec![Arc::new(batch)]));
    }

    pub(super) fn part_from(&mut self, peer: u8) {
        self.give(Input::LinkDown { link: link(peer) });
    }

    /// What has been said to a peer since the last time.
    pub(super) fn said_to(&mut self, peer: u8) -> Vec<Message> {
        let mut said = Vec::new();
        self.outputs.retain(|output| match output {
            Output::Send { link: to, frame } if *to == link(peer) => {
                said.push(Message::decode(frame).unwrap());
                false
            }
            _ => true,
        });
        said
    }

    /// Asks for so long at most.
    pub(super) fn ask_within(&mut self, number: u64, wait_ms: u64, request: Request) -> RequestId {
        let id = RequestId(number);
        let session = Session {
            token: Token::default(),
            wait_ms,
        };
        self.give(Input::Request {
            id,
            request,
            session,
        });
        id
    }

    /// What a writer was told of those who hold it, if anything yet.
    pub(super) fn acknowledged(&mut self, id: RequestId) -> Option<Acknowledged> {
        match self.answer(id)?.unwrap().reply {
            Reply::Written { acknowledged, .. } => acknowledged,
            other => panic!("asked for a write, got {other:?}"),
        }
    }

    /// Sets a member aside, or counts it again.
    pub(super) fn decide(&mut self, peer: u8, aside: bool) -> RequestId {
        let member = id(peer);
        let request = Request::SetAside { member, aside };
        self.ask(request, &Token::default())
    }
}

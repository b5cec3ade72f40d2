//! The network: connections that delay, lose, double and reorder, that are cut in mid-stream and come back.

use anabranch_core::{Input, LinkId};
use bytes::Bytes;

use crate::plan::{Quality, quality};
use crate::random::Random;
use crate::schedule::{EndId, Event};
use crate::trace::Topic;
use crate::world::{Phase, World};

/// Two replicas and what lies between them.
pub(crate) struct Pair {
    pub(crate) sites: [usize; 2],
    pub(crate) quality: Quality,
    /// Whether nothing gets through from the first to the second, and back.
    pub(crate) blocked: [bool; 2],
    pub(crate) current: Option<u64>,
    connecting: bool,
}

impl Pair {
    pub(crate) fn all(replicas: usize, random: &mut Random) -> Vec<Self> {
        let mut pairs = Vec::new();
        for a in 0..replicas {
            for b in a + 1..replicas {
                pairs.push(Self {
                    sites: [a, b],
                    quality: quality(random),
                    blocked: [false; 2],
                    current: None,
                    connecting: false,
                });
            }
        }
        pairs
    }
}

/// One connection, from the first attempt until both ends know that it is over.
pub(crate) struct Connection {
    pub(crate) pair: usize,
    ends: [End; 2],
}

struct End {
    site: usize,
    generation: u64,
    link: LinkId,
    up_us: u64,
    state: State,
    /// When the wire has taken all that was sent from here.
    wire_free_us: u64,
    /// When the last frame sent to here arrives.
    last_arrival_us: u64,
    /// Nothing arrives here after this.
    cut_us: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Coming,
    Up,
    Gone,
}

impl World {
    pub(crate) fn connect_later(&mut self, pair: usize, within_us: u64) {
        if self.pairs[pair].connecting || self.pairs[pair].current.is_some() {
            return;
        }
        self.pairs[pair].connecting = true;
        let after = self.random.between(0, within_us);
        self.schedule.after(after, Event::Connect(pair));
    }

    pub(crate) fn connect(&mut self, index: usize) {
        let pair = &mut self.pairs[index];
        pair.connecting = false;
        if pair.current.is_some() {
            return;
        }
        let sites = pair.sites;
        let both = sites
            .iter()
            .all(|site| self.machines[*site].process.is_some());
        if !both {
            return;
        }
        if pair.blocked.contains(&true) {
            return self.connect_later(index, 500_000);
        }
        self.names_used += 1;
        let id = self.names_used;
        let delay = self.pairs[index].quality.delay_us;
        let ends = [0, 1].map(|side| {
            self.names_used += 1;
            let link = LinkId(self.names_used);
            let end = EndId {
                connection: id,
                side,
            };
            self.links.insert(link, end);
            let up_us = self.schedule.now_us + self.random.between(delay / 2, delay * 2);
            self.schedule.at(up_us, Event::Up(end));
            End {
                site: sites[side],
                generation: self.machines[sites[side]].generation,
                link,
                up_us,
                state: State::Coming,
                wire_free_us: 0,
                last_arrival_us: 0,
                cut_us: u64::MAX,
            }
        });
        self.connections
            .insert(id, Connection { pair: index, ends });
        self.pairs[index].current = Some(id);
    }

    fn end_of(&mut self, id: EndId) -> Option<&mut End> {
        self.connections
            .get_mut(&id.connection)
            .map(|connection| &mut connection.ends[id.side])
    }

    pub(crate) fn up(&mut self, id: EndId) {
        let Some(end) = self.end_of(id).filter(|end| end.state == State::Coming) else {
            return;
        };
        end.state = State::Up;
        let (site, link) = (end.site, end.link);
        let Some(peer) = self.end_of(id.other()).map(|end| end.site) else {
            return;
        };
        let peer_id = self.machines[peer].id;
        self.note(
            Some(site),
            Topic::Wire,
            format_args!("link {} to {} is up", link.0, crate::site_name(peer)),
        );
        self.feed(
            site,
            Input::LinkUp {
                link,
                peer: peer_id,
            },
        );
    }

    pub(crate) fn down(&mut self, id: EndId) {
        let Some(end) = self.end_of(id).filter(|end| end.state != State::Gone) else {
            return;
        };
        let was_up = end.state == State::Up;
        end.state = State::Gone;
        let (site, link) = (end.site, end.link);
        self.links.remove(&link);
        self.forget(id.connection);
        if was_up {
            self.note(
                Some(site),
                Topic::Wire,
                format_args!("link {} is down", link.0),
            );
            self.feed(site, Input::LinkDown { link });
        }
    }

    /// Lets go of a connection of which both ends know the end.
    fn forget(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let pair = connection.pair;
        if connection.ends.iter().all(|end| end.state == State::Gone) {
            self.connections.remove(&id);
        }
        if self.pairs[pair].current == Some(id) {
            self.pairs[pair].current = None;
            self.connect_later(pair, 1_000_000);
        }
    }

    pub(crate) fn send(&mut self, site: usize, link: LinkId, frame: Bytes) {
        let Some(id) = self.links.get(&link).copied() else {
            return self.tell_liar(site, link, &frame);
        };
        let now_us = self.schedule.now_us;
        let Some(connection) = self.connections.get_mut(&id.connection) else {
            return;
        };
        let pair = &self.pairs[connection.pair];
        let Quality {
            delay_us,
            jitter_us,
            bytes_per_ms,
            ..
        } = pair.quality;
        let quality = pair.quality;
        let blocked = pair.blocked[usize::from(pair.sites[0] != site)];
        let from = &mut connection.ends[id.side];
        if from.state != State::Up {
            return;
        }
        let takes = frame.len() as u64 * 1_000 / bytes_per_ms;
        from.wire_free_us = from.wire_free_us.max(now_us) + takes;
        let left_us = from.wire_free_us;
        self.tally.frames += 1;
        self.note(
            Some(site),
            Topic::Wire,
            format_args!(
                "sends {} of {} bytes over link {}",
                kind(&frame),
                frame.len(),
                link.0
            ),
        );
        self.trace.absorb(&frame);
        self.schedule.at(left_us, Event::Sent(id, frame.len()));
        if blocked || self.random.chance(quality.lost) {
            self.tally.frames_lost += 1;
            return;
        }
        let mut arrives = left_us + delay_us + self.random.tail(0, jitter_us);
        if !self.random.chance(quality.reordered)
            && let Some(to) = self.end_of(id.other())
        {
            to.last_arrival_us = to.last_arrival_us.max(arrives);
            arrives = to.last_arrival_us;
        }
        if self.random.chance(quality.doubled) {
            self.tally.frames_doubled += 1;
            let again = arrives + self.random.tail(0, 300_000);
            self.schedule
                .at(again, Event::Deliver(id.other(), frame.clone()));
        }
        let frame = if self.random.chance(quality.garbled) {
            self.garble(&frame)
        } else {
            frame
        };
        self.schedule.at(arrives, Event::Deliver(id.other(), frame));
    }

    /// A frame that can't be read. A flipped bit inside a delta would read as another delta; links
    /// authenticate what they carry, so that can't happen to them, and it does not happen here.
    fn garble(&mut self, frame: &Bytes) -> Bytes {
        self.tally.frames_garbled += 1;
        match self.random.between(0, 2) {
            0 => frame.slice(..self.random.index(frame.len())),
            1 => {
                let mut bytes = frame.to_vec();
                bytes[0] |= 0x40;
                bytes.into()
            }
            _ => {
                let mut bytes = frame.to_vec();
                bytes.push(0);
                bytes.into()
            }
        }
    }

    pub(crate) fn deliver(&mut self, id: EndId, frame: Bytes) {
        let now_us = self.schedule.now_us;
        let Some(connection) = self.connections.get(&id.connection) else {
            return;
        };
        let pair = &self.pairs[connection.pair];
        let end = &connection.ends[id.side];
        let blocked = pair.blocked[usize::from(pair.sites[1] != end.site)];
        if end.state == State::Gone || now_us > end.cut_us || blocked {
            self.tally.frames_lost += 1;
            return;
        }
        if end.state == State::Coming {
            let at_us = end.up_us + 1;
            return self.schedule.at(at_us, Event::Deliver(id, frame));
        }
        let (site, link) = (end.site, end.link);
        self.note(
            Some(site),
            Topic::Wire,
            format_args!(
                "gets {} of {} bytes over link {}",
                kind(&frame),
                frame.len(),
                link.0
            ),
        );
        self.feed(site, Input::Frame { link, bytes: frame });
    }

    pub(crate) fn sent(&mut self, id: EndId, bytes: usize) {
        if let Some(end) = self.end_of(id).filter(|end| end.state == State::Up) {
            let (site, link) = (end.site, end.link);
            self.feed(site, Input::Sent { link, bytes });
        }
    }

    pub(crate) fn disconnect(&mut self, site: usize, link: LinkId, reason: &str) {
        self.note(
            Some(site),
            Topic::Wire,
            format_args!("closes link {}: {reason}", link.0),
        );
        self.drop_liar(site, link);
        if let Some(id) = self.links.get(&link).copied() {
            if let Some(end) = self.end_of(id) {
                end.state = State::Gone;
            }
            self.links.remove(&link);
            let after = self.random.tail(1_000, 1_000_000);
            self.schedule.after(after, Event::Down(id.other()));
            self.forget(id.connection);
        }
    }

    /// Cuts a connection in mid-stream: some of what is under way is lost, and the ends find out one by one.
    pub(crate) fn reset(&mut self, id: u64) {
        let now_us = self.schedule.now_us;
        let cuts = [0, 1].map(|_| now_us + self.random.tail(0, 200_000));
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let pair = connection.pair;
        for (end, cut_us) in connection.ends.iter_mut().zip(cuts) {
            end.cut_us = end.cut_us.min(cut_us);
        }
        for (side, cut_us) in cuts.into_iter().enumerate() {
            let at_us = cut_us + self.random.tail(1_000, 3_000_000);
            self.schedule.at(
                at_us,
                Event::Down(EndId {
                    connection: id,
                    side,
                }),
            );
        }
        if self.pairs[pair].current == Some(id) {
            self.pairs[pair].current = None;
            // The new one may be up before both ends know that the old one is down.
            self.connect_later(pair, 2_000_000);
        }
    }

    /// Nothing gets through one way or both ways for a while.
    pub(crate) fn partition(&mut self, pair: usize, ways: [bool; 2], lasts_us: u64) {
        self.pairs[pair].blocked = ways;
        self.schedule.after(lasts_us, Event::Unblock(pair));
        if let Some(connection) = self.pairs[pair].current {
            let patience = self.random.between(200_000, 4_000_000);
            let end = EndId {
                connection,
                side: 0,
            };
            self.schedule.after(patience, Event::Expire(end));
        }
    }

    pub(crate) fn expire(&mut self, end: EndId) {
        let pair = self
            .connections
            .get(&end.connection)
            .map(|connection| connection.pair);
        if pair.is_some_and(|pair| self.pairs[pair].blocked.contains(&true)) {
            self.reset(end.connection);
        }
    }

    pub(crate) fn unblock(&mut self, pair: usize) {
        self.pairs[pair].blocked = [false; 2];
        self.note(
            None,
            Topic::Fault,
            format_args!("pair {pair} can speak again"),
        );
    }

    /// The process at a site has ended: its ends are gone, the others find out later.
    pub(crate) fn abandon_links(&mut self, site: usize) {
        let mut gone = Vec::new();
        for (id, connection) in &mut self.connections {
            for (side, end) in connection.ends.iter_mut().enumerate() {
                if end.site == site && end.state != State::Gone {
                    debug_assert_eq!(end.generation, self.machines[site].generation);
                    end.state = State::Gone;
                    gone.push((
                        EndId {
                            connection: *id,
                            side,
                        },
                        end.link,
                    ));
                }
            }
        }
        for (id, link) in gone {
            self.links.remove(&link);
            let after = if self.phase == Phase::Chaos {
                self.random.tail(1_000, 3_000_000)
            } else {
                self.random.tail(1_000, 100_000)
            };
            self.schedule.after(after, Event::Down(id.other()));
            self.forget(id.connection);
        }
    }
}

fn kind(frame: &[u8]) -> &'static str {
    match frame.first() {
        Some(1) => "hello",
        Some(2) => "frontier",
        Some(3) => "delta",
        Some(4) => "want",
        Some(5) => "ask",
        Some(6) => "given",
        Some(20) => "something compressed",
        Some(21) => "backlog",
        Some(22) => "part",
        Some(23) => "taken",
        Some(24) => "standing",
        Some(25) => "restate",
        _ => "garbage",
    }
}

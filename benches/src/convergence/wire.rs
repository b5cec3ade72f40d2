//! What lies between the datacenters.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anabranch::relay::{Relay, Shape};

use super::place::Place;
use super::topology::Topology;
use super::wan::Wan;
use crate::Outcome;
use crate::procfs::Process;

/// Bytes by who sent them to whom.
pub(crate) type Bytes = BTreeMap<(usize, usize), u64>;

/// What an IP packet holds besides a UDP payload.
pub(crate) const HEADER_BYTES: u64 = 28;

pub(crate) enum Wire {
    Wan(Wan),
    Relays(Vec<Span>),
}

/// A relay between two: the later one dials the earlier one through it.
pub(crate) struct Span {
    ends: (usize, usize),
    relay: Relay,
    shape: Shape,
}

impl Wire {
    pub(crate) fn new(wan: Option<&Path>, topology: &Topology) -> Outcome<Self> {
        match wan {
            Some(program) => Ok(Self::Wan(Wan::start(program, topology)?)),
            None => Ok(Self::Relays(Vec::new())),
        }
    }

    pub(crate) fn is_wan(&self) -> bool {
        matches!(self, Self::Wan(_))
    }

    pub(crate) fn place(&self, host: usize) -> Place {
        match self {
            Self::Wan(wan) => wan.place(host),
            Self::Relays(_) => Place::here(),
        }
    }

    /// The address at which a later one finds an earlier one.
    pub(crate) fn path(
        &mut self,
        topology: &Topology,
        (near, far): (usize, usize),
        target: SocketAddr,
    ) -> Outcome<SocketAddr> {
        let Self::Relays(spans) = self else {
            return Ok(target);
        };
        let one_way = topology.one_way_ms(near, far);
        let shape = Shape::one_way(Duration::from_secs_f64(one_way / 1_000.0));
        let relay = Relay::start(target, shape)?;
        let address = relay.addr();
        spans.push(Span {
            ends: (near, far),
            relay,
            shape,
        });
        Ok(address)
    }

    /// Cuts one off from all others.
    pub(crate) fn cut(&mut self, host: usize) -> Outcome<()> {
        match self {
            Self::Wan(wan) => wan.cut(host),
            Self::Relays(spans) => {
                of(spans, host).for_each(|span| span.relay.cut());
                Ok(())
            }
        }
    }

    pub(crate) fn heal(&mut self, host: usize) -> Outcome<()> {
        match self {
            Self::Wan(wan) => wan.heal(host),
            Self::Relays(spans) => {
                of(spans, host).for_each(|span| span.relay.heal());
                Ok(())
            }
        }
    }

    /// Loss and rate between two, both ways: parts of a million, and kbit/s or 0 for no limit.
    pub(crate) fn shape(&mut self, a: usize, b: usize, loss_ppm: u32, kbit: u64) -> Outcome<()> {
        let spans = match self {
            Self::Wan(wan) => return wan.shape(a, b, loss_ppm, kbit),
            Self::Relays(spans) => spans,
        };
        for span in spans {
            if span.ends == (a.min(b), a.max(b)) {
                span.shape.loss_ppm = loss_ppm;
                span.shape.bytes_per_s = (kbit > 0).then_some(kbit * 1_000 / 8);
                span.relay.set_shape(span.shape);
            }
        }
        Ok(())
    }

    /// Bytes that were delivered: of IP packets by the WAN tool, of UDP payload by relays.
    pub(crate) fn bytes(&mut self) -> Outcome<Bytes> {
        let spans = match self {
            Self::Wan(wan) => return wan.bytes(),
            Self::Relays(spans) => spans,
        };
        let mut bytes = Bytes::new();
        for span in spans {
            let (near, far) = span.ends;
            *bytes.entry((far, near)).or_default() += span.relay.to_target().bytes;
            *bytes.entry((near, far)).or_default() += span.relay.to_client().bytes;
        }
        Ok(bytes)
    }

    /// The WAN tool; relays run in this process.
    pub(crate) fn process(&self) -> Option<Process> {
        match self {
            Self::Wan(wan) => Some(wan.process()),
            Self::Relays(_) => None,
        }
    }
}

fn of(spans: &[Span], host: usize) -> impl Iterator<Item = &Span> {
    let touches = move |span: &&Span| span.ends.0 == host || span.ends.1 == host;
    spans.iter().filter(touches)
}

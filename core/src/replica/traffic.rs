//! Bytes between this replica and a peer, and those that wait for the link.

use std::collections::VecDeque;

use serde::Serialize;

use crate::message::Traffic;

/// Bytes of frames one way, by what they were for, as they went over the link: compressed, without what QUIC adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TrafficBytes {
    /// Batches sent as they became durable.
    pub push: u64,
    /// Batches read from the log, for who had fallen behind.
    pub catch_up: u64,
    /// Documents, and what it took to find out which.
    pub repair: u64,
    /// All the rest: who is there, who holds what.
    pub control: u64,
}

impl TrafficBytes {
    pub(super) fn add(&mut self, traffic: Traffic, bytes: usize) {
        let count = match traffic {
            Traffic::Push => &mut self.push,
            Traffic::CatchUp => &mut self.catch_up,
            Traffic::Repair => &mut self.repair,
            Traffic::Control => &mut self.control,
        };
        *count += bytes as u64;
    }
}

/// What has been given out to a link and has not left the driver's queue: in order, so that it is known what has.
#[derive(Default)]
pub(super) struct InFlight {
    frames: VecDeque<(usize, bool)>,
    bytes: usize,
    fresh: usize,
}

impl InFlight {
    /// `fresh`: a push that others are to be gathered behind.
    pub(super) fn add(&mut self, bytes: usize, fresh: bool) {
        self.frames.push_back((bytes, fresh));
        self.bytes += bytes;
        self.fresh += usize::from(fresh);
    }

    /// So many bytes have left, the oldest first.
    pub(super) fn left(&mut self, mut bytes: usize) {
        while let Some((frame, fresh)) = self.frames.front_mut() {
            let gone = bytes.min(*frame);
            *frame -= gone;
            self.bytes -= gone;
            bytes -= gone;
            if *frame > 0 {
                return;
            }
            self.fresh -= usize::from(*fresh);
            self.frames.pop_front();
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a push is on its way.
    pub(super) fn is_pushing(&self) -> bool {
        self.fresh > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_is_what_went_first() {
        let mut flight = InFlight::default();
        flight.add(10, true);
        flight.add(5, false);
        flight.add(7, true);
        flight.left(9);
        assert!(flight.is_pushing());
        flight.left(1);
        flight.left(5);
        assert_eq!(flight.bytes(), 7);
        assert!(flight.is_pushing());
        flight.left(100);
        assert_eq!(flight.bytes(), 0);
        assert!(!flight.is_pushing());
    }
}

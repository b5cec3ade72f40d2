//! Datagrams that wait for their time, without sockets or clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{RELAY_QUEUE_BYTES_MAX, RELAY_QUEUE_DATAGRAMS_MAX};

/// One direction's datagrams under way.
pub(super) struct DelayLine<T> {
    waiting: VecDeque<(Instant, T, Box<[u8]>)>,
    bytes: usize,
}

impl<T> DelayLine<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Takes a datagram in; false if there is no room. It never overtakes an earlier one, even if the delay shrinks.
    pub(super) fn push(
        &mut self,
        now: Instant,
        delay: Duration,
        target: T,
        payload: &[u8],
    ) -> bool {
        if self.waiting.len() >= RELAY_QUEUE_DATAGRAMS_MAX
            || self.bytes + payload.len() > RELAY_QUEUE_BYTES_MAX
        {
            return false;
        }
        let due = now + delay;
        let due = self.waiting.back().map_or(due, |(last, ..)| due.max(*last));
        self.bytes += payload.len();
        self.waiting.push_back((due, target, payload.into()));
        true
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|(due, ..)| *due)
    }

    pub(super) fn pop(&mut self) -> Option<(T, Box<[u8]>)> {
        let (_, target, payload) = self.waiting.pop_front()?;
        self.bytes -= payload.len();
        Some((target, payload))
    }

    pub(super) fn clear(&mut self) -> u64 {
        let count = self.waiting.len() as u64;
        self.waiting.clear();
        self.bytes = 0;
        count
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn datagrams_leave_in_order_even_when_the_delay_shrinks() {
        let mut line = DelayLine::new();
        let now = Instant::now();
        let ms = Duration::from_millis;
        assert!(line.push(now, ms(50), 1, b"slow"));
        assert!(line.push(now + ms(1), ms(5), 2, b"fast"));
        assert_eq!(line.due(), Some(now + ms(50)));
        assert_eq!(line.pop().unwrap().0, 1);
        assert_eq!(line.due(), Some(now + ms(50)));
        assert_eq!(line.pop().unwrap().0, 2);
        assert_eq!((line.due(), line.bytes), (None, 0));
    }

    #[test]
    fn the_queue_is_bounded_in_datagrams_and_in_bytes() {
        let now = Instant::now();
        let mut line = DelayLine::new();
        let taken = (0..=RELAY_QUEUE_DATAGRAMS_MAX)
            .filter(|_| line.push(now, Duration::ZERO, (), b"x"))
            .count();
        assert_eq!(taken, RELAY_QUEUE_DATAGRAMS_MAX);
        assert_eq!(line.clear(), RELAY_QUEUE_DATAGRAMS_MAX as u64);
        let large = vec![0; 1 << 16];
        let taken = (0..=RELAY_QUEUE_BYTES_MAX >> 16)
            .filter(|_| line.push(now, Duration::ZERO, (), &large))
            .count();
        assert_eq!(taken, RELAY_QUEUE_BYTES_MAX >> 16);
    }
}

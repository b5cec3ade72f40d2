//! Datagrams that wait for their time or are lost, without sockets or clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Shape;
use crate::limits::{RELAY_BACKLOG_BYTES_MAX, RELAY_QUEUE_BYTES_MAX, RELAY_QUEUE_DATAGRAMS_MAX};

/// One direction's datagrams under way.
pub(super) struct DelayLine<T> {
    waiting: VecDeque<(Instant, T, Box<[u8]>)>,
    bytes: usize,
    /// When a limited rate has let through all that came before.
    free_at: Option<Instant>,
}

impl<T> DelayLine<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            free_at: None,
        }
    }

    /// Takes a datagram in; false if there is no room. It never overtakes an earlier one, even if the delay shrinks.
    pub(super) fn push(&mut self, now: Instant, shape: Shape, target: T, payload: &[u8]) -> bool {
        if self.waiting.len() >= RELAY_QUEUE_DATAGRAMS_MAX
            || self.bytes + payload.len() > RELAY_QUEUE_BYTES_MAX
        {
            return false;
        }
        let Some(leaves) = self.leaves(now, shape.bytes_per_s, payload.len()) else {
            return false;
        };
        let due = leaves + shape.one_way;
        let due = self.waiting.back().map_or(due, |(last, ..)| due.max(*last));
        self.bytes += payload.len();
        self.waiting.push_back((due, target, payload.into()));
        true
    }

    /// When the last byte has gone out at this rate; none if too much waits for that already.
    fn leaves(&mut self, now: Instant, bytes_per_s: Option<u64>, bytes: usize) -> Option<Instant> {
        let Some(rate) = bytes_per_s else {
            self.free_at = None;
            return Some(now);
        };
        let time = |bytes: usize| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        let begins = self.free_at.map_or(now, |free| free.max(now));
        if begins - now > time(RELAY_BACKLOG_BYTES_MAX) {
            return None;
        }
        let ends = begins + time(bytes);
        self.free_at = Some(ends);
        Some(ends)
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
        self.free_at = None;
        count
    }
}

/// Decides what is lost: xorshift64 (Marsaglia 2003), the same in every run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(super) fn lose(&mut self, loss_ppm: u32) -> bool {
        if loss_ppm == 0 {
            return false;
        }
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % 1_000_000 < u64::from(loss_ppm)
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
        assert!(line.push(now, Shape::one_way(ms(50)), 1, b"slow"));
        assert!(line.push(now + ms(1), Shape::one_way(ms(5)), 2, b"fast"));
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
            .filter(|_| line.push(now, Shape::one_way(Duration::ZERO), (), b"x"))
            .count();
        assert_eq!(taken, RELAY_QUEUE_DATAGRAMS_MAX);
        assert_eq!(line.clear(), RELAY_QUEUE_DATAGRAMS_MAX as u64);
        let large = vec![0; 1 << 16];
        let taken = (0..=RELAY_QUEUE_BYTES_MAX >> 16)
            .filter(|_| line.push(now, Shape::one_way(Duration::ZERO), (), &large))
            .count();
        assert_eq!(taken, RELAY_QUEUE_BYTES_MAX >> 16);
    }
    #[test]
    fn a_rate_lets_bytes_through_one_after_the_other_and_drops_what_would_wait_too_long() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut line = DelayLine::new();
        let mut shape = Shape::one_way(ms(5));
        shape.bytes_per_s = Some(1_000);
        assert!(line.push(now, shape, 1, &[0; 100]) && line.push(now, shape, 2, &[0; 100]));
        assert_eq!(line.due(), Some(now + ms(105)));
        line.pop();
        assert_eq!(line.due(), Some(now + ms(205)));
        // What was waited for is over, and the next does not wait for it.
        assert!(line.push(now + ms(1_000), shape, 3, &[0; 100]));
        line.pop();
        assert_eq!(line.due(), Some(now + ms(1_105)));

        let mut line = DelayLine::new();
        let large = [0; 1 << 15];
        let taken = (0..1_000)
            .filter(|_| line.push(now, shape, (), &large))
            .count();
        assert_eq!(taken, RELAY_BACKLOG_BYTES_MAX / large.len() + 1);
        // Without a limit it has none to wait for.
        assert!(line.push(now, Shape::one_way(ms(5)), (), b"x"));
    }

    #[test]
    fn as_much_is_lost_as_was_asked_for() {
        let mut dice = Dice::new();
        let mut lost = |ppm| (0..100_000).filter(|_| dice.lose(ppm)).count();
        assert_eq!((lost(0), lost(1_000_000)), (0, 100_000));
        assert!((800..1_200).contains(&lost(10_000)));
    }
}

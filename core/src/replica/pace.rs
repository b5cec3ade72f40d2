//! How much bulk may be under way to a peer, so that a push is not held up behind it.
//!
//! What a link has taken may still wait in its buffers for as long as those are deep, and a push waits behind it. So bulk (batches from the
//! log, parts of large ones) is counted until the *peer* has taken it, and the time that takes is compared with the least that it has taken
//! lately: while there is no difference the window grows, when a queue builds up it is halved. This is LEDBAT's way (RFC 6817): as
//! fast as the link is while nobody else needs it, and out of the way when somebody does.

use std::collections::VecDeque;

/// Under way before anything is known of the link.
const WINDOW_BYTES: usize = 256 << 10;
/// However slow it is, one frame.
const WINDOW_BYTES_MIN: usize = 64 << 10;
/// Longer than the least that was seen, in milliseconds, is a queue. 20 ms of that may be the peer's disk.
const DELAY_MS: u64 = 60;
/// The least is that of the last one or two such times.
const BASE_MS: u64 = 60_000;
/// What the peer has not taken by then is lost, or the word of it.
const LOST_MS: u64 = 4_000;

pub(super) struct Pace {
    window: usize,
    window_max: usize,
    under_way: VecDeque<Piece>,
    bytes: usize,
    last: u64,
    /// Up to here it was sent before the window was last made smaller; more of the same is no news.
    halved: u64,
    base_ms: u64,
    base_before_ms: u64,
    base_since: u64,
}

struct Piece {
    number: u64,
    bytes: usize,
    sent_at: u64,
}

impl Pace {
    pub(super) fn new(window_max: usize, now_ms: u64) -> Self {
        Self {
            window: WINDOW_BYTES.min(window_max),
            window_max,
            under_way: VecDeque::new(),
            bytes: 0,
            last: 0,
            halved: 0,
            base_ms: u64::MAX,
            base_before_ms: u64::MAX,
            base_since: now_ms,
        }
    }

    /// Whether more may go. Always if nothing is under way, however large it is.
    pub(super) fn is_open(&self) -> bool {
        self.bytes < self.window
    }

    /// Bytes that the peer has not taken.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number that the next piece goes under.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// It has been given out.
    pub(super) fn sent(&mut self, now_ms: u64, bytes: usize) {
        self.last += 1;
        self.bytes += bytes;
        self.under_way.push_back(Piece {
            number: self.last,
            bytes,
            sent_at: now_ms,
        });
    }

    /// The peer has taken everything up to a number, or it was lost on the way.
    pub(super) fn taken(&mut self, now_ms: u64, number: u64) {
        while let Some(piece) = self.under_way.pop_front_if(|piece| piece.number <= number) {
            self.bytes -= piece.bytes;
            if piece.number == number {
                self.learn(now_ms, &piece);
            }
        }
    }

    fn learn(&mut self, now_ms: u64, piece: &Piece) {
        let delay = now_ms.saturating_sub(piece.sent_at);
        if now_ms >= self.base_since + BASE_MS {
            self.base_before_ms = std::mem::replace(&mut self.base_ms, u64::MAX);
            self.base_since = now_ms;
        }
        self.base_ms = self.base_ms.min(delay);
        let base = self.base_ms.min(self.base_before_ms);
        if delay <= base + DELAY_MS {
            self.window = self.window.saturating_add(piece.bytes).min(self.window_max);
        } else if piece.number > self.halved {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        self.halved = self.last;
        self.window = (self.window / 2).max(WINDOW_BYTES_MIN.min(self.window_max));
    }

    /// When to give up on what is under way.
    pub(super) fn wake_at(&self) -> u64 {
        let first = self.under_way.front();
        first.map_or(u64::MAX, |piece| piece.sent_at + LOST_MS)
    }

    /// Gives up on what the peer should have taken by now. Says whether there was any.
    pub(super) fn give_up(&mut self, now_ms: u64) -> bool {
        let mut lost = false;
        while let Some(piece) = self
            .under_way
            .pop_front_if(|piece| piece.sent_at + LOST_MS <= now_ms)
        {
            self.bytes -= piece.bytes;
            lost = true;
        }
        if lost {
            self.shrink();
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of so many bytes a millisecond, and 20 ms each way; gives how long the last of a lot of bulk waited in it, and when it was through.
    fn run(bytes_per_ms: u64, bulk: usize) -> (u64, u64) {
        const FRAME: usize = 64 << 10;
        let mut pace = Pace::new(4 << 20, 0);
        let (mut now, mut left, mut free_at, mut waits) = (0, bulk, 0_u64, 0);
        let mut arriving: VecDeque<(u64, u64)> = VecDeque::new();
        while left > 0 || !arriving.is_empty() {
            while left > 0 && pace.is_open() {
                let bytes = FRAME.min(left);
                left -= bytes;
                let number = pace.next();
                pace.sent(now, bytes);
                waits = free_at.saturating_sub(now);
                free_at = free_at.max(now) + bytes as u64 / bytes_per_ms;
                arriving.push_back((free_at + 40, number));
            }
            let Some((at, number)) = arriving.pop_front() else {
                break;
            };
            now = now.max(at);
            pace.taken(now, number);
            assert!(pace.bytes() <= pace.window_max + FRAME);
        }
        (waits, now)
    }

    #[test]
    fn a_slow_link_keeps_no_long_queue() {
        // 10 Mbit/s: the buffers of a link would hold four seconds of it.
        let (waits, took) = run(1_250, 20 << 20);
        assert!(waits <= 300, "{waits} ms");
        assert!(took <= 20_000, "{took} ms for 17 s of bytes");
    }

    #[test]
    fn a_fast_link_is_used() {
        // 1 Gbit/s over 40 ms there and back.
        let (_, took) = run(125_000, 200 << 20);
        assert!(took <= 3_500, "{took} ms for 1.7 s of bytes");
    }

    #[test]
    fn what_is_lost_is_not_waited_for() {
        let mut pace = Pace::new(100_000, 0);
        pace.sent(0, 100_000);
        assert!(!pace.is_open());
        assert_eq!(pace.wake_at(), LOST_MS);
        assert!(!pace.give_up(LOST_MS - 1));
        assert!(pace.give_up(LOST_MS));
        assert!(pace.is_open());
        assert_eq!((pace.bytes(), pace.wake_at()), (0, u64::MAX));
        // The word of the one after it speaks for both.
        pace.sent(5_000, 60_000);
        pace.sent(5_000, 60_000);
        pace.taken(5_040, pace.last);
        assert_eq!(pace.bytes(), 0);
    }
}

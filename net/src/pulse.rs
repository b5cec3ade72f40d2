//! Noticing that a link has gone silent, from the link itself.
//!
//! An idle link is pinged by the end that dialled, and the ping is acknowledged (QUIC repeats it if that is late): so
//! both ends hear something every keep-alive interval, and whoever hears nothing for a little longer than that knows
//! that the other end, or the way, is gone. Nothing is decided by it: the link stays up until its idle timeout.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::membership::Input;
use crate::net::Shared;

/// How often links are looked at; more often where keep-alives are more frequent than by default.
const LOOK: Duration = Duration::from_millis(50);
/// Looks in one keep-alive interval, at least.
const LOOKS: u32 = 40;

/// When something was last heard on a link.
pub(crate) struct Pulse(Mutex<State>);

struct State {
    /// A count that grows with all that is heard.
    count: u64,
    heard: Instant,
    looked: Instant,
    silent: bool,
}

impl Pulse {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            count: 0,
            heard: now,
            looked: now,
            silent: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the count of now. Some when the link has become silent (true), or is not any more (false).
    pub(crate) fn look(&self, now: Instant, count: u64, silent_after: Duration) -> Option<bool> {
        let mut state = self.lock();
        let unwatched = now.saturating_duration_since(state.looked);
        if state.count != count {
            state.count = count;
            state.heard = now;
        } else if unwatched > silent_after / 2 {
            // This process stood still, not the peer: what has come meanwhile may not have been read yet.
            state.heard += unwatched;
        }
        state.looked = now;
        let silent = now.saturating_duration_since(state.heard) >= silent_after;
        (std::mem::replace(&mut state.silent, silent) != silent).then_some(silent)
    }

    /// For how long nothing was heard, and whether that is a silence.
    pub(crate) fn state(&self, now: Instant, count: u64) -> (Duration, bool) {
        let state = self.lock();
        if state.count != count {
            return (Duration::ZERO, false);
        }
        (now.saturating_duration_since(state.heard), state.silent)
    }
}

/// Looks at all links for ever.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let keep_alive = shared.config.keep_alive;
    let silent_after = keep_alive + shared.config.silence_grace;
    let pause = LOOK.min(keep_alive / LOOKS).max(Duration::from_millis(1));
    loop {
        shared.peers.any_up().await;
        tokio::time::sleep(pause).await;
        let now = Instant::now();
        for link in shared.peers.links() {
            if let Some(silent) = link.listen(now, silent_after) {
                let peer = link.peer.replica;
                if silent {
                    tracing::info!(peer = %link.peer.name, "nothing heard for {} ms", silent_after.as_millis());
                }
                shared.roster.handle(Input::Silence { peer, silent });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(2_700);

    /// Looks every 100 ms from one time to another; the times at which the answer changed.
    fn looks(
        pulse: &Pulse,
        start: Instant,
        ms: std::ops::Range<u64>,
        count: u64,
    ) -> Vec<(u64, bool)> {
        let times = ms.step_by(100);
        let change = |ms| {
            Some((
                ms,
                pulse.look(start + Duration::from_millis(ms), count, LIMIT)?,
            ))
        };
        times.filter_map(change).collect()
    }

    #[test]
    fn silence_is_known_in_time_and_ends_with_the_first_sound() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        assert_eq!(looks(&pulse, start, 100..1_000, 1), []);
        // Heard at 100 ms; known before 3 s have passed, and told once.
        assert_eq!(looks(&pulse, start, 1_000..9_000, 1), [(2_800, true)]);
        let at = start + Duration::from_secs(9);
        assert_eq!(pulse.state(at, 1), (Duration::from_millis(8_900), true));
        assert_eq!(pulse.state(at, 2), (Duration::ZERO, false));
        assert_eq!(looks(&pulse, start, 9_000..11_600, 2), [(9_000, false)]);
    }

    #[test]
    fn a_process_that_stood_still_does_not_blame_its_peers() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        assert_eq!(looks(&pulse, start, 100..1_000, 1), []);
        assert_eq!(looks(&pulse, start, 60_000..61_000, 1), []);
        assert_eq!(looks(&pulse, start, 61_000..70_000, 1), [(61_900, true)]);
    }
}

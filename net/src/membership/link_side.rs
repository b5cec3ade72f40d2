//! What the membership keeps of a link: what is to be said on it and when, and how much the peer may say.

use std::time::Duration;

use crate::limits::{MEMBER_DATAGRAMS_BURST, MEMBER_DATAGRAMS_PER_S};

const HELLO_PAUSE: Duration = Duration::from_millis(300);
const HELLO_PAUSE_MAX: Duration = Duration::from_secs(60);
const DIGEST_PAUSE: Duration = Duration::from_secs(4);
const DIGEST_PAUSE_MAX: Duration = Duration::from_secs(120);
const JOIN_PAUSE: Duration = Duration::from_secs(3);

/// A token bucket for datagrams.
struct Bucket {
    tokens: f64,
    filled: Duration,
}

impl Bucket {
    fn new(now: Duration) -> Self {
        Self {
            tokens: f64::from(MEMBER_DATAGRAMS_BURST),
            filled: now,
        }
    }

    fn take(&mut self, now: Duration) -> bool {
        let refill = now.saturating_sub(self.filled).as_secs_f64();
        let tokens = self.tokens + refill * f64::from(MEMBER_DATAGRAMS_PER_S);
        self.tokens = tokens.min(f64::from(MEMBER_DATAGRAMS_BURST));
        self.filled = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// Something that is said at growing intervals.
struct Repeated {
    due: Duration,
    pause: Duration,
    pause_max: Duration,
}

impl Repeated {
    fn is_due(&mut self, now: Duration) -> bool {
        let due = self.due <= now;
        if due {
            self.due = now + self.pause;
            self.pause = (self.pause * 2).min(self.pause_max);
        }
        due
    }
}

pub(crate) struct LinkSide {
    /// Nothing was heard on it lately.
    pub(crate) silent: bool,
    /// The version of this node's announcement that the peer has noted.
    pub(crate) noted: u64,
    /// Where the peer's packets come from.
    pub(crate) remote: std::net::SocketAddr,
    /// Where it was dialled, if it was.
    pub(crate) dialled: Option<std::net::SocketAddr>,
    hello: Repeated,
    /// None at the end that does not ask.
    digest: Option<Repeated>,
    join: Repeated,
    received: Bucket,
    answers: Bucket,
}

impl LinkSide {
    pub(crate) fn new(
        now: Duration,
        remote: std::net::SocketAddr,
        outgoing: bool,
        asks: bool,
    ) -> Self {
        Self {
            silent: false,
            noted: 0,
            remote,
            dialled: outgoing.then_some(remote),
            hello: Repeated {
                due: now,
                pause: HELLO_PAUSE,
                pause_max: HELLO_PAUSE_MAX,
            },
            digest: asks.then_some(Repeated {
                due: now + DIGEST_PAUSE,
                pause: DIGEST_PAUSE,
                pause_max: DIGEST_PAUSE_MAX,
            }),
            join: Repeated {
                due: now,
                pause: JOIN_PAUSE,
                pause_max: JOIN_PAUSE,
            },
            received: Bucket::new(now),
            answers: Bucket::new(now),
        }
    }

    /// There is a new announcement to say hello with.
    pub(crate) fn say_hello(&mut self, now: Duration) {
        self.hello.due = now;
        self.hello.pause = HELLO_PAUSE;
    }

    pub(crate) fn hello_is_due(&mut self, now: Duration, version: u64) -> bool {
        self.noted < version && self.hello.is_due(now)
    }

    pub(crate) fn digest_is_due(&mut self, now: Duration) -> bool {
        self.digest
            .as_mut()
            .is_some_and(|digest| digest.is_due(now))
    }

    pub(crate) fn join_is_due(&mut self, now: Duration) -> bool {
        self.join.is_due(now)
    }

    /// The peer is in; asking again can wait until it is not.
    pub(crate) fn due(&self, version: u64) -> Duration {
        let hello = (self.noted < version).then_some(self.hello.due);
        let digest = self.digest.as_ref().map(|digest| digest.due);
        let due = [hello, digest, Some(self.join.due)].into_iter().flatten();
        due.min().unwrap_or(Duration::MAX)
    }

    /// Whether one more datagram of the peer is looked at.
    pub(crate) fn may_receive(&mut self, now: Duration) -> bool {
        self.received.take(now)
    }

    /// Whether one more datagram is sent because the peer asks for it.
    pub(crate) fn may_answer(&mut self, now: Duration) -> bool {
        self.answers.take(now)
    }
}

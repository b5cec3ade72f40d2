//! What happened, as one digest and as lines for people.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

/// So many of the last lines are kept for the report of a failure.
const RECENT_LINES: usize = 40;

/// What a line is about; decides its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic {
    /// Requests and their answers.
    Client,
    /// Commits, fetches, checkpoints.
    Store,
    /// Links and frames.
    Wire,
    /// Something goes wrong on purpose.
    Fault,
    /// Starts, probes, phases.
    World,
}

/// One event in short form.
#[derive(Clone, Debug)]
pub struct Line {
    /// Virtual time in microseconds.
    pub at_us: u64,
    /// Which replica, if it is about one.
    pub site: Option<usize>,
    /// What it is about.
    pub topic: Topic,
    /// What happened.
    pub text: String,
}

/// Takes every event in. Its digest is equal for equal runs.
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    recent: VecDeque<Line>,
    sink: Option<fn(&Line)>,
    pub(crate) events: u64,
}

impl Trace {
    pub(crate) fn new(sink: Option<fn(&Line)>) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            recent: VecDeque::with_capacity(RECENT_LINES),
            sink,
            events: 0,
        }
    }

    pub(crate) fn note(
        &mut self,
        at_us: u64,
        site: Option<usize>,
        topic: Topic,
        what: fmt::Arguments<'_>,
    ) {
        self.events += 1;
        // The oldest line's memory serves the newest.
        let mut text = if self.recent.len() == RECENT_LINES {
            self.recent
                .pop_front()
                .map_or_else(String::new, |line| line.text)
        } else {
            String::new()
        };
        text.clear();
        // Writing to a string does not fail.
        let _ = text.write_fmt(what);
        self.hasher.update(&at_us.to_le_bytes());
        self.hasher
            .update(&[site.map_or(u8::MAX, |site| u8::try_from(site).unwrap_or(u8::MAX))]);
        self.hasher.update(text.as_bytes());
        let line = Line {
            at_us,
            site,
            topic,
            text,
        };
        if let Some(sink) = self.sink {
            sink(&line);
        }
        self.recent.push_back(line);
    }

    /// Bytes that belong to the last line and are too many to show.
    pub(crate) fn absorb(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    pub(crate) fn recent(self) -> Vec<Line> {
        self.recent.into()
    }
}

/// The name of a replica in the trace.
#[must_use]
pub fn site_name(site: usize) -> char {
    char::from(b'A' + u8::try_from(site).unwrap_or(25).min(25))
}

//! What is known at each moment of the demonstration: who has seen which writes, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anabranch::{ReplicaId, Visible};

/// Lags of connected datacenters that are kept for the verdict, per pair.
const LAGS_MAX: usize = 200_000;

/// Written by one feed per datacenter, read by the view and the verdict.
pub(super) struct Board {
    replicas: Vec<ReplicaId>,
    state: Mutex<State>,
}

struct State {
    /// When the n-th write of each datacenter became durable there.
    written: Vec<Vec<Instant>>,
    /// `seen[there][from]`: how many of `from`'s writes are visible `there`.
    seen: Vec<Vec<usize>>,
    /// Delays from durable at home to visible elsewhere, while nothing was cut.
    lags: Vec<Vec<Vec<Duration>>>,
    documents: Vec<BTreeSet<String>>,
    /// Writes that arrived before their home's own feed told of them.
    early: BTreeMap<(usize, usize, usize), Instant>,
    /// Lags count for what is written after this: not while a datacenter is cut off, nor until it has caught up.
    steady_since: Option<Instant>,
    /// Datacenters whose writes a cut kept back, by how many must be seen for all to be well again.
    target: Option<(Vec<usize>, Instant)>,
    converged: Option<Duration>,
}

/// One datacenter as the view shows it.
pub(super) struct Standing {
    pub(super) written: usize,
    pub(super) documents: usize,
    /// Behind each datacenter: how many writes, and how old the oldest of them is.
    pub(super) behind: Vec<(usize, Duration)>,
}

impl Board {
    pub(super) fn new(replicas: Vec<ReplicaId>) -> Self {
        let n = replicas.len();
        let state = State {
            written: vec![Vec::new(); n],
            seen: vec![vec![0; n]; n],
            lags: vec![vec![Vec::new(); n]; n],
            documents: vec![BTreeSet::new(); n],
            early: BTreeMap::new(),
            steady_since: Some(Instant::now()),
            target: None,
            converged: None,
        };
        Self {
            replicas,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write became visible somewhere.
    pub(super) fn saw(&self, there: usize, change: &Visible) {
        let now = Instant::now();
        let mut guard = self.state();
        let state = &mut *guard;
        let keys = change.documents.iter().map(|id| id.key.as_str().to_owned());
        state.documents[there].extend(keys);
        let Some(from) = self
            .replicas
            .iter()
            .position(|id| *id == change.origin.replica)
        else {
            return;
        };
        let nth = state.seen[there][from];
        state.seen[there][from] += 1;
        if there == from {
            state.written[from].push(now);
            for other in 0..self.replicas.len() {
                if let Some(arrived) = state.early.remove(&(other, from, nth)) {
                    state.lag(other, from, now, arrived);
                }
            }
        } else if let Some(written) = state.written[from].get(nth).copied() {
            state.lag(there, from, written, now);
        } else {
            state.early.insert((there, from, nth), now);
        }
        state.check_converged(now);
    }

    /// From now on lags are not those of connected datacenters.
    pub(super) fn cut(&self) {
        self.state().steady_since = None;
    }

    /// The cut is over: everything written so far should soon be everywhere. Says how many writes the
    /// datacenter missed, and how many of its own the others did.
    pub(super) fn healed(&self, datacenter: usize) -> usize {
        let mut state = self.state();
        let written: Vec<usize> = state.written.iter().map(Vec::len).collect();
        let missed = (0..written.len())
            .filter(|from| *from != datacenter)
            .map(|from| written[from] - state.seen[datacenter][from]);
        let missed = missed.sum();
        state.target = Some((written, Instant::now()));
        state.check_converged(Instant::now());
        missed
    }

    /// How long after the healing everything written before it was everywhere.
    pub(super) fn converged(&self) -> Option<Duration> {
        self.state().converged
    }

    /// Whether everything written is everywhere.
    pub(super) fn is_level(&self) -> bool {
        let state = self.state();
        let written: Vec<usize> = state.written.iter().map(Vec::len).collect();
        state.seen.iter().all(|seen| *seen == written)
    }

    pub(super) fn writes(&self) -> usize {
        self.state().written.iter().map(Vec::len).sum()
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        let now = Instant::now();
        let state = self.state();
        let behind = |there: usize, from: usize| {
            let seen = state.seen[there][from];
            let missing = state.written[from].len().saturating_sub(seen);
            let age = state.written[from]
                .get(seen)
                .map(|written| now.saturating_duration_since(*written));
            (missing, age.unwrap_or_default())
        };
        let n = self.replicas.len();
        (0..n)
            .map(|there| Standing {
                written: state.written[there].len(),
                documents: state.documents[there].len(),
                behind: (0..n).map(|from| behind(there, from)).collect(),
            })
            .collect()
    }

    /// The p-th percentile of the lags from one datacenter to another while connected.
    pub(super) fn lag(&self, there: usize, from: usize, percentile: usize) -> Option<Duration> {
        let mut lags = self.state().lags[there][from].clone();
        lags.sort_unstable();
        lags.get((lags.len() * percentile / 100).min(lags.len().saturating_sub(1)))
            .copied()
    }
}

impl State {
    fn lag(&mut self, there: usize, from: usize, written: Instant, visible: Instant) {
        let lags = &mut self.lags[there][from];
        let steady = self.steady_since.is_some_and(|since| written >= since);
        if steady && lags.len() < LAGS_MAX {
            lags.push(visible.saturating_duration_since(written));
        }
    }

    fn check_converged(&mut self, now: Instant) {
        let Some((target, since)) = &self.target else {
            return;
        };
        let reached =
            |seen: &Vec<usize>| seen.iter().zip(target).all(|(seen, target)| seen >= target);
        if self.converged.is_none() && self.seen.iter().all(reached) {
            self.converged = Some(now.saturating_duration_since(*since));
            self.steady_since = Some(now);
        }
    }
}

//! What a run, or many, came to in numbers.

/// Counts of one run; runs add up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "each name says what was counted")]
pub struct Tally {
    pub seeds: u64,
    pub events: u64,
    pub virtual_ms: u64,
    pub writes_acknowledged: u64,
    pub writes_refused: u64,
    pub writes_unknown: u64,
    pub writes_of_several: u64,
    pub writes_on_versions: u64,
    pub writes_asked_again: u64,
    pub writes_repeated: u64,
    pub writes_done_apart: u64,
    pub given_up: u64,
    pub hops: u64,
    pub sessions_waited: u64,
    pub sessions_behind: u64,
    pub sessions_ended: u64,
    pub acks_reached: u64,
    pub acks_missed: u64,
    pub members_set_aside: u64,
    pub members_welcomed: u64,
    pub reads: u64,
    pub history_reads: u64,
    pub versions_unknown: u64,
    pub frames: u64,
    pub commits: u64,
    pub power_cuts: u64,
    pub kills: u64,
    pub disks_restored: u64,
    pub disks_lost: u64,
    pub disk_faults: u64,
    pub failed_openings: u64,
    pub resets: u64,
    pub partitions: u64,
    pub frames_lost: u64,
    pub frames_doubled: u64,
    pub frames_garbled: u64,
    pub clock_jumps: u64,
    pub fetch_faults: u64,
    pub saturations: u64,
    pub probes_equal: u64,
    pub states_accounted: u64,
    pub conflicts_compared: u64,
    pub states_compared: u64,
    pub states_of_other_bytes: u64,
    pub writes_excused: u64,
    pub convergence_ms_max: u64,
    pub convergence_ms_sum: u64,
    pub disks_full: u64,
    pub commits_full: u64,
    pub folds_full: u64,
    pub batches_taken_back: u64,
    pub writes_full: u64,
    pub bits_flipped: u64,
    pub disks_given_up: u64,
    pub ranges_damaged: u64,
    pub ranges_repaired: u64,
    pub reads_damaged: u64,
    pub log_releases: u64,
    /// Times that what a repair had brought became visible.
    pub arrivals: u64,
    /// Repairs of namespaces, and documents that they brought.
    pub repairs: u64,
    /// See above.
    pub documents_repaired: u64,
    /// Times that replicas at one frontier had different roots.
    pub roots_different: u64,
    /// Roots that were compared in the end.
    pub roots_compared: u64,
    pub feeds_cut: u64,
    pub cut_short: u64,
    pub folds: u64,
    pub stalls: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
    pub changes_refused: u64,
    /// Writes to the namespace that moves, those that were refused, and how often it was placed and let go.
    pub moving_writes: u64,
    pub moving_refused: u64,
    pub moves: u64,
    pub let_go: u64,
}

impl Tally {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        let most = self.convergence_ms_max.max(other.convergence_ms_max);
        for (mine, theirs) in self
            .fields_mut()
            .into_iter()
            .zip(other.clone().fields_mut())
        {
            *mine.1 += *theirs.1;
        }
        self.convergence_ms_max = most;
    }
}

macro_rules! fields {
    ($($name:ident),* $(,)?) => {
        impl Tally {
            /// Every count with its name, in order.
            pub fn fields_mut(&mut self) -> Vec<(&'static str, &mut u64)> {
                vec![$((stringify!($name), &mut self.$name)),*]
            }
        }
    };
}

fields!(
    seeds,
    events,
    virtual_ms,
    writes_acknowledged,
    writes_refused,
    writes_unknown,
    writes_of_several,
    writes_on_versions,
    writes_asked_again,
    writes_repeated,
    writes_done_apart,
    given_up,
    hops,
    sessions_waited,
    sessions_behind,
    sessions_ended,
    acks_reached,
    acks_missed,
    members_set_aside,
    members_welcomed,
    reads,
    history_reads,
    versions_unknown,
    frames,
    commits,
    power_cuts,
    kills,
    disks_restored,
    disks_lost,
    disk_faults,
    failed_openings,
    resets,
    partitions,
    frames_lost,
    frames_doubled,
    frames_garbled,
    clock_jumps,
    fetch_faults,
    saturations,
    probes_equal,
    states_accounted,
    conflicts_compared,
    states_compared,
    states_of_other_bytes,
    writes_excused,
    convergence_ms_max,
    convergence_ms_sum,
    disks_full,
    commits_full,
    folds_full,
    batches_taken_back,
    writes_full,
    bits_flipped,
    disks_given_up,
    ranges_damaged,
    ranges_repaired,
    reads_damaged,
    log_releases,
    arrivals,
    repairs,
    documents_repaired,
    roots_different,
    roots_compared,
    feeds_cut,
    cut_short,
    folds,
    stalls,
    duplicates,
    out_of_order,
    changes_refused,
    moving_writes,
    moving_refused,
    moves,
    let_go,
);

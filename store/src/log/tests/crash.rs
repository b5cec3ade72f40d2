//! The power is cut, or the process killed, at every call of a reference workload.

use super::*;
use crate::medium::faulty::Faults;

/// What the workload had been told when it ended.
#[derive(Clone, Debug, Default)]
struct Told {
    /// All that it tried to append, the last group included, whose outcome it may not know.
    tried: Vec<LogRecord>,
    /// How many of these were reported durable.
    reported: usize,
    /// Where groups end.
    bounds: Vec<usize>,
    released_before: u64,
    finished: bool,
}

impl Told {
    fn options(&self, remembered: bool) -> LogOptions {
        LogOptions {
            released_before: Lsn(self.released_before),
            reported_end: (remembered && self.reported > 0).then_some(Lsn(self.reported as u64)),
            ..NOTHING_REMEMBERED
        }
    }

    /// Appends a group, if the medium lets it.
    fn group(&mut self, log: &Log, random: &mut Random) -> Option<()> {
        let first = self.reported as u64 + 1;
        self.tried.truncate(self.reported);
        let count = 1 + random.below(6);
        let group: Vec<_> = (first..first + count)
            .map(|lsn| random_record(lsn, 3_000, random))
            .collect();
        self.tried.extend(group.iter().cloned());
        self.bounds.push(self.tried.len());
        log.append(group.iter()).ok()?;
        self.reported = self.tried.len();
        Some(())
    }
}

/// Groups, with preparing, releasing and reopening among them, until the medium fails.
fn work(medium: &FaultyMedium, seed: u64, groups: u64, told: &mut Told) -> Option<()> {
    let random = &mut Random(seed);
    told.finished = false;
    let (mut log, _) = Log::open(
        Arc::new(medium.clone()),
        &told.options(seed.is_multiple_of(2)),
    )
    .ok()?;
    for _ in 0..groups {
        told.group(&log, random)?;
        match random.below(8) {
            0 | 1 => log.prepare().ok()?,
            2 => {
                let at = random.below(told.reported as u64 + 1);
                told.released_before = told.released_before.max(at);
                log.release_before(Lsn(told.released_before)).ok()?;
            }
            3 => {
                let options = told.options(random.coin());
                log = Log::open(Arc::new(medium.clone()), &options).ok()?.0;
            }
            _ => {}
        }
    }
    told.finished = true;
    Some(())
}

/// Opens what is left and compares. What turned out to be there counts as reported from now on.
fn check(medium: &FaultyMedium, told: &mut Told, remembered: bool, context: &str) -> Log {
    let (log, found) = open_with(medium, &told.options(remembered));
    assert!(
        found.lost.is_empty() && found.unreadable.is_empty(),
        "{context}: {found:?}, reported {}",
        told.reported
    );
    let end = usize::try_from(found.end.map_or(0, |end| end.0)).unwrap();
    assert!(
        end == told.reported || end == told.tried.len(),
        "{context}: {end} there, {} reported, {} tried",
        told.reported,
        told.tried.len()
    );
    told.tried.truncate(end);
    told.reported = end;
    compare(&log, told, context);
    log
}

fn compare(log: &Log, told: &Told, context: &str) {
    let first = log.bounds().map_or(1, |(first, _)| first.0);
    assert!(first <= told.released_before.max(1), "{context}");
    let expected = &told.tried[usize::try_from(first - 1).unwrap()..];
    assert!(everything(log) == expected, "{context}: other records");
    assert!(log.damaged().is_empty(), "{context}");
}

const GROUPS: u64 = 12;

#[test]
fn what_was_reported_survives_a_power_cut_at_any_call() {
    let mut kept_unreported = 0;
    let mut cuts = 0;
    for seed in 0..10 {
        let whole = FaultyMedium::new(seed);
        work(&whole, seed, GROUPS, &mut Told::default()).unwrap();
        for call in 0..whole.calls() {
            let medium = FaultyMedium::new(seed);
            medium.set_faults(Faults {
                dies_at: Some(call),
                ..Faults::default()
            });
            let mut told = Told::default();
            work(&medium, seed, GROUPS, &mut told);
            assert!(!told.finished);
            for cut in 0..3 {
                let context = format!("seed {seed}, call {call}, cut {cut}");
                let left = medium.after_power_cut(cut);
                let mut told = told.clone();
                let reported = told.reported;
                check(&left, &mut told, cut == 1, &context);
                kept_unreported += u64::from(told.reported > reported);
                cuts += 1;
                go_on(&left, &mut told, seed ^ cut, &context);
            }
        }
    }
    assert!(kept_unreported > cuts / 100, "{kept_unreported} of {cuts}");
}

/// Nothing of what was not reported comes back behind new records, not even after a further cut.
fn go_on(left: &FaultyMedium, told: &mut Told, seed: u64, context: &str) {
    let (log, _) = open_with(left, &told.options(false));
    let mut random = Random(!seed);
    for _ in 0..2 {
        told.group(&log, &mut random).unwrap();
    }
    compare(&log, told, context);
    check(&left.after_power_cut(seed), told, false, context);
}

#[test]
fn a_killed_process_leaves_whole_groups_and_what_is_found_stays() {
    for seed in 0..12 {
        let whole = FaultyMedium::new(seed);
        work(&whole, seed, GROUPS, &mut Told::default()).unwrap();
        for call in 0..whole.calls() {
            let medium = FaultyMedium::new(seed);
            medium.set_faults(Faults {
                dies_at: Some(call),
                ..Faults::default()
            });
            let mut told = Told::default();
            work(&medium, seed, GROUPS, &mut told);
            let context = format!("seed {seed}, call {call}");
            let left = medium.copy(call);
            // What is found now may be in memory only. From here on it counts.
            check(&left, &mut told, true, &context);
            let found = told.reported;
            check(&left.after_power_cut(call), &mut told, false, &context);
            assert_eq!(told.reported, found);
        }
    }
}

#[test]
fn recovery_survives_power_cuts_too() {
    let mut cuts = 0;
    for seed in 0..60 {
        let whole = FaultyMedium::new(seed);
        work(&whole, seed, GROUPS, &mut Told::default()).unwrap();
        let first = FaultyMedium::new(seed);
        first.set_faults(Faults {
            dies_at: Some(whole.calls() / 4 + Random(seed).below(whole.calls() * 3 / 4)),
            ..Faults::default()
        });
        let mut told = Told::default();
        work(&first, seed, GROUPS, &mut told);
        let left = first.after_power_cut(seed);
        let probe = left.copy(0);
        drop(open_with(&probe, &told.options(false)));
        for call in 0..probe.calls() {
            let again = left.copy(call);
            again.set_faults(Faults {
                dies_at: Some(call),
                ..Faults::default()
            });
            assert!(Log::open(Arc::new(again.clone()), &told.options(false)).is_err());
            let mut told = told.clone();
            let context = format!("seed {seed}, call {call} of recovery");
            let left = again.after_power_cut(call);
            check(&left, &mut told, false, &context);
            go_on(&left, &mut told, seed, &context);
            cuts += 1;
        }
    }
    assert!(cuts > 500, "{cuts}");
}

/// Many lives: each begins with what the power cut before it has left.
#[test]
fn crash_after_crash() {
    for seed in 0..600 {
        let mut random = Random(seed);
        let mut medium = FaultyMedium::new(seed);
        let mut told = Told::default();
        for life in 0..8 {
            medium.set_faults(Faults {
                dies_at: Some(random.below(120)),
                ..Faults::default()
            });
            work(&medium, random.draw(), 30, &mut told);
            medium = medium.after_power_cut(random.draw());
            if random.coin() {
                let context = format!("seed {seed}, life {life}");
                check(&medium, &mut told, random.coin(), &context);
            } else {
                let options = told.options(false);
                let end = open_with(&medium, &options).1.end.map_or(0, |end| end.0);
                told.reported = usize::try_from(end).unwrap();
                told.tried.truncate(told.reported);
            }
        }
    }
}

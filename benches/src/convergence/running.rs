//! A load on a cluster: begun, ended, waited for until it is visible everywhere, and what it found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::bed::Bed;
use super::clock::ms_between;
use super::place::Task;
use super::probe::Floors;
use super::results::{Cpu, Direction, LoadResults, Quantiles};
use super::wire::Bytes;
use super::workload::Workload;
use super::writers::{self, Load, Sent, Written};
use crate::Outcome;
use crate::procfs::{Process, Processors, pace_ms};

/// Loads under way, by the datacenter of their clients. They are told to stop when this is dropped.
pub(crate) struct Running {
    tasks: Vec<(usize, Load, Task<Sent>)>,
    stop: Arc<AtomicBool>,
    before: Option<Usage>,
    pace_ms: f64,
}

/// What has been used so far.
struct Usage {
    at: Instant,
    bytes: Bytes,
    nodes: Vec<Duration>,
    harness: Duration,
    wan: Option<Duration>,
    processors: Processors,
}

/// Loads that have been sent.
pub(crate) struct Finished {
    pub(crate) sent: Vec<(usize, Load, Sent)>,
    before: Usage,
    pace_ms: f64,
}

impl Usage {
    fn of(bed: &mut Bed) -> Outcome<Self> {
        let nodes = bed.members.iter().map(|member| member.process.cpu());
        Ok(Self {
            at: Instant::now(),
            nodes: nodes.collect::<Outcome<_>>()?,
            harness: Process::Own.cpu()?,
            wan: bed.wire.process().map(Process::cpu).transpose()?,
            bytes: bed.bytes()?,
            processors: Processors::read()?,
        })
    }
}

impl Running {
    pub(crate) fn start(bed: &mut Bed, loads: Vec<(usize, Load)>) -> Outcome<Self> {
        let pace_ms = pace_ms();
        let mut running = Self {
            tasks: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
            before: Some(Usage::of(bed)?),
            pace_ms,
        };
        // What came before is not this load's.
        for reader in &bed.readers {
            reader.take();
        }
        bed.probe.take();
        for (at, load) in loads {
            let member = &bed.members[at];
            let task = writers::start(
                &member.place,
                member.http,
                load.clone(),
                running.stop.clone(),
            )?;
            running.tasks.push((at, load, task));
        }
        Ok(running)
    }

    /// Waits until all is written.
    pub(crate) async fn finished(mut self) -> Outcome<Finished> {
        let mut sent = Vec::new();
        for (at, load, task) in std::mem::take(&mut self.tasks) {
            sent.push((at, load, task.done().await?));
        }
        let before = self.before.take().ok_or("a load ends once")?;
        Ok(Finished {
            sent,
            before,
            pace_ms: self.pace_ms,
        })
    }

    /// Writes no more, however much was to be written.
    pub(crate) async fn stopped(self) -> Outcome<Finished> {
        self.stop.store(true, Ordering::Relaxed);
        self.finished().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// When each write was called, in nanoseconds, and its lag in milliseconds; by direction.
type Lags = BTreeMap<(usize, usize), Vec<(u64, f64)>>;

impl Finished {
    /// How far each load's origin has come.
    fn marks(&self, bed: &Bed) -> Outcome<Vec<(usize, u64)>> {
        let marks = self.sent.iter().map(|(at, load, sent)| {
            let last = sent.writes.iter().map(|write| write.seq).max().unwrap_or(0);
            Ok((bed.origin(*at, load.workload.namespace())?, last))
        });
        marks.collect()
    }

    /// Waits until all of it is visible at some datacenters.
    pub(crate) async fn visible_at(&self, bed: &Bed, datacenters: &[usize]) -> Outcome<()> {
        for (origin, last) in self.marks(bed)? {
            let readers = datacenters.iter().map(|at| &bed.readers[*at]);
            bed.seen(readers, origin, last).await?;
        }
        Ok(())
    }

    /// Waits until all of it is visible everywhere, and says what was found.
    pub(crate) async fn results(self, bed: &mut Bed) -> Outcome<LoadResults> {
        let everywhere: Vec<usize> = (0..bed.members.len()).collect();
        self.visible_at(bed, &everywhere).await?;
        let after = Usage::of(bed)?;
        let lags = self.lags(bed)?;
        let floors = bed.probe.take();
        let used = |before: &Bytes, pair: &(usize, usize)| {
            let past = before.get(pair).copied().unwrap_or(0);
            after
                .bytes
                .get(pair)
                .copied()
                .unwrap_or(0)
                .saturating_sub(past)
        };
        let bytes = after
            .bytes
            .keys()
            .map(|pair| used(&self.before.bytes, pair))
            .sum();
        let over = lags.iter().flat_map(|((from, to), lags)| {
            let one_way = bed.topology.one_way_ms(*from, *to);
            lags.iter().map(move |(at, lag)| (*at, lag - one_way))
        });
        let over: Vec<(u64, f64)> = over.collect();
        let over_one_way_by_second = by_second(&over);
        let over_one_way_ms = Quantiles::of(over.into_iter().map(|(_, lag)| lag).collect());
        let directions = lags
            .into_iter()
            .map(|(pair, lags)| {
                let lags = lags.into_iter().map(|(_, lag)| lag).collect();
                direction(bed, pair, lags, &floors, used(&self.before.bytes, &pair))
            })
            .collect();
        let all = || self.sent.iter().flat_map(|(_, _, sent)| &sent.writes);
        let writes = all().count() as u64;
        let copies = writes * (bed.members.len() as u64 - 1);
        let sent = || self.sent.iter().map(|(_, _, sent)| sent);
        Ok(LoadResults {
            writes,
            refused: sent().map(|sent| sent.refused).sum(),
            refusal: sent().find_map(|sent| sent.refusal.clone()),
            seconds: (after.at - self.before.at).as_secs_f64(),
            writes_per_s: sent()
                .map(|sent| sent.writes.len() as f64 / sent.took.as_secs_f64())
                .collect(),
            answer_ms: Quantiles::in_short(all().map(answer_ms).collect()),
            late_ms: Quantiles::in_short(all().map(|write| write.late_ns as f64 / 1e6).collect()),
            over_one_way_ms,
            over_one_way_by_second,
            directions,
            bytes,
            bytes_per_write_and_replica: bytes as f64 / copies.max(1) as f64,
            cpu: self.cpu(&after),
        })
    }

    fn cpu(&self, after: &Usage) -> Cpu {
        let elapsed = (after.at - self.before.at).as_secs_f64();
        let share = |before: Duration, after: Duration| {
            (after.saturating_sub(before)).as_secs_f64() / elapsed
        };
        let nodes = self.before.nodes.iter().zip(&after.nodes);
        let busy = self
            .sent
            .iter()
            .map(|(_, _, sent)| sent.cpu.as_secs_f64() / sent.took.as_secs_f64());
        Cpu {
            nodes: nodes
                .map(|(before, after)| share(*before, *after))
                .collect(),
            harness: share(self.before.harness, after.harness),
            clients_busiest: busy.fold(0.0, f64::max),
            wan: self
                .before
                .wan
                .zip(after.wan)
                .map(|(before, after)| share(before, after)),
            idle: share(self.before.processors.idle, after.processors.idle),
            stolen: share(self.before.processors.stolen, after.processors.stolen),
            pace_ms: self.pace_ms,
        }
    }

    /// When each write was called, and milliseconds from there to visible, by direction.
    fn lags(&self, bed: &Bed) -> Outcome<Lags> {
        let mut calls: BTreeMap<usize, (usize, BTreeMap<u64, u64>)> = BTreeMap::new();
        for (from, load, sent) in &self.sent {
            let origin = bed.origin(*from, load.workload.namespace())?;
            let (_, calls) = calls
                .entry(origin)
                .or_insert_with(|| (*from, BTreeMap::new()));
            calls.extend(sent.writes.iter().map(|write| (write.seq, write.sent_ns)));
        }
        let mut lags = Lags::new();
        for (to, reader) in bed.readers.iter().enumerate() {
            for seen in reader.take() {
                let Some((from, calls)) = calls.get(&seen.origin) else {
                    continue;
                };
                if let Some(sent_ns) = calls.get(&seen.seq)
                    && *from != to
                {
                    let lag = ms_between(*sent_ns, seen.at_ns);
                    lags.entry((*from, to)).or_default().push((*sent_ns, lag));
                }
            }
        }
        Ok(lags)
    }
}

/// What was called in each second from the first call on.
fn by_second(lags: &[(u64, f64)]) -> Vec<Quantiles> {
    let begin_ns = lags.iter().map(|(at, _)| *at).min().unwrap_or(0);
    let mut seconds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (at_ns, lag) in lags {
        let second = (at_ns - begin_ns) / 1_000_000_000;
        seconds.entry(second).or_default().push(*lag);
    }
    seconds.into_values().map(Quantiles::in_short).collect()
}

fn direction(
    bed: &Bed,
    (from, to): (usize, usize),
    lags: Vec<f64>,
    floors: &Floors,
    bytes: u64,
) -> Direction {
    let floor = floors.get(&(from, to)).cloned().unwrap_or_default();
    let region = |at: usize| bed.topology.regions[at].to_owned();
    Direction {
        from: region(from),
        to: region(to),
        one_way_ms: bed.topology.one_way_ms(from, to),
        floor_ms: Quantiles::in_short(floor),
        lag_ms: Quantiles::of(lags),
        bytes,
    }
}

/// From the call to the answer.
pub(crate) fn answer_ms(write: &Written) -> f64 {
    ms_between(write.sent_ns, write.answered_ns)
}

/// What of some loads was called between two moments: how long the answers took.
pub(crate) fn answers_between(sent: &[(usize, Load, Sent)], from_ns: u64, to_ns: u64) -> Quantiles {
    let writes = sent.iter().flat_map(|(_, _, sent)| &sent.writes);
    let within = writes.filter(|write| (from_ns..to_ns).contains(&write.sent_ns));
    Quantiles::in_short(within.map(answer_ms).collect())
}

/// What a load of so many writes in a second is, for a time.
pub(crate) fn steady(workload: Workload, rate: u32, time: Duration, seed: u64) -> Load {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of writes"
    )]
    let writes = (f64::from(rate) * time.as_secs_f64()).round().max(1.0) as u64;
    Load {
        workload,
        rate: Some(f64::from(rate)),
        writes,
        clients: clients(rate),
        seed,
    }
}

/// Enough connections that none is waited for while answers take a tenth of a second.
fn clients(rate: u32) -> u64 {
    u64::from(rate / 10).clamp(4, 256)
}

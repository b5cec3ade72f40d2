//! What happens in the demonstration, from first to last.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::board::Board;
use super::cities::CITIES;
use super::cluster::Cluster;
use super::invoices::{self, Invoices};
use super::sample::{Phase, Sampler, milliseconds};
use super::verdict::{Lag, Outage, Replayed, Verdict, WrongCarts};
use super::view::View;
use super::workload::{Progress, replay, shop};
use super::{Args, Failure};

const RATE: f64 = 200.0;
/// The cut begins and ends after these parts of the writing.
const CUT_FROM: f64 = 0.3;
const CUT_UNTIL: f64 = 0.7;
/// Datacenters that are not equal by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);
const TURN: Duration = Duration::from_millis(25);

struct Story {
    cluster: Cluster,
    board: Arc<Board>,
    progress: Arc<Progress>,
    view: View,
    sampler: Sampler,
    phase: Phase,
    shown: Option<Instant>,
    started: Instant,
}

/// Tells it all. True if all datacenters ended equal.
pub(super) async fn tell(args: Args) -> Result<bool, Failure> {
    let datacenters = usize::from(args.datacenters);
    let invoices = match &args.replay {
        Some(file) => Some(invoices::read(file, datacenters)?),
        None => None,
    };
    // Removed when this ends, unless the data is to be kept.
    let temporary = tempfile::tempdir().map_err(Failure::new)?;
    let root: &Path = args.data.as_deref().unwrap_or(temporary.path());
    let cluster = Cluster::start(&CITIES[..datacenters], root).await?;
    cluster.linked().await?;
    let board = Arc::new(Board::new(
        cluster
            .datacenters
            .iter()
            .map(|datacenter| datacenter.replica)
            .collect(),
    ));
    let mut feeds = JoinSet::new();
    for (there, datacenter) in cluster.datacenters.iter().enumerate() {
        let mut feed = datacenter.node.subscribe(None, "", None);
        let board = board.clone();
        feeds.spawn(async move {
            while let Ok(change) = feed.next().await {
                board.saw(there, &change);
            }
        });
    }
    let view = super::view(&args)?;
    let mut story = Story {
        cluster,
        board,
        progress: Arc::default(),
        view,
        sampler: Sampler::new(),
        phase: Phase::Writing,
        shown: None,
        started: Instant::now(),
    };
    let (outage, replayed) = match invoices {
        None => (
            story
                .shopping(args.duration, args.rate.unwrap_or(RATE))
                .await?,
            None,
        ),
        Some(invoices) => story.replaying(invoices, args.rate).await?,
    };
    story.settle().await?;
    let verdict = story.judge(outage, replayed).await?;
    let equal = verdict.equal;
    story.view.conclude(&verdict)?;
    story.cluster.shutdown().await;
    feeds.shutdown().await;
    Ok(equal)
}

impl Story {
    /// Made-up carts for a while, with an outage in the middle.
    async fn shopping(&mut self, duration_s: f64, rate: f64) -> Result<Option<Outage>, Failure> {
        let (stop, stopped) = watch::channel(false);
        let mut writers = JoinSet::new();
        for (seed, datacenter) in self.cluster.datacenters.iter().enumerate() {
            let node = datacenter.node.clone();
            writers.spawn(shop(
                node,
                rate,
                seed as u64,
                self.progress.clone(),
                stopped.clone(),
            ));
        }
        self.started = Instant::now();
        let part = move |story: &Self| story.started.elapsed().as_secs_f64() / duration_s;
        let outage = self.outage(&part).await?;
        self.until(|story| part(story) >= 1.0).await?;
        stop.send_replace(true);
        while writers.join_next().await.is_some() {}
        Ok(outage)
    }

    /// Every row of the invoices, each in its country's datacenter, with an outage in the middle.
    async fn replaying(
        &mut self,
        invoices: Invoices,
        rate: Option<f64>,
    ) -> Result<(Option<Outage>, Option<Replayed>), Failure> {
        let total = invoices.rows.len();
        self.view.say(&format!(
            "replaying {total} rows ({} bad rows left out)",
            invoices.bad_count
        ))?;
        let nodes = self
            .cluster
            .datacenters
            .iter()
            .map(|datacenter| datacenter.node.clone());
        let mut writers = JoinSet::new();
        writers.spawn(replay(
            nodes.collect(),
            invoices.rows,
            rate,
            self.progress.clone(),
        ));
        self.started = Instant::now();
        let done = |story: &Self| story.progress.done.load(Ordering::Relaxed);
        let outage = self
            .outage(&|story: &Self| done(story) as f64 / total.max(1) as f64)
            .await?;
        self.until(|story| done(story) >= total).await?;
        while writers.join_next().await.is_some() {}
        let replayed = Replayed {
            rows: total,
            bad_rows: invoices.bad_count,
            bad: invoices.bad,
        };
        Ok((outage, Some(replayed)))
    }

    /// Cuts the last datacenter off, and joins it again, at given parts of the writing.
    async fn outage(&mut self, part: &dyn Fn(&Self) -> f64) -> Result<Option<Outage>, Failure> {
        let last = self.cluster.datacenters.len() - 1;
        let datacenter = self.cluster.datacenters[last].city.name;
        self.until(|story| part(story) >= CUT_FROM).await?;
        self.cluster.cut(last);
        self.board.cut();
        self.phase = Phase::Cut { datacenter };
        self.view.say(&format!(
            "{datacenter} is cut off; everybody goes on writing"
        ))?;
        let from = Instant::now();
        self.until(|story| part(story) >= CUT_UNTIL).await?;
        self.cluster.heal(last);
        let missed_writes = self.board.healed(last);
        self.phase = Phase::Healed { datacenter };
        self.view.say(&format!("{datacenter} is back"))?;
        Ok(Some(Outage {
            datacenter,
            lasted_s: (from.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            missed_writes,
            converged_ms: None,
            one_way_ms: milliseconds(self.cluster.farthest(last)),
        }))
    }

    async fn settle(&mut self) -> Result<(), Failure> {
        let from = Instant::now();
        if self.board.converged().is_some() {
            self.phase = Phase::Settling;
        }
        self.until(|story| story.board.is_level() || from.elapsed() > PATIENCE)
            .await?;
        self.phase = Phase::Settling;
        self.shown = None;
        self.turn()
    }

    /// Shows what goes on until something is so.
    async fn until(&mut self, so: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        while !so(self) {
            if matches!(self.phase, Phase::Healed { .. }) && self.board.converged().is_some() {
                self.phase = Phase::Writing;
                self.view.say("all that was written before is everywhere")?;
            }
            self.turn()?;
            tokio::time::sleep(TURN).await;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.progress.failure() {
            return Err(Failure::new(format!("a write failed: {failure}")));
        }
        let interval = Duration::from_millis(self.view.interval_ms());
        if self.shown.is_none_or(|shown| shown.elapsed() >= interval) {
            self.shown = Some(Instant::now());
            let sample = self.sampler.take(&self.cluster, &self.board, &self.phase);
            self.view.show(&sample)?;
        }
        Ok(())
    }

    async fn judge(
        &self,
        outage: Option<Outage>,
        replay: Option<Replayed>,
    ) -> Result<Verdict, Failure> {
        let elapsed_s = (self.started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let bytes_total = self.cluster.bytes();
        let fingerprints = self.cluster.fingerprints().await?;
        let same = fingerprints.windows(2).all(|pair| pair[0] == pair[1]);
        let ledger = self
            .progress
            .ledger
            .lock()
            .map_err(|_| "a writer died")?
            .clone();
        let mut wrong_carts = Vec::new();
        for datacenter in &self.cluster.datacenters {
            let carts = ledger.differences(&datacenter.node).await?;
            if !carts.is_empty() {
                wrong_carts.push(WrongCarts {
                    datacenter: datacenter.city.name,
                    carts,
                });
            }
        }
        let n = self.cluster.datacenters.len();
        let writes = self.board.writes();
        let converged = self.board.converged();
        Ok(Verdict {
            event: "verdict",
            equal: same && wrong_carts.is_empty(),
            fingerprints: fingerprints
                .iter()
                .map(|(hash, _)| hex::encode(&hash[..8]))
                .collect(),
            datacenters: self
                .cluster
                .datacenters
                .iter()
                .map(|datacenter| datacenter.city.name)
                .collect(),
            carts: ledger.carts(),
            writes,
            pieces: ledger.pieces(),
            wrong_carts,
            outage: outage.map(|outage| Outage {
                converged_ms: converged.map(milliseconds),
                ..outage
            }),
            lags: self.lags(),
            bytes_per_write: (bytes_total as f64 / (writes * (n - 1)).max(1) as f64 * 10.0).round()
                / 10.0,
            bytes_total,
            elapsed_s,
            replay,
        })
    }

    fn lags(&self) -> Vec<Lag> {
        let n = self.cluster.datacenters.len();
        let name = |at: usize| self.cluster.datacenters[at].city.name;
        let pairs = (0..n)
            .flat_map(|from| (0..n).map(move |to| (from, to)))
            .filter(|(from, to)| from != to);
        pairs
            .filter_map(|(from, to)| {
                Some(Lag {
                    from: name(from),
                    to: name(to),
                    one_way_ms: milliseconds(self.cluster.one_way(from, to)),
                    p50_ms: milliseconds(self.board.lag(to, from, 50)?),
                    p99_ms: milliseconds(self.board.lag(to, from, 99)?),
                })
            })
            .collect()
    }
}

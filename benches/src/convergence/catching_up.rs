//! A datacenter that lacks much: after it was cut off, and when it is new.

use std::time::{Duration, Instant};

use super::bed::Bed;
use super::clock::{ms_between, now_ns};
use super::feed::{Reader, Seen};
use super::phases::{everywhere, writing};
use super::results::{CatchUp, Foreground, Phase, thinned};
use super::running::{Running, answers_between};
use super::scale::Scale;
use super::wire::Bytes;
use super::workload::Workload;
use super::writers::Load;
use crate::{Outcome, carts};

/// Clients that write what a cut-off datacenter misses.
const CLIENTS: u64 = 64;
/// The new replica's name.
const NEWCOMER: &str = "newcomer";
/// Longer than a new replica may take.
const FOREGROUND: Duration = Duration::from_secs(3_600);
/// Of the foreground's calls at the beginning, these are not counted: connections are being made.
const WARMING: Duration = Duration::from_millis(500);

fn phase(name: &str, title: &str, note: String, catch_up: CatchUp) -> Phase {
    Phase {
        name: name.to_owned(),
        title: title.to_owned(),
        note,
        load: None,
        quiet: None,
        catch_up: Some(catch_up),
    }
}

/// Bytes to and from a host since then.
fn bytes_at(before: &Bytes, after: &Bytes, host: usize) -> u64 {
    let touches = |pair: &(usize, usize)| pair.0 == host || pair.1 == host;
    let all = |bytes: &Bytes| -> u64 {
        let some = bytes.iter().filter(|(pair, _)| touches(pair));
        some.map(|(_, bytes)| bytes).sum()
    };
    all(after).saturating_sub(all(before))
}

/// Documents by when they came.
fn curve(seen: &[Seen], since_ns: u64) -> Vec<(f64, f64)> {
    let mut documents = 0.0;
    let come = seen.iter().map(|seen| {
        documents += f64::from(seen.documents);
        (ms_between(since_ns, seen.at_ns), documents)
    });
    come.collect()
}

struct Times {
    first_ms: f64,
    p50_ms: f64,
    last_ms: f64,
}

fn times(curve: &[(f64, f64)]) -> Outcome<Times> {
    let (Some(first), Some(last)) = (curve.first(), curve.last()) else {
        return Err("nothing has come".into());
    };
    let half = curve
        .iter()
        .find(|(_, documents)| *documents * 2.0 >= last.1);
    Ok(Times {
        first_ms: first.0,
        p50_ms: half.unwrap_or(last).0,
        last_ms: last.0,
    })
}

/// Cuts the last datacenter off, writes new carts at the first, heals, and waits until the last has them.
pub(crate) async fn cut_and_heal(bed: &mut Bed, scale: &Scale) -> Outcome<Phase> {
    let away = bed.members.len() - 1;
    bed.wire.cut(away)?;
    let result = around_the_cut(bed, scale, away).await;
    if result.is_err() {
        // What comes after it should find a whole network.
        bed.wire.heal(away)?;
    }
    result
}

async fn around_the_cut(bed: &mut Bed, scale: &Scale, away: usize) -> Outcome<Phase> {
    let begun = Instant::now();
    let load = Load {
        workload: Workload::NewCarts { from: bed.carts },
        rate: None,
        writes: scale.missed,
        clients: CLIENTS,
        seed: 1,
    };
    let finished = Running::start(bed, vec![(0, load)])?.finished().await?;
    let others: Vec<usize> = (0..away).collect();
    finished.visible_at(bed, &others).await?;
    tokio::time::sleep(scale.cut.saturating_sub(begun.elapsed())).await;
    let cut_for = begun.elapsed();
    let away_name = bed.topology.regions[away];
    let up = bed.members[0]
        .links()
        .await?
        .iter()
        .any(|(name, _)| name == away_name);

    let before = bed.bytes()?;
    let origin = bed.origin(0, carts::NAMESPACE)?;
    // Of what it saw before the cut nothing counts.
    bed.readers[away].take();
    let healed_ns = now_ns();
    bed.wire.heal(away)?;
    finished.visible_at(bed, &[away]).await?;
    let bytes = bytes_at(&before, &bed.bytes()?, away);
    let mut seen = bed.readers[away].take();
    seen.retain(|seen| seen.origin == origin);
    let curve = curve(&seen, healed_ns);
    let Times {
        first_ms,
        p50_ms,
        last_ms,
    } = times(&curve)?;
    let writes: u64 = finished
        .sent
        .iter()
        .map(|(_, _, sent)| sent.writes.len() as u64)
        .sum();
    bed.carts += usize::try_from(writes)?;
    let catch_up = CatchUp {
        datacenter: away_name.to_owned(),
        documents: writes,
        round_trip_ms: bed.topology.round_trip_ms(0, away),
        first_ms,
        p50_ms,
        last_ms,
        bytes,
        bytes_per_document: bytes as f64 / writes.max(1) as f64,
        curve: thinned(&curve),
        foreground: None,
        links_up: Some(up),
    };
    let note = format!(
        "{away_name} is cut off for {:.1} s while {} writes {writes} new carts of {} items, one in a write",
        cut_for.as_secs_f64(),
        bed.topology.regions[0],
        carts::ITEMS,
    );
    Ok(phase("cut", "Cut and heal", note, catch_up))
}

/// Starts a node that knows nothing, beside others that are written to.
pub(crate) async fn new_replica(bed: &mut Bed, scale: &Scale) -> Outcome<Phase> {
    let workload = Workload::Carts { carts: bed.carts };
    let rate = scale.calm_rate();
    let loads = everywhere(bed, workload, rate, FOREGROUND);
    let running = Running::start(bed, loads)?;
    let warm_ns = now_ns() + u64::try_from(WARMING.as_nanos())?;
    tokio::time::sleep(WARMING + scale.time).await;

    let mut marks = Vec::new();
    for at in writing(bed) {
        let origin = bed.origin(at, carts::NAMESPACE)?;
        marks.push((origin, bed.readers[at].highest(origin)?));
    }
    let (host, before) = (bed.topology.len(), bed.bytes()?);
    let begun_ns = now_ns();
    let mut newcomer = bed.join(NEWCOMER, host).await?;
    let reader = Reader::start(&newcomer.place, newcomer.http, host, &bed.origins, true).await?;
    for (origin, seq) in &marks {
        bed.seen([&reader], *origin, *seq).await?;
    }
    let done_ns = now_ns();
    let bytes = bytes_at(&before, &bed.bytes()?, host);
    let documents = reader.documents();
    let finished = running.stopped().await?;
    // The figures are of what was there when it came; what is written meanwhile comes, too.
    let mut seen = reader.take();
    seen.retain(|seen| seen.at_ns <= done_ns);
    let curve = curve(&seen, begun_ns);
    let Times {
        first_ms, p50_ms, ..
    } = times(&curve)?;
    let found = bed.carts as u64;
    let catch_up = CatchUp {
        datacenter: NEWCOMER.to_owned(),
        documents: found,
        round_trip_ms: bed.topology.round_trip_ms(0, host),
        first_ms,
        p50_ms,
        last_ms: ms_between(begun_ns, done_ns),
        bytes,
        bytes_per_document: bytes as f64 / found.max(1) as f64,
        curve: thinned(&curve),
        foreground: Some(Foreground {
            writes_per_s: f64::from(rate),
            before_ms: answers_between(&finished.sent, warm_ns, begun_ns),
            meanwhile_ms: answers_between(&finished.sent, begun_ns, done_ns),
        }),
        links_up: None,
    };
    let complaints = newcomer.complaints()?;
    drop(reader);
    newcomer.stop().await?;
    let note = format!(
        "{found} carts of {} items are there; {rate} cart writes/s in each of {} datacenters before and meanwhile. \
         {documents} changes have come with them. From the start of its process until it shows all that was visible at \
         the others in that moment{}",
        carts::ITEMS,
        writing(bed).len(),
        complaints
            .iter()
            .map(|line| format!("; {line}"))
            .collect::<String>(),
    );
    Ok(phase("join", "A new replica", note, catch_up))
}

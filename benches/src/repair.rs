//! What a repair costs: two nodes, 40 ms one way between them, logs that keep nothing. One joins and takes everything; then some
//! documents change while it is away, and it takes those.

use std::path::Path;
use std::time::{Duration, Instant};

use anabranch::pki::{CertificateAuthority, Validity};
use anabranch::relay::{Relay, Shape};
use anabranch::{Config, Gossip, Node, RepairStatus};
use anabranch_core::measure::Summaries;

use crate::{Outcome, carts};

const ONE_WAY: Duration = Duration::from_millis(40);
/// Documents that the other one lacks something of.
const DIFFERING: usize = 1_000;
/// How long it may take until nothing is left in the log, or until something has been repaired.
const PATIENCE: Duration = Duration::from_secs(900);

pub(crate) async fn measure(carts: usize) -> Outcome<()> {
    finding(u64::try_from(carts)?);
    let root = tempfile::tempdir()?;
    let ca = CertificateAuthority::generate("repair")?;
    let a = Node::open(config(root.path(), &ca, "a", None)?).await?;
    let begun = Instant::now();
    carts::fill(&a, carts).await?;
    folded(&a, true).await?;
    let fill_s = begun.elapsed().as_secs_f64();
    println!("{carts} carts written and folded in {fill_s:.1} s, none of it in the log any more");

    let target = a.gossip_addr().ok_or("no gossip")?;
    let relay = Relay::start(target, Shape::one_way(ONE_WAY))?;
    let begun = Instant::now();
    let b = Node::open(config(root.path(), &ca, "b", Some(&relay))?).await?;
    let found = repaired(&a, &b).await?;
    let took = begun.elapsed();
    say("a new replica takes all of it", &found, took, &relay);

    // Until all of it lies in its place, so that it is not that which takes time afterwards.
    folded(&b, false).await?;
    b.shutdown().await?;
    drop(relay);
    let mut changes = 0;
    for n in 0..DIFFERING {
        let cart = n * (carts / DIFFERING).max(1);
        let edit = carts::one_more(cart, n % carts::ITEMS)?;
        a.apply(carts::NAMESPACE, &carts::key(cart), [edit]).await?;
        changes += 1;
    }
    folded(&a, true).await?;
    // What is still in its memory it would send from there.
    a.shutdown().await?;
    let a = Node::open(config(root.path(), &ca, "a", None)?).await?;
    folded(&a, false).await?;
    let target = a.gossip_addr().ok_or("no gossip")?;
    let relay = Relay::start(target, Shape::one_way(ONE_WAY))?;
    let begun = Instant::now();
    let b = Node::open(config(root.path(), &ca, "b", Some(&relay))?).await?;
    let opened = begun.elapsed();
    let found = repaired(&a, &b).await?;
    println!("  opened in {:.1} s", opened.as_secs_f64());
    let what = format!("{changes} carts had one change while it was away");
    say(&what, &found, begun.elapsed(), &relay);
    // What came is summed up anew first.
    folded(&b, false).await?;
    let begun = Instant::now();
    let verified = b.verify(carts::NAMESPACE).await?;
    println!(
        "  verify: {} ms, {:?}",
        begun.elapsed().as_millis(),
        verified
            .peers
            .iter()
            .map(|peer| &peer.compared)
            .collect::<Vec<_>>()
    );
    b.shutdown().await?;
    a.shutdown().await?;
    Ok(())
}

/// The summaries alone.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn finding(documents: u64) {
    let differing = DIFFERING as u64;
    let mut summaries = Summaries::new(documents);
    for n in 0..differing {
        summaries.change(n * (documents / differing), documents + n);
    }
    let begun = Instant::now();
    let (found, bytes, flights) = summaries.descend(differing, 11);
    let took_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    println!(
        "summaries of {documents} documents, {:.1} B of memory each; {differing} that differ are among {found} found in {flights} flights \
         and {:.0} B for each; {took_ms:.1} ms at both ends together",
        summaries.bytes() as f64 / documents as f64,
        bytes as f64 / differing as f64,
    );
    let begun = Instant::now();
    let told = summaries.sketched();
    let took_ms = begun.elapsed().as_secs_f64() * 1_000.0;
    match told {
        Some((found, finding, asking)) => println!(
            "  by sketches {found} are found in 2 flights and {:.1} B for each, and asked for with {:.1} B; {took_ms:.1} ms at both ends together",
            finding as f64 / differing as f64,
            asking as f64 / differing as f64,
        ),
        None => println!("  the sketch does not tell which"),
    }
}

fn config(
    root: &Path,
    ca: &CertificateAuthority,
    name: &str,
    seed: Option<&Relay>,
) -> Outcome<Config> {
    let certificate = ca.issue(name, Validity::days(1))?;
    let mut gossip = Gossip::new(
        ([127, 0, 0, 1], 0).into(),
        ca.to_pem().cert_pem,
        certificate.cert_pem,
        certificate.key_pem,
    );
    gossip = gossip.seeds(seed.map(|relay| relay.addr().to_string()));
    // The relay alone has the delay.
    gossip.discover = false;
    let mut config = Config::new(root.join(name))
        .named(name, name)
        .gossiping(gossip);
    (config.log_kept_bytes, config.log_max_bytes) = (0, 0);
    Ok(config)
}

/// Waits until everything is folded and counted, and perhaps until the log holds none of it.
async fn folded(node: &Node, released: bool) -> Outcome<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let status = node.status().await?.replica;
        let counted = status.namespaces.iter().all(|n| n.documents.is_some());
        let gone = status.log_first > status.log_end;
        if status.unfolded_bytes == 0 && counted && (gone || !released) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = node.status().await?.replica;
    Err(format!(
        "it does not come to rest: {} B are not folded, the log begins at {} and ends at {}, {:?}",
        status.unfolded_bytes, status.log_first.0, status.log_end.0, status.namespaces
    )
    .into())
}

async fn repaired(a: &Node, b: &Node) -> Outcome<RepairStatus> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let (ours, theirs) = (a.status().await?.replica, b.status().await?.replica);
        let of = |status: &anabranch::Status| {
            let mut all = status.namespaces.iter();
            all.find(|found| found.namespace.as_str() == carts::NAMESPACE)
                .cloned()
        };
        if let (Some(ours), Some(theirs)) = (of(&ours), of(&theirs))
            && ours.batches == theirs.batches
            && let Some(repair) = theirs.last_repair
        {
            return Ok(repair);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("nothing is repaired".into())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn say(what: &str, found: &RepairStatus, took: Duration, relay: &Relay) {
    let each = |bytes: u64| bytes as f64 / found.documents.max(1) as f64;
    let wire = relay.to_target().bytes + relay.to_client().bytes;
    println!(
        "{what}: {:.2} s from opening, {:.2} s from the first question; {} documents, {} round trips of {} ms\n  per document: {:.0} B to find it, \
         {:.0} B of it, {:.0} B on the wire with everything",
        took.as_secs_f64(),
        found.took_ms as f64 / 1_000.0,
        found.documents,
        found.round_trips,
        2 * ONE_WAY.as_millis(),
        each(found.bytes_comparing),
        each(found.bytes_documents),
        each(wire),
    );
}

//! A running cluster, with everything that watches it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anabranch::pki::CertificateAuthority;

use super::feed::{Origins, Reader};
use super::member::{Member, Plan};
use super::probe::Probe;
use super::results::LinkResult;
use super::topology::Topology;
use super::wan::Wan;
use super::wire::{Bytes, Wire};
use super::workload::{FEEDS, Workload, made_feeds};
use super::writers::{self, Load};
use crate::{Outcome, carts, footprint};

/// How long is waited for what must come.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it is looked for. Nothing that is measured depends on it.
const LOOK: Duration = Duration::from_millis(5);
const GOSSIP_PORT: u16 = 7_172;
/// A round trip that is this much shorter than it should be has not gone through the network that is played.
const SHORT_CUT: f64 = 0.8;

/// A cluster. What is dropped first stands first: nodes before the network and the files that they use.
pub(crate) struct Bed {
    pub(crate) readers: Vec<Reader>,
    pub(crate) probe: Probe,
    pub(crate) members: Vec<Member>,
    pub(crate) wire: Wire,
    pub(crate) topology: Topology,
    pub(crate) origins: Origins,
    /// Carts that are there.
    pub(crate) carts: usize,
    ca: CertificateAuthority,
    program: PathBuf,
    memory_mib: Option<usize>,
    root: tempfile::TempDir,
}

impl Bed {
    pub(crate) async fn start(
        topology: Topology,
        program: &Path,
        wan: Option<&Path>,
        memory_mib: Option<usize>,
    ) -> Outcome<Self> {
        let wire = Wire::new(wan, &topology)?;
        let probe = Probe::start(&wire, &topology).await?;
        let mut bed = Self {
            readers: Vec::new(),
            probe,
            members: Vec::new(),
            wire,
            origins: Origins::default(),
            carts: 0,
            ca: CertificateAuthority::generate("convergence")?,
            program: program.to_owned(),
            memory_mib,
            root: tempfile::tempdir()?,
            topology,
        };
        for at in 0..bed.topology.len() {
            let member = bed.join(bed.topology.regions[at], at).await?;
            bed.members.push(member);
        }
        bed.linked().await?;
        for (at, member) in bed.members.iter().enumerate() {
            let reader = Reader::start(&member.place, member.http, at, &bed.origins, false);
            bed.readers.push(reader.await?);
        }
        for namespace in [carts::NAMESPACE, FEEDS] {
            bed.introduce(namespace).await?;
        }
        Ok(bed)
    }

    /// Starts a node on a host, that knows those which are there.
    pub(crate) async fn join(&mut self, name: &str, at: usize) -> Outcome<Member> {
        let mut seeds = Vec::new();
        let gossip = if self.wire.is_wan() {
            let address = |host| format!("{}:{GOSSIP_PORT}", Wan::ip(host));
            let others = (0..self.topology.len()).filter(|other| *other != at);
            seeds.extend(others.map(address));
            address(at)
        } else {
            for (before, other) in self.members.iter().enumerate() {
                let path = self.wire.path(&self.topology, (before, at), other.gossip)?;
                seeds.push(path.to_string());
            }
            "127.0.0.1:0".to_owned()
        };
        let plan = Plan {
            program: self.program.clone(),
            directory: self.root.path().join(name),
            name: name.to_owned(),
            place: self.wire.place(at),
            gossip,
            seeds,
            memory_mib: self.memory_mib,
        };
        plan.start(&self.ca).await
    }

    /// Waits until every two are linked.
    async fn linked(&self) -> Outcome<()> {
        let begun = Instant::now();
        for member in &self.members {
            loop {
                let links = member.links().await?;
                if links.len() + 1 == self.members.len() {
                    break;
                }
                if begun.elapsed() > PATIENCE {
                    let (name, found) = (&member.name, links.len());
                    return Err(format!(
                        "{name} has {found} links only: look whether UDP passes between them"
                    )
                    .into());
                }
                tokio::time::sleep(LOOK * 10).await;
            }
        }
        Ok(())
    }

    /// Lets every datacenter write once, so that readers know whose batches are whose.
    async fn introduce(&self, namespace: &'static str) -> Outcome<()> {
        let begun = Instant::now();
        for member in &self.members {
            let op = r#"{"op":"increment","path":"/hello","by":1}"#;
            let body =
                format!(r#"{{"writes":[{{"ns":"{namespace}","key":"hello","ops":[{op}]}}]}}"#);
            member.post_all("/v1/batch", vec![body]).await?;
        }
        for (at, member) in self.members.iter().enumerate() {
            for reader in &self.readers {
                while !self
                    .origins
                    .of(at, namespace)
                    .map_or(Ok(0), |origin| reader.highest(origin))
                    .is_ok_and(|seq| seq > 0)
                {
                    if begun.elapsed() > PATIENCE {
                        return Err(
                            format!("what {} wrote does not come through", member.name).into()
                        );
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
        Ok(())
    }

    /// The origin that writes at a datacenter.
    pub(crate) fn origin(&self, datacenter: usize, namespace: &str) -> Outcome<usize> {
        let origin = self.origins.of(datacenter, namespace);
        origin.ok_or_else(|| {
            format!("nothing has been written to {namespace} at {datacenter}").into()
        })
    }

    /// Waits until some readers have seen an origin as far as this.
    pub(crate) async fn seen(
        &self,
        readers: impl IntoIterator<Item = &Reader>,
        origin: usize,
        seq: u64,
    ) -> Outcome<()> {
        let begun = Instant::now();
        for reader in readers {
            while reader.highest(origin)? < seq {
                if begun.elapsed() > PATIENCE {
                    let found = reader.highest(origin)?;
                    return Err(format!(
                        "only {found} of {seq} batches have come through after {} s",
                        PATIENCE.as_secs()
                    )
                    .into());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// Makes carts at the first datacenter, and feeds, and waits until they are everywhere and at rest.
    pub(crate) async fn fill(&mut self, carts: usize) -> Outcome<()> {
        let first = &self.members[0];
        let http = first.http;
        let load =
            first.place.run_async(
                "fill",
                move || async move { footprint::load(http, carts).await },
            )?;
        load.done().await?;
        first.post_all("/v1/batch", made_feeds()).await?;
        self.carts = carts;
        for workload in [Workload::Carts { carts }, Workload::Feeds] {
            self.mark(0, workload).await?;
        }
        self.rest().await
    }

    /// One write more, and the time until it is everywhere: then all before it is, too.
    async fn mark(&self, at: usize, workload: Workload) -> Outcome<()> {
        let load = Load {
            workload,
            rate: None,
            writes: 1,
            clients: 1,
            seed: 0,
        };
        let member = &self.members[at];
        let task = writers::start(
            &member.place,
            member.http,
            load,
            Arc::new(AtomicBool::new(false)),
        )?;
        let sent = task.done().await?;
        let seq = sent.writes.first().ok_or("a write was refused")?.seq;
        self.seen(&self.readers, self.origin(at, workload.namespace())?, seq)
            .await
    }

    /// Waits until all that was written has been folded.
    pub(crate) async fn rest(&self) -> Outcome<()> {
        let begun = Instant::now();
        for member in &self.members {
            while member.cluster().await?["node"]["unfolded_bytes"].as_u64() != Some(0) {
                if begun.elapsed() > PATIENCE {
                    return Err(format!("{} does not come to rest", member.name).into());
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
        Ok(())
    }

    /// Bytes between the nodes so far, without what the probe has sent.
    pub(crate) fn bytes(&mut self) -> Outcome<Bytes> {
        let mut bytes = self.wire.bytes()?;
        for (pair, probed) in self.probe.bytes() {
            let all = bytes.entry(pair).or_default();
            *all = all.saturating_sub(probed);
        }
        Ok(bytes)
    }

    /// What QUIC has measured on the nodes' links; complains of those that do not go through the network.
    pub(crate) async fn links(&self) -> Outcome<(Vec<LinkResult>, Vec<String>)> {
        let (mut found, mut complaints) = (Vec::new(), Vec::new());
        for (from, member) in self.members.iter().enumerate() {
            for (name, round_trip_ms) in member.links().await? {
                let to = self
                    .topology
                    .regions
                    .iter()
                    .position(|region| *region == name);
                let due = to.map_or(0.0, |to| self.topology.round_trip_ms(from, to));
                let from = member.name.clone();
                if round_trip_ms < due * SHORT_CUT {
                    complaints.push(format!(
                        "the link from {from} to {name} has a round trip of {round_trip_ms:.1} ms instead of {due} ms: \
                         the nodes have found a way past the network between them"
                    ));
                }
                found.push(LinkResult {
                    from,
                    to: name,
                    round_trip_ms,
                });
            }
        }
        Ok((found, complaints))
    }

    /// Ends it, and gives what the nodes had to complain of.
    pub(crate) async fn stop(mut self) -> Outcome<Vec<String>> {
        let mut complaints = Vec::new();
        for member in &mut self.members {
            complaints.extend(member.complaints()?);
        }
        self.readers.clear();
        for member in self.members.drain(..) {
            member.stop().await?;
        }
        Ok(complaints)
    }
}

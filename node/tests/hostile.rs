//! A peer with a valid certificate that sends nonsense: it is told so and cut off, and all else goes on.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use anabranch::pki::{CertificateAuthority, Validity};
use anabranch::{Config, Edit, Gossip, Node, Path};
use anabranch_net::{Event, Identity, Net};
use bytes::Bytes;
use tokio::sync::mpsc;

const GUARD: Duration = Duration::from_secs(30);

struct Cluster {
    ca: CertificateAuthority,
    root: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        Self {
            ca: CertificateAuthority::generate("test").unwrap(),
            root: tempfile::tempdir().unwrap(),
        }
    }

    async fn node(&self, name: &str, seeds: &[SocketAddr]) -> Node {
        let certificate = self.ca.issue(name, Validity::days(1)).unwrap();
        let mut gossip = Gossip::new(
            "127.0.0.1:0".parse().unwrap(),
            self.ca.to_pem().cert_pem,
            certificate.cert_pem,
            certificate.key_pem,
        )
        .seeds(seeds.iter().map(ToString::to_string));
        // The stranger is met where it goes, and is not looked for.
        gossip.discover = false;
        let config = Config::new(self.root.path().join(name)).named(name, name);
        Node::open(config.gossiping(gossip)).await.unwrap()
    }

    /// A network end with a certificate of the cluster, and no replica behind it.
    async fn stranger(&self, seed: SocketAddr) -> (Net, mpsc::Receiver<Event>) {
        let certificate = self.ca.issue("stranger", Validity::days(1)).unwrap();
        let ca = self.ca.to_pem().cert_pem;
        let identity =
            Identity::from_pem(&ca, &certificate.cert_pem, &certificate.key_pem).unwrap();
        let mut config = anabranch_net::Config::new("127.0.0.1:0".parse().unwrap(), identity);
        config.seeds = vec![seed.to_string()];
        config.discover = false;
        let (sender, events) = mpsc::channel(64);
        (Net::bind(config, sender).await.unwrap(), events)
    }
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(GUARD, events.recv())
        .await
        .unwrap()
        .unwrap()
}

/// Sends one frame on a new link, and gives the reason for which the link goes down.
async fn answer_to(net: &Net, events: &mut mpsc::Receiver<Event>, frame: &[u8]) -> String {
    let up = loop {
        if let Event::LinkUp { link, .. } = next(events).await {
            break link;
        }
    };
    net.send(up, Bytes::copy_from_slice(frame)).unwrap();
    loop {
        match next(events).await {
            Event::LinkDown { link, reason } if link == up => return reason,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_closes_its_own_link_and_no_other() {
    let cluster = Cluster::new();
    let good = cluster.node("good", &[]).await;
    let addr = good.gossip_addr().unwrap();
    let friend = cluster.node("friend", &[addr]).await;
    let (stranger, mut events) = cluster.stranger(addr).await;
    // An unknown kind; a delta that announces more than it has; another protocol version.
    let frames: [&[u8]; 3] = [b"\xffgarbage", b"\x03\x01\xff\xff\x7f", b"\x01\x63"];
    for (sent, frame) in frames.iter().enumerate() {
        let reason = answer_to(&stranger, &mut events, frame).await;
        assert!(reason.contains("can't be read"), "{reason}");
        let status = good.status().await.unwrap();
        assert_eq!(status.replica.counters.bad_frames, sent as u64 + 1);
    }
    let mut feed = friend.subscribe(None, "", None);
    let edit = Edit::Increment {
        path: Path::parse("/n").unwrap(),
        by: 1,
    };
    good.apply("carts", "alice", [edit]).await.unwrap();
    let change = tokio::time::timeout(GUARD, feed.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(change.documents[0].key.as_str(), "alice");
    stranger.shutdown().await;
    good.shutdown().await.unwrap();
    friend.shutdown().await.unwrap();
}

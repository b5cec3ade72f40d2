//! Nodes on loopback, a cluster's certificates, strangers, and an ear for warnings.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anabranch_core::ReplicaId;
use anabranch_net::pki::{CertificateAuthority, NodeCertificate, Validity};
use anabranch_net::{Config, Event, Identity, LinkId, Net};
use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc;

/// What nodes of this version speak.
pub const ALPN: &[u8] = b"anabranch/1";

/// Only there so that a hanging test ends; nothing is expected to come near it.
const LAST_RESORT: Duration = Duration::from_secs(60);

pub async fn guarded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LAST_RESORT, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

pub fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// An address that was free a moment ago, for nodes that have to know each other before they start.
pub fn free_address() -> SocketAddr {
    std::net::UdpSocket::bind(loopback())
        .unwrap()
        .local_addr()
        .unwrap()
}

pub struct Cluster {
    pub authority: CertificateAuthority,
    pub ca_pem: String,
}

impl Cluster {
    pub fn new() -> Self {
        let authority = CertificateAuthority::generate("test-cluster").unwrap();
        let ca_pem = authority.to_pem().cert_pem;
        Self { authority, ca_pem }
    }

    pub fn certificate(&self, name: &str) -> NodeCertificate {
        self.authority.issue(name, Validity::default()).unwrap()
    }

    pub fn identity(&self, name: &str) -> Identity {
        let node = self.certificate(name);
        Identity::from_pem(&self.ca_pem, &node.cert_pem, &node.key_pem).unwrap()
    }
}

/// A node, and the promises that every sequence of events has to keep.
pub struct Node {
    pub net: Net,
    events: mpsc::Receiver<Event>,
    up: HashMap<LinkId, ReplicaId>,
    pub ups: usize,
}

impl Node {
    pub async fn start(identity: Identity, seeds: &[SocketAddr]) -> Self {
        Self::with(config(identity, seeds), 1_024).await
    }

    pub async fn with(config: Config, events_max: usize) -> Self {
        let (sender, events) = mpsc::channel(events_max);
        let net = Net::bind(config, sender).await.unwrap();
        Self {
            net,
            events,
            up: HashMap::new(),
            ups: 0,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.net.local_addr()
    }

    pub async fn event(&mut self) -> Event {
        let event = guarded("an event", self.events.recv())
            .await
            .expect("the network lives");
        self.check(&event);
        event
    }

    /// The next event, if there is one already.
    pub fn event_now(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok()?;
        self.check(&event);
        Some(event)
    }

    fn check(&mut self, event: &Event) {
        match event {
            Event::LinkUp { link, peer, .. } => {
                assert!(
                    !self.up.values().any(|other| other == peer),
                    "two links with one peer"
                );
                assert_eq!(self.up.insert(*link, *peer), None, "one link up twice");
                self.ups += 1;
            }
            Event::LinkDown { link, .. } => {
                assert!(self.up.remove(link).is_some(), "down without up");
            }
            Event::Frame { link, .. } | Event::Sent { link, .. } => {
                assert!(
                    self.up.contains_key(link),
                    "{event:?} on a link that is down"
                );
            }
        }
    }

    pub async fn link_up(&mut self) -> LinkId {
        loop {
            if let Event::LinkUp { link, .. } = self.event().await {
                return link;
            }
        }
    }

    pub async fn link_down(&mut self) -> (LinkId, String) {
        loop {
            if let Event::LinkDown { link, reason } = self.event().await {
                return (link, reason);
            }
        }
    }

    pub async fn frame(&mut self) -> (LinkId, Bytes) {
        loop {
            if let Event::Frame { link, bytes } = self.event().await {
                return (link, bytes);
            }
        }
    }

    /// Shuts down and reads events to their end.
    pub async fn stop(self) {
        let Self {
            net,
            mut events,
            mut up,
            ..
        } = self;
        let drain = async {
            while let Some(event) = events.recv().await {
                if let Event::LinkDown { link, .. } = event {
                    assert!(up.remove(&link).is_some(), "down without up");
                } else if let Event::LinkUp { link, peer, .. } = event {
                    up.insert(link, peer);
                }
            }
        };
        guarded("shutdown", async { tokio::join!(net.shutdown(), drain) }).await;
        assert!(up.is_empty(), "a link went without its LinkDown");
    }
}

/// A node that dials its seeds and nobody else, so that a test knows what links there are.
pub fn config(identity: Identity, seeds: &[SocketAddr]) -> Config {
    let mut config = Config::new(loopback(), identity);
    config.discover = false;
    config.seeds = seeds.iter().map(ToString::to_string).collect();
    config
}

/// Two nodes, the first dialled by the second.
pub async fn pair(cluster: &Cluster) -> (Node, LinkId, Node, LinkId) {
    let mut a = Node::start(cluster.identity("a"), &[]).await;
    let mut b = Node::start(cluster.identity("b"), &[a.address()]).await;
    let (a_link, b_link) = (a.link_up().await, b.link_up().await);
    (a, a_link, b, b_link)
}

/// Sends a frame each way and waits for both: proof that the link works.
pub async fn ping(a: &mut Node, a_link: LinkId, b: &mut Node, b_link: LinkId) {
    a.net.send(a_link, Bytes::from_static(b"ping")).unwrap();
    assert_eq!(b.frame().await, (b_link, Bytes::from_static(b"ping")));
    b.net.send(b_link, Bytes::from_static(b"pong")).unwrap();
    assert_eq!(a.frame().await, (a_link, Bytes::from_static(b"pong")));
}

/// What a client without this crate shows.
pub struct Stranger<'a> {
    /// The CA that it believes in.
    pub ca_pem: &'a str,
    pub certificate: Option<&'a NodeCertificate>,
    pub alpn: &'static [u8],
}

impl Stranger<'_> {
    pub async fn dial(
        &self,
        address: SocketAddr,
    ) -> (
        quinn::Endpoint,
        Result<quinn::Connection, quinn::ConnectionError>,
    ) {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut tls = match self.certificate {
            Some(node) => {
                let chain = vec![CertificateDer::from_pem_slice(node.cert_pem.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(node.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![self.alpn.to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let endpoint = quinn::Endpoint::client(loopback()).unwrap();
        let client = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint
            .connect_with(client, address, "anabranch.internal")
            .unwrap();
        let connection = guarded("a handshake", connecting).await;
        (endpoint, connection)
    }
}

/// An authenticated peer's connection, past its agreement with the node.
pub struct Insider {
    _endpoint: quinn::Endpoint,
    pub connection: quinn::Connection,
    pub send: quinn::SendStream,
}

impl Insider {
    /// Says hello as of `hello.rs`, in words of its own.
    pub async fn join(cluster: &Cluster, certificate: &NodeCertificate, node: &mut Node) -> Self {
        let insider = Stranger {
            ca_pem: &cluster.ca_pem,
            certificate: Some(certificate),
            alpn: ALPN,
        };
        let (endpoint, connection) = insider.dial(node.address()).await;
        let connection = connection.unwrap();
        let mut send = connection.open_uni().await.unwrap();
        let mut hello = b"ANB1".to_vec();
        for word in [7_u64, 0, 0] {
            hello.extend_from_slice(&word.to_le_bytes());
        }
        send.write_all(&hello).await.unwrap();
        let id = Identity::from_pem(&cluster.ca_pem, &certificate.cert_pem, &certificate.key_pem)
            .unwrap()
            .replica_id();
        if id < node.net.replica_id() {
            send.write_all(&1_u64.to_le_bytes()).await.unwrap();
        }
        node.link_up().await;
        Self {
            _endpoint: endpoint,
            connection,
            send,
        }
    }
}

/// Hears the warnings of everything on this thread (use it with a single-threaded runtime).
pub struct Warnings {
    heard: mpsc::UnboundedReceiver<String>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Warnings {
    pub fn listen() -> Self {
        let (tell, heard) = mpsc::unbounded_channel();
        Self {
            heard,
            _guard: tracing::subscriber::set_default(Ear(tell)),
        }
    }

    pub async fn containing(&mut self, text: &str) -> String {
        loop {
            let warning = guarded(text, self.heard.recv()).await.unwrap();
            if warning.contains(text) {
                return warning;
            }
        }
    }

    pub fn so_far(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }
}

struct Ear(mpsc::UnboundedSender<String>);

struct Text(String);

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl tracing::Subscriber for Ear {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN && metadata.target().starts_with("anabranch")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        // The test may have ended already.
        let _ = self.0.send(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

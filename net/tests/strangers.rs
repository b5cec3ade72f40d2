//! Peers that are misconfigured, hostile, or no Anabranch nodes: each is told apart, and none disturbs the others.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anabranch_net::limits::{FRAME_BYTES_MAX, HANDSHAKES_MAX};
use anabranch_net::pki::Validity;
use anabranch_net::{Event, Identity};
use support::{ALPN, Cluster, Insider, Node, Stranger, Warnings, config, guarded, pair, ping};

const DAY: Duration = Duration::from_secs(86_400);

/// Dials as a stranger and waits for the refusal, which may come only after the handshake.
async fn refused(stranger: &Stranger<'_>, address: SocketAddr) -> quinn::ConnectionError {
    let (_endpoint, connection) = stranger.dial(address).await;
    match connection {
        Ok(connection) => guarded("the refusal", connection.closed()).await,
        Err(error) => error,
    }
}

/// Waits until the only seed has failed with an error that contains this.
async fn seed_error(node: &Node, warnings: &mut Warnings, text: &str) {
    warnings.containing(text).await;
    loop {
        let seed = node.net.seeds().remove(0);
        if let Some(error) = seed.last_error {
            assert!(error.contains(text), "{error}");
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_node_of_another_cluster_is_told_on_both_sides() {
    let mut warnings = Warnings::listen();
    let (cluster, foreign) = (Cluster::new(), Cluster::new());
    let (mut a, a_link, mut b, b_link) = pair(&cluster).await;
    let stranger = Node::start(foreign.identity("stranger"), &[a.address()]).await;
    // Whoever dials sees the other's certificate first, and so is the one that refuses.
    seed_error(
        &stranger,
        &mut warnings,
        "the peer's certificate is not signed by this cluster's CA",
    )
    .await;
    warnings
        .containing("the peer refused this node's certificate: it trusts another CA")
        .await;
    ping(&mut a, a_link, &mut b, b_link).await;
    assert_eq!((a.ups, stranger.ups), (1, 0));
    stranger.stop().await;
    tokio::join!(a.stop(), b.stop());
}

#[tokio::test]
async fn a_client_with_a_foreign_certificate_is_refused() {
    let mut warnings = Warnings::listen();
    let (cluster, foreign) = (Cluster::new(), Cluster::new());
    let a = Node::start(cluster.identity("a"), &[]).await;
    let certificate = foreign.certificate("stranger");
    let stranger = Stranger {
        ca_pem: &cluster.ca_pem,
        certificate: Some(&certificate),
        alpn: ALPN,
    };
    let error = refused(&stranger, a.address()).await;
    assert!(
        matches!(error, quinn::ConnectionError::ConnectionClosed(_)),
        "{error}"
    );
    warnings
        .containing("the peer's certificate is not signed by this cluster's CA")
        .await;
    assert_eq!(a.net.links().len(), 0);
    a.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_is_told_on_both_sides() {
    let mut warnings = Warnings::listen();
    let cluster = Cluster::new();
    let now = SystemTime::now();
    let old = cluster
        .authority
        .issue(
            "old",
            Validity {
                not_before: now - 3 * DAY,
                not_after: now - DAY,
            },
        )
        .unwrap();
    let identity =
        Identity::from_pem_at(&cluster.ca_pem, &old.cert_pem, &old.key_pem, now - 2 * DAY).unwrap();
    let a = Node::start(cluster.identity("a"), &[]).await;
    let mut b = Node::start(identity, &[a.address()]).await;
    // In TLS 1.3 the dialling side learns of it after its handshake: it must not believe in the link before.
    warnings
        .containing("the peer's certificate has expired")
        .await;
    seed_error(
        &b,
        &mut warnings,
        "the peer refused this node's certificate as expired",
    )
    .await;
    assert_eq!(b.event_now(), None);
    tokio::join!(a.stop(), b.stop());
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let mut warnings = Warnings::listen();
    let cluster = Cluster::new();
    let a = Node::start(cluster.identity("a"), &[]).await;
    let error = refused(
        &Stranger {
            ca_pem: &cluster.ca_pem,
            certificate: None,
            alpn: ALPN,
        },
        a.address(),
    )
    .await;
    assert!(
        matches!(error, quinn::ConnectionError::ConnectionClosed(_)),
        "{error}"
    );
    warnings.containing("the peer showed no certificate").await;
    a.stop().await;
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let mut warnings = Warnings::listen();
    let cluster = Cluster::new();
    let certificate = cluster.certificate("web");
    let a = Node::start(cluster.identity("a"), &[]).await;
    let stranger = Stranger {
        ca_pem: &cluster.ca_pem,
        certificate: Some(&certificate),
        alpn: b"h3",
    };
    let error = refused(&stranger, a.address()).await;
    assert!(
        matches!(error, quinn::ConnectionError::ConnectionClosed(_)),
        "{error}"
    );
    warnings.containing("does not speak `anabranch/1`").await;
    a.stop().await;
}

#[tokio::test]
async fn a_flood_of_refusals_is_one_warning() {
    let mut warnings = Warnings::listen();
    let cluster = Cluster::new();
    let a = Node::start(cluster.identity("a"), &[]).await;
    let stranger = Stranger {
        ca_pem: &cluster.ca_pem,
        certificate: None,
        alpn: ALPN,
    };
    for _ in 0..20 {
        refused(&stranger, a.address()).await;
    }
    assert_eq!(
        warnings
            .so_far()
            .iter()
            .filter(|text| text.contains("no certificate"))
            .count(),
        1
    );
    a.stop().await;
}

#[tokio::test]
async fn a_length_that_no_frame_has_ends_that_link_only() {
    let mut warnings = Warnings::listen();
    let cluster = Cluster::new();
    let (mut a, a_link, mut b, b_link) = pair(&cluster).await;
    let over = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
    for (length, text) in [
        (0, "a frame of zero bytes"),
        (over, "where 4194304 are allowed"),
        (u32::MAX, "4294967295"),
    ] {
        let certificate = cluster.certificate("insider");
        let mut insider = Insider::join(&cluster, &certificate, &mut a).await;
        insider.send.write_all(&length.to_le_bytes()).await.unwrap();
        let (down, reason) = a.link_down().await;
        assert_ne!(down, a_link);
        assert!(reason.contains(text), "{reason}");
        match guarded("the close", insider.connection.closed()).await {
            quinn::ConnectionError::ApplicationClosed(closed) => {
                assert!(
                    String::from_utf8_lossy(&closed.reason).contains(text),
                    "{closed}"
                );
            }
            other => panic!("{other}"),
        }
        ping(&mut a, a_link, &mut b, b_link).await;
    }
    warnings.containing("a frame of zero bytes").await;
    tokio::join!(a.stop(), b.stop());
}

#[tokio::test]
async fn a_peer_that_ends_or_resets_its_stream_loses_its_link() {
    let cluster = Cluster::new();
    let mut a = Node::start(cluster.identity("a"), &[]).await;
    for reset in [false, true] {
        let certificate = cluster.certificate("insider");
        let mut insider = Insider::join(&cluster, &certificate, &mut a).await;
        if reset {
            insider.send.reset(3_u32.into()).unwrap();
        } else {
            insider.send.finish().unwrap();
        }
        let (_, reason) = a.link_down().await;
        assert!(reason.contains("ended its stream"), "{reason}");
    }
    a.stop().await;
}

#[tokio::test]
async fn a_peer_that_says_no_hello_or_nothing_is_no_link() {
    let mut warnings = Warnings::listen();
    let cluster = Cluster::new();
    let certificate = cluster.certificate("insider");
    let mut a_config = config(cluster.identity("a"), &[]);
    a_config.handshake_timeout = Duration::from_millis(300);
    let mut a = Node::with(a_config, 64).await;
    let insider = Stranger {
        ca_pem: &cluster.ca_pem,
        certificate: Some(&certificate),
        alpn: ALPN,
    };

    let (_endpoint, connection) = insider.dial(a.address()).await;
    let connection = connection.unwrap();
    connection
        .open_uni()
        .await
        .unwrap()
        .write_all(&[b'x'; 28])
        .await
        .unwrap();
    warnings.containing("did not begin with a hello").await;
    guarded("the close", connection.closed()).await;

    let (_endpoint, connection) = insider.dial(a.address()).await;
    guarded("the close", connection.unwrap().closed()).await;
    warnings.containing("no agreement within 300 ms").await;
    assert_eq!(a.event_now(), None::<Event>);
    a.stop().await;
}

/// Silent connections take up the room for handshakes and no more; links that are up don't notice.
#[tokio::test]
async fn more_handshakes_than_there_is_room_for_are_refused() {
    let mut warnings = Warnings::listen();
    let cluster = Cluster::new();
    let (mut a, a_link, mut b, b_link) = pair(&cluster).await;
    let certificate = cluster.certificate("insider");
    let insider = Stranger {
        ca_pem: &cluster.ca_pem,
        certificate: Some(&certificate),
        alpn: ALPN,
    };
    let mut silent = Vec::new();
    let refusal = loop {
        let (endpoint, connection) = insider.dial(a.address()).await;
        match connection {
            Ok(connection) => silent.push((endpoint, connection)),
            Err(error) => break error,
        }
        assert!(silent.len() <= HANDSHAKES_MAX, "nothing is refused");
    };
    assert!(refusal.to_string().contains("refused"), "{refusal}");
    assert_eq!(silent.len(), HANDSHAKES_MAX);
    warnings.containing("refused: 64 handshakes").await;
    ping(&mut a, a_link, &mut b, b_link).await;

    // Those who go make room.
    drop(silent);
    let mut newcomer = Node::start(cluster.identity("newcomer"), &[a.address()]).await;
    let (at_a, at_newcomer) = (a.link_up().await, newcomer.link_up().await);
    ping(&mut a, at_a, &mut newcomer, at_newcomer).await;
    newcomer.stop().await;
    tokio::join!(a.stop(), b.stop());
}

#[tokio::test]
async fn a_seed_where_nobody_is_says_so() {
    let mut warnings = Warnings::listen();
    let cluster = Cluster::new();
    let nobody = std::net::UdpSocket::bind(support::loopback()).unwrap();
    let mut a_config = config(cluster.identity("a"), &[nobody.local_addr().unwrap()]);
    a_config.handshake_timeout = Duration::from_millis(100);
    let a = Node::with(a_config, 64).await;
    seed_error(&a, &mut warnings, "is a node listening there").await;
    a.stop().await;

    let mut a_config = config(cluster.identity("a"), &[]);
    a_config.seeds = vec!["nowhere.invalid:7172".to_owned()];
    let a = Node::with(a_config, 64).await;
    seed_error(&a, &mut warnings, "can't resolve the address").await;
    a.stop().await;
}

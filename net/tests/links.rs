//! Links between nodes of one cluster, over real loopback sockets.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use anabranch_net::limits::{
    FRAME_BYTES_MAX, LINK_QUEUE_BYTES_MAX, SEND_WINDOW_BYTES, STREAM_RECEIVE_WINDOW_BYTES,
};
use anabranch_net::{BindError, Event, LinkId, Net, SeedState, SendError};
use bytes::Bytes;
use support::{Cluster, Node, config, free_address, guarded, pair, ping};
use tokio::sync::mpsc;

fn pattern(length: usize, seed: usize) -> Bytes {
    (0..length)
        .map(|n| u8::try_from((n * 31 + seed) % 253).unwrap())
        .collect::<Vec<u8>>()
        .into()
}

fn settled(node: &Node) -> bool {
    node.net
        .seeds()
        .iter()
        .all(|seed| matches!(seed.state, SeedState::Connected { .. }))
}

/// Both nodes dial at the same moment, over and over: always one link, the same one at both ends, up once.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_dial_each_other_at_once_keep_one_link() {
    let cluster = Cluster::new();
    let (a_identity, b_identity) = (cluster.identity("a"), cluster.identity("b"));
    for round in 0..40 {
        let (a_address, b_address) = (free_address(), free_address());
        let mut a_config = config(a_identity.clone(), &[b_address]);
        let mut b_config = config(b_identity.clone(), &[a_address]);
        a_config.listen = a_address;
        b_config.listen = b_address;
        let (mut a, mut b) = tokio::join!(Node::with(a_config, 64), Node::with(b_config, 64));
        let (a_link, b_link) = (a.link_up().await, b.link_up().await);
        // Both attempts have ended when both seeds know whom they lead to.
        while !(settled(&a) && settled(&b)) {
            ping(&mut a, a_link, &mut b, b_link).await;
        }
        ping(&mut a, a_link, &mut b, b_link).await;
        assert_eq!((a.ups, b.ups), (1, 1), "round {round}: a link flapped");
        let (a_links, b_links) = (a.net.links(), b.net.links());
        assert_eq!((a_links.len(), b_links.len()), (1, 1));
        assert_ne!(
            a_links[0].outgoing, b_links[0].outgoing,
            "round {round}: two different connections"
        );
        assert_eq!(
            (a_links[0].peer, b_links[0].peer),
            (b.net.replica_id(), a.net.replica_id())
        );
        assert_eq!(
            (a_links[0].peer_name.as_str(), b_links[0].peer_name.as_str()),
            ("b", "a")
        );
        tokio::join!(a.stop(), b.stop());
    }
}

/// One peer under several seeds is still one peer, and a seed whose peer is linked does not go on dialling.
#[tokio::test(flavor = "multi_thread")]
async fn several_seeds_of_one_peer_make_one_link() {
    let cluster = Cluster::new();
    let mut a = Node::start(cluster.identity("a"), &[]).await;
    let mut b_config = config(cluster.identity("b"), &[a.address(), a.address()]);
    b_config
        .seeds
        .push(format!("localhost:{}", a.address().port()));
    let mut b = Node::with(b_config, 64).await;
    let (a_link, b_link) = (a.link_up().await, b.link_up().await);
    while !settled(&b) {
        ping(&mut a, a_link, &mut b, b_link).await;
    }
    ping(&mut a, a_link, &mut b, b_link).await;
    assert_eq!((a.ups, b.ups), (1, 1));
    tokio::join!(a.stop(), b.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_every_size_arrive_whole_and_in_order() {
    let cluster = Cluster::new();
    let (a, a_link, mut b, b_link) = pair(&cluster).await;
    let mut a = a;
    let sizes = [
        1,
        2,
        3,
        100,
        1_200,
        4_095,
        4_096,
        4_097,
        65_536,
        1 << 20,
        FRAME_BYTES_MAX,
        1,
        FRAME_BYTES_MAX - 1,
        7,
    ];
    let mut bytes_sent = 0;
    for (seed, size) in sizes.into_iter().enumerate() {
        a.net.send(a_link, pattern(size, seed)).unwrap();
        bytes_sent += size;
        assert_eq!(
            b.frame().await,
            (b_link, pattern(size, seed)),
            "{size} bytes"
        );
    }
    let mut bytes_reported = 0;
    while bytes_reported < bytes_sent {
        if let Event::Sent { link, bytes } = a.event().await {
            assert_eq!(link, a_link);
            bytes_reported += bytes;
        }
    }
    assert_eq!(bytes_reported, bytes_sent);
    let (a_status, b_status) = (a.net.links().remove(0), b.net.links().remove(0));
    assert_eq!(a_status.frame_bytes_sent, bytes_sent as u64);
    assert_eq!(b_status.frame_bytes_received, bytes_sent as u64);
    assert!(a_status.udp_bytes_sent > bytes_sent as u64);
    for size in [0, FRAME_BYTES_MAX + 1] {
        assert_eq!(
            a.net.send(a_link, vec![0; size].into()),
            Err(SendError::FrameSize { bytes: size })
        );
    }
    ping(&mut a, a_link, &mut b, b_link).await;
    tokio::join!(a.stop(), b.stop());
}

/// A peer that doesn't read costs its sender a bounded amount, then the link.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_bounds_the_sender() {
    let cluster = Cluster::new();
    let mut a = Node::start(cluster.identity("a"), &[]).await;
    let b = Node::with(config(cluster.identity("b"), &[a.address()]), 1).await;
    let a_link = a.link_up().await;
    let frame = pattern(64 << 10, 0);
    let (mut accepted, mut reported) = (0, 0);
    loop {
        if accepted - reported + frame.len() > LINK_QUEUE_BYTES_MAX {
            // Full unless the stream takes more; a quiet while says that it doesn't, and the next `send` proves it.
            if let Ok(Event::Sent { bytes, .. }) =
                tokio::time::timeout(Duration::from_millis(200), a.event()).await
            {
                reported += bytes;
                continue;
            }
        }
        match a.net.send(a_link, frame.clone()) {
            Ok(()) => accepted += frame.len(),
            Err(error) => {
                assert_eq!(error, SendError::Full);
                break;
            }
        }
    }
    let windows =
        usize::try_from(SEND_WINDOW_BYTES).unwrap() + STREAM_RECEIVE_WINDOW_BYTES as usize;
    let reading = 4 * frame.len();
    assert!(
        accepted <= LINK_QUEUE_BYTES_MAX + windows + reading,
        "{accepted} bytes were taken"
    );
    let (link, reason) = a.link_down().await;
    assert_eq!(link, a_link);
    assert!(reason.contains("queue"), "{reason}");
    assert_eq!(a.net.send(a_link, frame), Err(SendError::Down));
    drop(b);
    a.stop().await;
}

/// A slow reader is waited for, and gets everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_with_a_window_goes_on_when_its_peer_reads_again() {
    const FRAMES: usize = 512;
    const FRAME_BYTES: usize = 64 << 10;
    const WINDOW_BYTES: usize = 1 << 20;

    let cluster = Cluster::new();
    let mut a = Node::start(cluster.identity("a"), &[]).await;
    let mut b = Node::with(config(cluster.identity("b"), &[a.address()]), 1).await;
    let a_link = a.link_up().await;
    let (stalled, mut is_stalled) = mpsc::channel(1);
    let sender = tokio::spawn(async move {
        let (mut sent, mut reported) = (0, 0);
        while reported < FRAMES * FRAME_BYTES {
            while sent < FRAMES && sent * FRAME_BYTES - reported < WINDOW_BYTES {
                a.net.send(a_link, pattern(FRAME_BYTES, sent)).unwrap();
                sent += 1;
            }
            if let Event::Sent { bytes, .. } = a.event().await {
                reported += bytes;
            }
            if reported >= WINDOW_BYTES {
                let _ = stalled.try_send(());
            }
        }
        a
    });
    guarded("the first window", is_stalled.recv())
        .await
        .unwrap();
    for number in 0..FRAMES {
        let (_, bytes) = b.frame().await;
        assert!(
            bytes == pattern(FRAME_BYTES, number),
            "frame {number} is another"
        );
    }
    let a = guarded("the sender", sender).await.unwrap();
    tokio::join!(a.stop(), b.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_restarts_is_linked_again() {
    let cluster = Cluster::new();
    let identity = cluster.identity("a");
    let a = Node::start(identity.clone(), &[]).await;
    let address = a.address();
    let mut b = Node::start(cluster.identity("b"), &[address]).await;
    let first = b.link_up().await;
    a.stop().await;
    let (down, reason) = b.link_down().await;
    assert_eq!(down, first);
    assert!(reason.contains("shutting down"), "{reason}");

    let mut a_config = config(identity, &[]);
    a_config.listen = address;
    let mut a = Node::with(a_config, 64).await;
    let (a_link, b_link) = (a.link_up().await, b.link_up().await);
    assert!(b_link > first);
    ping(&mut a, a_link, &mut b, b_link).await;
    tokio::join!(a.stop(), b.stop());
}

/// A killed process says no goodbye. Its successor must not have to wait for a timeout: here none would come.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_killed_is_linked_again_without_a_timeout() {
    let cluster = Cluster::new();
    let identity = cluster.identity("a");
    // The killed node sits behind a relay that is cut when it dies, so that its goodbye is lost.
    let a = Node::start(identity.clone(), &[]).await;
    let address = a.address();
    let relay = anabranch_net::relay::Relay::start(
        address,
        anabranch_net::relay::Shape::one_way(Duration::ZERO),
    )
    .unwrap();
    let mut b_config = config(cluster.identity("b"), &[relay.addr()]);
    b_config.keep_alive = Duration::from_millis(200);
    b_config.idle_timeout = Duration::from_secs(3_600);
    let mut b = Node::with(b_config, 64).await;
    let first = b.link_up().await;
    relay.cut();
    a.stop().await;

    let mut a_config = config(identity, &[]);
    a_config.listen = address;
    a_config.idle_timeout = Duration::from_secs(3_600);
    let mut a = Node::with(a_config, 64).await;
    relay.heal();
    let (down, reason) = b.link_down().await;
    assert_eq!(down, first);
    assert!(reason.contains("restarted"), "{reason}");
    let (a_link, b_link) = (a.link_up().await, b.link_up().await);
    ping(&mut a, a_link, &mut b, b_link).await;
    tokio::join!(a.stop(), b.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_to_disconnect_reaches_both_ends_and_the_seed_dials_again() {
    let cluster = Cluster::new();
    let (mut a, a_link, mut b, b_link) = pair(&cluster).await;
    a.net.disconnect(a_link, "the operator said so");
    assert_eq!(
        a.link_down().await,
        (a_link, "the operator said so".to_owned())
    );
    let (down, reason) = b.link_down().await;
    assert_eq!(down, b_link);
    assert!(reason.ends_with("the operator said so"), "{reason}");
    let (a_link, b_link) = (a.link_up().await, b.link_up().await);
    ping(&mut a, a_link, &mut b, b_link).await;
    assert_eq!(
        a.net.send(LinkId(0), Bytes::from_static(b"x")),
        Err(SendError::Down)
    );
    tokio::join!(a.stop(), b.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dials_itself_notices_and_stops() {
    let cluster = Cluster::new();
    let address = free_address();
    let mut a = Node::start(cluster.identity("a"), &[]).await;
    let mut b_config = config(cluster.identity("b"), &[address, a.address()]);
    b_config.listen = address;
    let mut b = Node::with(b_config, 64).await;
    let (a_link, b_link) = (a.link_up().await, b.link_up().await);
    while b.net.seeds()[0].state != SeedState::Itself {
        ping(&mut a, a_link, &mut b, b_link).await;
    }
    assert_eq!(b.net.seeds()[0].attempts, 1);
    assert_eq!(b.net.links().len(), 1);
    assert_eq!(b.ups, 1);
    tokio::join!(a.stop(), b.stop());
}

#[tokio::test]
async fn what_can_not_be_listened_on_is_named() {
    let cluster = Cluster::new();
    let a = Node::start(cluster.identity("a"), &[]).await;
    let bind = async |change: &dyn Fn(&mut anabranch_net::Config)| {
        let mut config = config(cluster.identity("b"), &[]);
        change(&mut config);
        Net::bind(config, mpsc::channel(1).0).await.unwrap_err()
    };
    let in_use = bind(&|config| config.listen = a.address()).await;
    assert!(
        matches!(in_use, BindError::InUse { address } if address == a.address()),
        "{in_use}"
    );
    assert!(
        in_use.to_string().contains(&a.address().to_string()),
        "{in_use}"
    );
    let foreign = bind(&|config| config.listen = "192.0.2.1:0".parse().unwrap()).await;
    assert!(matches!(foreign, BindError::Address { .. }), "{foreign}");
    for seed in ["eu-1", ":7172", "eu-1:port", "eu-1:0", ""] {
        let error = bind(&|config| config.seeds = vec![seed.to_owned()]).await;
        assert!(matches!(error, BindError::Seed { .. }), "{seed}: {error}");
    }
    let timing = bind(&|config| config.keep_alive = config.idle_timeout).await;
    assert!(matches!(timing, BindError::Timing { .. }), "{timing}");
    a.stop().await;
}

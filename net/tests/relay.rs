//! The relay, bare and between nodes.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anabranch_net::relay::{Relay, Shape};
use support::{Cluster, Node, config, loopback, ping};

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    socket
}

#[test]
fn nothing_arrives_before_its_time_nor_out_of_order() {
    let (target, client) = (socket(), socket());
    let one_way = Duration::from_millis(20);
    let relay = Relay::start(target.local_addr().unwrap(), Shape::one_way(one_way)).unwrap();
    let mut buffer = [0; 2_000];
    for round in 0..10_u8 {
        let mut sent = Vec::new();
        for number in 0..10_u8 {
            sent.push(Instant::now());
            client.send_to(&[round, number], relay.addr()).unwrap();
        }
        let mut back = relay.addr();
        for (number, sent) in (0..10_u8).zip(sent) {
            let (length, from) = target.recv_from(&mut buffer).unwrap();
            assert!(sent.elapsed() >= one_way);
            assert_eq!(buffer[..length], [round, number]);
            back = from;
        }
        let sent = Instant::now();
        target.send_to(&[round], back).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert!(sent.elapsed() >= one_way);
        assert_eq!((&buffer[..length], from), (&[round][..], relay.addr()));
    }
    assert_eq!(
        (relay.to_target().datagrams, relay.to_target().bytes),
        (100, 200)
    );
    assert_eq!(
        (relay.to_client().datagrams, relay.to_client().dropped),
        (10, 0)
    );
}

#[test]
fn clients_are_kept_apart() {
    let (target, one, other) = (socket(), socket(), socket());
    let relay = Relay::start(target.local_addr().unwrap(), Shape::one_way(Duration::ZERO)).unwrap();
    let mut buffer = [0; 100];
    for _ in 0..2 {
        one.send_to(b"one", relay.addr()).unwrap();
        let (_, to_one) = target.recv_from(&mut buffer).unwrap();
        other.send_to(b"other", relay.addr()).unwrap();
        let (_, to_other) = target.recv_from(&mut buffer).unwrap();
        assert_ne!(to_one, to_other);
        target.send_to(b"to other", to_other).unwrap();
        target.send_to(b"to one", to_one).unwrap();
        let length = one.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"to one");
        let length = other.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"to other");
    }
}

#[test]
fn a_cut_drops_what_is_under_way_and_what_comes() {
    let (target, client) = (socket(), socket());
    let relay = Relay::start(
        target.local_addr().unwrap(),
        Shape::one_way(Duration::from_secs(3_600)),
    )
    .unwrap();
    client.send_to(b"under way", relay.addr()).unwrap();
    while relay.to_target().dropped == 0 {
        relay.cut();
        relay.heal();
    }
    relay.cut();
    assert!(relay.is_cut());
    client.send_to(b"while cut", relay.addr()).unwrap();
    while relay.to_target().dropped < 2 {
        std::thread::yield_now();
    }
    relay.set_one_way(Duration::ZERO);
    relay.heal();
    client.send_to(b"after", relay.addr()).unwrap();
    let mut buffer = [0; 100];
    let length = target.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"after");
    assert_eq!(relay.to_target().datagrams, 1);
}

/// A partition takes the link down at both ends, and its end brings a new one.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_behind_a_cut_lose_their_link_and_find_it_again() {
    let cluster = Cluster::new();
    let impatient = |mut config: anabranch_net::Config| {
        config.keep_alive = Duration::from_millis(100);
        config.idle_timeout = Duration::from_millis(600);
        config.handshake_timeout = Duration::from_millis(600);
        config
    };
    let mut a = Node::with(impatient(config(cluster.identity("a"), &[])), 64).await;
    let relay = Relay::start(a.address(), Shape::one_way(Duration::from_millis(5))).unwrap();
    let mut b = Node::with(
        impatient(config(cluster.identity("b"), &[relay.addr()])),
        64,
    )
    .await;
    for _ in 0..3 {
        let (a_link, b_link) = (a.link_up().await, b.link_up().await);
        ping(&mut a, a_link, &mut b, b_link).await;
        let rtt = b.net.links()[0].rtt;
        assert!(rtt >= Duration::from_millis(10), "{rtt:?}");
        relay.cut();
        assert_eq!(a.link_down().await.0, a_link);
        assert_eq!(b.link_down().await.0, b_link);
        relay.heal();
    }
    tokio::join!(a.stop(), b.stop());
}

/// Only one end knows that the link is gone, and its goodbye is lost: the new link replaces the one that the other
/// end still believes in. Whichever end that is, and no timeout helps here.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_only_one_end_notices_is_got_over() {
    let cluster = Cluster::new();
    let patient = |mut config: anabranch_net::Config| {
        config.keep_alive = Duration::from_millis(100);
        config.handshake_timeout = Duration::from_millis(600);
        config.idle_timeout = Duration::from_secs(3_600);
        config
    };
    for dialler_notices in [true, false] {
        let mut a = Node::with(patient(config(cluster.identity("a"), &[])), 64).await;
        let relay = Relay::start(a.address(), Shape::one_way(Duration::ZERO)).unwrap();
        let mut b = Node::with(patient(config(cluster.identity("b"), &[relay.addr()])), 64).await;
        let (a_link, b_link) = (a.link_up().await, b.link_up().await);
        relay.cut();
        let (one, one_link, other, other_link) = match dialler_notices {
            true => (&mut b, b_link, &mut a, a_link),
            false => (&mut a, a_link, &mut b, b_link),
        };
        one.net.disconnect(one_link, "forgotten here");
        assert_eq!(one.link_down().await.0, one_link);
        relay.heal();
        assert_eq!(other.link_down().await.0, other_link);
        let (a_link, b_link) = (a.link_up().await, b.link_up().await);
        ping(&mut a, a_link, &mut b, b_link).await;
        tokio::join!(a.stop(), b.stop());
    }
}

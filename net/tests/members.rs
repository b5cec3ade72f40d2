//! Members of one cluster, over real loopback sockets.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use anabranch_net::relay::{Relay, Shape};
use anabranch_net::{BindError, Config, Event, Identity, MemberState, Net, Roster, SeedState};
use support::{Cluster, Insider, Node, Warnings, free_address, guarded, loopback, pair, ping};
use tokio::sync::mpsc;

/// As in production, but for the loopback address.
fn open(identity: Identity, seeds: &[SocketAddr]) -> Config {
    let mut config = support::config(identity, seeds);
    config.discover = true;
    config
}

/// Waits until something holds of the members, looking when they change.
async fn until(what: &str, roster: &Roster, holds: impl Fn(&Roster) -> bool) {
    let wait = async {
        loop {
            let changed = roster.changes();
            if holds(roster) {
                return;
            }
            assert!(changed.await, "the network ended");
        }
    };
    guarded(what, wait).await;
}

fn state(roster: &Roster, name: &str) -> Option<MemberState> {
    let members = roster.members();
    let member = members.iter().find(|member| member.name == name)?;
    Some(member.state)
}

async fn links(nodes: &mut [Node], each: usize) {
    for node in nodes {
        while node.ups < each {
            node.event().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seed_leads_to_all_others() {
    let cluster = Cluster::new();
    let first = Node::with(open(cluster.identity("n0"), &[]), 1_024).await;
    let seed = first.address();
    let mut nodes = vec![first];
    for n in 1..5 {
        let mut config = open(cluster.identity(&format!("n{n}")), &[seed]);
        config.datacenter = format!("dc-{n}");
        nodes.push(Node::with(config, 1_024).await);
    }
    links(&mut nodes, 4).await;
    for node in &nodes {
        assert_eq!(node.net.links().len(), 4);
    }
    let roster = nodes[4].net.roster();
    until("all announcements", &roster, |roster| {
        roster
            .members()
            .iter()
            .filter(|member| member.datacenter.starts_with("dc-"))
            .count()
            == 3
    })
    .await;
    let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
    for member in roster.members() {
        let n: usize = member.name[1..].parse().unwrap();
        assert_eq!(member.addresses, [addresses[n].to_string()]);
        assert_eq!((member.state, member.linked), (MemberState::Alive, true));
        assert_eq!(member.replica, nodes[n].net.replica_id());
    }
    let told: u64 = nodes[4]
        .net
        .links()
        .iter()
        .map(|link| link.member_bytes_sent)
        .sum();
    let heard: u64 = nodes[4]
        .net
        .links()
        .iter()
        .map(|link| link.member_bytes_received)
        .sum();
    assert!(told > 0 && heard > 0);
    for node in nodes {
        node.stop().await;
    }
}

/// The only seed is gone, and so is the node's old port: what it knew is enough, and the others hear where it is now.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_any_seed_finds_those_it_knew() {
    let cluster = Cluster::new();
    let seed = Node::with(open(cluster.identity("seed"), &[]), 1_024).await;
    let identity = cluster.identity("a");
    let mut nodes = Vec::new();
    for identity in [
        identity.clone(),
        cluster.identity("b"),
        cluster.identity("c"),
    ] {
        nodes.push(Node::with(open(identity, &[seed.address()]), 1_024).await);
    }
    links(&mut nodes, 3).await;
    seed.stop().await;
    let a = nodes.remove(0);
    let roster = a.net.roster();
    a.stop().await;
    let mut config = open(identity, &[]);
    config.known = roster.known();
    let mut a = Node::with(config, 1_024).await;
    let (one, other) = (a.link_up().await, a.link_up().await);
    let id = a.net.replica_id();
    let address = a.address().to_string();
    for node in &nodes {
        until("where a is now", &node.net.roster(), |roster| {
            let members = roster.members();
            let a = members.iter().find(|member| member.replica == id).unwrap();
            a.addresses.first() == Some(&address) && a.state == MemberState::Alive
        })
        .await;
    }
    assert_ne!(one, other);
    a.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

/// A node that listens on all addresses does not know its own: its peers tell it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_listens_everywhere_is_found_where_others_see_it() {
    let cluster = Cluster::new();
    let a = Node::with(open(cluster.identity("a"), &[]), 1_024).await;
    let mut config = open(cluster.identity("b"), &[a.address()]);
    config.listen = "0.0.0.0:0".parse().unwrap();
    let b = Node::with(config, 1_024).await;
    let port = b.address().port();
    until("b's address", &a.net.roster(), |roster| {
        let members = roster.members();
        let b = members.iter().find(|member| member.name == "b");
        b.is_some_and(|b| b.addresses == [format!("127.0.0.1:{port}")])
    })
    .await;
    // Whoever dials whom: one that is told of b can link with it.
    let c = Node::with(open(cluster.identity("c"), &[a.address()]), 1_024).await;
    let mut nodes = [a, b, c];
    links(&mut nodes, 2).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn what_is_advertised_is_what_others_are_told() {
    let cluster = Cluster::new();
    let a = Node::with(open(cluster.identity("a"), &[]), 1_024).await;
    let mut config = open(cluster.identity("b"), &[a.address()]);
    config.advertise = Some("b.example.com:7172".to_owned());
    let b = Node::with(config, 1_024).await;
    until("b's address", &a.net.roster(), |roster| {
        let members = roster.members();
        let b = members.iter().find(|member| member.name == "b");
        b.is_some_and(|b| b.addresses == ["b.example.com:7172"])
    })
    .await;
    for address in ["b.example.com", ":1", "b c:1", "b:0"] {
        let mut config = open(cluster.identity("c"), &[]);
        config.advertise = Some(address.to_owned());
        let error = Net::bind(config, mpsc::channel(1).0).await.unwrap_err();
        assert!(matches!(error, BindError::Advertise { .. }), "{error}");
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_is_remembered_as_such_and_may_come_back() {
    let cluster = Cluster::new();
    let seed = free_address();
    let a = Node::with(open(cluster.identity("a"), &[seed]), 1_024).await;
    let b = Node::with(open(cluster.identity("b"), &[a.address()]), 1_024).await;
    let identity = cluster.identity("c");
    let mut config = open(identity.clone(), &[a.address()]);
    config.listen = seed;
    let c = Node::with(config, 1_024).await;
    let mut nodes = [a, b, c];
    links(&mut nodes, 2).await;
    let [a, b, c] = nodes;
    let (roster, c_id) = (c.net.roster(), c.net.replica_id());
    assert!(
        roster.leave(Duration::from_secs(30)).await,
        "nobody noted it"
    );
    c.stop().await;
    assert!(!roster.changes().await, "the network goes on");
    for node in [&a, &b] {
        // Those who have noted it know it.
        assert_eq!(state(&node.net.roster(), "c"), Some(MemberState::Left));
        let known = node.net.roster().known();
        assert!(known.iter().any(|member| member.name == "c" && member.left));
    }
    // Nor as the seed that it was; its state is no member's, so nothing tells when it changes.
    let seed_left = async {
        while !matches!(a.net.seeds()[0].state, SeedState::Left { peer } if peer == c_id) {
            tokio::task::yield_now().await;
        }
    };
    guarded("the seed is let go", seed_left).await;
    let mut config = open(identity, &[]);
    config.known = roster.known();
    let c = Node::with(config, 1_024).await;
    let mut nodes = [a, b, c];
    links(&mut nodes[2..], 2).await;
    for node in &nodes[..2] {
        until("c is back", &node.net.roster(), |roster| {
            state(roster, "c") == Some(MemberState::Alive)
        })
        .await;
    }
    for node in nodes {
        node.stop().await;
    }
}

/// Both ends notice that nothing comes any more, long before the link is given up, and that it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_link_is_known_and_used_on() {
    let cluster = Cluster::new();
    let quick = |mut config: Config| {
        config.keep_alive = Duration::from_millis(200);
        config.silence_grace = Duration::from_millis(200);
        config.idle_timeout = Duration::from_secs(3_600);
        config
    };
    let a = Node::with(quick(support::config(cluster.identity("a"), &[])), 64).await;
    let relay = Relay::start(a.address(), Shape::one_way(Duration::ZERO)).unwrap();
    let config = quick(support::config(cluster.identity("b"), &[relay.addr()]));
    let b = Node::with(config, 64).await;
    let (mut a, mut b) = (a, b);
    let (a_link, b_link) = (a.link_up().await, b.link_up().await);
    for _ in 0..3 {
        ping(&mut a, a_link, &mut b, b_link).await;
        relay.cut();
        for (node, peer) in [(&a, "b"), (&b, "a")] {
            until("silence", &node.net.roster(), |_| {
                node.net.links()[0].silent
            })
            .await;
            assert!(node.net.links()[0].unheard >= Duration::from_millis(400));
            assert_ne!(state(&node.net.roster(), peer), Some(MemberState::Alive));
        }
        relay.heal();
        for (node, peer) in [(&a, "b"), (&b, "a")] {
            until("a sound", &node.net.roster(), |_| {
                !node.net.links()[0].silent
            })
            .await;
            until("life", &node.net.roster(), |roster| {
                state(roster, peer) == Some(MemberState::Alive)
            })
            .await;
        }
    }
    assert_eq!((a.ups, b.ups), (1, 1), "a link was given up");
    ping(&mut a, a_link, &mut b, b_link).await;
    tokio::join!(a.stop(), b.stop());
}

/// What a peer tells of members can be anything; its link and everybody else's live on.
#[tokio::test]
async fn nonsense_about_members_harms_nobody() {
    let mut warnings = Warnings::listen();
    let cluster = Cluster::new();
    let (mut a, a_link, mut b, b_link) = pair(&cluster).await;
    let certificate = cluster.certificate("insider");
    let insider = Insider::join(&cluster, &certificate, &mut a).await;
    let longest = insider.connection.max_datagram_size().unwrap();
    for length in 0..longest {
        let byte = u8::try_from(length % 256).unwrap();
        let _ = insider.connection.send_datagram(vec![byte; length].into());
        let mut known = vec![byte; length];
        known.insert(0, byte % 8);
        let _ = insider.connection.send_datagram(known.into());
        if length % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    warnings.containing("about members").await;
    ping(&mut a, a_link, &mut b, b_link).await;
    assert_eq!(a.net.links().len(), 2);
    assert_eq!(a.net.members().len(), 2);
    assert!(insider.connection.close_reason().is_none());
    tokio::join!(a.stop(), b.stop());
}

/// Members are dialled until they answer, wherever they are: here one is known that is not there yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_not_there_is_dialled_until_it_is() {
    let cluster = Cluster::new();
    let (a_identity, b_identity) = (cluster.identity("a"), cluster.identity("b"));
    let address = free_address();
    let at = |identity: &Identity, listen| {
        let mut config = open(identity.clone(), &[]);
        config.listen = listen;
        config.handshake_timeout = Duration::from_millis(200);
        config.backoff_max = Duration::from_millis(100);
        config
    };
    // They meet once, through a seed.
    let a = Node::with(at(&a_identity, loopback()), 64).await;
    let mut config = at(&b_identity, address);
    config.seeds = vec![a.address().to_string()];
    let mut b = Node::with(config, 64).await;
    b.link_up().await;
    let roster = a.net.roster();
    until("b's announcement", &roster, |roster| {
        roster
            .members()
            .iter()
            .any(|member| !member.addresses.is_empty())
    })
    .await;
    a.stop().await;
    b.stop().await;

    let mut config = at(&a_identity, loopback());
    config.known = roster.known();
    let mut a = Node::with(config, 64).await;
    let mut warnings = 0;
    while warnings < 3 {
        // Each failed attempt changes nothing that is told; what tells is that the address is tried.
        let probe = tokio::net::UdpSocket::bind(address).await.unwrap();
        let mut buffer = [0; 2_000];
        guarded("an attempt", probe.recv_from(&mut buffer))
            .await
            .unwrap();
        warnings += 1;
    }
    let b = Node::with(at(&b_identity, address), 64).await;
    let event = a.event().await;
    assert!(
        matches!(event, Event::LinkUp { outgoing: true, .. }),
        "{event:?}"
    );
    tokio::join!(a.stop(), b.stop());
}

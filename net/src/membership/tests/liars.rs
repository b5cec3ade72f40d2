//! A member with a valid certificate that says what it likes.

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::world::World;
use crate::limits::{MEMBERS_MAX, SWIM_MEMBERS_MAX, SWIM_TIMERS_MAX};
use crate::member::MemberState;
use crate::membership::Input;
use crate::membership::announcement::{Announcement, Pen, Signed};
use crate::membership::wire::{Message, pack};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const LIAR: usize = 3;

fn settled(seed: u64) -> World {
    let mut world = World::running(4, seed);
    world.run_until(s(20), "all know all", World::all_know_all);
    world
}

/// From the liar to node 0, as often as it is allowed to.
fn tell(world: &mut World, bytes: Bytes) {
    let peer = world.id(LIAR);
    world.input(0, Input::Datagram { peer, bytes });
}

/// An announcement by a key that nobody has certified.
fn invented(n: u64, version: u64) -> Signed {
    let authority = crate::pki::CertificateAuthority::generate("nobody").unwrap();
    let node = authority
        .issue("ghost", crate::pki::Validity::default())
        .unwrap();
    let ca = authority.to_pem().cert_pem;
    let identity = crate::Identity::from_pem(&ca, &node.cert_pem, &node.key_pem).unwrap();
    let said = Announcement {
        version,
        left: false,
        name: format!("ghost-{n}"),
        datacenter: String::new(),
        addresses: vec![format!("10.66.0.1:{}", 1 + n % 60_000)],
    };
    Pen::new(&identity).unwrap().sign(said).unwrap()
}

#[test]
fn garbage_is_dropped_and_told() {
    let mut world = settled(1);
    let mut rng = StdRng::seed_from_u64(1);
    for round in 0..20_000_u32 {
        let length = rng.random_range(0..1_400);
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        // Half of it begins as something known.
        if let Some(kind) = bytes.first_mut().filter(|_| round % 2 == 0) {
            *kind = rng.random_range(1..8);
        }
        tell(&mut world, bytes.into());
        if round % 32 == 0 {
            world.run_for(s(1));
        }
    }
    world.run_for(s(30));
    assert!(world.all_know_all());
    assert!(world.nodes[0].complaints > 100);
    let now = world.clock(0);
    assert_eq!(world.members(0).members(now).len(), 3);
}

/// Hundreds of nodes that don't exist take the room that is left and no more, never that of one that was met; nobody is
/// told more than the bounds allow; and they are forgotten.
#[test]
fn invented_members_are_bounded_and_forgotten() {
    let mut world = settled(2);
    for batch in 0..54_u64 {
        let ghosts = (0..10).map(|n| invented(10 * batch + n, 5).bytes);
        for message in pack(ghosts) {
            tell(&mut world, message.encode());
        }
        world.run_for(s(1));
    }
    let now = world.clock(0);
    let members = world.members(0).members(now);
    assert_eq!(members.len(), MEMBERS_MAX);
    assert!(world.all_know_all(), "those that exist are known as before");
    let ghosts = members
        .iter()
        .filter(|member| member.name.starts_with("ghost"));
    assert!(ghosts.clone().all(|ghost| ghost.state == MemberState::Down));
    assert_eq!(ghosts.count(), MEMBERS_MAX - 3);
    // A newcomer that is met has a place at once.
    let peer = invented(0, 1).replica;
    let remote = ([10, 0, 0, 9], 7172).into();
    let name = "newcomer".to_owned();
    let (now, outgoing) = (world.clock(0), false);
    let up = Input::LinkUp {
        peer,
        name,
        remote,
        outgoing,
    };
    world.members(0).handle(now, up);
    world.members(0).handle(now, Input::LinkDown { peer });
    while world.members(0).poll().is_some() {}
    let members = world.members(0).members(now);
    assert_eq!(members.len(), MEMBERS_MAX);
    assert!(members.iter().any(|member| member.name == "newcomer"));

    world.nodes.iter_mut().for_each(|node| node.bytes_sent = 0);
    world.run_for(s(600));
    let sent: u64 = world.nodes.iter().map(|node| node.bytes_sent).sum();
    // Tables that can't be equal any more are compared every minute: six links, some 25 KB each.
    assert!(sent < 10 * 6 * 40_000, "{sent}");
    (0..2).for_each(|_| world.skip_hours(25));
    let now = world.clock(0);
    assert_eq!(
        world.members(0).members(now).len(),
        4,
        "the newcomer was met"
    );
    assert_eq!(world.members(1).members(now).len(), 3);
}

#[test]
fn nobody_speaks_for_another() {
    let mut world = settled(3);
    let victim = world.id(1);
    let known = world.members(LIAR).known(0);
    let theirs = known
        .iter()
        .find(|member| member.replica == victim)
        .unwrap();
    let true_bytes = theirs.announcement.clone().unwrap();
    let before = world.members(0).addresses(victim);
    for at in 0..true_bytes.len() {
        let mut bytes = true_bytes.clone();
        bytes[at] ^= 0x10;
        tell(
            &mut world,
            Message::Announcements(vec![bytes.into()]).encode(),
        );
    }
    assert_eq!(world.members(0).addresses(victim), before);
    assert!(world.nodes[0].complaints > 0);
    // What is the victim's, but old, changes nothing either.
    world.kill(1);
    world.moved(1, "10.0.1.1:7172");
    world.start(1);
    world.run_until(s(30), "all know all", World::all_know_all);
    tell(
        &mut world,
        Message::Announcements(vec![true_bytes.into()]).encode(),
    );
    world.run_for(s(5));
    assert!(world.all_know_all());
}

/// The liar's packets, as a modified node would send them: every member is down, in this life and in lives to come.
#[test]
fn false_news_of_others_does_not_stop_links_and_is_refuted() {
    use foca::{Header, Member, State};

    use crate::membership::swim::test_support::{Life, header, packet};

    let mut world = settled(4);
    let (zero, victim) = (world.id(0), world.id(1));
    let mut rng = StdRng::seed_from_u64(4);
    for round in 0..2_000_u64 {
        let life = world
            .members(0)
            .swim
            .opinion(victim)
            .map_or(0, |held| held.life);
        let liar = Life::of(world.id(LIAR), world.members(LIAR).swim.life());
        let own = Life::of(zero, world.members(0).swim.life());
        let updates: Vec<Member<Life>> = (0..20)
            .map(|n| match n {
                0 => Member::new(Life::of(victim, life), 9, State::Down),
                1 => Member::new(Life::of(victim, u64::MAX), 0, State::Alive),
                2 => Member::new(own, u16::MAX, State::Suspect),
                _ => Member::new(
                    Life::of(anabranch_core::ReplicaId(rng.random()), round),
                    0,
                    State::Alive,
                ),
            })
            .collect();
        let header: Header<Life> = header(liar, own);
        tell(
            &mut world,
            Message::Swim(packet(&header, &updates).into()).encode(),
        );
        if round % 16 == 0 {
            world.run_for(Duration::from_millis(500));
            let swim = &world.members(0).swim;
            assert!(swim.sizes().0 <= SWIM_MEMBERS_MAX && swim.sizes().1 <= SWIM_TIMERS_MAX);
            assert_eq!(
                world.state(0, 1),
                Some(MemberState::Alive),
                "its link is heard"
            );
        }
    }
    assert!(
        world.members(0).swim.sizes().0 <= 4,
        "{:?}",
        world.members(0).swim.sizes()
    );
    world.run_until(s(60), "all know all", World::all_know_all);
    // A packet that claims to be somebody else's is none.
    let complaints = world.nodes[0].complaints;
    let own = Life::of(zero, world.members(0).swim.life());
    let forged = packet(&header(Life::of(victim, 1), own), &[]);
    tell(&mut world, Message::Swim(forged.into()).encode());
    assert_eq!(world.nodes[0].complaints, complaints + 1);
}

/// Questions cost the asker as much as the answers cost, up to a bound.
#[test]
fn a_peer_that_asks_and_asks_is_answered_at_a_bounded_rate() {
    let mut world = settled(5);
    world.run_for(s(120));
    world.nodes[0].bytes_sent = 0;
    let question = Message::Have {
        answer: false,
        from: anabranch_core::ReplicaId([0; 16]),
        through: anabranch_core::ReplicaId([255; 16]),
        holdings: Vec::new(),
    };
    for _ in 0..600 {
        for _ in 0..100 {
            tell(&mut world, question.encode());
        }
        world.run_for(Duration::from_millis(100));
    }
    let sent = world.nodes[0].bytes_sent;
    // A minute: the burst, and 64 a second, of 900 bytes at most here.
    assert!(sent < (512 + 64 * 61) * 1_150, "{sent}");
    assert!(world.nodes[0].complaints > 1_000);
}

/// What peers bring about, they bring about seldom: here a node is told again and again that it is down, that its
/// announcement is old, and that it is somewhere else.
#[test]
fn a_node_can_not_be_made_to_announce_itself_all_the_time() {
    use crate::membership::swim::test_support::{Life, header, packet};

    let mut world = settled(6);
    world.members(0).forget_where_it_listens();
    let before = world.members(0).table.own().said.version;
    let zero = world.id(0);
    world.nodes[0].bytes_sent = 0;
    let (mut versions, mut last) = (0, before);
    for n in 0..600_u16 {
        tell(&mut world, Message::Noted { version: u64::MAX }.encode());
        let liar = Life::of(world.id(LIAR), world.members(LIAR).swim.life());
        let own = Life::of(zero, world.members(0).swim.life());
        let down = foca::Member::new(own, 0, foca::State::Down);
        let packet = packet(&header(liar, own), &[down]);
        tell(&mut world, Message::Swim(packet.into()).encode());
        let announcement = world.members(LIAR).table.own().bytes.clone();
        let observed = ([10, 66, 0, 1], 1 + n).into();
        let (digest, hello) = (u64::from(n), announcement);
        let hello = Message::Hello {
            observed,
            digest,
            announcement: hello,
        };
        tell(&mut world, hello.encode());
        world.run_for(Duration::from_millis(100));
        let version = world.members(0).table.own().said.version;
        versions += usize::from(version != last);
        last = version;
    }
    // In a minute.
    assert!(versions <= 13, "{versions}");
    assert!(
        last < before + 1_000_000,
        "a lie has used versions up: {last}"
    );
    assert!(
        world.nodes[0].bytes_sent < 600_000,
        "{}",
        world.nodes[0].bytes_sent
    );
    world.run_until(s(60), "all know all", World::all_know_all);
}

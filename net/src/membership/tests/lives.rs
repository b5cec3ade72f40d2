//! Members that join, fail, are cut off, move, leave and come back.

use std::time::Duration;

use proptest::prelude::{Strategy, any, prop};
use proptest::test_runner::{Config, TestRunner};

use super::world::World;
use crate::member::MemberState;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Each node's seed is one that was there before it.
fn trees() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let choices = prop::collection::vec(any::<prop::sample::Index>(), 1..14);
    choices.prop_map(|choices| {
        let seed = |(n, choice): (usize, prop::sample::Index)| vec![choice.index(n + 1)];
        let later = choices.into_iter().enumerate().map(seed);
        std::iter::once(vec![]).chain(later).collect()
    })
}

/// However they are seeded, and though every fourth datagram is lost: all know all, and all link with all.
#[test]
fn through_any_one_seed_a_node_finds_all_others() {
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(24)
    });
    let cases = (trees(), 0.0..0.25, any::<u64>());
    runner
        .run(&cases, |(seeds, loss, seed)| {
            let mut world = World::new(&seeds, seed);
            world.loss = loss;
            (0..seeds.len()).for_each(|n| world.start(n));
            world.run_until(s(60), "all know all", World::all_know_all);
            world.run_until(s(2), "all are linked", |world| {
                (0..seeds.len()).all(|a| (0..a).all(|b| world.is_linked(a, b)))
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn forty_members_find_each_other_in_seconds() {
    let mut world = World::running(40, 1);
    let took = world.run_until(s(20), "all know all", World::all_know_all);
    assert!(took < s(15), "{took:?}");
    assert!(world.nodes.iter().all(|node| node.complaints == 0));
}

/// Two that can't reach each other are alive for each other as long as a third reaches both, and go on dialling.
#[test]
fn a_cut_between_two_is_seen_through_a_third() {
    let mut world = World::running(3, 2);
    world.run_until(s(20), "all know all", World::all_know_all);
    world.cut(1, 2);
    world.run_for(s(4));
    // Its own link's silence is the first that a node knows.
    assert_eq!(world.state(1, 2), Some(MemberState::Suspect));
    world.run_for(s(20));
    for _ in 0..30 {
        world.run_for(s(10));
        assert_eq!(world.state(1, 2), Some(MemberState::Alive));
        assert_eq!(world.state(2, 1), Some(MemberState::Alive));
        assert_eq!(world.state(0, 1), Some(MemberState::Alive));
    }
    let dials = world.dials(1, 2);
    assert!(dials > 100, "{dials}");
    world.heal();
    world.run_until(s(2), "the link is back", |world| world.is_linked(1, 2));
}

/// Both sides hold the other to be down, for long. Nobody gives up, and in the end all are alive again.
#[test]
fn a_partition_into_halves_heals() {
    for seed in 0..4 {
        let mut world = World::running(6, seed);
        world.loss = 0.1;
        world.run_until(s(60), "all know all", World::all_know_all);
        let across = |world: &mut World, act: fn(&mut World, usize, usize)| {
            (0..3).for_each(|a| (3..6).for_each(|b| act(world, a, b)));
        };
        across(&mut world, World::cut);
        world.run_until(s(60), "the other half is down", |world| {
            (3..6).all(|b| world.state(0, b) == Some(MemberState::Down))
        });
        world.run_for(s(1_200));
        across(&mut world, |world, a, b| {
            assert_eq!(world.state(a, b), Some(MemberState::Down));
            assert_eq!(world.state(b, a), Some(MemberState::Down));
        });
        let dials = world.dials(0, 3) + world.dials(3, 0);
        assert!(dials > 1_000, "{dials}");
        world.heal();
        world.run_until(s(30), "all know all", World::all_know_all);
        // Also in the failure detector's eyes, not only on the links.
        world.run_until(s(60), "all vouch for all", |world| {
            let ids: Vec<_> = (0..6).map(|n| world.id(n)).collect();
            (0..6).all(|n| {
                let opinions = world.members(n).swim.opinions();
                let alive = opinions
                    .values()
                    .filter(|held| **held == super::super::Held::Alive);
                alive.count() == ids.len() - 1
            })
        });
    }
}

#[test]
fn a_member_that_fails_is_down_everywhere_dialled_on_and_found_at_its_new_address() {
    let mut world = World::running(5, 3);
    world.run_until(s(20), "all know all", World::all_know_all);
    world.kill(4);
    world.run_until(s(60), "it is down", |world| {
        (0..4).all(|n| world.state(n, 4) == Some(MemberState::Down))
    });
    let dials = world.dials(0, 4);
    world.run_for(s(3_600));
    assert!(world.dials(0, 4) > dials + 1_000);
    // It comes back elsewhere, and knows where the others were, of which one has moved while it was away.
    world.kill(3);
    world.moved(3, "10.0.3.3:7172");
    world.start(3);
    world.run_until(s(30), "the others know all", World::all_know_all);
    world.moved(4, "10.0.4.4:7172");
    world.set_seeds(4, &[]);
    world.start(4);
    world.run_until(s(30), "all know all", World::all_know_all);
}

/// Whoever has left is dialled by nobody, be it that they heard it themselves, or hear it later from others.
#[test]
fn a_member_that_has_left_is_not_dialled_until_it_is_back() {
    let mut world = World::running(5, 4);
    world.loss = 0.1;
    world.run_until(s(60), "all know all", World::all_know_all);
    world.kill(3);
    world.cut(1, 2);
    world.cut(1, 4);
    world.run_for(s(20));
    world.leave(4);
    world.run_until(s(90), "all that run know it", |world| {
        (0..3).all(|n| world.state(n, 4) == Some(MemberState::Left))
    });
    world.start(3);
    world.run_until(s(90), "who was away knows it", |world| {
        world.state(3, 4) == Some(MemberState::Left)
    });
    let dials: Vec<_> = (1..4).map(|n| world.dials(n, 4)).collect();
    world.run_for(s(3_600));
    let later: Vec<_> = (1..4).map(|n| world.dials(n, 4)).collect();
    assert_eq!(dials, later, "a member that has left is dialled");
    world.heal();
    world.start(4);
    world.run_until(s(60), "all know all", World::all_know_all);
    assert!((0..4).all(|n| world.is_linked(n, 4)));
}

/// The disk is gone and the clock is a year behind, so that its announcements seem old to all others.
#[test]
fn a_node_that_has_forgotten_itself_is_believed_again() {
    let mut world = World::running(3, 5);
    world.run_until(s(20), "all know all", World::all_know_all);
    world.kill(2);
    world.nodes[2].known.clear();
    world.nodes[2].clock_ms = -365 * 86_400_000;
    world.moved(2, "10.0.2.2:7172");
    world.start(2);
    world.run_until(s(60), "all know all", World::all_know_all);
}

/// Every node starts anew, on what it wrote down alone; the only seed is gone for good.
#[test]
fn a_cluster_without_seeds_finds_itself_again() {
    let mut world = World::running(5, 6);
    world.run_until(s(20), "all know all", World::all_know_all);
    (0..5).for_each(|n| world.kill(n));
    world.run_for(s(30));
    (1..5).for_each(|n| world.set_seeds(n, &["10.0.0.0:7172"]));
    (1..5).for_each(|n| world.start(n));
    world.run_until(s(30), "all know all", World::all_know_all);
    assert!((1..5).all(|a| (1..a).all(|b| world.is_linked(a, b))));
}

/// A member that can't be reached from here, but from elsewhere, is not forgotten; one that is gone for good is, and
/// does not come back by way of those who forget it later.
#[test]
fn who_was_never_met_is_forgotten_in_the_end_but_not_who_lives() {
    let mut world = World::new(&[vec![], vec![0], vec![0], vec![0]], 7);
    world.cut(1, 2);
    world.cut(1, 3);
    (0..4).for_each(|n| world.start(n));
    world.run_for(s(60));
    assert_eq!(world.state(1, 3), Some(MemberState::Alive));
    world.kill(3);
    (0..5).for_each(|_| world.skip_hours(13));
    assert_eq!(world.state(1, 2), Some(MemberState::Alive));
    assert_eq!(world.state(1, 3), None);
    // The others have met it, and go on dialling.
    assert_eq!(world.state(0, 3), Some(MemberState::Down));
    assert!(world.dials(0, 3) > 1_000);
}

/// What a settled cluster says about its members, which shares the budget of the whole idle traffic.
#[test]
fn a_quiet_cluster_says_next_to_nothing() {
    let mut world = World::running(3, 8);
    world.run_until(s(20), "all know all", World::all_know_all);
    world.run_for(s(300));
    let sent = |world: &World| world.nodes.iter().map(|node| node.bytes_sent).sum::<u64>();
    let before = sent(&world);
    world.run_for(s(600));
    let per_minute = (sent(&world) - before) / 10;
    assert!(per_minute <= 3 * 2 * 9, "{per_minute} bytes per minute");
}

//! Each of nineteen deliberate bugs is found, and only because it is there.
#![cfg(feature = "planted")]

use anabranch_core::Planted as Core;
use anabranch_sim::{Options, Planted, run};

/// A bug that takes more seeds than this to be found is not found.
const SEEDS_MAX: u64 = 200;

fn is_found(bug: Planted) {
    for seed in 0..SEEDS_MAX {
        let mut options = Options::new(seed);
        options.planted = Some(bug);
        let Some(violation) = run(options).violation else {
            continue;
        };
        println!(
            "{bug:?}: found by seed {seed}, the {}. tried: {}: {}",
            seed + 1,
            violation.promise,
            violation.found
        );
        let without = run(Options::new(seed)).violation;
        assert_eq!(without, None, "seed {seed} fails without the bug, too");
        return;
    }
    panic!("{bug:?} was not found within {SEEDS_MAX} seeds");
}

#[test]
fn acknowledging_before_the_sync_is_found() {
    is_found(Planted::Core(Core::AcknowledgeBeforeSync));
}

#[test]
fn gossip_before_the_sync_is_found() {
    is_found(Planted::Core(Core::GossipBeforeSync));
}

#[test]
fn a_dropped_delta_at_a_frontier_is_found() {
    is_found(Planted::Core(Core::DropDeltaAtFrontier));
}

#[test]
fn applying_a_duplicate_is_found() {
    is_found(Planted::Core(Core::ApplyTwice));
}

#[test]
fn an_actor_reused_after_a_restored_disk_is_found() {
    is_found(Planted::TrustRestoredDisk);
}

#[test]
fn a_batch_handed_out_in_two_is_found() {
    is_found(Planted::Core(Core::SplitBatch));
}

#[test]
fn an_ignored_session_is_found() {
    is_found(Planted::Core(Core::IgnoreToken));
}

#[test]
fn effects_before_their_causes_after_a_restart_are_found() {
    is_found(Planted::Core(Core::ForgetHoldBack));
}

#[test]
fn containers_that_do_not_become_one_are_found() {
    is_found(Planted::Core(Core::LocalIdentity));
}

#[test]
fn a_fold_of_what_is_not_durable_is_found() {
    is_found(Planted::Core(Core::FoldBeforeSync));
}

#[test]
fn a_release_of_log_that_a_member_needs_is_found() {
    is_found(Planted::Core(Core::ReleaseNeeded));
}

#[test]
fn an_acknowledgement_of_what_is_not_durable_is_found() {
    is_found(Planted::Core(Core::AcknowledgeUnsynced));
}

#[test]
fn a_removal_of_what_its_writer_had_not_seen_is_found() {
    is_found(Planted::Core(Core::RemoveUnseen));
}

#[test]
fn an_overlooked_difference_is_found() {
    is_found(Planted::Core(Core::OverlookDifference));
}

#[test]
fn an_arrival_before_all_is_there_is_found() {
    is_found(Planted::Core(Core::ArriveEarly));
}

#[test]
fn what_a_repair_shows_before_all_is_there_is_found() {
    is_found(Planted::Core(Core::ShowEarly));
}

#[test]
fn parts_of_a_batch_in_another_order_are_found() {
    is_found(Planted::Core(Core::MixParts));
}

#[test]
fn a_frontier_that_is_believed_of_a_source_alone_is_found() {
    is_found(Planted::Core(Core::BelieveFrontier));
}

#[test]
fn a_change_that_is_counted_twice_is_found() {
    is_found(Planted::Core(Core::CountTwice));
}

//! The simulator's own power: each bug that we planted ourselves is found within 500 seeds, those of membership and of
//! versions within 1,000.
//!
//! Planted bugs exist only with debug assertions, so a release build of this test is empty.
#![cfg(debug_assertions)]
#![expect(clippy::print_stdout, reason = "says in how many seeds each bug was found")]

use anvil_core::planted::{Bug, Planted};
use anvil_sim_tests::{run_seeds, scenario};

/// Within so many seeds each bug must be found.
const BUDGET: u64 = 500;
/// The same for bugs that need a change of members to go wrong at the right moment.
const MEMBERSHIP_BUDGET: u64 = 1_000;
/// The same for bugs of versions.
const VERSIONS_BUDGET: u64 = 1_000;

fn is_found(bug: Bug) {
    is_found_within(bug, BUDGET);
}

fn is_found_within(bug: Bug, budget: u64) {
    let scenario = scenario::exposes(bug);
    let (totals, broken) = run_seeds(scenario, 0..budget, 1, Planted::arm(bug), true, &mut |_| {});
    let Some(first) = broken.first() else { panic!("{bug:?} was not found in {} seeds of {scenario:?}", totals.seeds) };
    println!("{bug:?} was found after {} seeds: {}", totals.seeds, first.story());
}

#[test]
fn an_old_terms_entry_committed_by_counting() {
    is_found(Bug::CommitOldTerm);
}

#[test]
fn a_vote_that_leaves_before_it_is_durable() {
    is_found(Bug::VoteBeforeDurable);
}

#[test]
fn entries_acknowledged_before_the_sync_returns() {
    is_found(Bug::AckBeforeSync);
}

#[test]
fn a_torn_tail_that_is_accepted() {
    is_found(Bug::TornTailAccepted);
}

#[test]
fn checksums_that_are_not_verified() {
    is_found(Bug::ChecksumNotVerified);
}

#[test]
fn a_decode_that_mixes_shards_of_two_versions() {
    is_found(Bug::MixedVersions);
}

#[test]
fn a_scrub_that_heals_from_a_corrupt_shard() {
    is_found(Bug::ScrubTrustsDamage);
}

#[test]
fn entries_after_a_snapshot_that_are_dropped() {
    is_found(Bug::SnapshotDropsSuffix);
}

#[test]
fn sessions_left_out_of_snapshots() {
    is_found(Bug::SessionsNotInSnapshot);
}

#[test]
fn a_read_without_a_quorum() {
    is_found(Bug::ReadWithoutQuorum);
}

#[test]
fn an_object_decided_before_its_shards_are_synced() {
    is_found(Bug::DecideBeforeShardSync);
}

#[test]
fn an_index_that_points_at_unsynced_bytes() {
    is_found(Bug::IndexBeforeExtentSync);
}

#[test]
fn a_sweep_that_removes_what_is_being_decided() {
    is_found(Bug::SweepInFlight);
}

#[test]
fn a_joint_membership_that_commits_on_one_majority() {
    is_found_within(Bug::JointOneMajority, MEMBERSHIP_BUDGET);
}

#[test]
fn a_learner_that_is_counted() {
    is_found_within(Bug::LearnerCounted, MEMBERSHIP_BUDGET);
}

#[test]
fn a_membership_left_out_of_snapshots() {
    is_found_within(Bug::MembershipNotInSnapshot, MEMBERSHIP_BUDGET);
}

#[test]
fn two_shards_of_a_stripe_in_one_node() {
    is_found(Bug::TwoShardsInOneDomain);
}

#[test]
fn a_stripe_acknowledged_below_its_durable_count() {
    is_found(Bug::AckBelowDurable);
}

#[test]
fn a_participant_that_aborts_by_itself() {
    is_found(Bug::ParticipantAborts);
}

#[test]
fn a_coordinator_that_takes_silence_for_refusal() {
    is_found(Bug::UncertainAborts);
}

#[test]
fn a_nonce_reused_after_a_restart() {
    is_found(Bug::NonceReused);
}

#[test]
fn a_forwarded_command_taken_twice() {
    is_found(Bug::ForwardTwice);
}

#[test]
fn a_body_placed_by_a_stale_topology() {
    is_found_within(Bug::StaleTopology, MEMBERSHIP_BUDGET);
}

#[test]
fn a_lease_that_ignores_drift() {
    is_found_within(Bug::LeaseIgnoresDrift, MEMBERSHIP_BUDGET);
}

#[test]
fn a_condition_checked_outside_the_transaction() {
    is_found_within(Bug::ConditionOutside, VERSIONS_BUDGET);
}

#[test]
fn versions_in_the_order_of_wall_clocks() {
    is_found_within(Bug::VersionsByClock, VERSIONS_BUDGET);
}

#[test]
fn a_delete_marker_that_hides_a_newer_version() {
    is_found_within(Bug::MarkerHidesNewer, VERSIONS_BUDGET);
}

#[test]
fn every_planted_bug_has_a_test() {
    // Counted by hand: a new bug without a test above fails here.
    assert_eq!(Bug::ALL.len(), 28);
}

#[test]
fn a_replica_without_its_log_that_votes() {
    is_found_within(Bug::LostLogVotes, MEMBERSHIP_BUDGET);
}

//! Every scenario over many seeds: at least three thousand clusters in all, none of which may break a promise.
//!
//! One test for each scenario, so that the harness uses all cores. A failure names the seed and prints the command that
//! replays it.

use anvil_core::planted::Planted;
use anvil_sim_tests::{Scenario, run_seeds};

fn keeps_its_promises(scenario: Scenario, seeds: u64) {
    let (totals, broken) = run_seeds(scenario, 0..seeds, 1, Planted::default(), true, &mut |_| {});
    if let Some(first) = broken.first() {
        panic!("{}", first.story());
    }
    assert_eq!(totals.seeds, seeds);
    assert!(totals.operations > seeds * 10, "a cluster that serves nobody proves nothing: {totals:?}");
    assert!(totals.undecided * 50 <= seeds, "too many histories are too hard to judge: {totals:?}");
}

#[test]
fn keys_stay_linearizable_under_partitions_crashes_clock_drift_and_disk_errors() {
    keeps_its_promises(Scenario::Keys, 400);
}

#[test]
fn a_term_has_one_leader_and_no_read_is_stale_however_leaders_fall() {
    keeps_its_promises(Scenario::Elections, 250);
}

#[test]
fn laggards_catch_up_by_snapshot_and_repeats_are_served_exactly_once() {
    keeps_its_promises(Scenario::Snapshots, 300);
}

#[test]
fn objects_survive_crashes_and_torn_writes_byte_for_byte_and_leave_no_shard_behind() {
    keeps_its_promises(Scenario::Objects, 225);
}

#[test]
fn damage_at_rest_is_never_read_as_data_and_is_decoded_around_where_there_is_parity() {
    keeps_its_promises(Scenario::Rot, 200);
}

#[test]
fn a_full_drive_refuses_loses_nothing_and_works_again() {
    keeps_its_promises(Scenario::Full, 200);
}

#[test]
fn a_damaged_log_comes_back_from_the_others_and_nothing_is_lost() {
    keeps_its_promises(Scenario::LogRot, 225);
}

#[test]
fn replicas_come_and_go_and_take_over_and_clients_do_not_notice() {
    keeps_its_promises(Scenario::Membership, 275);
}

#[test]
fn objects_on_many_nodes_survive_crashes_partitions_and_damage() {
    keeps_its_promises(Scenario::Spread, 350);
}

#[test]
fn nodes_join_and_leave_and_everything_finds_its_place() {
    keeps_its_promises(Scenario::Growth, 350);
}

#[test]
fn no_read_by_lease_is_stale_while_clocks_drift_within_their_bound() {
    keeps_its_promises(Scenario::Leases, 150);
}

#[test]
fn a_leader_whose_drive_stands_still_gives_way() {
    keeps_its_promises(Scenario::Stalls, 150);
}

#[test]
fn versions_stay_in_the_order_of_their_decisions_and_conditions_hold() {
    keeps_its_promises(Scenario::Versions, 200);
}

#[test]
fn everything_at_once() {
    keeps_its_promises(Scenario::Swarm, 225);
}

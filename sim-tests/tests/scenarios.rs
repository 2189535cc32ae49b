//! Every scenario over a few seeds: 160 simulated clusters in all. A failure prints the command that replays it. Longer
//! runs are `anvil-sim-tests run`; the aim for this file is 2,000 seeds.

use anvil_core::planted::Planted;
use anvil_sim_tests::Scenario;
use anvil_sim_tests::runner::run_seeds;
use std::ops::Range;

/// Runs seeds on this test's own thread: the tests of this file already share the cores.
fn keeps_its_promises(scenario: Scenario, seeds: Range<u64>) {
    let (totals, broken) = run_seeds(scenario, seeds.clone(), 1, Planted::default(), true, &mut |_| {});
    if let Some(finding) = broken.first() {
        panic!("{}", finding.story());
    }
    assert_eq!(totals.seeds, seeds.end - seeds.start, "every seed was run");
    assert!(totals.operations > totals.seeds, "clients were served");
}

#[test]
fn keys_stay_linearizable_under_partitions_crashes_and_drift() {
    keeps_its_promises(Scenario::Keys, 0..20);
}

#[test]
fn elections_are_safe_when_new_leaders_are_cut_off() {
    keeps_its_promises(Scenario::Elections, 0..20);
}

#[test]
fn laggards_catch_up_by_snapshot_and_repeats_are_served_once() {
    keeps_its_promises(Scenario::Snapshots, 0..20);
}

#[test]
fn objects_survive_crashes_and_torn_writes_byte_for_byte() {
    keeps_its_promises(Scenario::Objects, 0..20);
}

#[test]
fn damage_at_rest_is_never_read_as_data() {
    keeps_its_promises(Scenario::Rot, 0..20);
}

#[test]
fn a_full_drive_refuses_and_loses_nothing() {
    keeps_its_promises(Scenario::Full, 0..20);
}

#[test]
fn a_damaged_log_does_not_vote() {
    keeps_its_promises(Scenario::LogRot, 0..20);
}

#[test]
fn everything_at_once() {
    keeps_its_promises(Scenario::Swarm, 0..20);
}

//! The same seed is the same run: 100 seeds over all scenarios, each in two processes, end with the same hash over
//! every delivered event.

use anvil_sim_tests::Scenario;
use std::process::Command;

/// `scenario seed hash events`, a line for each seed.
fn hashes(scenario: Scenario, seeds: &str) -> String {
    let mut runner = Command::new(env!("CARGO_BIN_EXE_anvil-sim-tests"));
    let output = runner.args(["hash", "--scenario", scenario.name(), "--seeds", seeds]).output();
    let output = output.expect("the seed runner was built beside this test");
    assert!(output.status.success(), "the seed runner failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the seed runner writes text")
}

#[test]
fn a_seed_is_the_same_run_in_every_process() {
    let mut seeds = 0;
    for scenario in Scenario::ALL {
        let range = if *scenario == Scenario::Keys { "1000..1009" } else { "1000..1013" };
        let (first, second) = (hashes(*scenario, range), hashes(*scenario, range));
        assert_eq!(first, second, "a run of {} differs from its replay", scenario.name());
        seeds += first.lines().count();
    }
    assert_eq!(seeds, 100, "100 seeds were compared");
}

#[test]
fn another_seed_is_another_run() {
    let hashes = hashes(Scenario::Keys, "0..4");
    let mut distinct: Vec<&str> = hashes.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 4, "the hash tells runs apart");
}

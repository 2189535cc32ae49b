//! The same seed gives the same trace hash in two processes: 100 seeds out of 100.
//!
//! Two processes, because addresses, hash seeds and the heap's history differ between them and not between two runs in
//! one.

use std::process::Command;

fn hashes(scenario: &str, seeds: u64) -> Vec<String> {
    let runner = Command::new(env!("CARGO_BIN_EXE_anvil-sim-tests"))
        .args(["hash", "--scenario", scenario, "--seeds", &format!("0..{seeds}")])
        .output()
        .expect("the runner starts");
    assert!(runner.status.success(), "{}", String::from_utf8_lossy(&runner.stdout));
    String::from_utf8(runner.stdout).expect("hashes are text").lines().map(ToString::to_string).collect()
}

fn are_equal_in_two_processes(scenario: &str, seeds: u64) {
    let (first, second) = (hashes(scenario, seeds), hashes(scenario, seeds));
    assert_eq!(first.len() as u64, seeds);
    assert_eq!(first, second);
    let mut distinct: Vec<&str> = first.iter().filter_map(|line| line.split(' ').nth(2)).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len() as u64, seeds, "different seeds are different runs");
}

#[test]
fn keys() {
    are_equal_in_two_processes("keys", 20);
}

#[test]
fn elections() {
    are_equal_in_two_processes("elections", 15);
}

#[test]
fn snapshots() {
    are_equal_in_two_processes("snapshots", 20);
}

#[test]
fn objects_and_rot() {
    are_equal_in_two_processes("objects", 10);
    are_equal_in_two_processes("rot", 10);
}

#[test]
fn membership() {
    are_equal_in_two_processes("membership", 10);
}

#[test]
fn swarm() {
    are_equal_in_two_processes("swarm", 15);
}

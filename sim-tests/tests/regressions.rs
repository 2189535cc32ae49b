//! Seeds that broke once, with what was wrong. A later change may give a seed another course, so each says no more than that it is
//! still sound.

use anvil_core::planted::Planted;
use anvil_sim_tests::{Scenario, run_seeds};

#[test]
fn seeds_that_broke_once_are_sound() {
    for (scenario, seed) in [
        // A leader that was elected again in a newer term never settled a forwarded command.
        (Scenario::Spread, 325),
        // A removed node led the region for ever.
        (Scenario::Growth, 777),
        // What a shrinking cluster had to move found no place.
        (Scenario::Growth, 177),
        // One error of a drive at a start passed for a damaged log: without this vote nobody could be elected of two.
        (Scenario::Membership, 2317),
        (Scenario::Spread, 3288),
        // False alarms: a segment that was to be removed, and another node's drive that took long as well.
        (Scenario::Stalls, 4394),
        (Scenario::Stalls, 4876),
    ] {
        let (_, broken) = run_seeds(scenario, seed..seed + 1, 1, Planted::default(), false, &mut |_| {});
        assert!(broken.is_empty(), "{}", broken[0].story());
    }
}

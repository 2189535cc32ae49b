//! The simulator's own power: each planted bug is found within 500 seeds of the scenario that exposes it. The same
//! scenarios raise no alarm without the bug (`scenarios.rs`).
//!
//! Here are the bugs that are found quickly; `anvil-sim-tests hunt` hunts all of `Bug::ALL`, and those that are missing
//! here are still to be proven within the budget.
#![cfg(debug_assertions)]

use anvil_core::planted::{Bug, Planted};
use anvil_sim_tests::runner::run_seeds;
use anvil_sim_tests::scenario::exposes;

/// Within how many seeds a bug must be found.
const SEEDS_MAX: u64 = 500;

fn is_found(bug: Bug) {
    let (totals, broken) = run_seeds(exposes(bug), 0..SEEDS_MAX, 1, Planted::arm(bug), true, &mut |_| {});
    assert!(!broken.is_empty(), "{bug:?} was not found in {} seeds of {}", totals.seeds, exposes(bug).name());
}

macro_rules! found {
    ($($name:ident: $bug:ident,)*) => {
        $(
            #[test]
            fn $name() {
                is_found(Bug::$bug);
            }
        )*
    };
}

found! {
    entry_acknowledged_before_the_sync: AckBeforeSync,
    checksum_not_verified_on_read: ChecksumNotVerified,
    client_sessions_left_out_of_snapshots: SessionsNotInSnapshot,
}

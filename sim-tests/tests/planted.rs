//! The simulator's own power: each planted bug is found within 500 seeds of the scenario that exposes it. The same
//! scenarios raise no alarm without the bug (`scenarios.rs`).
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

        #[test]
        fn every_planted_bug_has_its_hunt() {
            assert_eq!([$(Bug::$bug),*], Bug::ALL, "a bug without a test would be planted for nothing");
        }
    };
}

found! {
    commit_by_counting_an_old_terms_entry: CommitOldTerm,
    vote_not_durable_before_the_reply: VoteBeforeDurable,
    entry_acknowledged_before_the_sync: AckBeforeSync,
    torn_tail_accepted: TornTailAccepted,
    checksum_not_verified_on_read: ChecksumNotVerified,
    client_sessions_left_out_of_snapshots: SessionsNotInSnapshot,
    read_index_without_a_quorum: ReadWithoutQuorum,
    object_decided_before_its_shards_are_synced: DecideBeforeShardSync,
    index_of_unsynced_extent_bytes: IndexBeforeExtentSync,
    sweep_of_a_decision_in_flight: SweepInFlight,
}

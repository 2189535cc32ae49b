//! What every table must be: legal, balanced, the same for the same drives, and refused for a reason.

use super::model::{
    Evenness, alike, any_cluster, any_profile, are_distinct, evenness, fullest, groups, loads, node, sample, shards,
    share,
};
use crate::placement::{DriveSpec, GROUPS_MAX, GROUPS_MIN, Infeasible, solve};
use crate::stripe::Profile;
use crate::types::NodeId;
use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;

const FOUR_TWO: Profile = Profile { data: 4, parity: 2 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    // PLACE-1, PLACE-2
    #[test]
    fn tables_are_legal_and_do_not_depend_on_the_order_of_the_list(
        (drives, shuffled) in any_cluster().prop_flat_map(|drives| (Just(drives.clone()), Just(drives).prop_shuffle())),
        profile in any_profile(),
    ) {
        let table = solve(None, &drives, profile);
        if drives.len() < profile.total() {
            let why = Infeasible::TooFewDrives { needed: profile.total(), usable: drives.len() };
            prop_assert_eq!(table, Err(why));
        } else {
            let table = table.expect("there are enough drives");
            let most = evenness(&drives, profile);
            for group in groups(&table) {
                let Evenness { node, zone } = fullest(&drives, group);
                prop_assert!(are_distinct(group) && node <= most.node && zone <= most.zone, "{:?}: {:?}", group, most);
            }
            prop_assert_eq!(solve(None, &shuffled, profile), Ok(table));
        }
    }

    // PLACE-1, PLACE-2, PLACE-3
    #[test]
    fn tables_stay_legal_when_the_cluster_becomes_another(
        before in any_cluster(),
        (after, shuffled) in any_cluster().prop_flat_map(|drives| (Just(drives.clone()), Just(drives).prop_shuffle())),
        profile in any_profile(),
    ) {
        if let (Ok(old), Ok(_)) = (solve(None, &before, profile), solve(None, &after, profile)) {
            let table = solve(Some(&old), &after, profile).expect("feasible without the old table, so also with it");
            let most = evenness(&after, profile);
            for group in groups(&table) {
                let Evenness { node, zone } = fullest(&after, group);
                prop_assert!(are_distinct(group) && node <= most.node && zone <= most.zone, "{:?}: {:?}", group, most);
            }
            prop_assert_eq!(solve(Some(&old), &shuffled, profile), Ok(table.clone()));
            prop_assert_eq!(solve(Some(&table), &after, profile), Ok(table), "a second search finds nothing to do");
        }
    }
}

/// The bound: within one shard of the share by weight, wherever the spread leaves every domain some room. Rounding of
/// the targets adds less than a hundredth.
#[test]
fn drives_hold_their_share_by_weight_to_within_one_shard() {
    let mut judged = 0;
    for (drives, profile) in (0..60).map(sample) {
        let Ok(table) = solve(None, &drives, profile) else { continue };
        let most = evenness(&drives, profile);
        // A domain with little room to spare needs company that the others may not be able to give.
        let has_room = |is_in: &dyn Fn(&DriveSpec) -> bool, most: usize| {
            let inside: Vec<DriveSpec> = drives.iter().filter(|spec| is_in(spec)).cloned().collect();
            share(&inside, &drives) * profile.total() as f64 <= 0.95 * most as f64
        };
        let all_have_room = drives.iter().all(|spec| {
            has_room(&|other| other.drive == spec.drive, 1)
                && has_room(&|other| other.node == spec.node, most.node)
                && (most.zone == profile.total() || has_room(&|other| other.zone == spec.zone, most.zone))
        });
        if all_have_room {
            judged += 1;
            let loads = loads(&table);
            for spec in &drives {
                let target = share(core::slice::from_ref(spec), &drives) * shards(&table);
                let load = f64::from(loads[&spec.drive]);
                assert!((load - target).abs() <= 1.01, "{} of {drives:?}: {load} for {target}", spec.drive);
            }
        }
    }
    assert!(judged >= 20, "only {judged} clusters were judged");
}

/// A drive or a node with most of the capacity may still have one position of each group only, and one of three zones
/// two. The rest is shared by the others in proportion to their weights, not shard by shard.
#[test]
fn what_the_spread_denies_the_large_is_shared_by_the_others() {
    let check = |drives: &[DriveSpec], profile: Profile, parts: &[f64]| {
        let table = solve(None, drives, profile).expect("feasible");
        let loads = loads(&table);
        for (spec, part) in drives.iter().zip(parts) {
            let (load, target) = (f64::from(loads[&spec.drive]), part * f64::from(table.groups()));
            assert!((load - target).abs() <= 1.01, "drive {}: {load} for {target}", spec.drive);
        }
    };
    let node_of = |id: u64, weight: u64| node(id, 0, &[weight]);
    let drives = [node(0, 0, &[900, 900]), node_of(1, 24), node_of(2, 28), node_of(3, 32), node_of(4, 36)].concat();
    check(&drives, Profile { data: 2, parity: 2 }, &[0.5, 0.5, 0.6, 0.7, 0.8, 0.9]);
    let zone_of = |zone: u64, weights: [u64; 3]| -> Vec<DriveSpec> {
        (0..).zip(weights).flat_map(|(id, weight)| node(zone * 3 + id, zone, &[weight])).collect()
    };
    let drives = [zone_of(0, [900, 900, 900]), zone_of(1, [10, 15, 25]), zone_of(2, [20, 20, 20])].concat();
    let third = 2.0 / 3.0;
    check(&drives, FOUR_TWO, &[third, third, third, 0.4, 0.6, 1.0, third, third, third]);
    let drives = [node(0, 0, &[900, 10]), node(1, 0, &[10, 20]), node(2, 0, &[20, 30])].concat();
    check(&drives, Profile { data: 2, parity: 2 }, &[1.0, 1.0 / 3.0, 1.0 / 3.0, third, third, 1.0]);
}

#[test]
fn the_spread_covers_nodes_and_zones() {
    let two_two = Profile { data: 2, parity: 2 };
    // Four zones suffice to put one position into each; the weights say otherwise and do not matter.
    let drives =
        [node(0, 0, &[1]), node(1, 1, &[100, 100]), node(2, 2, &[1]), node(3, 3, &[1]), node(4, 3, &[1])].concat();
    let table = solve(None, &drives, two_two).expect("feasible");
    assert!(groups(&table).all(|group| fullest(&drives, group) == Evenness { node: 1, zone: 1 }));
    // Two zones, one with a single node: the loss of a zone is survivable, so zones come first.
    let lopsided = [node(0, 0, &[1, 1, 1, 1]), alike(8, 1, &[1]).split_off(1)].concat();
    let relabelled: Vec<DriveSpec> = lopsided
        .into_iter()
        .map(|spec| DriveSpec { zone: if spec.node == NodeId(0) { "a" } else { "b" }.to_string(), ..spec })
        .collect();
    let table = solve(None, &relabelled, two_two).expect("feasible");
    assert!(groups(&table).all(|group| fullest(&relabelled, group) == Evenness { node: 2, zone: 2 }));
    // With 4+2 it is not, and then a node must not cost more than it has to.
    let table = solve(None, &relabelled, FOUR_TWO).expect("feasible");
    assert!(groups(&table).all(|group| fullest(&relabelled, group).node == 1));
}

#[test]
fn small_clusters_have_few_groups_and_large_ones_a_hundred_shards_a_node() {
    let count = |drives: &[DriveSpec], profile| solve(None, drives, profile).expect("feasible").groups();
    assert_eq!(count(&alike(1, 1, &[1; 6]), FOUR_TWO), GROUPS_MIN * 2);
    assert_eq!(count(&alike(1, 1, &[1; 12]), Profile { data: 8, parity: 4 }), GROUPS_MIN * 2);
    assert_eq!(count(&alike(1, 1, &[1; 32]), Profile { data: 24, parity: 8 }), GROUPS_MIN * 2);
    assert_eq!(count(&alike(24, 3, &[1]), FOUR_TWO), 512);
    let dwarf = [alike(6, 1, &[1_000_000]), node(9, 0, &[1])].concat();
    assert_eq!(count(&dwarf, FOUR_TWO), GROUPS_MAX);
}

#[test]
fn the_number_of_groups_never_shrinks() {
    let large = solve(None, &alike(20, 1, &[1]), FOUR_TWO).expect("feasible");
    let small = solve(Some(&large), &alike(6, 1, &[1]), FOUR_TWO).expect("feasible");
    assert_eq!(small.groups(), large.groups());
}

#[test]
fn a_refusal_says_what_to_do() {
    let refused = |drives: &[DriveSpec], profile| solve(None, drives, profile).expect_err("infeasible").to_string();
    assert_eq!(
        refused(&alike(2, 1, &[1, 1]), FOUR_TWO),
        "a stripe of 6 shards needs 6 drives and 4 can be used: add 2 or bring them back, or choose a profile with fewer \
         shards"
    );
    let twice = [alike(6, 1, &[1]), node(3, 0, &[1])].concat();
    assert_eq!(refused(&twice, FOUR_TWO), "drive 24 is listed twice: its shards would count as two failure domains");
    let mut torn = alike(6, 1, &[1, 1]);
    torn[5].zone = "elsewhere".to_string();
    assert_eq!(
        refused(&torn, FOUR_TWO),
        "the drives of node 2 are in different zones: give all of them the node's zone"
    );
    let none = Profile { data: 0, parity: 2 };
    assert_eq!(refused(&alike(6, 1, &[1]), none), "a profile needs at least one data shard");
}

#[test]
fn a_weight_of_nothing_counts_as_one() {
    let table = solve(None, &alike(4, 1, &[0]), Profile { data: 1, parity: 1 }).expect("feasible");
    assert_eq!(solve(None, &alike(4, 1, &[1]), Profile { data: 1, parity: 1 }), Ok(table));
}

//! The drives of a new body when some are down, or when the table is for another profile.

use super::model::{
    Evenness, PROFILES, alike, any_cluster, any_profile, are_distinct, evenness, fullest, groups, node, share,
};
use crate::placement::{DriveSpec, Infeasible, choose, solve};
use crate::stripe::Profile;
use crate::types::{DriveId, VersionId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    // PLACE-1
    #[test]
    fn a_choice_is_legal_and_keeps_what_is_alive(
        drives in any_cluster(),
        dead in proptest::collection::vec(any::<bool>(), 80),
        (made_for, profile) in (any_profile(), any_profile()),
        versions in proptest::collection::vec(any::<u128>().prop_map(VersionId), 8),
    ) {
        let Ok(table) = solve(None, &drives, made_for) else { return Ok(()) };
        let of = |drive: DriveId| drives.iter().position(|spec| spec.drive == drive).expect("listed");
        let alive = |drive: DriveId| !dead[of(drive)];
        let usable: Vec<DriveSpec> = drives.iter().filter(|spec| alive(spec.drive)).cloned().collect();
        for version in versions {
            let chosen = choose(Some(&table), version, &alive, &drives, profile);
            if usable.len() < profile.total() {
                let why = Infeasible::TooFewDrives { needed: profile.total(), usable: usable.len() };
                prop_assert_eq!(chosen, Err(why));
                continue;
            }
            let chosen = chosen.expect("there are enough drives alive");
            prop_assert!(chosen.len() == profile.total() && are_distinct(&chosen));
            let mut most = evenness(&usable, profile);
            if profile == made_for {
                let planned = table.drives(table.group_of(version));
                let kept: Vec<DriveId> = planned.iter().copied().filter(|drive| alive(*drive)).collect();
                for (planned, chosen) in planned.iter().zip(&chosen) {
                    prop_assert!(chosen == planned || !alive(*planned), "what is alive stays in its position");
                }
                // What the table may have put together while more was alive is kept together.
                let Evenness { node, zone } = fullest(&drives, &kept);
                most = Evenness { node: most.node.max(node), zone: most.zone.max(zone) };
            }
            let Evenness { node, zone } = fullest(&usable, &chosen);
            prop_assert!(node <= most.node && zone <= most.zone, "{:?}: {:?}", chosen, most);
        }
    }

    #[test]
    fn with_all_alive_the_choice_is_the_table(id in any::<u128>(), profile in 0..PROFILES.len()) {
        let drives = alike(6, 2, &[1, 2]);
        let table = solve(None, &drives, PROFILES[profile]).expect("feasible");
        let version = VersionId(id);
        let planned = table.drives(table.group_of(version)).to_vec();
        prop_assert_eq!(choose(Some(&table), version, &|_| true, &drives, PROFILES[profile]), Ok(planned));
    }
}

#[test]
fn drives_that_are_drained_are_replaced_like_dead_ones() {
    let drives = alike(7, 1, &[1]);
    let profile = Profile { data: 4, parity: 2 };
    let table = solve(None, &drives, profile).expect("feasible");
    for id in 0..50 {
        let listed = choose(Some(&table), VersionId(id), &|_| true, &drives[1..], profile).expect("six are left");
        let alive = choose(Some(&table), VersionId(id), &|drive| drive != drives[0].drive, &drives, profile);
        assert!(!listed.contains(&drives[0].drive));
        assert_eq!(alive, Ok(listed));
    }
}

/// Each drive draws for itself, so that the death of one changes no choice but its own.
#[test]
fn a_second_death_does_not_change_the_substitute_for_the_first() {
    let drives = alike(20, 1, &[1]);
    let profile = Profile { data: 2, parity: 1 };
    let table = solve(None, &drives, profile).expect("feasible");
    for (group, planned) in (0..).zip(groups(&table)).take(100) {
        let version =
            (0..).map(VersionId).find(|version| table.group_of(*version).0 == group).expect("every group is hit");
        let one_dead = choose(Some(&table), version, &|drive| drive != planned[1], &drives, profile).expect("feasible");
        let bystander =
            drives.iter().map(|spec| spec.drive).find(|drive| !one_dead.contains(drive) && *drive != planned[1]);
        let both = |drive: DriveId| drive != planned[1] && Some(drive) != bystander;
        assert_eq!(choose(Some(&table), version, &both, &drives, profile), Ok(one_dead));
    }
}

#[test]
fn substitutes_are_drawn_by_weight() {
    let drives = [alike(9, 1, &[1]), node(20, 0, &[3]), node(21, 0, &[6])].concat();
    let table = solve(None, &drives, Profile { data: 2, parity: 1 }).expect("feasible");
    let mut wins: BTreeMap<DriveId, u32> = BTreeMap::new();
    let versions = 20_000u32;
    for id in 0..versions {
        let profile = Profile { data: 1, parity: 0 };
        let chosen = choose(Some(&table), VersionId(id.into()), &|_| true, &drives, profile).expect("feasible");
        *wins.entry(chosen[0]).or_insert(0) += 1;
    }
    for spec in &drives {
        let expected = share(core::slice::from_ref(spec), &drives) * f64::from(versions);
        let won = f64::from(wins[&spec.drive]);
        // Four standard deviations of the smallest are a tenth; the ids are always the same.
        assert!((won / expected - 1.0).abs() < 0.1, "{}: {won} of {expected}", spec.drive);
    }
}

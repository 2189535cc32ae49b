//! What a change of the cluster moves, measured against the least that it could.

use super::model::{alike, groups, loads, node, sample, without};
use crate::placement::{DriveSpec, Move, PlacementGroup, Table, moves, solve};
use crate::stripe::Profile;
use crate::types::{DriveId, NodeId};
use alloc::vec;
use alloc::vec::Vec;

const FOUR_TWO: Profile = Profile { data: 4, parity: 2 };

/// How much more than the least possible may move.
const OVERHEAD_MAX: f64 = 1.15;

/// Clusters that can do without a node: one zone and several, drives alike and not. In some the spread becomes tighter
/// when nodes come, or leaves little choice when one goes.
fn clusters() -> Vec<(Vec<DriveSpec>, Profile)> {
    let (two_two, three_two) = (Profile { data: 2, parity: 2 }, Profile { data: 3, parity: 2 });
    let mixed: Vec<DriveSpec> = (0..12).flat_map(|id| node(id, 0, &[4 + id % 5, 8])).collect();
    vec![
        (alike(4, 1, &[1, 1, 1]), FOUR_TWO),
        (alike(5, 1, &[1, 1]), two_two),
        (alike(4, 1, &[1, 2, 4]), FOUR_TWO),
        (alike(5, 2, &[1, 1, 1]), FOUR_TWO),
        (alike(9, 2, &[1]), three_two),
        (alike(8, 1, &[1]), FOUR_TWO),
        (alike(9, 3, &[1, 1]), FOUR_TWO),
        (alike(12, 4, &[1]), two_two),
        (alike(12, 1, &[2, 3]), three_two),
        (mixed, FOUR_TWO),
        (alike(15, 3, &[1, 1]), FOUR_TWO),
        (alike(20, 1, &[1, 2, 4]), FOUR_TWO),
    ]
}

fn table(old: Option<&Table>, drives: &[DriveSpec], profile: Profile) -> Table {
    solve(old, drives, profile).expect("feasible")
}

/// The positions of the old table that are on drives which the list does not have, as often as groups were split.
fn lost(old: &Table, new: &Table, drives: &[DriveSpec]) -> f64 {
    let is_lost = |drive: &&DriveId| !drives.iter().any(|spec| spec.drive == **drive);
    let positions = groups(old).flatten().filter(is_lost).count();
    positions as f64 * f64::from(new.groups() / old.groups())
}

/// Moving little must not be bought with balance. Both tables are within a shard of the targets, so within two of each
/// other.
fn check_as_balanced_as_anew(table: &Table, drives: &[DriveSpec], profile: Profile) {
    let anew = solve(None, drives, profile).expect("feasible");
    let splits = table.groups() / anew.groups();
    let (loads, anew) = (loads(table), loads(&anew));
    for spec in drives {
        let (load, other) = (loads[&spec.drive], anew[&spec.drive] * splits);
        assert!(load.abs_diff(other) <= 1 + splits, "drive {}: {load}, and {other} anew, of {drives:?}", spec.drive);
    }
}

#[test]
fn nodes_that_come_take_little_more_than_their_share() {
    for (drives, profile) in clusters() {
        let old = table(None, &drives, profile);
        let alike_nodes = |id| node(id, 0, &[1, 1]).into_iter();
        for coming in [vec![60], vec![60, 61]] {
            let zone = |spec: DriveSpec| DriveSpec { zone: drives[0].zone.clone(), ..spec };
            let new_drives: Vec<DriveSpec> = coming.into_iter().flat_map(alike_nodes).map(zone).collect();
            let all = [drives.clone(), new_drives.clone()].concat();
            let new = table(Some(&old), &all, profile);
            // No less can move than what they get, and what they get is what they should have.
            let (loads, moved) = (loads(&new), moves(&old, &new).count() as f64);
            let least = f64::from(new_drives.iter().map(|spec| loads[&spec.drive]).sum::<u32>());
            assert!(moved <= OVERHEAD_MAX * least, "{moved} moved, {least} would do, {profile:?}: {all:?}");
            check_as_balanced_as_anew(&new, &all, profile);
        }
    }
}

#[test]
fn a_node_that_goes_takes_little_more_than_itself_along() {
    for (drives, profile) in clusters() {
        let old = table(None, &drives, profile);
        for gone in [0, 1, 3].map(NodeId) {
            let rest = without(&drives, gone);
            let new = table(Some(&old), &rest, profile);
            let (moved, least) = (moves(&old, &new).count() as f64, lost(&old, &new, &rest));
            assert!(moved >= least, "lost positions move");
            assert!(
                moved <= OVERHEAD_MAX * least,
                "{moved} moved, {least} would do, {profile:?} without {gone}: {rest:?}"
            );
            check_as_balanced_as_anew(&new, &rest, profile);
        }
    }
}

/// Kept positions do not merely keep their drive in the group: a shard that changed its number would be rewritten.
#[test]
fn what_stays_stays_in_its_position() {
    // PLACE-3
    let drives = alike(8, 1, &[1, 1]);
    let old = table(None, &drives, FOUR_TWO);
    let new = table(Some(&old), &without(&drives, NodeId(5)), FOUR_TWO);
    for (before, after) in groups(&old).zip(groups(&new)) {
        for (position, drive) in before.iter().enumerate() {
            assert!(after.get(position) == Some(drive) || !after.contains(drive), "{before:?} became {after:?}");
        }
    }
}

#[test]
fn nothing_moves_when_nothing_changes() {
    for (drives, profile) in clusters() {
        let old = table(None, &drives, profile);
        assert_eq!(moves(&old, &table(Some(&old), &drives, profile)).count(), 0);
    }
    // Nor after a change so large that the balance was hard to find.
    for seed in 0..40 {
        let ((before, profile), (after, _)) = (sample(seed), sample(seed + 1));
        let Ok(old) = solve(None, &before, profile) else { continue };
        let Ok(new) = solve(Some(&old), &after, profile) else { continue };
        assert_eq!(moves(&new, &table(Some(&new), &after, profile)).count(), 0, "seed {seed}");
    }
}

/// Twelve nodes of one drive have 256 groups and 128 shards each, with nothing to balance. A dwarf asks for more
/// groups.
#[test]
fn a_split_alone_moves_nothing() {
    // PLACE-4
    let drives = alike(12, 1, &[100]);
    let old = table(None, &drives, FOUR_TWO);
    let with_dwarf = [drives, node(60, 0, &[3])].concat();
    let new = table(Some(&old), &with_dwarf, FOUR_TWO);
    assert!(new.groups() >= 8 * old.groups(), "{} groups became {}", old.groups(), new.groups());
    let moved: Vec<Move> = moves(&old, &new).collect();
    let dwarf = with_dwarf[12].drive;
    assert!(moved.iter().all(|change| change.to == dwarf), "only what the dwarf takes moves: {moved:?}");
    assert_eq!(moved.len(), usize::try_from(loads(&new)[&dwarf]).expect("small"));
}

#[test]
fn a_version_stays_with_its_group_when_groups_are_split() {
    // PLACE-4
    let few = table(None, &alike(6, 1, &[1]), FOUR_TWO);
    let many = table(None, &alike(24, 1, &[1]), FOUR_TWO);
    let mut seen = vec![0; few.groups() as usize];
    for id in 0..10_000u128 {
        let version = crate::types::VersionId(id << 64 | id);
        let group = few.group_of(version);
        assert_eq!(many.group_of(version).0 % few.groups(), group.0);
        seen[group.0 as usize] += 1;
    }
    let even = 10_000 / few.groups();
    assert!(
        seen.iter().all(|count| (even / 2..even * 2).contains(count)),
        "even for ids that are not random: {seen:?}"
    );
}

#[test]
fn another_profile_keeps_the_positions_that_both_have() {
    let drives = alike(9, 1, &[1]);
    let old = table(None, &drives, FOUR_TWO);
    let narrow = table(Some(&old), &drives, Profile { data: 2, parity: 2 });
    let kept = narrow.groups() as usize * 4 - moves(&old, &narrow).count();
    assert!(kept * 10 >= narrow.groups() as usize * 4 * 8, "{kept} positions were kept");
    let wide = table(Some(&narrow), &drives, FOUR_TWO);
    let added: Vec<Move> = moves(&narrow, &wide).filter(|change| change.from.is_none()).collect();
    assert_eq!(added.len(), wide.groups() as usize * 2, "positions 4 and 5 are new in each group");
    assert!(added.iter().all(|change| change.position >= 4));
}

#[test]
fn moves_name_the_group_the_position_and_both_drives() {
    let old = Table::new(Profile { data: 1, parity: 1 }, [1, 2].map(DriveId).repeat(16));
    let mut drives = [1, 2].map(DriveId).repeat(32);
    drives[2 * 17 + 1] = DriveId(3);
    let new = Table::new(Profile { data: 1, parity: 1 }, drives);
    let (old, new) = (old.expect("a table"), new.expect("a table"));
    let change = Move { group: PlacementGroup(17), position: 1, from: Some(DriveId(2)), to: DriveId(3) };
    assert_eq!(moves(&old, &new).collect::<Vec<Move>>(), [change]);
    let back = Move { from: Some(DriveId(3)), to: DriveId(2), ..change };
    assert_eq!(moves(&new, &old).collect::<Vec<Move>>(), [back]);
}

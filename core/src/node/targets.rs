//! Which of a body's shards should be on other drives, and on which.
//!
//! The table of the placement gives each slot of a body its drive, where the body has the table's profile. One of another profile
//! stays where it is but for drives that leave: it will be cut anew (`recode`).
//!
//! - `MOVER-4` A target shares no node with the body's other shards, where there is more than one node. Where they have too few nodes the
//!   body is cut anew.

use super::Node;
use crate::placement;
use crate::state::{Body, Place};
use crate::types::DriveId;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

impl Node {
    /// Which slots of a body shall have another drive, and whether that is all that should be done.
    pub(super) fn plan(&self, body: &Body, left: &[DriveId]) -> (VecDeque<(usize, DriveId)>, bool) {
        let mut changes = VecDeque::new();
        let Place::Striped { profile, drives } = &body.place else { return (changes, true) };
        let table = self.placement.as_ref().filter(|placement| placement.profile == *profile);
        let table = table.map(|placement| &placement.table);
        let specs = &self.specs;
        let alive = |drive| self.is_drive_trusted(drive);
        // The table gives each slot its drive. A body of another profile has a set of drives, in whatever slots.
        let goal = placement::choose(table, body.version, &|_| true, specs, *profile).unwrap_or_default();
        let mut current = drives.clone();
        let mut complete = true;
        for slot in 0..current.len() {
            let leaves = !specs.iter().any(|spec| spec.drive == current[slot]);
            let is_home = match table {
                // A drive of the goal in another slot is home as well while its place is taken by one of the same body.
                Some(_) => goal.get(slot).is_none_or(|own| {
                    *own == current[slot] || (goal.contains(&current[slot]) && current.contains(own))
                }),
                // It will be cut anew, elsewhere.
                None => true,
            };
            if is_home && !leaves {
                continue;
            }
            let wanted = match table {
                Some(_) => goal.get(slot..=slot).unwrap_or_default(),
                None => &goal[..],
            };
            let substitutes = leaves.then(|| placement::choose(table, body.version, &alive, specs, *profile));
            let substitutes = substitutes.and_then(Result::ok).unwrap_or_default();
            let candidates = wanted.iter().chain(&substitutes).copied();
            match candidates
                .filter(|drive| alive(*drive) && !left.contains(drive))
                .find(|drive| self.suits(&current, slot, *drive))
            {
                Some(to) => {
                    current[slot] = to;
                    changes.push_back((slot, to));
                }
                None => complete = false,
            }
        }
        (changes, complete)
    }

    /// `MOVER-4`
    fn suits(&self, current: &[DriveId], slot: usize, target: DriveId) -> bool {
        let node = |drive: DriveId| self.homes.get(&drive).copied();
        let others: Vec<DriveId> =
            current.iter().enumerate().filter(|(at, _)| *at != slot).map(|(_, drive)| *drive).collect();
        let crowded = self.topology.serving().count() > 1 && others.iter().any(|other| node(*other) == node(target));
        !others.contains(&target) && current[slot] != target && !crowded
    }
}

//! The next table from the old one: keep, fill, balance.
//!
//! Keeping comes first and by position, because that is what moving costs. A hole goes to the drive that lacks the most
//! shards; drives that lack equally many draw for it, so that every drive shares groups with many others, which is what
//! makes rebuilding one fast. Filling cannot look ahead, so balancing (`balance`) corrects what filling got wrong, and
//! gives drives that came their part.

use super::balance::balance;
use super::rendezvous::group_draw;
use super::spread::Cluster;
use super::table::{GROUPS_MAX, GROUPS_MIN, PlacementGroup, Table};
use super::target::{SHARD, targets};
use super::{DriveSpec, Infeasible};
use crate::stripe::Profile;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::ops::Range;

/// Shards that the smallest node should have at least, so that one shard more or less is a percent of its load.
const SHARDS_PER_NODE: u128 = 100;

/// The same for the smallest drive. Less, since nodes with many drives would otherwise make the table large.
const SHARDS_PER_DRIVE: u128 = 32;

/// The table for these drives that moves little from `old`. It has about 100 shards for the smallest node, and never
/// fewer groups than `old`: fewer would have to merge groups that lie on different drives, and so move about half of
/// everything in order to save some memory.
///
/// Costs groups × positions × drives when all are holes (half a second for 1,000 drives and 8,192 groups), and hardly
/// more than reading the old table when a node comes or goes.
pub fn solve(old: Option<&Table>, drives: &[DriveSpec], profile: Profile) -> Result<Table, Infeasible> {
    let cluster = Cluster::of(drives.iter().collect(), profile)?;
    let groups = groups_for(&cluster, profile).max(old.map_or(0, Table::groups));
    let mut draft = Draft::keep(&cluster, old, groups, profile);
    draft.fill();
    balance(&mut draft);
    let drive = |slot: Option<usize>| cluster.places()[slot.expect("every hole was filled")].drive;
    let table = Table::new(profile, draft.slots.into_iter().map(drive).collect());
    Ok(table.expect("PLACE-1: the groups are a power of two, and each has distinct drives"))
}

/// How many groups give the smallest node and the smallest drive enough shards.
fn groups_for(cluster: &Cluster, profile: Profile) -> u32 {
    let mut nodes = vec![0u128; cluster.nodes()];
    let mut smallest_drive = u128::MAX;
    for place in cluster.places() {
        nodes[place.node] += u128::from(place.weight);
        smallest_drive = smallest_drive.min(u128::from(place.weight));
    }
    let whole: u128 = nodes.iter().sum();
    let smallest_node = nodes.into_iter().fold(u128::MAX, u128::min);
    let shards = (SHARDS_PER_NODE * whole / smallest_node).max(SHARDS_PER_DRIVE * whole / smallest_drive);
    let groups = u32::try_from(shards / profile.total() as u128).unwrap_or(GROUPS_MAX);
    groups.clamp(GROUPS_MIN, GROUPS_MAX).next_power_of_two()
}

/// A table in the making, with drives by their index in the cluster. A slot is one position of one group.
pub(super) struct Draft<'a> {
    pub(super) cluster: &'a Cluster,
    /// Positions of a group.
    total: usize,
    /// The drive of each slot, group by group; `None` is a hole.
    pub(super) slots: Vec<Option<usize>>,
    /// The drive that the old table has there, if it can be used.
    before: Vec<Option<usize>>,
    /// For each drive the shards that it holds beyond its target, in units of [`SHARD`].
    pub(super) excess: Vec<i64>,
}

impl<'a> Draft<'a> {
    /// What of the old table is legal, in its position. A table for more or fewer positions gives those that both have.
    fn keep(cluster: &'a Cluster, old: Option<&Table>, groups: u32, profile: Profile) -> Draft<'a> {
        let total = profile.total();
        let mut before = Vec::new();
        for group in (0..groups).map(PlacementGroup) {
            let drives = old.map_or(&[][..], |old| old.ancestor(group)).iter().map(|drive| cluster.index_of(*drive));
            before.extend(drives.chain(core::iter::repeat(None)).take(total));
        }
        let mut excess: Vec<i64> = targets(cluster, groups as usize, total).into_iter().map(|target| -target).collect();
        for drive in before.iter().flatten() {
            excess[*drive] += SHARD;
        }
        let mut draft = Draft { cluster, total, slots: vec![None; before.len()], before, excess };
        for first in (0..draft.slots.len()).step_by(total) {
            draft.keep_group(first..first + total);
        }
        draft
    }

    /// Keeps what is legal of a group. Where the spread has become tighter, the drives with the most to give away go.
    fn keep_group(&mut self, slots: Range<usize>) {
        // PLACE-3
        let mut old: Vec<(usize, usize)> = slots.filter_map(|slot| Some((slot, self.before[slot]?))).collect();
        old.sort_by_key(|(_, drive)| self.excess[*drive]);
        for (slot, drive) in old {
            if self.admits(slot, drive) {
                self.slots[slot] = Some(drive);
            } else {
                self.excess[drive] -= SHARD;
            }
        }
    }

    /// Fills the holes, one after another.
    fn fill(&mut self) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_none() {
                let drive = self.neediest(slot).expect("PLACE-1: a legal choice can be completed");
                self.put(slot, drive);
            }
        }
    }

    /// The drive that lacks the most whole shards of those that may have the slot. Of several, one in an emptier node,
    /// so that groups stay legal when more nodes come and the spread becomes tighter; of several such, the best draw.
    fn neediest(&self, slot: usize) -> Option<usize> {
        let (group, position) = self.group_of(slot);
        let mut best = None;
        for (drive, place) in self.cluster.places().iter().enumerate() {
            let lacks = -self.excess[drive].div_euclid(SHARD);
            // Few drives lack as much as the best so far, so asking this first spares most of the work.
            if best.is_some_and(|((most, _, _), _)| lacks < most) {
                continue;
            }
            let Some(company) = self.cluster.company(group, position, drive) else { continue };
            let rank = (lacks, Reverse(company), group_draw(slot / self.total, place.drive));
            if best.is_none_or(|(best_rank, _)| rank > best_rank) {
                best = Some((rank, drive));
            }
        }
        best.map(|(_, drive)| drive)
    }

    /// The group of a slot, and its position there.
    fn group_of(&self, slot: usize) -> (&[Option<usize>], usize) {
        let first = slot - slot % self.total;
        (&self.slots[first..first + self.total], slot - first)
    }

    /// Whether a drive may have a slot instead of whoever has it.
    pub(super) fn admits(&self, slot: usize, drive: usize) -> bool {
        let (group, position) = self.group_of(slot);
        self.cluster.admits(group, position, drive)
    }

    /// Whether shards of the slot have to be carried in any case, so that another drive for it costs nothing more.
    pub(super) fn is_moving(&self, slot: usize) -> bool {
        self.slots[slot] != self.before[slot]
    }

    /// Gives a slot to a drive.
    pub(super) fn put(&mut self, slot: usize, drive: usize) {
        if let Some(leaves) = self.slots[slot].replace(drive) {
            self.excess[leaves] -= SHARD;
        }
        self.excess[drive] += SHARD;
    }
}

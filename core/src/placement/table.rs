//! The table itself: which group a version falls into, which drives a group has, its bytes, and how two tables differ.
//!
//! The number of groups is a power of two, and a version's group is the last bits of a hash. So a table with twice the
//! groups splits each in two, and both halves start as copies: the split alone moves nothing.
//!
//! The bytes: `docs/formats/placement.md`.

use super::rendezvous;
use crate::stripe::Profile;
use crate::types::{DriveId, VersionId};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// The version that this build writes, and the only one that it reads.
const TABLE_VERSION: u8 = 1;

/// Bytes before the drives: the version, `k`, `m` and the logarithm of the number of groups.
const HEADER_SIZE: usize = 4;

/// Fewest groups of a table, so that a small cluster has some shards to balance with.
pub const GROUPS_MIN: u32 = 1 << 4;

/// Most groups of a table. With the widest profile it takes 2 MiB then, and a table travels in one command, which may
/// have 4.
pub const GROUPS_MAX: u32 = 1 << 14;

/// A placement group of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlacementGroup(pub u32);

impl fmt::Display for PlacementGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The drives of all placement groups, made for one profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    profile: Profile,
    /// Group by group, in position order.
    drives: Vec<DriveId>,
}

impl Table {
    /// The table of these drives, or `None` when they make none: a number of groups that is no power of two within the
    /// bounds, or a drive twice in a group.
    pub(super) fn new(profile: Profile, drives: Vec<DriveId>) -> Option<Table> {
        profile.check().ok()?;
        let groups = drives.chunks_exact(profile.total());
        let count = u32::try_from(groups.len()).ok()?;
        let is_count = count.is_power_of_two() && (GROUPS_MIN..=GROUPS_MAX).contains(&count);
        let are_distinct = |group: &[DriveId]| (1..group.len()).all(|end| !group[..end].contains(&group[end]));
        let is_whole = is_count && groups.remainder().is_empty() && groups.into_iter().all(are_distinct);
        is_whole.then_some(Table { profile, drives })
    }

    /// The profile that the table was made for.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The number of groups, a power of two.
    #[must_use]
    pub fn groups(&self) -> u32 {
        u32::try_from(self.drives.len() / self.profile.total()).expect("a table has at most GROUPS_MAX groups")
    }

    /// The group of a version. Fixed for ever but for splits: in a table with half of the groups it is the same number
    /// without its first bit.
    #[must_use]
    pub fn group_of(&self, version: VersionId) -> PlacementGroup {
        // PLACE-4
        let last_bits = rendezvous::version_hash(version) & u64::from(self.groups() - 1);
        PlacementGroup(u32::try_from(last_bits).expect("less than the number of groups"))
    }

    /// The drives of a group in position order.
    ///
    /// # Panics
    /// When the table has no such group.
    #[must_use]
    pub fn drives(&self, group: PlacementGroup) -> &[DriveId] {
        let first = group.0 as usize * self.profile.total();
        &self.drives[first..first + self.profile.total()]
    }

    /// The drives of the group that `group` of a larger table was split from; its own in a table that is not smaller.
    pub(super) fn ancestor(&self, group: PlacementGroup) -> &[DriveId] {
        // PLACE-4
        self.drives(PlacementGroup(group.0 % self.groups()))
    }

    /// The table as a log entry and a row carry it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let log = u8::try_from(self.groups().trailing_zeros()).expect("the logarithm of a u32 is at most 31");
        let mut bytes = vec![TABLE_VERSION, self.profile.data, self.profile.parity, log];
        for drive in &self.drives {
            let [a, b, c, d, ..] = u64::from(drive.0).to_le_bytes();
            bytes.extend_from_slice(&[a, b, c, d]);
        }
        bytes
    }

    /// The table that [`Table::encode`] wrote; `None` for any other bytes. Allocates no more than `bytes` takes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Table> {
        // PLACE-5
        let (&[version, data, parity, log], drives) = bytes.split_first_chunk::<HEADER_SIZE>()?;
        let (drives, rest) = drives.as_chunks::<4>();
        let profile = Profile { data, parity };
        let count = 1usize.checked_shl(u32::from(log))?.checked_mul(profile.total())?;
        if version != TABLE_VERSION || !rest.is_empty() || drives.len() != count {
            return None;
        }
        let drive = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes)).try_into().ok().map(DriveId);
        Table::new(profile, drives.iter().map(drive).collect::<Option<Vec<DriveId>>>()?)
    }
}

/// One position that two tables give to different drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The group, in the numbers of the table that has more of them.
    pub group: PlacementGroup,
    /// The position.
    pub position: u8,
    /// Who has it in the old table. `None` when stripes had no such position.
    pub from: Option<DriveId>,
    /// Who has it in the new table.
    pub to: DriveId,
}

/// What changes between two tables, by group and position. Positions that only the old table has are left out: nothing
/// is carried for them.
pub fn moves(old: &Table, new: &Table) -> impl Iterator<Item = Move> {
    let groups = (0..old.groups().max(new.groups())).map(PlacementGroup);
    groups.flat_map(move |group| {
        let before = old.ancestor(group).iter().copied().map(Some).chain(core::iter::repeat(None));
        let both = (0..).zip(before.zip(new.ancestor(group).iter().copied()));
        both.filter(|(_, (from, to))| *from != Some(*to)).map(move |(position, (from, to))| Move {
            group,
            position,
            from,
            to,
        })
    })
}

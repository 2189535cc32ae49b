//! What the drive holds, in memory: where each shard lies, which versions are undecided, and where stale bytes remain.

use super::format::Position;
use super::{ShardKey, Undecided};
use crate::types::{VersionId, WallTime};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// Where a shard's record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// Where its header stands.
    pub(super) at: Position,
    /// Bytes of the framed record that follows the header.
    pub(super) length: u32,
    /// Bytes of the extent that it takes, with header and padding.
    pub(super) footprint: u32,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    shards: BTreeMap<ShardKey, Location>,
    /// Versions with shards here that are not known to be decided; every other version with shards is committed.
    prepared: BTreeMap<VersionId, WallTime>,
    /// Extents that hold bytes of a shard of the version which are not its current location: a copy that compaction
    /// left behind, a shard that was put twice, a batch that failed. A tombstone must name them too.
    stale: BTreeMap<VersionId, BTreeSet<u64>>,
}

impl Index {
    pub(super) fn get(&self, key: ShardKey) -> Option<Location> {
        self.shards.get(&key).copied()
    }

    /// A planted bug's answer: a shard of that place, of whatever version.
    #[cfg(debug_assertions)]
    pub(super) fn get_any(&self, wanted: ShardKey) -> Option<Location> {
        let is_alike = |key: &ShardKey| (key.stripe, key.position) == (wanted.stripe, wanted.position);
        self.shards.iter().find(|(key, _)| is_alike(key)).map(|(_, location)| *location)
    }

    pub(super) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn shards_of(&self, version: VersionId) -> impl Iterator<Item = (ShardKey, Location)> {
        self.shards.range(keys_of(version)).map(|(key, location)| (*key, *location))
    }

    pub(super) fn holds(&self, version: VersionId) -> bool {
        self.shards_of(version).next().is_some()
    }

    pub(super) fn is_committed(&self, version: VersionId) -> bool {
        !self.prepared.contains_key(&version) && self.holds(version)
    }

    pub(super) fn undecided(&self) -> impl Iterator<Item = Undecided> {
        self.prepared.iter().map(|(version, expires)| Undecided { version: *version, expires: *expires })
    }

    /// Sets where a shard lies and returns where it lay before. A version that is committed stays so.
    pub(super) fn insert(
        &mut self,
        key: ShardKey,
        location: Location,
        expires: WallTime,
        committed: bool,
    ) -> Option<Location> {
        if committed || self.is_committed(key.version) {
            self.prepared.remove(&key.version);
        } else {
            let latest = self.prepared.entry(key.version).or_insert(expires);
            *latest = expires.max(*latest);
        }
        let before = self.shards.insert(key, location);
        if let Some(before) = before {
            self.add_stale(key.version, before.at.extent);
        }
        before
    }

    /// Marks the version as decided; false when it was so already, or nothing of it is here.
    pub(super) fn commit(&mut self, version: VersionId) -> bool {
        self.prepared.remove(&version).is_some()
    }

    /// Removes the version's shards whose record stands before `bound`, and returns where they lay.
    pub(super) fn remove_before(&mut self, version: VersionId, bound: Position) -> Vec<Location> {
        let keys: Vec<_> = self.shards_of(version).filter(|(_, location)| location.at < bound).collect();
        for (key, _) in &keys {
            self.shards.remove(key);
        }
        if !self.holds(version) {
            self.prepared.remove(&version);
            self.stale.remove(&version);
        }
        keys.into_iter().map(|(_, location)| location).collect()
    }

    pub(super) fn add_stale(&mut self, version: VersionId, extent: u64) {
        self.stale.entry(version).or_default().insert(extent);
    }

    /// The extents that hold bytes of the version, current or stale.
    pub(super) fn extents_of(&self, version: VersionId) -> BTreeSet<u64> {
        let stale = self.stale.get(&version).into_iter().flatten().copied();
        self.shards_of(version).map(|(_, location)| location.at.extent).chain(stale).collect()
    }

    /// The extent is gone and nothing stale remains in it.
    pub(super) fn forget_extent(&mut self, extent: u64) {
        self.stale.retain(|_, extents| {
            extents.remove(&extent);
            !extents.is_empty()
        });
    }
}

fn keys_of(version: VersionId) -> RangeInclusive<ShardKey> {
    let first = ShardKey { version, stripe: 0, position: 0 };
    first..=ShardKey { version, stripe: u32::MAX, position: u8::MAX }
}

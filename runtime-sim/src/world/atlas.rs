//! The fault atlas: which damage may be done where, so that the failure model's promises still hold (`SIM-3`).
//!
//! The intuition: a fault that breaks a promise which nobody made proves nothing. Before the world does harm it asks
//! here, and the atlas remembers what it allowed. `docs/failure-model.md` states the same in prose.
//!
//! - `ATLAS-1` Shards of a version are damaged on at most `m` drives when the profile has parity; on one drive
//!   without parity damage may fall anywhere, and the promise is detection: never a wrong byte.
//! - `ATLAS-2` Logs are damaged only on a minority of the voters, and always while the node is down, so that its next
//!   start meets the damage. A node so damaged may refuse to start and never vote again.
//! - `ATLAS-3` Syncs of the log and of the state store never lie: a voter that forgets what it acknowledged is outside
//!   the model of Raft (Raft §5.1 assumes stable storage). Syncs of extents may lie on at most `m` drives.

use crate::chance::Chance;
use crate::world::disk::{DamageKind, Name};
use anvil_core::disk::File;
use anvil_core::types::DriveId;
use std::collections::BTreeSet;

/// What the atlas knows of the cluster, and what it has allowed.
#[derive(Clone, Debug)]
pub struct Atlas {
    nodes: Vec<u64>,
    /// Drives of each node, and how many of them may lose shards.
    drives: u16,
    parity: u16,
    /// Drives whose shards may be damaged, the same on every node.
    weak_drives: BTreeSet<DriveId>,
    /// Nodes whose log may be damaged: a minority.
    weak_logs: BTreeSet<u64>,
    damaged_logs: BTreeSet<u64>,
    damaged_shards: bool,
}

/// Where to do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Extents of one drive of a node.
    Shards {
        /// The node.
        node: u64,
        /// The drive.
        drive: DriveId,
        /// How.
        kind: DamageKind,
    },
    /// The log of a node that is down.
    Log {
        /// The node.
        node: u64,
        /// How.
        kind: DamageKind,
    },
}

impl Target {
    /// Whether a file is meant.
    pub fn suits(&self, name: Name) -> bool {
        match (self, name) {
            (Target::Shards { drive, .. }, Name::Core(File::Extent(of, _))) => *drive == of,
            (Target::Log { .. }, Name::Core(File::LogSegment(_))) => true,
            (
                Target::Shards { .. } | Target::Log { .. },
                Name::Core(File::Extent(..) | File::LogSegment(_)) | Name::State,
            ) => false,
        }
    }
}

impl Atlas {
    /// An atlas for these nodes, each with so many drives, of which `parity` may be lost.
    pub fn new(seed: u64, nodes: &[u64], drives: u16, parity: u16) -> Atlas {
        assert!(parity < drives, "a profile has data");
        let mut chance = Chance::named(seed, "atlas");
        let weak_drives = if parity == 0 {
            (0..drives).map(DriveId).collect()
        } else {
            let mut all: Vec<DriveId> = (0..drives).map(DriveId).collect();
            chance.shuffle(&mut all);
            all.into_iter().take(usize::from(parity)).collect()
        };
        let mut shuffled = nodes.to_vec();
        chance.shuffle(&mut shuffled);
        let minority = (nodes.len() - 1) / 2;
        let weak_logs = shuffled.into_iter().take(minority).collect();
        Atlas {
            nodes: nodes.to_vec(),
            drives,
            parity,
            weak_drives,
            weak_logs,
            damaged_logs: BTreeSet::new(),
            damaged_shards: false,
        }
    }

    /// Whether the loss of every weak drive still leaves each version readable (`ATLAS-1`).
    pub fn shards_are_redundant(&self) -> bool {
        self.parity > 0
    }

    /// Whether a drive's extents may be damaged, and its syncs lie (`ATLAS-1`, `ATLAS-3`).
    pub fn is_weak(&self, drive: DriveId) -> bool {
        self.parity > 0 && self.weak_drives.contains(&drive)
    }

    /// Draws damage to shards, and remembers it.
    pub fn damage_shards(&mut self, chance: &mut Chance) -> Target {
        let node = *chance.pick(&self.nodes);
        let weak: Vec<DriveId> = self.weak_drives.iter().copied().collect();
        let drive = *chance.pick(&weak);
        assert!(drive.0 < self.drives, "the atlas names drives that exist");
        self.damaged_shards = true;
        let kinds = [DamageKind::Rot, DamageKind::UnreadableSector, DamageKind::ForeignSector];
        Target::Shards { node, drive, kind: *chance.pick(&kinds) }
    }

    /// Draws damage to the log of `node`, which is down, if that node's log may be damaged (`ATLAS-2`).
    pub fn damage_log(&mut self, node: u64, chance: &mut Chance) -> Option<Target> {
        if !self.weak_logs.contains(&node) {
            return None;
        }
        self.damaged_logs.insert(node);
        let kind = *chance.pick(&[DamageKind::Rot, DamageKind::UnreadableSector]);
        Some(Target::Log { node, kind })
    }

    /// Whether this node may refuse to start, or must not be waited for.
    pub fn may_refuse(&self, node: u64) -> bool {
        self.damaged_logs.contains(&node)
    }

    /// Whether a read may end in "too many shards are damaged" rather than in bytes: only when shards have no parity
    /// and some were harmed.
    pub fn may_lose_bytes(&self) -> bool {
        self.damaged_shards && self.parity == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Atlas;
    use crate::chance::Chance;
    use anvil_core::types::DriveId;

    #[test]
    fn damaged_logs_are_always_a_minority() {
        for count in 1..=5 {
            for seed in 0..50 {
                let nodes: Vec<u64> = (1..=count).collect();
                let mut atlas = Atlas::new(seed, &nodes, 1, 0);
                let mut chance = Chance::named(seed, "test");
                let hit = nodes.iter().filter(|node| atlas.damage_log(**node, &mut chance).is_some()).count();
                assert!(2 * hit < nodes.len());
                assert_eq!(nodes.iter().filter(|node| atlas.may_refuse(**node)).count(), hit);
            }
        }
    }

    #[test]
    fn at_most_the_parity_of_drives_is_weak() {
        for seed in 0..50 {
            let atlas = Atlas::new(seed, &[1], 6, 2);
            assert_eq!((0..6).filter(|drive| atlas.is_weak(DriveId(*drive))).count(), 2);
            assert!(!Atlas::new(seed, &[1], 1, 0).is_weak(DriveId(0)));
        }
    }
}

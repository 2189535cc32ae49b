//! The fault atlas: which damage may be done where, so that the failure model's promises still hold (`SIM-3`).
//!
//! The intuition: a fault that breaks a promise which nobody made proves nothing. Before the world does harm it asks
//! here, and the atlas remembers what it allowed. `docs/failure-model.md` states the same in prose.
//!
//! - `ATLAS-1` Shards of a version are damaged in at most `m` failure domains when the profile has parity: drives of a lone
//!   node, or else all drives of so many nodes. Without parity damage may fall anywhere, and the promise is detection: never a wrong byte.
//! - `ATLAS-2` Logs, and the copies of terms and votes beside them, are damaged only on a minority of the voters, and always
//!   while the node is down, so that its next start meets the damage. A node so damaged may refuse to start and never vote
//!   again, for both may be damaged, or the copy may have been torn as it was written.
//! - `ATLAS-3` Syncs of the log and of the state store never lie: a voter that forgets what it acknowledged is outside
//!   the model of Raft (Raft §5.1 assumes stable storage). Syncs of extents may lie on at most `m` drives.

use crate::chance::Chance;
use crate::world::disk::{DamageKind, Name};
use anvil_core::disk::File;
use std::collections::BTreeSet;

/// What the atlas knows of the cluster, and what it has allowed.
#[derive(Clone, Debug)]
pub struct Atlas {
    /// How many failure domains may lose shards.
    parity: u32,
    /// Drives whose shards may be damaged: a node, and which of its drives.
    weak_drives: BTreeSet<(u64, u32)>,
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
        /// Which of its drives.
        local: u32,
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
    /// The copy of terms and votes of a node that is down.
    HardStates {
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
            // The drive has its own extents only.
            (Target::Shards { .. }, Name::Core(File::Extent(..))) => true,
            (Target::Log { .. }, Name::Core(File::LogSegment(_)))
            | (Target::HardStates { .. }, Name::Core(File::HardStates)) => true,
            (
                Target::Shards { .. } | Target::Log { .. } | Target::HardStates { .. },
                Name::Core(File::Extent(..) | File::LogSegment(_) | File::HardStates) | Name::State,
            ) => false,
        }
    }
}

impl Atlas {
    /// An atlas for these nodes, each with so many drives, of which `parity` failure domains may be lost.
    pub fn new(seed: u64, nodes: &[u64], drives: u32, parity: u32) -> Atlas {
        let mut chance = Chance::named(seed, "atlas");
        let all: Vec<(u64, u32)> = nodes.iter().flat_map(|node| (0..drives).map(|local| (*node, local))).collect();
        let weak_drives = if parity == 0 {
            all.into_iter().collect()
        } else if let [node] = nodes {
            assert!(parity < drives, "a profile has data");
            let mut locals: Vec<u32> = (0..drives).collect();
            chance.shuffle(&mut locals);
            locals.into_iter().take(parity as usize).map(|local| (*node, local)).collect()
        } else {
            let mut weak = nodes.to_vec();
            chance.shuffle(&mut weak);
            weak.truncate(parity as usize);
            all.into_iter().filter(|(node, _)| weak.contains(node)).collect()
        };
        let mut shuffled = nodes.to_vec();
        chance.shuffle(&mut shuffled);
        let minority = (nodes.len() - 1) / 2;
        let weak_logs = shuffled.into_iter().take(minority).collect();
        Atlas { parity, weak_drives, weak_logs, damaged_logs: BTreeSet::new(), damaged_shards: false }
    }

    /// Whether the loss of every weak drive still leaves each version readable (`ATLAS-1`).
    pub fn shards_are_redundant(&self) -> bool {
        self.parity > 0
    }

    /// Whether a drive's extents may be damaged, and its syncs lie (`ATLAS-1`, `ATLAS-3`).
    pub fn is_weak(&self, node: u64, local: u32) -> bool {
        self.parity > 0 && self.weak_drives.contains(&(node, local))
    }

    /// Draws damage to shards, and remembers it.
    pub fn damage_shards(&mut self, chance: &mut Chance) -> Target {
        let weak: Vec<(u64, u32)> = self.weak_drives.iter().copied().collect();
        let (node, local) = *chance.pick(&weak);
        self.damaged_shards = true;
        let kinds = [DamageKind::Rot, DamageKind::UnreadableSector, DamageKind::ForeignSector];
        Target::Shards { node, local, kind: *chance.pick(&kinds) }
    }

    /// Draws damage to the log of `node`, which is down, if that node's log may be damaged (`ATLAS-2`).
    pub fn damage_log(&mut self, node: u64, chance: &mut Chance) -> Option<Target> {
        if !self.weak_logs.contains(&node) {
            return None;
        }
        self.damaged_logs.insert(node);
        let kind = *chance.pick(&[DamageKind::Rot, DamageKind::UnreadableSector]);
        let spares_log = chance.below(4) == 0;
        Some(if spares_log { Target::HardStates { node, kind } } else { Target::Log { node, kind } })
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
            assert_eq!((0..6).filter(|local| atlas.is_weak(1, *local)).count(), 2);
            assert!(!Atlas::new(seed, &[1], 1, 0).is_weak(1, 0));
            let nodes = Atlas::new(seed, &[1, 2, 3], 2, 1);
            let weak = |node: &u64| nodes.is_weak(*node, 0) && nodes.is_weak(*node, 1);
            assert_eq!([1, 2, 3].iter().filter(|node| weak(node)).count(), 1);
        }
    }
}

//! Which nodes make the cluster and which drives they have, as data that the group *global* has committed.
//!
//! Gossip says who is alive; only this says who belongs. A drive has one number in the whole cluster and keeps it for life,
//! so a row that names a drive stays true while nodes come and go. Numbers are never used again: data that is gone with its
//! drive must not be looked for on another one.
//!
//! - `TOPOLOGY-1`: each drive belongs to one node, and its number is below [`Topology::next_drive`].
//!
//! Not here: the rules by which it changes (`state::cluster`), and which drives hold what (`placement`, the rows of bodies).

use crate::types::{DriveId, NodeId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Nodes of a cluster at most: what the group *global* keeps of them is one row.
pub const NODES_MAX: usize = 4096;

/// Drives of a node at most.
pub const DRIVES_MAX: usize = 256;

/// Bytes of a node's name, zone or address at most.
pub const TEXT_SIZE_MAX: usize = 255;

/// The nodes of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Grows by one with each change.
    pub epoch: u64,
    /// The number of the next drive.
    pub next_drive: u32,
    /// Every node that belongs.
    pub nodes: BTreeMap<NodeId, NodeInfo>,
    /// Drives that are about to leave: they get nothing new, and what they hold moves away.
    pub leaving: BTreeSet<DriveId>,
}

/// A node as it was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// What people call it. Unique.
    pub name: String,
    /// The failure domain above the node. Nodes without a zone share the one with the empty name.
    pub zone: String,
    /// Host and UDP port at which its peers reach it.
    pub address: String,
    /// SHA-256 of its public key: a repeated request to join is known by it.
    pub key: [u8; 32],
    /// Its drives.
    pub drives: Vec<DriveInfo>,
    /// It is about to leave: it gets nothing new, and what it holds moves away.
    pub draining: bool,
}

/// A drive of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveInfo {
    /// Its number.
    pub drive: DriveId,
    /// Its capacity in GiB, at least 1: drives get shards in this proportion.
    pub weight: u64,
}

impl Topology {
    /// The node that has a drive.
    #[must_use]
    pub fn home_of(&self, drive: DriveId) -> Option<NodeId> {
        let has = |info: &NodeInfo| info.drives.iter().any(|known| known.drive == drive);
        self.nodes.iter().find(|(_, info)| has(info)).map(|(node, _)| *node)
    }

    /// Whether the drive's number was given away, as far as this topology goes. One that nobody has committed knows all.
    #[must_use]
    pub fn is_numbered(&self, drive: DriveId) -> bool {
        self.epoch == 0 || drive.0 < self.next_drive
    }

    /// The node of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().find(|(_, info)| info.name == name).map(|(node, _)| *node)
    }

    /// Nodes that may get something new.
    pub fn serving(&self) -> impl Iterator<Item = (NodeId, &NodeInfo)> {
        self.nodes.iter().filter(|(_, info)| !info.draining).map(|(node, info)| (*node, info))
    }

    /// Drives of a node that may get something new, if the node may.
    pub fn serving_drives<'a>(&'a self, info: &'a NodeInfo) -> impl Iterator<Item = &'a DriveInfo> {
        info.drives.iter().filter(|known| !self.leaving.contains(&known.drive))
    }
}

//! What may be done to the cluster, and why it is refused: commands of the group *global*.

use super::TokenHash;
use crate::stripe::Profile;
use crate::topology::{DriveInfo, NodeInfo};
use crate::types::{DriveId, NodeId, WallTime};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Changes to the cluster's topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterOperation {
    /// The first nodes of the cluster. Without effect when it has any. Answer: `Done`.
    Found { nodes: Vec<(NodeId, NodeInfo)> },
    /// A one-time token. Answer: `Done`.
    AddToken { hash: TokenHash, expires: WallTime },
    /// Admits a node; the numbers of its drives in `info` do not count. Answer: `Joined`; `TokenUnknown`, `TokenUsed`,
    /// `TokenExpired`, `NameTaken`. Repeating it (same token, node and key) answers as the first time.
    Join { token: TokenHash, node: NodeId, info: NodeInfo },
    /// Where its peers reach a node. Answer: `Done`, `NoSuchNode`.
    SetAddress { node: NodeId, address: String },
    /// Whether a node is about to leave. Answer: `Done`; `NoSuchNode`, `LastNode`.
    SetDraining { node: NodeId, draining: bool },
    /// A node leaves, and takes its drives along. Answer: `Done`; `NoSuchNode`, `LastNode`.
    Remove { node: NodeId },
    /// A placement that was solved from the one of epoch `base` (0 for none) for a topology. Answer: `Done`, `Stale`.
    SetPlacement { base: u64, topology: u64, profile: Profile, table: Bytes },
    /// A member has more drives, numbered by itself from the topology's next number on. Answer: `Done`, also when it is known to
    /// have them; `NoSuchNode`; `Stale` when a number has been given away.
    AddDrives { node: NodeId, drives: Vec<DriveInfo> },
    /// Whether a drive is about to leave its node. Answer: `Done`; `NoSuchDrive`, `FirstDrive`, `LastDrive`.
    SetLeaving { drive: DriveId, leaving: bool },
    /// A drive leaves, with `force` also one that nobody said was about to. Answer: `Done`; `NoSuchDrive`, `FirstDrive`, `LastDrive`,
    /// `NotLeaving`.
    RemoveDrive { drive: DriveId, force: bool },
}

/// Why the cluster was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterRefusal {
    /// No such token was made, or it expired long ago.
    TokenUnknown,
    /// The token has admitted another node.
    TokenUsed,
    /// The token has expired.
    TokenExpired,
    /// Another node has the name, or the id.
    NameTaken,
    /// No such node.
    NoSuchNode,
    /// The last node that may get something new cannot leave.
    LastNode,
    /// What the change was made from is not what is there.
    Stale,
    /// Too many nodes, or too many tokens that wait.
    Full,
    /// The first nodes are not known yet; try again in a moment.
    NotFounded,
    /// No node has such a drive.
    NoSuchDrive,
    /// The first drive of a node has its log and keys, and leaves with the node only.
    FirstDrive,
    /// The last drive that may get something new cannot leave.
    LastDrive,
    /// The drive still gets new shards.
    NotLeaving,
}

impl core::fmt::Display for ClusterRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            ClusterRefusal::TokenUnknown => "the cluster knows no such token; ask it for a new one",
            ClusterRefusal::TokenUsed => "the token has admitted another node; each node needs a token of its own",
            ClusterRefusal::TokenExpired => "the token has expired; ask the cluster for a new one",
            ClusterRefusal::NameTaken => {
                "the cluster has a node of this name; choose another --id, or remove the other node first"
            }
            ClusterRefusal::NoSuchNode => "the cluster has no such node",
            ClusterRefusal::NoSuchDrive => "the cluster has no such drive",
            ClusterRefusal::FirstDrive => {
                "a node's first drive has its log and keys; it leaves with the node, so drain and remove the node instead"
            }
            ClusterRefusal::NotLeaving => "the drive still gets new shards; drain it first, or force its removal if it is dead",
            ClusterRefusal::LastDrive => "this is the last drive that can hold anything; it cannot leave",
            ClusterRefusal::LastNode => "this is the last node that can hold anything; it cannot leave",
            ClusterRefusal::Stale => "the cluster has changed meanwhile",
            ClusterRefusal::NotFounded => "the cluster is just being founded; try again in a moment",
            ClusterRefusal::Full => "the cluster has as many nodes, or as many waiting tokens, as it may have",
        })
    }
}

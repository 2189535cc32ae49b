//! What nodes say to each other.
//!
//! Any message may be lost, and none is answered by the transport: whoever asks keeps the time. An answer names its question
//! by [`ShardTicket`] or [`PinAsk`], whose `life` is 64 bits of chance of the asking process, so that nothing that was said to an
//! earlier life of a node confirms anything to this one (`REMOTE-1`).

use crate::disk::DiskError;
use crate::raft;
use crate::shards::ShardKey;
use crate::swim;
use crate::topology::Topology;
use crate::types::{DriveId, GroupId, NodeId, VersionId, WallTime};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// A message between two nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Between replicas of a group.
    Raft { group: GroupId, message: raft::Message },
    /// An order to a drive of the receiver.
    Shard(ShardOrder),
    /// How an order ended.
    ShardAnswer { ticket: ShardTicket, outcome: ShardOutcome },
    /// Who is alive, by gossip.
    Swim(swim::Message),
    /// Who belongs, as far as the sender has heard. For one that was away and would take its new leader for a stranger.
    Members(Members),
    /// Which of these versions do clients of the receiver have open? Answered when every open that had begun is known.
    Pins { ask: PinAsk, versions: Vec<VersionId> },
    /// These.
    Pinned { ask: PinAsk, versions: Vec<VersionId> },
}

/// The nodes of the cluster, as one node knows them and another needs them to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The epoch of the topology that has them.
    pub epoch: u64,
    /// Each node with its name and its address.
    pub nodes: Vec<(NodeId, String, String)>,
}

impl Members {
    pub(super) fn of(topology: &Topology) -> Members {
        let nodes = topology.nodes.iter().map(|(node, info)| (*node, info.name.clone(), info.address.clone()));
        Members { epoch: topology.epoch, nodes: nodes.collect() }
    }
}

/// Names an order that one node gives to another, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardTicket {
    /// The life of the ordering process.
    pub life: u64,
    /// Counts its orders.
    pub number: u64,
}

/// Names a question for pins, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinAsk {
    /// The life of the asking process.
    pub life: u64,
    /// Counts its questions.
    pub number: u64,
}

/// An order to a drive of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardOrder {
    /// Store a shard, prepared until `expires`. Answered when it is durable, or not.
    Put { ticket: ShardTicket, drive: DriveId, key: ShardKey, expires: WallTime, record: Bytes },
    /// Send a shard.
    Get { ticket: ShardTicket, drive: DriveId, key: ShardKey },
    /// Remove all shards of a version. Answered when that is durable.
    Delete { ticket: ShardTicket, drive: DriveId, version: VersionId },
    /// The version is decided: its shards stay. Not answered; a drive that does not hear of it asks the metadata.
    Commit { drive: DriveId, version: VersionId },
}

/// How an order to a drive ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardOutcome {
    /// Stored or deleted, durably.
    Done,
    /// The record, its checksums not yet verified; `None` when the drive has none that it can read.
    Loaded(Option<Bytes>),
    /// The drive refused.
    Refused(DiskError),
}

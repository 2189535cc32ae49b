//! What a node needs to start: its settings, and what recovery found on its drives.

use crate::log::{self, HardStates, Log, RecoveredGroup};
use crate::planted::Planted;
use crate::raft;
use crate::shards::{self, Store};
use crate::state::{Applied, PlacementRow};
use crate::stripe::RootKey;
use crate::swim;
use crate::topology::{DriveInfo, NodeInfo, Topology};
use crate::types::{DriveId, GroupId, LogPosition, Membership, NodeId};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// A node's settings. Fixed while the process lives.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Who votes in each group before any change; see [`raft::Config::voters`]. None on a node that waits to be added.
    pub voters: Vec<NodeId>,
    /// Where its peers reach this node. It is told to the cluster when that knows another address. Empty where nobody asks.
    pub address: String,
    /// The drives that this node has. Those that the cluster does not know yet are added to it.
    pub drives: Vec<DriveInfo>,
    /// Drives of this node that are gone for good, as its operator says. The cluster hears of it.
    pub lost: Vec<DriveId>,
    /// The groups that this node replicates.
    pub groups: Vec<GroupId>,
    /// The nodes that the cluster begins with, and, until *global* has committed them, the nodes that this one knows of.
    pub nodes: Vec<(NodeId, NodeInfo)>,
    /// Wraps data keys.
    pub root_key: RootKey,
    /// 256 bits of entropy: version ids and data keys come from it.
    pub seed: [u8; 32],
    /// See [`raft::Config::election_timeout`].
    pub election_timeout: Duration,
    /// See [`raft::Config::heartbeat_interval`].
    pub heartbeat_interval: Duration,
    /// See [`raft::Config::clock_drift_ppm_max`].
    pub clock_drift_ppm_max: Option<u32>,
    /// See [`raft::Config::append_bytes_max`].
    pub append_bytes_max: usize,
    /// See [`raft::Config::snapshot_chunk_bytes`].
    pub snapshot_chunk_bytes: usize,
    /// See [`raft::Config::tail_entries_max`].
    pub tail_entries_max: u64,
    /// Bytes of commands applied after which the state store is made durable and the log cut.
    pub checkpoint_bytes: usize,
    /// The same when this much time has passed since the first command that is not durable there.
    pub checkpoint_interval: Duration,
    /// How long prepared shards wait for their decision.
    pub prepare_ttl: Duration,
    /// How often the node looks for expired preparations and for bodies to reclaim.
    pub sweep_interval: Duration,
    /// See [`raft::Config::forward_patience`].
    pub forward_patience: Duration,
    /// How long a drive of another node may take to answer.
    pub peer_timeout: Duration,
    /// Bytes of shards that other nodes sent and that may wait for this node's drives, at most.
    pub peer_bytes_max: usize,
    /// How the node watches the others. With `None` it learns of their deaths only when they do not answer.
    pub swim: Option<swim::Config>,
    /// How long a read waits for a shard before it asks for another one in its place.
    pub hedge_after: Duration,
    /// Bodies that are moved or repaired at once.
    pub moves_max: usize,
    /// How long a cluster must have been as it is before bodies of another profile are cut anew, where they need not be at once.
    pub recode_after: Duration,
    /// How the node searches its drives for damage.
    pub scrub: ScrubPace,
    /// How often a leader looks after its group's members. With `None` only operators change them.
    pub steward_interval: Option<Duration>,
    /// A voter that is silent for so long is replaced, if there is another node for it.
    pub voter_patience: Duration,
    /// A node that is silent for so long does not keep others from reclaiming what its clients may have open.
    pub pin_patience: Duration,
    /// How long a day of lifecycle rules is: 24 hours, but for tests. With `None` they are not carried out.
    pub lifecycle_day: Option<Duration>,
    /// Planted bugs, all off in production.
    pub planted: Planted,
}

/// How often, and how fast, a node reads everything on its drives to find damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPace {
    /// From the beginning of one pass to that of the next; `None` for none but those that an operator asks for.
    pub interval: Option<Duration>,
    /// Bytes of shards that are read in a second, at most, on all drives of the node together. At least 1.
    pub bytes_per_second: u64,
}

impl Config {
    /// Whether a log that was damaged can be given up because others have what stood in it. `memberships` is what the state
    /// store has durably applied, as in [`Boot`].
    pub fn can_repair_log(&self, memberships: &BTreeMap<GroupId, Membership>) -> bool {
        self.groups.iter().all(|id| {
            let membership = self.raft(*id).membership_or_first(memberships.get(id).cloned());
            !membership.has_quorum(&|of| of == self.node)
        })
    }

    pub(super) fn raft(&self, group: GroupId) -> raft::Config {
        raft::Config {
            node: self.node,
            group,
            voters: self.voters.clone(),
            election_timeout: self.election_timeout,
            heartbeat_interval: self.heartbeat_interval,
            append_bytes_max: self.append_bytes_max,
            snapshot_chunk_bytes: self.snapshot_chunk_bytes,
            // One that the follower is syncing and one for its next sync. What comes meanwhile leaves together with the
            // next: more in flight would be synced together all the same, and cost a message for each command.
            appends_in_flight_max: 2,
            tail_entries_max: self.tail_entries_max,
            uncommitted_bytes_max: 64 << 20,
            forward_patience: self.forward_patience,
            clock_drift_ppm_max: self.clock_drift_ppm_max,
            planted: self.planted,
        }
    }
}

/// What recovery found.
#[derive(Debug)]
pub struct Boot {
    /// The log, what it holds for each group, and its first orders: the answer of `log::recover`.
    pub log: (Log, BTreeMap<GroupId, RecoveredGroup>, Vec<log::Effect>),
    /// The second copy of what the replicas promised.
    pub hard_states: HardStates,
    /// Each drive's store and its first orders: the answers of `shards::recover`.
    pub stores: BTreeMap<DriveId, (Store, Vec<shards::Effect>)>,
    /// What the state store has durably applied: the answers of `state::applied`.
    pub applied: BTreeMap<GroupId, Applied>,
    /// The membership that the state store has durably applied, of groups where it ever changed: the answers of
    /// `state::membership`.
    pub memberships: BTreeMap<GroupId, Membership>,
    /// The nodes of the cluster and the placement, as the state store has them: the answer of `state::topology`.
    pub topology: (Topology, Option<PlacementRow>),
}

/// Why a node cannot start on what its drives hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootError {
    /// The log was cut further than the state store has applied: the state store lost what it had made durable, or
    /// comes from an older copy. Starting would lose acknowledged writes.
    StateBehindLog { group: GroupId, applied: LogPosition, base: LogPosition },
    /// The state store has applied an entry that the log lacks, where that cannot come from a crash: the log lost what it
    /// had made durable, or comes from an older copy. Starting would lose acknowledged writes.
    LogBehindState { group: GroupId, applied: LogPosition, last: LogPosition },
    /// The log was lost, and there is no other replica to have it from.
    LogLost { group: GroupId },
}

impl core::fmt::Display for BootError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            BootError::StateBehindLog { group, applied, base } => write!(
                f,
                "the state store has applied group {group} up to entry {}, but the log begins after entry {}: the \
                 state store is damaged or older than the log; restore the whole data directory from one moment",
                applied.index, base.index
            ),
            BootError::LogBehindState { group, applied, last } => write!(
                f,
                "the state store has applied entry {} of term {} of group {group}, which is not in the log: the log ends \
                 after entry {} of term {}. The log is missing, or older than the state store; acknowledged writes would \
                 be lost. Restore the whole data directory from one moment",
                applied.index, applied.term, last.index, last.term
            ),
            BootError::LogLost { group } => write!(
                f,
                "the log was damaged and given up, but this node is the only one that votes in group {group}, so nobody \
                 can give it back. Restore the whole data directory from one moment"
            ),
        }
    }
}

impl core::error::Error for BootError {}

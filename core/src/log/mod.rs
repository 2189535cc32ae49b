//! One durable log for all Raft groups of a node.

use crate::disk::{DiskError, DiskOrder, DiskOutcome, OpId};
use crate::planted::Planted;
use crate::types::{Entries, GroupId, HardState, LogPosition, NodeId, PersistId};

/// How the log behaves, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Written into each segment; a segment of another cluster is refused.
    pub cluster: u128,
    /// Written into each segment; a segment of another node is refused.
    pub node: NodeId,
    /// Bytes preallocated for a segment. A multiple of the block size, 4096.
    pub segment_size: u64,
    /// Planted bugs, all off in production.
    pub planted: Planted,
}

/// A fact for the log.
#[derive(Clone, Debug)]
pub enum Event {
    /// Make durable, together and after everything appended before. See `raft::Effect::Persist`.
    Append { group: GroupId, id: PersistId, hard_state: Option<HardState>, entries: Entries },
    /// Entries of the group up to `base` are no longer needed. Needs no answer.
    Cut { group: GroupId, base: LogPosition },
    /// The group's log restarts after `base`; see `raft::Effect::Reset`. Answered by `Persisted`.
    Reset { group: GroupId, id: PersistId, base: LogPosition },
    /// A disk order ended.
    Disk { op: OpId, outcome: DiskOutcome },
}

/// An order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An order to drive 0.
    Disk { op: OpId, order: DiskOrder },
    /// The request of this id, and all before it of the group, are durable.
    Persisted { group: GroupId, id: PersistId },
    /// The disk failed under the log. Fatal: the node must stop, for it does not know what is durable.
    Failed { error: DiskError },
}

/// What recovery found for one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredGroup {
    /// The last durable hard state.
    pub hard_state: HardState,
    /// The last entry that is cut or covered by a snapshot.
    pub base: LogPosition,
    /// Every durable entry after `base`, without gaps.
    pub entries: Entries,
}

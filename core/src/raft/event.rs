//! What a replica is told and what it orders.

use super::message::Message;
use crate::planted::{Planted, planted};
use crate::types::{
    Entries, Entry, GroupId, HardState, LogIndex, LogPosition, Membership, NodeId, PersistId, RequestId, Snapshot, Term,
};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// How a replica behaves. Fixed while it lives.
#[derive(Clone, Debug)]
pub struct Config {
    /// This replica's node.
    pub node: NodeId,
    /// The group, for traces.
    pub group: GroupId,
    /// Who votes before any entry has changed that: the same on each of them, and on nobody else. A node that waits to
    /// be added to the group has none here.
    pub voters: Vec<NodeId>,
    /// A follower that hears nothing campaigns after a random time in `[election_timeout, 2 * election_timeout)`.
    pub election_timeout: Duration,
    /// How often a leader speaks when it has nothing to say. At most a third of the election timeout.
    pub heartbeat_interval: Duration,
    /// Most bytes of payload in one `AppendEntries`.
    pub append_bytes_max: usize,
    /// Bytes of one piece of a snapshot. At least 1.
    pub snapshot_chunk_bytes: usize,
    /// Most appends to one follower, or pieces of a snapshot, that are not answered yet.
    pub appends_in_flight_max: usize,
    /// Entries kept behind the compaction point, so that a follower which is a little behind is spared a snapshot.
    pub tail_entries_max: u64,
    /// Most bytes of payload proposed and not yet committed; more is refused with `Busy`.
    pub uncommitted_bytes_max: usize,
    /// How long a command or a read of a replica that does not lead may wait for the leader to take it. With zero it is
    /// refused at once.
    pub forward_patience: Duration,
    /// The operator's word that the clock of no voter runs faster or slower than true time by more than so many millionths, and
    /// that none stands still: with it a leader answers reads under a lease (`RAFT-22`). Less than 500,000. `None`: nothing
    /// depends on clocks.
    pub clock_drift_ppm_max: Option<u32>,
    /// Planted bugs, all off in production.
    pub planted: Planted,
}

impl Config {
    /// What is in force when the state machine knows `changed`: that, or the membership that the group began with.
    pub(crate) fn membership_or_first(&self, changed: Option<Membership>) -> Membership {
        changed.unwrap_or_else(|| Membership::of(&self.voters))
    }
}

/// What a replica knew when the process started: recovered from the log and from the applied state.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The last durable hard state.
    pub hard_state: HardState,
    /// The log, or the copy beside it, says otherwise: the replica makes it durable anew before it says anything.
    pub unsaved: bool,
    /// The last entry that is no longer in the log (cut, or covered by an installed snapshot).
    pub base: LogPosition,
    /// Every durable entry after `base`, without gaps.
    pub entries: Entries,
    /// What the state machine has applied. At least `base.index`.
    pub applied: LogIndex,
    /// The membership at `applied`, if any entry up to there changed it (`RAFT-13`).
    pub membership: Option<Membership>,
}

impl Restored {
    /// The last entry of the log, or its base.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.base, |entry| entry.position)
    }

    /// Whether the log has exactly this entry, or begins after it.
    #[must_use]
    pub fn has(&self, position: LogPosition) -> bool {
        position == self.base || self.entries.iter().any(|entry| entry.position == position)
    }

    /// Sets `applied` and `membership` to what the state machine says of itself, and mends what a crash leaves between
    /// the installation of a snapshot and the restart of the log after it: the log then ends before `applied`, or has
    /// another entry there. Such a log is void; the replica orders its `Reset` before anything else.
    #[must_use]
    pub fn reconcile(mut self, applied: LogPosition, membership: Option<Membership>, planted: Planted) -> Restored {
        let is_void = !self.has(applied) || planted!(planted, SnapshotDropsSuffix);
        if applied.index > self.base.index && is_void {
            self.base = applied;
            self.entries = Vec::new();
        }
        self.applied = applied.index;
        self.membership = membership;
        self
    }
}

/// A fact for a replica.
#[derive(Clone, Debug)]
pub enum Event {
    /// The deadline it asked for has come (an early call does nothing).
    Deadline,
    /// A message of another replica of the group arrived.
    Receive { from: NodeId, message: Message },
    /// Everything ordered by the `Persist` effect of this id, and by all before it, is durable.
    Persisted { id: PersistId },
    /// A client's command. Answered by `Proposed` or `Refused`.
    Propose { id: RequestId, command: Bytes },
    /// A client wants to read what is committed now or later. Answered by `ReadReady` or `Refused`.
    Read { id: RequestId },
    /// An operator wants other replicas. Answered by `Proposed` once the entry that completes the change stands in the
    /// log, or by `Refused`.
    Change { id: RequestId, change: Change },
    /// An operator wants another leader. Answered by `TransferBegun` or `Refused`.
    Transfer { id: RequestId, to: NodeId },
    /// The state machine's snapshot that `TakeSnapshot` asked for.
    SnapshotTaken { snapshot: Snapshot },
    /// The snapshot that `InstallSnapshot` ordered is durable in the state machine.
    SnapshotInstalled { position: LogPosition },
    /// The state machine does not take the snapshot and is as it was.
    SnapshotRefused,
    /// The state machine is durable up to here: entries up to it may go from memory and from the log.
    Compact { through: LogIndex },
    /// The disk under the log failed and the process is about to end (`RAFT-21`).
    DiskFailed,
}

/// An order of a replica. The parent keeps the order of `Persist`, `Cut`, `Reset` and `Commit` effects; all else is
/// independent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send; may be lost.
    Send { to: NodeId, message: Message },
    /// Make durable, together. `entries[0]` may overwrite a suffix: everything from its index on is replaced.
    /// Ends in `Persisted`.
    Persist { id: PersistId, hard_state: Option<HardState>, entries: Entries },
    /// These entries are committed: apply them, in order, once. Entries up to `Restored::applied` are never repeated.
    Commit { entries: Vec<Entry> },
    /// Entries up to and including `base` are no longer needed in the durable log.
    Cut { base: LogPosition },
    /// The log restarts after a snapshot: entries up to `base`, and also everything after it that does not follow
    /// from it, are void. Ends in `Persisted`.
    Reset { id: PersistId, base: LogPosition },
    /// The command stands at this place in the log, of this replica or of its leader. It counts only when it is
    /// committed there with this term. That is the last word on it: when the replica ceases to lead, whatever is not
    /// committed has an unknown end.
    Proposed { id: RequestId, position: LogPosition },
    /// The read may be answered once the state machine has applied `index`.
    ReadReady { id: RequestId, index: LogIndex },
    /// Not here, not now. The command was not proposed, or the read will not be answered, or (after `LostLead`) the
    /// next leader knows whether the change will be completed.
    Refused { id: RequestId, reason: Refusal },
    /// The lead is being handed over; whether that succeeds shows when a new leader speaks.
    TransferBegun { id: RequestId },
    /// A follower needs the state machine's snapshot. Ends in `SnapshotTaken`; asked once at a time.
    TakeSnapshot,
    /// Replace the state machine by this snapshot, durably. Ends in `SnapshotInstalled` or `SnapshotRefused`. No `Commit` follows before.
    InstallSnapshot { snapshot: Snapshot },
    /// The leader gives the lead away because its disk stands still or failed (`RAFT-21`), to `heir` if one is known.
    GaveWay { heir: Option<NodeId> },
    /// The log, which was lost, holds all again that it may have held, up to here (`RAFT-25`).
    Repaired { through: LogIndex },
    /// The replica changed role.
    Became { role: Role, term: Term, leader: Option<NodeId> },
}

/// A change of who replicates a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Replicate to one more node, which does not vote.
    AddLearner(NodeId),
    /// Stop replicating to a learner.
    RemoveLearner(NodeId),
    /// Make these the voters. Those of them who do not vote already must have caught up as learners; voters who are not
    /// among them leave the group.
    SetVoters(BTreeSet<NodeId>),
}

/// What a replica is, for traces and `/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}

/// Why a command or a read was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another node leads, if known which.
    NotLeader { leader: Option<NodeId> },
    /// Too many commands wait for their commit; try again later.
    Busy,
    /// The node lost its lead after it had taken the read or, as the parent says of what was `Proposed`, the command,
    /// which may or may not be committed.
    LostLead,
    /// The change or the transfer cannot be made. It had no effect.
    Change(ChangeRefusal),
}

/// Why a change of membership or a transfer of the lead was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// Another change is not complete yet (`RAFT-15`).
    InProgress,
    /// This node would vote without having what the group has: add it as a learner first, and wait.
    NotCaughtUp { node: NodeId },
    /// A group has at least one voter.
    NoVoters,
    /// More voters than any group may have.
    TooMany,
    /// It is so already.
    Unchanged,
    /// Only a voter can lead.
    NotVoter { node: NodeId },
}

impl core::fmt::Display for ChangeRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            ChangeRefusal::InProgress => f.write_str("another change of the group's members is not complete yet"),
            ChangeRefusal::NotCaughtUp { node } => {
                write!(f, "node {node} has not caught up with the group; add it as a learner and try again later")
            }
            ChangeRefusal::NoVoters => f.write_str("a group has at least one voter"),
            ChangeRefusal::TooMany => f.write_str("these are more voters than a group may have"),
            ChangeRefusal::Unchanged => f.write_str("it is so already"),
            ChangeRefusal::NotVoter { node } => write!(f, "node {node} does not vote, so it cannot lead"),
        }
    }
}

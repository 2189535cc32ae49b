//! What a node is told and what it orders: the one contract between Anvil's logic and a runtime.
//!
//! Effects are independent. A runtime may carry them out late, in parallel and in any order; a send or a reply may be
//! lost; every other effect ends in exactly one completion event, or in a crash.

use super::peer::{Members, PeerMessage};
use super::request::{Reply, Request};
use crate::disk::{DiskError, DiskOrder, DiskOutcome, OpId};
use crate::planted::Planted;
use crate::state::{Answer, Applied, Query, QueryAnswer};
use crate::stripe;
use crate::types::{DriveId, Entries, GroupId, LogIndex, LogPosition, NodeId, RequestId, Snapshot, Trace, VersionId};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// Names work of a pool; the completion carries it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkId(pub u64);

/// Which of a node's machines gave a disk order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskUser {
    /// The log, on drive 0.
    Log,
    /// The second copy of terms and votes, on drive 0.
    HardStates,
    /// The shard store of a drive.
    Shards(DriveId),
}

/// A fact for the node.
#[derive(Clone, Debug)]
pub enum Event {
    /// The deadline it asked for has come (an early call does nothing).
    Deadline,
    /// A message of another node. Its sender is known by its certificate.
    Peer { from: NodeId, message: PeerMessage },
    /// The transport does not reach a node. It is trusted again when it is heard.
    PeerLost { node: NodeId },
    /// A client's request.
    Client { id: RequestId, request: Request },
    /// A disk order ended.
    Disk { user: DiskUser, op: OpId, outcome: DiskOutcome },
    /// The entries of an `Apply` are in the state store: visible to queries, not yet durable.
    Applied { group: GroupId, through: Applied, answers: Vec<(LogIndex, Answer)> },
    /// A query was answered.
    Queried { work: WorkId, answer: QueryAnswer },
    /// The state store is durable: everything applied when the order was given has survived.
    Checkpointed,
    /// A snapshot of a group, as `TakeSnapshot` asked.
    SnapshotTaken { group: GroupId, snapshot: Snapshot },
    /// A snapshot has replaced the group's rows, durably.
    SnapshotInstalled { group: GroupId, position: LogPosition },
    /// The snapshot is none that the group can start from, for this reason. The rows are as they were.
    SnapshotRefused { group: GroupId, why: String },
    /// A computation ended.
    Computed { work: WorkId, product: Product },
}

/// An order of the node.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send to a peer; may be lost.
    Send { to: NodeId, message: PeerMessage },
    /// The end of a client's request; may be lost.
    Reply { id: RequestId, reply: Reply },
    /// An order to a drive. Ends in `Event::Disk`.
    Disk { user: DiskUser, op: OpId, order: DiskOrder },
    /// Apply to the state store in one atomic batch (`state::apply`). At most one per group at a time. Ends in `Applied`.
    Apply { group: GroupId, entries: Entries },
    /// Answer from a consistent snapshot (`state::query`). Ends in `Queried`.
    Query { work: WorkId, group: GroupId, query: Query },
    /// Make the state store durable. At most one at a time. Ends in `Checkpointed`.
    Checkpoint,
    /// Take a snapshot (`state::snapshot`). Ends in `SnapshotTaken`.
    TakeSnapshot { group: GroupId },
    /// Replace the group's rows, durably (`state::install`). Ends in `SnapshotInstalled` or `SnapshotRefused`.
    InstallSnapshot { group: GroupId, snapshot: Snapshot },
    /// Compute. Ends in `Computed`.
    Compute { work: WorkId, task: Task },
    /// The nodes of the cluster are these: the transport speaks with them and with nobody else. One with a lower epoch than
    /// an earlier one says nothing new.
    Members(Members),
    /// For people and checkers.
    Trace(Trace),
    /// The node cannot go on: stop the process. No effect of this node counts after it.
    Fatal(Fatal),
}

/// Work that needs a core, not a decision. [`Task::run`] is the one implementation, called by every runtime.
#[derive(Clone, Debug)]
pub enum Task {
    /// Seal and code a stripe.
    Seal(stripe::Seal),
    /// Decode and open a stripe.
    Open(stripe::Open),
    /// Look whether a record is sound, and that of its stripe and position ([`stripe::verify`]).
    Verify { record: Bytes, id: stripe::StripeId, position: u8 },
    /// Seal a small body for its row.
    SealInline { version: VersionId, key: stripe::DataKey, plaintext: Bytes },
    /// Open a small body from its row.
    OpenInline { version: VersionId, key: stripe::DataKey, sealed: Bytes },
}

/// What a [`Task`] made.
#[derive(Clone, Debug)]
pub enum Product {
    /// The framed record of each position.
    Sealed(Vec<Bytes>),
    /// The plaintext, or why not.
    Opened(Result<stripe::Opened, stripe::OpenError>),
    /// Whether the record is sound.
    Verified(bool),
    /// The sealed bytes.
    SealedInline(Bytes),
    /// The plaintext, or why not.
    OpenedInline(Result<Bytes, stripe::OpenError>),
}

/// Why a node must stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// The disk under the log failed: what is durable is unknown.
    Log(DiskError),
    /// A sync of the shard store failed (`DISK-3`).
    Shards(DriveId, DiskError),
    /// The state store failed or a row in it is damaged. Said by the runtime, in the store's words.
    State(String),
}

impl core::fmt::Display for Fatal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Fatal::Log(error) => {
                write!(f, "the log's disk failed ({error}); what is durable is unknown, so the node stops")
            }
            Fatal::Shards(drive, error) => write!(f, "a sync on drive {drive} failed ({error}); the node stops"),
            Fatal::State(message) => write!(f, "the state store failed ({message}); the node stops"),
        }
    }
}

impl Task {
    /// Does the work. Pure: the same task gives the same product on any runtime.
    pub fn run(self, planted: Planted) -> Product {
        match self {
            Task::Seal(seal) => Product::Sealed(stripe::seal(&seal)),
            Task::Open(open) => Product::Opened(stripe::open(&open, planted)),
            Task::Verify { record, id, position } => Product::Verified(stripe::verify(&record, id, position)),
            Task::SealInline { version, key, plaintext } => {
                Product::SealedInline(stripe::seal_inline(version, &key, &plaintext))
            }
            Task::OpenInline { version, key, sealed } => {
                Product::OpenedInline(stripe::open_inline(version, &key, &sealed))
            }
        }
    }
}

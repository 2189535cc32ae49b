//! What a client asks of a node, and what it hears back.
//!
//! Every [`Request`] carries a [`RequestId`] of its own and ends in exactly one [`Reply`], or in the node's crash.
//! A client of objects moves bytes stripe by stripe, each a request, so that backpressure is simply the number of
//! requests it keeps open.

use super::mover::Moved;
use super::scrub::Scrubbed;
use crate::raft;
use crate::shards::Usage;
use crate::state::{
    Answer, Attributes, ETag, Md5, Metadata, Object, ObjectCondition, ObjectName, Operation, Query, QueryAnswer,
    Refusal, SessionStamp, VersionName,
};
use crate::topology::Topology;
use crate::types::{DriveId, GroupId, LogIndex, NodeId, RequestId, Term, VersionId};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// A request of a client.
#[derive(Clone, Debug)]
pub enum Request {
    /// Decide a command in a group. Reply: `Answer`.
    Command { group: GroupId, session: Option<SessionStamp>, operation: Operation },
    /// Ask a linearizable question. Reply: `Queried`.
    Query { group: GroupId, query: Query },
    /// Store a whole small body (at most `stripe::INLINE_MAX` bytes) and decide it. Reply: `Answer`.
    PutInline { target: Target, bytes: Bytes },
    /// Begin the write of a body of any size. Reply: `Begun`; the request's own id names the write from then on.
    BeginWrite,
    /// The `index`th stripe of a write: `stripe::STRIPE_SIZE` bytes, the last one fewer but at least 1. Stripes may be
    /// sent in parallel and in any order. Reply: `StripeStored` once all its shards are durable, or an error.
    WriteStripe { write: RequestId, index: u32, bytes: Bytes },
    /// All stripes are stored: make the body the object or part. Ends the write. Reply: `Answer`.
    DecideWrite { write: RequestId, target: Target },
    /// Give the write up; its shards are removed. No effect on a write that is being decided. Reply: `Closed`.
    AbortWrite { write: RequestId },
    /// Open a version for reading, the newest one without a name; it stays readable, even if replaced, until `Close`. Reply: `Opened`; the
    /// request's own id names the open object from then on.
    Open { object: ObjectName, version: Option<VersionName> },
    /// Read stripe `stripe` of body `body` (an index into `Object::bodies`). Inline bodies have one stripe, empty ones
    /// none. Reply: `Stripe`.
    ReadStripe { open: RequestId, body: u32, stripe: u32 },
    /// The reader is done. Reply: `Closed`.
    Close { open: RequestId },
    /// Change who replicates a group. Reply: `Changed` once the whole change is committed and applied here. Without an
    /// answer, or with `Uncertain`, it may still happen: `Status` tells.
    ChangeMembership { group: GroupId, change: raft::Change },
    /// Hand the lead of a group to another voter. Reply: `TransferBegun`; whether it succeeds, `Status` tells.
    TransferLeader { group: GroupId, to: NodeId },
    /// Begin to search this node's drives for damage now, from the first body on. Reply: `Status`, of this moment.
    Scrub,
    /// Reply: `Status`.
    Status,
}

/// What a write becomes when it is decided.
#[derive(Clone, Debug)]
pub enum Target {
    /// The current version of an object.
    Object {
        object: ObjectName,
        etag: ETag,
        metadata: Metadata,
        attributes: Box<Attributes>,
        condition: ObjectCondition,
    },
    /// A part of a multipart upload. Only `metadata.checksums` counts.
    Part { object: ObjectName, upload: VersionId, number: u16, etag: Md5, metadata: Metadata },
}

/// The end of a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The state machine's answer.
    Answer(Answer),
    /// The state machine's answer to a query.
    Queried(QueryAnswer),
    /// The write has begun.
    Begun,
    /// All shards of the stripe are durable.
    StripeStored,
    /// The object is open.
    Opened(Object),
    /// The object, bucket or key is not there.
    Refused(Refusal),
    /// The plaintext of one stripe.
    Stripe(Bytes),
    /// The handle is gone.
    Closed,
    /// The group has the members that were asked for.
    Changed,
    /// The leader takes no commands until the lead is handed over, or for an election timeout.
    TransferBegun,
    /// The node's state.
    Status(Status),
    /// The request had no effect, or (for a command and a decision) an unknown one.
    Unavailable(Unavailable),
}

/// Why a node could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Another node leads the group, if known which. Nothing happened.
    NotLeader { leader: Option<NodeId> },
    /// Too much waits already. Nothing happened; try again later.
    Busy,
    /// The lead was lost while the request was under way: a command may or may not take effect.
    Uncertain,
    /// The members cannot be changed, or the lead not transferred, in this way or at this time. Nothing happened.
    Change(raft::ChangeRefusal),
    /// Too few drives are alive for a body to be safe. Nothing was decided.
    TooFewDrives(String),
    /// A drive is full. Nothing was decided.
    DiskFull,
    /// A drive refused the write, in its words. Nothing was decided.
    Disk(String),
    /// Too many shards of a stripe are missing or damaged. Nothing false was returned.
    Damaged(String),
    /// Too few of the drives that have a stripe's shards answer. Nothing false was returned; try again later.
    Unreachable(String),
    /// No such write or open object: it was closed, or expired.
    UnknownHandle,
    /// The request contradicts itself (stripe too large, decided before all stripes are stored, gap in the stripes).
    Misuse(&'static str),
}

/// A node, as `/status` and the dashboard show it.
#[derive(Clone, Debug)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its groups.
    pub groups: Vec<GroupStatus>,
    /// Its drives.
    pub drives: Vec<(DriveId, Usage)>,
    /// Writes begun and not decided.
    pub writes: usize,
    /// Objects open for reading.
    pub opens: usize,
    /// Shard versions not known to be decided, and reclaim work waiting.
    pub undecided: usize,
    /// The nodes of the cluster, as this one knows them.
    pub topology: Topology,
    /// The epoch of the placement in force, 0 for none.
    pub placement: u64,
    /// Shards that this node has moved and repaired.
    pub moved: Moved,
    /// What its scrub has read and found.
    pub scrubbed: Scrubbed,
    /// Nodes that this one does not reach.
    pub doubtful: Vec<NodeId>,
}

/// One replica of a group.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Which group.
    pub group: GroupId,
    /// What this replica is.
    pub role: raft::Role,
    /// Its term.
    pub term: Term,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// Last committed entry.
    pub commit: LogIndex,
    /// Last applied entry.
    pub applied: LogIndex,
    /// Last entry that is durable in the state store.
    pub checkpointed: LogIndex,
    /// Who votes, or, while a change is under way, who will.
    pub voters: Vec<NodeId>,
    /// Who voted before the change that is under way; empty when none is.
    pub outgoing: Vec<NodeId>,
    /// Who receives everything and does not vote.
    pub learners: Vec<NodeId>,
    /// How far each other replica's log is known to be durable and equal to this one. Empty unless this replica leads.
    pub matched: Vec<(NodeId, LogIndex)>,
    /// How often this replica, while it led, gave the lead away because the log's disk stood still or failed.
    pub gave_way: u64,
    /// Whether the replica votes: not from the loss of its log until it has everything back (`RAFT-25`).
    pub is_whole: bool,
}

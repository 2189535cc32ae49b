//! The vocabulary that every machine shares: identities, positions in the log, and time.
//!
//! Siblings do not import each other (Raft does not know keys, keys do not know Raft); what two of them must both
//! name stands here.

pub use crate::membership::Membership;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Serialize};

macro_rules! newtype {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

newtype! {
    /// A node of the cluster. Never reused for another machine.
    NodeId(u64)
}
newtype! {
    /// A Raft group. See [`GroupId::GLOBAL`] and [`GroupId::REGION`].
    GroupId(u32)
}
newtype! {
    /// A Raft term (Raft §5.1).
    Term(u64)
}
newtype! {
    /// A position in a group's replicated log. The first entry has index 1; 0 means "before the log".
    LogIndex(u64)
}
newtype! {
    /// One drive (a `--dir`) of a node, numbered through the whole cluster and never reused: a body names its drives, wherever
    /// they are. The first drive of each node also holds its log and its applied state.
    DriveId(u32)
}
newtype! {
    /// A tenant. Part of every object row's key from the first record on.
    TenantId(u64)
}
newtype! {
    /// A client session whose commands are applied exactly once (Raft thesis §6.3). The index of the entry that opened it.
    SessionId(u64)
}
newtype! {
    /// A request of a client, chosen by the runtime, unique while the process lives.
    RequestId(u64)
}
newtype! {
    /// Microseconds of a clock that never goes back while the process lives. Its origin means nothing.
    Time(u64)
}
newtype! {
    /// Milliseconds since the Unix epoch, as the node's wall clock claims. May jump either way: nothing but
    /// what people read, and expiry guarded by replicated time, may depend on it.
    WallTime(u64)
}

impl GroupId {
    /// Topology, tenants, policies, keys, capabilities.
    pub const GLOBAL: GroupId = GroupId(0);
    /// Object metadata, multipart uploads and user keys of one region.
    pub const REGION: GroupId = GroupId(1);
}

impl TenantId {
    /// The tenant that a fresh node starts with.
    pub const DEFAULT: TenantId = TenantId(1);
}

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }
    /// The index before this one, or 0.
    #[must_use]
    pub fn prev(self) -> LogIndex {
        LogIndex(self.0.saturating_sub(1))
    }
}

impl Time {
    /// This moment moved into the future.
    #[must_use]
    pub fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }
    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl WallTime {
    /// This moment moved into the future.
    #[must_use]
    pub fn after(self, duration: Duration) -> WallTime {
        WallTime(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks of a node at one moment, given by the runtime with each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For timeouts.
    pub time: Time,
    /// For what people read, and for proposals to the replicated clock.
    pub wall: WallTime,
}

/// Names one version of an object (or one part of a multipart upload) and the shards that hold its bytes.
/// 128 random bits from the node's generator, so never reused.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionId(pub u128);

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionId({:032x})", self.0)
    }
}
impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A place in a group's log: which entry, and the term that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    /// The entry's index.
    pub index: LogIndex,
    /// The entry's term.
    pub term: Term,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Written by a new leader, so that it has an entry of its own term to commit (Raft §8).
    Noop,
    /// A command for the state machine, in its own encoding.
    Command(Bytes),
    /// Who votes and who learns from here on.
    Membership(Membership),
}

impl Payload {
    /// Bytes that the payload takes, without framing.
    pub fn size(&self) -> usize {
        match self {
            Payload::Noop => 0,
            Payload::Command(bytes) => bytes.len(),
            Payload::Membership(membership) => membership.encoded_size(),
        }
    }
}

/// One entry of a replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: LogPosition,
    /// What it carries.
    pub payload: Payload,
}

/// What a Raft node must not forget beside its entries (Raft figure 2, "persistent state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term seen.
    pub term: Term,
    /// Whom the node voted for in that term.
    pub vote: Option<NodeId>,
    /// The replica's log was lost, and it has not got all of it back: it does not vote (`RAFT-25`).
    pub impaired: bool,
}

/// A group's state machine at one position: everything that applying the entries up to it produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that the snapshot includes.
    pub position: LogPosition,
    /// The membership there, if any entry up to the position changed it. `None` leaves the group's first one in force.
    pub membership: Option<Membership>,
    /// The rows, in the state machine's own encoding.
    pub rows: Bytes,
}

/// Names a request to the log that makes hard state and entries durable. Grows by one with each request of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersistId(pub u64);

/// What a runtime, or a checker, may want to see. Tracing has no effect on the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// A replica of a group changed role.
    Role { group: GroupId, term: Term, role: &'static str, leader: Option<NodeId> },
    /// Something from a disk or a peer was not what it should be, and was dropped or repaired.
    Suspect(String),
    /// Something an operator may want to read about.
    Note(String),
}

/// Entries that a group committed, in order, for its state machine.
pub type Entries = Vec<Entry>;

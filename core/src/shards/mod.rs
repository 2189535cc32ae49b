//! The shard store of one drive: append-only extents, an index that can be rebuilt from them, compaction.

use crate::disk::{DiskError, DiskOrder, DiskOutcome, File, OpId};
use crate::planted::Planted;
use crate::types::{DriveId, VersionId, WallTime};
use alloc::vec::Vec;
use bytes::Bytes;

/// Names one shard: a version of an object (or a part), the stripe in it, and the position in the stripe
/// (`0..k` hold data, `k..k+m` parity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardKey {
    /// Whose bytes.
    pub version: VersionId,
    /// Which stripe, from 0.
    pub stripe: u32,
    /// Which position of the stripe.
    pub position: u8,
}

/// How a drive's store behaves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which drive.
    pub drive: DriveId,
    /// The cluster, written into each extent.
    pub cluster: u128,
    /// An extent is sealed when it reaches this many bytes.
    pub extent_size: u64,
    /// A sealed extent with less than this share of live bytes, in percent, is compacted.
    pub compact_below_percent: u8,
    /// Planted bugs, all off in production.
    pub planted: Planted,
}

/// Names a request of the parent; the answer carries it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A fact for the store.
#[derive(Clone, Debug)]
pub enum Event {
    /// Store a shard, prepared until `expires` (wall time of the metadata home). `record` comes from `stripe::frame`
    /// and carries its own checksums. Answered by `Stored` (durable) or `Refused`.
    Put { ticket: Ticket, key: ShardKey, expires: WallTime, record: Bytes },
    /// The version is decided: its shards are kept until `Delete`. No answer: a mark lost in a crash is asked for again.
    Commit { version: VersionId },
    /// Remove all shards of the version; the bytes are reclaimed by compaction. Answered by `Deleted` when durable.
    Delete { ticket: Ticket, version: VersionId },
    /// Read a shard. Answered by `Loaded`.
    Get { ticket: Ticket, key: ShardKey },
    /// A disk order ended.
    Disk { op: OpId, outcome: DiskOutcome },
}

/// An order of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An order to this drive.
    Disk { op: OpId, order: DiskOrder },
    /// The shard is durable.
    Stored { ticket: Ticket },
    /// The shard is not stored.
    Refused { ticket: Ticket, error: DiskError },
    /// No shard of the version remains.
    Deleted { ticket: Ticket },
    /// The shard's record as `Put` brought it, its checksums not yet verified; `None` when the store does not hold
    /// the shard or could not read it.
    Loaded { ticket: Ticket, record: Option<Bytes> },
    /// A sync failed. Fatal: the node must stop (`DISK-3`).
    Failed { file: File, error: DiskError },
    /// Something on disk was not as it should be; the store goes on without it.
    Suspect { file: File, offset: u64, what: &'static str },
}

/// A version whose shards are prepared and not known to be decided, and when that preparation expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// The version.
    pub version: VersionId,
    /// The latest expiry of its shards.
    pub expires: WallTime,
}

/// Figures of one drive's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Shards held.
    pub shards: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Bytes of all extents.
    pub total_bytes: u64,
    /// Extents.
    pub extents: u64,
}

/// What a runtime finds in `<dir>/shards/` before the node starts.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Sequence and size in bytes of each extent file.
    pub extents: Vec<(u64, u64)>,
}

//! Orders to a drive and their outcomes, in the words that both the log and the shard store use.
//!
//! Orders are independent: a runtime may carry them out late, in parallel and in any order, so a machine that needs
//! B after A gives the order B when A's completion arrives. Each order ends in exactly one [`DiskOutcome`], or the
//! node crashes.
//!
//! - `DISK-1` A file's bytes are durable only after a [`DiskOrder::Sync`] that was ordered after their write completed.
//! - `DISK-2` `Create` and `Remove` are durable when they complete: the runtime syncs the directory.
//! - `DISK-3` A failed sync is fatal and never retried: the kernel may have dropped the dirty pages.
//! - `DISK-4` What recovery reads of the log is durable: the runtime syncs each segment, and the directories of segments
//!   and extents, before it reads. A process that was killed leaves writes in the page cache that no sync covered, and
//!   the next power loss would take what was recovered, and perhaps acknowledged, from them.

use crate::types::DriveId;
use alloc::string::String;
use bytes::Bytes;

/// Names an order. Unique for a machine while the process lives; the completion carries it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// A file of the node, by what it is rather than by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum File {
    /// `<dir>/log/<sequence as 16 hex digits>.log` on drive 0.
    LogSegment(u64),
    /// `<dir>/hard-state` on drive 0: the second copy of terms and votes.
    HardStates,
    /// `<dir>/shards/<sequence as 16 hex digits>.ext` on its drive.
    Extent(DriveId, u64),
}

/// What a new file is for. It says how much of the last room on a drive the file may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Entries of the log, which the node cannot do without.
    Log,
    /// Shards that clients put.
    Puts,
    /// Tombstones, and copies out of extents that are about to go: what gives space back.
    Reclaim,
}

/// An order to a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOrder {
    /// Makes the file, which must not exist, with `size` zero bytes allocated; syncs it and its directory.
    Create { file: File, size: u64, purpose: Purpose },
    /// Writes at `offset`; the file grows if need be. Visible to reads at completion, durable only after a sync.
    Write { file: File, offset: u64, bytes: Bytes },
    /// Makes every completed write of the file durable (`fdatasync`). DISK-1
    Sync { file: File },
    /// Reads `length` bytes at `offset`; fewer when the file ends before.
    Read { file: File, offset: u64, length: u32 },
    /// Removes the file and syncs the directory. DISK-2
    Remove { file: File },
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOutcome {
    /// Created, written, synced or removed.
    Done,
    /// What was read.
    Read(Bytes),
    /// The order failed, and nothing is known of its effect on the file.
    Failed(DiskError),
}

/// Why a drive refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No space left.
    Full,
    /// The file is not there.
    Missing,
    /// The node that has the drive does not answer: whether the order was carried out is not known.
    Unreachable,
    /// Any other error of the drive, in the operating system's words.
    Io(String),
}

impl core::fmt::Display for DiskError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            DiskError::Full => f.write_str("no space left on the drive"),
            DiskError::Missing => f.write_str("the file is missing"),
            DiskError::Unreachable => f.write_str("the node of the drive does not answer"),
            DiskError::Io(message) => f.write_str(message),
        }
    }
}

impl core::error::Error for DiskError {}

//! How much room the drives have, and when the node stops taking more.
//!
//! The log and the state store cannot go on without space: a write of theirs that fails ends the node, since nothing
//! says what reached the disk. So the last part of a drive is theirs. Bodies, the bulk of all bytes, leave it alone,
//! and before it is used up the node refuses what would grow it. Deletes go on, because they are how a user makes room,
//! and what they and compaction write may use most of the reserve: a drive that could not take a tombstone would stay
//! full for ever.
//!
//! - `ROOM-1` An extent is created only where the whole reserve remains free after it, or a quarter of the reserve when
//!   the extent is there to free space.
//! - `ROOM-2` What grows the state is refused once less than half of the reserve is free.
//!
//! Other processes may fill the drive all the same; then the node stops, and starts again once there is space.

use anvil_core::disk::Purpose;
use anvil_core::state::{KeyOperation, ObjectOperation, Operation};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes at the end of a drive that only the log and the state store use. It covers the segments that a checkpoint has
/// not yet cut, the pages that the state store holds until one, and what is in flight.
const RESERVE_MAX: u64 = 512 << 20;

/// The part of a small drive that is reserved: one in this many bytes.
const RESERVE_SHARE: u64 = 4;

/// The part of the reserve that is kept even from what frees space: one in this many bytes.
const RECLAIM_SHARE: u64 = 4;

/// Bytes in a GiB, as a power of two.
const GIB: u32 = 30;

/// The room on the drive that has the log and the state store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Room {
    path: Arc<PathBuf>,
}

/// What a file system says of itself, in bytes.
#[derive(Clone, Copy, Debug)]
struct Space {
    total: u64,
    free: u64,
}

impl Space {
    fn of(path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space { total: bytes(found.f_blocks), free: bytes(found.f_bavail) })
    }

    fn reserve(self) -> u64 {
        RESERVE_MAX.min(self.total / RESERVE_SHARE)
    }

    fn fits_extent(self, size: u64, purpose: Purpose) -> bool {
        let kept = match purpose {
            Purpose::Puts => self.reserve(),
            Purpose::Reclaim => self.reserve() / RECLAIM_SHARE,
            Purpose::Log => 0,
        };
        self.free >= kept.saturating_add(size)
    }

    fn takes_more(self) -> bool {
        self.free >= self.reserve() / 2
    }
}

impl Room {
    /// The room below `path`.
    pub(super) fn new(path: PathBuf) -> Room {
        Room { path: Arc::new(path) }
    }

    /// Whether the state may grow. A file system that does not say how full it is counts as roomy: its writes will tell.
    pub fn takes_more(&self) -> bool {
        // ROOM-2
        Space::of(&self.path).map_or(true, Space::takes_more)
    }
}

/// `StorageFull` unless an extent of `size` bytes leaves as much of the reserve as its purpose asks for.
pub(super) fn check_extent(directory: &Path, size: u64, purpose: Purpose) -> io::Result<()> {
    // ROOM-1
    match Space::of(directory) {
        Ok(space) if !space.fits_extent(size, purpose) => Err(io::ErrorKind::StorageFull.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The size of the file system that a directory is on, in GiB, at least 1.
pub(crate) fn drive_gib(directory: &Path) -> io::Result<u64> {
    Ok((Space::of(directory)?.total >> GIB).max(1))
}

/// Whether an operation makes the state larger by more than its own trace.
pub(crate) fn grows(operation: &Operation) -> bool {
    match operation {
        Operation::OpenSession | Operation::Key(KeyOperation::Put { .. }) => true,
        Operation::Key(KeyOperation::Delete { .. }) => false,
        Operation::Object(operation) => match operation {
            ObjectOperation::CreateBucket { .. }
            | ObjectOperation::CreateBucketWith { .. }
            | ObjectOperation::ConfigureBucket { .. }
            | ObjectOperation::PutVersion { .. }
            | ObjectOperation::CreateUploadWith { .. }
            | ObjectOperation::PutObject { .. }
            | ObjectOperation::CreateUpload { .. }
            | ObjectOperation::PutPart { .. } => true,
            // A completion only moves what the parts hold already.
            ObjectOperation::DeleteBucket { .. }
            | ObjectOperation::Remove { .. }
            | ObjectOperation::Amend { .. }
            | ObjectOperation::DeleteObject { .. }
            | ObjectOperation::CompleteUpload { .. }
            | ObjectOperation::AbortUpload { .. }
            | ObjectOperation::Resolve { .. }
            | ObjectOperation::Reclaimed { .. }
            | ObjectOperation::Relocate { .. }
            | ObjectOperation::Recode { .. }
            | ObjectOperation::ResolveOn { .. }
            | ObjectOperation::Expire { .. }
            | ObjectOperation::ReclaimedAt { .. } => false,
        },
        // The cluster is a few rows, and must be changed most of all when drives are full.
        Operation::Cluster(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_quarter_of_a_small_drive_is_not_for_extents_and_its_last_eighth_for_nothing_new() {
        let space = |free| Space { total: 800 << 20, free };
        assert!(space(264 << 20).fits_extent(64 << 20, Purpose::Puts));
        assert!(!space((264 << 20) - 1).fits_extent(64 << 20, Purpose::Puts));
        assert!(space(100 << 20).takes_more());
        assert!(!space((100 << 20) - 1).takes_more());
    }

    #[test]
    fn what_frees_space_may_use_three_quarters_of_the_reserve() {
        let space = |free| Space { total: 800 << 20, free };
        assert!(space(114 << 20).fits_extent(64 << 20, Purpose::Reclaim));
        assert!(!space((114 << 20) - 1).fits_extent(64 << 20, Purpose::Reclaim));
    }

    #[test]
    fn a_large_drive_reserves_no_more_than_the_most() {
        assert_eq!(Space { total: 4 << 40, free: 0 }.reserve(), RESERVE_MAX);
    }
}

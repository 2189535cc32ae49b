//! One batch: the records that are written together and made durable by one sync.
//!
//! Headers and small payloads that lie next to each other become one write; a large payload is a write of its own and
//! is never copied.

use super::ShardKey;
use super::Ticket;
use super::extent::Extent;
use super::format::{ALIGN, ALIGN_BYTES, BLOCK, HEADER, Position, Record, align, footer_size};
use super::index::Location;
use crate::disk::DiskError;
use crate::types::{VersionId, WallTime};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// A payload up to this size is copied next to its header, which costs less than another order to the drive.
const COPY_MAX: usize = 4096;
/// A batch is closed when it reaches this many bytes: what waits for a sync should not wait for all the rest too.
const BATCH_SIZE: u64 = 8 << 20;

/// What waits to be appended.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A shard of the parent. `committed` when its version was decided while it waited.
    Put { ticket: Ticket, key: ShardKey, expires: WallTime, committed: bool, record: Bytes },
    /// A version to remove. `retried` when a batch with its tombstone failed once.
    Delete { ticket: Ticket, version: VersionId, retried: bool },
    /// A live shard that compaction moves away from `from`.
    CopiedPut { key: ShardKey, from: Location, expires: WallTime, record: Bytes },
    /// A tombstone that compaction moves.
    CopiedTombstone { version: VersionId, bound: Position, targets: Vec<u64> },
}

/// What a record of a batch means for the index, once durable.
#[derive(Clone, Debug)]
pub(super) enum Placed {
    Put { ticket: Ticket, key: ShardKey, expires: WallTime, committed: bool, length: u32 },
    Delete { ticket: Ticket, version: VersionId, retried: bool, targets: Vec<u64> },
    CopiedPut { key: ShardKey, from: Location, expires: WallTime, committed: bool, length: u32 },
    CopiedTombstone { targets: Vec<u64> },
    Mark { version: VersionId },
}

impl Placed {
    /// The version whose bytes the record adds to the extent.
    pub(super) fn put_version(&self) -> Option<VersionId> {
        match self {
            Placed::Put { key, .. } | Placed::CopiedPut { key, .. } => Some(key.version),
            Placed::Delete { .. } | Placed::CopiedTombstone { .. } | Placed::Mark { .. } => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct PlacedRecord {
    pub(super) at: Position,
    /// Bytes that the record takes, with padding.
    pub(super) footprint: u32,
    pub(super) what: Placed,
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) extent: u64,
    pub(super) start: u64,
    /// Where the last record ends.
    pub(super) end: u64,
    pub(super) placed: Vec<PlacedRecord>,
    /// What the records add to the extent's index.
    pub(super) index: Vec<u8>,
    /// Writes that have not ended.
    pub(super) writes_left: usize,
    /// The first write that failed.
    pub(super) error: Option<DiskError>,
    /// Versions that the batch deletes.
    pub(super) deleted: BTreeSet<VersionId>,
    /// Shards that the batch puts.
    put: BTreeSet<ShardKey>,
    writes: Vec<(u64, Bytes)>,
    run: BytesMut,
    run_at: u64,
}

impl Batch {
    /// A batch after everything that `extent` holds.
    pub(super) fn new(sequence: u64, extent: &Extent) -> Batch {
        // SHARD-2: never in a block that holds synced bytes.
        let start = align(extent.end, BLOCK);
        Batch {
            extent: sequence,
            start,
            end: start,
            placed: Vec::new(),
            index: Vec::new(),
            writes_left: 0,
            error: None,
            deleted: BTreeSet::new(),
            put: BTreeSet::new(),
            writes: Vec::new(),
            run: BytesMut::new(),
            run_at: start,
        }
    }

    /// Whether the batch deletes or puts the shard, so that an older copy must not come after.
    pub(super) fn supersedes(&self, key: ShardKey) -> bool {
        self.deleted.contains(&key.version) || self.put.contains(&key)
    }

    /// Whether a record of `size` bytes, `index_size` of them also in the index, still goes into this batch. A record
    /// that no extent could hold gets one of its own, which grows.
    pub(super) fn has_room(&self, extent: &Extent, open_index: &[u8], size: u64, index_size: u64) -> bool {
        self.end == BLOCK || self.fits(extent, open_index, size, index_size)
    }

    /// Whether a record fits, and the extent's index after it.
    pub(super) fn fits(&self, extent: &Extent, open_index: &[u8], size: u64, index_size: u64) -> bool {
        if self.end - self.start >= BATCH_SIZE {
            return false;
        }
        let index = open_index.len() as u64 + self.index.len() as u64 + index_size;
        let end = align(align(self.end, ALIGN) + size, BLOCK) + footer_size(index);
        end <= extent.size
    }

    /// Adds a record; `payload` is what follows the header of a put.
    pub(super) fn push(&mut self, record: &Record, payload: Bytes, what: Placed) {
        match &what {
            Placed::Put { key, .. } => {
                self.put.insert(*key);
            }
            Placed::Delete { version, .. } => {
                self.deleted.insert(*version);
            }
            Placed::CopiedPut { .. } | Placed::CopiedTombstone { .. } | Placed::Mark { .. } => {}
        }
        let at = align(self.end, ALIGN);
        let padding = usize::try_from(at - self.end).expect("less than the alignment");
        if self.run.is_empty() {
            self.run_at = at;
        } else {
            self.run.extend_from_slice(&[0; ALIGN_BYTES][..padding]);
        }
        let position = Position { extent: self.extent, offset: at };
        let encoded = record.encode(position);
        self.run.extend_from_slice(&encoded);
        self.index.extend_from_slice(&encoded);
        if payload.len() <= COPY_MAX {
            self.run.extend_from_slice(&payload);
        } else {
            self.flush_run();
            self.writes.push((at + HEADER as u64, payload));
        }
        self.end = at + record.size();
        let footprint = u32::try_from(align(record.size(), ALIGN)).expect("a record is below 4 GiB");
        self.placed.push(PlacedRecord { at: position, footprint, what });
    }

    /// Adds bytes that are no record: the extent's header block.
    pub(super) fn write_header_block(&mut self, block: Bytes) {
        self.writes.push((0, block));
    }

    /// Closes the batch and hands out its writes.
    pub(super) fn finish(&mut self) -> Vec<(u64, Bytes)> {
        self.flush_run();
        if let Some(last) = self.placed.last_mut() {
            let padding = align(self.end, BLOCK) - align(self.end, ALIGN);
            last.footprint += u32::try_from(padding).expect("less than a block");
        }
        self.writes_left = self.writes.len();
        core::mem::take(&mut self.writes)
    }

    fn flush_run(&mut self) {
        if !self.run.is_empty() {
            self.writes.push((self.run_at, self.run.split().freeze()));
        }
    }
}

//! The way in: what is put, marked and deleted waits in a queue, is written to the open extent a batch at a time, and
//! is answered after the batch's sync. While one batch is on its way, the next one gathers.

use super::batch::{Batch, Item, Placed, PlacedRecord};
use super::extent::{Extent, Phase};
use super::format::{ALIGN, BLOCK, HEADER, Position, Record, align, encode_extent_header, tombstone_size};
use super::index::Location;
use super::{Effect, Op, Store};
use crate::disk::{DiskError, DiskOrder, File, Purpose};
use crate::planted::planted;
use crate::types::VersionId;
use alloc::vec::Vec;
use bytes::Bytes;

/// Marks that wait for company before they are written on their own account. A mark is a hint that saves a question
/// after a crash, so it is not worth a sync.
const MARKS_MAX: usize = 64;

/// What the appender awaits.
#[derive(Debug)]
pub(super) enum Stage {
    /// Something to append.
    Idle,
    /// A new extent.
    Creating,
    /// The writes of a batch.
    Writing(Batch),
    /// The sync of a batch.
    Syncing(Batch),
}

/// What the next item needs, beside room in the open extent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// Only while a spare extent stands by.
    Put,
    /// Delete, copy or mark: may open the spare.
    Reserve,
}

impl Store {
    /// Starts the next batch if nothing is on its way and something waits.
    pub(super) fn pump(&mut self, out: &mut Vec<Effect>) {
        // SHARD-5: nothing is appended before what recovery believed is durable.
        while self.settling == 0 && !self.failed && matches!(self.stage, Stage::Idle) {
            self.drop_moot_items(None, out);
            // SHARD-11: a mark may open the spare, but it gives no space back.
            let (claim, purpose) = match self.queue.front() {
                Some(Item::Put { .. }) => (Claim::Put, Purpose::Puts),
                Some(Item::Delete { .. } | Item::CopiedPut { .. } | Item::CopiedTombstone { .. }) => {
                    (Claim::Reserve, Purpose::Reclaim)
                }
                None if self.marks.len() >= MARKS_MAX => (Claim::Reserve, Purpose::Puts),
                None => return,
            };
            // SHARD-6: the last extent that could be allocated belongs to deletes and compaction, which free space.
            if claim == Claim::Put && self.spare.is_none() {
                self.create_extent(purpose, out);
            } else if self.open_has_room() {
                self.start_batch(out);
            } else if claim == Claim::Reserve
                && let Some(spare) = self.spare.take()
            {
                self.open_extent(spare, out);
            } else {
                self.create_extent(purpose, out);
            }
        }
    }

    /// Takes from the front of the queue what needs no record: a delete of nothing, and a copy that came too late.
    fn drop_moot_items(&mut self, batch: Option<&Batch>, out: &mut Vec<Effect>) {
        while let Some(item) = self.queue.front() {
            match item {
                Item::Delete { ticket, version, .. } => {
                    if !self.targets_of(*version, batch).is_empty() {
                        return;
                    }
                    out.push(Effect::Deleted { ticket: *ticket });
                }
                Item::CopiedPut { key, from, .. } => {
                    // SHARD-7: no copy stands after a tombstone or a newer put of its shard.
                    if self.index.get(*key) == Some(*from) && !batch.is_some_and(|batch| batch.supersedes(*key)) {
                        return;
                    }
                    self.copy_ended();
                }
                Item::Put { .. } | Item::CopiedTombstone { .. } => return,
            }
            self.queue.pop_front();
        }
    }

    fn open_has_room(&self) -> bool {
        let Some(sequence) = self.open else { return false };
        let (size, index_size) = match self.queue.front() {
            Some(item) => self.weigh(item, None),
            None => (HEADER as u64, HEADER as u64),
        };
        let (extent, index) = self.open_index(sequence);
        Batch::new(sequence, extent).has_room(extent, index, size, index_size)
    }

    fn open_index(&self, sequence: u64) -> (&Extent, &[u8]) {
        let extent = &self.extents[&sequence];
        match &extent.phase {
            Phase::Open { index } => (extent, index),
            Phase::Spare
            | Phase::Settling { .. }
            | Phase::Sealing { .. }
            | Phase::Sealed { .. }
            | Phase::Closed
            | Phase::Removing => panic!("the open extent is in phase {:?}", extent.phase),
        }
    }

    /// Bytes that an item takes in the extent and in its index.
    fn weigh(&self, item: &Item, batch: Option<&Batch>) -> (u64, u64) {
        let header = HEADER as u64;
        match item {
            Item::Put { record, .. } | Item::CopiedPut { record, .. } => (header + record.len() as u64, header),
            Item::Delete { version, .. } => {
                let size = tombstone_size(&self.targets_of(*version, batch));
                (size, size)
            }
            Item::CopiedTombstone { targets, .. } => {
                let size = tombstone_size(targets);
                (size, size)
            }
        }
    }

    /// The extents that hold bytes of a version, with those that `batch` is about to add.
    fn targets_of(&self, version: VersionId, batch: Option<&Batch>) -> Vec<u64> {
        let mut targets = self.index.extents_of(version);
        targets.retain(|extent| self.extents.contains_key(extent));
        if let Some(batch) = batch
            && batch.placed.iter().any(|record| record.what.put_version() == Some(version))
        {
            targets.insert(batch.extent);
        }
        targets.into_iter().collect()
    }

    /// Fills a batch from the queue and orders its writes.
    fn start_batch(&mut self, out: &mut Vec<Effect>) {
        let sequence = self.open.expect("the caller saw that the open extent has room");
        let mut batch = Batch::new(sequence, &self.extents[&sequence]);
        self.place_marks(&mut batch);
        loop {
            self.drop_moot_items(Some(&batch), out);
            let Some(item) = self.queue.front() else { break };
            if matches!(item, Item::Put { .. }) && self.spare.is_none() {
                break;
            }
            let (size, index_size) = self.weigh(item, Some(&batch));
            let (extent, index) = self.open_index(sequence);
            if !batch.has_room(extent, index, size, index_size) {
                break;
            }
            let item = self.queue.pop_front().expect("just looked at");
            self.place_item(item, &mut batch);
        }
        if batch.placed.is_empty() {
            return;
        }
        if batch.start == BLOCK {
            batch.write_header_block(encode_extent_header(&self.config, sequence));
        }
        let file = File::Extent(self.config.drive, sequence);
        for (offset, bytes) in batch.finish() {
            self.order(Op::BatchWrite, DiskOrder::Write { file, offset, bytes }, out);
        }
        self.stage = Stage::Writing(batch);
    }

    /// Marks go first, so that the batch's padding is not theirs, and only as many as leave room for the first item.
    fn place_marks(&mut self, batch: &mut Batch) {
        let (mut size, mut index_size) = self.queue.front().map_or((0, 0), |item| self.weigh(item, None));
        while let Some(version) = self.marks.pop_first() {
            // A version that is gone needs no mark, and puts that still wait carry the flag themselves.
            if !self.index.is_committed(version) {
                continue;
            }
            size += HEADER as u64;
            index_size += HEADER as u64;
            let (extent, index) = self.open_index(batch.extent);
            // The sizes count marks already placed twice, which only ends this loop a little early.
            if !batch.fits(extent, index, size, index_size) {
                self.marks.insert(version);
                return;
            }
            batch.push(&Record::Mark { version }, Bytes::new(), Placed::Mark { version });
        }
    }

    fn place_item(&mut self, item: Item, batch: &mut Batch) {
        let length = |record: &Bytes| u32::try_from(record.len()).expect("a record is below 4 GiB");
        match item {
            Item::Put { ticket, key, expires, committed, record } => {
                let deleted = batch.deleted.contains(&key.version);
                let committed = committed || (!deleted && self.index.is_committed(key.version));
                let length = length(&record);
                let what = Placed::Put { ticket, key, expires, committed, length };
                batch.push(&Record::Put { key, expires, committed, length }, record, what);
            }
            Item::Delete { ticket, version, retried } => {
                let targets = self.targets_of(version, Some(batch));
                let bound = Position { extent: batch.extent, offset: align(batch.end, ALIGN) };
                let what = Placed::Delete { ticket, version, retried, targets: targets.clone() };
                batch.push(&Record::Tombstone { version, bound, targets }, Bytes::new(), what);
            }
            Item::CopiedPut { key, from, expires, record } => {
                let committed = self.index.is_committed(key.version);
                let length = length(&record);
                let what = Placed::CopiedPut { key, from, expires, committed, length };
                batch.push(&Record::Put { key, expires, committed, length }, record, what);
            }
            Item::CopiedTombstone { version, bound, targets } => {
                let what = Placed::CopiedTombstone { targets: targets.clone() };
                batch.push(&Record::Tombstone { version, bound, targets }, Bytes::new(), what);
            }
        }
    }

    pub(super) fn on_batch_write(&mut self, outcome: Result<(), DiskError>, out: &mut Vec<Effect>) {
        let Stage::Writing(mut batch) = core::mem::replace(&mut self.stage, Stage::Idle) else {
            panic!("a batch's write ended while no batch was being written");
        };
        batch.writes_left -= 1;
        if let Err(error) = outcome {
            batch.error.get_or_insert(error);
        }
        if batch.writes_left > 0 {
            self.stage = Stage::Writing(batch);
            return;
        }
        if let Some(error) = batch.error.take() {
            self.fail_batch(batch, &error, out);
            return;
        }
        if planted!(self.config.planted, IndexBeforeExtentSync) && self.is_last_batch(&batch) {
            let sequence = batch.extent;
            self.apply_batch(batch, out);
            self.open = None;
            self.close_extent(sequence, out);
            return;
        }
        let file = File::Extent(self.config.drive, batch.extent);
        self.order(Op::BatchSync, DiskOrder::Sync { file }, out);
        self.stage = Stage::Syncing(batch);
    }

    /// Whether the extent will be sealed after this batch: the next item does not fit, or little room is left.
    fn is_last_batch(&self, batch: &Batch) -> bool {
        let extent = &self.extents[&batch.extent];
        let (size, _) = self.queue.front().map_or((extent.size / 4, 0), |item| self.weigh(item, Some(batch)));
        align(batch.end, BLOCK) + size > extent.size
    }

    pub(super) fn on_batch_sync(&mut self, outcome: Result<(), DiskError>, out: &mut Vec<Effect>) {
        let Stage::Syncing(batch) = core::mem::replace(&mut self.stage, Stage::Idle) else {
            panic!("a batch's sync ended while no batch was being synced");
        };
        match outcome {
            Ok(()) => self.apply_batch(batch, out),
            Err(error) => self.fail_store(batch.extent, error, out),
        }
    }

    /// SHARD-1: the batch is durable; the index learns of it and the parent is answered.
    fn apply_batch(&mut self, batch: Batch, out: &mut Vec<Effect>) {
        let extent = self.extents.get_mut(&batch.extent).expect("an extent with a batch on its way is not removed");
        assert!(batch.end >= extent.end, "an extent only grows");
        extent.end = batch.end;
        extent.size = extent.size.max(batch.end);
        if let Phase::Open { index } = &mut extent.phase {
            index.extend_from_slice(&batch.index);
        }
        for PlacedRecord { at, footprint, what } in batch.placed {
            match what {
                Placed::Put { ticket, key, expires, committed, length } => {
                    self.set_location(key, Location { at, length, footprint }, expires, committed);
                    out.push(Effect::Stored { ticket });
                }
                Placed::Delete { ticket, version, targets, .. } => {
                    self.add_tombstone(at.extent, footprint, &targets);
                    self.remove_shards(version, at);
                    assert!(!self.index.holds(version), "a tombstone stands after everything that it deletes");
                    self.marks.remove(&version);
                    self.compaction_paused = false;
                    out.push(Effect::Deleted { ticket });
                }
                Placed::CopiedPut { key, from, expires, committed, length } => {
                    assert_eq!(self.index.get(key), Some(from), "SHARD-7: what is newer than a copy stands after it");
                    self.set_location(key, Location { at, length, footprint }, expires, committed);
                    self.copy_ended();
                }
                Placed::CopiedTombstone { targets } => {
                    self.add_tombstone(at.extent, footprint, &targets);
                    self.copy_ended();
                }
                Placed::Mark { .. } => self.add_mark(at.extent, footprint),
            }
        }
    }

    /// A write of the batch failed: nothing of it is acknowledged, and the extent takes no more batches. What of the
    /// batch did reach the drive may be found by a recovery that comes before the extent's index is durable.
    fn fail_batch(&mut self, batch: Batch, error: &DiskError, out: &mut Vec<Effect>) {
        let mut deletes = Vec::new();
        for PlacedRecord { what, .. } in batch.placed {
            if let Some(version) = what.put_version() {
                self.index.add_stale(version, batch.extent);
            }
            match what {
                Placed::Put { ticket, .. } => out.push(Effect::Refused { ticket, error: error.clone() }),
                Placed::Delete { ticket, version, retried: false, .. } => {
                    deletes.push(Item::Delete { ticket, version, retried: true });
                }
                Placed::Delete { ticket, .. } => out.push(Effect::Refused { ticket, error: error.clone() }),
                Placed::CopiedPut { .. } | Placed::CopiedTombstone { .. } => self.copy_failed(),
                Placed::Mark { version } => {
                    self.marks.insert(version);
                }
            }
        }
        deletes.into_iter().rev().for_each(|delete| self.queue.push_front(delete));
        self.open = None;
        self.extents.get_mut(&batch.extent).expect("the open extent is not removed").batch_failed = true;
        self.close_extent(batch.extent, out);
    }

    /// The version is decided while shards of it wait or are on their way; false when there are none.
    pub(super) fn has_pending_put(&self, version: VersionId) -> bool {
        let queued = self.queue.iter().any(|item| matches!(item, Item::Put { key, .. } if key.version == version));
        let placed = match &self.stage {
            Stage::Writing(batch) | Stage::Syncing(batch) => batch
                .placed
                .iter()
                .any(|record| matches!(&record.what, Placed::Put { key, .. } if key.version == version)),
            Stage::Idle | Stage::Creating => false,
        };
        queued || placed
    }

    pub(super) fn flag_pending_puts(&mut self, version: VersionId) -> bool {
        let mut any = false;
        for item in &mut self.queue {
            if let Item::Put { key, committed, .. } = item
                && key.version == version
            {
                *committed = true;
                any = true;
            }
        }
        if let Stage::Writing(batch) | Stage::Syncing(batch) = &mut self.stage {
            for record in &mut batch.placed {
                if let Placed::Put { key, committed, .. } = &mut record.what
                    && key.version == version
                {
                    *committed = true;
                    any = true;
                }
            }
        }
        any
    }
}

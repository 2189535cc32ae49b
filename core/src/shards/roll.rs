//! From one extent to the next: one is allocated, opened when its turn comes, and sealed with an index when it is full.
//!
//! The spare is the newest extent there is, so whoever opens it, extents are filled in the order of their names, which
//! is what makes a record's position say when it was written.

use super::append::Stage;
use super::batch::Item;
use super::extent::{Extent, Phase};
use super::format::encode_footer;
use super::{Effect, Op, Store};
use crate::disk::{DiskError, DiskOrder, File, Purpose};
use crate::planted::planted;
use alloc::vec::Vec;

impl Store {
    pub(super) fn create_extent(&mut self, purpose: Purpose, out: &mut Vec<Effect>) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let file = File::Extent(self.config.drive, sequence);
        let order = DiskOrder::Create { file, size: self.config.extent_size, purpose };
        self.order(Op::Create { sequence }, order, out);
        self.stage = Stage::Creating;
    }

    pub(super) fn on_create(&mut self, sequence: u64, outcome: Result<(), DiskError>, out: &mut Vec<Effect>) {
        assert!(matches!(self.stage, Stage::Creating), "one extent is created at a time");
        self.stage = Stage::Idle;
        match outcome {
            Ok(()) => {
                self.extents.insert(sequence, Extent::new(Phase::Spare, self.config.extent_size));
                // The older of the two is opened, so that extents are filled in the order of their names.
                if let Some(before) = self.spare.replace(sequence) {
                    self.open_extent(before, out);
                }
                self.compaction_paused = false;
            }
            Err(error) => {
                let file = File::Extent(self.config.drive, sequence);
                self.order(Op::RemoveStray, DiskOrder::Remove { file }, out);
                self.refuse_queue(&error, out);
            }
        }
    }

    /// No extent could be made: puts are refused. When nothing could be made of what else waits, it is refused too.
    fn refuse_queue(&mut self, error: &DiskError, out: &mut Vec<Effect>) {
        let any_put = self.queue.iter().any(|item| matches!(item, Item::Put { .. }));
        if self.queue.is_empty() {
            self.marks.clear();
        }
        for item in core::mem::take(&mut self.queue) {
            match item {
                Item::Put { ticket, .. } => out.push(Effect::Refused { ticket, error: error.clone() }),
                item if any_put => self.queue.push_back(item),
                Item::Delete { ticket, .. } => out.push(Effect::Refused { ticket, error: error.clone() }),
                Item::CopiedPut { .. } | Item::CopiedTombstone { .. } => self.copy_failed(),
            }
        }
    }

    /// Makes an allocated extent the open one, and seals the one before.
    pub(super) fn open_extent(&mut self, sequence: u64, out: &mut Vec<Effect>) {
        let extent = self.extents.get_mut(&sequence).expect("just allocated");
        assert_eq!(extent.phase, Phase::Spare, "only an empty extent is opened");
        assert!(sequence > self.last_opened, "the order of positions is the order of writing");
        self.last_opened = sequence;
        extent.phase = Phase::Open { index: Vec::new() };
        if let Some(before) = self.open.replace(sequence) {
            self.close_extent(before, out);
        }
    }

    /// SHARD-4: all records of the extent are durable, so its index may be written.
    pub(super) fn close_extent(&mut self, sequence: u64, out: &mut Vec<Effect>) {
        let extent = self.extents.get_mut(&sequence).expect("an extent that is not closed is not removed");
        let index = match &mut extent.phase {
            Phase::Open { index } | Phase::Settling { index } => core::mem::take(index),
            Phase::Spare | Phase::Sealing { .. } | Phase::Sealed { .. } | Phase::Closed | Phase::Removing => {
                panic!("an extent in phase {:?} cannot be closed", extent.phase)
            }
        };
        if index.is_empty() {
            extent.phase = Phase::Closed;
            self.recheck(sequence);
            return;
        }
        let (footer, bytes) = encode_footer(sequence, &index, extent);
        extent.phase = Phase::Sealing { footer };
        extent.size = extent.size.max(footer.offset + bytes.len() as u64);
        let order = DiskOrder::Write { file: File::Extent(self.config.drive, sequence), offset: footer.offset, bytes };
        self.order(Op::FooterWrite { sequence }, order, out);
    }

    pub(super) fn on_footer_write(&mut self, sequence: u64, outcome: Result<(), DiskError>, out: &mut Vec<Effect>) {
        let file = File::Extent(self.config.drive, sequence);
        match outcome {
            Ok(()) if planted!(self.config.planted, IndexBeforeExtentSync) => {
                self.on_footer_sync(sequence, Ok(()), out)
            }
            Ok(()) => self.order(Op::FooterSync { sequence }, DiskOrder::Sync { file }, out),
            Err(_) => {
                let extent = self.extents.get_mut(&sequence).expect("an extent being sealed is not removed");
                extent.phase = Phase::Closed;
                out.push(Effect::Suspect {
                    file,
                    offset: extent.end,
                    what: "the index of a full extent was not written",
                });
                self.recheck(sequence);
            }
        }
    }

    pub(super) fn on_footer_sync(&mut self, sequence: u64, outcome: Result<(), DiskError>, out: &mut Vec<Effect>) {
        if let Err(error) = outcome {
            self.fail_store(sequence, error, out);
            return;
        }
        let extent = self.extents.get_mut(&sequence).expect("an extent being sealed is not removed");
        let Phase::Sealing { footer } = extent.phase else {
            panic!("an index was synced in phase {:?}", extent.phase);
        };
        extent.phase = Phase::Sealed { footer };
        self.recheck(sequence);
    }

    /// `DISK-3`: what is durable is not known any more, so the store does nothing from here on.
    pub(super) fn fail_store(&mut self, sequence: u64, error: DiskError, out: &mut Vec<Effect>) {
        self.failed = true;
        out.push(Effect::Failed { file: File::Extent(self.config.drive, sequence), error });
    }
}

//! The way out: extents in which little is still needed are emptied by copying, and empty ones are removed.
//!
//! One extent at a time, a few records at a time, oldest first, so that memory stays bounded and tombstones meet the
//! extents that they name.

use super::batch::Item;
use super::extent::{Damage, Phase, Tombstones};
use super::format::{Position, Record, decode_index};
use super::index::Location;
use super::{Effect, Op, ShardKey, Store};
use crate::disk::{DiskError, DiskOrder, File};
use crate::planted::planted;
use crate::stripe::{self, StripeId};
use crate::types::{VersionId, WallTime};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::Bytes;

/// Bytes of records that one step of a compaction holds in memory, and how many records.
const PIECE_BYTES: u64 = 4 << 20;
const PIECE_RECORDS: u32 = 256;

/// A live record on its way out of an extent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copying {
    pub(super) key: ShardKey,
    pub(super) from: Location,
    pub(super) expires: WallTime,
}

/// The extent that is being emptied.
#[derive(Debug)]
pub(super) struct Compaction {
    pub(super) extent: u64,
    records: VecDeque<(u64, Record)>,
    /// Reads and copies that have not ended: of the extent's index at first, then of the current piece.
    pub(super) pending: u32,
    /// A record failed its check and stays.
    damaged: bool,
    /// A copy could not be written.
    failed: bool,
}

impl Store {
    /// Keeps the list of extents worth looking at.
    pub(super) fn recheck(&mut self, sequence: u64) {
        let Some(extent) = self.extents.get(&sequence) else { return };
        let tombstones_needed = self.needs_tombstones(sequence);
        let empty = extent.live == 0 && !tombstones_needed;
        let candidate = match (&extent.phase, extent.damage) {
            (_, Damage::Unread) => false,
            (Phase::Sealed { .. }, Damage::None) => {
                empty || extent.is_sparse(self.config.compact_below_percent, tombstones_needed)
            }
            (Phase::Sealed { .. }, Damage::Records) | (Phase::Closed, _) => empty,
            (
                Phase::Spare | Phase::Open { .. } | Phase::Settling { .. } | Phase::Sealing { .. } | Phase::Removing,
                _,
            ) => false,
        };
        if candidate {
            self.candidates.insert(sequence);
        } else {
            self.candidates.remove(&sequence);
        }
    }

    /// SHARD-8: a tombstone is needed while another extent holds bytes that it deletes.
    fn needs_tombstones(&self, sequence: u64) -> bool {
        self.extents[&sequence]
            .tombstones
            .targets
            .iter()
            .any(|target| *target != sequence && self.extents.contains_key(target))
    }

    /// Removes what is empty, and starts to empty the oldest sparse extent.
    pub(super) fn reclaim(&mut self, out: &mut Vec<Effect>) {
        if self.settling > 0 || self.failed || self.candidates.is_empty() {
            return;
        }
        let busy = self.compaction.as_ref().map(|compaction| compaction.extent);
        let empty = |sequence: &u64| {
            let extent = &self.extents[sequence];
            extent.live == 0 && extent.readers == 0 && !self.needs_tombstones(*sequence) && busy != Some(*sequence)
        };
        let empty: Vec<u64> = self.candidates.iter().copied().filter(empty).collect();
        for sequence in empty {
            self.remove_extent(sequence, out);
        }
        if self.compaction.is_some() || self.compaction_paused {
            return;
        }
        let sparse = self.candidates.iter().copied().find_map(|sequence| match self.extents[&sequence].phase {
            Phase::Sealed { footer } if self.extents[&sequence].damage == Damage::None => Some((sequence, footer)),
            Phase::Spare
            | Phase::Open { .. }
            | Phase::Settling { .. }
            | Phase::Sealing { .. }
            | Phase::Sealed { .. }
            | Phase::Closed
            | Phase::Removing => None,
        });
        let Some((sequence, footer)) = sparse.filter(|(sequence, _)| !self.is_empty(*sequence)) else { return };
        self.compaction =
            Some(Compaction { extent: sequence, records: VecDeque::new(), pending: 1, damaged: false, failed: false });
        let file = File::Extent(self.config.drive, sequence);
        self.order(Op::IndexRead, DiskOrder::Read { file, offset: footer.offset, length: footer.length }, out);
    }

    fn is_empty(&self, sequence: u64) -> bool {
        self.extents[&sequence].live == 0 && !self.needs_tombstones(sequence)
    }

    fn remove_extent(&mut self, sequence: u64, out: &mut Vec<Effect>) {
        let extent = self.extents.get_mut(&sequence).expect("a candidate exists");
        // SHARD-9: nothing that the index points at, and nothing that is being read, is removed.
        assert!(extent.live == 0 && extent.readers == 0, "an extent in use is not removed");
        extent.phase = Phase::Removing;
        self.candidates.remove(&sequence);
        let file = File::Extent(self.config.drive, sequence);
        self.order(Op::Remove { sequence }, DiskOrder::Remove { file }, out);
    }

    pub(super) fn on_remove(&mut self, sequence: u64, outcome: Result<(), DiskError>, out: &mut Vec<Effect>) {
        match outcome {
            Ok(()) | Err(DiskError::Missing) => {
                self.extents.remove(&sequence);
                self.index.forget_extent(sequence);
                self.compaction_paused = false;
                let holders: Vec<u64> = self
                    .extents
                    .iter()
                    .filter(|(_, e)| e.tombstones.targets.contains(&sequence))
                    .map(|(holder, _)| *holder)
                    .collect();
                holders.into_iter().for_each(|holder| self.recheck(holder));
            }
            Err(DiskError::Full | DiskError::Unreachable | DiskError::Io(_)) => {
                let extent = self.extents.get_mut(&sequence).expect("an extent being removed stays until then");
                extent.phase = Phase::Closed;
                extent.damage = Damage::Unread;
                let file = File::Extent(self.config.drive, sequence);
                out.push(Effect::Suspect { file, offset: 0, what: "an empty extent could not be removed" });
            }
        }
    }

    pub(super) fn on_index_read(&mut self, outcome: Result<Bytes, DiskError>, out: &mut Vec<Effect>) {
        let compaction = self.compaction.as_mut().expect("an index is read for a compaction");
        let sequence = compaction.extent;
        let Phase::Sealed { footer } = self.extents[&sequence].phase else {
            panic!("only sealed extents are compacted");
        };
        match outcome.ok().and_then(|index| decode_index(sequence, &footer, &index)) {
            Some(records) => compaction.records = records.into(),
            None => {
                compaction.damaged = true;
                let file = File::Extent(self.config.drive, sequence);
                out.push(Effect::Suspect { file, offset: footer.offset, what: "the index of an extent is damaged" });
            }
        }
        self.copy_ended();
    }

    /// Orders the next piece when the one before is durable, and finishes after the last.
    pub(super) fn continue_compaction(&mut self, out: &mut Vec<Effect>) {
        let compaction = self.compaction.as_mut().expect("the caller saw that its last piece ended");
        assert_eq!(compaction.pending, 0, "one piece at a time");
        let sequence = compaction.extent;
        let mut bytes = 0;
        let mut records = core::mem::take(&mut compaction.records);
        let failed = compaction.failed;
        let mut pending = 0;
        while !failed && bytes < PIECE_BYTES && pending < PIECE_RECORDS {
            let Some((offset, record)) = records.pop_front() else { break };
            let at = Position { extent: sequence, offset };
            match record {
                Record::Put { key, expires, .. } => {
                    let Some(from) = self.index.get(key).filter(|location| location.at == at) else { continue };
                    bytes += u64::from(from.length);
                    pending += 1;
                    self.order_record_read(Op::CopyRead(Copying { key, from, expires }), from, out);
                }
                Record::Tombstone { version, bound, targets } => {
                    let others = |target: &u64| *target != sequence && self.extents.contains_key(target);
                    let targets: Vec<u64> = targets.into_iter().filter(others).collect();
                    if !targets.is_empty() {
                        bytes += 8 * targets.len() as u64;
                        pending += 1;
                        self.queue.push_back(Item::CopiedTombstone { version, bound, targets });
                    }
                }
                Record::Mark { version } => self.renew_mark(version, sequence),
            }
        }
        let compaction = self.compaction.as_mut().expect("looked at above");
        compaction.pending = pending;
        compaction.records = records;
        if pending == 0 {
            self.finish_compaction();
        }
    }

    /// A mark that is about to vanish is written again while shards elsewhere rely on it; copies carry a flag.
    fn renew_mark(&mut self, version: VersionId, leaving: u64) {
        let elsewhere = self.index.shards_of(version).any(|(_, location)| location.at.extent != leaving);
        if elsewhere && self.index.is_committed(version) {
            self.marks.insert(version);
        }
    }

    fn finish_compaction(&mut self) {
        let compaction = self.compaction.take().expect("the caller looked at it");
        let extent = self.extents.get_mut(&compaction.extent).expect("an extent being compacted is not removed");
        if compaction.failed {
            // Until something is deleted or removed, the next attempt would end the same way.
            self.compaction_paused = true;
        } else if compaction.damaged {
            extent.damage = Damage::Records;
        } else {
            // SHARD-8: every tombstone that is still needed has a durable copy elsewhere.
            extent.tombstones = Tombstones::default();
        }
        self.recheck(compaction.extent);
    }

    pub(super) fn on_copy_read(&mut self, copying: Copying, outcome: Result<Bytes, DiskError>, out: &mut Vec<Effect>) {
        let Copying { key, from, expires } = copying;
        let id = StripeId { version: key.version, index: key.stripe };
        // SHARD-10: damage is not copied, where it would get a fresh place and an old one could not stand in for it.
        let record = outcome.ok().filter(|record| {
            planted!(self.config.planted, ChecksumNotVerified) || stripe::verify(record, id, key.position)
        });
        match record {
            Some(record) => self.queue.push_back(Item::CopiedPut { key, from, expires, record }),
            None => {
                if self.index.get(key) == Some(from) {
                    let file = File::Extent(self.config.drive, from.at.extent);
                    out.push(Effect::Suspect { file, offset: from.at.offset, what: "a shard is damaged" });
                    self.compaction.as_mut().expect("a copy belongs to a compaction").damaged = true;
                }
                self.copy_ended();
            }
        }
    }

    pub(super) fn copy_ended(&mut self) {
        let compaction = self.compaction.as_mut().expect("a copy belongs to a compaction");
        compaction.pending -= 1;
    }

    pub(super) fn copy_failed(&mut self) {
        self.compaction.as_mut().expect("a copy belongs to a compaction").failed = true;
        self.copy_ended();
    }
}

//! Drives in memory. What was written and not synced is gone after a crash, and rows are as the last checkpoint left them.

use crate::disk::{DiskError, DiskOrder, DiskOutcome, File};
use crate::log::{self, HardStates, Log};
use crate::node::{Boot, Config};
use crate::rows::MemoryRows;
use crate::shards;
use crate::state;
use crate::types::DriveId;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;

const CLUSTER: u128 = 9;
const SEGMENT_SIZE: u64 = 256 << 10;
const EXTENT_SIZE: u64 = 8 << 20;

/// A file with what a crash would leave of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    written: Vec<u8>,
    unsynced: Vec<(usize, Bytes)>,
    durable: Vec<u8>,
}

/// What outlives a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Disks {
    files: BTreeMap<File, Stored>,
    /// The rows of the last checkpoint.
    pub(super) checkpointed: MemoryRows,
}

impl Disks {
    /// The process is gone, and with it all that was not synced.
    pub(super) fn crash(&mut self) {
        for stored in self.files.values_mut() {
            stored.written.clone_from(&stored.durable);
            stored.unsynced.clear();
        }
    }

    pub(super) fn lose_drive(&mut self, drive: DriveId) {
        self.files.retain(|file, _| !matches!(file, File::Extent(of, _) if *of == drive));
    }

    /// A copy of the log's segments.
    pub(super) fn log(&self) -> BTreeMap<File, Stored> {
        let is_log = |file: &File| matches!(file, File::LogSegment(_));
        self.files.iter().filter(|(file, _)| is_log(file)).map(|(file, stored)| (*file, stored.clone())).collect()
    }

    pub(super) fn replace_log(&mut self, log: BTreeMap<File, Stored>) {
        self.files.retain(|file, _| !matches!(file, File::LogSegment(_)));
        self.files.extend(log);
    }

    /// Sequences of the log's segments.
    pub(super) fn log_segments(&self) -> Vec<u64> {
        let segments = self.files.keys().filter_map(|file| match file {
            File::LogSegment(sequence) => Some(*sequence),
            File::Extent(..) | File::HardStates => None,
        });
        segments.collect()
    }

    pub(super) fn carry_out(&mut self, order: DiskOrder) -> DiskOutcome {
        match order {
            DiskOrder::Create { file, size, .. } => {
                let zeros = vec![0; usize::try_from(size).expect("test files are small")];
                let stored = Stored { written: zeros.clone(), unsynced: Vec::new(), durable: zeros };
                assert!(self.files.insert(file, stored).is_none(), "{file:?} exists");
            }
            DiskOrder::Write { file, offset, bytes } => {
                let Some(stored) = self.files.get_mut(&file) else { return DiskOutcome::Failed(DiskError::Missing) };
                let offset = usize::try_from(offset).expect("test files are small");
                write(&mut stored.written, offset, &bytes);
                stored.unsynced.push((offset, bytes));
            }
            DiskOrder::Sync { file } => {
                let Some(stored) = self.files.get_mut(&file) else { return DiskOutcome::Failed(DiskError::Missing) };
                stored.unsynced.drain(..).for_each(|(offset, bytes)| write(&mut stored.durable, offset, &bytes));
            }
            DiskOrder::Read { file, offset, length } => {
                let Some(stored) = self.files.get(&file) else { return DiskOutcome::Failed(DiskError::Missing) };
                return DiskOutcome::Read(slice(&stored.written, offset, length));
            }
            DiskOrder::Remove { file } => {
                if self.files.remove(&file).is_none() {
                    return DiskOutcome::Failed(DiskError::Missing);
                }
            }
        }
        DiskOutcome::Done
    }
}

fn write(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// What a process that starts on these drives finds.
pub(super) fn recover(config: &Config, disks: &Disks) -> Boot {
    let of_log = disks.files.iter().filter_map(|(file, stored)| match file {
        File::LogSegment(sequence) => Some((*sequence, Bytes::from(stored.durable.clone()))),
        File::Extent(..) | File::HardStates => None,
    });
    let copy = disks.files.get(&File::HardStates).map(|stored| &stored.durable[..]);
    let hard_states = HardStates::recover(CLUSTER, config.node, copy);
    let log = log::Config { cluster: CLUSTER, node: config.node, segment_size: SEGMENT_SIZE, planted: config.planted };
    let log = Log::recover(log, of_log.collect()).expect("a synced log is recovered");
    let drives = config.nodes.iter().flat_map(|(_, info)| info.drives.iter().map(|known| known.drive));
    let stores = drives.map(|drive| {
        let extents = disks.files.iter().filter_map(|(file, stored)| match file {
            File::Extent(of, sequence) if *of == drive => Some((*sequence, stored.durable.len() as u64)),
            File::Extent(..) | File::LogSegment(_) | File::HardStates => None,
        });
        let listing = shards::Listing { extents: extents.collect() };
        let mut read = |sequence, offset, length| {
            let stored = disks.files.get(&File::Extent(drive, sequence)).ok_or(DiskError::Missing)?;
            Ok(slice(&stored.durable, offset, length))
        };
        let config = shards::Config {
            drive,
            cluster: CLUSTER,
            extent_size: EXTENT_SIZE,
            compact_below_percent: 50,
            planted: config.planted,
        };
        (drive, shards::recover(config, listing, &mut read).expect("the extents are this drive's"))
    });
    let applied = config
        .groups
        .iter()
        .map(|group| (*group, state::applied(*group, &disks.checkpointed).expect("rows in memory are not damaged")));
    let memberships = config.groups.iter().filter_map(|group| {
        let membership = state::membership(*group, &disks.checkpointed).expect("memory does not fail");
        Some((*group, membership?))
    });
    Boot {
        hard_states,
        log,
        stores: stores.collect(),
        applied: applied.collect(),
        memberships: memberships.collect(),
        topology: state::topology(&disks.checkpointed).expect("memory does not fail"),
    }
}

fn slice(bytes: &[u8], offset: u64, length: u32) -> Bytes {
    let start = usize::try_from(offset).expect("test files are small").min(bytes.len());
    let end = (start + length as usize).min(bytes.len());
    Bytes::copy_from_slice(&bytes[start..end])
}

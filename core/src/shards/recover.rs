//! What a drive holds, read back before the node starts.
//!
//! A sealed extent is known from its index. Any other is walked: header by header, every payload checked, for the last
//! batch may be torn. A bad record costs itself and nothing after it; the walk goes on at the next header that is one.
//! Replaying all records in the order of their positions then gives the last word.

use super::extent::{Damage, Extent, Phase};
use super::format::{
    ALIGN, ALIGN_BYTES, BLOCK, BLOCK_BYTES, ExtentHeader, HEADER, Header, Position, Record, align, decode_index,
    decode_trailer, starts_record,
};
use super::index::Location;
use super::{Config, Effect, Listing, Op, ShardKey, Store};
use crate::disk::{DiskError, DiskOrder, File};
use crate::stripe::{self, StripeId};
use crate::types::{DriveId, VersionId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// Bytes that the walk reads at once.
const WINDOW: u64 = 1 << 20;

/// Why a drive's shards cannot be used at all. Damage is no reason: the store goes on without what is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoverError {
    /// An extent belongs to another cluster or drive, or stands under another extent's name.
    Foreign { extent: u64, cluster: u128, drive: DriveId, sequence: u64 },
    /// An extent has a format that this version does not know.
    Format { extent: u64, format: u32 },
}

impl core::fmt::Display for RecoverError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            RecoverError::Foreign { extent, cluster, drive, sequence } => write!(
                f,
                "shards/{extent:016x}.ext is extent {sequence:016x} of drive {drive} of cluster {cluster:032x}: \
                 the directory belongs elsewhere"
            ),
            RecoverError::Format { extent, format } => {
                write!(f, "shards/{extent:016x}.ext has format {format}, which this version does not know")
            }
        }
    }
}

impl core::error::Error for RecoverError {}

/// Reads `length` bytes of an extent at an offset; fewer when the file ends before.
pub type ReadExtent<'a> = dyn FnMut(u64, u64, u32) -> Result<Bytes, DiskError> + 'a;

/// What the records said about versions, to be settled when all are read.
#[derive(Default)]
struct Replay {
    /// The last sign that a version is decided.
    decided: BTreeMap<VersionId, Position>,
    /// The last deletion of a version.
    deleted: BTreeMap<VersionId, Position>,
}

/// Rebuilds the store of a drive from its extents. The effects are the store's first orders.
pub fn recover(
    config: Config,
    listing: Listing,
    read: &mut ReadExtent<'_>,
) -> Result<(Store, Vec<Effect>), RecoverError> {
    let mut store = Store::new(config);
    let mut out = Vec::new();
    let mut replay = Replay::default();
    let extents: BTreeMap<u64, u64> = listing.extents.into_iter().collect();
    for (sequence, size) in extents {
        // SHARD-3: what existed before the start takes no more batches, and no name is used again.
        store.next_sequence = sequence + 1;
        let mut reader = Reader { sequence, size, read, damage: Damage::None, unread: None, window: (0, Bytes::new()) };
        check_header(&config, &mut reader, &mut out)?;
        store.recover_extent(&mut reader, &mut replay, &mut out);
        if let Some(offset) = reader.unread {
            let file = File::Extent(config.drive, sequence);
            out.push(Effect::Suspect { file, offset, what: "a part of an extent could not be read" });
        }
    }
    for (version, position) in replay.decided {
        if replay.deleted.get(&version).is_none_or(|bound| *bound < position) {
            store.index.commit(version);
        }
    }
    let sequences: Vec<u64> = store.extents.keys().copied().collect();
    sequences.into_iter().for_each(|sequence| store.recheck(sequence));
    store.advance(&mut out);
    Ok((store, out))
}

fn check_header(config: &Config, reader: &mut Reader<'_, '_>, out: &mut Vec<Effect>) -> Result<(), RecoverError> {
    let extent = reader.sequence;
    let block = reader.read(0, BLOCK);
    match ExtentHeader::decode(&block) {
        ExtentHeader::Blank => Ok(()),
        ExtentHeader::Damaged => {
            let file = File::Extent(config.drive, extent);
            out.push(Effect::Suspect { file, offset: 0, what: "the header block of an extent is damaged" });
            Ok(())
        }
        ExtentHeader::Format(format) => Err(RecoverError::Format { extent, format }),
        ExtentHeader::Sound { sequence, cluster, drive } => {
            if (sequence, cluster, drive) == (extent, config.cluster, config.drive) {
                Ok(())
            } else {
                Err(RecoverError::Foreign { extent, cluster, drive, sequence })
            }
        }
    }
}

impl Store {
    fn recover_extent(&mut self, reader: &mut Reader<'_, '_>, replay: &mut Replay, out: &mut Vec<Effect>) {
        let sequence = reader.sequence;
        let file = File::Extent(self.config.drive, sequence);
        let mut extent = Extent::new(Phase::Closed, reader.size);
        let trailer = reader.read(reader.size.saturating_sub(HEADER as u64), HEADER as u64);
        let sealed = decode_trailer(sequence, reader.size, &trailer).and_then(|footer| {
            let index = reader.read(footer.offset, u64::from(footer.length));
            Some((footer, decode_index(sequence, &footer, &index)?))
        });
        let records = match sealed {
            Some((footer, records)) => {
                extent.phase = Phase::Sealed { footer };
                extent.end = footer.end;
                extent.batch_failed = footer.batch_failed;
                if footer.batch_failed {
                    // SHARD-5: were this index lost, a walk would find more than it says.
                    self.settling += 1;
                    self.order(Op::SettleSync { sequence }, DiskOrder::Sync { file }, out);
                }
                records
            }
            None => {
                let records = self.walk(reader, out);
                extent.end = records.last().map_or(BLOCK, |(offset, record)| offset + record.size());
                extent.damage = reader.damage;
                extent.phase = settle_phase(sequence, extent.damage, &records);
                if !records.is_empty() {
                    // SHARD-5: a crashed process leaves bytes that can be read and are not durable.
                    self.settling += 1;
                    self.order(Op::SettleSync { sequence }, DiskOrder::Sync { file }, out);
                }
                records
            }
        };
        self.extents.insert(sequence, extent);
        let ends = records.iter().skip(1).map(|(offset, _)| *offset).chain([u64::MAX]);
        for ((offset, record), next) in records.iter().zip(ends) {
            let padded = align(offset + record.size(), BLOCK).min(next) - offset;
            let footprint = u32::try_from(padded).expect("a record is below 4 GiB");
            self.replay(Position { extent: sequence, offset: *offset }, record, footprint, replay);
        }
    }

    fn replay(&mut self, at: Position, record: &Record, footprint: u32, replay: &mut Replay) {
        match record {
            Record::Put { key, expires, committed, length } => {
                // Whether the version is decided is settled at the end: a tombstone may still take the sign away.
                self.set_location(*key, Location { at, length: *length, footprint }, *expires, false);
                if *committed {
                    replay.decided.insert(key.version, at);
                }
            }
            Record::Mark { version } => {
                self.add_mark(at.extent, footprint);
                replay.decided.insert(*version, at);
            }
            Record::Tombstone { version, bound, targets } => {
                self.add_tombstone(at.extent, footprint, targets);
                self.remove_shards(*version, *bound);
                let last = replay.deleted.entry(*version).or_insert(*bound);
                *last = (*last).max(*bound);
            }
        }
    }

    /// Every good record of an extent without an index.
    fn walk(&mut self, reader: &mut Reader<'_, '_>, out: &mut Vec<Effect>) -> Vec<(u64, Record)> {
        let file = File::Extent(self.config.drive, reader.sequence);
        let mut records = Vec::new();
        // Bad places, told only when a good record follows: else they are the torn end, on which no one relied.
        let mut bad = Vec::new();
        let (mut cursor, mut expected) = (BLOCK, BLOCK);
        while let Some(offset) = reader.seek_record(cursor) {
            let position = Position { extent: reader.sequence, offset };
            let Some(header) = Header::decode(&reader.view(offset, HEADER as u64), position) else {
                cursor = offset + ALIGN;
                continue;
            };
            if offset != expected && offset != align(expected, BLOCK) {
                bad.push((expected, "a record's header is damaged"));
            }
            match whole_record(&header, &reader.view(offset + HEADER as u64, u64::from(header.length))) {
                Some(record) => {
                    bad.drain(..).for_each(|(offset, what)| out.push(Effect::Suspect { file, offset, what }));
                    records.push((offset, record));
                }
                None => {
                    bad.push((offset, "a record is damaged"));
                    if let Some(key) = header.put_key() {
                        self.index.add_stale(key.version, reader.sequence);
                    }
                }
            }
            expected = align(offset + HEADER as u64 + u64::from(header.length), ALIGN);
            cursor = expected;
        }
        records
    }

    pub(super) fn on_settle_sync(&mut self, sequence: u64, outcome: Result<(), DiskError>, out: &mut Vec<Effect>) {
        if let Err(error) = outcome {
            self.fail_store(sequence, error, out);
            return;
        }
        self.settling -= 1;
        if matches!(self.extents[&sequence].phase, Phase::Settling { .. }) {
            self.close_extent(sequence, out);
        }
    }
}

/// An extent that could not be read as a whole gets no index, which would leave out for good what may be read another
/// time.
fn settle_phase(sequence: u64, damage: Damage, records: &[(u64, Record)]) -> Phase {
    if damage != Damage::None || records.is_empty() {
        return Phase::Closed;
    }
    let encode = |(offset, record): &(u64, Record)| record.encode(Position { extent: sequence, offset: *offset });
    Phase::Settling { index: records.iter().flat_map(encode).collect() }
}

/// The record, if its payload holds.
fn whole_record(header: &Header, payload: &[u8]) -> Option<Record> {
    if payload.len() != header.length as usize {
        return None;
    }
    if let Some(ShardKey { version, stripe, position }) = header.put_key()
        && !stripe::verify(payload, StripeId { version, index: stripe }, position)
    {
        return None;
    }
    header.record(payload)
}

/// Reads an extent. What the drive cannot read counts as zeros, a block at a time.
struct Reader<'a, 'b> {
    sequence: u64,
    size: u64,
    read: &'a mut ReadExtent<'b>,
    damage: Damage,
    /// The first place that the drive could not read.
    unread: Option<u64>,
    /// Where the window of the walk begins, and its bytes.
    window: (u64, Bytes),
}

impl Reader<'_, '_> {
    /// Reads from the drive; fewer bytes when the file ends before.
    fn read(&mut self, offset: u64, length: u64) -> Bytes {
        let length = u32::try_from(length.min(self.size.saturating_sub(offset))).unwrap_or(u32::MAX);
        if length == 0 {
            return Bytes::new();
        }
        if let Ok(bytes) = (self.read)(self.sequence, offset, length) {
            return bytes;
        }
        self.damage = Damage::Unread;
        let mut whole = BytesMut::zeroed(length as usize);
        for (index, block) in (0..).zip(whole.chunks_mut(BLOCK_BYTES)) {
            let size = u32::try_from(block.len()).expect("a block");
            if let Ok(bytes) = (self.read)(self.sequence, offset + index * BLOCK, size) {
                let count = bytes.len().min(block.len());
                block[..count].copy_from_slice(&bytes[..count]);
            } else {
                self.unread.get_or_insert(offset + index * BLOCK);
            }
        }
        // Each block may have been read on its own at last; that is worth a word too.
        self.unread.get_or_insert(offset);
        whole.freeze()
    }

    /// Reads through the window.
    fn view(&mut self, offset: u64, length: u64) -> Bytes {
        let (start, bytes) = &self.window;
        if offset < *start || offset + length > *start + bytes.len() as u64 {
            if length > WINDOW {
                return self.read(offset, length);
            }
            self.window = (offset, self.read(offset, WINDOW));
        }
        let (start, bytes) = &self.window;
        let from = usize::try_from(offset - start).expect("the window begins before").min(bytes.len());
        let to = from.saturating_add(usize::try_from(length).expect("below 4 GiB")).min(bytes.len());
        bytes.slice(from..to)
    }

    /// The next aligned offset from `offset` on where a record's header seems to begin.
    fn seek_record(&mut self, mut offset: u64) -> Option<u64> {
        while offset < self.size {
            let window = self.view(offset, 1);
            if window.is_empty() {
                return None;
            }
            let rest = self.window.1.slice(usize::try_from(offset - self.window.0).expect("the window holds it")..);
            if let Some(found) = (0..).zip(rest.chunks(ALIGN_BYTES)).find(|(_, bytes)| starts_record(bytes)) {
                return Some(offset + found.0 * ALIGN);
            }
            offset += align(rest.len() as u64, ALIGN);
        }
        None
    }
}

//! The bytes of an extent: its header block, its records, its index and the trailer that closes it.
//!
//! A record's header names the extent and the offset where it was written, so a header that a drive put in the wrong
//! place, or that an older file left behind, is not taken for a record.
//!
//! The bytes: `docs/formats/extent.md`.

use super::extent::Extent;
use super::{Config, ShardKey};
use crate::stripe::CRC32C;
use crate::types::{DriveId, VersionId, WallTime};
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What a batch is aligned to, and the size of the header block: no drive writes less than this at once.
pub(super) const BLOCK: u64 = 4096;
/// The same, for slices.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Bytes of a record's header, and of the trailer.
pub(super) const HEADER: usize = 64;
/// What a record within a batch is aligned to.
pub(super) const ALIGN: u64 = 8;
/// The same, for slices.
pub(super) const ALIGN_BYTES: usize = 8;

const EXTENT_MAGIC: [u8; 4] = *b"ANSX";
const RECORD_MAGIC: [u8; 4] = *b"ANSP";
const TRAILER_MAGIC: [u8; 4] = *b"ANSF";
const FORMAT: u32 = 1;
const CRC_AT: usize = HEADER - 4;
const KIND_PUT: u8 = 1;
const KIND_MARK: u8 = 2;
const KIND_TOMBSTONE: u8 = 3;
const FLAG_COMMITTED: u8 = 1;
const FLAG_BATCH_FAILED: u32 = 1;

/// Where a record's header stands. The order of positions is the order in which records were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) extent: u64,
    pub(super) offset: u64,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// A shard; its framed record of `length` bytes follows the header.
    Put { key: ShardKey, expires: WallTime, committed: bool, length: u32 },
    /// The version is decided.
    Mark { version: VersionId },
    /// Shards of the version before `bound` are deleted. `targets` are the extents that hold bytes of them.
    Tombstone { version: VersionId, bound: Position, targets: Vec<u64> },
}

/// A record's header, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    kind: Kind,
    /// Bytes that follow the header.
    pub(super) length: u32,
    payload_crc: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Put { key: ShardKey, expires: WallTime, committed: bool },
    Mark { version: VersionId },
    Tombstone { version: VersionId },
}

/// The sealed extent's index, as its trailer describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    /// Where the index begins.
    pub(super) offset: u64,
    /// Bytes of the index.
    pub(super) length: u32,
    /// Its CRC-32C.
    pub(super) crc: u32,
    /// Where the last record ends.
    pub(super) end: u64,
    /// A batch failed after the last record, and the extent may hold records of it that the index leaves out.
    pub(super) batch_failed: bool,
}

/// Bytes that a tombstone takes with its header.
pub(super) fn tombstone_size(targets: &[u64]) -> u64 {
    (HEADER + 16 + 8 * targets.len()) as u64
}

pub(super) fn align(offset: u64, to: u64) -> u64 {
    offset.next_multiple_of(to)
}

impl Record {
    /// Bytes that the record takes with its header.
    pub(super) fn size(&self) -> u64 {
        HEADER as u64 + u64::from(self.payload_size())
    }

    /// Bytes that the record takes in an extent's index.
    pub(super) fn index_size(&self) -> u64 {
        match self {
            Record::Put { .. } | Record::Mark { .. } => HEADER as u64,
            Record::Tombstone { .. } => self.size(),
        }
    }

    fn payload_size(&self) -> u32 {
        match self {
            Record::Put { length, .. } => *length,
            Record::Mark { .. } => 0,
            Record::Tombstone { targets, .. } => {
                let size = tombstone_size(targets) - HEADER as u64;
                u32::try_from(size).expect("a drive has far fewer than 2^29 extents")
            }
        }
    }

    /// The header at `position`, and the payload unless the record is a put, whose payload the caller has.
    pub(super) fn encode(&self, position: Position) -> Vec<u8> {
        let payload = self.payload();
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.put_slice(&RECORD_MAGIC);
        let (kind, key, flags, expires) = match self {
            Record::Put { key, expires, committed, .. } => (KIND_PUT, *key, u8::from(*committed), expires.0),
            Record::Mark { version } => (KIND_MARK, whole(*version), 0, 0),
            Record::Tombstone { version, .. } => (KIND_TOMBSTONE, whole(*version), 0, 0),
        };
        bytes.put_slice(&[kind, key.position, flags, 0]);
        bytes.put_u64_le(position.extent);
        bytes.put_u64_le(position.offset);
        bytes.put_u128_le(key.version.0);
        bytes.put_u32_le(key.stripe);
        bytes.put_u32_le(self.payload_size());
        bytes.put_u64_le(expires);
        bytes.put_u32_le(CRC32C.checksum(&payload));
        bytes.put_u32_le(CRC32C.checksum(&bytes[..CRC_AT]));
        bytes.put_slice(&payload);
        bytes
    }

    fn payload(&self) -> Vec<u8> {
        match self {
            Record::Put { .. } | Record::Mark { .. } => Vec::new(),
            Record::Tombstone { bound, targets, .. } => {
                let mut payload = Vec::with_capacity(16 + 8 * targets.len());
                payload.put_u64_le(bound.extent);
                payload.put_u64_le(bound.offset);
                targets.iter().for_each(|target| payload.put_u64_le(*target));
                payload
            }
        }
    }
}

/// A version where the layout has room for a shard.
fn whole(version: VersionId) -> ShardKey {
    ShardKey { version, stripe: 0, position: 0 }
}

impl Header {
    /// Reads the header at `position`; `None` when there is none, or it belongs elsewhere.
    pub(super) fn decode(bytes: &[u8], position: Position) -> Option<Header> {
        let (header, found) = decode_anywhere(bytes)?;
        (found == position).then_some(header)
    }

    /// Whether the payload must be checked by its own framing rather than by [`Header::record`].
    pub(super) fn put_key(&self) -> Option<ShardKey> {
        match self.kind {
            Kind::Put { key, .. } => Some(key),
            Kind::Mark { .. } | Kind::Tombstone { .. } => None,
        }
    }

    /// The whole record; `None` when the payload of a tombstone fails its check. A put's payload is not looked at.
    pub(super) fn record(&self, payload: &[u8]) -> Option<Record> {
        match self.kind {
            Kind::Put { key, expires, committed } => Some(Record::Put { key, expires, committed, length: self.length }),
            Kind::Mark { version } => (self.length == 0).then_some(Record::Mark { version }),
            Kind::Tombstone { version } => {
                let mut rest = payload.get(..self.length as usize)?;
                if rest.len() < 16 || rest.len() % 8 != 0 || CRC32C.checksum(rest) != self.payload_crc {
                    return None;
                }
                let bound = Position { extent: rest.get_u64_le(), offset: rest.get_u64_le() };
                let targets = rest.chunks_exact(8).map(|mut target| target.get_u64_le()).collect();
                Some(Record::Tombstone { version, bound, targets })
            }
        }
    }
}

/// Whether a record's header may begin here.
pub(super) fn starts_record(bytes: &[u8]) -> bool {
    bytes.starts_with(&RECORD_MAGIC)
}

fn decode_anywhere(bytes: &[u8]) -> Option<(Header, Position)> {
    let bytes = bytes.get(..HEADER)?;
    if bytes[..4] != RECORD_MAGIC || CRC32C.checksum(&bytes[..CRC_AT]).to_le_bytes() != bytes[CRC_AT..] {
        return None;
    }
    let mut rest = &bytes[4..];
    let (kind, shard, flags, _) = (rest.get_u8(), rest.get_u8(), rest.get_u8(), rest.get_u8());
    let position = Position { extent: rest.get_u64_le(), offset: rest.get_u64_le() };
    let version = VersionId(rest.get_u128_le());
    let key = ShardKey { version, stripe: rest.get_u32_le(), position: shard };
    let length = rest.get_u32_le();
    let expires = WallTime(rest.get_u64_le());
    let payload_crc = rest.get_u32_le();
    let kind = match kind {
        KIND_PUT => Kind::Put { key, expires, committed: flags & FLAG_COMMITTED != 0 },
        KIND_MARK => Kind::Mark { version },
        KIND_TOMBSTONE => Kind::Tombstone { version },
        _ => return None,
    };
    Some((Header { kind, length, payload_crc }, position))
}

/// The block at the front of an extent.
pub(super) fn encode_extent_header(config: &Config, sequence: u64) -> Bytes {
    let mut block = BytesMut::zeroed(BLOCK_BYTES);
    let mut rest = &mut block[..];
    rest.put_slice(&EXTENT_MAGIC);
    rest.put_u32_le(FORMAT);
    rest.put_u64_le(sequence);
    rest.put_u128_le(config.cluster);
    rest.put_u32_le(config.drive.0);
    let crc = CRC32C.checksum(&block[..CRC_AT]);
    block[CRC_AT..HEADER].copy_from_slice(&crc.to_le_bytes());
    block.freeze()
}

/// What an extent's header block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExtentHeader {
    /// It holds nothing yet.
    Blank,
    /// It is damaged.
    Damaged,
    /// It is of a format that this version does not know.
    Format(u32),
    /// It is sound.
    Sound { sequence: u64, cluster: u128, drive: DriveId },
}

impl ExtentHeader {
    pub(super) fn decode(block: &[u8]) -> ExtentHeader {
        let Some(bytes) = block.get(..HEADER) else { return ExtentHeader::Blank };
        if bytes.iter().all(|byte| *byte == 0) {
            return ExtentHeader::Blank;
        }
        if bytes[..4] != EXTENT_MAGIC || CRC32C.checksum(&bytes[..CRC_AT]).to_le_bytes() != bytes[CRC_AT..] {
            return ExtentHeader::Damaged;
        }
        let mut rest = &bytes[4..];
        let format = rest.get_u32_le();
        if format != FORMAT {
            return ExtentHeader::Format(format);
        }
        ExtentHeader::Sound {
            sequence: rest.get_u64_le(),
            cluster: rest.get_u128_le(),
            drive: DriveId(rest.get_u32_le()),
        }
    }
}

/// Bytes that an index of `index` bytes takes with its trailer.
pub(super) fn footer_size(index: u64) -> u64 {
    align(index + HEADER as u64, BLOCK)
}

/// The index followed by its trailer, which ends where the file of `size` bytes ends (the file grows if need be).
/// Returns what to write at [`Footer::offset`].
pub(super) fn encode_footer(sequence: u64, index: &[u8], extent: &Extent) -> (Footer, Bytes) {
    let Extent { end, size, batch_failed, .. } = *extent;
    let total = footer_size(index.len() as u64);
    let offset = align(end.max(size.saturating_sub(total)), BLOCK);
    let length = u32::try_from(index.len()).expect("an extent's index is far below 4 GiB");
    let footer = Footer { offset, length, crc: CRC32C.checksum(index), end, batch_failed };

    let mut trailer = [0; HEADER];
    let mut rest = &mut trailer[..];
    rest.put_slice(&TRAILER_MAGIC);
    rest.put_u32_le(FORMAT);
    rest.put_u64_le(sequence);
    rest.put_u64_le(footer.offset);
    rest.put_u64_le(footer.end);
    rest.put_u32_le(footer.length);
    rest.put_u32_le(footer.crc);
    rest.put_u32_le(if footer.batch_failed { FLAG_BATCH_FAILED } else { 0 });
    let crc = CRC32C.checksum(&trailer[..CRC_AT]);
    trailer[CRC_AT..].copy_from_slice(&crc.to_le_bytes());

    let mut bytes = BytesMut::zeroed(usize::try_from(total).expect("an index fits in memory"));
    bytes[..index.len()].copy_from_slice(index);
    let at = bytes.len() - HEADER;
    bytes[at..].copy_from_slice(&trailer);
    (footer, bytes.freeze())
}

/// Reads the last [`HEADER`] bytes of a file of `size` bytes.
pub(super) fn decode_trailer(sequence: u64, size: u64, trailer: &[u8]) -> Option<Footer> {
    let bytes = trailer.get(..HEADER)?;
    if bytes[..4] != TRAILER_MAGIC || CRC32C.checksum(&bytes[..CRC_AT]).to_le_bytes() != bytes[CRC_AT..] {
        return None;
    }
    let mut rest = &bytes[4..];
    if rest.get_u32_le() != FORMAT || rest.get_u64_le() != sequence {
        return None;
    }
    let (offset, end) = (rest.get_u64_le(), rest.get_u64_le());
    let (length, crc) = (rest.get_u32_le(), rest.get_u32_le());
    let batch_failed = rest.get_u32_le() & FLAG_BATCH_FAILED != 0;
    let footer = Footer { offset, end, length, crc, batch_failed };
    let fits = offset.checked_add(u64::from(footer.length)).is_some_and(|index_end| index_end <= size);
    (fits && (BLOCK..=offset).contains(&end)).then_some(footer)
}

/// Reads an index: every record with its offset, in the order of offsets. `None` when it fails its check.
pub(super) fn decode_index(sequence: u64, footer: &Footer, index: &[u8]) -> Option<Vec<(u64, Record)>> {
    if index.len() != footer.length as usize || CRC32C.checksum(index) != footer.crc {
        return None;
    }
    let mut records = Vec::with_capacity(index.len() / HEADER);
    let mut rest = index;
    while !rest.is_empty() {
        let (header, position) = decode_anywhere(rest)?;
        let record = header.record(&rest[HEADER..])?;
        let size = usize::try_from(record.index_size()).expect("it was just read from memory");
        rest = &rest[size..];
        let ordered = records.last().is_none_or(|(offset, _)| *offset < position.offset);
        let inside = position.offset.checked_add(record.size()).is_some_and(|end| end <= footer.end);
        if position.extent != sequence || !ordered || !inside {
            return None;
        }
        records.push((position.offset, record));
    }
    Some(records)
}

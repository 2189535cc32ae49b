//! A batch on the disk: a header and records, cut into sealed sectors.
//!
//! Each sector of 512 bytes holds 496 bytes of the batch and a seal: the batch's sequence, the sector's number in the
//! batch, and a CRC-32C over all that. Sequences begin at 1, so a sealed sector is never all zero (`LOG-4`), and a
//! crash leaves each sector of a batch either unwritten, which is zero, or sealed. A sector that is neither is damaged.
//! Since every sector of a batch ends in our own seal, bytes that a client stores can never pass for one.
//!
//! The seals find damage; the chain (each batch names the checksum of the one before it) finds a batch that is whole
//! but not the one that belongs here.
//!
//! Not here: what the records say (`record`), and what follows from a batch that is not whole (`recover`).

use super::codec::{Put, Reader, checksum, is_zero};
use super::error::Damage;
use super::segment::{BLOCK, SECTOR};
use alloc::vec::Vec;
use bytes::Bytes;

const MAGIC: u32 = u32::from_le_bytes(*b"ANVB");
/// Magic, checksum, chain, sequence, length of the records.
const HEADER: usize = 4 + 4 + 4 + 8 + 8;
/// What the batch's checksum covers begins here, after the magic and the checksum itself.
const CHECKED_FROM: usize = 8;
/// Bytes of the batch in a sector; the seal takes the rest.
const CONTENT: usize = SECTOR - 8 - 4 - 4;
const SECTORS_IN_BLOCK: usize = BLOCK / SECTOR;

/// What one sector of a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sector {
    /// Zeros, as the file was created.
    Unwritten,
    /// A sector of a batch, as it was written.
    Sealed { batch: u64, number: u64 },
    /// Neither.
    Damaged,
}

/// What stands where a batch is expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BatchFound {
    /// The batch, wholly written and verified.
    Whole { records: Bytes, sum: u32, size: usize },
    /// A batch was never wholly written here, so it was never synced. Perhaps there never was one.
    Unsynced,
    /// A batch was wholly written here, and is not what it was, or is another one.
    Damaged { offset: usize, what: Damage },
}

/// A batch that is being put together.
pub(super) struct Draft {
    content: Vec<u8>,
}

impl Draft {
    pub(super) fn new(records_size: usize) -> Draft {
        let mut content = Vec::with_capacity(HEADER + records_size);
        content.resize(HEADER, 0);
        Draft { content }
    }

    /// Where records are appended.
    pub(super) fn records(&mut self) -> &mut Vec<u8> {
        &mut self.content
    }

    /// Appends the batch to `out` in whole blocks, and returns its checksum, from which the next batch continues.
    pub(super) fn seal(mut self, sequence: u64, chain: u32, out: &mut Vec<u8>) -> u32 {
        assert!(sequence > 0, "LOG-4: the seals of batch 0 could be zero");
        let mut header = Vec::with_capacity(HEADER);
        header.put_u32(MAGIC);
        header.put_u32(0);
        header.put_u32(chain);
        header.put_u64(sequence);
        header.put_u64((self.content.len() - HEADER) as u64);
        self.content[..HEADER].copy_from_slice(&header);
        let sum = checksum(&self.content[CHECKED_FROM..]);
        self.content[4..CHECKED_FROM].copy_from_slice(&sum.to_le_bytes());

        self.content.resize(sectors(self.content.len()) * CONTENT, 0);
        for (number, content) in (0u32..).zip(self.content.chunks_exact(CONTENT)) {
            let start = out.len();
            out.extend_from_slice(content);
            out.put_u64(sequence);
            out.put_u32(number);
            let seal = checksum(&out[start..]);
            out.put_u32(seal);
        }
        sum
    }
}

/// Bytes that a batch with this many bytes of records takes in a segment.
pub(super) fn size_in_segment(records_size: usize) -> usize {
    sectors(HEADER + records_size) * SECTOR
}

/// Sectors of whole blocks that hold `content_size` bytes of a batch.
fn sectors(content_size: usize) -> usize {
    content_size.div_ceil(CONTENT * SECTORS_IN_BLOCK) * SECTORS_IN_BLOCK
}

/// What a sector holds.
pub(super) fn inspect(sector: &[u8]) -> Sector {
    if is_zero(sector) {
        return Sector::Unwritten;
    }
    decode_seal(sector).unwrap_or(Sector::Damaged)
}

fn decode_seal(sector: &[u8]) -> Option<Sector> {
    let (sealed, sum) = sector.split_at_checked(SECTOR - 4)?;
    if checksum(sealed) != Reader::new(sum).u32()? {
        return None;
    }
    let mut seal = Reader::new(&sealed[CONTENT..]);
    Some(Sector::Sealed { batch: seal.u64()?, number: u64::from(seal.u32()?) })
}

/// Reads the batch of this sequence at `offset` of a segment, which ends where `segment` ends.
pub(super) fn find(segment: &[u8], offset: usize, sequence: u64, chain: u32) -> BatchFound {
    let Some(rest) = segment.get(offset..).filter(|rest| rest.len() >= BLOCK) else {
        return BatchFound::Unsynced; // No room is left, so nothing was ever written here.
    };
    let damaged = |sector: usize, what| BatchFound::Damaged { offset: offset + sector * SECTOR, what };
    let header = match inspect(&rest[..SECTOR]) {
        Sector::Sealed { batch, number: 0 } if batch == sequence => decode_header(rest),
        Sector::Sealed { .. } | Sector::Unwritten | Sector::Damaged => None,
    };
    // Without a header, a batch has at least one block.
    let claimed = header.as_ref().map_or(BLOCK, |header| size_in_segment(header.records_size));
    let Some(batch) = rest.get(..claimed) else { return damaged(0, Damage::BatchHeader) };
    // LOG-5: one unwritten sector proves that the write did not end, so no sync of it was ever ordered.
    if batch.chunks_exact(SECTOR).any(is_zero) {
        return BatchFound::Unsynced;
    }
    let Some(header) = header else { return damaged(0, Damage::Sector) };
    for (number, sector) in batch.chunks_exact(SECTOR).enumerate() {
        if inspect(sector) != (Sector::Sealed { batch: sequence, number: number as u64 }) {
            return damaged(number, Damage::Sector);
        }
    }
    if header.sequence != sequence || header.chain != chain {
        return damaged(0, Damage::Chain);
    }
    let content = content(batch, header.records_size);
    if checksum(&content[CHECKED_FROM..]) != header.sum {
        return damaged(0, Damage::Checksum);
    }
    BatchFound::Whole { records: content.slice(HEADER..), sum: header.sum, size: claimed }
}

/// The records of a batch at `offset`, with zeros where sectors are unwritten. Only the planted bug
/// `TornTailAccepted` wants them.
pub(super) fn find_torn(segment: &[u8], offset: usize) -> Option<Bytes> {
    let rest = segment.get(offset..)?;
    let header = decode_header(rest)?;
    let batch = rest.get(..size_in_segment(header.records_size))?;
    Some(content(batch, header.records_size).slice(HEADER..))
}

struct BatchHeader {
    sum: u32,
    chain: u32,
    sequence: u64,
    records_size: usize,
}

/// `None` unless the header could be that of a batch within `rest`.
fn decode_header(rest: &[u8]) -> Option<BatchHeader> {
    let mut reader = Reader::new(rest);
    if reader.u32()? != MAGIC {
        return None;
    }
    let (sum, chain, sequence) = (reader.u32()?, reader.u32()?, reader.u64()?);
    let records_size = usize::try_from(reader.u64()?).ok().filter(|size| *size <= rest.len())?;
    Some(BatchHeader { sum, chain, sequence, records_size })
}

/// Header and records without the seals: one copy, so that recovered entries hold their batch and not the segment.
fn content(batch: &[u8], records_size: usize) -> Bytes {
    let mut content = Vec::with_capacity(batch.len() / SECTOR * CONTENT);
    batch.chunks_exact(SECTOR).for_each(|sector| content.extend_from_slice(&sector[..CONTENT]));
    content.truncate(HEADER + records_size);
    Bytes::from(content)
}

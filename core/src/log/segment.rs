//! The header block of a segment: whose it is, which it is, and where in the chain it begins.
//!
//! The header is written together with the segment's first batch, in one write. All of it that means something lies
//! in the first sector, which a drive writes wholly or not at all; so a first sector of zeros says that nothing in
//! the file was ever synced, and a first sector that fails its checksum is damage.
//!
//! Not here: what follows the block (`batch`).

use super::codec::{Put, Reader, checksum, is_zero};
use super::error::Damage;
use crate::types::NodeId;
use alloc::vec::Vec;

/// Batches begin at, and fill, multiples of this: a drive with physical sectors of 4 KiB rewrites whole ones, and must
/// never have to rewrite one that holds a synced batch (`LOG-7`).
pub(super) const BLOCK: usize = 4096;
/// The smallest unit that a drive writes wholly or not at all.
pub(super) const SECTOR: usize = 512;
/// The format that this build writes, and the only one that it reads.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"ANVILLOG";
/// Where the checksum stands. Fixed for every version to come, so that a newer format is told from damage.
const CHECKSUM_AT: usize = SECTOR - 4;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) cluster: u128,
    pub(super) node: NodeId,
    /// The segment's number, which is also its file's name.
    pub(super) sequence: u64,
    /// Bytes that the file was created with.
    pub(super) size: u64,
    /// The sequence of its first batch.
    pub(super) first_batch: u64,
    /// The checksum of the batch before that; 0 for the first batch of all.
    pub(super) chain: u32,
}

/// What stands where the header of a segment should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderFound {
    /// Nothing in the file was ever synced.
    Unwritten,
    /// A header of this version.
    Header(SegmentHeader),
    /// A header that verifies, of another version.
    Version(u32),
    /// Neither, at this offset.
    Damaged { offset: usize, what: Damage },
}

impl SegmentHeader {
    /// Appends the header block.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.put_u32(VERSION);
        out.put_u32(self.chain);
        out.put_u128(self.cluster);
        out.put_u64(self.node.0);
        out.put_u64(self.sequence);
        out.put_u64(self.size);
        out.put_u64(self.first_batch);
        out.resize(start + CHECKSUM_AT, 0);
        let sum = checksum(&out[start..]);
        out.put_u32(sum);
        out.resize(start + BLOCK, 0);
    }

    /// Reads the header of a segment file, given whole.
    pub(super) fn find(file: &[u8]) -> HeaderFound {
        let Some(sector) = file.first_chunk::<SECTOR>() else {
            // A file of a few zeros is one whose creation a crash cut short.
            return match is_zero(file) {
                true => HeaderFound::Unwritten,
                false => HeaderFound::Damaged { offset: file.len(), what: Damage::Truncated },
            };
        };
        if is_zero(sector) {
            return HeaderFound::Unwritten;
        }
        match Self::decode(sector) {
            None => HeaderFound::Damaged { offset: 0, what: Damage::SegmentHeader },
            Some((version, _)) if version != VERSION => HeaderFound::Version(version),
            Some((_, header)) => Self::verify(header, file),
        }
    }

    fn decode(sector: &[u8; SECTOR]) -> Option<(u32, SegmentHeader)> {
        let (content, sum) = sector.split_at(CHECKSUM_AT);
        if checksum(content) != Reader::new(sum).u32()? {
            return None;
        }
        let mut reader = Reader::new(content);
        if reader.array()? != MAGIC {
            return None;
        }
        let version = reader.u32()?;
        let chain = reader.u32()?;
        let cluster = reader.u128()?;
        let node = NodeId(reader.u64()?);
        let header = SegmentHeader {
            cluster,
            node,
            sequence: reader.u64()?,
            size: reader.u64()?,
            first_batch: reader.u64()?,
            chain,
        };
        Some((version, header))
    }

    fn verify(header: SegmentHeader, file: &[u8]) -> HeaderFound {
        let block = BLOCK as u64;
        if !header.size.is_multiple_of(block) || header.size < 2 * block || header.first_batch == 0 {
            return HeaderFound::Damaged { offset: 0, what: Damage::SegmentHeader };
        }
        if (file.len() as u64) < header.size {
            return HeaderFound::Damaged { offset: file.len(), what: Damage::Truncated };
        }
        if !is_zero(&file[SECTOR..BLOCK]) {
            return HeaderFound::Damaged { offset: SECTOR, what: Damage::SegmentHeader };
        }
        HeaderFound::Header(header)
    }
}

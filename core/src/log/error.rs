//! Why a node's log could not be recovered, in words that an operator can act on.
//!
//! Not here: how each case is told apart (`recover`, `batch`, `segment`).

use crate::types::{GroupId, NodeId};
use core::fmt;

/// The log could not be recovered. Nothing on the disk was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoverError {
    /// Bytes that were synced are not what was written, or are gone.
    Corrupt {
        /// The segment's sequence, which is its file name.
        segment: u64,
        /// Bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        what: Damage,
    },
    /// The segment belongs to another node, or to another cluster.
    Foreign {
        /// The segment's sequence.
        segment: u64,
        /// The cluster that wrote it.
        cluster: u128,
        /// The node that wrote it.
        node: NodeId,
    },
    /// The segment is of a format that this build does not read.
    Version {
        /// The segment's sequence.
        segment: u64,
        /// The format that its header names.
        version: u32,
    },
}

/// What is wrong with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file is shorter than its header says; a file has its full size before it is used.
    Truncated,
    /// The segment header fails its checksum, or does not make sense.
    SegmentHeader,
    /// The header names another sequence than the file's name.
    SegmentMisplaced,
    /// The file is missing, or lost its header, while the log continues after it or leans on it.
    SegmentMissing,
    /// A later segment continues from a batch that is not here.
    BatchMissing,
    /// A sector of a batch fails its seal, and the batch was synced.
    Sector,
    /// The batch's header does not make sense.
    BatchHeader,
    /// The batch does not continue from the one before it.
    Chain,
    /// The batch as a whole fails its checksum.
    Checksum,
    /// A record of the batch does not decode, or contradicts the records before it.
    Record,
    /// The checkpoint of a segment is not what the records before it say.
    Checkpoint,
    /// A sector that was written after the end of the log, or at a place where it does not belong.
    SectorMisplaced,
    /// Entries of this group stood in a segment that is missing.
    EntriesMissing(GroupId),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Truncated => f.write_str("the file is shorter than it was made"),
            Damage::SegmentHeader => f.write_str("the segment header fails its check"),
            Damage::SegmentMisplaced => f.write_str("the segment header belongs to a file of another name"),
            Damage::SegmentMissing => f.write_str("the segment is missing or lost its header"),
            Damage::BatchMissing => f.write_str("a batch that was synced is missing"),
            Damage::Sector => f.write_str("a sector that was synced fails its checksum"),
            Damage::BatchHeader => f.write_str("a batch header does not make sense"),
            Damage::Chain => f.write_str("a batch does not continue from the one before it"),
            Damage::Checksum => f.write_str("a batch that was synced fails its checksum"),
            Damage::Record => f.write_str("a record does not decode or contradicts the records before it"),
            Damage::Checkpoint => f.write_str("the checkpoint of the segment contradicts the records before it"),
            Damage::SectorMisplaced => f.write_str("a written sector stands at a place where it does not belong"),
            Damage::EntriesMissing(group) => write!(f, "entries of group {group} stood in a segment that is missing"),
        }
    }
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::Corrupt { segment, offset, what } => write!(
                f,
                "log/{segment:016x}.log is damaged at byte {offset}: {what}. Nothing was changed. Check the drive, keep \
                 this directory aside, and let the node join again with an empty one, so that its peers rebuild it; \
                 if it has no peers, restore a backup"
            ),
            RecoverError::Foreign { segment, cluster, node } => write!(
                f,
                "log/{segment:016x}.log was written by node {node} of cluster {cluster:032x}, not by this node. \
                 Nothing was changed. Start this node with its own directory, or move the file to where it belongs"
            ),
            RecoverError::Version { segment, version } => write!(
                f,
                "log/{segment:016x}.log is of format {version}, and this build reads format {}. Nothing was changed. \
                 Start the version of Anvil that wrote it",
                super::segment::VERSION
            ),
        }
    }
}

impl core::error::Error for RecoverError {}

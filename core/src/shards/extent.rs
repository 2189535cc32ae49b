//! One extent as the store knows it: how far it has come, and what in it is still needed.

use super::format::{BLOCK, Footer, align};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// How far an extent has come. It only ever moves down this list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Allocated, empty, kept back for deletes and compaction.
    Spare,
    /// Takes batches. Carries the index so far: every durable record's header.
    Open { index: Vec<u8> },
    /// Found by recovery without an index; its bytes are being made durable before anything relies on them.
    Settling { index: Vec<u8> },
    /// Its index is being written.
    Sealing { footer: Footer },
    /// Its index is durable.
    Sealed { footer: Footer },
    /// Takes no more batches, and its index could not be written. Recovery walks its records.
    Closed,
    /// Being removed.
    Removing,
}

/// Why an extent cannot be emptied by copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// It can.
    None,
    /// A live record in it (or its index) failed its checks. It stays until nothing in it is live.
    Records,
    /// Recovery could not read all of it, so what is live in it is not known. It stays while the process lives.
    Unread,
}

/// The tombstones of an extent, taken together.
#[derive(Clone, Debug, Default)]
pub(super) struct Tombstones {
    /// Bytes of the extent that they take, with padding.
    pub(super) footprint: u64,
    /// Their bytes without padding.
    pub(super) size: u64,
    /// The extents that any of them names.
    pub(super) targets: BTreeSet<u64>,
}

#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) phase: Phase,
    pub(super) damage: Damage,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Where the last durable record ends.
    pub(super) end: u64,
    /// Bytes, with padding, of records that the index points at.
    pub(super) live: u64,
    pub(super) tombstones: Tombstones,
    /// Bytes of marks, with padding.
    pub(super) marks: u64,
    /// A batch failed, and some of it may be on the drive.
    pub(super) batch_failed: bool,
    /// Reads in flight on behalf of the parent.
    pub(super) readers: u32,
}

impl Extent {
    pub(super) fn new(phase: Phase, size: u64) -> Extent {
        Extent {
            phase,
            damage: Damage::None,
            size,
            end: BLOCK,
            live: 0,
            tombstones: Tombstones::default(),
            marks: 0,
            batch_failed: false,
            readers: 0,
        }
    }

    /// Whether less than `percent` of what the extent takes is needed.
    ///
    /// Compaction must not chase its own output, so whatever is counted as waste here is gone after a copy: padding is
    /// part of the record before it, and an extent whose records are all live is never sparse. Tombstones, often alone
    /// in a block, count as what they take when copied together, one block more at most. Marks may be written again,
    /// so they count neither way. The unused rest of an extent that was closed early counts as waste only when it is
    /// more than half: what did not fit beside it then fits into a fresh one.
    pub(super) fn is_sparse(&self, percent: u8, tombstones_needed: bool) -> bool {
        let used = align(self.end, BLOCK) - BLOCK - self.marks;
        let rest = self.size.saturating_sub(self.end);
        let taken = if rest > self.size / 2 { used + rest } else { used };
        let tombstones = self.tombstones.footprint.min(align(self.tombstones.size, BLOCK) + BLOCK);
        let needed = self.live + if tombstones_needed { tombstones } else { 0 };
        u128::from(needed) * 100 < u128::from(taken) * u128::from(percent)
    }
}

//! One extent as the store knows it: how far it has come, and what in it is still needed.

use super::format::{BLOCK, Footer};
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
    /// Bytes, with padding, of tombstones.
    pub(super) tombstones: u64,
    /// The extents that any of those tombstones name.
    pub(super) targets: BTreeSet<u64>,
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
            tombstones: 0,
            targets: BTreeSet::new(),
            readers: 0,
        }
    }

    /// Whether less than `percent` of what the extent takes is needed.
    ///
    /// Padding counts as part of the record before it, so an extent whose records are all live is never a candidate and
    /// compaction cannot chase its own output. The unused rest of an extent that was closed early counts as waste,
    /// but only when it is more than half: what does not fit beside it then fits into a fresh one.
    pub(super) fn is_sparse(&self, percent: u8, tombstones_needed: bool) -> bool {
        let used = self.end.next_multiple_of(BLOCK) - BLOCK;
        let rest = self.size.saturating_sub(self.end);
        let taken = if rest > self.size / 2 { used + rest } else { used };
        let needed = self.live + if tombstones_needed { self.tombstones } else { 0 };
        u128::from(needed) * 100 < u128::from(taken) * u128::from(percent)
    }
}

//! The descriptors that a node keeps open: enough to save most openings, too few to run out of them.
//!
//! A drive of some size has tens of thousands of extents, and a process may have a thousand descriptors. So extents come
//! and go, the longest unused first.
//!
//! - `FD-1` At most [`EXTENTS_MAX`] descriptors of extents without unsynced writes stay open. Those of log segments all
//!   do: there are few, and a segment that could not be opened would end the node.
//! - `FD-2` A file with unsynced writes keeps its descriptor until they are synced. Linux tells a failure to write pages
//!   back once to each descriptor that is open when it happens; one that is opened later may hear nothing of it, and
//!   its sync would succeed.

use anvil_core::disk::File;
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

/// Extents without unsynced writes that stay open.
const EXTENTS_MAX: usize = 256;

/// The open files.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    open: HashMap<File, Descriptor>,
    /// Counts uses, so that the longest unused is known.
    uses: u64,
}

#[derive(Debug)]
struct Descriptor {
    file: Arc<fs::File>,
    last_use: u64,
    /// Counts writes, each when it begins and when it has ended.
    written: Written,
    /// What the last sync that succeeded is sure to have covered.
    synced: Written,
}

/// How far the writes of a file have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Written(u64);

/// What a file is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To read or to sync it.
    ReadOrSync,
    /// To write to it. [`Descriptors::end_write`] follows.
    Write,
}

impl Descriptors {
    /// The open file, and how far its writes have come, if it is open.
    pub(super) fn get(&mut self, name: File, what_for: Use) -> Option<(Arc<fs::File>, Written)> {
        self.uses += 1;
        let found = self.open.get_mut(&name)?;
        found.last_use = self.uses;
        if what_for == Use::Write {
            found.written.0 += 1;
        }
        Some((Arc::clone(&found.file), found.written))
    }

    /// Keeps a file that was opened because it was not here. When another thread was faster, its descriptor stays.
    pub(super) fn keep(&mut self, name: File, file: fs::File) {
        let fresh = || Descriptor {
            file: Arc::new(file),
            last_use: self.uses,
            written: Written::default(),
            synced: Written::default(),
        };
        self.open.entry(name).or_insert_with(fresh);
    }

    /// Closes what is one too many.
    pub(super) fn trim(&mut self) {
        let idle = |(name, descriptor): &(&File, &Descriptor)| match name {
            File::LogSegment(_) | File::HardStates => false,
            // FD-2
            File::Extent(..) => descriptor.written == descriptor.synced,
        };
        let mut idle: Vec<_> = self.open.iter().filter(idle).map(|(name, kept)| (kept.last_use, *name)).collect();
        idle.sort_unstable();
        // FD-1
        for (_, name) in idle.iter().take(idle.len().saturating_sub(EXTENTS_MAX)) {
            self.open.remove(name);
        }
    }

    /// A write has ended, in whatever way. It counts again, for a sync that began beside it may have missed it.
    pub(super) fn end_write(&mut self, name: File) {
        if let Some(found) = self.open.get_mut(&name) {
            found.written.0 += 1;
        }
    }

    /// A sync that began at `written` has succeeded.
    pub(super) fn end_sync(&mut self, name: File, written: Written) {
        if let Some(found) = self.open.get_mut(&name) {
            found.synced = found.synced.max(written);
        }
    }

    /// The file is about to be removed.
    pub(super) fn forget(&mut self, name: File) {
        self.open.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anvil_core::types::DriveId;

    fn extent(sequence: usize) -> File {
        File::Extent(DriveId(0), sequence as u64)
    }

    fn open(descriptors: &mut Descriptors, name: File, what_for: Use) -> Written {
        if !descriptors.open.contains_key(&name) {
            descriptors.keep(name, tempfile::tempfile().unwrap());
        }
        let (_, written) = descriptors.get(name, what_for).expect("it was just opened");
        descriptors.trim();
        written
    }

    /// Uses as many extents beside extent 0 as may stay open.
    fn read_others(descriptors: &mut Descriptors) {
        for sequence in 1..=EXTENTS_MAX {
            open(descriptors, extent(sequence), Use::ReadOrSync);
        }
    }

    #[test]
    fn the_longest_unused_extents_are_closed_and_log_segments_stay() {
        let mut descriptors = Descriptors::default();
        open(&mut descriptors, File::LogSegment(1), Use::ReadOrSync);
        for sequence in 0..2 * EXTENTS_MAX {
            open(&mut descriptors, extent(sequence), Use::ReadOrSync);
            open(&mut descriptors, extent(7), Use::ReadOrSync);
        }
        assert_eq!(descriptors.open.len(), EXTENTS_MAX + 1);
        for kept in [File::LogSegment(1), extent(7), extent(2 * EXTENTS_MAX - 1)] {
            assert!(descriptors.open.contains_key(&kept), "{kept:?} was closed");
        }
        assert!(!descriptors.open.contains_key(&extent(8)));
    }

    #[test]
    fn an_extent_stays_open_until_all_of_its_writes_are_synced() {
        let mut descriptors = Descriptors::default();
        open(&mut descriptors, extent(0), Use::Write);
        descriptors.end_write(extent(0));
        // A write that ends while a sync is under way may not be part of it.
        let began = open(&mut descriptors, extent(0), Use::ReadOrSync);
        open(&mut descriptors, extent(0), Use::Write);
        descriptors.end_sync(extent(0), began);
        descriptors.end_write(extent(0));
        read_others(&mut descriptors);
        assert!(descriptors.open.contains_key(&extent(0)), "it has unsynced writes");
        assert_eq!(descriptors.open.len(), EXTENTS_MAX + 1);

        let began = open(&mut descriptors, extent(0), Use::ReadOrSync);
        descriptors.end_sync(extent(0), began);
        read_others(&mut descriptors);
        assert!(!descriptors.open.contains_key(&extent(0)), "everything in it is synced");
    }
}

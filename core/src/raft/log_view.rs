//! The part of the replicated log that a replica holds in memory: everything after `base`.
//!
//! Entries stand in a queue whose first element has index `base.index + 1`, so an index is an offset. Terms never fall
//! along a log, hence every search by term is a binary search.
//!
//! Not here: what is durable, and what is committed. The replica knows that; the view only holds entries.

use crate::types::{Entries, Entry, LogIndex, LogPosition, Term};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// What an entry takes in a message beside its payload, roughly; keeps a message of empty entries bounded as well.
const ENTRY_OVERHEAD_BYTES: usize = 32;

/// The tail that is kept behind the compaction point for slow followers has at most this many bytes of payload.
const TAIL_BYTES_MAX: usize = 4 << 20;

/// Entries after a base, without gaps.
#[derive(Debug)]
pub(super) struct LogView {
    base: LogPosition,
    entries: VecDeque<Entry>,
}

impl LogView {
    pub(super) fn new(base: LogPosition, entries: Entries) -> LogView {
        let mut log = LogView { base, entries: VecDeque::with_capacity(entries.len()) };
        for entry in entries {
            log.push(entry);
        }
        log
    }

    /// The last entry that is not held any more.
    pub(super) fn base(&self) -> LogPosition {
        self.base
    }

    /// The last entry, or the base when there is none.
    pub(super) fn last(&self) -> LogPosition {
        self.entries.back().map_or(self.base, |entry| entry.position)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The term of the entry at `index`; `None` below the base and after the end.
    pub(super) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.offset(index).and_then(|offset| self.entries.get(offset)).map(|entry| entry.position.term)
    }

    /// Whether the log has exactly this entry.
    pub(super) fn has(&self, position: LogPosition) -> bool {
        self.term(position.index) == Some(position.term)
    }

    /// Adds an entry at the end.
    pub(super) fn push(&mut self, entry: Entry) {
        let last = self.last();
        assert!(
            entry.position.index == last.index.next(),
            "a log has no gaps: {} after {}",
            entry.position.index,
            last.index
        );
        assert!(entry.position.term >= last.term, "terms never fall along a log");
        self.entries.push_back(entry);
    }

    /// Removes the entry at `from` and all after it.
    pub(super) fn truncate(&mut self, from: LogIndex) {
        let offset = self.offset(from).expect("only entries after the base are ever replaced");
        self.entries.truncate(offset);
    }

    /// Entries from `from` on, as many as fit in `bytes_max`, but at least one when there is one.
    pub(super) fn batch(&self, from: LogIndex, bytes_max: usize) -> Vec<Entry> {
        let Some(offset) = self.offset(from) else { return Vec::new() };
        let mut bytes = 0usize;
        let mut batch = Vec::new();
        for entry in self.entries.range(offset.min(self.entries.len())..) {
            bytes = bytes.saturating_add(entry.payload.size()).saturating_add(ENTRY_OVERHEAD_BYTES);
            if !batch.is_empty() && bytes > bytes_max {
                break;
            }
            batch.push(entry.clone());
        }
        batch
    }

    /// Entries after `after`, up to and including `through`. Both must be in the log.
    pub(super) fn range(&self, after: LogIndex, through: LogIndex) -> Vec<Entry> {
        let start = self.offset(after.next()).expect("committed entries are held until they are handed over");
        let end = self.offset(through.next()).expect("the range ends after the base");
        self.entries.range(start..end).cloned().collect()
    }

    /// Bytes of payload after `after`, up to and including `through`. Both must be in the log.
    pub(super) fn payload_bytes(&self, after: LogIndex, through: LogIndex) -> usize {
        let start = self.offset(after.next()).expect("the range starts at or after the base");
        let end = self.offset(through.next()).expect("the range ends after the base");
        self.entries.range(start..end).map(|entry| entry.payload.size()).sum()
    }

    /// The last position at or before `index` whose term is at most `term`: no later one can agree with a log that has
    /// `term` at `index`. The base when there is no such entry.
    pub(super) fn agreement(&self, index: LogIndex, term: Term) -> LogPosition {
        let held = self.offset(index.min(self.last().index).next()).unwrap_or(0);
        let count = self.entries.partition_point(|entry| entry.position.term <= term).min(held);
        count.checked_sub(1).and_then(|offset| self.entries.get(offset)).map_or(self.base, |entry| entry.position)
    }

    /// Where to cut so that a bounded tail up to `through` remains for followers that are a little behind.
    pub(super) fn tail_base(&self, through: LogIndex, entries_max: u64) -> LogIndex {
        let mut bytes = 0usize;
        let mut base = through;
        while base > self.base.index && through.0 - base.0 < entries_max {
            let offset = self.offset(base).expect("the loop stays after the base");
            bytes += self.entries.get(offset).expect("the tail is in the log").payload.size();
            if bytes > TAIL_BYTES_MAX {
                break;
            }
            base = base.prev();
        }
        base
    }

    /// Forgets entries up to and including `through`, which becomes the base.
    pub(super) fn cut(&mut self, through: LogIndex) {
        let term = self.term(through).expect("the cut is inside the log");
        let count =
            usize::try_from(through.0 - self.base.index.0).expect("entries in memory are fewer than usize::MAX");
        self.entries.drain(..count);
        self.base = LogPosition { index: through, term };
    }

    /// Starts again after `base`, with what followed it if the log has it.
    pub(super) fn reset(&mut self, base: LogPosition) {
        if self.has(base) {
            self.cut(base.index);
        } else {
            self.entries.clear();
            self.base = base;
        }
    }

    /// The place in the queue that `index` has or would have; `None` at or below the base.
    fn offset(&self, index: LogIndex) -> Option<usize> {
        let distance = index.0.checked_sub(self.base.index.0)?.checked_sub(1)?;
        usize::try_from(distance).ok()
    }
}

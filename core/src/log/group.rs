//! What the log remembers of a group in memory: enough to know which segments hold entries that are still needed.
//!
//! A group's live entries form runs: neighbours of one term in one segment. Later entries never stand in an older
//! segment than earlier ones, because overwriting removes everything after the overwritten index. So the first run
//! names the oldest segment that the group needs. The entries themselves stay in Raft's memory and on the disk.
//!
//! The same code follows the records when they are written and when they are replayed, so the two cannot differ.
//!
//! Not here: the decision to remove a segment (`machine`), and the entries of a recovered group (`recover`).

use super::record::{Follows, GroupCheckpoint};
use crate::types::{HardState, LogIndex, LogPosition, Term};
use alloc::collections::VecDeque;

/// Live entries of one term in one segment, up to the next run or the last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: LogIndex,
    term: Term,
    segment: u64,
}

/// One group's place in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) hard_state: HardState,
    base: LogPosition,
    last: LogPosition,
    runs: VecDeque<Run>,
}

impl Group {
    /// The group as a checkpoint states it, its entries being in `segment` or an older one.
    pub(super) fn restore(checkpoint: GroupCheckpoint, segment: u64) -> Group {
        let GroupCheckpoint { hard_state, base, last } = checkpoint;
        let mut runs = VecDeque::new();
        if base.index < last.index {
            runs.push_back(Run { first: base.index.next(), term: last.term, segment });
        }
        Group { hard_state, base, last, runs }
    }

    pub(super) fn checkpoint(&self) -> GroupCheckpoint {
        GroupCheckpoint { hard_state: self.hard_state, base: self.base, last: self.last }
    }

    pub(super) fn base(&self) -> LogPosition {
        self.base
    }

    pub(super) fn last(&self) -> LogPosition {
        self.last
    }

    /// The term of the entry at `index`, if the log holds it or it is the base.
    pub(super) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        if index < self.base.index || index > self.last.index {
            return None;
        }
        self.runs.iter().rev().find(|run| run.first <= index).map(|run| run.term)
    }

    /// The oldest segment that holds an entry which is still needed.
    pub(super) fn oldest_segment(&self) -> Option<u64> {
        self.runs.front().map(|run| run.segment)
    }

    /// Whether an entry at `index` leaves no gap and does not reach behind the base.
    pub(super) fn takes_entry_at(&self, index: LogIndex) -> bool {
        index > self.base.index && index.prev() <= self.last.index
    }

    /// The entry at `position` is in `segment`; what stood there or after it is replaced.
    pub(super) fn append(&mut self, position: LogPosition, segment: u64) {
        assert!(self.takes_entry_at(position.index), "LOG: entry {position:?} leaves a gap after {:?}", self.last);
        while self.runs.back().is_some_and(|run| run.first >= position.index) {
            self.runs.pop_back();
        }
        if self.runs.back().is_none_or(|run| run.term != position.term || run.segment != segment) {
            self.runs.push_back(Run { first: position.index, term: position.term, segment });
        }
        self.last = position;
    }

    /// Whether the base may move there by a cut.
    pub(super) fn takes_cut_at(&self, base: LogPosition) -> bool {
        self.base.index <= base.index && base.index <= self.last.index
    }

    /// Entries up to `base` are no longer needed.
    pub(super) fn cut(&mut self, base: LogPosition) {
        assert!(self.takes_cut_at(base), "LOG: cut at {base:?} outside of {:?} to {:?}", self.base, self.last);
        self.base = base;
        if base.index == self.last.index {
            self.last = base;
            self.runs.clear();
            return;
        }
        while self.runs.get(1).is_some_and(|second| second.first.prev() <= base.index) {
            self.runs.pop_front();
        }
        let first = self.runs.front_mut().expect("an entry after the base stands in a run");
        first.first = first.first.max(base.index.next());
    }

    /// Whether the log may restart there.
    pub(super) fn takes_reset_at(&self, base: LogPosition, follows: Follows) -> bool {
        match follows {
            Follows::Void => self.base.index <= base.index,
            Follows::Kept => self.takes_cut_at(base),
        }
    }

    /// The log restarts after `base`.
    pub(super) fn reset(&mut self, base: LogPosition, follows: Follows) {
        assert!(self.takes_reset_at(base, follows), "LOG: reset to {base:?} goes back behind {:?}", self.base);
        match follows {
            Follows::Kept => self.cut(base),
            Follows::Void => {
                self.runs.clear();
                (self.base, self.last) = (base, base);
            }
        }
    }
}

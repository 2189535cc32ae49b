//! A follower's side of replication: appending what the leader sends (figure 2, "AppendEntries RPC").
//!
//! - `RAFT-4`: entries are taken only after an entry that both logs have.
//! - `RAFT-6`: a message that would replace a committed entry is a lie, and is dropped.
//! - `RAFT-8`: the answer names what is durable, and waits for the disk when that is what it takes.

use super::Raft;
use super::event::Effect;
use super::message::{AppendOutcome, Message};
use crate::types::{Entries, LogIndex, LogPosition, NodeId, PersistId, Term, Time};
use alloc::vec::Vec;

/// What a leader wants appended.
pub(super) struct Append {
    pub(super) previous: LogPosition,
    pub(super) entries: Entries,
    pub(super) commit: LogIndex,
    pub(super) round: u64,
}

/// What became of an append in memory.
enum Taken {
    /// The log equals the leader's up to here.
    Through(LogIndex),
    /// The entry before the append is missing; the logs may agree up to here.
    Missing(LogPosition),
    /// No correct leader sends this.
    Lie,
}

impl Raft {
    pub(super) fn on_append_entries(
        &mut self,
        from: NodeId,
        term: Term,
        append: Append,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        let rejected = append.previous.index;
        if term < self.hard_state.term {
            // The newer term frees a leader that does not know of it (and this replica, if no leader will have it).
            // The round stays 0: it may be one of an earlier life of the leader, and it acknowledges nothing.
            let outcome = AppendOutcome::Rejected { rejected, hint: self.log.last() };
            self.answer_append(from, outcome, 0, self.term_request(), out);
            return;
        }
        if !self.follow(from, term, now, out) {
            return;
        }
        let Append { previous, entries, commit, round } = append;
        let is_heartbeat = entries.is_empty();
        // A log that a snapshot is about to replace takes nothing, but the leader must hear that its follower lives.
        let taken =
            if self.installing.is_some() { Taken::Through(LogIndex(0)) } else { self.take(previous, entries, out) };
        match taken {
            Taken::Through(through) => {
                if self.installing.is_none() {
                    self.repair(from, Some(through), now, out);
                }
                self.commit = self.commit.max(commit.min(through));
                // What is committed is in every leader's log, so it matches as well (§5.4.3, leader completeness).
                let matched = through.max(self.commit);
                let (matched, request) = if is_heartbeat || self.installing.is_some() {
                    (matched.min(self.durability.index), self.term_request())
                } else {
                    (matched, self.durability.request_for(matched).max(self.term_request()))
                };
                self.deliver(out);
                self.answer_append(from, AppendOutcome::Matched(matched), round, request, out);
            }
            Taken::Missing(hint) => {
                self.repair(from, None, now, out);
                let outcome = AppendOutcome::Rejected { rejected, hint };
                self.answer_append(from, outcome, round, self.term_request(), out);
            }
            Taken::Lie => self.suspects += 1,
        }
    }

    /// Appends in memory, and orders the log to do the same.
    fn take(&mut self, previous: LogPosition, mut entries: Entries, out: &mut Vec<Effect>) -> Taken {
        let base = self.log.base();
        let through = entries.last().map_or(previous.index, |entry| entry.position.index);
        if previous.index >= base.index && !self.log.has(previous) {
            if previous.index <= self.commit {
                return Taken::Lie; // RAFT-6: the leader lacks a committed entry.
            }
            let agreement = self.log.agreement(previous.index, previous.term);
            let known = self.commit_position();
            return Taken::Missing(if agreement.index < known.index { known } else { agreement });
        }
        if entries.iter().any(|entry| entry.position.index <= self.commit && self.contradicts(entry.position)) {
            return Taken::Lie; // RAFT-6
        }
        // RAFT-3: from the first entry that is missing or another, the leader's log counts.
        let Some(first) =
            entries.iter().position(|entry| entry.position.index > base.index && !self.log.has(entry.position))
        else {
            return Taken::Through(through);
        };
        entries.drain(..first);
        let from = entries.first().expect("the first new entry is in the list").position.index;
        if from <= self.log.last().index {
            assert!(from > self.commit, "RAFT-6: entry {from} is committed and would be replaced");
            self.truncate(from);
            self.durability.void_after(from.prev()); // RAFT-8
        }
        for entry in &entries {
            self.push(entry.clone());
        }
        self.persist(entries, out);
        Taken::Through(through)
    }

    /// Whether the log holds another entry at this index.
    fn contradicts(&self, position: LogPosition) -> bool {
        self.log.term(position.index).is_some_and(|term| term != position.term)
    }

    /// The last committed entry.
    fn commit_position(&self) -> LogPosition {
        let term = self.log.term(self.commit).expect("the last committed entry is in the log or its base");
        LogPosition { index: self.commit, term }
    }

    fn answer_append(
        &mut self,
        to: NodeId,
        outcome: AppendOutcome,
        round: u64,
        after: PersistId,
        out: &mut Vec<Effect>,
    ) {
        let message = Message::AppendEntriesResponse { term: self.hard_state.term, outcome, round };
        self.promise(to, message, after, out); // RAFT-2, RAFT-8
    }
}
